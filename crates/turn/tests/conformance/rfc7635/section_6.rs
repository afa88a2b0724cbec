//! RFC 7635 §6.2: the key in a token is the key of MESSAGE-INTEGRITY, all of it.

use turnpike_turn::MacKey;
use turnpike_wire::Method;

use super::{Bearer, bearers_alone, setup};

#[test]
fn requests_and_answers_are_signed_with_the_whole_key() {
    // 20 bytes for HMAC-SHA1; more for the digests after it.
    for length in [20, 21, 32, MacKey::LONGEST] {
        for sha256 in [false, true] {
            let mut world = setup().build();
            let mut bearer =
                Bearer { mac_key: (0..length as u8).collect(), sha256, ..Bearer::new(&world, 0) };
            bearer = bearer.with_token_of(world.now.unix.0, 600);
            bearer.allocate(&mut world).expect_success();
            bearer.without_token().refresh(&mut world, 600).expect_success();
            // The error of somebody known is signed as well: the harness sees to it.
            bearer.request(&mut world, Method::CREATE_PERMISSION, |_| {}).expect_error(400);
            let part = Bearer { mac_key: bearer.mac_key[..length - 1].to_vec(), ..bearer.clone() };
            part.clone().refresh(&mut world, 600).expect_error(401);
            part.without_token().refresh(&mut world, 600).expect_error(401);
        }
    }
}

#[test]
fn coturns_sixteen_bytes_of_a_key_of_twenty_will_do_for_hmac_sha1_and_are_answered_with() {
    for (length, sha256, good) in
        [(20, false, true), (20, true, false), (21, false, false), (32, false, false)]
    {
        let mut world = setup().build();
        let mut bearer = Bearer { mac_key: (1..=length).collect(), sha256, ..Bearer::new(&world, 0) };
        bearer = bearer.with_token_of(world.now.unix.0, 600);
        bearer.mac_key.truncate(16);
        let outcome = bearer.allocate(&mut world);
        if good {
            outcome.expect_success();
            bearer.without_token().refresh(&mut world, 600).expect_success();
        } else {
            outcome.expect_error(401);
        }
    }
}

#[test]
fn the_same_request_again_gets_the_same_answer() {
    let mut world = setup().build();
    let mut bearer = Bearer::new(&world, 600);
    bearer.caller.fetch_nonce(&mut world);
    let packet = {
        let id = world.transaction();
        crate::harness::message(turnpike_wire::Class::Request, Method::ALLOCATE, id, |writer| {
            writer.add(&turnpike_wire::attributes::RequestedTransport::UDP);
            writer.add(&turnpike_wire::attributes::Username(b"north"));
            bearer.sign(writer);
        })
    };
    let first = world.receive(bearer.caller.client, &packet).expect_success();
    let second = world.receive(bearer.caller.client, &packet).expect_success();
    assert_eq!(first.bytes, second.bytes);
    assert_eq!(world.open.len(), 1);
}

#[test]
fn binding_takes_a_token_where_it_needs_credentials() {
    let mut world = bearers_alone().config(|config| config.authenticated_binding = true).build();
    let mut bearer = Bearer::new(&world, 600);
    bearer.request(&mut world, Method::BINDING, |_| {}).expect_success();
    bearer.mac_key = vec![1; 20];
    bearer.request(&mut world, Method::BINDING, |_| {}).expect_error(401);
}

#[test]
fn no_key_shows_in_what_is_printed_of_a_server() {
    let setup = setup();
    let shown = format!("{:?}", setup.config);
    assert!(
        shown.contains("turn.example.org") && !shown.contains("17, 17") && !shown.contains("34, 34"),
        "{shown}"
    );
    let mut world = setup.build();
    Bearer::new(&world, 600).allocate(&mut world).expect_success();
    let shown = format!("{:?} {:?}", world.server, world.events);
    assert!(!shown.contains("7, 7, 7"), "the session's key: {shown}");
}
