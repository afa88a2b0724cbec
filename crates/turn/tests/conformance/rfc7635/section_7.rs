//! RFC 7635 §7: which tokens are good.

use turnpike_turn::{Event, OAuthKey, Reason, UnixTime};
use turnpike_wire::attributes::{ThirdPartyAuthorization, UserHash, Username};
use turnpike_wire::{AttributeType, Class, Method, SecurityFeatures};

use super::{Bearer, SERVER, bearers_alone, keys, north, sealed, setup, union};
use crate::harness::{Caller, Outcome, PEER, Setup, World, credentials, message};

/// Why the last credentials were refused.
fn last_failure(world: &World) -> Reason {
    let mut failures = world.events.iter().rev().filter_map(|event| match event {
        Event::AuthenticationFailed { reason, .. } => Some(*reason),
        _ => None,
    });
    failures.next().expect("a failure was reported")
}

#[track_caller]
fn expect_refused(world: &mut World, mut bearer: Bearer, reason: Reason) {
    let reply = bearer.allocate(world).expect_error(401);
    assert!(reply.has(AttributeType::NONCE) && reply.has(AttributeType::THIRD_PARTY_AUTHORIZATION));
    assert_eq!(last_failure(world), reason);
    assert!(world.open.is_empty() && world.quotas.taken() == 0, "nothing was made");
}

#[test]
fn a_good_token_lets_in_and_requests_after_it_need_none() {
    for setup in [setup, bearers_alone] {
        let mut world = setup().build();
        let mut bearer = Bearer::new(&world, 3600);
        bearer.allocate(&mut world).expect_success();
        let mut later = bearer.without_token();
        let peer = |writer: &mut turnpike_wire::MessageWriter<'_>| {
            writer.add(&turnpike_wire::attributes::XorPeerAddress(crate::harness::address(PEER)));
        };
        later.request(&mut world, Method::CREATE_PERMISSION, peer).expect_success();
        bearer.request(&mut world, Method::CREATE_PERMISSION, peer).expect_success();
        bearer.caller.send(&mut world, PEER, b"hello").expect_to_peer(PEER, b"hello");
        later.refresh(&mut world, 600).expect_success();
        later.refresh(&mut world, 0).expect_success();
    }
}

#[test]
fn what_is_no_good_token_is_challenged_and_told_apart_in_the_log() {
    let mut world = setup().build();
    let now = world.now.unix.0;
    let good = Bearer::new(&world, 3600);
    let with = |token: Vec<u8>| Bearer { token, ..good.clone() };
    let key = good.mac_key.clone();
    let mut changed = good.token.clone();
    changed[30] ^= 1;
    let cut = good.token[..good.token.len() - 1].to_vec();
    let cases = [
        (with(changed), Reason::BadToken),
        (with(cut), Reason::BadToken),
        (with(vec![0]), Reason::BadToken),
        (with(vec![0xFF; 2]), Reason::BadToken),
        (with(sealed(&union(), &key, now, 3600, SERVER)), Reason::BadToken),
        (with(sealed(&north(), &key, now, 3600, "turn.example.com")), Reason::BadToken),
        (with(sealed(&north(), &key[..19], now, 3600, SERVER)), Reason::BadToken),
        (with(sealed(&north(), &[8; 20], now, 3600, SERVER)), Reason::NotTheBearer),
        (Bearer { kid: "south".into(), ..good.clone() }, Reason::UnknownKid),
        (Bearer { kid: "alice".into(), ..good.clone() }, Reason::UnknownKid),
        (Bearer { mac_key: vec![8; 20], ..good.clone() }, Reason::NotTheBearer),
        (good.clone().with_token_of(now - 3605, 3600), Reason::ExpiredToken),
        (good.clone().with_token_of(now + 3605, 3600), Reason::ExpiredToken),
    ];
    for (bearer, reason) in cases {
        expect_refused(&mut world, bearer, reason);
    }
    // And the good one still is.
    good.clone().allocate(&mut world).expect_success();
}

#[test]
fn a_wrong_realm_is_challenged_whatever_the_token() {
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 3600);
    bearer.caller.realm = "example.com".into();
    expect_refused(&mut world, bearer, Reason::WrongRealm);
}

#[test]
fn clocks_may_differ_by_less_than_five_seconds() {
    let mut world = setup().build();
    let now = world.now.unix.0;
    for (made, good) in
        [(now - 600, true), (now - 604, true), (now - 605, false), (now + 604, true), (now + 605, false)]
    {
        let mut bearer = Bearer::new(&world, 600).with_token_of(made, 600);
        let outcome = bearer.allocate(&mut world);
        if good {
            outcome.expect_success();
            bearer.refresh(&mut world, 0).expect_success();
        } else {
            outcome.expect_error(401);
        }
    }
    // A token without a lifetime is good for no longer than clocks differ.
    Bearer::new(&world, 0).with_token_of(now - 4, 0).allocate(&mut world).expect_success();
    let mut late = Bearer::new(&world, 0).with_token_of(now - 5, 0);
    late.caller.client.tuple.client.set_port(4001);
    late.allocate(&mut world).expect_error(401);
}

