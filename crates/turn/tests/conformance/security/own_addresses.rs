//! Addresses of this very server as peers (conformance 159): two of its clients can always talk, and nothing else of
//! the host is reached: not its listeners, not its other services, not a relay that has closed.

use std::net::SocketAddr;

use turnpike_turn::{Reason, RelayAddress};

use super::written_out;
use crate::harness::{Caller, LISTENER, Outcome, RELAY, RELAY_V6, SECOND, Setup, World, address, range};

const LOCAL: &str = "10.0.0.5";
const EXTERNAL: &str = "198.51.100.77";
const LATER: &str = "198.51.100.78";

fn alice() -> Caller {
    Caller::new("203.0.113.1:4000")
}

fn bob() -> Caller {
    Caller::new("203.0.113.2:4000").named("bob", "builder")
}

fn behind_nat() -> Setup {
    Setup::new().behind_nat(LOCAL, EXTERNAL)
}

fn local(advertised: SocketAddr) -> SocketAddr {
    SocketAddr::new(LOCAL.parse().expect("an address"), advertised.port())
}

/// Where a client's datagram is sent from and to.
#[track_caller]
fn sent(outcome: Outcome) -> (SocketAddr, SocketAddr) {
    match outcome {
        Outcome::ToPeer { from, peer, .. } => (from, peer),
        other => panic!("a datagram was expected, not {other:?}"),
    }
}

#[test]
fn two_clients_talk_over_the_servers_own_address() {
    let mut world = Setup::new().build();
    let (mut alice, mut bob) = (alice(), bob());
    let (at_alice, at_bob) = (alice.allocate(&mut world), bob.allocate(&mut world));
    alice.bind(&mut world, 0x4000, &at_bob.to_string()).expect_success();
    bob.bind(&mut world, 0x4001, &at_alice.to_string()).expect_success();
    assert_eq!(sent(alice.send_on(&mut world, 0x4000, b"hello")), (at_alice, at_bob));
    world.receive_from_peer(at_bob, &at_alice.to_string(), b"hello").expect_channel_data(0x4001, b"hello");
    assert_eq!(sent(bob.send(&mut world, &at_alice.to_string(), b"hi")), (at_bob, at_alice));
    world.receive_from_peer(at_alice, &at_bob.to_string(), b"hi").expect_channel_data(0x4000, b"hi");
}

#[test]
fn two_clients_talk_over_the_servers_own_ipv6_address() {
    let mut world = Setup::new().build();
    let (mut alice, mut bob) = (alice(), bob());
    let (at_alice, at_bob) = (alice.allocate_v6(&mut world), bob.allocate_v6(&mut world));
    assert_eq!(at_alice.ip().to_string(), RELAY_V6);
    alice.permit(&mut world, &[&at_bob.to_string()]).expect_success();
    assert_eq!(sent(alice.send(&mut world, &at_bob.to_string(), b"x")), (at_alice, at_bob));
}

#[test]
fn the_external_form_becomes_the_local_form_going_out_and_back_coming_in() {
    // So that a one-to-one address translator need not send a packet back to where it came from.
    let mut world = behind_nat().build();
    let (mut alice, mut bob) = (alice(), bob());
    let (at_alice, at_bob) = (alice.allocate(&mut world), bob.allocate(&mut world));
    assert_eq!(at_alice.ip().to_string(), EXTERNAL);
    alice.bind(&mut world, 0x4000, &at_bob.to_string()).expect_success();
    bob.permit(&mut world, &[&at_alice.to_string()]).expect_success();
    for outcome in
        [alice.send_on(&mut world, 0x4000, b"x"), alice.send(&mut world, &at_bob.to_string(), b"x")]
    {
        assert_eq!(sent(outcome), (local(at_alice), local(at_bob)));
    }
    let outcome = world.receive_from_peer(local(at_bob), &local(at_alice).to_string(), b"x");
    outcome.expect_data_indication(&at_alice.to_string(), b"x");
    assert_eq!(sent(bob.send(&mut world, &at_alice.to_string(), b"y")), (local(at_bob), local(at_alice)));
    let outcome = world.receive_from_peer(local(at_alice), &local(at_bob).to_string(), b"y");
    outcome.expect_channel_data(0x4000, b"y");
}

