//! RFC 8489 §9.2: password algorithms, the nonce's feature bits, and MESSAGE-INTEGRITY-SHA256.

use turnpike_turn::{Credentials, Reason, rest_password};
use turnpike_wire::attributes::{
    Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, RequestedTransport, Username,
};
use turnpike_wire::{
    AttributeType, Class, Integrity, MessageWriter, Method, NONCE_COOKIE, PasswordDigest, SecurityFeatures,
};

use crate::harness::{Caller, Outcome, PEER, SECOND, Setup, World, credentials, message, request};

const CALLER: &str = "203.0.113.1:4000";
const BOTH: [PasswordDigest; 2] = [PasswordDigest::Md5, PasswordDigest::Sha256];
const REST_NAME: &str = "1800003600:carol";

fn world_with_caller(algorithm: PasswordDigest) -> (World, Caller) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER).choosing(algorithm);
    caller.fetch_nonce(&mut world);
    (world, caller)
}

/// alice by password, dave by the MD5 key alone.
fn with_a_stored_key() -> Credentials {
    let mut known = credentials();
    let dave = Caller::new(CALLER).named("dave", "stored");
    known.add_user_key("dave", dave.key().bytes().try_into().expect("an MD5 key has 16 bytes"));
    known
}

fn with_rest_secrets() -> Credentials {
    let mut known = credentials();
    known.add_secret(b"north");
    known.add_secret(b"south");
    known
}

/// An Allocate with alice's name and what `build` adds, signed with SHA-256 throughout.
fn allocate_as(world: &mut World, caller: &Caller, build: impl FnOnce(&mut MessageWriter<'_>)) -> Outcome {
    let id = world.transaction();
    let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
        writer.add(&RequestedTransport::UDP);
        writer.add(&Username(b"alice")).add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
        build(writer);
        writer.integrity_sha256_with(caller.key().bytes());
    });
    world.receive(caller.client, &packet)
}

fn choice(algorithm: u16) -> PasswordAlgorithm<'static> {
    PasswordAlgorithm { algorithm, parameters: &[] }
}

#[test]
fn the_nonce_begins_with_the_cookie_and_announces_exactly_what_is_offered() {
    // §9.2, §18.1, conformance 33 and 34: the bits as base64, and every bit but these two is zero.
    for (known, prefix) in [(credentials(), b"obMatJos2wAAA"), (with_rest_secrets(), b"obMatJos2gAAA")] {
        assert!(prefix.starts_with(NONCE_COOKIE));
        let mut world = Setup::with_credentials(known).build();
        let mut caller = Caller::new(CALLER);
        caller.fetch_nonce(&mut world);
        assert!(caller.nonce.starts_with(prefix), "{:?}", String::from_utf8_lossy(&caller.nonce));
    }
}

