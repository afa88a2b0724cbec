//! Bytes that are not what they should be (conformance 165): never a panic, the right error or silence, and a counter.

use std::net::SocketAddr;

use turnpike_turn::Reason;
use turnpike_wire::attributes::{
    ChannelNumber, Data, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport, ReservationToken,
    Software, UnknownAttributes, XorPeerAddress,
};
use turnpike_wire::{AttributeType, Class, Family, MessageWriter, Method, TransactionId};

use crate::harness::{
    Caller, Dice, Outcome, PEER, PEER_V6, Setup, World, address, channel_data, indication, message, request,
};

const CALLER: &str = "203.0.113.1:4000";

/// A server that answers as many strangers as there are, and a client with a channel and a permission.
fn world_with_session() -> (World, Caller, SocketAddr) {
    let mut world = Setup::new().config(|config| config.challenge_burst = u32::MAX).build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    (world, caller, relayed)
}

/// Hands a packet in, and checks that it led to one thing, that a drop and a refusal were counted, and that the
/// tables are sound.
#[track_caller]
fn feed(world: &mut World, caller: &Caller, packet: &[u8]) -> Outcome {
    let before = world.server.stats().clone();
    let outcome = world.receive(caller.client, packet);
    let after = world.server.stats();
    let refused = |stats: &turnpike_turn::Stats| stats.refusals().map(|(_, count)| count).sum::<u64>();
    match &outcome {
        Outcome::Drop(reason) => {
            assert_eq!(after.refused(*reason), before.refused(*reason) + 1, "{reason:?} is counted");
            assert_eq!(refused(after), refused(&before) + 1, "and nothing else is");
        }
        Outcome::Reply(reply) if reply.number().is_some() => {
            assert_eq!((after.errors, refused(after)), (before.errors + 1, refused(&before) + 1));
        }
        Outcome::Reply(_) => {
            assert_eq!((after.successes, refused(after)), (before.successes + 1, refused(&before)))
        }
        Outcome::ToPeer { .. } => {
            assert_eq!(after.relayed().client_packets, before.relayed().client_packets + 1)
        }
        other => panic!("{other:?}"),
    }
    outcome
}

/// One sound packet of each kind.
fn sound_packets(caller: &Caller) -> Vec<Vec<u8>> {
    let id = TransactionId([0x33; 12]);
    let attributes = |writer: &mut MessageWriter<'_>| {
        writer.add(&RequestedTransport::UDP).add(&Lifetime(700)).add(&EvenPort { reserve: true });
        writer.add(&ChannelNumber(0x4001)).add(&XorPeerAddress(address(PEER))).add(&Software(b"client"));
    };
    let mut packets = vec![
        request(Method::BINDING, |_| {}),
        request(Method::BINDING, |writer| {
            writer.add(&Software(b"odd")).fingerprint();
        }),
        indication(Method::SEND, |writer| {
            writer.add(&XorPeerAddress(address(PEER))).add(&Data(b"payload"));
        }),
        channel_data(0x4000, b"payload"),
    ];
    for method in [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        packets.push(request(method, attributes));
        packets.push(caller.signed(id, method, attributes));
        packets.push(Caller { sha256: true, ..caller.clone() }.signed(id, method, attributes));
        packets.push(caller.clone().with_fingerprint().signed(id, method, attributes));
    }
    packets
}

/// The session goes on as if nothing had happened.
#[track_caller]
fn expect_unharmed(world: &mut World, caller: &mut Caller, relayed: SocketAddr) {
    world.server.check_invariants();
    caller.refresh(world, 600).expect_success();
    caller.bind(world, 0x4000, PEER).expect_success();
    caller.send_on(world, 0x4000, b"x").expect_to_peer(PEER, b"x");
    world.receive_from_peer(relayed, PEER, b"x").expect_channel_data(0x4000, b"x");
}

#[test]
fn truncated_packets_are_dropped_at_every_length() {
    let (mut world, mut caller, relayed) = world_with_session();
    for packet in sound_packets(&caller) {
        for length in 0..packet.len() {
            feed(&mut world, &caller, &packet[..length]).expect_silence();
        }
    }
    assert!(world.server.stats().refused(Reason::Malformed) > 0);
    assert!(world.server.stats().refused(Reason::BadChannelData) > 0);
    expect_unharmed(&mut world, &mut caller, relayed);
}

