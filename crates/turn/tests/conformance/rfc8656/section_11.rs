//! RFC 8656 §11: Send and Data indications.

use turnpike_turn::Reason;
use turnpike_wire::attributes::{Data, DontFragment, XorPeerAddress};
use turnpike_wire::{AttributeType, Message, Method};

use crate::harness::{
    Caller, Outcome, PEER, PEER_V6, RELAY, Setup, World, address, channel_data, indication, request,
};

const CALLERS: [&str; 2] = ["203.0.113.1:4000", "[2001:db8:1::1]:4000"];

fn world_with_permission() -> (World, Caller, std::net::SocketAddr) {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLERS[0]);
    let relayed = caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    (world, caller, relayed)
}

#[test]
fn a_send_indication_becomes_a_datagram_from_the_relayed_address() {
    // §11.2, conformance 101.
    let (mut world, caller, relayed) = world_with_permission();
    match caller.send(&mut world, PEER, b"hello") {
        Outcome::ToPeer { from, peer, data, dont_fragment, .. } => {
            assert_eq!((from, peer, data.as_slice()), (relayed, address(PEER), &b"hello"[..]));
            assert!(!dont_fragment);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_datagram_becomes_a_data_indication_with_the_peers_real_address() {
    // §11.3, conformance 102: of every length, zero padding, length fields right.
    let (mut world, caller, relayed) = world_with_permission();
    for length in [0_usize, 1, 2, 3, 4, 5, 100, 1199, 1200, 9000, 65_000] {
        let data: Vec<u8> = (0..length).map(|byte| byte as u8 | 1).collect();
        let outcome = world.receive_from_peer(relayed, "8.8.8.8:5353", &data);
        let Outcome::ToClient { to, .. } = &outcome else { panic!("{outcome:?}") };
        assert_eq!(*to, caller.client);
        let bytes = outcome.expect_data_indication("8.8.8.8:5353", &data);
        assert_eq!(bytes.len(), 20 + 12 + 4 + length.div_ceil(4) * 4);
        assert!(bytes[36 + length..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn ipv6_clients_and_peers_are_served_in_every_combination() {
    // §13, RFC 6156, conformance 111.
    for caller in CALLERS {
        for peer in [PEER, PEER_V6] {
            let mut world = Setup::new().build();
            let mut caller = Caller::new(caller);
            let relayed =
                if peer == PEER { caller.allocate(&mut world) } else { caller.allocate_v6(&mut world) };
            caller.permit(&mut world, &[peer]).expect_success();
            caller.send(&mut world, peer, b"out").expect_to_peer(peer, b"out");
            for data in [&b""[..], b"x", b"two", b"four", &[7; 1201]] {
                world.receive_from_peer(relayed, peer, data).expect_data_indication(peer, data);
            }
        }
    }
}

#[test]
fn zero_length_data_becomes_an_empty_datagram_and_back() {
    // §11.2, conformance 100.
    let (mut world, caller, relayed) = world_with_permission();
    caller.send(&mut world, PEER, b"").expect_to_peer(PEER, b"");
    world.receive_from_peer(relayed, PEER, b"").expect_data_indication(PEER, b"");
}

#[test]
fn a_send_without_peer_or_data_or_with_a_malformed_peer_is_dropped() {
    // §11.2, conformance 100.
    let (mut world, caller, _) = world_with_permission();
    let without_data = indication(Method::SEND, |writer| {
        writer.add(&XorPeerAddress(address(PEER)));
    });
    let without_peer = indication(Method::SEND, |writer| {
        writer.add(&Data(b"x"));
    });
    let malformed = indication(Method::SEND, |writer| {
        writer.add_raw(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 2, 3]).add(&Data(b"x"));
    });
    for packet in [without_data, without_peer, malformed, indication(Method::SEND, |_| {})] {
        world.receive(caller.client, &packet).expect_drop(Reason::BadSend);
    }
}

#[test]
fn a_send_to_the_other_family_is_dropped() {
    // §11.2.
    let (mut world, caller, _) = world_with_permission();
    caller.send(&mut world, PEER_V6, b"x").expect_drop(Reason::WrongFamily);
}

#[test]
fn payload_is_never_interpreted_and_never_changed() {
    // Conformance 103: payload that looks like STUN or ChannelData, both ways.
    let (mut world, mut caller, relayed) = world_with_permission();
    caller.bind(&mut world, 0x4001, "8.8.8.8:9").expect_success();
    let payloads = [
        request(Method::ALLOCATE, |_| {}),
        request(Method::BINDING, |writer| {
            writer.fingerprint();
        }),
        indication(Method::SEND, |writer| {
            writer.add(&Data(b"inner"));
        }),
        channel_data(0x4001, b"inner"),
        vec![0xFF; 1500],
        vec![0; 1500],
    ];
    for payload in payloads {
        caller.send(&mut world, PEER, &payload).expect_to_peer(PEER, &payload);
        world.receive_from_peer(relayed, PEER, &payload).expect_data_indication(PEER, &payload);
        caller.send_on(&mut world, 0x4001, &payload).expect_to_peer("8.8.8.8:9", &payload);
        world.receive_from_peer(relayed, "8.8.8.8:9", &payload).expect_channel_data(0x4001, &payload);
    }
}

#[test]
fn what_cannot_be_sent_whole_is_dropped_and_never_cut() {
    // Conformance 103: a Data indication larger than any UDP datagram.
    let (mut world, _, relayed) = world_with_permission();
    let largest = 65_507 - 36;
    for length in largest - 3..=largest {
        let data = vec![1; length];
        match world.receive_from_peer(relayed, PEER, &data) {
            Outcome::ToClient { bytes, .. } => {
                let Data(received) = Message::parse(&bytes).unwrap().get().unwrap().unwrap();
                assert_eq!(received, data);
                assert!(bytes.len() <= 65_507);
            }
            outcome => outcome.expect_drop(Reason::TooLarge),
        }
    }
    world.receive_from_peer(relayed, PEER, &[1; 65_507]).expect_drop(Reason::TooLarge);
}

#[test]
fn only_the_owning_5_tuple_can_use_an_allocation() {
    // Conformance 104: even the same address with another port.
    let (mut world, mut caller, _) = world_with_permission();
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    for from in ["203.0.113.1:4001", "203.0.113.2:4000"] {
        let stranger = Caller::new(from);
        stranger.send(&mut world, PEER, b"x").expect_drop(Reason::NoAllocation);
        stranger.send_on(&mut world, 0x4000, b"x").expect_drop(Reason::NoAllocation);
    }
    let mut other_server = caller.clone();
    other_server.client.tuple.server = address("192.0.2.10:3479");
    other_server.send(&mut world, PEER, b"x").expect_drop(Reason::NoAllocation);
}

#[test]
fn a_data_indication_from_a_client_is_not_relayed() {
    // Conformance 105.
    let (mut world, caller, _) = world_with_permission();
    let packet = indication(Method::DATA, |writer| {
        writer.add(&XorPeerAddress(address(PEER))).add(&Data(b"x"));
    });
    world.receive(caller.client, &packet).expect_silence();
    assert_eq!(world.server.stats().relayed().client_packets, 0);
}

#[test]
fn dont_fragment_is_passed_on() {
    // §14, conformance 106.
    let (mut world, caller, _) = world_with_permission();
    let packet = indication(Method::SEND, |writer| {
        writer.add(&XorPeerAddress(address(PEER))).add(&Data(b"x")).add(&DontFragment);
    });
    match world.receive(caller.client, &packet) {
        Outcome::ToPeer { dont_fragment, .. } => assert!(dont_fragment),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_order_of_peer_and_data_does_not_matter() {
    let (mut world, caller, _) = world_with_permission();
    let packet = indication(Method::SEND, |writer| {
        writer.add(&Data(b"odd")).add(&XorPeerAddress(address(PEER)));
    });
    world.receive(caller.client, &packet).expect_to_peer(PEER, b"odd");
}

#[test]
fn indications_are_not_authenticated_and_credentials_in_them_do_not_matter() {
    // §5, conformance 54.
    let (mut world, caller, _) = world_with_permission();
    let packet = indication(Method::SEND, |writer| {
        writer.add(&XorPeerAddress(address(PEER))).add(&Data(b"x"));
        caller.clone().named("mallory", "guess").sign(writer);
    });
    world.receive(caller.client, &packet).expect_to_peer(PEER, b"x");
}

#[test]
fn a_datagram_for_a_closed_relay_is_dropped_although_its_slot_is_used_again() {
    let (mut world, mut caller, relayed) = world_with_permission();
    let stale = world.relay_at(relayed);
    caller.refresh(&mut world, 0).expect_success();
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER]).expect_success();
    world.receive_at(stale, address(PEER), b"late").expect_drop(Reason::StaleRelay);
}

#[test]
fn two_allocations_relay_to_each_other_over_the_servers_own_address() {
    // RFC 8656 §3: both ends of a call may use the same server; each packet stays one packet.
    let mut world = Setup::new().build();
    let mut alice = Caller::new(CALLERS[0]);
    let mut bob = Caller::new("203.0.113.2:4000").named("bob", "builder");
    let at_alice = alice.allocate(&mut world).to_string();
    let at_bob = bob.allocate(&mut world).to_string();
    assert!(at_alice.starts_with(RELAY));
    alice.permit(&mut world, &[&at_bob]).expect_success();
    bob.permit(&mut world, &[&at_alice]).expect_success();
    match alice.send(&mut world, &at_bob, b"hello bob") {
        Outcome::ToPeer { from, peer, data, .. } => {
            let outcome = world.receive_from_peer(peer, &from.to_string(), &data);
            outcome.expect_data_indication(&at_alice, b"hello bob");
        }
        other => panic!("{other:?}"),
    }
}