#[test]
fn password_algorithms_stand_beside_each_nonce_whose_bit_announces_them() {
    // §9.2.4, conformance 34, 38, 39 and 40: in the first challenge, after a wrong password, and with a stale nonce.
    let (mut world, caller) = world_with_caller(PasswordDigest::Sha256);
    let first = world.receive(caller.client, &request(Method::ALLOCATE, |_| {})).expect_error(401);
    let id = world.transaction();
    let wrong = caller.clone().named("alice", "guess").request_as(&mut world, id, Method::ALLOCATE, |_| {});
    let unknown = caller.clone().named("nobody", "x").request_as(&mut world, id, Method::ALLOCATE, |_| {});
    let forged = Caller { nonce: b"made up".to_vec(), ..caller.clone() };
    let stale = forged.request_as(&mut world, id, Method::ALLOCATE, |_| {});
    let rest = [wrong.expect_error(401), unknown.expect_error(401), stale.expect_error(438)];
    for reply in [first].into_iter().chain(rest) {
        assert_eq!(reply.expect::<PasswordAlgorithms<'_>>(), PasswordAlgorithms::SHA256_THEN_MD5);
        let features = SecurityFeatures::from_nonce(reply.expect::<Nonce<'_>>().0).expect("the cookie");
        assert!(features.password_algorithms);
        assert_eq!(reply.message().integrity(), Integrity::None);
    }
}

#[test]
fn responses_that_carry_no_nonce_carry_no_algorithms() {
    let (mut world, mut caller) = world_with_caller(PasswordDigest::Sha256);
    let success = caller.allocate_with(&mut world, |_| {}).expect_success();
    let refused = caller.request(&mut world, Method::ALLOCATE, |_| {}).expect_error(437);
    for reply in [success, refused] {
        assert!(!reply.has(AttributeType::PASSWORD_ALGORITHMS));
        assert!(!reply.has(AttributeType::PASSWORD_ALGORITHM));
    }
}

#[test]
fn a_session_runs_with_either_algorithm_and_is_answered_with_sha256_alone() {
    // §9.2.2, §9.2.4, §18.5.1, conformance 44 and 48; `Caller::check_integrity` verifies each answer.
    for algorithm in BOTH {
        let (mut world, mut caller) = world_with_caller(algorithm);
        caller.allocate(&mut world);
        caller.permit(&mut world, &[PEER]).expect_success();
        caller.permit(&mut world, &["127.0.0.1:1"]).expect_error(403);
        caller.bind(&mut world, 0x4000, PEER).expect_success();
        caller.clone().named("bob", "builder").refresh(&mut world, 0).expect_error(441);
        world.advance(601 * SECOND);
        assert!(world.open.is_empty());
        caller.allocate(&mut world);
        caller.refresh(&mut world, 0).expect_success();
    }
}

#[test]
fn a_client_that_names_no_algorithm_is_taken_for_md5_and_answered_with_sha1_alone() {
    // §9.2.4, conformance 45 and 48: every client of RFC 5389, browsers among them.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let success = caller.allocate_with(&mut world, |_| {}).expect_success();
    assert_eq!(success.message().integrity(), Integrity::Sha1);
    assert_eq!(success.message().verify_sha1(caller.key().bytes()), Ok(()));
}

#[test]
fn a_key_of_the_other_algorithm_opens_nothing() {
    // §9.2.2, conformance 44: what was chosen decides which key, and nothing else is tried.
    for (named, used) in [(BOTH[0], Some(BOTH[1])), (BOTH[1], Some(BOTH[0]))] {
        let (mut world, caller) = world_with_caller(named);
        let key = Caller { algorithm: used, ..caller.clone() }.key();
        let id = world.transaction();
        let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
            writer.add(&RequestedTransport::UDP);
            caller.name(writer);
            writer.integrity_sha256_with(key.bytes());
        });
        world.receive(caller.client, &packet).expect_error(401);
    }
    // And without a choice it is MD5 (conformance 45).
    let (mut world, caller) = world_with_caller(PasswordDigest::Sha256);
    allocate_as(&mut world, &caller, |_| {}).expect_error(401);
}

#[test]
fn one_of_the_two_attributes_without_the_other_is_a_bad_request() {
    // §9.2.4, conformance 45.
    let (mut world, caller) = world_with_caller(PasswordDigest::Sha256);
    let lists = [
        allocate_as(&mut world, &caller, |writer| _ = writer.add(&choice(PasswordAlgorithm::SHA256))),
        allocate_as(&mut world, &caller, |writer| _ = writer.add(&choice(PasswordAlgorithm::MD5))),
        allocate_as(&mut world, &caller, |writer| _ = writer.add(&PasswordAlgorithms::SHA256_THEN_MD5)),
    ];
    for outcome in lists {
        let reply = outcome.expect_error(400);
        assert_eq!(reply.message().integrity(), Integrity::None, "nobody is known yet");
        assert!(!reply.has(AttributeType::NONCE) && !reply.has(AttributeType::REALM));
    }
    assert_eq!(world.server.stats().refused(Reason::PasswordAlgorithms), 3);
}

#[test]
fn a_list_other_than_the_one_sent_is_a_bad_request() {
    // §9.2.4, conformance 45: shortened, reordered, repeated, lengthened, with parameters, empty, torn.
    let (mut world, caller) = world_with_caller(PasswordDigest::Sha256);
    let lists: [&[u8]; 9] = [
        &[0, 2, 0, 0],
        &[0, 1, 0, 0],
        &[0, 1, 0, 0, 0, 2, 0, 0],
        &[0, 2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0],
        &[0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0],
        &[0, 2, 0, 1, 9, 0, 0, 0, 0, 1, 0, 0],
        &[],
        &[0, 2, 0, 0, 0, 1, 0],
        &[0, 2, 0, 0, 0, 1, 0xFF, 0xFF],
    ];
    for list in lists {
        let outcome = allocate_as(&mut world, &caller, |writer| {
            writer.add_raw(AttributeType::PASSWORD_ALGORITHMS, list).add(&choice(PasswordAlgorithm::SHA256));
        });
        outcome.expect_error(400);
    }
    assert_eq!(world.server.stats().refused(Reason::PasswordAlgorithms), lists.len() as u64);
}

