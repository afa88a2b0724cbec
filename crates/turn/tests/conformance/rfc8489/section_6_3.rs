//! RFC 8489 §6.3: receiving a message.

use turnpike_turn::Reason;
use turnpike_wire::attributes::{Data, RequestedTransport, Software, UnknownAttributes, XorPeerAddress};
use turnpike_wire::{AttributeType, Class, Method, TransactionId};

use crate::harness::{Caller, PEER, Setup, World, address, indication, message, request};

const CALLER: &str = "203.0.113.1:4000";
const METHODS: [Method; 7] = [
    Method::BINDING,
    Method::ALLOCATE,
    Method::REFRESH,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::CONNECT,
    Method::CONNECTION_BIND,
];
/// A comprehension-required attribute nobody has defined.
const UNKNOWN: AttributeType = AttributeType(0x7ABC);
const OTHER_UNKNOWN: AttributeType = AttributeType(0x0050);

fn world_with_caller() -> (World, Caller) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.fetch_nonce(&mut world);
    (world, caller)
}

#[test]
fn a_response_goes_back_to_the_source_with_the_requests_transaction_id_and_method() {
    // §6.3.1, conformance 5. `Caller::request_as` checks the rest of every test's responses too.
    let mut world = Setup::new().build();
    let client = Caller::new(CALLER).client;
    for (number, method) in METHODS.into_iter().enumerate() {
        let id = TransactionId([number as u8; 12]);
        let reply = world.receive(client, &message(Class::Request, method, id, |_| {})).expect_reply();
        assert_eq!(
            (reply.to, reply.message().transaction_id(), reply.message().method()),
            (client, id, method)
        );
    }
}

#[test]
fn unknown_methods_are_dropped_in_silence() {
    // §6.3, conformance 7.
    let (mut world, caller) = world_with_caller();
    for number in 0..0x1000 {
        let method = Method::new(number);
        if !METHODS.contains(&method) {
            let id = world.transaction();
            let packet = caller.signed(id, method, |_| {});
            // From 0x100 on, the first byte is not one of STUN's (RFC 7983).
            let reason = if number < 0x100 { Reason::UnknownMethod } else { Reason::NotStun };
            world.receive(caller.client, &packet).expect_drop(reason);
        }
    }
}

#[test]
fn send_and_data_requests_are_dropped_in_silence() {
    // §6.3, conformance 7 and 105: both methods exist as indications only.
    let (mut world, mut caller) = world_with_caller();
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    for method in [Method::SEND, Method::DATA] {
        let id = world.transaction();
        let packet = caller.signed(id, method, |writer| {
            writer.add(&XorPeerAddress(address(PEER))).add(&Data(b"payload"));
        });
        world.receive(caller.client, &packet).expect_drop(Reason::UnknownMethod);
    }
}

#[test]
fn responses_are_dropped_so_that_two_servers_cannot_answer_each_other() {
    // §6.3.3, §6.3.4, conformance 8.
    let (mut world, mut caller) = world_with_caller();
    caller.allocate(&mut world);
    for class in [Class::Success, Class::Error] {
        for method in METHODS.into_iter().chain([Method::SEND, Method::DATA, Method::CONNECT]) {
            let id = world.transaction();
            let packet = message(class, method, id, |writer| caller.sign(writer));
            world.receive(caller.client, &packet).expect_drop(Reason::UnexpectedResponse);
        }
    }
}

#[test]
fn indications_are_never_answered() {
    // §6.3.2, conformance 9: neither well-formed nor malformed, on a busy 5-tuple or an idle one.
    let (mut world, mut caller) = world_with_caller();
    let idle = Caller::new("203.0.113.2:4000");
    caller.allocate(&mut world);
    for number in 0..0x20 {
        let method = Method::new(number);
        let bare = indication(method, |_| {});
        let odd = indication(method, |writer| {
            writer.add_raw(AttributeType::XOR_PEER_ADDRESS, &[1, 2, 3]).add_raw(UNKNOWN, b"x");
        });
        for packet in [&bare, &odd, &bare[..19].to_vec()] {
            world.receive(caller.client, packet).expect_silence();
            world.receive(idle.client, packet).expect_silence();
        }
    }
}

