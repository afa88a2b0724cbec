//! RFC 8016 §3.2.2: receiving a Refresh request.

use turnpike_turn::{EndCause, Event, Reason};
use turnpike_wire::attributes::{
    AdditionalAddressFamily, Lifetime, MobilityTicket, RequestedAddressFamily, XorRelayedAddress,
};
use turnpike_wire::{AttributeType, Family, Method};

use super::{CAFE, HOME, Mobile, TRAIN, alice_at, resume, resume_as, setup};
use crate::harness::{Caller, OTHER_PEER, Outcome, PEER, PEER_V6, SECOND, World, channel_data, request};

#[test]
fn a_refresh_with_a_ticket_takes_everything_along() {
    // Conformance 142: relayed address, permissions, channels, session and usage; and nothing is counted twice.
    let mut world = setup().quotas(1, 1).build();
    let mut mobile = Mobile::new(&mut world);
    mobile.caller.send_on(&mut world, 0x4000, b"from home").expect_to_peer(PEER, b"from home");
    mobile.move_to(&mut world, alice_at(CAFE));
    mobile.caller.send_on(&mut world, 0x4000, b"from the cafe").expect_to_peer(PEER, b"from the cafe");
    mobile.caller.send(&mut world, PEER, b"again").expect_to_peer(PEER, b"again");
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (1, 1, 1));
    assert_eq!(world.server.stats().allocations(), 1);
    let id = world.transaction();
    mobile.caller.request_as(&mut world, id, Method::REFRESH, |writer| {
        writer.add(&Lifetime(0));
    });
    let ended = world.events.iter().find_map(|event| match event {
        Event::Ended { session, tuple, usage, cause, .. } => Some((*session, *tuple, *usage, *cause)),
        _ => None,
    });
    let (session, tuple, usage, cause) = ended.expect("it has ended");
    let allocated = world.events.iter().find_map(|event| match event {
        Event::Allocated { session, .. } => Some(*session),
        _ => None,
    });
    assert_eq!(Some(session), allocated);
    assert_eq!((tuple, cause), (mobile.caller.client.tuple, EndCause::Deleted));
    assert_eq!((usage.client_packets, usage.peer_packets), (3, 1));
    assert_eq!((world.quotas.taken(), world.ports.taken()), (0, 0));
    world.server.check_invariants();
}

#[test]
fn both_5_tuples_hold_until_data_comes_by_the_new_one() {
    // Conformance 144.
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let mut home = mobile.move_to(&mut world, alice_at(CAFE));
    assert_eq!(mobile.reached_at(&mut world), home.client);
    home.send_on(&mut world, 0x4000, b"still here").expect_to_peer(PEER, b"still here");
    home.permit(&mut world, &[OTHER_PEER]).expect_success();
    let binding = request(Method::BINDING, |_| {});
    world.receive(mobile.caller.client, &binding).expect_success();
    assert_eq!(
        mobile.reached_at(&mut world),
        home.client,
        "whoever asks for his address says nothing by that"
    );
    world.server.check_invariants();
    mobile.caller.send_on(&mut world, 0x4000, b"arrived").expect_to_peer(PEER, b"arrived");
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    home.send_on(&mut world, 0x4000, b"gone").expect_drop(Reason::NoAllocation);
    home.send(&mut world, PEER, b"gone").expect_drop(Reason::NoAllocation);
    home.refresh(&mut world, 600).expect_error(437);
    home.refresh(&mut world, 0).expect_error(437);
    home.permit(&mut world, &[PEER]).expect_error(437);
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    world.server.check_invariants();
}

#[test]
fn a_send_indication_by_the_new_5_tuple_confirms_it_too() {
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    mobile.move_to(&mut world, alice_at(CAFE));
    mobile.caller.send(&mut world, PEER, b"arrived").expect_to_peer(PEER, b"arrived");
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
}

#[test]
fn a_request_by_the_new_5_tuple_confirms_it_as_well_if_it_is_the_owners() {
    // A client that only listens would else be reached where it no longer is.
    let requests: [fn(&mut Caller, &mut World) -> Outcome; 3] = [
        |caller, world| caller.permit(world, &[OTHER_PEER]),
        |caller, world| caller.bind(world, 0x4001, OTHER_PEER),
        |caller, world| caller.refresh(world, 600),
    ];
    for request in requests {
        let mut world = setup().build();
        let mut mobile = Mobile::new(&mut world);
        let home = mobile.move_to(&mut world, alice_at(CAFE));
        let mut thief = Caller::new(CAFE).named("bob", "builder");
        request(&mut thief, &mut world).expect_error(441);
        request(&mut thief.anonymous(), &mut world).expect_error(401);
        assert_eq!(mobile.reached_at(&mut world), home.client);
        request(&mut mobile.caller, &mut world).expect_success();
        assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
        home.send_on(&mut world, 0x4000, b"gone").expect_drop(Reason::NoAllocation);
        world.server.check_invariants();
    }
}

