//! The credential by which the server tries itself is good for nobody else.

use std::sync::Arc;
use std::time::Duration;

use turnpike_turn::{Event, Reason, SelfTest};

use crate::harness::{Caller, SECOND, Setup, World};

/// An address of the server's own host.
const HERE: &str = "192.0.2.10:40000";
const ELSEWHERE: &str = "203.0.113.1:40000";

fn world(setup: Setup, secret: u8) -> (World, SelfTest) {
    let world = setup.config(|config| config.self_test = Some(Arc::new(SelfTest::new([secret; 32])))).build();
    (world, SelfTest::new([secret; 32]))
}

fn caller(from: &str, (name, password): &(String, String)) -> Caller {
    Caller::new(from).named(name, password)
}

#[test]
fn the_server_allocates_twice_and_each_reaches_the_other_in_spite_of_quotas_and_denied_ranges() {
    let setup = Setup::new().quotas(1, 1).config(|config| {
        config.peers.denied = vec![crate::harness::range("192.0.0.0", "192.255.255.255")];
    });
    let (mut world, test) = world(setup, 1);
    Caller::new(ELSEWHERE).allocate(&mut world);
    let credential = test.mint(world.now.unix, Duration::from_secs(10));
    let (mut first, mut second) = (caller(HERE, &credential), caller("192.0.2.10:40001", &credential));
    let (one, other) = (first.allocate(&mut world), second.allocate(&mut world));
    first.permit(&mut world, &["192.0.2.10:0"]).expect_success();
    first.send(&mut world, &other.to_string(), b"echo").expect_to_peer(&other.to_string(), b"echo");
    // Nothing else of the host is open to it.
    first.send(&mut world, "192.0.2.10:22", b"ssh").expect_drop(Reason::OwnAddress);
    first.permit(&mut world, &["10.0.0.1:0"]).expect_error(403);
    assert_ne!(one, other);
    for caller in [&mut first, &mut second] {
        caller.refresh(&mut world, 0).expect_success();
    }
    assert!(world.events.iter().any(|event| event.user().is_some_and(|user| user.is_self_test())));
    Caller::new("203.0.113.2:1").allocate_with(&mut world, |_| {}).expect_error(486);
}

#[test]
fn from_another_host_it_is_nobody_s() {
    let (mut world, test) = world(Setup::new(), 1);
    let credential = test.mint(world.now.unix, Duration::from_secs(10));
    caller(ELSEWHERE, &credential).allocate_with(&mut world, |_| {}).expect_error(401);
    assert_eq!(world.server.stats().refused(Reason::UnknownUser), 1);
}

#[test]
fn what_was_not_minted_here_is_refused_and_so_is_what_is_too_old_or_good_for_too_long() {
    let (mut world, test) = world(Setup::new(), 1);
    let now = world.now.unix;
    let (name, password) = test.mint(now, Duration::from_secs(10));
    let stolen = SelfTest::new([2; 32]).mint(now, Duration::from_secs(10));
    let longer = (format!("self-test/{}", now.0 + 86_400), password.clone());
    let empty = (name.clone(), String::new());
    for credential in [stolen, longer, empty, ("self-test/".into(), password.clone())] {
        caller(HERE, &credential).allocate_with(&mut world, |_| {}).expect_error(401);
    }
    let later = (name, password);
    world.advance(11 * SECOND);
    caller(HERE, &later).allocate_with(&mut world, |_| {}).expect_error(401);
    // However long it is asked for.
    let long = test.mint(world.now.unix, Duration::from_secs(86_400));
    world.advance(61 * SECOND);
    caller(HERE, &long).allocate_with(&mut world, |_| {}).expect_error(401);
    assert_eq!(world.server.stats().allocations_created, 0);
}

#[test]
fn a_user_who_is_called_so_is_not_shut_out() {
    let mut credentials = crate::harness::credentials();
    credentials.add_user("self-test/1800000005", "mine");
    let (mut world, _) = world(Setup::with_credentials(credentials), 1);
    Caller::new(HERE).named("self-test/1800000005", "mine").allocate(&mut world);
    let is_user = |event: &Event| event.user().is_some_and(|user| !user.is_self_test());
    assert!(world.events.iter().any(is_user));
}

#[test]
fn without_somebody_who_may_ask_for_a_test_there_is_no_such_credential() {
    let mut world = Setup::new().build();
    let credential = SelfTest::new([1; 32]).mint(world.now.unix, Duration::from_secs(10));
    caller(HERE, &credential).allocate_with(&mut world, |_| {}).expect_error(401);
    assert!(!format!("{:?}", SelfTest::new([77; 32])).contains("77"));
}
