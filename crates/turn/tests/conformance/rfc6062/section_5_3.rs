//! RFC 6062 §5.3: receiving a TCP connection on a relayed transport address.

use std::net::SocketAddr;

use turnpike_turn::Reason;

use crate::harness::{Caller, OTHER_PEER, PEER, SECOND, Setup, World, address};

const CALLER: &str = "203.0.113.1:4000";

fn permitting(peers: &[&str]) -> (World, Caller, SocketAddr) {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    let relayed = caller.allocate_tcp(&mut world);
    caller.permit(&mut world, peers).expect_success();
    (world, caller, relayed)
}

#[test]
fn a_peer_with_permission_is_announced_on_the_control_connection() {
    // Conformance 129.
    let (mut world, caller, relayed) = permitting(&[PEER]);
    let attempt = world.accept_well(relayed, PEER);
    assert_eq!((attempt.to, attempt.peer), (caller.client, address(PEER)));
    // The permission is for an address, whatever the port.
    assert_eq!(world.accept_well(relayed, "8.8.8.8:1").peer, address("8.8.8.8:1"));
    world.server.check_invariants();
}

#[test]
fn one_without_is_to_be_closed_at_once_and_the_client_hears_nothing() {
    // Conformance 129.
    let (mut world, mut caller, relayed) = permitting(&[PEER]);
    let (connection, outcome) = world.accept(relayed, OTHER_PEER);
    assert_eq!(connection, None);
    outcome.expect_drop(Reason::NoPermission);
    world.advance(301 * SECOND);
    let (connection, outcome) = world.accept(relayed, PEER);
    assert_eq!(connection, None, "the permission has run out");
    outcome.expect_drop(Reason::NoPermission);
    caller.permit(&mut world, &[PEER]).expect_success();
    world.accept_well(relayed, PEER);
}

#[test]
fn own_addresses_come_in_only_from_relayed_ports_that_speak_tcp() {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    let relayed = caller.allocate_tcp(&mut world);
    let other = Caller::by_tcp("203.0.113.1:4001").allocate_tcp(&mut world).to_string();
    let udp = Caller::by_tcp("203.0.113.1:4002").allocate(&mut world).to_string();
    caller.permit(&mut world, &[&other]).expect_success();
    for local in ["192.0.2.10:40000", &udp] {
        let (connection, outcome) = world.accept(relayed, local);
        assert_eq!(connection, None);
        outcome.expect_drop(Reason::OwnAddress);
    }
    world.accept_well(relayed, &other);
}

#[test]
fn the_client_has_30_seconds_to_come_for_it() {
    // Conformance 128.
    let (mut world, caller, relayed) = permitting(&[PEER]);
    let attempt = world.accept_well(relayed, PEER);
    world.advance(29 * SECOND);
    assert!(world.closed.is_empty());
    world.advance(SECOND);
    assert_eq!(world.closed, [attempt.connection]);
    caller.again_from("203.0.113.1:5000").bind_connection(&mut world, attempt.connection).expect_error(400);
}

#[test]
fn a_flood_of_peers_is_bounded() {
    let (mut world, _, relayed) = permitting(&[PEER]);
    let kept =
        (1..=1000).filter(|port| world.accept(relayed, &format!("8.8.8.8:{port}")).0.is_some()).count();
    assert_eq!(kept, 64);
    assert_eq!(world.server.stats().refused(Reason::TooManyConnections), 1000 - 64);
    world.server.check_invariants();
}

#[test]
fn a_late_connection_to_an_address_that_has_ended_is_nobodys() {
    let (mut world, mut caller, relayed) = permitting(&[PEER]);
    let relay = world.relay_at(relayed);
    caller.refresh(&mut world, 0).expect_success();
    let (connection, verdict) = world.server.handle_peer_accepted(world.now, relay, address(PEER));
    assert_eq!(connection, None);
    assert!(matches!(verdict, turnpike_turn::Verdict::Drop(Reason::StaleRelay)));
}

#[test]
fn a_client_that_sends_fingerprint_gets_it() {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER).with_fingerprint();
    let relayed = caller.allocate_tcp(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    let (_, outcome) = world.accept(relayed, PEER);
    assert_eq!(outcome.expect_reply().message().fingerprint_is_valid(), Some(true));
}