#[test]
fn a_client_that_only_listens_is_reached_at_its_new_5_tuple_after_half_a_minute() {
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let home = mobile.move_to(&mut world, alice_at(CAFE));
    world.advance(29 * SECOND);
    assert_eq!(mobile.reached_at(&mut world), home.client);
    world.advance(SECOND);
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    home.send_on(&mut world, 0x4000, b"late").expect_drop(Reason::NoAllocation);
}

#[test]
fn an_allocate_on_either_5_tuple_finds_it_taken_and_on_the_old_one_is_granted_later() {
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let mut home = mobile.move_to(&mut world, alice_at(CAFE));
    home.allocate_with(&mut world, |_| {}).expect_error(437);
    mobile.caller.allocate_with(&mut world, |_| {}).expect_error(437);
    mobile.caller.send(&mut world, PEER, b"arrived").expect_to_peer(PEER, b"arrived");
    home.allocate(&mut world);
    assert_eq!(world.server.stats().allocations(), 2);
    world.server.check_invariants();
}

#[test]
fn a_ticket_works_once() {
    // Conformance 146.
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let first = mobile.ticket.clone();
    mobile.move_to(&mut world, alice_at(CAFE));
    resume(&mut alice_at(TRAIN), &mut world, &first).expect_error(400);
    assert_eq!(world.server.stats().refused(Reason::UsedTicket), 1);
    mobile.move_to(&mut world, alice_at(TRAIN));
    resume(&mut alice_at(CAFE), &mut world, &first).expect_error(400);
}

#[test]
fn a_retransmission_is_answered_alike_and_moves_nothing() {
    // Conformance 145: the same ticket again, before and after the new 5-tuple is confirmed.
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    let mut caller = alice_at(CAFE);
    caller.fetch_nonce(&mut world);
    let id = world.transaction();
    let send = |world: &mut World| {
        let reply = resume_as(&caller, world, id, &mobile.ticket).expect_success();
        (reply.expect::<Lifetime>().0, reply.expect::<MobilityTicket<'_>>().0.to_vec())
    };
    let first = send(&mut world);
    assert_eq!(send(&mut world), first);
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    caller.send_on(&mut world, 0x4000, b"arrived").expect_to_peer(PEER, b"arrived");
    assert_eq!(send(&mut world), first);
    assert_eq!(mobile.reached_at(&mut world), caller.client);
    // Another request with the used ticket is no retransmission.
    let id = world.transaction();
    resume_as(&caller, &mut world, id, &mobile.ticket).expect_error(400);
    // What it says is still the one good ticket.
    let (_, ticket) = first;
    resume(&mut alice_at(TRAIN), &mut world, &ticket).expect_success();
}

#[test]
fn a_retransmission_from_elsewhere_is_none() {
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    let mut caller = alice_at(CAFE);
    caller.fetch_nonce(&mut world);
    let id = world.transaction();
    resume_as(&caller, &mut world, id, &mobile.ticket).expect_success();
    let mut other = alice_at(TRAIN);
    other.fetch_nonce(&mut world);
    resume_as(&other, &mut world, id, &mobile.ticket).expect_error(400);
    resume_as(&mobile.caller, &mut world, id, &mobile.ticket).expect_error(400);
}

#[test]
fn a_chain_of_moves_keeps_no_5_tuple_but_the_last_two() {
    // coturn once kept a session for each: thousands of moves filled its memory.
    let mut world = setup().quotas(1, 1).build();
    let mut mobile = Mobile::new(&mut world);
    let mut passed = Vec::new();
    for number in 0..3000_u16 {
        let from = format!("198.51.100.{}:{}", number % 200 + 1, 2000 + number / 200);
        passed.push(mobile.move_to(&mut world, alice_at(&from)));
    }
    world.server.check_invariants();
    let before = passed.pop().expect("there was one before");
    assert_eq!(mobile.reached_at(&mut world), before.client);
    for gone in passed {
        gone.send_on(&mut world, 0x4000, b"gone").expect_drop(Reason::NoAllocation);
    }
    before.send_on(&mut world, 0x4000, b"there").expect_to_peer(PEER, b"there");
    assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (1, 1, 1));
    assert_eq!(world.server.stats().allocations(), 1);
    world.advance(700 * SECOND);
    assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (0, 0, 0));
    assert_eq!(world.server.poll_timeout(), None, "no timer is left behind");
}

#[test]
fn a_client_comes_back_to_the_5_tuple_it_was_about_to_leave() {
    // A NAT that gives the old mapping again.
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let home = mobile.move_to(&mut world, alice_at(CAFE));
    let cafe = mobile.move_to(&mut world, home.clone());
    assert_eq!(mobile.reached_at(&mut world), cafe.client);
    world.server.check_invariants();
    home.send_on(&mut world, 0x4000, b"home again").expect_to_peer(PEER, b"home again");
    assert_eq!(mobile.reached_at(&mut world), home.client);
    cafe.send_on(&mut world, 0x4000, b"left").expect_drop(Reason::NoAllocation);
    // And after it is confirmed, likewise.
    mobile.move_to(&mut world, cafe.clone());
    cafe.send_on(&mut world, 0x4000, b"cafe again").expect_to_peer(PEER, b"cafe again");
    mobile.move_to(&mut world, home.clone());
    home.send_on(&mut world, 0x4000, b"home").expect_to_peer(PEER, b"home");
    world.server.check_invariants();
}

