//! `multiplex-peer`: the sessions of a worker share a port, and are told apart by their peers.

use std::collections::HashMap;
use std::net::SocketAddr;

use turnpike_turn::{IcmpError, Multiplex, Reason};
use turnpike_wire::attributes::{
    AdditionalAddressFamily, EvenPort, MobilityTicket, ReservationToken, XorRelayedAddress,
};
use turnpike_wire::{AttributeType, Family, MessageWriter};

use crate::harness::{Caller, Dice, Outcome, PEER_V6, SECOND, Setup, World, address};

/// Three peers, two of them at one address.
const HERE: &str = "8.8.8.8:7000";
const BESIDE: &str = "8.8.8.8:7001";
const THERE: &str = "9.9.9.9:7000";
const WHOLE: &str = "8.8.8.8:0";

fn setup() -> Setup {
    let multiplex = Some(Multiplex { first_port: 3480, most_peers: 256 });
    Setup::new().config(|config| config.multiplex = multiplex)
}

fn caller(number: u16) -> Caller {
    Caller::new(&format!("203.0.113.1:{}", 4000 + number))
}

/// A session, with its relayed address looked at.
#[track_caller]
fn session(world: &mut World, number: u16) -> Caller {
    let mut caller = caller(number);
    assert_eq!(caller.allocate(world), address("192.0.2.10:3480"));
    caller
}

/// Who gets what comes from this peer.
#[track_caller]
fn hears(world: &mut World, peer: &str) -> Option<SocketAddr> {
    match world.receive_shared(0, peer, b"in") {
        Outcome::ToClient { to, .. } => Some(to.tuple.client),
        outcome => {
            outcome.expect_drop(Reason::NoPermission);
            None
        }
    }
}

#[test]
fn the_sessions_of_a_worker_have_one_port_and_each_worker_another() {
    let mut world = setup().build();
    session(&mut world, 0);
    session(&mut world, 1);
    assert_eq!(caller(2).allocate_v6(&mut world), address("[2001:db8::10]:3481"));
    let mut second = setup().sharing_with(&world).build();
    assert_eq!(caller(3).allocate(&mut second), address("192.0.2.10:3482"));
    assert_eq!(caller(4).allocate_v6(&mut second), address("[2001:db8::10]:3483"));
    assert_eq!(world.ports.taken(), 0, "none of the range");
    world.server.check_invariants();
}

#[test]
fn tcp_allocations_have_ports_of_their_own_and_shared_ones_no_tickets() {
    // What a peer connects to says whose it is by nothing but its port; and a shared port is one worker's for good.
    let mut world = setup().config(|config| config.mobility = true).build();
    for number in 0..2 {
        let relayed = Caller::by_tcp(&format!("203.0.113.1:{}", 5000 + number)).allocate_tcp(&mut world);
        assert!(relayed.port() >= 49_152, "{relayed}");
    }
    assert_eq!(world.ports.taken(), 2);
    let reply = caller(0).allocate_with(&mut world, |writer| {
        writer.add(&MobilityTicket(b""));
    });
    assert!(!reply.expect_success().has(AttributeType::MOBILITY_TICKET));
}

#[test]
fn each_session_hears_its_own_peers_alone() {
    let mut world = setup().build();
    let [mut one, mut two] = [0, 1].map(|number| session(&mut world, number));
    assert_eq!(hears(&mut world, HERE), None);
    one.permit(&mut world, &[HERE]).expect_success();
    two.bind(&mut world, 0x4000, BESIDE).expect_success();
    assert_eq!(hears(&mut world, HERE), Some(one.client.tuple.client));
    world.receive_shared(0, HERE, b"in").expect_data_indication(HERE, b"in");
    world.receive_shared(0, BESIDE, b"in").expect_channel_data(0x4000, b"in");
    for stranger in ["8.8.8.8:7002", THERE] {
        assert_eq!(hears(&mut world, stranger), None, "{stranger}");
    }
    // Another relay address is another port.
    world.receive_shared(1, PEER_V6, b"in").expect_drop(Reason::NoPermission);
}

