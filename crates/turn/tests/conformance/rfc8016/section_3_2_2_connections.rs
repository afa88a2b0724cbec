//! RFC 8016 §3.2.2 where 5-tuples are connections: they end, and that too is a message.

use turnpike_turn::{EndCause, Event, Reason, Transport};

use super::{CAFE, HOME, Mobile, TRAIN, alice_at, alice_by, allocate_mobile, resume, setup};
use crate::harness::{PEER, SECOND};

#[test]
fn an_allocation_with_a_ticket_outlives_its_connection_and_one_without_does_not() {
    // Its client is on the way to another network. Until it comes, data for it is dropped and its quota stays taken.
    let mut world = setup().quotas(1, 1).build();
    let mut mobile = Mobile::of(&mut world, alice_by(Transport::Tcp, HOME, 7));
    world.server.handle_link_closed(world.now, mobile.caller.client);
    world.drain();
    assert_eq!((world.quotas.taken(), world.open.len()), (1, 1));
    world.receive_from_peer(mobile.relayed, PEER, b"anybody?").expect_drop(Reason::ClientAway);
    mobile.caller.send_on(&mut world, 0x4000, b"stranger").expect_drop(Reason::NoAllocation);
    world.server.check_invariants();
    allocate_mobile(&mut alice_at(TRAIN), &mut world).expect_error(486);
    mobile.move_to(&mut world, alice_by(Transport::Tls, CAFE, 8));
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client, "there is no old 5-tuple to wait for");
    mobile.caller.send_on(&mut world, 0x4000, b"back").expect_to_peer(PEER, b"back");
    world.server.check_invariants();

    let mut world = setup().build();
    let mut caller = alice_by(Transport::Tcp, HOME, 7);
    caller.allocate(&mut world);
    world.server.handle_link_closed(world.now, caller.client);
    world.drain();
    assert!(world.open.is_empty());
}

#[test]
fn a_client_that_never_comes_back_loses_its_allocation_when_that_expires() {
    let mut world = setup().quotas(1, 1).build();
    let mobile = Mobile::of(&mut world, alice_by(Transport::Tcp, HOME, 7));
    world.server.handle_link_closed(world.now, mobile.caller.client);
    world.advance(600 * SECOND);
    assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (0, 0, 0));
    let expired = |event: &Event| matches!(event, Event::Ended { cause: EndCause::Expired, .. });
    assert_eq!(world.events.iter().filter(|event| expired(event)).count(), 1);
}

#[test]
fn whoever_connects_from_the_same_address_is_a_stranger() {
    let mut world = setup().build();
    let mut mobile = Mobile::of(&mut world, alice_by(Transport::Tcp, HOME, 7));
    world.server.handle_link_closed(world.now, mobile.caller.client);
    let mut stranger = alice_by(Transport::Tcp, HOME, 9).named("bob", "builder");
    stranger.send_on(&mut world, 0x4000, b"mine now?").expect_drop(Reason::NoAllocation);
    stranger.refresh(&mut world, 600).expect_error(437);
    stranger.allocate(&mut world);
    world.server.check_invariants();
    world.server.handle_link_closed(world.now, stranger.client);
    world.drain();
    assert_eq!(world.open.len(), 1, "only bob's has ended");
    // The owner may come back by the very same 5-tuple.
    mobile.move_to(&mut world, alice_by(Transport::Tcp, HOME, 10));
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    world.server.check_invariants();
}

#[test]
fn the_end_of_the_old_connection_confirms_the_new_5_tuple() {
    let mut world = setup().build();
    let mut mobile = Mobile::of(&mut world, alice_by(Transport::Tls, HOME, 7));
    let home = mobile.move_to(&mut world, alice_at(CAFE));
    assert_eq!(mobile.reached_at(&mut world), home.client);
    world.server.handle_link_closed(world.now, home.client);
    world.drain();
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    world.server.check_invariants();
}

#[test]
fn a_new_connection_that_breaks_at_once_leaves_all_as_it_was() {
    // Its client may never have got the next ticket.
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let ticket = mobile.ticket.clone();
    let home = mobile.move_to(&mut world, alice_by(Transport::Tcp, CAFE, 7));
    let unheard = std::mem::replace(&mut mobile.ticket, ticket);
    world.server.handle_link_closed(world.now, mobile.caller.client);
    world.drain();
    world.server.check_invariants();
    assert_eq!(mobile.reached_at(&mut world), home.client);
    resume(&mut alice_at(TRAIN), &mut world, &unheard).expect_error(400);
    mobile.move_to(&mut world, alice_by(Transport::Tcp, CAFE, 8));
    mobile.caller.send(&mut world, PEER, b"at last").expect_to_peer(PEER, b"at last");
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
}

#[test]
fn data_over_a_connection_is_padded_and_over_udp_is_not_wherever_it_began() {
    for (first, then) in [(Transport::Tcp, Transport::Udp), (Transport::Udp, Transport::Tcp)] {
        let mut world = setup().build();
        let mut mobile = Mobile::of(&mut world, alice_by(first, HOME, 7));
        mobile.move_to(&mut world, alice_by(then, CAFE, 8));
        mobile.caller.send(&mut world, PEER, b"arrived").expect_to_peer(PEER, b"arrived");
        let outcome = world.receive_from_peer(mobile.relayed, PEER, b"12345");
        let crate::harness::Outcome::ToClient { bytes, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(bytes.len(), if then.is_stream() { 12 } else { 9 });
    }
}

#[test]
fn a_server_that_stops_reports_those_whose_clients_are_away() {
    let mut world = setup().build();
    let mobile = Mobile::of(&mut world, alice_by(Transport::Tcp, HOME, 7));
    world.server.handle_link_closed(world.now, mobile.caller.client);
    world.server.handle_shutdown(world.now);
    world.drain();
    let ended = |event: &Event| matches!(event, Event::Ended { cause: EndCause::Shutdown, .. });
    assert_eq!(world.events.iter().filter(|event| ended(event)).count(), 1);
    assert_eq!((world.quotas.taken(), world.ports.taken(), world.open.len()), (0, 0, 0));
}