#[test]
fn a_delete_with_a_ticket_ends_the_allocation_and_is_answered_again() {
    // Conformance 145.
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    let mut caller = alice_at(CAFE);
    caller.fetch_nonce(&mut world);
    let id = world.transaction();
    for _ in 0..2 {
        let outcome = caller.request_as(&mut world, id, Method::REFRESH, |writer| {
            writer.add(&Lifetime(0)).add(&MobilityTicket(&mobile.ticket));
        });
        let reply = outcome.expect_success();
        assert_eq!(reply.expect::<Lifetime>().0, 0);
        assert!(!reply.has(AttributeType::MOBILITY_TICKET), "nothing is left to move");
        assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (0, 0, 0));
    }
    resume(&mut alice_at(TRAIN), &mut world, &mobile.ticket).expect_error(437);
    mobile.caller.send_on(&mut world, 0x4000, b"late").expect_drop(Reason::NoAllocation);
    world.server.check_invariants();
}

#[test]
fn a_delete_after_the_move_works_by_either_5_tuple() {
    for by_old in [false, true] {
        let mut world = setup().build();
        let mut mobile = Mobile::new(&mut world);
        let mut home = mobile.move_to(&mut world, alice_at(CAFE));
        let caller = if by_old { &mut home } else { &mut mobile.caller };
        caller.refresh(&mut world, 0).expect_success();
        assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (0, 0, 0));
        home.refresh(&mut world, 600).expect_error(437);
        mobile.caller.refresh(&mut world, 600).expect_error(437);
        world.server.check_invariants();
    }
}

#[test]
fn an_allocation_that_expired_is_not_moved() {
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    world.advance(600 * SECOND);
    resume(&mut alice_at(CAFE), &mut world, &mobile.ticket).expect_error(437);
}

#[test]
fn both_relayed_addresses_move_and_either_may_end() {
    let mut world = setup().build();
    let mut home = Caller::new(HOME);
    let outcome = home.allocate_with(&mut world, |writer| {
        writer.add(&AdditionalAddressFamily(Family::Ipv6)).add(&MobilityTicket(b""));
    });
    let reply = outcome.expect_success();
    let XorRelayedAddress(relayed) = reply.expect();
    let ticket = reply.expect::<MobilityTicket<'_>>().0.to_vec();
    home.bind(&mut world, 0x4000, PEER).expect_success();
    home.bind(&mut world, 0x4001, PEER_V6).expect_success();
    // A family that neither has is found out before anything moves.
    let mut cafe = alice_at(CAFE);
    let ask = |cafe: &mut Caller, world: &mut World, family, seconds| {
        cafe.request(world, Method::REFRESH, |writer| {
            writer.add(&RequestedAddressFamily(family)).add(&Lifetime(seconds)).add(&MobilityTicket(&ticket));
        })
    };
    let reply = ask(&mut cafe, &mut world, Family::Ipv4, 0).expect_success();
    let MobilityTicket(next) = reply.expect();
    assert!(!world.open.iter().any(|(_, address)| *address == relayed), "the IPv4 one is closed");
    cafe.send_on(&mut world, 0x4001, b"six").expect_to_peer(PEER_V6, b"six");
    home.send_on(&mut world, 0x4001, b"six").expect_drop(Reason::NoAllocation);
    world.server.check_invariants();
    let mut train = alice_at(TRAIN);
    let outcome = train.request(&mut world, Method::REFRESH, |writer| {
        writer.add(&RequestedAddressFamily(Family::Ipv4)).add(&MobilityTicket(next));
    });
    outcome.expect_error(443);
    resume(&mut train, &mut world, next).expect_success();
    train.send_on(&mut world, 0x4001, b"six").expect_to_peer(PEER_V6, b"six");
    train.refresh(&mut world, 0).expect_success();
    assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (0, 0, 0));
    world.server.check_invariants();
}

#[test]
fn a_malformed_refresh_uses_no_ticket_up() {
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let mut cafe = alice_at(CAFE);
    let outcome = cafe.request(&mut world, Method::REFRESH, |writer| {
        writer.add_raw(AttributeType::LIFETIME, b"x").add(&MobilityTicket(&mobile.ticket));
    });
    outcome.expect_error(400);
    mobile.move_to(&mut world, cafe);
}

#[test]
fn expiry_comes_for_moved_allocations_as_for_others() {
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    world.advance(500 * SECOND);
    mobile.move_to(&mut world, alice_at(CAFE));
    world.advance(599 * SECOND);
    assert_eq!(world.server.stats().allocations(), 1);
    world.advance(SECOND);
    assert_eq!(world.server.stats().allocations(), 0);
    assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (0, 0, 0));
    let packet = channel_data(0x4000, b"late");
    world.receive(mobile.caller.client, &packet).expect_drop(Reason::NoAllocation);
}
