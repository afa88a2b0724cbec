//! `rfc3489-compatibility`: Binding for clients of RFC 3489 (RFC 8489 §11). Conformance 18, 29.

use turnpike_turn::{Config, Reason};
use turnpike_wire::attributes::{ErrorCode, MappedAddress, RequestedTransport, UnknownAttributes};
use turnpike_wire::{AttributeType, Class, Message, MessageWriter, Method, TransactionId};

use crate::harness::{Caller, Outcome, SECOND, Setup, World, message};

const CALLERS: [&str; 2] = ["203.0.113.1:4000", "[2001:db8:1::1]:4000"];
/// The first quarter of the id, where the cookie would be.
const FIRST: [u8; 4] = [0xDE, 0xAD, 0xBE, 0xEF];

fn classic(class: Class, method: Method, build: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    let mut packet = message(class, method, TransactionId([0x77; 12]), build);
    packet[4..8].copy_from_slice(&FIRST);
    packet
}

fn binding(build: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
    classic(Class::Request, Method::BINDING, build)
}

fn setup() -> Setup {
    Setup::new().config(|config| config.classic = true)
}

/// The answer, with the cookie put where the id's first quarter was.
#[track_caller]
fn answer(world: &mut World, caller: &Caller, packet: &[u8]) -> Vec<u8> {
    let Outcome::Reply(reply) = world.receive(caller.client, packet) else { panic!("an answer") };
    assert_eq!(reply.to, caller.client);
    assert_eq!(reply.bytes[4..20], packet[4..20], "the id's 128 bits come back");
    let mut bytes = reply.bytes;
    bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
    bytes
}

#[test]
fn a_classic_client_is_told_its_mapped_address_and_nothing_else() {
    for caller in CALLERS.map(Caller::new) {
        for options in [|_: &mut Config| {}, everything_on] {
            let mut world = setup().config(options).build();
            let bytes = answer(&mut world, &caller, &binding(|_| {}));
            let message = Message::parse(&bytes).unwrap();
            assert_eq!((message.class(), message.method()), (Class::Success, Method::BINDING));
            assert_eq!(message.get(), Ok(Some(MappedAddress(caller.client.tuple.client))));
            assert_eq!(message.attributes().count(), 1);
            // On the wire: conformance 161.
            let headers = if caller.client.tuple.client.is_ipv4() { 28 } else { 48 };
            assert!((bytes.len() + headers) as f64 <= 2.5 * (20 + headers) as f64);
        }
    }
}

fn everything_on(config: &mut Config) {
    config.software = Some("Turnpike 0.99.99".into());
    config.reason_phrases = true;
    config.always_fingerprint = true;
    config.mapped_address = true;
}

#[test]
fn modern_clients_beside_them_notice_nothing() {
    let mut with = setup().build();
    let mut without = Setup::new().build();
    let caller = Caller::new(CALLERS[0]);
    let packet = message(Class::Request, Method::BINDING, TransactionId([1; 12]), |_| {});
    let [with, without] =
        [&mut with, &mut without].map(|world| world.receive(caller.client, &packet).expect_success().bytes);
    assert_eq!(with, without);
}

#[test]
fn off_by_default_with_no_stun_and_with_secure_stun_they_get_no_answer() {
    let caller = Caller::new(CALLERS[0]);
    let no_stun = setup().config(|config| config.binding = false);
    let secure = setup().config(|config| config.authenticated_binding = true);
    for setup in [Setup::new(), no_stun, secure] {
        setup.build().receive(caller.client, &binding(|_| {})).expect_drop(Reason::NoMagicCookie);
    }
}

#[test]
fn nothing_but_binding_requests_over_udp_is_answered() {
    let mut world = setup().build();
    let caller = Caller::new(CALLERS[0]);
    for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
        for method in (0..0x40).map(Method::new) {
            if (class, method) != (Class::Request, Method::BINDING) {
                let packet = classic(class, method, |writer| _ = writer.add(&RequestedTransport::UDP));
                world.receive(caller.client, &packet).expect_drop(Reason::NoMagicCookie);
            }
        }
    }
    let mut by_tcp = caller.client;
    by_tcp.tuple.transport = turnpike_turn::Transport::Tcp;
    world.receive(by_tcp, &binding(|_| {})).expect_drop(Reason::NoMagicCookie);
}

#[test]
fn what_is_cut_off_padded_or_large_is_dropped() {
    let mut world = setup().build();
    let caller = Caller::new(CALLERS[0]);
    let sound = binding(|writer| _ = writer.add_raw(AttributeType(0x8022), b"a client"));
    for length in 1..sound.len() {
        world.receive(caller.client, &sound[..length]).expect_silence();
    }
    world.receive(caller.client, &[&sound[..], &[0; 4]].concat()).expect_silence();
    let large = binding(|writer| _ = writer.add_raw(AttributeType(0x8022), &[0; 60_000]));
    world.receive(caller.client, &large).expect_silence();
    answer(&mut world, &caller, &sound);
}

#[test]
fn what_would_divert_an_answer_is_refused_within_the_budget() {
    // RESPONSE-ADDRESS made classic servers reflectors; CHANGE-REQUEST is for rfc5780 alone.
    let caller = Caller::new(CALLERS[0]);
    for kind in [AttributeType::RESPONSE_ADDRESS, AttributeType::CHANGE_REQUEST] {
        let mut world = setup().config(|config| config.challenge_burst = 3).build();
        let packet = binding(|writer| _ = writer.add_raw(kind, &[0, 1, 0, 53, 198, 51, 100, 7]));
        for _ in 0..3 {
            let bytes = answer(&mut world, &caller, &packet);
            let message = Message::parse(&bytes).unwrap();
            let ErrorCode { number, reason } = message.get().unwrap().unwrap();
            assert_eq!((number.number(), reason), (420, ""));
            let unknown: UnknownAttributes<'_> = message.get().unwrap().unwrap();
            assert_eq!(unknown.types().collect::<Vec<_>>(), [kind]);
            assert_eq!(message.attributes().count(), 2);
        }
        world.receive(caller.client, &packet).expect_drop(Reason::RateLimited);
        world.advance(SECOND);
        answer(&mut world, &caller, &packet);
    }
}
