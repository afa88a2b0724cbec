//! RFC 6062 §5.2: receiving a Connect request.

use std::collections::HashSet;
use std::time::Duration;

use turnpike_turn::{ConnectError, PeerConnectionId, Reason};
use turnpike_wire::attributes::ConnectionId;
use turnpike_wire::{AttributeType, Method};

use crate::harness::{Caller, OTHER_PEER, Outcome, PEER, PEER_V6, SECOND, Setup, World, address};

const CALLER: &str = "203.0.113.1:4000";

fn world_with_caller() -> (World, Caller) {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    (world, caller)
}

#[test]
fn a_connection_is_made_from_the_relayed_address_and_named_to_the_client() {
    // Conformance 125, 126.
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER).with_fingerprint();
    let relayed = caller.allocate_tcp(&mut world);
    let Outcome::Connecting(connection) = caller.connect(&mut world, PEER) else { panic!("no attempt") };
    let attempt = world.connecting[0];
    assert_eq!((attempt.connection, attempt.from, attempt.peer), (connection, relayed, address(PEER)));
    assert!(attempt.deadline.since(world.now.monotonic) >= 30 * SECOND);
    world.advance(29 * SECOND);
    let reply = world.connected(connection, Ok(())).expect_success();
    assert_eq!(reply.to, caller.client);
    assert_eq!(reply.message().method(), Method::CONNECT);
    assert_eq!(reply.expect::<ConnectionId>().0, connection.number());
    assert_eq!(reply.message().fingerprint_is_valid(), Some(true), "as the client does");
    caller.check_integrity(&reply);
}

#[test]
fn the_answer_is_signed_for_whoever_asked_even_if_the_password_has_changed_since_the_allocation() {
    let (mut world, mut caller) = world_with_caller();
    let mut credentials = turnpike_turn::Credentials::new("example.org");
    credentials.add_user("alice", "changed");
    let config = Setup::with_credentials(credentials).config;
    world.server.handle_config(config.into());
    caller.password = "changed".into();
    let Outcome::Connecting(connection) = caller.connect(&mut world, PEER) else { panic!("no attempt") };
    let reply = world.connected(connection, Ok(())).expect_success();
    caller.check_integrity(&reply);
}

#[test]
fn no_permission_is_needed() {
    let (mut world, mut caller) = world_with_caller();
    caller.connect_well(&mut world, PEER);
}

#[test]
fn without_an_allocation_it_is_a_mismatch_and_without_a_peer_bad() {
    // Conformance 125.
    let (mut world, mut caller) = world_with_caller();
    Caller::by_tcp("203.0.113.1:4001").connect(&mut world, PEER).expect_error(437);
    caller.request(&mut world, Method::CONNECT, |_| {}).expect_error(400);
    for malformed in [&[][..], &[0, 1], &[0, 1, 0, 1, 2, 3, 4], &[0, 7, 0, 1, 2, 3, 4, 5]] {
        let outcome = caller.request(&mut world, Method::CONNECT, |writer| {
            writer.add_raw(AttributeType::XOR_PEER_ADDRESS, malformed);
        });
        outcome.expect_error(400);
    }
    assert!(world.connecting.is_empty());
}

#[test]
fn somebody_elses_allocation_connects_to_nobody() {
    let (mut world, caller) = world_with_caller();
    let mut bob = Caller { client: caller.client, ..Caller::by_tcp(CALLER).named("bob", "builder") };
    bob.connect(&mut world, PEER).expect_error(441);
    assert!(world.connecting.is_empty());
}

#[test]
fn one_connection_with_each_peer_whether_it_is_being_made_waits_or_is_used() {
    // Conformance 125.
    let (mut world, mut caller) = world_with_caller();
    let Outcome::Connecting(connection) = caller.connect(&mut world, PEER) else { panic!("no attempt") };
    caller.connect(&mut world, PEER).expect_error(446);
    world.connected(connection, Ok(())).expect_success();
    caller.connect(&mut world, PEER).expect_error(446);
    caller.again_from("203.0.113.1:5000").bind_connection(&mut world, connection).expect_success();
    caller.connect(&mut world, PEER).expect_error(446);
    // Another port is another peer, and another client's connection is its own.
    caller.connect_well(&mut world, "8.8.8.8:7001");
    let mut other = Caller::by_tcp("203.0.113.1:4001");
    other.allocate_tcp(&mut world);
    other.connect_well(&mut world, PEER);
    assert_eq!(world.server.stats().refused(Reason::ConnectionExists), 3);
    world.server.handle_peer_closed(connection);
    caller.connect_well(&mut world, PEER);
    world.server.check_invariants();
}

