//! TURN REST credentials (`use-auth-secret`): names that carry their expiry, passwords made of a shared secret.

use std::time::Duration;

use turnpike_turn::{Credentials, Event, Reason, rest_password};

use crate::harness::{Caller, Outcome, SECOND, Setup, World, credentials};

/// An hour after the harness's clock begins.
const LATER: &str = "1800003600";
/// An hour before.
const EARLIER: &str = "1799996400";

fn rest(secrets: &[&str]) -> Credentials {
    let mut credentials = credentials();
    secrets.iter().for_each(|secret| credentials.add_secret(secret.as_bytes()));
    credentials
}

fn world(secrets: &[&str]) -> World {
    Setup::with_credentials(rest(secrets)).build()
}

/// An Allocate under this name with the password that belongs to this secret, from a fresh address.
fn ask(world: &mut World, secret: &str, username: &str) -> Outcome {
    ask_with(world, username, &rest_password(secret.as_bytes(), username))
}

fn ask_with(world: &mut World, username: &str, password: &str) -> Outcome {
    let from = format!("203.0.113.1:{}", 4000 + world.server.stats().requests.allocate);
    Caller::new(&from).named(username, password).allocate_with(world, |_| {})
}

/// Name and account of the allocation made last.
fn last_user(world: &World) -> (String, String) {
    let found = world.events.iter().rev().find_map(|event| match event {
        Event::Allocated { user, .. } => Some((user.name().to_owned(), user.account().to_owned())),
        _ => None,
    });
    found.expect("an allocation was made")
}

/// Why the last failed authentication failed, and since when its name had expired.
fn last_failure(world: &World) -> (Reason, Option<Duration>) {
    let found = world.events.iter().rev().find_map(|event| match event {
        Event::AuthenticationFailed { reason, expired_since, .. } => Some((*reason, *expired_since)),
        _ => None,
    });
    found.expect("an authentication failed")
}

#[test]
fn the_three_shapes_are_accepted_and_their_user_is_known() {
    let mut world = world(&["secret"]);
    let shapes = [
        (format!("{LATER}:carol"), "carol".to_owned()),
        (format!("carol:{LATER}"), "carol".to_owned()),
        (LATER.to_owned(), LATER.to_owned()),
    ];
    for (name, account) in shapes {
        ask(&mut world, "secret", &name).expect_success();
        assert_eq!(last_user(&world), (name, account));
    }
}

#[test]
fn further_colons_belong_to_the_user() {
    // Matrix names its users @name:server.
    let mut world = world(&["secret"]);
    for (name, account) in [
        (format!("{LATER}:@carol:example.org"), "@carol:example.org"),
        (format!("@carol:example.org:{LATER}"), "@carol:example.org"),
        (format!("{LATER}::carol::"), ":carol::"),
        (format!("{LATER}:1700000000"), "1700000000"),
    ] {
        ask(&mut world, "secret", &name).expect_success();
        assert_eq!(last_user(&world).1, account, "{name}");
    }
}

#[test]
fn when_both_ends_are_numbers_the_first_is_the_expiry() {
    let mut world = world(&["secret"]);
    ask(&mut world, "secret", &format!("{EARLIER}:{LATER}")).expect_error(401);
    assert_eq!(last_failure(&world).0, Reason::Expired);
}

#[test]
fn static_users_and_several_secrets_work_at_once() {
    // coturn shuts static users out; here none shuts out another.
    let mut world = world(&["first", "second", "third"]);
    for secret in ["third", "first", "second"] {
        ask(&mut world, secret, &format!("{LATER}:carol")).expect_success();
    }
    ask_with(&mut world, "alice", "wonderland").expect_success();
    ask_with(&mut world, "bob", "builder").expect_success();
    ask(&mut world, "fourth", &format!("{LATER}:carol")).expect_error(401);
    ask_with(&mut world, "alice", "guess").expect_error(401);
    assert_eq!(last_failure(&world).0, Reason::WrongPassword);
}

#[test]
fn a_static_user_may_have_a_name_that_looks_like_a_rest_name() {
    let mut known = rest(&["secret"]);
    known.add_user("1700000000:robot", "static");
    let mut world = Setup::with_credentials(known).build();
    ask_with(&mut world, "1700000000:robot", "static").expect_success();
    assert_eq!(last_user(&world).1, "1700000000:robot");
    // Its REST password is as expired as anybody's.
    ask(&mut world, "secret", "1700000000:robot").expect_error(401);
    assert_eq!(last_failure(&world).0, Reason::Expired);
}

#[test]
fn an_expired_name_is_refused_and_the_log_says_since_when() {
    let mut world = world(&["secret"]);
    for name in [format!("{EARLIER}:carol"), format!("carol:{EARLIER}"), EARLIER.to_owned()] {
        ask(&mut world, "secret", &name).expect_error(401);
        assert_eq!(last_failure(&world), (Reason::Expired, Some(3600 * SECOND)), "{name}");
    }
    for name in ["0:carol", "0", "1:carol"] {
        ask(&mut world, "secret", name).expect_error(401);
        assert_eq!(last_failure(&world).0, Reason::Expired, "{name}");
    }
}

