//! Data in both forms, and input that is damaged.

use std::net::SocketAddr;

use turnpike_client::{AllocateOptions, DiscardReason, Event, Transport};
use turnpike_wire::attributes::{ChannelNumber, Data, XorPeerAddress};
use turnpike_wire::{Class, Message, Method, TransactionId};

use crate::world::{PEER, Signature, World, build};

#[test]
fn data_arrives_as_a_range_of_the_input() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    let peer: SocketAddr = PEER.parse().unwrap();
    let early = [0x40, 0x01, 0, 2, 8, 9];
    let unknown = Some(Event::Discarded(DiscardReason::UnknownChannel));
    assert_eq!(world.client.handle_input(world.now, &early), unknown);

    world.client.bind_channel(world.now, 0x4001, peer).unwrap();
    let request = world.expect(Method::CHANNEL_BIND);
    let parsed = Message::parse(&request).unwrap();
    assert_eq!(parsed.get::<ChannelNumber>(), Ok(Some(ChannelNumber(0x4001))));
    assert_eq!(parsed.get::<XorPeerAddress>(), Ok(Some(XorPeerAddress(peer))));
    let data = Some(Event::Data { peer, channel: Some(0x4001), span: 4..6 });
    // The server may relay before its answer to ChannelBind arrives.
    assert_eq!(world.client.handle_input(world.now, &early), data);
    world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    assert_eq!(world.client.handle_input(world.now, &early), data);

    let id = TransactionId([3; 12]);
    let indication = build(Class::Indication, Method::DATA, id, Signature::None, |writer| {
        writer.add(&XorPeerAddress(peer)).add(&Data(b"hello"));
    });
    let event = world.client.handle_input(world.now, &indication);
    let Some(Event::Data { peer: from, channel: None, span }) = event else { panic!("{event:?}") };
    assert_eq!((from, &indication[span]), (peer, b"hello".as_slice()));

    let lying = [0x40, 0x01, 0, 9, 1];
    let bad = Some(Event::Discarded(DiscardReason::BadChannelData));
    assert_eq!(world.client.handle_input(world.now, &lying), bad);
}

#[test]
fn channel_data_is_padded_on_streams_only() {
    let mut buffer = [0xFF; 64];
    let datagram = World::new(|_| {});
    assert_eq!(datagram.client.write_channel_data(0x4000, b"hello", &mut buffer), Ok(9));
    assert_eq!(buffer[..9], [0x40, 0, 0, 5, b'h', b'e', b'l', b'l', b'o']);
    let stream = World::new(|config| config.transport = Transport::Stream);
    assert_eq!(stream.client.write_channel_data(0x4000, b"hello", &mut buffer), Ok(12));
    assert_eq!(buffer[9..12], [0, 0, 0]);
    assert!(stream.client.write_channel_data(0x4000, &[0; 62], &mut buffer).is_err());
}

#[test]
fn send_indications_name_the_peer_and_carry_the_data() {
    let mut world = World::new(|_| {});
    let mut buffer = [0; 256];
    let peer: SocketAddr = "[2001:db8::7]:9".parse().unwrap();
    let length = world.client.write_send_indication(peer, b"hi", &mut buffer).unwrap();
    let message = Message::parse(&buffer[..length]).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::SEND));
    assert_eq!(message.get::<XorPeerAddress>(), Ok(Some(XorPeerAddress(peer))));
    assert_eq!(message.get::<Data<'_>>(), Ok(Some(Data(b"hi"))));
}

#[test]
fn damaged_input_is_dropped_with_a_reason_and_never_panics() {
    let mut world = World::new(|_| {});
    world.allocate(AllocateOptions::default());
    world.client.bind_channel(world.now, 0x4000, PEER.parse().unwrap()).unwrap();
    let request = world.expect(Method::CHANNEL_BIND);
    let parsed = Message::parse(&request).unwrap();
    let mut response =
        build(Class::Success, parsed.method(), parsed.transaction_id(), Signature::Sha1, |_| {});
    // Without FINGERPRINT, so that damage gets as far as the integrity check.
    response.truncate(response.len() - 8);
    response[3] -= 8;
    let mut state = 1u64;
    for round in 0..200_000 {
        let mut bytes = response.clone();
        for _ in 0..=round % 3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] ^= 1 << (state >> 30 & 7);
        }
        bytes.truncate(bytes.len() - (state >> 60) as usize % 3);
        if bytes == response {
            continue;
        }
        let event = world.client.handle_input(world.now, &bytes);
        assert!(matches!(event, Some(Event::Discarded(_))), "round {round}: {event:?}");
    }
    assert_eq!(world.client.requests_under_way(), 1);
    let event = world.client.handle_input(world.now, &response);
    assert!(matches!(event, Some(Event::ChannelBound { channel: 0x4000, .. })));
}
