//! Challenges, signatures and what is believed (RFC 8489 §9.2).

use std::net::SocketAddr;

use turnpike_client::{AllocateOptions, DiscardReason, Event, Failure};
use turnpike_wire::attributes::{
    ErrorCode, Lifetime, Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, RequestedTransport, Username,
};
use turnpike_wire::{
    Class, ErrorNumber, Integrity, Message, MessageWriter, Method, PasswordDigest, SecurityFeatures,
};

use crate::world::{RELAYED, Signature, World, failure, grant, key};

#[test]
fn a_challenge_is_answered_with_a_signed_request_of_a_new_transaction() {
    let mut world = World::new(|_| {});
    let asked = world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    let first = Message::parse(&first).unwrap();
    assert_eq!(first.integrity(), Integrity::None);
    assert_eq!(first.get::<RequestedTransport>(), Ok(Some(RequestedTransport::UDP)));

    assert_eq!(world.challenge(first.bytes(), ErrorNumber::UNAUTHENTICATED, "n1"), None);
    let second = world.expect(Method::ALLOCATE);
    let second = Message::parse(&second).unwrap();
    assert_ne!(second.transaction_id(), first.transaction_id());
    assert_eq!(second.get::<Username<'_>>(), Ok(Some(Username(b"ada"))));
    assert_eq!(second.get::<Nonce<'_>>(), Ok(Some(Nonce(b"n1"))));
    second.verify_integrity(key(PasswordDigest::Md5).bytes()).unwrap();

    let event = world.answer(second.bytes(), Class::Success, Signature::Sha1, grant);
    let Some(Event::Allocated(allocated)) = event else { panic!("{event:?}") };
    assert_eq!(allocated.request, asked);
    assert_eq!(allocated.relayed, RELAYED.parse::<SocketAddr>().unwrap());
    assert_eq!(allocated.lifetime, 600);
    assert_eq!(world.client.relayed(), Some(allocated.relayed));
    assert_eq!(world.client.requests_under_way(), 0);
}

#[test]
fn a_known_nonce_saves_the_next_request_its_challenge() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.create_permission(world.now, &["192.0.2.7".parse().unwrap()]).unwrap();
    let request = world.expect(Method::CREATE_PERMISSION);
    Message::parse(&request).unwrap().verify_integrity(key(PasswordDigest::Md5).bytes()).unwrap();
    let event = world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    assert!(matches!(event, Some(Event::PermissionsCreated { .. })));
}

#[test]
fn a_stale_nonce_is_replaced_a_few_times_and_then_reported() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.refresh(world.now, None, None).unwrap();
    for nonce in ["n2", "n3", "n4"] {
        let request = world.expect(Method::REFRESH);
        assert_eq!(world.challenge(&request, ErrorNumber::STALE_NONCE, nonce), None);
    }
    let request = world.expect(Method::REFRESH);
    let parsed = Message::parse(&request).unwrap();
    assert_eq!(parsed.get::<Nonce<'_>>(), Ok(Some(Nonce(b"n4"))));
    let event = world.challenge(&request, ErrorNumber::STALE_NONCE, "n5");
    assert!(matches!(failure(event), Failure::Refused { number: ErrorNumber::STALE_NONCE, .. }));
}

#[test]
fn rejected_credentials_are_not_tried_again() {
    let mut world = World::new(|_| {});
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    assert_eq!(world.challenge(&first, ErrorNumber::UNAUTHENTICATED, "n1"), None);
    let second = world.expect(Method::ALLOCATE);
    let event = world.challenge(&second, ErrorNumber::UNAUTHENTICATED, "n2");
    assert_eq!(failure(event), Failure::CredentialsRejected { realm: "example.org".into() });
    assert_eq!(world.sent(), None);
}

#[test]
fn a_challenge_without_credentials_to_answer_it_fails_by_name() {
    let mut world = World::new(|config| config.credentials = None);
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    let event = world.challenge(&first, ErrorNumber::UNAUTHENTICATED, "n1");
    assert_eq!(failure(event), Failure::NoCredentials { realm: "example.org".into() });
}

#[test]
fn an_answer_that_is_not_from_the_server_leaves_the_request_waiting() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.refresh(world.now, None, None).unwrap();
    let request = world.expect(Method::REFRESH);
    let lifetime = |writer: &mut MessageWriter<'_>| _ = writer.add(&Lifetime(0));
    let refused = |writer: &mut MessageWriter<'_>| {
        writer.add(&ErrorCode { number: ErrorNumber::ALLOCATION_MISMATCH, reason: "" });
    };
    let unprotected = Some(Event::Discarded(DiscardReason::Unprotected));
    assert_eq!(world.answer(&request, Class::Success, Signature::None, lifetime), unprotected);
    assert_eq!(world.answer(&request, Class::Error, Signature::None, refused), unprotected);
    let forged = Some(Event::Discarded(DiscardReason::BadIntegrity));
    assert_eq!(world.answer(&request, Class::Success, Signature::WrongKey, lifetime), forged);
    assert_eq!(world.client.requests_under_way(), 1);
    assert!(world.client.relayed().is_some());

    let event = world.answer(&request, Class::Success, Signature::Sha1, |writer| {
        writer.add(&Lifetime(1200));
    });
    assert!(matches!(event, Some(Event::Refreshed { lifetime: 1200, .. })));
    let again = world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    assert_eq!(again, Some(Event::Discarded(DiscardReason::UnknownTransaction)));
}