#[test]
fn messages_with_bytes_behind_their_end_are_dropped() {
    let (mut world, mut caller, relayed) = world_with_session();
    for packet in sound_packets(&caller).into_iter().filter(|packet| packet[0] < 4) {
        for extra in [1, 2, 3, 4, 5, 8, 100, 60_000] {
            let mut longer = packet.clone();
            longer.resize(packet.len() + extra, 0);
            feed(&mut world, &caller, &longer).expect_drop(Reason::Malformed);
        }
    }
    expect_unharmed(&mut world, &mut caller, relayed);
}

#[test]
fn misaligned_lengths_are_dropped() {
    let (mut world, caller, _) = world_with_session();
    for length in 0..64_u16 {
        let mut packet = request(Method::BINDING, |_| {});
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet.resize(20 + usize::from(length), 0);
        let outcome = feed(&mut world, &caller, &packet);
        if length % 4 == 0 { drop(outcome.expect_reply()) } else { outcome.expect_drop(Reason::Malformed) }
    }
}

#[test]
fn the_largest_datagrams_are_answered_or_dropped_like_others() {
    // 64 KiB of zeros, of attributes, of payload, of ChannelData.
    let (mut world, mut caller, relayed) = world_with_session();
    for first in 0..=255 {
        let mut packet = vec![0; 65_507];
        packet[..2].copy_from_slice(&[first, 1]);
        feed(&mut world, &caller, &packet).expect_silence();
    }
    let many_attributes = request(Method::ALLOCATE, |writer| {
        for _ in 0..16_000 {
            writer.add_raw(AttributeType(0x8FFF), b"");
        }
    });
    feed(&mut world, &caller, &many_attributes).expect_error(401);
    let one_attribute = caller.signed(TransactionId([6; 12]), Method::REFRESH, |writer| {
        writer.add_raw(AttributeType(0x8FFF), &[7; 65_000]);
    });
    feed(&mut world, &caller, &one_attribute).expect_success();
    let largest = vec![9; 65_507 - 4];
    feed(&mut world, &caller, &channel_data(0x4000, &largest)).expect_to_peer(PEER, &largest);
    let send = indication(Method::SEND, |writer| {
        writer.add(&XorPeerAddress(address(PEER))).add(&Data(&largest[..65_464]));
    });
    feed(&mut world, &caller, &send).expect_to_peer(PEER, &largest[..65_464]);
    expect_unharmed(&mut world, &mut caller, relayed);
}

#[test]
fn a_wrong_cookie_is_dropped_whatever_follows() {
    let (mut world, mut caller, relayed) = world_with_session();
    for packet in sound_packets(&caller).into_iter().filter(|packet| packet[0] < 4) {
        for bit in 32..64 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            feed(&mut world, &caller, &changed).expect_drop(Reason::NoMagicCookie);
        }
    }
    expect_unharmed(&mut world, &mut caller, relayed);
}

#[test]
fn every_class_of_every_method_is_answered_only_if_it_is_a_request_served_here() {
    // Responses and indications where requests belong, requests of methods that are indications only.
    let (mut world, mut caller, relayed) = world_with_session();
    let served = [
        Method::BINDING,
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
        Method::CONNECT,
        Method::CONNECTION_BIND,
    ];
    for number in 0..0x100 {
        let method = Method::new(number);
        for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
            for signed in [false, true] {
                let packet = message(class, method, TransactionId([number as u8; 12]), |writer| {
                    if signed {
                        caller.sign(writer);
                    }
                });
                let outcome = feed(&mut world, &caller, &packet);
                match class {
                    Class::Request if served.contains(&method) => drop(outcome.expect_reply()),
                    Class::Request => outcome.expect_drop(Reason::UnknownMethod),
                    Class::Indication => outcome.expect_silence(),
                    Class::Success | Class::Error => outcome.expect_drop(Reason::UnexpectedResponse),
                }
            }
        }
    }
    // Allocate on the busy 5-tuple was refused, and Refresh without LIFETIME renewed it.
    expect_unharmed(&mut world, &mut caller, relayed);
}

#[test]
fn mutated_packets_do_no_harm() {
    // Conformance 165: some bytes changed, inserted, taken out or repeated, from the client and from a stranger.
    let (mut world, mut caller, relayed) = world_with_session();
    let stranger = Caller::new("203.0.113.66:666");
    let packets = sound_packets(&caller);
    let mut dice = Dice(165);
    for _ in 0..40_000 {
        let mut packet = packets[dice.below(packets.len())].clone();
        for _ in 0..=dice.below(4) {
            let at = dice.below(packet.len());
            match dice.below(5) {
                0 => packet[at] ^= 1 << dice.below(8),
                1 => packet[at] = dice.roll() as u8,
                2 => packet.insert(at, dice.roll() as u8),
                3 if packet.len() > 1 => drop(packet.remove(at)),
                _ => packet.extend_from_within(at..),
            }
        }
        // Half of them with a length that fits, so that they get beyond the first check.
        if dice.below(2) == 0 && packet.len() >= 20 && packet[0] < 4 {
            packet.resize(packet.len() / 4 * 4, 0);
            let length = (packet.len() - 20) as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
        }
        let from = if dice.below(2) == 0 { &caller } else { &stranger };
        feed(&mut world, from, &packet);
    }
    assert_eq!(world.server.stats().allocations(), 1, "nothing forged makes an allocation or ends one");
    expect_unharmed(&mut world, &mut caller, relayed);
}

