//! Access tokens (RFC 7635 §5, §6.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use turnpike_client::{AllocateOptions, Event, Failure, Grant, TokenSource};
use turnpike_wire::attributes::{ErrorCode, Nonce, Realm, ThirdPartyAuthorization, Username};
use turnpike_wire::{AttributeType, Class, ErrorNumber, Integrity, Message, Method};

use crate::world::{Signature, World, failure, grant, key};

/// Grants tokens `[1]`, `[2]`, ... with keys of twenty such bytes, for this server alone.
#[derive(Debug, Default)]
struct Counting(AtomicU8);

impl TokenSource for Counting {
    fn grant(&self, server_name: &[u8]) -> Option<Grant> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let grant = Grant { kid: format!("kid{number}"), token: vec![number], mac_key: vec![number; 20] };
        (server_name == b"turn.example.org").then_some(grant)
    }
}

fn world() -> World {
    World::new(|config| {
        config.tokens = Some(Arc::new(Counting::default()));
        config.password_algorithms = false;
    })
}

fn challenge(world: &mut World, request: &[u8], number: ErrorNumber, name: Option<&str>) -> Option<Event> {
    world.answer(request, Class::Error, Signature::None, |writer| {
        writer.add(&ErrorCode { number, reason: "no" }).add(&Realm(b"example.org")).add(&Nonce(b"n1"));
        writer.add_some(name.map(|name| ThirdPartyAuthorization(name.as_bytes())).as_ref());
    })
}

/// Which token a request comes with, if it is signed with that token's key and no other.
fn token_of(request: &[u8]) -> Option<u8> {
    let message = Message::parse(request).unwrap();
    let number = *message.value(AttributeType::ACCESS_TOKEN)?.first()?;
    assert_eq!(message.integrity(), Integrity::Sha1);
    assert!(message.verify_integrity(&[number; 20]).is_ok());
    let Username(kid) = message.get().unwrap().unwrap();
    assert_eq!(kid, format!("kid{number}").as_bytes());
    Some(number)
}

fn succeed(world: &mut World, request: &[u8], number: u8) -> Option<Event> {
    let message = Message::parse(request).unwrap();
    let mut buffer = [0; 2048];
    let mut writer = turnpike_wire::MessageWriter::new(
        &mut buffer,
        Class::Success,
        message.method(),
        message.transaction_id(),
    );
    grant(&mut writer);
    writer.integrity_sha1_with(&[number; 20]);
    let response = writer.finish().unwrap().to_vec();
    world.client.handle_input(world.now, &response)
}

/// An allocation made with token 1.
fn allocated() -> World {
    let mut world = world();
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let bare = world.expect(Method::ALLOCATE);
    assert_eq!(token_of(&bare), None);
    assert_eq!(challenge(&mut world, &bare, ErrorNumber::UNAUTHENTICATED, Some("turn.example.org")), None);
    let request = world.expect(Method::ALLOCATE);
    assert_eq!(token_of(&request), Some(1));
    assert!(matches!(succeed(&mut world, &request, 1), Some(Event::Allocated(_))));
    world
}

#[test]
fn a_server_that_names_itself_is_shown_a_token_in_every_request() {
    let mut world = allocated();
    world.client.create_permission(world.now, &["192.0.2.7".parse().unwrap()]).unwrap();
    let request = world.expect(Method::CREATE_PERMISSION);
    assert_eq!(token_of(&request), Some(1));
}

#[test]
fn a_stale_nonce_does_not_cost_a_token() {
    let mut world = allocated();
    world.client.create_permission(world.now, &["192.0.2.7".parse().unwrap()]).unwrap();
    let request = world.expect(Method::CREATE_PERMISSION);
    assert_eq!(challenge(&mut world, &request, ErrorNumber::STALE_NONCE, Some("turn.example.org")), None);
    let again = world.expect(Method::CREATE_PERMISSION);
    assert_eq!(token_of(&again), Some(1));
}

#[test]
fn each_refresh_brings_another_token_and_answers_to_what_it_overtook_are_believed() {
    let mut world = allocated();
    world.client.create_permission(world.now, &["192.0.2.7".parse().unwrap()]).unwrap();
    let overtaken = world.expect(Method::CREATE_PERMISSION);
    world.client.refresh(world.now, None, None).unwrap();
    let refresh = world.expect(Method::REFRESH);
    assert_eq!(token_of(&refresh), Some(2));
    assert!(matches!(succeed(&mut world, &refresh, 2), Some(Event::Refreshed { .. })));
    assert!(matches!(succeed(&mut world, &overtaken, 1), Some(Event::PermissionsCreated { .. })));
    world.client.refresh(world.now, None, None).unwrap();
    let refresh = world.expect(Method::REFRESH);
    assert!(matches!(succeed(&mut world, &refresh, 1), Some(Event::Discarded(_))), "neither 3 nor 2");
    assert!(matches!(succeed(&mut world, &refresh, 3), Some(Event::Refreshed { .. })));
}

#[test]
fn a_refused_token_is_not_tried_again() {
    let mut world = world();
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let bare = world.expect(Method::ALLOCATE);
    challenge(&mut world, &bare, ErrorNumber::UNAUTHENTICATED, Some("turn.example.org"));
    let request = world.expect(Method::ALLOCATE);
    let event = challenge(&mut world, &request, ErrorNumber::UNAUTHENTICATED, Some("turn.example.org"));
    assert!(matches!(failure(event), Failure::CredentialsRejected { .. }));
}

#[test]
fn where_no_token_is_asked_for_or_to_be_had_the_password_serves() {
    for name in [None, Some("turn.example.com")] {
        let mut world = world();
        world.client.allocate(world.now, AllocateOptions::default()).unwrap();
        let bare = world.expect(Method::ALLOCATE);
        assert_eq!(challenge(&mut world, &bare, ErrorNumber::UNAUTHENTICATED, name), None);
        let request = world.expect(Method::ALLOCATE);
        assert_eq!(token_of(&request), None);
        let message = Message::parse(&request).unwrap();
        assert!(message.verify_integrity(key(turnpike_wire::PasswordDigest::Md5).bytes()).is_ok());
    }
}

#[test]
fn a_grant_never_shows_its_key() {
    let shown = format!("{:?}", Counting::default().grant(b"turn.example.org"));
    assert!(shown.contains("kid1") && !shown.contains("1, 1"), "{shown}");
}
