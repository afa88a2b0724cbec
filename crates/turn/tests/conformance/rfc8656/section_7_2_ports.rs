//! RFC 8656 §7.2: which port an allocation gets, EVEN-PORT and RESERVATION-TOKEN.

use std::net::SocketAddr;

use turnpike_turn::{Reason, Transport};
use turnpike_wire::attributes::{EvenPort, ReservationToken, XorRelayedAddress};
use turnpike_wire::{AttributeType, MessageWriter};

use crate::harness::{Caller, RELAY, Reply, SECOND, Setup, World};

fn caller(number: u16) -> Caller {
    Caller::new(&format!("203.0.113.{}:{}", 1 + number / 1000, 4000 + number % 1000))
}

fn even_port(reserve: bool) -> impl Fn(&mut MessageWriter<'_>) {
    move |writer| {
        writer.add(&EvenPort { reserve });
    }
}

fn with_token(token: ReservationToken) -> impl Fn(&mut MessageWriter<'_>) {
    move |writer| {
        writer.add(&token);
    }
}

fn relayed(reply: &Reply) -> SocketAddr {
    reply.expect::<XorRelayedAddress>().0
}

/// Allocates a pair; the relayed address and the token of its successor.
fn reserve(world: &mut World, number: u16) -> (SocketAddr, ReservationToken) {
    let reply = caller(number).allocate_with(world, even_port(true)).expect_success();
    (relayed(&reply), reply.expect())
}

#[test]
fn every_port_of_the_range_is_used_and_again_after_release() {
    // Conformance 75: then 508.
    let mut world = Setup::new().range(50_000..=50_099).build();
    for round in 0..2 {
        let mut ports = Vec::new();
        for number in 0..100 {
            ports.push(caller(number).allocate(&mut world).port());
        }
        ports.sort_unstable();
        assert_eq!(ports, (50_000..50_100).collect::<Vec<u16>>());
        caller(100).allocate_with(&mut world, |_| {}).expect_error(508);
        assert_eq!(world.server.stats().refused(Reason::NoPort), round + 1);
        for number in 0..100 {
            caller(number).refresh(&mut world, 0).expect_success();
        }
        assert_eq!(world.ports.taken(), 0);
    }
}

#[test]
fn a_port_is_not_given_again_before_its_socket_is_closed() {
    // Conformance 75.
    let mut world = Setup::new().range(50_000..=50_000).build();
    world.keeps_ports = true;
    caller(0).allocate(&mut world);
    caller(0).refresh(&mut world, 0).expect_success();
    caller(1).allocate_with(&mut world, |_| {}).expect_error(508);
    world.kept_ports.clear();
    caller(1).allocate(&mut world);
}

#[test]
fn ports_are_within_the_range_and_hard_to_guess() {
    // Conformance 76, RFC 6056: all over the range, in no order.
    let mut world = Setup::new().build();
    let ports: Vec<u16> = (0..2000).map(|number| caller(number).allocate(&mut world).port()).collect();
    assert!(ports.iter().all(|port| *port >= 49_152));
    let mut eighths = [0; 8];
    ports.iter().for_each(|port| eighths[usize::from((port - 49_152) / 2048)] += 1);
    assert!(eighths.iter().all(|count| (150..350).contains(count)), "{eighths:?}");
    let successors = ports.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) <= 2).count();
    assert!(successors < 20, "{successors} ports follow their predecessor");
}

#[test]
fn ports_differ_from_one_seed_to_another() {
    let ports = |seed| {
        let mut world = Setup { seed, ..Setup::new() }.build();
        (0..20).map(|number| caller(number).allocate(&mut world).port()).collect::<Vec<_>>()
    };
    assert_ne!(ports(1), ports(2));
    assert_eq!(ports(1), ports(1), "and a run can be repeated");
}

#[test]
fn even_port_without_reservation_gives_an_even_port_and_no_token() {
    // Conformance 77.
    let mut world = Setup::new().range(50_000..=50_199).build();
    for number in 0..100 {
        let reply = caller(number).allocate_with(&mut world, even_port(false)).expect_success();
        assert_eq!(relayed(&reply).port() % 2, 0);
        assert!(!reply.has(AttributeType::RESERVATION_TOKEN));
    }
    caller(100).allocate_with(&mut world, even_port(false)).expect_error(508);
    caller(100).allocate(&mut world);
}

#[test]
fn the_low_bits_of_even_port_are_ignored() {
    // Conformance 77, §18.7.
    let mut world = Setup::new().build();
    for (value, reserves) in [(0x00, false), (0x7F, false), (0x80, true), (0xFF, true)] {
        let build = |writer: &mut MessageWriter<'_>| {
            writer.add_raw(AttributeType::EVEN_PORT, &[value]);
        };
        let reply = caller(u16::from(value)).allocate_with(&mut world, build).expect_success();
        assert_eq!((relayed(&reply).port() % 2, reply.has(AttributeType::RESERVATION_TOKEN)), (0, reserves));
    }
    for malformed in [&[][..], &[0, 0]] {
        let build = |writer: &mut MessageWriter<'_>| {
            writer.add_raw(AttributeType::EVEN_PORT, malformed);
        };
        caller(900).allocate_with(&mut world, build).expect_error(400);
    }
}

#[test]
fn a_reserved_port_is_the_next_higher_one_and_claimed_from_another_5_tuple() {
    // Conformance 77 and 78.
    let mut world = Setup::new().build();
    let (first, token) = reserve(&mut world, 0);
    assert_eq!(first.port() % 2, 0);
    let reply = caller(1).allocate_with(&mut world, with_token(token)).expect_success();
    assert_eq!(relayed(&reply), SocketAddr::new(first.ip(), first.port() + 1));
    assert!(!reply.has(AttributeType::RESERVATION_TOKEN));
}