#[test]
fn random_attributes_under_a_right_signature_do_no_harm() {
    // Conformance 165: authenticated and malformed.
    let (mut world, mut caller, relayed) = world_with_session();
    let kinds = [
        0x000C, 0x000D, 0x0012, 0x0013, 0x0017, 0x0018, 0x0019, 0x001A, 0x0022, 0x8000, 0x8022, 0x0020,
        0x0001,
    ];
    let methods = [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];
    let mut dice = Dice(1650);
    for round in 0..20_000_u32 {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&round.to_be_bytes());
        let packet = caller.signed(TransactionId(id), methods[dice.below(4)], |writer| {
            for _ in 0..dice.below(6) {
                let value: Vec<u8> = (0..dice.below(22)).map(|_| dice.roll() as u8 & 0x8F).collect();
                // LIFETIME is never zero, so that the session stays.
                let value = if value == [0; 4] { vec![1; 4] } else { value };
                writer.add_raw(AttributeType(kinds[dice.below(kinds.len())]), &value);
            }
        });
        match feed(&mut world, &caller, &packet) {
            Outcome::Reply(reply) => {
                caller.check_integrity(&reply);
                assert!(
                    matches!(reply.number(), None | Some(400 | 403 | 437 | 443 | 508)),
                    "{:?}",
                    reply.number()
                );
            }
            outcome => panic!("{outcome:?}"),
        }
    }
    expect_unharmed(&mut world, &mut caller, relayed);
}

#[test]
fn malformed_attributes_under_a_right_signature_are_a_bad_request() {
    // Every length but the right one, one attribute at a time.
    let (mut world, caller, _) = world_with_session();
    let newcomer = {
        let mut newcomer = Caller::new("203.0.113.5:4000");
        newcomer.fetch_nonce(&mut world);
        newcomer
    };
    let cases = [
        (Method::ALLOCATE, AttributeType::REQUESTED_TRANSPORT, 4),
        (Method::ALLOCATE, AttributeType::LIFETIME, 4),
        (Method::ALLOCATE, AttributeType::EVEN_PORT, 1),
        (Method::ALLOCATE, AttributeType::RESERVATION_TOKEN, 8),
        (Method::ALLOCATE, AttributeType::REQUESTED_ADDRESS_FAMILY, 4),
        (Method::ALLOCATE, AttributeType::ADDITIONAL_ADDRESS_FAMILY, 4),
        (Method::REFRESH, AttributeType::LIFETIME, 4),
        (Method::REFRESH, AttributeType::REQUESTED_ADDRESS_FAMILY, 4),
        (Method::CREATE_PERMISSION, AttributeType::XOR_PEER_ADDRESS, 8),
        (Method::CHANNEL_BIND, AttributeType::CHANNEL_NUMBER, 4),
        (Method::CHANNEL_BIND, AttributeType::XOR_PEER_ADDRESS, 8),
    ];
    for (method, kind, right) in cases {
        for length in (0..24).filter(|length| *length != right) {
            let asker = if method == Method::ALLOCATE { &newcomer } else { &caller };
            let packet = asker.signed(TransactionId([length as u8; 12]), method, |writer| {
                writer.add_raw(kind, &vec![1; length]);
                if kind != AttributeType::REQUESTED_TRANSPORT {
                    writer.add(&RequestedTransport::UDP);
                }
                writer.add(&ChannelNumber(0x4000)).add(&XorPeerAddress(address(PEER)));
            });
            feed(&mut world, asker, &packet).expect_error(400);
        }
    }
    assert_eq!(world.server.stats().allocations(), 1);
}

