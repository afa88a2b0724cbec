//! RFC 8489 §9.2.2: names, realms and passwords prepared with OpaqueString (RFC 8265 §4.2).

use turnpike_turn::{Credentials, rest_password};
use turnpike_wire::attributes::{Nonce, Realm, Username};
use turnpike_wire::{Class, Method, PasswordDigest};

use crate::harness::{Caller, Setup, World, message, request};

const CALLER: &str = "203.0.113.1:4000";
/// One name and one password, each as one character a letter and as letter and mark.
const NAMES: [&str; 2] = ["zo\u{EB}", "zoe\u{308}"];
const PASSWORDS: [&str; 2] = ["na\u{EF}ve pass", "nai\u{308}ve\u{A0}pass"];

fn world_of(name: &str, password: &str) -> World {
    let mut known = Credentials::new("example.org");
    known.add_user(name, password);
    Setup::with_credentials(known).build()
}

#[test]
fn a_name_and_password_are_the_same_however_the_configuration_writes_them() {
    // Conformance 44: the client prepares what it was given, the server likewise.
    for name in NAMES {
        for password in PASSWORDS {
            let mut world = world_of(name, password);
            for algorithm in [None, Some(PasswordDigest::Md5), Some(PasswordDigest::Sha256)] {
                for hashed in [false, true] {
                    let caller = Caller::new(CALLER).named(NAMES[0], PASSWORDS[0]);
                    let mut caller = Caller { algorithm, hashed, ..caller };
                    caller.allocate(&mut world);
                    caller.refresh(&mut world, 0).expect_success();
                }
            }
        }
    }
}

#[test]
fn a_received_name_is_prepared_before_it_is_looked_up() {
    // A client that prepares the key's parts and not what it sends.
    let mut world = world_of(NAMES[0], PASSWORDS[0]);
    let mut caller = Caller::new(CALLER).named(NAMES[0], PASSWORDS[0]);
    caller.fetch_nonce(&mut world);
    let id = world.transaction();
    let packet = message(Class::Request, Method::REFRESH, id, |writer| {
        writer.add(&Username(NAMES[1].as_bytes()));
        writer.add(&Realm(b"example.org")).add(&Nonce(&caller.nonce));
        writer.integrity_sha1(&caller.key());
    });
    world.receive(caller.client, &packet).expect_error(437);
}

#[test]
fn a_name_that_the_profile_does_not_allow_is_nobodys() {
    let mut world = world_of(NAMES[0], PASSWORDS[0]);
    for name in ["zo\u{EB}\u{200B}", "\u{FEFF}zo\u{EB}", "zo\u{EB}\u{E000}", "zo\u{EB}\n"] {
        let mut caller = Caller::new(CALLER).named(name, PASSWORDS[0]);
        caller.allocate_with(&mut world, |_| {}).expect_error(401);
    }
}

#[test]
fn the_realm_is_told_as_it_is_prepared() {
    let mut known = Credentials::new("cafe\u{301}");
    known.add_user("alice", "wonderland");
    let mut world = Setup::with_credentials(known).build();
    let mut caller = Caller { realm: "caf\u{E9}".into(), ..Caller::new(CALLER) };
    let bare = request(Method::ALLOCATE, |_| {});
    let reply = world.receive(caller.client, &bare).expect_error(401);
    assert_eq!(reply.expect::<Realm<'_>>().0, "caf\u{E9}".as_bytes());
    caller.allocate(&mut world);
}

#[test]
fn a_rest_name_is_taken_as_it_comes() {
    // Its password was made from these very bytes by an application that prepares nothing; such as a name with an
    // emoji that the profile does not allow, and one in decomposed form.
    for user in ["zoe\u{308}", "\u{1F469}\u{200D}\u{1F4BB}", "zo\u{EB}"] {
        let mut known = Credentials::new("example.org");
        known.add_user(NAMES[0], PASSWORDS[0]);
        known.add_secret(b"north");
        let mut world = Setup::with_credentials(known).build();
        let name = format!("1800003600:{user}");
        let mut caller = Caller::new(CALLER).named(&name, &rest_password(b"north", &name));
        caller.allocate(&mut world);
        caller.refresh(&mut world, 0).expect_success();
    }
}
