//! RFC 8489 §9.2, §14.4: USERHASH, by which a user is known to the server and to nobody who listens.

use turnpike_turn::{Credentials, Event, Reason, rest_password};
use turnpike_wire::attributes::{Nonce, Realm, RequestedTransport, UserHash, Username};
use turnpike_wire::{AttributeType, Class, Method, PasswordDigest, SecurityFeatures, TransactionId};

use crate::harness::{Caller, PEER, Setup, World, credentials, message, request};

const CALLER: &str = "203.0.113.1:4000";

fn hashed_caller() -> Caller {
    Caller { hashed: true, ..Caller::new(CALLER).choosing(PasswordDigest::Sha256) }
}

fn with_rest_secret() -> Credentials {
    let mut known = credentials();
    known.add_secret(b"north");
    known
}

fn failures(world: &World) -> Vec<(String, Reason)> {
    let failure = |event: &Event| match event {
        Event::AuthenticationFailed { username, reason, .. } => Some((username.to_string(), *reason)),
        _ => None,
    };
    world.events.iter().filter_map(failure).collect()
}

#[test]
fn a_user_may_send_a_hash_in_place_of_the_name_for_a_whole_session() {
    // §9.2.4, §14.4, conformance 49: with each algorithm, and without any.
    for algorithm in [Some(PasswordDigest::Sha256), Some(PasswordDigest::Md5), None] {
        let mut world = Setup::new().build();
        let mut caller = Caller { algorithm, ..hashed_caller() };
        caller.allocate(&mut world);
        caller.permit(&mut world, &[PEER]).expect_success();
        caller.bind(&mut world, 0x4000, PEER).expect_success();
        let name = world.events.iter().find_map(|event| match event {
            Event::Allocated { user, .. } => Some(user.name().to_owned()),
            _ => None,
        });
        assert_eq!(name.as_deref(), Some("alice"), "the operator sees who it is");
        caller.refresh(&mut world, 0).expect_success();
    }
}

#[test]
fn no_answer_tells_the_name_behind_a_hash() {
    let mut world = Setup::new().build();
    let mut caller = hashed_caller();
    let success = caller.allocate_with(&mut world, |_| {}).expect_success();
    let wrong = Caller { password: "guess".into(), ..caller.clone() };
    let refused = wrong.clone().refresh(&mut world, 600).expect_error(401);
    for reply in [success, refused] {
        assert!(!reply.bytes.windows(5).any(|bytes| bytes == b"alice"));
        assert!(!reply.has(AttributeType::USERHASH));
    }
}