#[test]
fn a_binding_indication_is_a_sign_of_life_and_nothing_else() {
    // §6.3.2.
    let (mut world, caller) = world_with_caller();
    let packet = indication(Method::BINDING, |_| {});
    world.receive(caller.client, &packet).expect_drop(Reason::KeepAlive);
}

#[test]
fn unknown_required_attributes_are_listed_all_of_them_and_only_those() {
    // §6.3.1, §14.13, conformance 11.
    let (mut world, mut caller) = world_with_caller();
    let reply = caller
        .allocate_with(&mut world, |writer| {
            writer.add_raw(UNKNOWN, b"abc").add(&Software(b"known")).add_raw(OTHER_UNKNOWN, b"");
            writer.add_raw(AttributeType(0xC001), b"optional");
        })
        .expect_error(420);
    let listed: Vec<_> = reply.expect::<UnknownAttributes<'_>>().types().collect();
    assert_eq!(listed, [UNKNOWN, OTHER_UNKNOWN]);
}

#[test]
fn attributes_of_functions_that_are_not_offered_are_unknown() {
    // RFC 5780 §6.1 and conformance 137: CHANGE-REQUEST is refused where there is no second address.
    let mut world = Setup::new().build();
    let client = Caller::new(CALLER).client;
    let offered_elsewhere = [
        AttributeType::CHANGE_REQUEST,
        AttributeType::RESPONSE_PORT,
        AttributeType::PADDING,
        AttributeType::CONNECTION_ID,
        AttributeType::ACCESS_TOKEN,
    ];
    for kind in offered_elsewhere {
        let packet = request(Method::BINDING, |writer| {
            writer.add_raw(kind, &[0, 0, 0, 2]);
        });
        let reply = world.receive(client, &packet).expect_error(420);
        assert_eq!(reply.expect::<UnknownAttributes<'_>>().types().collect::<Vec<_>>(), [kind]);
    }
}

#[test]
fn many_unknown_attributes_are_still_all_listed() {
    // §14.13, conformance 11.
    let (mut world, mut caller) = world_with_caller();
    let unknown: Vec<_> = (0..100).map(|number| AttributeType(0x7000 + number)).collect();
    let reply = caller
        .allocate_with(&mut world, |writer| {
            for kind in &unknown {
                writer.add_raw(*kind, b"");
            }
        })
        .expect_error(420);
    assert_eq!(reply.expect::<UnknownAttributes<'_>>().types().collect::<Vec<_>>(), unknown);
}

#[test]
fn as_many_unknown_attributes_as_a_datagram_can_hold_are_all_listed() {
    // §14.13, conformance 11: and the answer stays smaller than the request.
    let mut world = Setup::new().build();
    let packet = request(Method::BINDING, |writer| {
        for number in 0..16_370 {
            writer.add_raw(AttributeType(0x2000 + number % 0x4000), b"");
        }
    });
    let reply = world.receive(Caller::new(CALLER).client, &packet).expect_error(420);
    assert_eq!(reply.expect::<UnknownAttributes<'_>>().types().count(), 16_370);
    assert!(reply.bytes.len() < packet.len());
}

#[test]
fn unknown_optional_attributes_are_ignored() {
    // §6.3.1, conformance 12.
    let (mut world, mut caller) = world_with_caller();
    let build = |writer: &mut turnpike_wire::MessageWriter<'_>| {
        for kind in [0x8000 + 0x0777, 0xC002, 0xFFFF] {
            writer.add_raw(AttributeType(kind), b"whatever");
        }
    };
    world.receive(caller.client, &request(Method::BINDING, build)).expect_success();
    caller.allocate_with(&mut world, build).expect_success();
}

#[test]
fn an_unknown_required_attribute_makes_an_indication_void() {
    // §6.3.2, conformance 13.
    let (mut world, mut caller) = world_with_caller();
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    let send = |kind: AttributeType| {
        indication(Method::SEND, |writer| {
            writer.add(&XorPeerAddress(address(PEER))).add(&Data(b"x")).add_raw(kind, b"y");
        })
    };
    world.receive(caller.client, &send(UNKNOWN)).expect_drop(Reason::UnknownAttribute);
    world.receive(caller.client, &send(AttributeType(0xC001))).expect_to_peer(PEER, b"x");
}

#[test]
fn an_attribute_that_runs_over_the_end_makes_a_message_void() {
    // §6.3, conformance 16.
    let mut world = Setup::new().build();
    let client = Caller::new(CALLER).client;
    let sound = request(Method::BINDING, |writer| {
        writer.add(&Software(b"four"));
    });
    for length in [5, 8, 100, 0xFFFF] {
        let mut packet = sound.clone();
        packet[22..24].copy_from_slice(&u16::to_be_bytes(length));
        world.receive(client, &packet).expect_drop(Reason::Malformed);
    }
}

#[test]
fn a_wrong_fingerprint_makes_a_message_void_and_a_right_one_does_not() {
    // §6.3, §7, conformance 22.
    let mut world = Setup::new().build();
    let client = Caller::new(CALLER).client;
    let mut packet = request(Method::BINDING, |writer| {
        writer.fingerprint();
    });
    world.receive(client, &packet).expect_success();
    for byte in [8, packet.len() - 1] {
        packet[byte] ^= 1;
        world.receive(client, &packet).expect_drop(Reason::WrongFingerprint);
        packet[byte] ^= 1;
    }
    world.receive(client, &packet).expect_success();
}

#[test]
fn checks_are_made_in_the_rfcs_order() {
    // §6.3, conformance 6: each request breaks this rule and all later ones.
    let (mut world, caller) = world_with_caller();
    let unknown = |writer: &mut turnpike_wire::MessageWriter<'_>| {
        writer.add_raw(UNKNOWN, b"");
    };
    // An unknown method comes before authentication.
    world.receive(caller.client, &request(Method::new(0x0F3), unknown)).expect_drop(Reason::UnknownMethod);
    // FINGERPRINT comes before authentication.
    let mut packet = request(Method::ALLOCATE, |writer| {
        writer.fingerprint();
    });
    *packet.last_mut().unwrap() ^= 1;
    world.receive(caller.client, &packet).expect_drop(Reason::WrongFingerprint);
    // Authentication comes before unknown attributes.
    world.receive(caller.client, &request(Method::ALLOCATE, unknown)).expect_error(401);
    // Unknown attributes come before the method's rules: no allocation, and no REQUESTED-TRANSPORT.
    let id = world.transaction();
    caller.request_as(&mut world, id, Method::REFRESH, unknown).expect_error(420);
    let id = world.transaction();
    caller.request_as(&mut world, id, Method::ALLOCATE, unknown).expect_error(420);
    // The method's rules: 437 without an allocation, 400 without REQUESTED-TRANSPORT.
    let id = world.transaction();
    caller.request_as(&mut world, id, Method::REFRESH, |_| {}).expect_error(437);
    let id = world.transaction();
    caller.request_as(&mut world, id, Method::ALLOCATE, |_| {}).expect_error(400);
}

#[test]
fn a_retransmitted_request_gets_an_equivalent_answer() {
    // §6.3.1, conformance 10.
    let (mut world, mut caller) = world_with_caller();
    caller.allocate(&mut world);
    let id = TransactionId([1; 12]);
    let permit = |writer: &mut turnpike_wire::MessageWriter<'_>| {
        writer.add(&XorPeerAddress(address(PEER)));
    };
    let first = caller.request_as(&mut world, id, Method::CREATE_PERMISSION, permit).expect_success();
    let second = caller.request_as(&mut world, id, Method::CREATE_PERMISSION, permit).expect_success();
    assert_eq!(first.bytes, second.bytes);
    let packet = request(Method::BINDING, |_| {});
    let first = world.receive(caller.client, &packet).expect_success();
    assert_eq!(first.bytes, world.receive(caller.client, &packet).expect_success().bytes);
}

#[test]
fn only_the_first_of_a_repeated_attribute_counts() {
    // §14, conformance 15.
    let (mut world, mut caller) = world_with_caller();
    caller
        .allocate_with(&mut world, |writer| {
            writer.add(&RequestedTransport(99));
        })
        .expect_success();
    caller.permit(&mut world, &[PEER]).expect_success();
    let packet = indication(Method::SEND, |writer| {
        writer.add(&XorPeerAddress(address(PEER))).add(&XorPeerAddress(address("1.1.1.1:1")));
        writer.add(&Data(b"first")).add(&Data(b"second"));
    });
    world.receive(caller.client, &packet).expect_to_peer(PEER, b"first");
}
