//! RFC 8489 §9.2: long-term credentials.

use turnpike_turn::{Event, Reason};
use turnpike_wire::attributes::{Nonce, Realm, RequestedTransport, Username};
use turnpike_wire::{AttributeType, Class, Integrity, MessageWriter, Method};

use crate::harness::{Caller, Outcome, PEER, SECOND, Setup, World, message, request};

const CALLER: &str = "203.0.113.1:4000";
const METHODS: [Method; 4] =
    [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];

fn world_with_caller() -> (World, Caller) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.fetch_nonce(&mut world);
    (world, caller)
}

/// An Allocate whose credentials are written by `build`, sent from the caller's address.
fn allocate_as(world: &mut World, caller: &Caller, build: impl FnOnce(&mut MessageWriter<'_>)) -> Outcome {
    let id = world.transaction();
    let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
        writer.add(&RequestedTransport::UDP);
        build(writer);
    });
    world.receive(caller.client, &packet)
}

fn failures(world: &World) -> Vec<Reason> {
    let failure = |event: &Event| match event {
        Event::AuthenticationFailed { reason, .. } => Some(*reason),
        _ => None,
    };
    world.events.iter().filter_map(failure).collect()
}

#[test]
fn a_request_without_integrity_is_challenged() {
    // §9.2.4, conformance 31 and 32: REALM and NONCE, neither USERNAME nor integrity.
    let mut world = Setup::new().build();
    for method in METHODS {
        let reply = world.receive(Caller::new(CALLER).client, &request(method, |_| {})).expect_error(401);
        assert_eq!(reply.expect::<Realm<'_>>().0, b"example.org");
        assert!(reply.has(AttributeType::NONCE));
        for kind in [AttributeType::USERNAME, AttributeType::USERHASH] {
            assert!(!reply.has(kind));
        }
        assert_eq!(reply.message().integrity(), Integrity::None);
    }
    assert_eq!(world.server.stats().challenges, 4);
    assert_eq!(world.server.stats().refused(Reason::NoCredentials), 4);
}

#[test]
fn credentials_without_integrity_are_challenged_too() {
    let (mut world, caller) = world_with_caller();
    let outcome = allocate_as(&mut world, &caller, |writer| {
        writer.add(&Username(b"alice")).add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
    });
    outcome.expect_error(401);
}

#[test]
fn every_source_address_and_port_gets_its_own_nonce() {
    // §9.2.4, conformance 35.
    let mut world = Setup::new().build();
    let mut nonces = std::collections::HashSet::new();
    for last in 1..=50 {
        for port in 1000..1010 {
            let mut caller = Caller::new(&format!("203.0.113.{last}:{port}"));
            caller.fetch_nonce(&mut world);
            assert!(nonces.insert(caller.nonce));
        }
    }
}

#[test]
fn nonces_change_with_time() {
    // RFC 8656 §5, conformance 36.
    let (mut world, mut caller) = world_with_caller();
    let before = caller.nonce.clone();
    world.advance(SECOND);
    caller.fetch_nonce(&mut world);
    assert_ne!(caller.nonce, before);
}

#[test]
fn integrity_without_username_realm_or_nonce_is_a_bad_request() {
    // §9.2.4, conformance 37: and that 400 has neither REALM, NONCE nor integrity.
    let (mut world, caller) = world_with_caller();
    for missing in 0..3 {
        let outcome = allocate_as(&mut world, &caller, |writer| {
            if missing != 0 {
                writer.add(&Username(b"alice"));
            }
            if missing != 1 {
                writer.add(&Realm(b"example.org"));
            }
            if missing != 2 {
                writer.add(&Nonce(&caller.nonce));
            }
            writer.integrity_sha1(&caller.key());
        });
        let reply = outcome.expect_error(400);
        assert!(!reply.has(AttributeType::REALM) && !reply.has(AttributeType::NONCE));
        assert!(!reply.has(AttributeType::USERNAME));
        assert_eq!(reply.message().integrity(), Integrity::None);
    }
}

#[test]
fn credentials_behind_the_integrity_do_not_count() {
    // §14.5, conformance 42: what follows MESSAGE-INTEGRITY is ignored.
    let (mut world, caller) = world_with_caller();
    let outcome = allocate_as(&mut world, &caller, |writer| {
        writer.integrity_sha1(&caller.key());
        writer.add(&Username(b"alice")).add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
    });
    outcome.expect_error(400);
}

#[test]
fn an_unknown_attribute_behind_the_integrity_is_ignored() {
    // §14.5, conformance 42.
    let (mut world, caller) = world_with_caller();
    let outcome = allocate_as(&mut world, &caller, |writer| {
        caller.sign(writer);
        writer.add_raw(AttributeType(0x7ABC), b"").fingerprint();
    });
    outcome.expect_success();
}

#[test]
fn an_unknown_user_a_wrong_password_and_a_wrong_realm_are_challenged_alike() {
    // §9.2.4, §16, conformance 38, 39 and 51: the three answers cannot be told apart.
    let (mut world, caller) = world_with_caller();
    let wrong_realm = Caller { realm: "example.net".into(), ..caller.clone() };
    let wrong =
        [caller.clone().named("mallory", "guess"), caller.clone().named("alice", "guess"), wrong_realm];
    let mut answers = Vec::new();
    for wrong in wrong {
        let outcome =
            wrong.request_as(&mut world, turnpike_wire::TransactionId([3; 12]), Method::ALLOCATE, |_| {});
        let reply = outcome.expect_error(401);
        assert!(reply.has(AttributeType::REALM) && reply.has(AttributeType::NONCE));
        answers.push(reply.bytes);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1], answers[2]);
    assert_eq!(failures(&world), [Reason::UnknownUser, Reason::WrongPassword, Reason::WrongRealm]);
}