#[test]
fn a_peer_that_connected_by_itself_is_connected_already() {
    let mut world = Setup::new().build();
    let mut caller = Caller::by_tcp(CALLER);
    let relayed = caller.allocate_tcp(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    world.accept_well(relayed, PEER);
    caller.connect(&mut world, PEER).expect_error(446);
}

#[test]
fn a_forbidden_peer_is_refused_without_an_attempt() {
    // Conformance 125.
    let (mut world, mut caller) = world_with_caller();
    for peer in ["127.0.0.1:80", "10.0.0.1:80", "192.168.1.1:22", "169.254.169.254:80", "0.0.0.0:1"] {
        caller.connect(&mut world, peer).expect_error(403);
    }
    // The server's own listeners, what else this host has, and the allocation's own address.
    let own = world.open[0].1;
    for peer in ["192.0.2.10:3478", "192.0.2.10:5349", "192.0.2.10:22", &own.to_string()] {
        caller.connect(&mut world, peer).expect_error(403);
    }
    assert!(world.connecting.is_empty());
    assert_eq!(world.server.stats().refused(Reason::OwnAddress), 4);
}

#[test]
fn own_addresses_that_the_operator_opened_have_no_listeners_to_be_reached() {
    let everything = crate::harness::range("0.0.0.0", "255.255.255.255");
    let mut world = Setup::new().config(|config| config.peers.allowed = vec![everything]).build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    caller.connect(&mut world, "192.0.2.10:3478").expect_error(403);
    caller.connect(&mut world, "192.0.2.10:5349").expect_error(403);
    caller.connect_well(&mut world, "192.0.2.10:22");
}

#[test]
fn of_own_addresses_only_relayed_ports_that_listen_are_reached() {
    let (mut world, mut caller) = world_with_caller();
    let udp = Caller::by_tcp("203.0.113.1:4001").allocate(&mut world);
    let tcp = Caller::by_tcp("203.0.113.1:4002").allocate_tcp(&mut world);
    // Whatever listens at the number of a UDP relay is not ours.
    caller.connect(&mut world, &udp.to_string()).expect_error(403);
    caller.connect_well(&mut world, &tcp.to_string());
    // And the other way round: datagrams have no business at a port that is only relayed for TCP.
    let mut datagrams = Caller::new("203.0.113.1:4003");
    datagrams.allocate(&mut world);
    datagrams.permit(&mut world, &[&tcp.to_string()]).expect_success();
    datagrams.send(&mut world, &tcp.to_string(), b"x").expect_drop(Reason::OwnAddress);
}

#[test]
fn behind_a_nat_the_outer_address_of_a_relay_leads_to_the_inner_one() {
    let mut world = Setup::new().behind_nat("10.1.1.1", "203.0.113.99").build();
    let mut caller = Caller::by_tcp(CALLER);
    let told = caller.allocate_tcp(&mut world);
    let other = Caller::by_tcp("203.0.113.1:4001").allocate_tcp(&mut world);
    assert_eq!(other.ip().to_string(), "203.0.113.99");
    caller.connect_well(&mut world, &other.to_string());
    let attempt = world.connecting[0];
    assert_eq!(attempt.peer, format!("10.1.1.1:{}", other.port()).parse().unwrap());
    assert_eq!(attempt.from, format!("10.1.1.1:{}", told.port()).parse().unwrap());
    caller.connect(&mut world, &told.to_string()).expect_error(403);
}

#[test]
fn a_peer_of_the_other_family_is_a_mismatch() {
    let (mut world, mut caller) = world_with_caller();
    caller.connect(&mut world, PEER_V6).expect_error(443);
}

#[test]
fn what_cannot_be_connected_in_time_or_at_all_is_told_and_can_be_tried_again() {
    // Conformance 125.
    let (mut world, mut caller) = world_with_caller();
    let reasons =
        [(ConnectError::Failed, Reason::PeerUnreachable), (ConnectError::TimedOut, Reason::PeerTimeout)];
    for (error, reason) in reasons {
        let Outcome::Connecting(connection) = caller.connect(&mut world, PEER) else { panic!("no attempt") };
        let reply = world.connected(connection, Err(error)).expect_error(447);
        caller.check_integrity(&reply);
        assert_eq!(reply.to, caller.client);
        assert_eq!(world.server.stats().refused(reason), 1);
        // A second answer means nothing.
        world.connected(connection, Ok(())).expect_drop(Reason::StaleRelay);
    }
    caller.connect_well(&mut world, PEER);
}

#[test]
fn a_connection_that_nobody_binds_in_30_seconds_is_closed() {
    // Conformance 128.
    let (mut world, mut caller) = world_with_caller();
    let connection = caller.connect_well(&mut world, PEER);
    world.advance(Duration::from_millis(29_999));
    assert!(world.closed.is_empty());
    world.advance(Duration::from_millis(1));
    assert_eq!(world.closed, [connection]);
    assert_eq!(world.server.stats().refused(Reason::NeverBound), 1);
    caller.again_from("203.0.113.1:5000").bind_connection(&mut world, connection).expect_error(400);
    caller.connect_well(&mut world, PEER);
}

#[test]
fn one_that_is_bound_stays_as_long_as_its_allocation() {
    let (mut world, mut caller) = world_with_caller();
    let connection = caller.connect_well(&mut world, PEER);
    world.advance(20 * SECOND);
    caller.again_from("203.0.113.1:5000").bind_connection(&mut world, connection).expect_success();
    world.advance(500 * SECOND);
    assert!(world.closed.is_empty());
    assert_eq!(world.server.stats().refused(Reason::NeverBound), 0);
}

#[test]
fn an_allocation_and_a_worker_have_so_many_connections_and_no_more() {
    let mut world = Setup::new().config(|config| config.worker_connections = 70).build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp(&mut world);
    for port in 1..=64 {
        caller.connect_well(&mut world, &format!("8.8.8.8:{port}"));
    }
    caller.connect(&mut world, PEER).expect_error(508);
    let mut other = Caller::by_tcp("203.0.113.1:4001");
    other.allocate_tcp(&mut world);
    for port in 1..=6 {
        other.connect_well(&mut world, &format!("8.8.8.8:{port}"));
    }
    other.connect(&mut world, PEER).expect_error(508);
    assert_eq!(world.server.stats().refused(Reason::TooManyConnections), 2);
    world.advance(30 * SECOND);
    assert_eq!(world.closed.len(), 70);
    other.connect_well(&mut world, PEER);
    world.server.check_invariants();
}

#[test]
fn connection_ids_name_their_worker_and_nothing_else_about_them_can_be_told() {
    // Conformance 133.
    let mut first = Setup::new().build();
    let mut second = Setup::new().sharing_with(&first).build();
    let mut numbers = HashSet::new();
    for (worker, world) in [(0, &mut first), (1, &mut second)] {
        let mut ones = [0_u32; 32];
        for port in 0..256_u16 {
            let mut caller = Caller::by_tcp(&format!("203.0.113.{}:{}", worker + 1, 4000 + port));
            caller.allocate_tcp(world);
            let connection = caller.connect_well(world, PEER);
            assert_eq!(connection.owner(), worker);
            assert!(numbers.insert(connection.number()), "no number twice");
            (0..32).for_each(|bit| ones[bit] += connection.number() >> bit & 1);
        }
        // 25 bits are as good as coins: half of 256, give or take six standard deviations.
        assert!(ones[7..].iter().all(|count| (80..=176).contains(count)), "{ones:?}");
    }
    // Neighbours have nothing in common either.
    let mut sorted: Vec<u32> = numbers.into_iter().collect();
    sorted.sort_unstable();
    let near = sorted.windows(2).filter(|pair| pair[1] - pair[0] < 1024).count();
    assert!(near < 10, "{near} of 511 next to another");
    assert_eq!(PeerConnectionId::from_number(0xFFFF_FF83).owner(), 3);
}

#[test]
fn channels_and_connections_are_each_for_their_kind_of_allocation() {
    // Conformance 134.
    let (mut world, mut caller) = world_with_caller();
    caller.permit(&mut world, &[PEER]).expect_success();
    caller.bind(&mut world, 0x4000, PEER).expect_error(403);
    caller.send_on(&mut world, 0x4000, b"x").expect_silence();
    caller.send(&mut world, PEER, b"x").expect_drop(Reason::OtherRelayTransport);
    let mut datagrams = Caller::by_tcp("203.0.113.1:4001");
    datagrams.allocate(&mut world);
    datagrams.connect(&mut world, OTHER_PEER).expect_error(403);
    assert!(world.connecting.is_empty());
    assert_eq!(world.server.stats().refused(Reason::OtherRelayTransport), 3);
    assert_eq!(world.server.stats().relayed().client_packets, 0);
}
