//! A server handed over to another process: whoever was there notices nothing.

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_turn::{
    Config, Credentials, EstateError, Event, Link, Reason, Transport, UnixTime, rest_password,
};
use turnpike_wire::attributes::{
    AdditionalAddressFamily, EvenPort, Lifetime, MobilityTicket, ReservationToken, XorRelayedAddress,
};
use turnpike_wire::{Family, Method};

use crate::harness::{Caller, Dice, OTHER_PEER, Outcome, PEER, PEER_V6, SECOND, Setup, World, address};

/// A process that starts anew, with other randomness.
fn heir(setup: impl FnOnce() -> Setup) -> World {
    let mut setup = setup();
    setup.seed = 99;
    setup.build()
}

#[test]
fn a_call_goes_on_with_its_channels_permissions_and_usage_and_is_reported_once() {
    let mut world = Setup::new().build();
    let mut alice = Caller::new("198.51.100.7:5000").with_fingerprint();
    let relayed = alice.allocate(&mut world);
    alice.bind(&mut world, 0x4000, PEER).expect_success();
    alice.permit(&mut world, &[OTHER_PEER]).expect_success();
    alice.send_on(&mut world, 0x4000, b"before").expect_to_peer(PEER, b"before");
    world.advance(100 * SECOND);
    let mut world = world.hand_over_to(heir(Setup::new));
    alice.send_on(&mut world, 0x4000, b"after").expect_to_peer(PEER, b"after");
    alice.send(&mut world, OTHER_PEER, b"by indication").expect_to_peer(OTHER_PEER, b"by indication");
    world.receive_from_peer(relayed, PEER, b"back").expect_channel_data(0x4000, b"back");
    // The permission of the channel is five minutes old at 300 s, whoever counts.
    world.advance(199 * SECOND);
    alice.send(&mut world, OTHER_PEER, b"just in time").expect_to_peer(OTHER_PEER, b"just in time");
    world.advance(2 * SECOND);
    alice.send(&mut world, OTHER_PEER, b"too late").expect_silence();
    // The nonce and the key go on too.
    alice.refresh(&mut world, 0).expect_success();
    let ended: Vec<_> = world.events.iter().filter(|event| matches!(event, Event::Ended { .. })).collect();
    let [Event::Ended { usage, duration, .. }] = ended[..] else { panic!("one record: {ended:?}") };
    assert_eq!((usage.client_packets, usage.peer_packets), (4, 1));
    assert_eq!(*duration, 301 * SECOND, "from when it was made");
    assert_eq!((world.ports.taken(), world.quotas.taken()), (0, 0));
}

#[test]
fn an_allocation_ends_when_its_time_is_up_wherever_it_is() {
    let mut world = Setup::new().build();
    let mut alice = Caller::new("198.51.100.7:5000");
    alice.allocate(&mut world);
    world.advance(599 * SECOND);
    let mut world = world.hand_over_to(heir(Setup::new));
    assert_eq!(world.ports.taken(), 1);
    world.advance(2 * SECOND);
    assert_eq!((world.ports.taken(), world.open.len()), (0, 0));
}

#[test]
fn quotas_stay_exact() {
    let setup = || Setup::new().quotas(2, 0);
    let mut world = setup().build();
    let mut callers: Vec<Caller> =
        (0..3).map(|number| Caller::new(&format!("198.51.100.7:{}", 5000 + number))).collect();
    callers[0].allocate(&mut world);
    callers[1].allocate(&mut world);
    let mut world = world.hand_over_to(heir(setup));
    assert_eq!(world.quotas.taken(), 2);
    callers[2].allocate_with(&mut world, |_| {}).expect_error(486);
    callers[0].refresh(&mut world, 0).expect_success();
    callers[2].allocate(&mut world);
}

