//! Somebody on the way who would have client and server use less than both have (RFC 8489 §9.2.1, conformance 46).

use turnpike_wire::attributes::{Nonce, PasswordAlgorithms, RequestedTransport};
use turnpike_wire::{
    AttributeType, Class, Integrity, Method, PasswordDigest, SecurityFeatures, TransactionId,
};

use crate::harness::{Caller, Setup, World, message};

const CALLER: &str = "203.0.113.1:4000";

fn world_with_caller() -> (World, Caller) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER).choosing(PasswordDigest::Sha256);
    caller.fetch_nonce(&mut world);
    (world, caller)
}

#[test]
fn a_nonce_with_any_other_feature_bits_is_not_ours() {
    // A client that believes altered bits comes back with them, and learns the truth.
    let (mut world, caller) = world_with_caller();
    let right = SecurityFeatures::from_nonce(&caller.nonce).expect("the cookie");
    for password_algorithms in [false, true] {
        for username_anonymity in [false, true] {
            let features = SecurityFeatures { password_algorithms, username_anonymity };
            let mut deceived = caller.clone();
            deceived.nonce[..13].copy_from_slice(&features.nonce_prefix());
            if !password_algorithms {
                deceived.algorithm = None;
            }
            let id = world.transaction();
            let outcome = deceived.request_as(&mut world, id, Method::REFRESH, |_| {});
            if features == right {
                outcome.expect_error(437);
                continue;
            }
            let reply = outcome.expect_error(438);
            assert_eq!(SecurityFeatures::from_nonce(reply.expect::<Nonce<'_>>().0), Some(right));
            assert_eq!(reply.expect::<PasswordAlgorithms<'_>>(), PasswordAlgorithms::SHA256_THEN_MD5);
        }
    }
}

#[test]
fn no_bit_of_the_twenty_four_can_be_changed() {
    let mut world = Setup::new().config(|config| config.challenge_burst = 1000).build();
    let mut caller = Caller::new(CALLER).choosing(PasswordDigest::Sha256);
    caller.fetch_nonce(&mut world);
    for at in 9..13 {
        for replacement in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=" {
            let mut changed = caller.clone();
            changed.nonce[at] = *replacement;
            if changed.nonce != caller.nonce {
                let id = world.transaction();
                changed.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_error(438);
            }
        }
    }
}

#[test]
fn a_nonce_without_the_cookie_is_not_ours() {
    let (mut world, caller) = world_with_caller();
    let bare = Caller { nonce: caller.nonce[13..].to_vec(), algorithm: None, ..caller.clone() };
    let id = world.transaction();
    bare.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_error(438);
}

#[test]
fn a_list_without_sha256_comes_back_to_the_server_and_is_noticed() {
    // The challenge was altered on the way to the client, its nonce was not.
    let (mut world, caller) = world_with_caller();
    let deceived =
        Caller { algorithms: vec![0, 1, 0, 0], algorithm: Some(PasswordDigest::Md5), ..caller.clone() };
    let id = world.transaction();
    let packet = deceived.signed(id, Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP);
    });
    world.receive(deceived.client, &packet).expect_error(400);
    assert_eq!(world.server.stats().allocations(), 0);
}

#[test]
fn a_captured_request_cannot_be_stripped_of_its_algorithms() {
    // Neither the choice, nor the list, nor both can be taken out, and the stronger tag cannot be cut off.
    let (mut world, caller) = world_with_caller();
    let key = caller.key();
    for (keeps_choice, keeps_list) in [(false, false), (true, false), (false, true)] {
        let id = TransactionId([9; 12]);
        let original = message(Class::Request, Method::REFRESH, id, |writer| {
            caller.name(writer);
            writer.integrity_sha1(&key).integrity_sha256_with(key.bytes());
        });
        let stripped = rewritten(&original, |kind| match kind {
            AttributeType::PASSWORD_ALGORITHM => keeps_choice,
            AttributeType::PASSWORD_ALGORITHMS => keeps_list,
            _ => true,
        });
        let expected = if keeps_choice || keeps_list { 400 } else { 401 };
        world.receive(caller.client, &stripped).expect_error(expected);
        world.receive(caller.client, &original).expect_error(437);
    }
}

#[test]
fn a_tag_of_one_kind_is_none_of_the_other() {
    // The bytes of a SHA-1 tag in MESSAGE-INTEGRITY-SHA256, where twenty are allowed, and the reverse.
    let (mut world, caller) = world_with_caller();
    let id = world.transaction();
    for (from, to) in [
        (AttributeType::MESSAGE_INTEGRITY, AttributeType::MESSAGE_INTEGRITY_SHA256),
        (AttributeType::MESSAGE_INTEGRITY_SHA256, AttributeType::MESSAGE_INTEGRITY),
    ] {
        let mut packet = message(Class::Request, Method::REFRESH, id, |writer| {
            caller.name(writer);
            match from {
                AttributeType::MESSAGE_INTEGRITY => writer.integrity_sha1(&caller.key()),
                _ => writer.integrity_sha256_with(caller.key().bytes()),
            };
        });
        let tag = if from == AttributeType::MESSAGE_INTEGRITY { 20 } else { 32 };
        let at = packet.len() - 4 - tag;
        packet[at..at + 2].copy_from_slice(&to.0.to_be_bytes());
        world.receive(caller.client, &packet).expect_error(401);
    }
}

#[test]
fn a_weaker_integrity_in_front_does_not_make_a_wrong_stronger_one_right() {
    let (mut world, caller) = world_with_caller();
    let id = world.transaction();
    let packet = message(Class::Request, Method::REFRESH, id, |writer| {
        caller.name(writer);
        writer.integrity_sha1(&caller.key());
        writer.add_raw(AttributeType::MESSAGE_INTEGRITY_SHA256, &[0; 16]);
    });
    world.receive(caller.client, &packet).expect_error(401);
}

#[test]
fn who_chose_an_algorithm_is_never_answered_with_sha1() {
    // Not even when it signed with MESSAGE-INTEGRITY alone, which RFC 8489 §9.2.3 tells it not to.
    let (mut world, caller) = world_with_caller();
    let id = world.transaction();
    let packet = message(Class::Request, Method::REFRESH, id, |writer| {
        caller.name(writer);
        writer.integrity_sha1(&caller.key());
    });
    let reply = world.receive(caller.client, &packet).expect_error(437);
    assert_eq!(reply.message().integrity(), Integrity::Sha256);
    assert_eq!(reply.message().verify_sha256(caller.key().bytes()), Ok(()));
}

/// The message without the attributes that `keep` does not keep, and with a header that fits what is left.
fn rewritten(original: &[u8], keep: impl Fn(AttributeType) -> bool) -> Vec<u8> {
    let mut left = original[..20].to_vec();
    let mut at = 20;
    while at < original.len() {
        let kind = AttributeType(u16::from_be_bytes([original[at], original[at + 1]]));
        let length = usize::from(u16::from_be_bytes([original[at + 2], original[at + 3]]));
        let next = at + 4 + length.next_multiple_of(4);
        if keep(kind) {
            left.extend_from_slice(&original[at..next]);
        }
        at = next;
    }
    let length = (left.len() - 20) as u16;
    left[2..4].copy_from_slice(&length.to_be_bytes());
    left
}