#[test]
fn an_algorithm_that_is_not_in_the_list_is_a_bad_request() {
    // §9.2.4, conformance 45.
    let (mut world, caller) = world_with_caller(PasswordDigest::Sha256);
    let choices: [&[u8]; 8] = [
        &[0, 0, 0, 0],
        &[0, 3, 0, 0],
        &[0xFF, 0xFF, 0, 0],
        &[1, 2, 0, 0],
        &[0, 2, 0, 1, 0, 0, 0, 0],
        &[0, 2, 0, 0, 0, 1, 0, 0],
        &[0, 2],
        &[],
    ];
    for choice in choices {
        let outcome = allocate_as(&mut world, &caller, |writer| {
            writer
                .add(&PasswordAlgorithms::SHA256_THEN_MD5)
                .add_raw(AttributeType::PASSWORD_ALGORITHM, choice);
        });
        outcome.expect_error(400);
    }
    let right = allocate_as(&mut world, &caller, |writer| {
        writer.add(&PasswordAlgorithms::SHA256_THEN_MD5).add(&choice(PasswordAlgorithm::SHA256));
    });
    right.expect_success();
}

#[test]
fn a_stale_nonce_is_told_before_an_altered_list() {
    // Only a nonce of this server says which list came with it.
    let (mut world, caller) = world_with_caller(PasswordDigest::Sha256);
    world.advance(601 * SECOND);
    let outcome = allocate_as(&mut world, &caller, |writer| _ = writer.add(&choice(7)));
    outcome.expect_error(438);
}

#[test]
fn a_sha256_tag_may_be_cut_to_sixteen_bytes_and_no_further() {
    // §14.6, conformance 43: a multiple of four from 16 to 32.
    for length in 0..=40 {
        let (mut world, caller) = world_with_caller(PasswordDigest::Sha256);
        let packet = signed_with_tag_of(&mut world, &caller, length);
        let allowed = [16, 20, 24, 28, 32].contains(&length);
        let outcome = world.receive(caller.client, &packet);
        let reply = if allowed { outcome.expect_success() } else { outcome.expect_error(401) };
        if allowed {
            assert_eq!(reply.message().verify_sha256(caller.key().bytes()), Ok(()));
            assert!(reply.bytes.windows(4).any(|bytes| bytes == [0x00, 0x1C, 0, 32]), "answered in full");
        }
    }
}

/// An Allocate whose tag has this length and is right as far as it goes.
fn signed_with_tag_of(world: &mut World, caller: &Caller, length: usize) -> Vec<u8> {
    let id = world.transaction();
    let build = |tag: &[u8]| {
        message(Class::Request, Method::ALLOCATE, id, |writer| {
            writer.add(&RequestedTransport::UDP);
            caller.name(writer);
            writer.add_raw(AttributeType::MESSAGE_INTEGRITY_SHA256, tag);
        })
    };
    // The tag covers a header that counts the attribute as long as it is: the message is signed with the length
    // field of the truncated form, by writing the full tag over a message that was given that field.
    let mut packet = build(&vec![0; length]);
    let covered = packet.len() - 4 - length.next_multiple_of(4);
    let tag = hmac_sha256(caller.key().bytes(), &packet[..covered]);
    let fits = length.min(tag.len());
    packet[covered + 4..covered + 4 + fits].copy_from_slice(&tag[..fits]);
    packet
}

/// By the definition (RFC 2104), so that it can be had over any bytes.
fn hmac_sha256(key: &[u8], covered: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let pad = |byte: u8| -> Vec<u8> {
        (0..64).map(|index| key.get(index).copied().unwrap_or_default() ^ byte).collect()
    };
    let inner = Sha256::digest([pad(0x36), covered.to_vec()].concat());
    Sha256::digest([pad(0x5C), inner.to_vec()].concat()).to_vec()
}

#[test]
fn sha256_decides_when_both_integrities_are_present_and_an_algorithm_was_chosen() {
    // §9.2.4, conformance 47.
    for algorithm in BOTH {
        for (sha1, sha256) in [(true, false), (false, true)] {
            let (mut world, caller) = world_with_caller(algorithm);
            let key = |right: bool| if right { caller.key().bytes().to_vec() } else { b"another".to_vec() };
            let id = world.transaction();
            let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
                writer.add(&RequestedTransport::UDP);
                caller.name(writer);
                writer.integrity_sha1_with(&key(sha1)).integrity_sha256_with(&key(sha256));
            });
            let outcome = world.receive(caller.client, &packet);
            if sha256 {
                caller.check_integrity(&outcome.expect_success());
            } else {
                outcome.expect_error(401);
            }
        }
    }
}

#[test]
fn a_client_without_a_choice_that_sends_both_integrities_is_answered_with_sha1() {
    // §9.2.4, conformance 47 and 48: RFC 8489 has it send both to a server that it does not know.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.fetch_nonce(&mut world);
    let id = world.transaction();
    let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
        writer.add(&RequestedTransport::UDP);
        caller.name(writer);
        writer.integrity_sha1(&caller.key()).integrity_sha256_with(caller.key().bytes());
    });
    caller.check_integrity(&world.receive(caller.client, &packet).expect_success());
}