#[test]
fn both_relayed_addresses_of_a_dual_allocation_go_over_as_one() {
    let mut world = Setup::new().build();
    let mut alice = Caller::new("198.51.100.7:5000");
    let reply = alice
        .allocate_with(&mut world, |writer| {
            writer.add(&AdditionalAddressFamily(Family::Ipv6));
        })
        .expect_success();
    assert!(reply.get::<XorRelayedAddress>().is_some());
    let mut world = world.hand_over_to(heir(Setup::new));
    assert_eq!(world.server.stats().allocations(), 1);
    alice.permit(&mut world, &[PEER, PEER_V6]).expect_success();
    alice.send(&mut world, PEER_V6, b"six").expect_to_peer(PEER_V6, b"six");
    alice.send(&mut world, PEER, b"four").expect_to_peer(PEER, b"four");
    alice.refresh(&mut world, 0).expect_success();
    assert_eq!(world.ports.taken(), 0);
}

#[test]
fn a_reserved_port_is_claimed_after_the_handover() {
    let mut world = Setup::new().build();
    let mut alice = Caller::new("198.51.100.7:5000");
    let reply = alice.allocate_with(&mut world, |writer| _ = writer.add(&EvenPort { reserve: true }));
    let reply = reply.expect_success();
    let (XorRelayedAddress(even), token) = (reply.expect(), reply.expect::<ReservationToken>());
    let mut world = world.hand_over_to(heir(Setup::new));
    assert_eq!(world.ports.taken(), 2);
    let mut other = Caller::new("198.51.100.7:5001");
    let reply = other.allocate_with(&mut world, |writer| _ = writer.add(&token)).expect_success();
    let XorRelayedAddress(odd) = reply.expect();
    assert_eq!(odd.port(), even.port() + 1);
    world.advance(3601 * SECOND);
    assert_eq!((world.ports.taken(), world.quotas.taken()), (0, 0));
}

#[test]
fn a_retransmitted_delete_is_answered_by_the_next_process_too() {
    let mut world = Setup::new().build();
    let mut alice = Caller::new("198.51.100.7:5000");
    alice.allocate(&mut world);
    let id = world.transaction();
    let delete = alice.signed(id, Method::REFRESH, |writer| _ = writer.add(&Lifetime(0)));
    world.receive(alice.client, &delete).expect_success();
    let mut world = world.hand_over_to(heir(Setup::new));
    world.receive(alice.client, &delete).expect_success();
}

#[test]
fn the_key_of_a_rest_user_goes_along_though_the_secret_is_another_by_now() {
    let now = UnixTime(1_800_000_000);
    let name = format!("{}:alice", now.0 + 600);
    let with = |secret: &'static [u8]| {
        move || {
            let mut credentials = Credentials::new("example.org");
            credentials.add_secret(secret);
            Setup::with_credentials(credentials)
        }
    };
    let mut world = with(b"north")().build();
    let mut alice = Caller::new("198.51.100.7:5000").named(&name, &rest_password(b"north", &name));
    alice.allocate(&mut world);
    let mut world = world.hand_over_to(heir(with(b"south")));
    alice.bind(&mut world, 0x4000, PEER).expect_success();
    // As little as another one from now on, once this allocation has gone.
    let mut late = Caller::new("198.51.100.8:5000").named(&name, &rest_password(b"north", &name));
    late.allocate_with(&mut world, |_| {}).expect_error(401);
}

#[test]
fn whoever_comes_by_a_connection_stays_and_its_port_and_place_are_taken_until_it_ends() {
    let mut world = Setup::new().quotas(2, 0).build();
    let mut by_udp = Caller::new("198.51.100.7:5000");
    let mut by_tls = Caller::new("198.51.100.7:5001");
    by_tls.client.tuple.transport = Transport::Tls;
    by_tls.client.link = Link(1 << 63 | 4);
    by_udp.allocate(&mut world);
    let stays = by_tls.allocate(&mut world);
    let estate = world.server.write_estate(&|link| link == Link(1), true);
    assert_eq!(estate.relays.len(), 1);
    let mut heir = heir(|| Setup::new().quotas(2, 0));
    let inherited = heir.server.read_estate(world.now, &estate.bytes, &Some).expect("it can be read");
    heir.now = world.now;
    heir.open.push((inherited.relays[0], address("192.0.2.10:1")));
    let _released = world.server.release_estate(&estate, &|link| link == Link(1));
    assert_eq!((heir.ports.taken(), heir.quotas.taken()), (2, 2));
    let mut third = Caller::new("198.51.100.7:5002");
    third.allocate_with(&mut heir, |_| {}).expect_error(486);
    // What stays is served on, and knows that the other's port is live.
    by_tls.permit(&mut world, &[PEER]).expect_success();
    by_tls.send(&mut world, PEER, b"still here").expect_to_peer(PEER, b"still here");
    assert_eq!(inherited.elsewhere.len(), 1);
    drop(inherited.elsewhere);
    assert_eq!((heir.ports.taken(), heir.quotas.taken()), (1, 1));
    third.allocate(&mut heir);
    assert_ne!(stays.port(), 0);
}

