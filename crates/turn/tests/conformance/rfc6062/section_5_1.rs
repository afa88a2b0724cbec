//! RFC 6062 §5.1: receiving an Allocate request.

use turnpike_turn::{Reason, Transport};
use turnpike_wire::attributes::{
    AdditionalAddressFamily, DontFragment, EvenPort, RequestedAddressFamily, ReservationToken,
    XorRelayedAddress,
};
use turnpike_wire::{AttributeType, Family, MessageWriter};

use crate::harness::{Caller, PEER, PEER_V6, RELAY, RELAY_V6, Setup};

const CALLER: &str = "203.0.113.1:4000";

#[test]
fn a_tcp_allocation_is_for_clients_that_come_by_connections() {
    // Conformance 124.
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut world = Setup::new().build();
        let mut caller = Caller::new(CALLER).over(transport);
        let reply = caller.allocate_tcp_with(&mut world, |_| {}).expect_success();
        let XorRelayedAddress(relayed) = reply.expect();
        assert_eq!(relayed.ip().to_string(), RELAY);
        assert!(!reply.has(AttributeType::RESERVATION_TOKEN));
        assert_eq!(world.listening, [world.relay_at(relayed)], "its socket listens");
    }
    for transport in [Transport::Udp, Transport::Dtls] {
        let mut world = Setup::new().build();
        let mut caller = Caller::new(CALLER).over(transport);
        caller.allocate_tcp_with(&mut world, |_| {}).expect_error(400);
        assert_eq!(world.server.stats().refused(Reason::NeedsConnection), 1);
        assert!(world.attempts.is_empty());
    }
}

#[test]
fn it_has_nothing_of_what_is_about_datagrams() {
    // Conformance 124.
    let mut world = Setup::new().build();
    let unfit: [&dyn Fn(&mut MessageWriter<'_>); 4] = [
        &|writer| {
            writer.add(&DontFragment);
        },
        &|writer| {
            writer.add(&EvenPort { reserve: false });
        },
        &|writer| {
            writer.add(&EvenPort { reserve: true });
        },
        &|writer| {
            writer.add(&ReservationToken([1; 8]));
        },
    ];
    for build in unfit {
        Caller::by_tcp(CALLER).allocate_tcp_with(&mut world, build).expect_error(400);
    }
    assert!(world.attempts.is_empty() && world.ports.taken() == 0);
    Caller::by_tcp(CALLER).allocate_tcp(&mut world);
}

#[test]
fn each_kind_of_relaying_can_be_switched_off_and_is_then_an_unsupported_transport() {
    // Conformance 124.
    let mut world = Setup::new().config(|config| config.tcp_relay = false).build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_tcp_with(&mut world, |_| {}).expect_error(442);
    caller.allocate(&mut world);
    caller.connect(&mut world, PEER).expect_drop(Reason::SwitchedOff);
    let mut world = Setup::new().config(|config| config.udp_relay = false).build();
    let mut caller = Caller::by_tcp(CALLER);
    caller.allocate_with(&mut world, |_| {}).expect_error(442);
    caller.allocate_tcp(&mut world);
}

#[test]
fn it_can_have_an_address_of_either_family_or_of_both() {
    let mut world = Setup::new().build();
    let reply = Caller::by_tcp("203.0.113.1:4001").allocate_tcp_with(&mut world, |writer| {
        writer.add(&RequestedAddressFamily(Family::Ipv6));
    });
    assert_eq!(reply.expect_success().expect::<XorRelayedAddress>().0.ip().to_string(), RELAY_V6);
    let mut caller = Caller::by_tcp(CALLER);
    let reply = caller.allocate_tcp_with(&mut world, |writer| {
        writer.add(&AdditionalAddressFamily(Family::Ipv6));
    });
    let reply = reply.expect_success();
    let relayed = reply.message().attributes().filter(|it| it.kind == AttributeType::XOR_RELAYED_ADDRESS);
    assert_eq!(relayed.count(), 2);
    for peer in [PEER, PEER_V6] {
        caller.connect_well(&mut world, peer);
        let attempt = world.connecting.pop().expect("an attempt");
        assert_eq!(attempt.peer, peer.parse().unwrap());
        assert_eq!(attempt.from.is_ipv4(), attempt.peer.is_ipv4(), "from the address of the peer's family");
    }
    world.server.check_invariants();
}

#[test]
fn udp_and_tcp_allocations_never_share_a_port() {
    let mut world = Setup::new().relays(&[RELAY]).range(50_000..=50_001).build();
    let first = Caller::by_tcp("203.0.113.1:4001").allocate_tcp(&mut world);
    let second = Caller::by_tcp("203.0.113.1:4002").allocate(&mut world);
    assert_ne!(first, second);
    Caller::by_tcp("203.0.113.1:4003").allocate_tcp_with(&mut world, |_| {}).expect_error(508);
}