#[test]
fn the_local_form_is_the_same_peer_as_the_external_form() {
    // A client may have learnt either.
    let mut world = behind_nat().build();
    let (mut alice, mut bob) = (alice(), bob());
    let (at_alice, at_bob) = (alice.allocate(&mut world), bob.allocate(&mut world));
    alice.permit(&mut world, &[&local(at_bob).to_string()]).expect_success();
    for form in [at_bob, local(at_bob)] {
        assert_eq!(sent(alice.send(&mut world, &form.to_string(), b"x")), (local(at_alice), local(at_bob)));
    }
    alice.bind(&mut world, 0x4000, &at_bob.to_string()).expect_success();
    alice.bind(&mut world, 0x4000, &local(at_bob).to_string()).expect_success();
}

/// The server of `behind_nat` once its external address is another.
fn with_another_external_address(world: &mut World, before: &str) {
    let relay = |external: &str| RelayAddress {
        address: LOCAL.parse().expect("an address"),
        external: Some(external.parse().expect("an address")),
    };
    let setup = behind_nat().config(|config| {
        config.peers.relays = vec![relay(LATER)];
        config.peers.former = vec![relay(before)];
    });
    world.server.handle_config(std::sync::Arc::new(setup.config));
}

#[test]
fn sessions_that_were_told_another_external_address_go_on_with_it() {
    let mut world = behind_nat().build();
    let (mut alice, mut bob) = (alice(), bob());
    let (at_alice, at_bob) = (alice.allocate(&mut world), bob.allocate(&mut world));
    alice.bind(&mut world, 0x4000, &at_bob.to_string()).expect_success();
    bob.permit(&mut world, &[&at_alice.to_string()]).expect_success();
    with_another_external_address(&mut world, EXTERNAL);
    // Before and after each has said again what it wants, by the name it knows.
    for _ in 0..2 {
        let outcome = alice.send_on(&mut world, 0x4000, b"x");
        assert_eq!(sent(outcome), (local(at_alice), local(at_bob)));
        let outcome = world.receive_from_peer(local(at_bob), &local(at_alice).to_string(), b"x");
        outcome.expect_data_indication(&at_alice.to_string(), b"x");
        let outcome = bob.send(&mut world, &at_alice.to_string(), b"y");
        assert_eq!(sent(outcome), (local(at_bob), local(at_alice)));
        let outcome = world.receive_from_peer(local(at_alice), &local(at_bob).to_string(), b"y");
        outcome.expect_channel_data(0x4000, b"y");
        alice.bind(&mut world, 0x4000, &at_bob.to_string()).expect_success();
        bob.permit(&mut world, &[&at_alice.to_string()]).expect_success();
    }
}

#[test]
fn a_new_session_is_told_the_new_external_address_and_reaches_old_ones() {
    let mut world = behind_nat().build();
    let (mut alice, mut bob) = (alice(), bob());
    let at_alice = alice.allocate(&mut world);
    with_another_external_address(&mut world, EXTERNAL);
    let at_bob = bob.allocate(&mut world);
    assert_eq!((at_alice.ip().to_string().as_str(), at_bob.ip().to_string().as_str()), (EXTERNAL, LATER));
    alice.permit(&mut world, &[&at_bob.to_string()]).expect_success();
    bob.permit(&mut world, &[&at_alice.to_string()]).expect_success();
    assert_eq!(sent(alice.send(&mut world, &at_bob.to_string(), b"x")), (local(at_alice), local(at_bob)));
    let outcome = world.receive_from_peer(local(at_bob), &local(at_alice).to_string(), b"x");
    outcome.expect_data_indication(&at_alice.to_string(), b"x");
    assert_eq!(sent(bob.send(&mut world, &at_alice.to_string(), b"y")), (local(at_bob), local(at_alice)));
    let outcome = world.receive_from_peer(local(at_alice), &local(at_bob).to_string(), b"y");
    outcome.expect_data_indication(&at_bob.to_string(), b"y");
}