#[test]
fn a_ticket_is_good_with_the_next_process() {
    let setup = || Setup::new().config(|config: &mut Config| config.mobility = true);
    let mut world = setup().build();
    let mut alice = Caller::new("198.51.100.7:5000");
    let reply = alice
        .allocate_with(&mut world, |writer| {
            writer.add(&MobilityTicket(b""));
        })
        .expect_success();
    let MobilityTicket(ticket) = reply.expect();
    let ticket = ticket.to_vec();
    alice.bind(&mut world, 0x4000, PEER).expect_success();
    let mut world = world.hand_over_to(heir(setup));
    let mut moved = Caller::new("203.0.113.9:6000");
    moved.fetch_nonce(&mut world);
    let reply = moved.request(&mut world, Method::REFRESH, |writer| {
        writer.add(&MobilityTicket(&ticket));
    });
    reply.expect_success();
    // In the middle of the move: both 5-tuples hold.
    let mut world = world.hand_over_to(heir(setup));
    alice.send_on(&mut world, 0x4000, b"from the old one").expect_to_peer(PEER, b"from the old one");
    moved.send_on(&mut world, 0x4000, b"from the new one").expect_to_peer(PEER, b"from the new one");
    alice.send_on(&mut world, 0x4000, b"over").expect_silence();
}

#[test]
fn what_does_not_fit_or_is_damaged_changes_nothing() {
    let mut world = Setup::new().build();
    let mut alice = Caller::new("198.51.100.7:5000");
    let relayed = alice.allocate(&mut world);
    alice.bind(&mut world, 0x4000, PEER).expect_success();
    let estate = world.server.write_estate(&|_| true, true);
    let mut elsewhere = heir(|| Setup::new().relays(&["192.0.2.77"]));
    let refused = elsewhere.server.read_estate(world.now, &estate.bytes, &Some);
    assert_eq!(refused.err(), Some(EstateError::NoRelayAddress(relayed)));
    let mut heir = heir(Setup::new);
    for length in 0..estate.bytes.len() {
        assert!(heir.server.read_estate(world.now, &estate.bytes[..length], &Some).is_err());
    }
    for index in 0..estate.bytes.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut damaged = estate.bytes.clone();
            damaged[index] ^= flip;
            let mut one = self::heir(Setup::new);
            // Some damage makes another good estate; whatever comes of it holds together.
            let outcome = one.server.read_estate(world.now, &damaged, &Some);
            one.server.check_invariants();
            if outcome.is_err() {
                assert_eq!((one.ports.taken(), one.quotas.taken()), (0, 0));
            }
        }
    }
    assert_eq!(
        heir.server.read_estate(world.now, &estate.bytes, &|_| None).err(),
        Some(EstateError::Damaged)
    );
    let mut newer = estate.bytes.clone();
    newer[9] = 200;
    assert_eq!(heir.server.read_estate(world.now, &newer, &Some).err(), Some(EstateError::Version(200)));
    assert_eq!((heir.ports.taken(), heir.quotas.taken()), (0, 0));
    assert!(heir.server.read_estate(world.now, &estate.bytes, &Some).is_ok());
    assert!(heir.server.read_estate(world.now, &estate.bytes, &Some).is_err(), "it is there already");
    heir.server.check_invariants();
    world.advance(Duration::ZERO);
    alice.send_on(&mut world, 0x4000, b"the giver goes on").expect_to_peer(PEER, b"the giver goes on");
}