#[test]
fn a_key_is_good_from_its_timestamp_until_its_lifetime_has_passed() {
    let mut keys = keys();
    keys.insert("north", OAuthKey { key: north(), timestamp: 1_800_000_100, lifetime: 100, realm: None });
    let mut credentials = credentials();
    credentials.set_oauth(keys);
    let mut world = Setup::with_credentials(credentials).build();
    for (second, good) in [(99, false), (100, true), (199, true), (200, false)] {
        world.now.unix = UnixTime(1_800_000_000 + second);
        let mut bearer = Bearer::new(&world, 600);
        if good {
            bearer.allocate(&mut world).expect_success();
            bearer.refresh(&mut world, 0).expect_success();
        } else {
            expect_refused(&mut world, bearer, Reason::ExpiredKid);
        }
    }
}

#[test]
fn a_stale_nonce_is_told_before_a_token_is_looked_at() {
    // Who has not proved his address costs no cipher.
    let mut world = setup().build();
    let bearer = Bearer { token: vec![1; 2000], ..Bearer::new(&world, 600) };
    let mut stale = bearer;
    stale.caller.nonce = b"made up".to_vec();
    let reply = stale.request_once(&mut world, Method::ALLOCATE, |_| {}).expect_error(438);
    let ThirdPartyAuthorization(name) = reply.expect();
    assert_eq!(name, SERVER.as_bytes(), "coturn's client forgets that it bears a token otherwise");
}

#[test]
fn a_challenge_names_this_server_where_tokens_are_accepted_and_nowhere_else() {
    // Conformance 147.
    let bare = message(Class::Request, Method::ALLOCATE, turnpike_wire::TransactionId([1; 12]), |_| {});
    let caller = Caller::new("203.0.113.1:4000");
    for (setup, named) in [(setup(), true), (bearers_alone(), true), (Setup::new(), false)] {
        let mut world = setup.build();
        let reply = world.receive(caller.client, &bare).expect_error(401);
        assert_eq!(
            reply.get::<ThirdPartyAuthorization<'_>>().map(|it| it.0),
            named.then_some(SERVER.as_bytes())
        );
    }
}

#[test]
fn where_tokens_are_not_accepted_the_attribute_is_unknown() {
    let mut world = Setup::new().build();
    let mut alice = Caller::new("203.0.113.1:4000");
    let outcome = alice.allocate_with(&mut world, |writer| {
        writer.add_raw(AttributeType::ACCESS_TOKEN, &[0, 0]);
    });
    outcome.expect_error(420);
}

#[test]
fn users_secrets_and_bearers_come_in_side_by_side_and_none_owns_anothers_allocation() {
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 3600);
    bearer.allocate(&mut world).expect_success();
    let mut alice = Caller::new("203.0.113.1:4000");
    alice.refresh(&mut world, 600).expect_error(441);
    alice.client.tuple.client.set_port(4001);
    alice.allocate(&mut world);
    let name = "1900000000:carol";
    let password = turnpike_turn::rest_password(b"secret", name);
    Caller::new("203.0.113.1:4002").named(name, &password).allocate(&mut world);
    bearer.caller.client.tuple.client.set_port(4001);
    bearer.caller.nonce.clear();
    bearer.refresh(&mut world, 600).expect_error(441);
    bearer.allocate(&mut world).expect_error(437);
    assert_eq!(world.open.len(), 3);
}

#[test]
fn usernames_stay_in_clear_where_bearers_are_alone() {
    for (setup, hashed) in [(bearers_alone(), false), (setup(), false), (Setup::new(), true)] {
        let mut world = setup.build();
        let mut caller = Caller::new("203.0.113.1:4000");
        caller.fetch_nonce(&mut world);
        let features = SecurityFeatures::from_nonce(&caller.nonce).expect("a nonce cookie");
        assert_eq!(features.username_anonymity, hashed);
    }
}

#[test]
fn a_kid_may_be_hashed_where_names_may() {
    let mut credentials = credentials();
    credentials.set_oauth(keys());
    let mut world = Setup::with_credentials(credentials).build();
    let mut bearer = Bearer::new(&world, 3600);
    bearer.caller.fetch_nonce(&mut world);
    let id = world.transaction();
    let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
        writer.add(&turnpike_wire::attributes::RequestedTransport::UDP);
        writer.add(&UserHash::of(b"north", b"example.org"));
        bearer.sign(writer);
    });
    world.receive(bearer.caller.client, &packet).expect_success();
}

#[test]
fn a_captured_request_is_of_no_use_from_another_address_or_with_another_key() {
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 3600);
    bearer.caller.fetch_nonce(&mut world);
    let thief = Caller::new("203.0.113.66:4000");
    let id = world.transaction();
    let packet = message(Class::Request, Method::ALLOCATE, id, |writer| {
        writer.add(&turnpike_wire::attributes::RequestedTransport::UDP).add(&Username(b"north"));
        bearer.sign(writer);
    });
    world.receive(thief.client, &packet).expect_error(438);
    let thief = Bearer { mac_key: vec![0x66; 20], caller: thief, ..bearer };
    let mut thief = Bearer { caller: Caller { nonce: Vec::new(), ..thief.caller.clone() }, ..thief };
    let Outcome::Reply(reply) = thief.allocate(&mut world) else { panic!("an answer") };
    assert_eq!(reply.number(), Some(401));
}
