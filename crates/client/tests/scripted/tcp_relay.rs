//! TCP allocations (RFC 6062), from the client's side.

use turnpike_client::{AllocateOptions, Event, FrameBuffer, Transport};
use turnpike_wire::attributes::{ConnectionId, Nonce, RequestedTransport, XorPeerAddress};
use turnpike_wire::{Class, ErrorNumber, Message, Method, TransactionId};

use crate::world::{PEER, Signature, World, build, failure};

const NUMBER: u32 = 0xC0FF_EE01;

fn allocated() -> World {
    let mut world = World::new(|config| config.transport = Transport::Stream);
    world.allocate(AllocateOptions { transport: RequestedTransport::TCP, ..Default::default() });
    world
}

#[test]
fn a_connect_names_its_peer_and_its_answer_the_connection() {
    let mut world = allocated();
    let asked = world.client.connect(world.now, PEER.parse().unwrap()).unwrap();
    let request = world.expect(Method::CONNECT);
    assert_eq!(Message::parse(&request).unwrap().get(), Ok(Some(XorPeerAddress(PEER.parse().unwrap()))));
    let event = world.answer(&request, Class::Success, Signature::Sha1, |writer| {
        writer.add(&ConnectionId(NUMBER));
    });
    assert_eq!(event, Some(Event::Connected { request: asked, connection: NUMBER }));
}

#[test]
fn an_answer_without_the_connections_name_is_a_failure() {
    let mut world = allocated();
    world.client.connect(world.now, PEER.parse().unwrap()).unwrap();
    let request = world.expect(Method::CONNECT);
    let event = world.answer(&request, Class::Success, Signature::Sha1, |_| {});
    assert!(failure(event).to_string().contains("CONNECTION-ID"));
}

#[test]
fn a_client_beside_another_signs_at_once_and_learns_what_it_is_told_for_itself() {
    let mut world = allocated();
    let mut beside = World { client: world.client.beside([9; 16]), now: world.now };
    let asked = beside.client.bind_connection(beside.now, NUMBER).unwrap();
    let first = beside.expect(Method::CONNECTION_BIND);
    let message = Message::parse(&first).unwrap();
    assert_eq!(message.get(), Ok(Some(ConnectionId(NUMBER))));
    assert_eq!(message.get(), Ok(Some(Nonce(b"n1"))));
    assert_eq!(beside.challenge(&first, ErrorNumber::STALE_NONCE, "n2"), None);
    let second = beside.expect(Method::CONNECTION_BIND);
    assert_eq!(Message::parse(&second).unwrap().get(), Ok(Some(Nonce(b"n2"))));
    let event = beside.answer(&second, Class::Success, Signature::Sha1, |_| {});
    assert_eq!(event, Some(Event::ConnectionBound { request: asked }));
    // The other one goes on as before.
    world.client.refresh(world.now, None, None).unwrap();
    let refresh = world.expect(Method::REFRESH);
    assert_eq!(Message::parse(&refresh).unwrap().get(), Ok(Some(Nonce(b"n1"))));
}

#[test]
fn a_peer_that_connects_is_told_with_the_connections_name() {
    let mut world = allocated();
    let id = TransactionId([1; 12]);
    let attempt = |with_name: bool| {
        build(Class::Indication, Method::CONNECTION_ATTEMPT, id, Signature::None, |writer| {
            writer.add(&XorPeerAddress(PEER.parse().unwrap()));
            writer.add_some(with_name.then_some(&ConnectionId(NUMBER)));
        })
    };
    let event = world.client.handle_input(world.now, &attempt(true));
    assert_eq!(event, Some(Event::ConnectionAttempt { peer: PEER.parse().unwrap(), connection: NUMBER }));
    let event = world.client.handle_input(world.now, &attempt(false));
    assert!(matches!(event, Some(Event::Discarded(_))), "{event:?}");
}

#[test]
fn what_follows_the_last_message_is_had_as_it_is() {
    let bind =
        build(Class::Success, Method::CONNECTION_BIND, TransactionId([2; 12]), Signature::None, |_| {});
    let mut frames = FrameBuffer::new();
    frames.push(&[&bind[..], b"\xFF\xFF raw"].concat());
    assert_eq!(frames.next_message(), Ok(Some(&bind[..])));
    let mut room = [0; 4];
    assert_eq!((frames.take_bytes(&mut room), &room), (4, b"\xFF\xFF r"));
    frames.push(b"!");
    assert_eq!((frames.take_bytes(&mut room), &room[..3]), (3, &b"aw!"[..]));
    assert_eq!(frames.take_bytes(&mut room), 0);
}
