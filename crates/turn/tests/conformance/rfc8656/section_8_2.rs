//! RFC 8656 §8.2: receiving a Refresh request.

use std::time::Duration;

use turnpike_turn::{EndCause, Event, Reason};
use turnpike_wire::attributes::{Lifetime, RequestedAddressFamily};
use turnpike_wire::{AttributeType, Family, MessageWriter, Method, TransactionId};

use crate::harness::{Caller, PEER, SECOND, Setup, World};

const CALLER: &str = "203.0.113.1:4000";

fn world_with_allocation() -> (World, Caller, std::net::SocketAddr) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    (world, caller, relayed)
}

#[test]
fn a_refresh_grants_a_lifetime_by_the_same_rule_as_an_allocate() {
    // Conformance 87 and 88.
    for (asked, granted) in
        [(None, 600), (Some(1), 600), (Some(600), 600), (Some(1800), 1800), (Some(u32::MAX), 3600)]
    {
        let (mut world, mut caller, _) = world_with_allocation();
        let outcome = caller.request(&mut world, Method::REFRESH, |writer| {
            writer.add_some(asked.map(Lifetime).as_ref());
        });
        assert_eq!(outcome.expect_success().expect::<Lifetime>().0, granted, "{asked:?}");
        world.advance(Duration::from_secs(u64::from(granted) - 1));
        assert_eq!(world.server.stats().allocations(), 1);
        world.advance(SECOND);
        assert_eq!(world.server.stats().allocations(), 0);
    }
}

#[test]
fn a_refresh_counts_from_when_it_is_made_and_may_shorten() {
    let (mut world, mut caller, _) = world_with_allocation();
    caller.refresh(&mut world, 3600).expect_success();
    world.advance(100 * SECOND);
    caller.refresh(&mut world, 700).expect_success();
    world.advance(699 * SECOND);
    assert_eq!(world.server.stats().allocations(), 1);
    world.advance(SECOND);
    assert_eq!(world.server.stats().allocations(), 0);
}

#[test]
fn a_lifetime_of_zero_deletes_at_once() {
    // Conformance 87: answered with LIFETIME 0; then 437, and nothing is relayed either way.
    let (mut world, mut caller, relayed) = world_with_allocation();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    let relay = world.relay_at(relayed);
    let reply = caller.refresh(&mut world, 0).expect_success();
    assert_eq!(reply.expect::<Lifetime>().0, 0);
    assert!(world.open.is_empty(), "its socket is closed");
    caller.refresh(&mut world, 600).expect_error(437);
    caller.permit(&mut world, &[PEER]).expect_error(437);
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoAllocation);
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoAllocation);
    world.receive_at(relay, PEER.parse().unwrap(), b"x").expect_drop(Reason::StaleRelay);
    let deleted = |event: &Event| matches!(event, Event::Ended { cause: EndCause::Deleted, .. });
    assert_eq!(world.events.iter().filter(|event| deleted(event)).count(), 1);
}

#[test]
fn a_family_that_does_not_fit_changes_nothing() {
    // Conformance 89.
    let (mut world, mut caller, _) = world_with_allocation();
    for seconds in [0, 3600] {
        let outcome = caller.request(&mut world, Method::REFRESH, |writer| {
            writer.add(&Lifetime(seconds)).add(&RequestedAddressFamily(Family::Ipv6));
        });
        outcome.expect_error(443);
    }
    let outcome = caller.request(&mut world, Method::REFRESH, |writer| {
        writer.add(&Lifetime(700)).add(&RequestedAddressFamily(Family::Ipv4));
    });
    outcome.expect_success();
    world.advance(699 * SECOND);
    assert_eq!(world.server.stats().allocations(), 1);
    world.advance(SECOND);
    assert_eq!(world.server.stats().allocations(), 0);
}

#[test]
fn an_ipv6_allocation_is_refreshed_by_its_family() {
    // Conformance 89.
    let mut world = Setup::new().build();
    let mut caller = Caller::new("[2001:db8:1::1]:4000");
    caller.allocate_v6(&mut world);
    for (family, fits) in [(Family::Ipv4, false), (Family::Ipv6, true)] {
        let outcome = caller.request(&mut world, Method::REFRESH, |writer| {
            writer.add(&RequestedAddressFamily(family));
        });
        let _ = if fits { outcome.expect_success() } else { outcome.expect_error(443) };
    }
}