#[test]
fn a_name_works_until_its_last_second() {
    let mut world = world(&["secret"]);
    world.advance(3600 * SECOND);
    ask(&mut world, "secret", LATER).expect_success();
    world.advance(SECOND);
    ask(&mut world, "secret", LATER).expect_error(401);
    assert_eq!(last_failure(&world), (Reason::Expired, Some(SECOND)));
}

#[test]
fn a_session_outlives_its_names_expiry_as_long_as_it_is_refreshed() {
    let mut world = world(&["secret"]);
    let name = "1800000060:carol";
    let mut caller = Caller::new("203.0.113.1:4000").named(name, &rest_password(b"secret", name));
    caller.allocate(&mut world);
    for _ in 0..5 {
        world.advance(500 * SECOND);
        caller.refresh(&mut world, 600).expect_success();
    }
    caller.refresh(&mut world, 0).expect_success();
    caller.allocate_with(&mut world, |_| {}).expect_error(401);
    assert_eq!(last_failure(&world).0, Reason::Expired);
}

#[test]
fn a_forged_password_is_refused_whether_or_not_the_name_has_expired() {
    // Who does not know the secret learns nothing about times.
    let mut world = world(&["secret"]);
    for time in [LATER, EARLIER] {
        for password in ["", "secret", &rest_password(b"other", &format!("{time}:carol"))] {
            ask_with(&mut world, &format!("{time}:carol"), password).expect_error(401);
            assert_eq!(last_failure(&world), (Reason::WrongSecret, None));
        }
    }
    // The password of another name, and of the same user at another time.
    let borrowed = rest_password(b"secret", &format!("{LATER}:carol"));
    for name in [format!("{LATER}:dave"), "1800003601:carol".to_owned(), format!("{LATER}:carol:")] {
        ask_with(&mut world, &name, &borrowed).expect_error(401);
        assert_eq!(last_failure(&world).0, Reason::WrongSecret, "{name}");
    }
}

#[test]
fn names_without_a_usable_number_are_nobody() {
    // Conformance 149: not numeric, signed, with blanks, in other digits, and too large for any clock.
    let mut world = world(&["secret"]);
    let names = [
        "carol",
        "carol:",
        ":carol",
        "+1800003600:carol",
        "-1:carol",
        " 1800003600:carol",
        "0x6B49D200:carol",
        "1.8e9:carol",
        "١٨٠٠٠٠٣٦٠٠:carol",
        "18446744073709551616:carol",
        "99999999999999999999999999999999:carol",
        "carol:99999999999999999999999999999999",
    ];
    for name in names {
        ask(&mut world, "secret", name).expect_error(401);
        assert_eq!(last_failure(&world), (Reason::UnknownUser, None), "{name}");
    }
}

#[test]
fn the_largest_number_does_not_wrap_around() {
    // Conformance 149.
    let mut world = world(&["secret"]);
    for expiry in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 32, u64::from(u32::MAX)] {
        ask(&mut world, "secret", &format!("{expiry}:carol")).expect_success();
    }
}

#[test]
fn another_separator_can_be_chosen() {
    for separator in ['|', '_', '¦'] {
        let mut known = rest(&["secret"]);
        known.set_separator(separator);
        let mut world = Setup::with_credentials(known).build();
        ask(&mut world, "secret", &format!("{LATER}{separator}carol:phone")).expect_success();
        assert_eq!(last_user(&world).1, "carol:phone");
        ask(&mut world, "secret", &format!("carol{separator}{LATER}")).expect_success();
        assert_eq!(last_user(&world).1, "carol");
        ask(&mut world, "secret", &format!("{LATER}:carol")).expect_error(401);
        assert_eq!(last_failure(&world).0, Reason::UnknownUser);
    }
}

#[test]
fn a_secret_is_rotated_by_adding_before_removing() {
    let mut world = world(&["old"]);
    let name = format!("{LATER}:carol");
    let reload = |world: &mut World, secrets: &[&str]| {
        let config = Setup::with_credentials(rest(secrets)).config;
        world.server.handle_config(std::sync::Arc::new(config));
    };
    let mut early = Caller::new("203.0.113.9:1").named(&name, &rest_password(b"old", &name));
    early.allocate(&mut world);
    ask(&mut world, "new", &name).expect_error(401);
    reload(&mut world, &["old", "new"]);
    ask(&mut world, "old", &name).expect_success();
    ask(&mut world, "new", &name).expect_success();
    reload(&mut world, &["new"]);
    ask(&mut world, "old", &name).expect_error(401);
    ask(&mut world, "new", &name).expect_success();
    // Who is in, stays in.
    early.refresh(&mut world, 600).expect_success();
}

#[test]
fn without_a_secret_no_rest_name_works() {
    let mut world = world(&[]);
    for secret in ["", "secret"] {
        ask(&mut world, secret, &format!("{LATER}:carol")).expect_error(401);
        assert_eq!(last_failure(&world).0, Reason::UnknownUser);
    }
}
