//! What a forged source address can make the server send to its victim (conformance 161).
//!
//! Measured on the wire, IP and UDP headers included. A 401 must carry the realm, so its bound depends on the realm's
//! length: up to 64 bytes (a host name, as realms usually are) it is 4 with every option on, and 84 without. With the
//! longest realm the RFC allows, 763 bytes, it is 19; such answers are bounded by the source's budget alone, for a
//! server that left the realm out would serve nobody. Where access tokens are accepted, the server's name goes with the
//! realm: 4 holds up to 80 bytes of both together, with every option 56.

use turnpike_turn::{Config, Credentials, OAuthKeys};
use turnpike_wire::attributes::{RequestedTransport, Software};
use turnpike_wire::{AttributeType, Class, MessageWriter, Method};

use crate::harness::{Caller, Dice, Outcome, Setup, World, indication, message, request};

const CALLERS: [&str; 2] = ["203.0.113.1:4000", "[2001:db8:1::1]:4000"];

/// Bytes of IP and UDP headers.
fn headers(caller: &Caller) -> usize {
    if caller.client.tuple.client.is_ipv4() { 28 } else { 48 }
}

/// Bytes sent for each byte received; none for silence.
fn factor(world: &mut World, caller: &Caller, packet: &[u8]) -> f64 {
    match world.receive(caller.client, packet) {
        Outcome::Reply(reply) => {
            assert_eq!(reply.to, caller.client);
            (reply.bytes.len() + headers(caller)) as f64 / (packet.len() + headers(caller)) as f64
        }
        Outcome::Drop(_) => 0.0,
        other => panic!("{other:?}"),
    }
}

fn everything_on(config: &mut Config) {
    config.software = Some("Turnpike 0.99.99".into());
    config.reason_phrases = true;
    config.always_fingerprint = true;
    config.mapped_address = true;
}

fn world_of_realm(length: usize) -> Setup {
    Setup::with_credentials(Credentials::new(&"r".repeat(length)))
}

#[test]
fn a_binding_response_is_at_most_two_and_a_half_times_its_request() {
    for options in [|_: &mut Config| {}, everything_on] {
        let mut world = Setup::new().config(options).build();
        for caller in CALLERS.map(Caller::new) {
            let smallest = factor(&mut world, &caller, &request(Method::BINDING, |_| {}));
            assert!(smallest > 0.0 && smallest <= 2.5, "{smallest}");
            for length in [1, 4, 63] {
                let packet = request(Method::BINDING, |writer| {
                    writer.add(&Software(&b"x".repeat(length)));
                });
                assert!(factor(&mut world, &caller, &packet) <= smallest);
            }
        }
    }
}

#[test]
fn a_challenge_is_at_most_four_times_its_request() {
    // The smallest requests there are, each method's, with a realm like a host name.
    for options in [|_: &mut Config| {}, everything_on] {
        for caller in CALLERS.map(Caller::new) {
            let mut world = world_of_realm(64).config(options).build();
            for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND]
            {
                let challenge = factor(&mut world, &caller, &request(method, |_| {}));
                assert!(challenge > 1.0 && challenge <= 4.0, "{challenge}");
            }
        }
    }
    let caller = Caller::new(CALLERS[0]);
    let mut world = world_of_realm(84).build();
    assert!(factor(&mut world, &caller, &request(Method::ALLOCATE, |_| {})) <= 4.0);
    let mut world = world_of_realm(64).config(|config| config.authenticated_binding = true).build();
    assert!(factor(&mut world, &caller, &request(Method::BINDING, |_| {})) <= 4.0);
}

#[test]
fn a_challenge_that_names_this_server_to_bearers_of_tokens_is_at_most_four_times_its_request() {
    for (length, options) in [(28, everything_on as fn(&mut Config)), (40, |_| {})] {
        for caller in CALLERS.map(Caller::new) {
            let mut world = Setup::with_credentials(named(length)).config(options).build();
            let challenge = factor(&mut world, &caller, &request(Method::ALLOCATE, |_| {}));
            assert!(challenge > 1.0 && challenge <= 4.0, "{challenge}");
        }
    }
}