#[test]
fn malformed_attributes_are_a_bad_request_and_change_nothing() {
    let (mut world, mut caller, _) = world_with_allocation();
    for kind in [AttributeType::LIFETIME, AttributeType::REQUESTED_ADDRESS_FAMILY] {
        let outcome = caller.request(&mut world, Method::REFRESH, |writer| {
            writer.add_raw(kind, &[0, 0]);
        });
        outcome.expect_error(400);
    }
    assert_eq!(world.server.stats().allocations(), 1);
}

#[test]
fn deleting_what_does_not_exist_is_a_mismatch() {
    // Conformance 90.
    let mut world = Setup::new().build();
    Caller::new(CALLER).refresh(&mut world, 0).expect_error(437);
}

#[test]
fn without_a_refresh_everything_ends_data_or_not() {
    // Conformance 91: data does not extend; port, permissions and channels go.
    let (mut world, mut caller, relayed) = world_with_allocation();
    let relay = world.relay_at(relayed);
    for _ in 0..5 {
        caller.bind(&mut world, 0x4000, PEER).expect_success();
        world.advance(100 * SECOND);
        caller.send(&mut world, PEER, b"x").expect_to_peer(PEER, b"x");
        world.receive_from_peer(relayed, PEER, b"x").expect_channel_data(0x4000, b"x");
    }
    world.advance(100 * SECOND - Duration::from_nanos(1));
    caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
    world.advance(Duration::from_nanos(1));
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoAllocation);
    world.receive_at(relay, PEER.parse().unwrap(), b"x").expect_drop(Reason::StaleRelay);
    assert_eq!((world.ports.taken(), world.open.len()), (0, 0));
    let expired = |event: &Event| matches!(event, Event::Ended { cause: EndCause::Expired, .. });
    assert!(world.events.iter().any(expired));
}

fn delete(writer: &mut MessageWriter<'_>) {
    writer.add(&Lifetime(0));
}

#[test]
fn a_retransmitted_delete_is_answered_with_success() {
    // Conformance 92: for as long as a client retransmits, to this user and this transaction only.
    let (mut world, caller, _) = world_with_allocation();
    let id = TransactionId([4; 12]);
    let first = caller.request_as(&mut world, id, Method::REFRESH, delete).expect_success();
    world.advance(39 * SECOND);
    let second = caller.request_as(&mut world, id, Method::REFRESH, delete).expect_success();
    assert_eq!(first.bytes, second.bytes);
    let bob = caller.clone().named("bob", "builder");
    bob.request_as(&mut world, id, Method::REFRESH, delete).expect_error(437);
    caller.request_as(&mut world, TransactionId([5; 12]), Method::REFRESH, delete).expect_error(437);
    world.advance(2 * SECOND);
    caller.request_as(&mut world, id, Method::REFRESH, delete).expect_error(437);
    assert_eq!(world.server.stats().allocations_ended, 1);
}

#[test]
fn a_retransmitted_delete_does_not_touch_a_new_allocation() {
    let (mut world, mut caller, _) = world_with_allocation();
    let id = TransactionId([4; 12]);
    caller.request_as(&mut world, id, Method::REFRESH, delete).expect_success();
    caller.allocate(&mut world);
    // The copy that was under way deletes nothing that the client still wants, or is at least answered.
    let _ = caller.request_as(&mut world, id, Method::REFRESH, delete).expect_success();
    assert_eq!(world.server.stats().allocations(), 1, "the new allocation lives on");
}

#[test]
fn the_second_delete_within_forty_seconds_is_remembered_as_long_as_the_first() {
    // Conformance 92: the timer of the first memory must not end the second.
    let (mut world, mut caller, _) = world_with_allocation();
    caller.request_as(&mut world, TransactionId([4; 12]), Method::REFRESH, delete).expect_success();
    world.advance(30 * SECOND);
    caller.allocate(&mut world);
    let id = TransactionId([5; 12]);
    caller.request_as(&mut world, id, Method::REFRESH, delete).expect_success();
    world.advance(20 * SECOND);
    caller.request_as(&mut world, id, Method::REFRESH, delete).expect_success();
}
