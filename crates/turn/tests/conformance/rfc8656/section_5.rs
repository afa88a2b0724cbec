//! RFC 8656 §5: general behaviour.

use turnpike_turn::{Client, Link, Reason, Transport};
use turnpike_wire::attributes::Software;
use turnpike_wire::{AttributeType, Method};

use crate::harness::{Caller, PEER, SECOND, Setup, indication, request};

const CALLER: &str = "203.0.113.1:4000";

#[test]
fn requests_on_an_unknown_5_tuple_are_a_mismatch() {
    // §5, conformance 56.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    for method in [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        caller.request(&mut world, method, |_| {}).expect_error(437);
    }
    caller.permit(&mut world, &[PEER]).expect_error(437);
    caller.bind(&mut world, 0x4000, PEER).expect_error(437);
}

#[test]
fn malformed_requests_on_an_unknown_5_tuple_are_a_mismatch_first() {
    // §5: the 5-tuple is looked at before the method's attributes.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    for (method, kind) in [
        (Method::REFRESH, AttributeType::LIFETIME),
        (Method::CREATE_PERMISSION, AttributeType::XOR_PEER_ADDRESS),
        (Method::CHANNEL_BIND, AttributeType::CHANNEL_NUMBER),
    ] {
        let outcome = caller.request(&mut world, method, |writer| {
            writer.add_raw(kind, &[1]);
        });
        outcome.expect_error(437);
    }
}

#[test]
fn data_on_an_unknown_5_tuple_is_dropped_in_silence() {
    // §5, conformance 56.
    let mut world = Setup::new().build();
    let caller = Caller::new(CALLER);
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::NoAllocation);
    caller.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoAllocation);
    world.receive(caller.client, &indication(Method::DATA, |_| {})).expect_silence();
}

#[test]
fn another_user_on_an_allocation_has_wrong_credentials_and_no_effect() {
    // §5, conformance 57.
    let mut world = Setup::new().build();
    let mut alice = Caller::new(CALLER);
    let relayed = alice.allocate(&mut world);
    let mut bob = alice.clone().named("bob", "builder");
    bob.refresh(&mut world, 0).expect_error(441);
    bob.refresh(&mut world, 3600).expect_error(441);
    bob.permit(&mut world, &[PEER]).expect_error(441);
    bob.bind(&mut world, 0x4000, PEER).expect_error(441);
    world.receive_from_peer(relayed, PEER, b"x").expect_drop(Reason::NoPermission);
    alice.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoChannel);
    world.advance(599 * SECOND);
    assert_eq!(world.server.stats().allocations(), 1);
    world.advance(SECOND);
    assert_eq!(world.server.stats().allocations(), 0, "bob did not extend it");
}

#[test]
fn another_users_allocate_on_a_busy_5_tuple_is_a_mismatch() {
    // §5: 441 is for every request but Allocate.
    let mut world = Setup::new().build();
    let mut alice = Caller::new(CALLER);
    alice.allocate(&mut world);
    let mut bob = alice.clone().named("bob", "builder");
    bob.allocate_with(&mut world, |_| {}).expect_error(437);
}

#[test]
fn authentication_precedes_the_5_tuple() {
    // §7.2, conformance 59.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        world.receive(caller.client, &request(method, |_| {})).expect_error(401);
    }
    assert_eq!(world.server.stats().allocations(), 1);
}

#[test]
fn software_goes_into_authenticated_responses_when_configured() {
    // §5, conformance 58.
    let mut world = Setup::new().config(|config| config.software = Some("Turnpike".into())).build();
    let mut caller = Caller::new(CALLER);
    for reply in [
        caller.allocate_with(&mut world, |_| {}).expect_success(),
        caller.refresh(&mut world, 600).expect_success(),
        caller.permit(&mut world, &["127.0.0.1:9"]).expect_error(403),
    ] {
        assert_eq!(reply.expect::<Software<'_>>().0, b"Turnpike");
    }
}

#[test]
fn a_5_tuple_is_transport_server_and_client_address() {
    // §3.2: one client address may hold an allocation for each server address, port and transport.
    let mut world = Setup::new().build();
    let first = Caller::new(CALLER);
    let mut tuples = vec![first.client.tuple];
    for transport in [Transport::Tcp, Transport::Tls, Transport::Dtls] {
        tuples.push(turnpike_turn::FiveTuple { transport, ..first.client.tuple });
    }
    for server in ["192.0.2.10:3479", "192.0.2.11:3478"] {
        let server = server.parse().unwrap();
        tuples.push(turnpike_turn::FiveTuple { server, ..first.client.tuple });
    }
    let mut relayed = Vec::new();
    for tuple in &tuples {
        let mut caller = Caller { client: Client { link: Link(9), tuple: *tuple }, ..first.clone() };
        relayed.push((caller.clone(), caller.allocate(&mut world)));
        caller.permit(&mut world, &[PEER]).expect_success();
    }
    assert_eq!(world.server.stats().allocations(), tuples.len() as u64);
    for (caller, relayed) in relayed {
        match world.receive_from_peer(relayed, PEER, b"x") {
            crate::harness::Outcome::ToClient { to, .. } => assert_eq!(to, caller.client),
            other => panic!("{other:?}"),
        }
    }
}