#[test]
fn sha256_is_used_when_the_server_offers_it_and_its_list_is_echoed() {
    let mut nonce =
        SecurityFeatures { password_algorithms: true, ..SecurityFeatures::default() }.nonce_prefix().to_vec();
    nonce.extend_from_slice(b"rest");
    let offer = |writer: &mut MessageWriter<'_>| {
        writer
            .add(&ErrorCode { number: ErrorNumber::UNAUTHENTICATED, reason: "" })
            .add(&Realm(b"example.org"))
            .add(&Nonce(&nonce))
            .add(&PasswordAlgorithms::SHA256_THEN_MD5);
    };
    let mut world = World::new(|_| {});
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    assert_eq!(world.answer(&first, Class::Error, Signature::None, offer), None);
    let second = world.expect(Method::ALLOCATE);
    let parsed = Message::parse(&second).unwrap();
    assert_eq!(parsed.integrity(), Integrity::Sha256);
    parsed.verify_sha256(key(PasswordDigest::Sha256).bytes()).unwrap();
    assert_eq!(parsed.get(), Ok(Some(PasswordAlgorithms::SHA256_THEN_MD5)));
    let chosen = parsed.get::<PasswordAlgorithm<'_>>().unwrap().unwrap();
    assert_eq!(chosen.algorithm, PasswordAlgorithm::SHA256);
    let weak = world.answer(&second, Class::Success, Signature::Sha1, grant);
    assert_eq!(weak, Some(Event::Discarded(DiscardReason::BadIntegrity)));
    let event = world.answer(&second, Class::Success, Signature::Sha256, grant);
    assert!(matches!(event, Some(Event::Allocated(_))));

    let mut legacy = World::new(|config| config.password_algorithms = false);
    legacy.client.allocate(legacy.now, AllocateOptions::default()).unwrap();
    let first = legacy.expect(Method::ALLOCATE);
    assert_eq!(legacy.answer(&first, Class::Error, Signature::None, offer), None);
    let second = legacy.expect(Method::ALLOCATE);
    assert_eq!(Message::parse(&second).unwrap().integrity(), Integrity::Sha1);
}

#[test]
fn a_bid_down_that_hides_the_offered_algorithms_is_refused() {
    let nonce = SecurityFeatures { password_algorithms: true, ..SecurityFeatures::default() }.nonce_prefix();
    let mut world = World::new(|_| {});
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    let event = world.challenge(&first, ErrorNumber::UNAUTHENTICATED, std::str::from_utf8(&nonce).unwrap());
    assert_eq!(failure(event), Failure::Malformed("PASSWORD-ALGORITHMS"));
}