#[test]
fn rest_names_have_keys_of_either_algorithm() {
    // §9.2.2, conformance 44: whichever of the secrets it is.
    for secret in ["north", "south"] {
        for algorithm in BOTH {
            let mut world = Setup::with_credentials(with_rest_secrets()).build();
            let password = rest_password(secret.as_bytes(), REST_NAME);
            let mut carol = Caller::new(CALLER).named(REST_NAME, &password).choosing(algorithm);
            carol.allocate(&mut world);
            carol.refresh(&mut world, 0).expect_success();
            let mut wrong = Caller::new(CALLER).named(REST_NAME, "guess").choosing(algorithm);
            wrong.allocate_with(&mut world, |_| {}).expect_error(401);
        }
    }
}

#[test]
fn where_one_user_has_but_an_md5_key_nobody_is_offered_sha256() {
    // §9.2.4: the offer is made before anybody is known, and a client that takes it up cannot go back.
    let mut world = Setup::with_credentials(with_a_stored_key()).build();
    for (name, password) in [("alice", "wonderland"), ("dave", "stored")] {
        let mut caller = Caller::new(CALLER).named(name, password).choosing(PasswordDigest::Md5);
        caller.fetch_nonce(&mut world);
        assert_eq!(caller.algorithms, [0, 1, 0, 0]);
        caller.allocate(&mut world);
        caller.refresh(&mut world, 0).expect_success();
        let eager = Caller { algorithm: Some(PasswordDigest::Sha256), ..caller.clone() };
        let id = world.transaction();
        let packet = eager.signed(id, Method::ALLOCATE, |_| {});
        world.receive(eager.client, &packet).expect_error(400);
        // Clients that know of no algorithms notice nothing.
        let mut old = Caller::new(CALLER).named(name, password);
        old.allocate(&mut world);
        old.refresh(&mut world, 0).expect_success();
    }
}

#[test]
fn a_user_who_gets_a_password_in_place_of_a_key_brings_sha256_back() {
    let mut known = with_a_stored_key();
    known.add_user("dave", "stored");
    let mut world = Setup::with_credentials(known).build();
    Caller::new(CALLER).named("dave", "stored").choosing(PasswordDigest::Sha256).allocate(&mut world);
}

#[test]
fn a_reload_that_changes_the_offer_is_answered_with_a_new_nonce_and_the_session_goes_on() {
    let (mut world, mut caller) = world_with_caller(PasswordDigest::Md5);
    caller.allocate(&mut world);
    let config = Setup::with_credentials(with_a_stored_key()).config;
    world.server.handle_config(std::sync::Arc::new(config));
    let id = world.transaction();
    let reply = caller.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_error(438);
    caller.take_nonce(&reply);
    assert_eq!(caller.algorithms, [0, 1, 0, 0]);
    let id = world.transaction();
    caller.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_success();
}

#[test]
fn a_session_may_be_carried_on_with_the_other_algorithm() {
    // It is the same user with the same password.
    let (mut world, mut caller) = world_with_caller(PasswordDigest::Sha256);
    caller.allocate(&mut world);
    for algorithm in [None, Some(PasswordDigest::Md5), Some(PasswordDigest::Sha256)] {
        caller.algorithm = algorithm;
        caller.refresh(&mut world, 600).expect_success();
        caller.permit(&mut world, &[PEER]).expect_success();
    }
}

#[test]
fn the_key_of_a_session_counts_for_its_own_algorithm_alone() {
    // Signed with the session's SHA-256 key, and said to be signed with the MD5 key.
    let (mut world, mut caller) = world_with_caller(PasswordDigest::Sha256);
    caller.allocate(&mut world);
    let key = caller.key();
    for algorithm in [None, Some(PasswordDigest::Md5)] {
        let liar = Caller { algorithm, ..caller.clone() };
        let id = world.transaction();
        let packet = message(Class::Request, Method::REFRESH, id, |writer| {
            liar.name(writer);
            writer.integrity_sha256_with(key.bytes());
        });
        world.receive(caller.client, &packet).expect_error(401);
    }
}

#[test]
fn algorithms_mean_nothing_where_no_password_is_asked_for() {
    // They are understood, so they are no unknown attributes (§6.3.1).
    let mut world = Setup::with_credentials(Credentials::anonymous("example.org")).build();
    let mut caller = Caller::new(CALLER).anonymous();
    let outcome = caller.allocate_with(&mut world, |writer| {
        writer.add_raw(AttributeType::PASSWORD_ALGORITHM, b"odd").add_raw(AttributeType::USERHASH, b"odd");
    });
    outcome.expect_success();
}