#[test]
fn of_attributes_that_come_twice_the_first_counts() {
    // RFC 8489 §14, conformance 15: the second may be anything.
    let (mut world, mut caller, _) = world_with_session();
    let twice = |writer: &mut MessageWriter<'_>| {
        writer.add(&RequestedTransport::UDP).add(&RequestedTransport(99));
        writer.add(&Lifetime(1234)).add_raw(AttributeType::LIFETIME, b"?");
        writer
            .add(&RequestedAddressFamily(Family::Ipv6))
            .add_raw(AttributeType::REQUESTED_ADDRESS_FAMILY, b"");
    };
    let mut newcomer = Caller::new("203.0.113.5:4000");
    let reply = newcomer.request(&mut world, Method::ALLOCATE, twice).expect_success();
    assert_eq!(reply.expect::<Lifetime>().0, 1234);
    assert!(reply.expect::<turnpike_wire::attributes::XorRelayedAddress>().0.is_ipv6());
    let outcome = caller.request(&mut world, Method::CHANNEL_BIND, |writer| {
        writer.add(&ChannelNumber(0x4001)).add(&ChannelNumber(0xFFFF));
        writer.add(&XorPeerAddress(address("9.9.9.9:9"))).add(&XorPeerAddress(address(PEER_V6)));
    });
    outcome.expect_success();
    caller.send_on(&mut world, 0x4001, b"x").expect_to_peer("9.9.9.9:9", b"x");
    // Credentials: the first name is alice's, the second nobody's, and the first nonce is right.
    let id = world.transaction();
    let packet = message(Class::Request, Method::REFRESH, id, |writer| {
        writer
            .add(&turnpike_wire::attributes::Username(b"alice"))
            .add_raw(AttributeType::USERNAME, b"mallory");
        writer.add(&turnpike_wire::attributes::Realm(b"example.org")).add_raw(AttributeType::REALM, b"other");
        writer.add(&turnpike_wire::attributes::Nonce(&caller.nonce)).add_raw(AttributeType::NONCE, b"other");
        writer.integrity_sha1(&caller.key()).integrity_sha1_with(b"other");
    });
    world.receive(caller.client, &packet).expect_success();
}

#[test]
fn of_malformed_attributes_that_come_twice_the_first_counts_too() {
    let (mut world, mut caller, _) = world_with_session();
    let outcome = caller.request(&mut world, Method::REFRESH, |writer| {
        writer.add_raw(AttributeType::LIFETIME, b"?").add(&Lifetime(700));
    });
    outcome.expect_error(400);
    let mut newcomer = Caller::new("203.0.113.5:4000");
    let outcome = newcomer.allocate_with(&mut world, |writer| {
        writer.add_raw(AttributeType::RESERVATION_TOKEN, b"").add(&ReservationToken([1; 8]));
    });
    outcome.expect_error(400);
}

#[test]
fn an_unknown_attribute_that_comes_twice_does_not_grow_the_answer_beyond_the_request() {
    let (mut world, caller, _) = world_with_session();
    let packet = caller.signed(TransactionId([2; 12]), Method::REFRESH, |writer| {
        for _ in 0..1000 {
            writer.add_raw(AttributeType(0x7ABC), b"");
        }
    });
    let reply = feed(&mut world, &caller, &packet).expect_error(420);
    assert!(reply.expect::<UnknownAttributes<'_>>().types().all(|kind| kind == AttributeType(0x7ABC)));
    assert!(reply.bytes.len() < packet.len());
}

#[test]
fn peers_send_what_they_like() {
    // Conformance 165: payload is payload, whatever it looks like, and packets of strangers end at the permission.
    let (mut world, mut caller, relayed) = world_with_session();
    let packets = sound_packets(&caller);
    let mut dice = Dice(1);
    for round in 0..5000 {
        let mut packet = packets[round % packets.len()].clone();
        let at = dice.below(packet.len());
        packet[at] = dice.roll() as u8;
        world.receive_from_peer(relayed, PEER, &packet).expect_channel_data(0x4000, &packet);
        world.receive_from_peer(relayed, "8.8.4.4:7000", &packet).expect_drop(Reason::NoPermission);
    }
    expect_unharmed(&mut world, &mut caller, relayed);
}

#[test]
fn channel_data_of_every_header_is_relayed_or_dropped() {
    let (mut world, mut caller, relayed) = world_with_session();
    for number in 0x4000..=0x7FFF_u16 {
        for length in [0, 1, 4, 5, 0xFFFF] {
            let mut packet = number.to_be_bytes().to_vec();
            packet.extend_from_slice(&u16::to_be_bytes(length));
            packet.extend_from_slice(b"data");
            let outcome = feed(&mut world, &caller, &packet);
            match (number, length) {
                (_, 5..) => outcome.expect_drop(Reason::BadChannelData),
                (0x4000, _) => outcome.expect_to_peer(PEER, &b"data"[..usize::from(length)]),
                _ => outcome.expect_drop(Reason::NoChannel),
            }
        }
    }
    expect_unharmed(&mut world, &mut caller, relayed);
}
