//! RFC 5780 §10: what discovery lets a stranger do to others.

use turnpike_turn::{Config, Reason};
use turnpike_wire::attributes::Padding;
use turnpike_wire::{AttributeType, Method};

use super::{CALLERS, binding, change, client, response_port, setup, world};
use crate::harness::{Caller, Outcome, SECOND, request};

fn everything_on(config: &mut Config) {
    config.software = Some("Turnpike 0.99.99".into());
    config.reason_phrases = true;
    config.always_fingerprint = true;
}

#[test]
fn whatever_is_asked_a_response_is_at_most_three_times_its_request() {
    // On the wire, with IP and UDP headers. Conformance 161.
    for options in [|_: &mut Config| {}, everything_on] {
        for (family, headers) in [(0, 28), (1, 48)] {
            let mut world = setup().config(options).build();
            let mut packets = vec![request(Method::BINDING, |_| {})];
            packets.push(request(Method::BINDING, change(true, true)));
            packets.push(request(Method::BINDING, response_port(53)));
            for length in [0, 1, 4, 100, 1498, 1500, 1504, 60_000] {
                packets.push(request(Method::BINDING, |writer| {
                    writer.add(&Padding(&vec![0; length]));
                }));
                // One attribute is answered once.
                packets.push(request(Method::BINDING, |writer| {
                    writer.add(&Padding(&[])).add(&Padding(&vec![0; length]));
                }));
            }
            for packet in packets {
                let reply = world.receive(client(family, 0), &packet).expect_success();
                let factor = (reply.bytes.len() + headers) as f64 / (packet.len() + headers) as f64;
                assert!(factor <= 3.0, "{factor} for {} bytes", packet.len());
                assert!(reply.bytes.len() <= 1700, "at most two fragments");
            }
        }
    }
}

#[test]
fn diverted_and_padded_answers_count_against_the_budget_of_their_source() {
    let burst = usize::try_from(setup().config.challenge_burst).unwrap_or(usize::MAX);
    let builds: [fn(&mut turnpike_wire::MessageWriter<'_>); 3] = [
        |writer| change(true, true)(writer),
        |writer| response_port(53)(writer),
        |writer| _ = writer.add(&Padding(&[0; 1500])),
    ];
    for build in builds {
        let mut world = world();
        let mut answered = 0;
        for _ in 0..3 * burst {
            match binding(&mut world, client(0, 0), build) {
                Outcome::Reply(_) => answered += 1,
                outcome => outcome.expect_drop(Reason::RateLimited),
            }
        }
        assert_eq!(answered, burst);
        // Whoever only wants to know its address is served on, and so are other sources.
        let _ = binding(&mut world, client(0, 0), |_| {}).expect_success();
        let _ = binding(&mut world, client(1, 0), build).expect_success();
        world.advance(SECOND);
        let _ = binding(&mut world, client(0, 0), build).expect_success();
    }
}

#[test]
fn a_signed_request_is_diverted_whatever_is_left_of_the_budget() {
    let mut world = setup().config(|config| config.authenticated_binding = true).build();
    let asked = client(0, 0);
    let mut caller = Caller { client: asked, ..Caller::new(CALLERS[0]) };
    caller.take_nonce(&world.receive(asked, &request(Method::BINDING, |_| {})).expect_error(401));
    for _ in 0..1000 {
        let id = world.transaction();
        let signed = caller.signed(id, Method::BINDING, response_port(5001));
        let reply = world.receive(asked, &signed).expect_success();
        assert_eq!(reply.to.tuple.client.port(), 5001);
    }
}

#[test]
fn an_answer_goes_to_the_asking_address_alone_and_makes_no_state() {
    let mut world = world();
    for corner in 0..4 {
        for port in [1, 53, 3478, 49_152, u16::MAX] {
            let reply = binding(&mut world, client(0, corner), |writer| {
                change(true, true)(writer);
                response_port(port)(writer);
            })
            .expect_success();
            assert_eq!(reply.to.tuple.client.ip(), client(0, corner).tuple.client.ip());
            assert!(!reply.has(AttributeType::PADDING));
        }
    }
    assert!(world.server.poll_effect().is_none() && world.server.poll_timeout().is_none());
}