#[test]
fn an_address_that_was_told_before_opens_no_service_of_the_host() {
    let mut world = behind_nat().build();
    let mut alice = alice();
    alice.allocate(&mut world);
    with_another_external_address(&mut world, EXTERNAL);
    alice.permit(&mut world, &[&format!("{EXTERNAL}:1")]).expect_success();
    for port in [22, 3478, 50_001] {
        let outcome = alice.send(&mut world, &format!("{EXTERNAL}:{port}"), b"x");
        assert!(matches!(outcome, Outcome::Drop(Reason::OwnAddress)), "{port}: {outcome:?}");
    }
}

#[test]
fn the_external_form_coming_in_is_the_same_peer_too() {
    // From a translator that does send packets back.
    let mut world = behind_nat().build();
    let (mut alice, mut bob) = (alice(), bob());
    let (at_alice, at_bob) = (alice.allocate(&mut world), bob.allocate(&mut world));
    bob.permit(&mut world, &[&at_alice.to_string()]).expect_success();
    let outcome = world.receive_from_peer(local(at_bob), &at_alice.to_string(), b"x");
    outcome.expect_data_indication(&at_alice.to_string(), b"x");
}

#[test]
fn no_service_of_the_host_is_reached_but_live_relays() {
    // Conformance 159: every port but bob's, in either form, listeners and the relay range included.
    for (setup, forms) in [(Setup::new(), [RELAY, RELAY]), (behind_nat(), [LOCAL, EXTERNAL])] {
        let mut world = setup.build();
        let (mut alice, mut bob) = (alice(), bob());
        let (at_alice, at_bob) = (alice.allocate(&mut world), bob.allocate(&mut world));
        alice.permit(&mut world, &[&at_bob.to_string()]).expect_success();
        for port in (1..=65_535).filter(|port| ![at_alice.port(), at_bob.port()].contains(port)) {
            for form in forms {
                alice.send(&mut world, &format!("{form}:{port}"), b"x").expect_drop(Reason::OwnAddress);
            }
        }
        assert_eq!(world.server.stats().relayed().client_packets, 0);
    }
}

#[test]
fn a_channel_to_a_service_of_the_host_carries_nothing() {
    let mut world = Setup::new().build();
    let mut alice = alice();
    let at_alice = alice.allocate(&mut world);
    for (number, port) in [(0x4000, 22), (0x4001, 3478), (0x4002, 5349), (0x4003, 6379)] {
        alice.bind(&mut world, number, &format!("{RELAY}:{port}")).expect_success();
        alice.send_on(&mut world, number, b"x").expect_drop(Reason::OwnAddress);
        let outcome = world.receive_from_peer(at_alice, &format!("{RELAY}:{port}"), b"x");
        outcome.expect_drop(Reason::OwnAddress);
    }
    assert_eq!(world.server.stats().refused(Reason::OwnAddress), 8);
}

#[test]
fn a_relay_that_has_closed_is_reached_no_more_and_leaves_no_state() {
    // Checked for every packet: deleting and expiring end it at once, for peers who keep their permission.
    let mut world = Setup::new().build();
    let (mut alice, mut bob) = (alice(), bob());
    let (at_alice, at_bob) = (alice.allocate(&mut world), bob.allocate(&mut world));
    alice.bind(&mut world, 0x4000, &at_bob.to_string()).expect_success();
    bob.refresh(&mut world, 0).expect_success();
    alice.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::OwnAddress);
    alice.send(&mut world, &at_bob.to_string(), b"x").expect_drop(Reason::OwnAddress);
    world.receive_from_peer(at_alice, &at_bob.to_string(), b"late").expect_drop(Reason::OwnAddress);
    let before = written_out(&world);
    for _ in 0..1000 {
        alice.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::OwnAddress);
        alice.send(&mut world, &at_bob.to_string(), b"x").expect_drop(Reason::OwnAddress);
    }
    assert!(written_out(&world) < before + 100, "only counters have changed");
    bob.allocate(&mut world);
    world.advance(290 * SECOND);
    alice.refresh(&mut world, 3600).expect_success();
    world.advance(311 * SECOND);
    alice.bind(&mut world, 0x4000, &at_bob.to_string()).expect_success();
    alice.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::OwnAddress);
}

