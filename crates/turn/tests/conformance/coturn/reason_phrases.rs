//! Phrases in ERROR-CODE, which coturn leaves out unless `include-reason-string` is given.

use turnpike_wire::attributes::{ErrorCode, RequestedTransport};
use turnpike_wire::{AttributeType, Method, TransactionId};

use crate::harness::{Caller, OTHER_PEER, PEER, PEER_V6, Reply, Setup, World};

/// One error of each number that a client can cause, with its number.
fn errors(phrases: bool) -> Vec<Reply> {
    let setup = Setup::new().config(|config| {
        config.reason_phrases = phrases;
        config.max_permissions = 1;
    });
    let mut world: World = setup.quotas(1, 0).build();
    let mut stranger = Caller::new("203.0.113.2:4000");
    let mut caller = Caller::new("203.0.113.1:4000");
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    let mut stale = stranger.clone();
    stale.nonce = b"made up".to_vec();
    let id = TransactionId([1; 12]);
    vec![
        caller.request(&mut world, Method::CREATE_PERMISSION, |_| {}).expect_error(400),
        stranger.clone().named("mallory", "guess").allocate_with(&mut world, |_| {}).expect_error(401),
        caller.permit(&mut world, &["10.0.0.1:1"]).expect_error(403),
        caller
            .request(&mut world, Method::REFRESH, |writer| {
                writer.add_raw(AttributeType(0x7ABC), b"");
            })
            .expect_error(420),
        stranger.refresh(&mut world, 600).expect_error(437),
        stale.request_as(&mut world, id, Method::ALLOCATE, |_| {}).expect_error(438),
        stranger
            .allocate_with(&mut world, |writer| {
                writer.add_raw(AttributeType::REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0]);
            })
            .expect_error(440),
        Caller::new("203.0.113.1:4000").named("bob", "builder").refresh(&mut world, 600).expect_error(441),
        stranger
            .request(&mut world, Method::ALLOCATE, |writer| {
                writer.add(&RequestedTransport(132));
            })
            .expect_error(442),
        caller.permit(&mut world, &[PEER_V6]).expect_error(443),
        stranger.allocate_with(&mut world, |_| {}).expect_error(486),
        caller.permit(&mut world, &[OTHER_PEER]).expect_error(508),
    ]
}

#[test]
fn by_default_errors_have_a_number_and_no_phrase() {
    for reply in errors(false) {
        assert_eq!(reply.expect::<ErrorCode<'_>>().reason, "");
        assert_eq!(reply.message().value(AttributeType::ERROR_CODE).map(<[u8]>::len), Some(4));
    }
}

#[test]
fn with_the_option_each_error_has_its_phrase() {
    let phrases: Vec<String> =
        errors(true).iter().map(|reply| reply.expect::<ErrorCode<'_>>().reason.to_owned()).collect();
    let expected = [
        "Bad Request",
        "Unauthorized",
        "Forbidden",
        "Unknown Attribute",
        "Allocation Mismatch",
        "Stale Nonce",
        "Address Family not Supported",
        "Wrong Credentials",
        "Unsupported Transport Protocol",
        "Peer Address Family Mismatch",
        "Allocation Quota Reached",
        "Insufficient Capacity",
    ];
    assert_eq!(phrases, expected);
}

#[test]
fn phrases_change_nothing_else() {
    for (with, without) in errors(true).iter().zip(&errors(false)) {
        assert_eq!(with.number(), without.number());
        let kinds = |reply: &Reply| {
            reply.message().attributes().map(|attribute| attribute.kind).collect::<Vec<AttributeType>>()
        };
        assert_eq!(kinds(with), kinds(without));
        assert_eq!(with.message().integrity(), without.message().integrity());
    }
}
