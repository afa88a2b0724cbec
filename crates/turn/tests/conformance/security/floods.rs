//! Floods of requests by strangers: each source has a budget of answers, and nothing is remembered of any.

use turnpike_turn::{Event, Reason, Transport};
use turnpike_wire::attributes::RequestedTransport;
use turnpike_wire::{Method, TransactionId};

use super::written_out;
use crate::harness::{Caller, Outcome, PEER, SECOND, Setup, World, request};

const BURST: usize = 20;

/// Twenty answers at once, ten more a second.
fn world() -> World {
    let limits = |config: &mut turnpike_turn::Config| {
        (config.challenge_rate, config.challenge_burst) = (10, BURST as u32);
    };
    Setup::new().config(limits).build()
}

/// How many of `count` requests without credentials are answered.
fn answered(world: &mut World, from: &str, count: usize) -> usize {
    let packet = request(Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP);
    });
    let client = Caller::new(from).client;
    let answers = (0..count).filter(|_| match world.receive(client, &packet) {
        Outcome::Reply(reply) => {
            assert_eq!(reply.number(), Some(401));
            true
        }
        outcome => {
            outcome.expect_drop(Reason::RateLimited);
            false
        }
    });
    answers.count()
}

#[test]
fn a_source_gets_its_budget_of_answers_and_then_silence() {
    // Conformance 162.
    let mut world = world();
    assert_eq!(answered(&mut world, "198.51.100.1:1", 1000), BURST);
    assert_eq!(world.server.stats().refused(Reason::RateLimited), 1000 - BURST as u64);
    assert_eq!(world.server.stats().refused(Reason::NoCredentials), BURST as u64);
    world.advance(SECOND);
    assert_eq!(answered(&mut world, "198.51.100.1:1", 1000), 10);
    world.advance(3600 * SECOND);
    assert_eq!(answered(&mut world, "198.51.100.1:1", 1000), BURST, "never more than a burst");
}

#[test]
fn clients_that_have_proved_their_address_have_no_budget() {
    let mut world = world();
    let packet = request(Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP);
    });
    for transport in [Transport::Tcp, Transport::Tls, Transport::Dtls] {
        let mut client = Caller::new("198.51.100.1:1").client;
        client.tuple.transport = transport;
        for _ in 0..10 * BURST {
            let Outcome::Reply(reply) = world.receive(client, &packet) else { panic!("{transport}") };
            assert_eq!(reply.number(), Some(401));
        }
    }
}

#[test]
fn the_ports_of_a_source_share_its_budget() {
    let mut world = world();
    let all = (1..=100).map(|port| answered(&mut world, &format!("198.51.100.1:{port}"), 10)).sum::<usize>();
    assert_eq!(all, BURST);
}

#[test]
fn an_ipv6_network_is_one_source() {
    // Whoever has one address of a /64 has them all.
    let mut world = world();
    let all =
        (1..=100).map(|host| answered(&mut world, &format!("[2001:db8:1:1::{host:x}]:1"), 10)).sum::<usize>();
    assert_eq!(all, BURST);
    assert_eq!(answered(&mut world, "[2001:db8:1:2::1]:1", 100), BURST);
}

#[test]
fn every_error_to_a_stranger_counts_against_the_budget() {
    // Forged integrity, made-up nonces, half a set of credentials, unknown attributes.
    let mut world = world();
    let from = "198.51.100.1:1";
    let forger = Caller { nonce: b"made up".to_vec(), ..Caller::new(from) };
    let id = TransactionId([1; 12]);
    let packets = [
        forger.signed(id, Method::ALLOCATE, |_| {}),
        request(Method::REFRESH, |writer| {
            writer.integrity_sha1_with(b"forged");
        }),
        request(Method::BINDING, |writer| {
            writer.add_raw(turnpike_wire::AttributeType(0x7ABC), b"");
        }),
        request(Method::CHANNEL_BIND, |_| {}),
    ];
    let mut answers = 0;
    for round in 0..400 {
        if let Outcome::Reply(_) = world.receive(forger.client, &packets[round % 4]) {
            answers += 1;
        }
    }
    assert_eq!(answers, BURST);
    // What is answered with less than it costs stays free: a Binding.
    world.receive(forger.client, &request(Method::BINDING, |_| {})).expect_success();
}

#[test]
fn who_returns_the_nonces_it_was_given_never_runs_out() {
    // Many clients behind one address translator, all at the same moment.
    let mut world = world();
    for port in 1..=500 {
        let mut caller = Caller::new(&format!("198.51.100.1:{port}"));
        caller.allocate(&mut world);
    }
    assert_eq!(world.server.stats().refused(Reason::RateLimited), 0);
    assert_eq!(world.server.stats().allocations(), 500);
}