#[test]
fn anonymity_is_offered_only_where_every_user_can_be_found_by_hash() {
    // §9.2.4, §18.1, conformance 34 and 49: nobody has a list of REST names.
    for (known, offered) in [(credentials(), true), (with_rest_secret(), false)] {
        let mut world = Setup::with_credentials(known).build();
        let reply = world.receive(Caller::new(CALLER).client, &request(Method::ALLOCATE, |_| {}));
        let reply = reply.expect_error(401);
        let features = SecurityFeatures::from_nonce(reply.expect::<Nonce<'_>>().0).expect("the cookie");
        assert_eq!(features.username_anonymity, offered);
    }
}

#[test]
fn a_hash_is_nobodys_where_it_was_not_offered() {
    // Neither a static user's nor that of a REST name, on an allocation's own 5-tuple or elsewhere.
    let mut world = Setup::with_credentials(with_rest_secret()).build();
    let rest = "1800003600:carol";
    for (name, password) in [("alice", "wonderland"), (rest, &rest_password(b"north", rest))] {
        let mut caller = Caller { hashed: true, ..Caller::new(CALLER).named(name, password) };
        caller.allocate_with(&mut world, |_| {}).expect_error(401);
        caller.hashed = false;
        caller.allocate(&mut world);
        caller.hashed = true;
        caller.refresh(&mut world, 600).expect_error(401);
        caller.hashed = false;
        caller.refresh(&mut world, 0).expect_success();
    }
}

#[test]
fn an_unknown_hash_a_wrong_password_and_an_unknown_name_are_answered_alike() {
    // §9.2.4, §16, conformance 38, 39 and 51.
    let mut world = Setup::new().build();
    let mut caller = hashed_caller();
    caller.fetch_nonce(&mut world);
    let mut answers = Vec::new();
    for (name, hashed) in [("alice", true), ("mallory", true), ("alice", false), ("mallory", false)] {
        let guess = Caller { hashed, ..caller.clone().named(name, "guess") };
        let outcome = guess.request_as(&mut world, TransactionId([3; 12]), Method::ALLOCATE, |_| {});
        answers.push(outcome.expect_error(401).bytes);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    let told = failures(&world);
    assert_eq!(told[0], ("alice".to_owned(), Reason::WrongPassword), "the log may say whom it concerns");
    let UserHash(hash) = UserHash::of(b"mallory", b"example.org");
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(told[1], (format!("userhash {digits}"), Reason::UnknownUser));
}

#[test]
fn the_hash_of_another_realm_or_a_changed_one_is_nobodys() {
    // §14.4: the realm is part of it.
    let mut world = Setup::new().build();
    let mut caller = hashed_caller();
    caller.fetch_nonce(&mut world);
    let right = UserHash::of(b"alice", b"example.org").0;
    let mut changed = right;
    changed[31] ^= 1;
    for (hash, accepted) in
        [(UserHash::of(b"alice", b"example.net").0, false), (changed, false), (right, true)]
    {
        let id = world.transaction();
        let legacy = Caller { algorithm: None, ..caller.clone() };
        let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
            writer.add(&RequestedTransport::UDP).add(&UserHash(hash));
            writer.add(&Realm(b"example.org")).add(&Nonce(&caller.nonce)).integrity_sha1(&legacy.key());
        });
        let outcome = world.receive(caller.client, &packet);
        if accepted {
            outcome.expect_success();
        } else {
            outcome.expect_error(401);
        }
    }
}

#[test]
fn a_hash_of_another_length_is_a_bad_request() {
    // §14.4: exactly 32 bytes; §9.2.4: as good as no name at all.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.fetch_nonce(&mut world);
    for length in [0, 1, 20, 31, 33, 64] {
        let id = world.transaction();
        let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
            writer.add_raw(AttributeType::USERHASH, &vec![7; length]);
            writer.add(&Realm(b"example.org")).add(&Nonce(&caller.nonce)).integrity_sha1(&caller.key());
        });
        world.receive(caller.client, &packet).expect_error(400);
    }
}

#[test]
fn a_name_beside_a_hash_decides() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.fetch_nonce(&mut world);
    for (name, accepted) in [("bob", false), ("alice", true)] {
        let id = world.transaction();
        let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
            writer.add(&RequestedTransport::UDP).add(&UserHash::of(b"alice", b"example.org"));
            writer.add(&Username(name.as_bytes())).add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
            writer.integrity_sha1(&caller.key());
        });
        let outcome = world.receive(caller.client, &packet);
        if accepted {
            outcome.expect_success();
        } else {
            outcome.expect_error(401);
        }
    }
}

#[test]
fn a_session_by_hash_outlives_its_user() {
    // As one by name does: the key is the allocation's.
    let mut world = Setup::new().build();
    let mut caller = hashed_caller();
    caller.allocate(&mut world);
    let mut others = Credentials::new("example.org");
    others.add_user("bob", "builder");
    world.server.handle_config(std::sync::Arc::new(Setup::with_credentials(others).config));
    caller.refresh(&mut world, 600).expect_success();
    let mut elsewhere = Caller { hashed: true, ..Caller::new("203.0.113.1:4001") };
    elsewhere.allocate_with(&mut world, |_| {}).expect_error(401);
    let bob = caller.clone().named("bob", "builder");
    let id = world.transaction();
    bob.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_error(441);
}

#[test]
fn a_binding_that_needs_no_credentials_may_carry_a_hash() {
    let mut world = Setup::new().build();
    let packet = request(Method::BINDING, |writer| {
        writer.add(&UserHash::of(b"alice", b"example.org"));
    });
    world.receive(Caller::new(CALLER).client, &packet).expect_success();
}
