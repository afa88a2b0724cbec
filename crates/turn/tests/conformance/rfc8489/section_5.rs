//! RFC 8489 §5: the header.

use turnpike_turn::Reason;
use turnpike_wire::attributes::Software;
use turnpike_wire::{Class, Method};

use crate::harness::{Caller, Setup, request};

const CALLER: &str = "203.0.113.1:4000";

#[test]
fn a_message_whose_first_two_bits_are_not_zero_gets_no_answer() {
    // Conformance 1.
    let mut world = Setup::new().build();
    let caller = Caller::new(CALLER);
    for bits in [0x40, 0x80, 0xC0] {
        let mut packet = request(Method::BINDING, |_| {});
        packet[0] |= bits;
        world.receive(caller.client, &packet).expect_silence();
    }
}

#[test]
fn a_message_without_the_magic_cookie_gets_no_answer() {
    // Conformance 2, 29: classic clients are not served.
    let mut world = Setup::new().build();
    let mut packet = request(Method::BINDING, |_| {});
    for byte in 4..8 {
        packet[byte] ^= 1;
        world.receive(Caller::new(CALLER).client, &packet).expect_drop(Reason::NoMagicCookie);
        packet[byte] ^= 1;
    }
    world.receive(Caller::new(CALLER).client, &packet).expect_success();
}

#[test]
fn every_message_sent_bears_the_cookie_and_a_length_that_excludes_the_header() {
    // Conformance 2, 3.
    let mut world = Setup::new().build();
    for method in [Method::BINDING, Method::ALLOCATE, Method::REFRESH] {
        let reply = world.receive(Caller::new(CALLER).client, &request(method, |_| {})).expect_reply();
        assert_eq!(reply.bytes[4..8], [0x21, 0x12, 0xA4, 0x42]);
        let length = usize::from(u16::from_be_bytes([reply.bytes[2], reply.bytes[3]]));
        assert_eq!((length, length % 4), (reply.bytes.len() - 20, 0));
        assert_eq!(reply.bytes[0] & 0xC0, 0);
    }
}

#[test]
fn the_length_field_must_equal_the_datagram() {
    // Conformance 3: no multiple of four, too short, too long, bytes behind the end.
    let mut world = Setup::new().build();
    let client = Caller::new(CALLER).client;
    let sound = request(Method::BINDING, |writer| {
        writer.add(&Software(b"client"));
    });
    for length in [0, 1, 2, 3, 8, 16, 0xFFFC, 0xFFFF] {
        let mut packet = sound.clone();
        packet[2..4].copy_from_slice(&u16::to_be_bytes(length));
        world.receive(client, &packet).expect_drop(Reason::Malformed);
    }
    for extra in 1..=4 {
        let mut packet = sound.clone();
        packet.resize(sound.len() + extra, 0);
        world.receive(client, &packet).expect_drop(Reason::Malformed);
    }
    for length in 1..20 {
        world.receive(client, &sound[..length]).expect_drop(Reason::Malformed);
    }
    world.receive(client, &[]).expect_drop(Reason::Empty);
}

#[test]
fn method_and_class_are_interleaved_in_the_type_field() {
    // Conformance 4: a Binding success is 0x0101, an Allocate error 0x0113.
    let mut world = Setup::new().build();
    let client = Caller::new(CALLER).client;
    let binding = world.receive(client, &request(Method::BINDING, |_| {})).expect_success();
    assert_eq!(binding.bytes[..2], [0x01, 0x01]);
    let allocate = world.receive(client, &request(Method::ALLOCATE, |_| {})).expect_error(401);
    assert_eq!(allocate.bytes[..2], [0x01, 0x13]);
    assert_eq!(allocate.message().class(), Class::Error);
}

#[test]
fn other_protocols_on_the_port_get_nothing() {
    // RFC 7983, conformance 123 and 167: ZRTP, DTLS, RTP, HTTP, QUIC.
    let mut world = Setup::new().build();
    let client = Caller::new(CALLER).client;
    for first in (4..=63).chain(128..=255) {
        let mut packet = request(Method::BINDING, |_| {});
        packet[0] = first;
        world.receive(client, &packet).expect_drop(Reason::NotStun);
    }
    for text in
        [&b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n"]
    {
        world.receive(client, text).expect_silence();
    }
}
