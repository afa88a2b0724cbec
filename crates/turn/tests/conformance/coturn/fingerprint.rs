//! FINGERPRINT goes to clients that sent one, and with `fingerprint` to all.

use turnpike_turn::{Reason, RelayError};
use turnpike_wire::{Class, Message, Method};

use crate::harness::{Caller, OTHER_PEER, PEER, Setup, World, message, request};

const CALLER: &str = "203.0.113.1:4000";

/// Whether a message carries FINGERPRINT, which then must be right.
fn is_fingerprinted(bytes: &[u8]) -> bool {
    let valid = Message::parse(bytes).expect("a message").fingerprint_is_valid();
    assert_ne!(valid, Some(false));
    valid.is_some()
}

/// One of each kind of message the server sends to this caller, who sends FINGERPRINT with all requests or none.
fn everything_sent(world: &mut World, mut caller: Caller) -> Vec<Vec<u8>> {
    let bare = |method| {
        message(Class::Request, method, turnpike_wire::TransactionId([1; 12]), |writer| {
            if caller.fingerprint {
                writer.fingerprint();
            }
        })
    };
    let (binding, allocate) = (bare(Method::BINDING), bare(Method::ALLOCATE));
    let challenge = world.receive(caller.client, &allocate).expect_error(401);
    let mut sent =
        vec![world.receive(caller.client, &binding).expect_success().bytes, challenge.bytes.clone()];
    caller.take_nonce(&challenge);
    let relayed = caller.allocate(world);
    sent.push(caller.refresh(world, 600).expect_success().bytes);
    sent.push(caller.permit(world, &[PEER]).expect_success().bytes);
    sent.push(caller.permit(world, &["10.0.0.1:1"]).expect_error(403).bytes);
    for length in 0..5 {
        sent.push(
            world
                .receive_from_peer(relayed, PEER, &vec![7; length])
                .expect_data_indication(PEER, &vec![7; length]),
        );
    }
    sent.push(caller.refresh(world, 0).expect_success().bytes);
    sent.push(caller.refresh(world, 600).expect_error(437).bytes);
    sent
}

#[test]
fn a_client_that_sends_none_is_sent_none() {
    let mut world = Setup::new().build();
    for bytes in everything_sent(&mut world, Caller::new(CALLER)) {
        assert!(!is_fingerprinted(&bytes));
    }
}

#[test]
fn a_client_that_sends_it_is_sent_it_with_everything() {
    // Responses, errors and Data indications of every padding.
    let mut world = Setup::new().build();
    for bytes in everything_sent(&mut world, Caller::new(CALLER).with_fingerprint()) {
        assert!(is_fingerprinted(&bytes));
    }
}

#[test]
fn with_the_option_everybody_is_sent_it() {
    let mut world = Setup::new().config(|config| config.always_fingerprint = true).build();
    for bytes in everything_sent(&mut world, Caller::new(CALLER)) {
        assert!(is_fingerprinted(&bytes));
    }
}

#[test]
fn each_response_follows_its_own_request() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    for fingerprint in [true, false, true] {
        caller.fingerprint = fingerprint;
        let reply = caller.refresh(&mut world, 600).expect_success();
        assert_eq!(is_fingerprinted(&reply.bytes), fingerprint);
    }
}

#[test]
fn data_indications_follow_the_allocate() {
    for fingerprint in [true, false] {
        let mut world = Setup::new().build();
        let mut caller = Caller::new(CALLER);
        caller.fingerprint = fingerprint;
        let relayed = caller.allocate(&mut world);
        caller.fingerprint = !fingerprint;
        caller.permit(&mut world, &[PEER]).expect_success();
        let bytes = world.receive_from_peer(relayed, PEER, b"x").expect_data_indication(PEER, b"x");
        assert_eq!(is_fingerprinted(&bytes), fingerprint);
    }
}

#[test]
fn an_allocate_that_is_answered_late_remembers_it() {
    for fingerprint in [true, false] {
        for opened in [Ok(()), Err(RelayError::Other)] {
            let mut world = Setup::new().build();
            world.answers = false;
            let mut caller = Caller::new(CALLER);
            caller.fingerprint = fingerprint;
            let _waiting = caller.allocate_with(&mut world, |_| {});
            let (wait, relay, local) = world.asked.pop_front().expect("a relay is asked for");
            world.open.push((relay, local));
            assert_eq!(is_fingerprinted(&world.answer(wait, opened).expect_reply().bytes), fingerprint);
        }
    }
}

#[test]
fn channel_data_never_carries_it() {
    let mut world = Setup::new().config(|config| config.always_fingerprint = true).build();
    let mut caller = Caller::new(CALLER).with_fingerprint();
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.receive_from_peer(relayed, PEER, b"xyz").expect_channel_data(0x4000, b"xyz");
    caller.permit(&mut world, &[OTHER_PEER]).expect_success();
    caller.send(&mut world, OTHER_PEER, b"xyz").expect_to_peer(OTHER_PEER, b"xyz");
}

#[test]
fn a_wrong_one_gets_no_answer_whoever_sends_it() {
    let mut world = Setup::new().config(|config| config.always_fingerprint = true).build();
    let mut packet = request(Method::BINDING, |writer| {
        writer.fingerprint();
    });
    *packet.last_mut().expect("bytes") ^= 1;
    world.receive(Caller::new(CALLER).client, &packet).expect_drop(Reason::WrongFingerprint);
}