#[test]
fn a_relay_whose_socket_is_yet_to_be_closed_is_reached_no_more() {
    // Else a datagram would wait in its socket for whoever gets the port next.
    let mut world = Setup::new().build();
    world.keeps_ports = true;
    let (mut alice, mut bob) = (alice(), bob());
    alice.allocate(&mut world);
    let at_bob = bob.allocate(&mut world);
    alice.permit(&mut world, &[&at_bob.to_string()]).expect_success();
    bob.refresh(&mut world, 0).expect_success();
    assert_eq!(world.kept_ports.len(), 1);
    alice.send(&mut world, &at_bob.to_string(), b"x").expect_drop(Reason::OwnAddress);
}

#[test]
fn a_port_that_is_only_reserved_is_not_live() {
    let mut world = Setup::new().build();
    let (mut alice, mut bob) = (alice(), bob());
    let pair = bob.allocate_with(&mut world, |writer| {
        writer.add(&turnpike_wire::attributes::EvenPort { reserve: true });
    });
    let turnpike_wire::attributes::XorRelayedAddress(at_bob) = pair.expect_success().expect();
    alice.allocate(&mut world);
    alice.permit(&mut world, &[&at_bob.to_string()]).expect_success();
    let reserved = format!("{RELAY}:{}", at_bob.port() + 1);
    alice.send(&mut world, &reserved, b"x").expect_drop(Reason::OwnAddress);
    assert_eq!(sent(alice.send(&mut world, &at_bob.to_string(), b"x")).1, at_bob);
}

#[test]
fn a_port_that_waits_for_its_socket_is_not_live() {
    let mut world = Setup::new().build();
    let (mut alice, mut bob) = (alice(), bob());
    alice.allocate(&mut world);
    alice.permit(&mut world, &[&format!("{RELAY}:1")]).expect_success();
    world.answers = false;
    let _waiting = bob.allocate_with(&mut world, |_| {});
    let (wait, relay, at_bob) = world.asked.pop_front().expect("a relay is asked for");
    alice.send(&mut world, &at_bob.to_string(), b"x").expect_drop(Reason::OwnAddress);
    world.open.push((relay, at_bob));
    world.answer(wait, Ok(())).expect_success();
    assert_eq!(sent(alice.send(&mut world, &at_bob.to_string(), b"x")).1, at_bob);
}

#[test]
fn a_relay_of_another_worker_is_reached() {
    let mut first = Setup::new().build();
    let mut second = Setup::new().sharing_with(&first).build();
    let (mut alice, mut bob) = (alice(), bob());
    alice.allocate(&mut first);
    let at_bob = bob.allocate(&mut second);
    alice.permit(&mut first, &[&at_bob.to_string()]).expect_success();
    assert_eq!(sent(alice.send(&mut first, &at_bob.to_string(), b"x")).1, at_bob);
    bob.refresh(&mut second, 0).expect_success();
    alice.send(&mut first, &at_bob.to_string(), b"x").expect_drop(Reason::OwnAddress);
}

#[test]
fn live_means_on_this_very_address() {
    // The same port of another relay address, and of the other family, is another matter.
    let mut world = Setup::new().relays(&["192.0.2.10", "192.0.2.11", RELAY_V6]).build();
    let (mut alice, mut bob) = (alice(), bob());
    alice.allocate(&mut world);
    let at_bob = bob.allocate(&mut world);
    let other = if at_bob.ip().to_string() == "192.0.2.10" { "192.0.2.11" } else { "192.0.2.10" };
    alice.permit(&mut world, &["192.0.2.10:1", "192.0.2.11:1"]).expect_success();
    alice.send(&mut world, &format!("{other}:{}", at_bob.port()), b"x").expect_drop(Reason::OwnAddress);
    let mut six = Caller::new("203.0.113.3:4000");
    six.allocate_v6(&mut world);
    six.permit(&mut world, &[&format!("[{RELAY_V6}]:1")]).expect_success();
    six.send(&mut world, &format!("[{RELAY_V6}]:{}", at_bob.port()), b"x").expect_drop(Reason::OwnAddress);
}