#[test]
fn a_peer_is_one_sessions_and_another_is_told_508() {
    let mut world = setup().build();
    let [mut one, mut two] = [0, 1].map(|number| session(&mut world, number));
    one.permit(&mut world, &[HERE]).expect_success();
    two.permit(&mut world, &[HERE]).expect_error(508);
    two.bind(&mut world, 0x4000, HERE).expect_error(508);
    two.permit(&mut world, &[WHOLE]).expect_error(508);
    assert_eq!(world.server.stats().refused(Reason::PeerTaken), 3);
    two.bind(&mut world, 0x4000, BESIDE).expect_success();
    one.permit(&mut world, &[WHOLE]).expect_error(508);
    // Whoever has it may ask again, and have a channel to it.
    one.permit(&mut world, &[HERE]).expect_success();
    one.bind(&mut world, 0x4001, HERE).expect_success();
    assert_eq!(hears(&mut world, HERE), Some(one.client.tuple.client));
    assert_eq!(hears(&mut world, BESIDE), Some(two.client.tuple.client));
}

#[test]
fn without_a_port_the_whole_address_is_claimed() {
    let mut world = setup().build();
    let [mut one, mut two] = [0, 1].map(|number| session(&mut world, number));
    one.permit(&mut world, &[BESIDE]).expect_success();
    one.permit(&mut world, &[WHOLE]).expect_success();
    for peer in [HERE, BESIDE, "8.8.8.8:1"] {
        assert_eq!(hears(&mut world, peer), Some(one.client.tuple.client), "{peer}");
        two.bind(&mut world, 0x4000, peer).expect_error(508);
    }
    one.send(&mut world, HERE, b"out").expect_to_peer(HERE, b"out");
    two.permit(&mut world, &["9.9.9.9:0"]).expect_success();
}

#[test]
fn data_goes_out_to_claimed_peers_alone() {
    // A peer could not tell two sessions behind one port apart: one could speak in the other's name.
    let mut world = setup().build();
    let [mut one, mut two] = [0, 1].map(|number| session(&mut world, number));
    one.permit(&mut world, &[HERE]).expect_success();
    two.permit(&mut world, &[BESIDE]).expect_success();
    one.send(&mut world, HERE, b"out").expect_to_peer(HERE, b"out");
    one.send(&mut world, BESIDE, b"out").expect_drop(Reason::PeerTaken);
    one.send(&mut world, "8.8.8.8:9", b"out").expect_drop(Reason::PeerTaken);
    one.send(&mut world, THERE, b"out").expect_drop(Reason::PeerTaken);
}

#[test]
fn nothing_passes_without_a_permission_whatever_server_relay_says() {
    let mut world = setup().config(|config| config.server_relay = true).build();
    let one = session(&mut world, 0);
    one.send(&mut world, HERE, b"out").expect_drop(Reason::NoPermission);
    assert_eq!(hears(&mut world, HERE), None);
}

#[test]
fn of_several_peers_all_are_granted_or_none() {
    let mut world = setup().build();
    let [mut one, mut two, mut three] = [0, 1, 2].map(|number| session(&mut world, number));
    one.permit(&mut world, &[HERE]).expect_success();
    two.permit(&mut world, &[THERE, HERE]).expect_error(508);
    assert_eq!(hears(&mut world, THERE), None);
    two.send(&mut world, THERE, b"out").expect_drop(Reason::NoPermission);
    // What was not granted stands in nobody's way.
    three.permit(&mut world, &[THERE]).expect_success();
    assert_eq!(hears(&mut world, THERE), Some(three.client.tuple.client));
}

