//! RFC 6062 §5.5: data connection maintenance.

use turnpike_turn::{PeerConnectionId, Reason};

use crate::harness::{Caller, OTHER_PEER, Outcome, PEER, SECOND, Setup, World};

const CALLER: &str = "203.0.113.1:4000";

/// A client with one connection of each stage.
fn with_connections() -> (World, Caller, [PeerConnectionId; 3]) {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    let bound = caller.connect_well(&mut world, PEER);
    caller.again_from("203.0.113.1:5000").bind_connection(&mut world, bound).expect_success();
    let waiting = caller.connect_well(&mut world, OTHER_PEER);
    let Outcome::Connecting(connecting) = caller.connect(&mut world, "8.8.4.4:1") else {
        panic!("no attempt")
    };
    (world, caller, [bound, waiting, connecting])
}

#[test]
fn an_allocation_that_is_deleted_takes_its_connections_along() {
    // Conformance 132.
    let (mut world, mut caller, connections) = with_connections();
    caller.refresh(&mut world, 0).expect_success();
    assert_eq!(world.closed, connections);
    world.connected(connections[2], Ok(())).expect_drop(Reason::StaleRelay);
    world.server.check_invariants();
    assert_eq!(world.ports.taken(), 0);
}

#[test]
fn so_does_one_that_expires() {
    // Conformance 132.
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    let connection = caller.connect_well(&mut world, PEER);
    caller.again_from("203.0.113.1:5000").bind_connection(&mut world, connection).expect_success();
    world.advance(599 * SECOND);
    assert!(world.closed.is_empty());
    world.advance(SECOND);
    assert_eq!(world.closed, [connection]);
}

#[test]
fn so_does_one_whose_control_connection_ends_and_every_one_when_the_server_stops() {
    // Conformance 132.
    let (mut world, caller, connections) = with_connections();
    world.server.handle_link_closed(world.now, caller.client);
    world.drain();
    assert_eq!(world.closed, connections);
    let (mut world, _, connections) = with_connections();
    world.server.handle_shutdown(world.now);
    world.drain();
    assert_eq!(world.closed, connections);
    world.server.check_invariants();
}

#[test]
fn the_control_connection_outlives_its_data_connections() {
    // Conformance 132.
    let (mut world, mut caller, [bound, waiting, _]) = with_connections();
    world.server.handle_peer_closed(bound);
    world.server.handle_peer_closed(waiting);
    // The client's own end of a splice is on a 5-tuple without an allocation.
    world.server.handle_link_closed(world.now, caller.again_from("203.0.113.1:5000").client);
    world.drain();
    world.server.check_invariants();
    assert_eq!(world.server.stats().allocations(), 1);
    caller.refresh(&mut world, 600).expect_success();
    caller.connect_well(&mut world, PEER);
}

#[test]
fn of_two_families_only_the_one_that_ends_loses_its_connections() {
    use turnpike_wire::Family;
    use turnpike_wire::attributes::{AdditionalAddressFamily, Lifetime, RequestedAddressFamily};
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    let both = caller.allocate_tcp_with(&mut world, |writer| {
        writer.add(&AdditionalAddressFamily(Family::Ipv6));
    });
    both.expect_success();
    let four = caller.connect_well(&mut world, PEER);
    let six = caller.connect_well(&mut world, crate::harness::PEER_V6);
    let ended = caller.request(&mut world, turnpike_wire::Method::REFRESH, |writer| {
        writer.add(&Lifetime(0)).add(&RequestedAddressFamily(Family::Ipv4));
    });
    ended.expect_success();
    assert_eq!(world.closed, [four]);
    world.server.check_invariants();
    caller.again_from("203.0.113.1:5000").bind_connection(&mut world, six).expect_success();
}
