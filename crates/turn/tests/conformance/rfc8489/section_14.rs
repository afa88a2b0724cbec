//! RFC 8489 §14: how attributes look.

use turnpike_wire::attributes::{Nonce, Realm, Software};
use turnpike_wire::{AttributeType, Method};

use crate::harness::{Caller, Reply, Setup, World, request};

const CALLER: &str = "203.0.113.1:4000";

fn walk(reply: &Reply) -> Vec<(u16, usize, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = &reply.bytes[20..];
    while let [t0, t1, l0, l1, value @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let padded = length.div_ceil(4) * 4;
        found.push((u16::from_be_bytes([*t0, *t1]), length, value[length..padded].to_vec()));
        rest = &value[padded..];
    }
    assert!(rest.is_empty());
    found
}

fn replies(world: &mut World) -> Vec<Reply> {
    let mut caller = Caller::new(CALLER).with_fingerprint();
    vec![
        world.receive(caller.client, &request(Method::BINDING, |_| {})).expect_success(),
        world.receive(caller.client, &request(Method::ALLOCATE, |_| {})).expect_error(401),
        caller.refresh(world, 0).expect_error(437),
        caller.allocate_with(world, |_| {}).expect_success(),
        caller.permit(world, &["127.0.0.1:1"]).expect_error(403),
        caller.refresh(world, 600).expect_success(),
    ]
}

#[test]
fn values_are_padded_to_four_with_zeros_that_the_length_excludes() {
    // §14, conformance 14.
    let mut world = Setup::new()
        .config(|config| {
            config.software = Some("odd".into());
            config.reason_phrases = true;
        })
        .build();
    for reply in replies(&mut world) {
        for (kind, _, padding) in walk(&reply) {
            assert!(padding.iter().all(|byte| *byte == 0), "{kind:#06x}");
        }
    }
}

#[test]
fn padding_of_any_value_is_accepted() {
    // §14, conformance 14.
    let mut world = Setup::new().build();
    let mut packet = request(Method::BINDING, |writer| {
        writer.add(&Software(b"a"));
    });
    packet[25..28].copy_from_slice(b"\xFF\x01\x80");
    world.receive(Caller::new(CALLER).client, &packet).expect_success();
}

#[test]
fn error_code_has_zero_reserved_bits_and_a_number_in_range() {
    // §14.8, conformance 20.
    for phrases in [false, true] {
        let mut world = Setup::new().config(|config| config.reason_phrases = phrases).build();
        for reply in replies(&mut world) {
            if let Some(value) = reply.message().value(AttributeType::ERROR_CODE) {
                assert_eq!((value[0], value[1], value[2] & 0xF8), (0, 0, 0));
                assert!((3..=6).contains(&value[2]) && value[3] < 100);
                let phrase = std::str::from_utf8(&value[4..]).expect("UTF-8");
                assert!(phrase.chars().count() < 128 && !phrase.contains('\0'));
                assert_eq!(phrase.is_empty(), !phrases);
            }
        }
    }
}

#[test]
fn fingerprint_is_right_and_last() {
    // §14.7, conformance 21. `replies` sends it with signed requests.
    let mut world = Setup::new().config(|config| config.always_fingerprint = true).build();
    for reply in replies(&mut world) {
        assert_eq!(reply.message().fingerprint_is_valid(), Some(true));
        assert_eq!(walk(&reply).last().map(|last| (last.0, last.1)), Some((0x8028, 4)));
    }
}

#[test]
fn realm_and_nonce_stay_within_their_lengths() {
    // §14.9, §14.10, conformance 23.
    let mut world = Setup::new().build();
    let reply =
        world.receive(Caller::new(CALLER).client, &request(Method::ALLOCATE, |_| {})).expect_error(401);
    assert_eq!(reply.expect::<Realm<'_>>().0, b"example.org");
    assert!(reply.expect::<Nonce<'_>>().0.len() < 128);
}

#[test]
fn software_is_absent_unless_configured() {
    // §14.14, §16, conformance 24.
    let mut world = Setup::new().build();
    assert!(replies(&mut world).iter().all(|reply| !reply.has(AttributeType::SOFTWARE)));
}

#[test]
fn each_type_appears_once_in_a_response() {
    // §14.
    let configure = |config: &mut turnpike_turn::Config| {
        config.software = Some("Turnpike".into());
        config.mapped_address = true;
    };
    let mut world = Setup::new().config(configure).build();
    for reply in replies(&mut world) {
        let mut kinds: Vec<u16> = walk(&reply).iter().map(|attribute| attribute.0).collect();
        let all = kinds.len();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), all);
    }
}
