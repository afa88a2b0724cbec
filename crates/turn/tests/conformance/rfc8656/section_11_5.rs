//! ICMP errors from the side of peers.

use turnpike_turn::{IcmpError, Reason};
use turnpike_wire::attributes::{Icmp, XorPeerAddress};
use turnpike_wire::{AttributeType, Class, Message, Method};

use crate::harness::{Caller, OTHER_PEER, Outcome, PEER, PEER_V6, SECOND, Setup};

const CALLER: &str = "203.0.113.1:4000";
const UNREACHABLE: IcmpError = IcmpError { kind: 3, code: 3, mtu: 0 };

fn error(kind: u8, code: u8, mtu: u32) -> IcmpError {
    IcmpError { kind, code, mtu }
}

/// The indication's peer and ICMP attribute; whether it carries FINGERPRINT.
#[track_caller]
fn told(outcome: Outcome, to: &Caller) -> (String, Icmp, bool) {
    let reply = outcome.expect_reply();
    assert_eq!(reply.to, to.client);
    let message = Message::parse(&reply.bytes).expect("a message");
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
    assert!(!message.has(AttributeType::DATA));
    let XorPeerAddress(peer) = message.get().expect("readable").expect("XOR-PEER-ADDRESS");
    let fingerprint = message.fingerprint_is_valid();
    assert_ne!(fingerprint, Some(false));
    assert_eq!(message.attributes().count(), 2);
    (peer.to_string(), message.get().expect("readable").expect("ICMP"), fingerprint.is_some())
}

#[test]
fn icmp_errors_of_permitted_peers_become_data_indications_without_data() {
    // Conformance 107.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 13), (11, 0), (11, 1)] {
        let outcome = world.receive_icmp(relayed, PEER, error(kind, code, 77));
        let expected = Icmp { kind, code, error_data: 0 };
        assert_eq!(told(outcome, &caller), (PEER.into(), expected, false));
    }
    assert_eq!(world.server.stats().icmp_errors, 6);
    let six = caller_v6(&mut world);
    for (kind, code) in [(1, 0), (1, 4), (3, 0)] {
        let outcome = world.receive_icmp(six.1, PEER_V6, error(kind, code, 77));
        let expected = Icmp { kind, code, error_data: 0 };
        assert_eq!(told(outcome, &six.0), (PEER_V6.into(), expected, true));
    }
}

fn caller_v6(world: &mut crate::harness::World) -> (Caller, std::net::SocketAddr) {
    let mut caller = Caller::new("[2001:db8:1::1]:4000").with_fingerprint();
    let relayed = caller.allocate_v6(world);
    caller.permit(world, &[PEER_V6]).expect_success();
    (caller, relayed)
}

#[test]
fn only_errors_about_size_carry_an_mtu() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    let outcome = world.receive_icmp(relayed, PEER, error(3, 4, 1300));
    assert_eq!(told(outcome, &caller).1, Icmp { kind: 3, code: 4, error_data: 1300 });
    let (six, relayed) = caller_v6(&mut world);
    let outcome = world.receive_icmp(relayed, PEER_V6, error(2, 0, 1280));
    assert_eq!(told(outcome, &six).1, Icmp { kind: 2, code: 0, error_data: 1280 });
}

#[test]
fn other_icmp_types_are_dropped() {
    // Conformance 107.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    let (_, relayed_v6) = caller_v6(&mut world);
    for kind in 0..=255 {
        if ![3, 11].contains(&kind) {
            world.receive_icmp(relayed, PEER, error(kind, 0, 0)).expect_drop(Reason::UntoldIcmp);
        }
        if ![1, 2, 3].contains(&kind) {
            world.receive_icmp(relayed_v6, PEER_V6, error(kind, 0, 0)).expect_drop(Reason::UntoldIcmp);
        }
    }
    assert_eq!(world.server.stats().refused(Reason::UntoldIcmp), 254 + 253);
    assert_eq!(world.server.stats().icmp_errors, 0);
}

#[test]
fn icmp_errors_about_a_peer_without_permission_are_dropped() {
    // Conformance 107: nor after it has expired.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    world.receive_icmp(relayed, OTHER_PEER, UNREACHABLE).expect_drop(Reason::NoPermission);
    world.advance(300 * SECOND);
    world.receive_icmp(relayed, PEER, UNREACHABLE).expect_drop(Reason::NoPermission);
}

#[test]
fn an_icmp_error_changes_nothing_of_the_allocation() {
    // Conformance 108.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    let due = world.server.poll_timeout();
    for _ in 0..100 {
        told(world.receive_icmp(relayed, PEER, UNREACHABLE), &caller);
    }
    assert_eq!(world.server.poll_timeout(), due);
    caller.send_on(&mut world, 0x4000, b"out").expect_to_peer(PEER, b"out");
    world.receive_from_peer(relayed, PEER, b"back").expect_channel_data(0x4000, b"back");
    caller.refresh(&mut world, 600).expect_success();
    // Nor is any of it reported or counted as relayed.
    assert_eq!(world.server.stats().relayed().peer_packets, 1);
    assert_eq!(world.events.len(), 1, "{:?}", world.events);
}

#[test]
fn an_icmp_error_about_a_closed_relay_is_dropped() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    let relay = world.relay_at(relayed);
    caller.refresh(&mut world, 0).expect_success();
    let peer = PEER.parse().expect("an address");
    let verdict = world.server.handle_peer_icmp(world.now, relay, peer, UNREACHABLE);
    assert!(matches!(verdict, turnpike_turn::Verdict::Drop(Reason::StaleRelay)));
}

#[test]
fn an_own_address_is_named_in_the_form_the_client_knows() {
    let mut world = Setup::new().behind_nat("10.0.0.5", "198.51.100.7").build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.permit(&mut world, &["198.51.100.7:1"]).expect_success();
    let local = world.open[0].1;
    let outcome = world.receive_icmp(local, "10.0.0.5:60000", UNREACHABLE);
    assert_eq!(told(outcome, &caller).0, "198.51.100.7:60000");
}

#[test]
fn the_operator_may_keep_icmp_errors_from_clients() {
    let mut world = Setup::new().config(|config| config.icmp_errors = false).build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    world.receive_icmp(relayed, PEER, UNREACHABLE).expect_drop(Reason::UntoldIcmp);
}
