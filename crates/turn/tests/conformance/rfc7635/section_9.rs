//! RFC 7635 §9: a session lives as long as its tokens.

use std::time::Duration;

use turnpike_turn::{EndCause, Event, Now};
use turnpike_wire::attributes::Lifetime;
use turnpike_wire::{ErrorNumber, Method};

use super::{Bearer, SERVER, bearers_alone, sealed, setup, union};
use crate::harness::{Reply, SECOND, World};

fn seconds(reply: &Reply) -> u32 {
    let Lifetime(seconds) = reply.expect();
    seconds
}

#[test]
fn an_allocation_is_granted_no_more_than_its_token_has_left() {
    let mut world = setup().build();
    let made = world.now.unix.0 - 250;
    let mut bearer = Bearer::new(&world, 0).with_token_of(made, 300);
    assert_eq!(seconds(&bearer.allocate(&mut world).expect_success()), 50);
    world.advance(20 * SECOND);
    assert_eq!(seconds(&bearer.refresh(&mut world, 3600).expect_success()), 30, "the token is no younger");
    assert_eq!(seconds(&bearer.without_token().refresh(&mut world, 3600).expect_success()), 30);
    world.advance(31 * SECOND);
    let ended = |event: &Event| matches!(event, Event::Ended { cause: EndCause::Expired, .. });
    assert_eq!(world.events.iter().filter(|event| ended(event)).count(), 1);
}

#[test]
fn a_token_from_a_clock_that_is_ahead_grants_no_more_than_its_lifetime() {
    let mut world = setup().build();
    let made = world.now.unix.0 + 500;
    let mut bearer = Bearer::new(&world, 0).with_token_of(made, 600);
    assert_eq!(seconds(&bearer.allocate(&mut world).expect_success()), 600);
    assert_eq!(seconds(&bearer.refresh(&mut world, 3600).expect_success()), 600);
}

#[test]
fn long_tokens_are_cut_to_what_the_server_grants() {
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 1_000_000);
    assert_eq!(seconds(&bearer.allocate(&mut world).expect_success()), 600);
    assert_eq!(seconds(&bearer.refresh(&mut world, 1_000_000).expect_success()), 3600);
}

#[test]
fn a_refresh_with_another_token_carries_the_session_on_with_its_key() {
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 300);
    bearer.allocate(&mut world).expect_success();
    let old = bearer.without_token();
    world.advance(290 * SECOND);
    bearer.renew(&world, 900);
    assert_eq!(seconds(&bearer.refresh(&mut world, 3600).expect_success()), 900);
    world.advance(600 * SECOND);
    // The new key is the session's, with its token or without it; the old one is nobody's.
    assert_eq!(seconds(&bearer.without_token().refresh(&mut world, 3600).expect_success()), 300);
    old.clone().refresh(&mut world, 3600).expect_error(401);
    world.server.check_invariants();
}

#[test]
fn another_token_with_the_same_key_carries_the_session_on_too() {
    // The key that the session has already verifies such a request, but tells nothing of the new token's time.
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 300);
    bearer.allocate(&mut world).expect_success();
    world.advance(200 * SECOND);
    let made = world.now.unix.0;
    bearer = bearer.with_token_of(made, 900);
    assert_eq!(seconds(&bearer.refresh(&mut world, 3600).expect_success()), 900);
}

#[test]
fn only_allocate_and_refresh_take_up_a_token() {
    // Else a request with an old token that was overtaken by a Refresh would take the new key away again.
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 300);
    bearer.allocate(&mut world).expect_success();
    let mut renewed = bearer.clone();
    renewed.renew(&world, 900);
    renewed.refresh(&mut world, 600).expect_success();
    bearer.request(&mut world, Method::CREATE_PERMISSION, |_| {}).expect_error(400);
    renewed.without_token().refresh(&mut world, 600).expect_success();
}

#[test]
fn a_session_may_go_on_under_another_kid() {
    // Authorisation servers change their keys.
    let mut world = setup().quotas(1, 0).build();
    let mut bearer = Bearer::new(&world, 300);
    bearer.allocate(&mut world).expect_success();
    bearer.kid = "union".into();
    bearer.mac_key = vec![9; 20];
    bearer.token = sealed(&union(), &bearer.mac_key, world.now.unix.0, 900, SERVER);
    bearer.refresh(&mut world, 600).expect_success();
    // The place in the quotas is that of the kid it was taken under, and given back as such.
    let mut other = Bearer::new(&world, 300);
    other.caller.client.tuple.client.set_port(4001);
    other.allocate(&mut world).expect_error(ErrorNumber::ALLOCATION_QUOTA_REACHED.number());
    bearer.refresh(&mut world, 0).expect_success();
    other.allocate(&mut world).expect_success();
}

#[test]
fn both_halves_of_a_dual_allocation_go_on_with_the_new_key() {
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 300);
    let outcome = bearer.request(&mut world, Method::ALLOCATE, |writer| {
        writer.add(&turnpike_wire::attributes::RequestedTransport::UDP);
        writer.add(&turnpike_wire::attributes::AdditionalAddressFamily(turnpike_wire::Family::Ipv6));
    });
    assert_eq!(seconds(&outcome.expect_success()), 300);
    bearer.renew(&world, 900);
    let family = |family| {
        move |writer: &mut turnpike_wire::MessageWriter<'_>| {
            writer.add(&turnpike_wire::attributes::RequestedAddressFamily(family));
        }
    };
    bearer.request(&mut world, Method::REFRESH, family(turnpike_wire::Family::Ipv6)).expect_success();
    world.advance(301 * SECOND);
    // The first has ended; the 5-tuple leads to the second.
    bearer.without_token().refresh(&mut world, 600).expect_success();
    assert_eq!(world.open.len(), 1);
}

#[test]
fn nothing_is_granted_on_a_token_that_has_run_out() {
    // Unix time was set ahead while the monotonic clock went its way.
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 300);
    bearer.allocate(&mut world).expect_success();
    for (ahead, answer) in [(303, Some(1)), (305, None)] {
        world.now = Now { unix: turnpike_turn::UnixTime(1_800_000_000 + ahead), ..world.now };
        let outcome = bearer.without_token().refresh(&mut world, 600);
        match answer {
            Some(granted) => assert_eq!(seconds(&outcome.expect_success()), granted),
            None => _ = outcome.expect_error(401),
        }
    }
}

#[test]
fn bearers_of_one_kid_count_together_and_in_the_realm_of_their_key() {
    let mut world: World = bearers_alone().quotas(2, 0).build();
    for (port, fits) in [(1, true), (2, true), (3, false)] {
        let mut bearer = Bearer::new(&world, 300);
        bearer.kid = "union".into();
        bearer.token = sealed(&union(), &bearer.mac_key, world.now.unix.0, 300, SERVER);
        bearer.caller.client.tuple.client.set_port(4000 + port);
        let reply = bearer.allocate(&mut world).expect_reply();
        assert_eq!(reply.number(), (!fits).then_some(486));
    }
    let of_union = |event: &Event| match event {
        Event::Allocated { user, .. } => user.name() == "union" && user.realm() == "north.gov",
        _ => false,
    };
    assert_eq!(world.events.iter().filter(|event| of_union(event)).count(), 2);
    world.advance(Duration::from_secs(400));
    assert_eq!(world.quotas.taken(), 0);
}