#[test]
fn a_token_is_claimed_over_another_transport() {
    // Conformance 78.
    let mut world = Setup::new().build();
    for transport in [Transport::Tcp, Transport::Tls, Transport::Dtls] {
        let (first, token) = reserve(&mut world, transport as u16);
        let mut claimer = caller(10 + transport as u16);
        claimer.client.tuple.transport = transport;
        let reply = claimer.allocate_with(&mut world, with_token(token)).expect_success();
        assert_eq!(relayed(&reply).port(), first.port() + 1, "{transport}");
    }
}

#[test]
fn a_token_works_once() {
    // Conformance 78.
    let mut world = Setup::new().build();
    let (_, token) = reserve(&mut world, 0);
    caller(1).allocate_with(&mut world, with_token(token)).expect_success();
    caller(2).allocate_with(&mut world, with_token(token)).expect_error(508);
    caller(1).refresh(&mut world, 0).expect_success();
    caller(2).allocate_with(&mut world, with_token(token)).expect_error(508);
}

#[test]
fn a_reserved_port_is_withheld_from_others_for_thirty_seconds() {
    // Conformance 78.
    let mut world = Setup::new().range(50_000..=50_001).build();
    let (_, token) = reserve(&mut world, 0);
    caller(1).allocate_with(&mut world, |_| {}).expect_error(508);
    world.advance(30 * SECOND - std::time::Duration::from_nanos(1));
    caller(1).allocate_with(&mut world, |_| {}).expect_error(508);
    world.advance(std::time::Duration::from_nanos(1));
    assert_eq!(caller(1).allocate(&mut world).port(), 50_001);
    caller(2).allocate_with(&mut world, with_token(token)).expect_error(508);
}

#[test]
fn a_token_works_until_its_last_moment() {
    // Conformance 78.
    let mut world = Setup::new().build();
    let (_, token) = reserve(&mut world, 0);
    world.advance(30 * SECOND - std::time::Duration::from_nanos(1));
    caller(1).allocate_with(&mut world, with_token(token)).expect_success();
}

#[test]
fn a_token_is_claimed_through_another_worker() {
    // Conformance 78: workers share ports.
    let mut first = Setup::new().build();
    let mut second = Setup::new().sharing_with(&first).build();
    let (relayed_first, token) = reserve(&mut first, 0);
    let reply = caller(1).allocate_with(&mut second, with_token(token)).expect_success();
    assert_eq!(relayed(&reply).port(), relayed_first.port() + 1);
    // The first worker's timer leaves the claimed port alone.
    first.advance(60 * SECOND);
    second.advance(60 * SECOND);
    assert_eq!(first.ports.taken(), 2);
    caller(2).allocate_with(&mut first, with_token(token)).expect_error(508);
}

#[test]
fn workers_never_give_the_same_port_twice() {
    let mut first = Setup::new().range(50_000..=50_063).build();
    let mut second = Setup::new().sharing_with(&first).build();
    let mut ports = Vec::new();
    for number in 0..32 {
        ports.push(caller(number).allocate(&mut first).port());
        ports.push(caller(number).allocate(&mut second).port());
    }
    ports.sort_unstable();
    assert_eq!(ports, (50_000..=50_063).collect::<Vec<u16>>());
    caller(40).allocate_with(&mut second, |_| {}).expect_error(508);
}

#[test]
fn a_reservation_outlives_the_allocation_it_came_with() {
    // §7.2: the token is good for thirty seconds whatever happens to the first port.
    let mut world = Setup::new().build();
    let (_, token) = reserve(&mut world, 0);
    caller(0).refresh(&mut world, 0).expect_success();
    caller(1).allocate_with(&mut world, with_token(token)).expect_success();
}

#[test]
fn an_unclaimed_reservation_is_freed_at_its_end() {
    let mut world = Setup::new().build();
    reserve(&mut world, 0);
    assert_eq!(world.ports.taken(), 2);
    world.advance(30 * SECOND);
    assert_eq!(world.ports.taken(), 1);
}

#[test]
fn a_token_is_not_used_up_by_a_request_that_is_refused_for_another_reason() {
    let mut world = Setup::new().quotas(1, 0).build();
    let (_, token) = reserve(&mut world, 0);
    caller(1).allocate_with(&mut world, with_token(token)).expect_error(486);
    let mut bob = caller(2).named("bob", "builder");
    bob.allocate_with(&mut world, with_token(token)).expect_success();
}

#[test]
fn tokens_are_unpredictable() {
    // Conformance 79: no shared bytes, no order.
    let mut world = Setup::new().build();
    let tokens: Vec<u64> =
        (0..200).map(|number| u64::from_be_bytes(reserve(&mut world, number).1.0)).collect();
    for bit in 0..64 {
        let set = tokens.iter().filter(|token| *token >> bit & 1 == 1).count();
        assert!((50..150).contains(&set), "bit {bit} is set {set} times of 200");
    }
    let rising = tokens.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!((60..140).contains(&rising));
}

#[test]
fn a_pair_needs_two_free_neighbours() {
    let mut world = Setup::new().range(50_001..=50_002).build();
    caller(0).allocate_with(&mut world, even_port(true)).expect_error(508);
    assert_eq!(caller(0).allocate_with(&mut world, even_port(false)).expect_success().number(), None);
}

#[test]
fn when_one_relay_address_is_full_the_next_is_used() {
    let mut world = Setup::new().relays(&[RELAY, "192.0.2.11"]).range(50_000..=50_003).build();
    let mut addresses: Vec<SocketAddr> = (0..8).map(|number| caller(number).allocate(&mut world)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 8);
    caller(8).allocate_with(&mut world, |_| {}).expect_error(508);
}