#[test]
fn a_changed_byte_anywhere_in_a_signed_request_is_noticed() {
    // §14.5, conformance 39 and 42.
    let (mut world, caller) = world_with_caller();
    let id = world.transaction();
    let packet = caller.signed(id, Method::REFRESH, |_| {});
    for byte in 8..packet.len() {
        let mut changed = packet.clone();
        changed[byte] ^= 0x20;
        let outcome = world.receive(caller.client, &changed);
        if let Outcome::Reply(reply) = outcome {
            assert!(matches!(reply.number(), Some(400 | 401 | 438)), "byte {byte}: {:?}", reply.number());
        }
    }
    world.receive(caller.client, &packet).expect_error(437);
}

#[test]
fn an_integrity_tag_of_another_length_is_refused() {
    // §14.5, conformance 43.
    let (mut world, caller) = world_with_caller();
    for length in [0, 4, 16, 19, 21, 24, 32] {
        let outcome = allocate_as(&mut world, &caller, |writer| {
            writer.add(&Username(b"alice")).add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
            writer.add_raw(AttributeType::MESSAGE_INTEGRITY, &vec![0; length]);
        });
        outcome.expect_error(401);
    }
}

#[test]
fn a_nonce_of_another_address_or_port_is_stale() {
    // §9.2.4, conformance 40, 52: a captured request cannot be replayed from elsewhere.
    let (mut world, caller) = world_with_caller();
    let id = world.transaction();
    let packet = caller.signed(id, Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP);
    });
    for from in ["203.0.113.1:4001", "203.0.113.2:4000", "[2001:db8::9]:4000"] {
        let reply = world.receive(Caller::new(from).client, &packet).expect_error(438);
        assert_ne!(reply.expect::<Nonce<'_>>().0, caller.nonce);
    }
    assert_eq!(world.server.stats().refused(Reason::ForeignNonce), 3);
    assert_eq!(world.server.stats().allocations(), 0);
}

#[test]
fn a_changed_character_of_the_nonce_makes_it_stale() {
    // §9.2.1, conformance 46 and 52: the feature bits cannot be cleared on the way either.
    let (mut world, caller) = world_with_caller();
    for index in 0..caller.nonce.len() {
        let mut changed = caller.clone();
        changed.nonce[index] = if changed.nonce[index] == b'B' { b'A' } else { b'B' };
        let id = world.transaction();
        changed.request_as(&mut world, id, Method::ALLOCATE, |_| {}).expect_error(438);
    }
    for nonce in [&b""[..], b"x", &caller.nonce[1..], &[caller.nonce.as_slice(), b"a"].concat(), &[b'a'; 763]]
    {
        let changed = Caller { nonce: nonce.to_vec(), ..caller.clone() };
        let id = world.transaction();
        changed.request_as(&mut world, id, Method::ALLOCATE, |_| {}).expect_error(438);
    }
}

#[test]
fn a_stale_nonce_is_answered_with_a_fresh_one_that_works() {
    // §9.2.4, conformance 40.
    let (mut world, mut caller) = world_with_caller();
    caller.allocate(&mut world);
    world.advance(500 * SECOND);
    caller.refresh(&mut world, 600).expect_success();
    world.advance(101 * SECOND);
    let id = world.transaction();
    let reply = caller.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_error(438);
    assert!(reply.has(AttributeType::REALM) && !reply.has(AttributeType::USERNAME));
    caller.take_nonce(&reply);
    let id = world.transaction();
    caller.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_success();
    assert_eq!(world.server.stats().refused(Reason::StaleNonce), 1);
}

#[test]
fn a_nonce_is_checked_before_the_name_and_the_password() {
    // §9.2.4: a stranger with a made-up nonce costs no look-up and learns nothing.
    let (mut world, caller) = world_with_caller();
    let stranger = Caller { nonce: b"made up".to_vec(), ..caller.named("mallory", "guess") };
    let id = world.transaction();
    stranger.request_as(&mut world, id, Method::ALLOCATE, |_| {}).expect_error(438);
    assert_eq!(failures(&world), []);
}