#[test]
fn what_a_session_leaves_is_free_for_the_next() {
    let mut world = setup().build();
    let [mut one, mut two] = [0, 1].map(|number| session(&mut world, number));
    one.permit(&mut world, &[HERE, "9.9.9.9:0"]).expect_success();
    one.refresh(&mut world, 0).expect_success();
    assert_eq!(hears(&mut world, HERE), None);
    two.permit(&mut world, &[HERE, THERE]).expect_success();
    assert_eq!(hears(&mut world, HERE), Some(two.client.tuple.client));
    // A permission that ran out holds nothing either, though its session lives.
    let mut three = session(&mut world, 2);
    three.permit(&mut world, &[HERE]).expect_error(508);
    world.advance(300 * SECOND);
    assert_eq!(hears(&mut world, HERE), None);
    three.permit(&mut world, &[WHOLE]).expect_success();
    two.permit(&mut world, &[HERE]).expect_error(508);
    assert_eq!(hears(&mut world, BESIDE), Some(three.client.tuple.client));
    world.advance(301 * SECOND);
    assert!(world.open.is_empty());
    world.server.check_invariants();
}

#[test]
fn a_session_has_only_so_many_peers() {
    let mut world = setup().config(|config| config.multiplex.as_mut().unwrap().most_peers = 3).build();
    let mut one = session(&mut world, 0);
    one.permit(&mut world, &["8.8.8.1:1", "8.8.8.2:2", "8.8.8.3:3"]).expect_success();
    one.permit(&mut world, &["8.8.8.4:4"]).expect_error(508);
    assert_eq!(world.server.stats().refused(Reason::TooManyPeers), 1);
    one.permit(&mut world, &["8.8.8.2:2"]).expect_success();
    world.advance(299 * SECOND);
    one.permit(&mut world, &["8.8.8.3:3"]).expect_success();
    world.advance(SECOND);
    // Two of the three permissions have run out.
    one.permit(&mut world, &["8.8.8.4:4", "8.8.8.5:5"]).expect_success();
    one.permit(&mut world, &["8.8.8.6:6"]).expect_error(508);
}

#[test]
fn what_another_has_taken_since_counts_no_longer() {
    let mut world = setup().config(|config| config.multiplex.as_mut().unwrap().most_peers = 2).build();
    let [mut one, mut two] = [0, 1].map(|number| session(&mut world, number));
    one.permit(&mut world, &[HERE]).expect_success();
    world.advance(300 * SECOND);
    two.permit(&mut world, &[HERE]).expect_success();
    one.permit(&mut world, &[BESIDE]).expect_success();
    one.permit(&mut world, &[THERE]).expect_success();
    assert_eq!(hears(&mut world, BESIDE), Some(one.client.tuple.client));
    assert_eq!(hears(&mut world, HERE), Some(two.client.tuple.client));
    one.permit(&mut world, &["9.9.9.9:7001"]).expect_error(508);
}

#[test]
fn a_port_that_is_shared_can_be_neither_chosen_nor_reserved() {
    let mut world = setup().build();
    for reserve in [false, true] {
        let even = |writer: &mut MessageWriter<'_>| _ = writer.add(&EvenPort { reserve });
        caller(0).allocate_with(&mut world, even).expect_error(508);
    }
    let token = |writer: &mut MessageWriter<'_>| _ = writer.add(&ReservationToken([7; 8]));
    caller(0).allocate_with(&mut world, token).expect_error(508);
    assert!(world.open.is_empty() && world.quotas.taken() == 0);
    session(&mut world, 0);
}

#[test]
fn both_halves_of_a_dual_allocation_share_a_port_with_others() {
    let mut world = setup().build();
    let mut one = caller(0);
    let both = |writer: &mut MessageWriter<'_>| _ = writer.add(&AdditionalAddressFamily(Family::Ipv6));
    let reply = one.allocate_with(&mut world, both).expect_success();
    assert_eq!(reply.expect::<XorRelayedAddress>().0, address("192.0.2.10:3480"));
    let mut two = caller(1);
    assert_eq!(two.allocate_v6(&mut world), address("[2001:db8::10]:3481"));
    one.permit(&mut world, &[PEER_V6, HERE]).expect_success();
    two.permit(&mut world, &[PEER_V6]).expect_error(508);
    world.receive_shared(1, PEER_V6, b"in").expect_data_indication(PEER_V6, b"in");
    one.refresh(&mut world, 0).expect_success();
    two.permit(&mut world, &[PEER_V6]).expect_success();
}