/// What an outcome is, whatever the ports and nonces that chance gave.
fn essence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Reply(reply) => format!("{:?} {:?}", reply.message().class(), reply.number()),
        Outcome::ToPeer { peer, data, .. } => format!("to {peer}: {data:?}"),
        Outcome::ToClient { to, bytes } if bytes[0] & 0xC0 == 0x40 => {
            format!("to {}: {bytes:?}", to.tuple.client)
        }
        // An indication has a transaction id of its own.
        Outcome::ToClient { to, bytes } => format!("to {}: {:?}", to.tuple.client, &bytes[20..]),
        Outcome::Drop(reason) => format!("{reason:?}"),
        other => format!("{other:?}"),
    }
}

/// Random things that clients and peers do, to a server that stays and to one that is handed over again and again.
#[test]
fn whatever_clients_and_peers_do_a_handover_makes_no_difference() {
    let setup = || Setup::new().quotas(3, 0).config(|config: &mut Config| config.max_lifetime = 700 * SECOND);
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut worlds = [Some(setup().build()), Some(heir(setup))];
        let mut callers: Vec<[Caller; 2]> = (0..5)
            .map(|number| [(); 2].map(|()| Caller::new(&format!("198.51.100.7:{}", 5000 + number))))
            .collect();
        let mut relayed_at = vec![[None; 2]; callers.len()];
        let peers = [PEER, OTHER_PEER, PEER_V6, "8.8.8.8:7001"];
        for step in 0..300 {
            let (who, what) = (dice.below(callers.len()), dice.below(14));
            let (peer, other) = (peers[dice.below(peers.len())], peers[dice.below(peers.len())]);
            let (channel, seconds) = (0x4000 + dice.below(3) as u16, [0, 1, 600, 3000][dice.below(4)]);
            let mut seen = Vec::new();
            for side in 0..2 {
                let world = worlds[side].as_mut().expect("a world");
                let caller = &mut callers[who][side];
                let outcome = match what {
                    0 | 1 => {
                        let outcome = caller.allocate_with(world, |_| {});
                        if let Outcome::Reply(reply) = &outcome
                            && let Some(XorRelayedAddress(relayed)) = reply.get()
                        {
                            relayed_at[who][side] = Some(relayed);
                        }
                        outcome
                    }
                    2 => caller.refresh(world, seconds),
                    3 | 4 => caller.permit(world, &[peer]),
                    5 => caller.permit(world, &[peer, other]),
                    6 | 7 => caller.bind(world, channel, peer),
                    8 => caller.send(world, peer, b"sent"),
                    9 => caller.send_on(world, channel, b"on a channel"),
                    10 | 11 => {
                        // What he had before may be somebody else's by now.
                        let has_it = world.server.is_allocated(&caller.client.tuple);
                        let open = |local: &SocketAddr| world.open.iter().any(|(_, open)| open == local);
                        match relayed_at[who][side].filter(|local| has_it && open(local)) {
                            Some(local) => world.receive_from_peer(local, peer, b"from a peer"),
                            None => Outcome::Drop(Reason::NoAllocation),
                        }
                    }
                    12 => {
                        world.advance(Duration::from_secs([1, 29, 100, 299][seconds as usize % 4]));
                        Outcome::Drop(Reason::Empty)
                    }
                    _ => {
                        if side == 1 {
                            let next = worlds[1].take().expect("a world").hand_over_to(heir(setup));
                            worlds[1] = Some(next);
                        }
                        Outcome::Drop(Reason::Empty)
                    }
                };
                seen.push(essence(&outcome));
            }
            assert_eq!(seen[0], seen[1], "seed {seed}, step {step}, what {what}");
            let [stays, moves] = &worlds;
            let state = |world: &Option<World>| {
                let world = world.as_ref().expect("a world");
                (world.ports.taken(), world.quotas.taken(), world.server.stats().allocations())
            };
            assert_eq!(state(stays), state(moves), "seed {seed}, step {step}");
        }
        let ended = |world: &Option<World>| {
            let events = &world.as_ref().expect("a world").events;
            let record = |event: &Event| match event {
                Event::Ended { cause, usage, duration, .. } => Some((*cause, *usage, *duration)),
                _ => None,
            };
            events.iter().filter_map(record).map(|it| format!("{it:?}")).collect::<Vec<_>>()
        };
        assert_eq!(ended(&worlds[0]), ended(&worlds[1]), "the same records, each once");
    }
}