#[test]
fn a_nonce_never_expires_when_its_lifetime_is_zero() {
    let mut world = Setup::new().config(|config| config.nonce_lifetime = std::time::Duration::ZERO).build();
    let mut caller = Caller::new(CALLER);
    caller.fetch_nonce(&mut world);
    world.advance(7 * 24 * 3600 * SECOND);
    let id = world.transaction();
    caller.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_error(437);
}

#[test]
fn every_authenticated_response_is_signed_success_and_error() {
    // §9.2.4, conformance 41: `Caller::check_integrity` verifies each of these.
    let (mut world, mut caller) = world_with_caller();
    caller.refresh(&mut world, 600).expect_error(437);
    caller.request(&mut world, Method::ALLOCATE, |_| {}).expect_error(400);
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    caller.permit(&mut world, &["127.0.0.1:1"]).expect_error(403);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.bind(&mut world, 0x5000, PEER).expect_error(400);
    caller.refresh(&mut world, 600).expect_success();
    caller.clone().named("bob", "builder").refresh(&mut world, 0).expect_error(441);
    caller.refresh(&mut world, 0).expect_success();
}

#[test]
fn a_request_signed_with_nothing_but_sha256_is_answered_in_kind() {
    // §9.2.4, conformance 48: also without PASSWORD-ALGORITHM, for nothing else can be verified for certain there.
    let (mut world, mut caller) = world_with_caller();
    caller.sha256 = true;
    caller.allocate(&mut world);
    caller.permit(&mut world, &["127.0.0.1:1"]).expect_error(403);
    caller.refresh(&mut world, 0).expect_success();
}

#[test]
fn sha256_decides_when_both_integrities_are_present() {
    // §9.2.4, conformance 47.
    let (mut world, caller) = world_with_caller();
    let key = caller.key();
    let named = |writer: &mut MessageWriter<'_>| {
        writer.add(&Username(b"alice")).add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
    };
    let outcome = allocate_as(&mut world, &caller, |writer| {
        named(writer);
        writer.integrity_sha1(&key).integrity_sha256_with(b"another key");
    });
    outcome.expect_error(401);
    let outcome = allocate_as(&mut world, &caller, |writer| {
        named(writer);
        writer.integrity_sha1_with(b"another key").integrity_sha256_with(key.bytes());
    });
    outcome.expect_success();
}

#[test]
fn impossible_usernames_never_authenticate() {
    // Conformance 53: empty, with NUL, too long, not UTF-8.
    let (mut world, caller) = world_with_caller();
    let names: [&[u8]; 6] = [b"", b"\0", b"alice\0", b"\0alice", b"\xFF\xFE", &[b'a'; 508]];
    for name in names {
        let outcome = allocate_as(&mut world, &caller, |writer| {
            writer.add(&Username(name)).add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
            writer.integrity_sha1(&caller.key());
        });
        outcome.expect_error(401);
    }
    let outcome = allocate_as(&mut world, &caller, |writer| {
        writer.add_raw(AttributeType::USERNAME, &[b'a'; 509]);
        writer.add(&Realm(b"example.org")).add(&Nonce(&caller.nonce)).integrity_sha1(&caller.key());
    });
    outcome.expect_error(400);
}

#[test]
fn an_empty_password_or_key_opens_nothing() {
    let (mut world, caller) = world_with_caller();
    for name in ["alice", "mallory", "1900000000:alice", "1900000000"] {
        let outcome = allocate_as(&mut world, &caller, |writer| {
            writer.add(&Username(name.as_bytes())).add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
            writer.integrity_sha1_with(&[0; 16]);
        });
        outcome.expect_error(401);
        let empty = caller.clone().named(name, "");
        let id = world.transaction();
        empty.request_as(&mut world, id, Method::ALLOCATE, |_| {}).expect_error(401);
    }
}

#[test]
fn everybody_may_relay_where_no_password_is_asked_for() {
    // Conformance 55.
    let mut world = Setup::with_credentials(turnpike_turn::Credentials::anonymous("example.org")).build();
    let mut caller = Caller::new(CALLER).anonymous();
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    caller.send(&mut world, PEER, b"hello").expect_to_peer(PEER, b"hello");
    caller.refresh(&mut world, 0).expect_success();
}

#[test]
fn a_session_outlives_a_change_of_password_and_new_ones_need_the_new_one() {
    let (mut world, mut caller) = world_with_caller();
    caller.allocate(&mut world);
    let mut changed = turnpike_turn::Credentials::new("example.org");
    changed.add_user("alice", "looking-glass");
    let config = Setup::with_credentials(changed).config;
    world.server.handle_config(std::sync::Arc::new(config));
    caller.refresh(&mut world, 600).expect_success();
    let mut old = Caller::new("203.0.113.1:4001");
    old.allocate_with(&mut world, |_| {}).expect_error(401);
    old.named("alice", "looking-glass").allocate(&mut world);
}