#[test]
fn icmp_errors_are_told_to_whom_the_peer_belongs() {
    let mut world = setup().build();
    let mut one = session(&mut world, 0);
    session(&mut world, 1);
    let error = IcmpError { kind: 3, code: 3, mtu: 0 };
    world.receive_shared_icmp(0, HERE, error).expect_drop(Reason::NoPermission);
    one.permit(&mut world, &[HERE]).expect_success();
    let Outcome::Reply(reply) = world.receive_shared_icmp(0, HERE, error) else { panic!("an indication") };
    assert_eq!(reply.to, one.client);
}

#[test]
fn sessions_of_two_workers_reach_each_other() {
    let mut first = setup().build();
    let mut second = setup().sharing_with(&first).build();
    let mut one = session(&mut first, 0);
    let mut two = caller(1);
    assert_eq!(two.allocate(&mut second), address("192.0.2.10:3482"));
    one.permit(&mut first, &["192.0.2.10:3482"]).expect_success();
    two.permit(&mut second, &["192.0.2.10:3480"]).expect_success();
    one.send(&mut first, "192.0.2.10:3482", b"hello").expect_to_peer("192.0.2.10:3482", b"hello");
    second.receive_shared(0, "192.0.2.10:3480", b"hello").expect_data_indication("192.0.2.10:3480", b"hello");
}

#[test]
fn whatever_is_asked_in_whatever_order_nobody_hears_anothers_peer() {
    let mut world = setup().config(|config| config.multiplex.as_mut().unwrap().most_peers = 4).build();
    let mut dice = Dice(3480);
    let mut sessions: Vec<Caller> = (0..6).map(|number| session(&mut world, number)).collect();
    // By session: what it was granted, and until when at most.
    let mut granted: HashMap<(usize, String), u64> = HashMap::new();
    for _ in 0..4000 {
        let who = dice.below(sessions.len());
        let peer = format!("8.8.8.{}:{}", dice.below(4), dice.below(3));
        let now = world.now.unix.0;
        let outcome = match dice.below(8) {
            0 => {
                sessions[who].refresh(&mut world, 0).expect_success();
                granted.retain(|(session, _), _| *session != who);
                sessions[who] = session(&mut world, who as u16);
                continue;
            }
            1 => {
                world.advance(dice.below(200) as u32 * SECOND);
                for caller in &mut sessions {
                    caller.refresh(&mut world, 600).expect_success();
                }
                continue;
            }
            2 if !peer.ends_with(":0") => {
                sessions[who].bind(&mut world, 0x4000 + dice.below(40) as u16, &peer)
            }
            _ => sessions[who].permit(&mut world, &[&peer]),
        };
        if let Outcome::Reply(reply) = outcome
            && reply.number().is_none()
        {
            granted.insert((who, peer), now + 300);
        }
        let from = format!("8.8.8.{}:{}", dice.below(4), 1 + dice.below(2));
        let whole = format!("{}:0", &from[..7]);
        if let Some(to) = hears(&mut world, &from) {
            let heard = sessions.iter().position(|caller| caller.client.tuple.client == to).unwrap();
            let asked = |peer: &String| granted.contains_key(&(heard, peer.clone()));
            assert!(asked(&from) || asked(&whole), "{heard} never asked for {from}");
            // What goes out reaches the peer from nobody else.
            for (at, caller) in sessions.iter().enumerate().filter(|(at, _)| *at != heard) {
                let sent = caller.send(&mut world, &from, b"out");
                assert!(matches!(sent, Outcome::Drop(_)), "{at} speaks for {heard}");
            }
        }
        world.server.check_invariants();
    }
}