#[test]
fn an_own_address_without_relays_is_refused() {
    // A second address of the host: a management network, say.
    let mut world =
        Setup::new().config(|config| config.peers.own_addresses.push("8.8.8.8".parse().unwrap())).build();
    let mut alice = alice();
    alice.allocate(&mut world);
    alice.permit(&mut world, &["8.8.8.8:80"]).expect_error(403);
    alice.bind(&mut world, 0x4000, "[::ffff:8.8.8.8]:80").expect_error(403);
}

#[test]
fn an_own_address_hidden_behind_a_translator_is_refused() {
    let relay = RelayAddress { address: "8.8.8.8".parse().unwrap(), external: None };
    let mut world = Setup::new().config(|config| config.peers.relays.push(relay)).build();
    let mut alice = alice();
    alice.allocate_v6(&mut world);
    for peer in ["[64:ff9b::8.8.8.8]:3478", "[2002:808:808::1]:3478"] {
        alice.permit(&mut world, &[peer]).expect_error(403);
    }
}

#[test]
fn an_own_address_that_the_operator_opened_is_reached_everywhere_but_at_the_listeners() {
    let setup = Setup::new().config(|config| config.peers.allowed = vec![range(RELAY, RELAY)]);
    let mut world = setup.build();
    let (mut alice, mut bob) = (alice(), bob());
    alice.allocate(&mut world);
    let at_bob = bob.allocate(&mut world);
    alice.permit(&mut world, &[LISTENER]).expect_success();
    for port in [22, 80, 40_000] {
        let peer = format!("{RELAY}:{port}");
        alice.send(&mut world, &peer, b"x").expect_to_peer(&peer, b"x");
    }
    assert_eq!(sent(alice.send(&mut world, &at_bob.to_string(), b"x")).1, at_bob);
    for listener in [LISTENER, "192.0.2.10:5349"] {
        alice.send(&mut world, listener, b"x").expect_drop(Reason::OwnAddress);
        assert_eq!(address(listener).ip().to_string(), RELAY);
    }
}

#[test]
fn a_packet_to_oneself_stays_one_packet() {
    // Conformance 160: an allocation whose peer is itself gets each datagram back once.
    let mut world = Setup::new().build();
    let mut alice = alice();
    let at_alice = alice.allocate(&mut world);
    alice.permit(&mut world, &[&at_alice.to_string()]).expect_success();
    let (from, to) = sent(alice.send(&mut world, &at_alice.to_string(), b"x"));
    assert_eq!((from, to), (at_alice, at_alice));
    let outcome = world.receive_from_peer(to, &from.to_string(), b"x");
    outcome.expect_data_indication(&at_alice.to_string(), b"x");
    assert_eq!(
        (world.server.stats().relayed().client_packets, world.server.stats().relayed().peer_packets),
        (1, 1)
    );
}

#[test]
fn a_client_whose_address_is_a_relayed_one_cannot_build_a_loop() {
    // Conformance 159 and 160, RFC 8656 §21.1.7: alice's relayed address would have to reach the listener to become
    // somebody's client address.
    let mut world: World = Setup::new().build();
    let mut alice = alice();
    alice.allocate(&mut world);
    alice.permit(&mut world, &[LISTENER]).expect_success();
    let request = crate::harness::request(turnpike_wire::Method::ALLOCATE, |_| {});
    alice.send(&mut world, LISTENER, &request).expect_drop(Reason::OwnAddress);
    alice.send(&mut world, "[::ffff:192.0.2.10]:3478", &request).expect_drop(Reason::OwnAddress);
}