#[test]
fn a_wrong_password_costs_what_its_nonce_returned_and_no_more() {
    // Whoever shows a nonce receives our answers: nobody's address is forged.
    let mut world = world();
    let mut caller = Caller::new("198.51.100.1:1").named("alice", "guess");
    caller.fetch_nonce(&mut world);
    for _ in 0..500 {
        let id = world.transaction();
        caller.request_as(&mut world, id, Method::ALLOCATE, |_| {}).expect_error(401);
    }
    assert_eq!(world.server.stats().refused(Reason::RateLimited), 0);
}

#[test]
fn a_nonce_of_another_address_refunds_nothing() {
    // Else one stolen nonce would pay for a whole flood.
    let mut world = world();
    let mut other = Caller::new("198.51.100.1:1");
    other.fetch_nonce(&mut world);
    let forger = Caller { nonce: other.nonce, ..Caller::new("198.51.100.2:1") };
    let packet = forger.signed(TransactionId([1; 12]), Method::ALLOCATE, |_| {});
    let answers = (0..100).filter(|_| matches!(world.receive(forger.client, &packet), Outcome::Reply(_)));
    assert_eq!(answers.count(), BURST);
}

#[test]
fn a_flood_from_one_source_leaves_others_alone() {
    // Conformance 162: an innocent client gets through, and a session goes on even from the very source.
    let mut world = world();
    let mut session = Caller::new("198.51.100.1:9");
    session.allocate(&mut world);
    session.bind(&mut world, 0x4000, PEER).expect_success();
    answered(&mut world, "198.51.100.1:1", 100_000);
    Caller::new("198.51.100.2:1").allocate(&mut world);
    session.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
    session.refresh(&mut world, 600).expect_success();
}

#[test]
fn an_innocent_client_gets_through_a_flood_from_many_sources() {
    // Conformance 162: sources share buckets; a retry a second later finds a token. Most get through at once.
    let mut world = world();
    for source in 0..20_000_u32 {
        let [_, b, c, d] = source.to_be_bytes();
        answered(&mut world, &format!("198.{b}.{c}.{d}:1"), 3);
    }
    let mut at_once = 0;
    for last in 1..=100 {
        let from = format!("203.0.113.{last}:1");
        at_once += answered(&mut world, &from, 1);
    }
    assert!(at_once >= 60, "{at_once} of 100");
    world.advance(SECOND);
    for last in 1..=100 {
        Caller::new(&format!("203.0.113.{last}:2")).allocate(&mut world);
    }
}

#[test]
fn a_flood_from_many_sources_leaves_no_state() {
    // Conformance 162: IPv4 and IPv6, with and without made-up credentials.
    let mut world = world();
    let flood = |world: &mut World, rounds: std::ops::Range<u32>| {
        for source in rounds {
            let [a, b, c, d] = source.to_be_bytes();
            let forger = Caller { nonce: b"made up".to_vec(), ..Caller::new(&format!("198.{b}.{c}.{d}:1")) };
            let packet = forger.signed(TransactionId([a; 12]), Method::ALLOCATE, |_| {});
            let _ = world.receive(forger.client, &packet);
            answered(world, &format!("[2001:db8:{b:x}:{c:x}{d:02x}::1]:1"), 1);
        }
        world.events.clear();
    };
    flood(&mut world, 0..5000);
    let before = written_out(&world);
    flood(&mut world, 5000..25_000);
    let after = written_out(&world);
    assert!(after < before + before / 10, "{before} bytes have become {after}");
    assert_eq!(world.server.poll_timeout(), None);
    assert_eq!((world.ports.taken(), world.quotas.taken()), (0, 0));
    world.server.check_invariants();
}

#[test]
fn a_flood_is_reported_once_and_not_for_each_packet() {
    let mut world = world();
    let limited = |world: &World| {
        let told = |event: &&Event| matches!(event, Event::SourceLimited { .. });
        world.events.iter().filter(told).count()
    };
    answered(&mut world, "198.51.100.1:1", 10_000);
    assert_eq!(limited(&world), 1);
    assert!(
        matches!(world.events[0], Event::SourceLimited { source } if source.to_string() == "198.51.100.1")
    );
    world.advance(10 * SECOND);
    answered(&mut world, "198.51.100.1:1", 10_000);
    assert_eq!(limited(&world), 2, "once more after it had recovered");
}

#[test]
fn a_flood_of_data_without_an_allocation_is_dropped_and_counted() {
    let mut world = world();
    let stranger = Caller::new("198.51.100.1:1");
    for _ in 0..1000 {
        stranger.send(&mut world, PEER, b"x").expect_drop(Reason::NoAllocation);
        stranger.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoAllocation);
    }
    assert_eq!(world.server.stats().refused(Reason::NoAllocation), 2000);
    assert!(world.events.is_empty());
}