fn named(length: usize) -> Credentials {
    let mut credentials = Credentials::new(&"r".repeat(length));
    credentials.set_oauth(OAuthKeys::new(&"s".repeat(length)));
    credentials
}

#[test]
fn the_longest_realm_is_challenged_with_within_the_sources_budget() {
    // See above: 19 times, and no more often than the budget allows.
    let caller = Caller::new(CALLERS[0]);
    let mut world = world_of_realm(763).config(everything_on).build();
    let packet = request(Method::ALLOCATE, |_| {});
    let mut sent = 0.0;
    for _ in 0..10_000 {
        let challenge = factor(&mut world, &caller, &packet);
        assert!(challenge <= 19.0, "{challenge}");
        sent += challenge;
    }
    let burst = f64::from(Config::new(std::sync::Arc::new(Credentials::new("r"))).challenge_burst);
    assert!(sent <= 19.0 * burst, "{sent} times the request over all");
}

#[test]
fn other_errors_to_strangers_are_smaller_than_challenges() {
    // 400 for half a set of credentials, 438 for a made-up nonce, 420 for unknown attributes.
    let mut world = world_of_realm(64).config(everything_on).build();
    let caller = Caller { nonce: b"made up".to_vec(), ..Caller::new(CALLERS[0]) };
    let nameless = request(Method::ALLOCATE, |writer| {
        writer.add_raw(AttributeType::MESSAGE_INTEGRITY, &[]);
    });
    let stale = caller.signed(turnpike_wire::TransactionId([1; 12]), Method::ALLOCATE, |_| {});
    for (packet, most) in [(nameless, 2.0), (stale, 2.5)] {
        let error = factor(&mut world, &caller, &packet);
        assert!(error > 0.0 && error <= most, "{error}");
    }
    for count in [1, 2, 3, 100, 10_000] {
        let unknown = request(Method::BINDING, |writer| {
            for _ in 0..count {
                writer.add_raw(AttributeType(0x7ABC), b"");
            }
        });
        let error = factor(&mut world, &caller, &unknown);
        assert!(error > 0.0 && error <= 2.5, "{error} for {count}");
    }
}

#[test]
fn one_request_has_one_answer() {
    // Conformance 161: the verdict is one, and no effect sends anything to a stranger.
    let mut world = Setup::new().config(everything_on).build();
    let caller = Caller::new(CALLERS[0]);
    for method in [Method::BINDING, Method::ALLOCATE, Method::REFRESH] {
        let before = world.server.stats().clone();
        let _ = world.receive(caller.client, &request(method, |_| {})).expect_reply();
        let after = world.server.stats();
        assert_eq!(after.successes + after.errors, before.successes + before.errors + 1);
        assert!(world.attempts.is_empty() && world.asked.is_empty() && world.server.poll_effect().is_none());
    }
}

#[test]
fn garbage_gets_nothing() {
    // Random bytes, with every first byte.
    let mut world = Setup::new().config(everything_on).build();
    let caller = Caller::new(CALLERS[0]);
    let mut dice = Dice(161);
    for round in 0..20_000_usize {
        let length = dice.below(200);
        let mut packet: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
        if let Some(first) = packet.first_mut() {
            *first = round as u8;
        }
        world.receive(caller.client, &packet).expect_silence();
    }
    let stats = world.server.stats();
    assert_eq!(stats.successes + stats.errors, 0);
    assert_eq!(stats.refusals().map(|(_, count)| count).sum::<u64>(), 20_000);
}

#[test]
fn indications_and_responses_get_nothing() {
    let mut world = Setup::new().config(everything_on).build();
    let caller = Caller::new(CALLERS[0]);
    let empty = |_: &mut MessageWriter<'_>| {};
    for number in 0..0x100 {
        let method = Method::new(number);
        world.receive(caller.client, &indication(method, empty)).expect_silence();
        for class in [Class::Success, Class::Error] {
            let packet = message(class, method, turnpike_wire::TransactionId([2; 12]), |writer| {
                writer.add(&RequestedTransport::UDP);
            });
            world.receive(caller.client, &packet).expect_silence();
        }
    }
}
