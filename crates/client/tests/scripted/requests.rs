//! What becomes of requests: answered, refused, sent elsewhere, or not answered at all.

use std::net::SocketAddr;

use turnpike_client::{AllocateOptions, BindingOptions, Event, Failure, Port, Transport};
use turnpike_wire::attributes::{AlternateServer, ErrorCode, ReservationToken};
use turnpike_wire::{AttributeType, Class, ErrorNumber, Message, MessageWriter, Method};

use crate::world::{START, Signature, World, failure, grant};

#[test]
fn an_unanswered_request_is_sent_seven_times_over_datagrams_and_given_up() {
    let mut world = World::new(|_| {});
    world.client.binding(world.now, BindingOptions::default()).unwrap();
    let mut times = Vec::new();
    let mut first = None;
    let event = loop {
        if let Some(bytes) = world.sent() {
            times.push((world.now - START).as_millis());
            assert_eq!(*first.get_or_insert_with(|| bytes.clone()), bytes);
        }
        if let Some(event) = world.client.poll_event() {
            break event;
        }
        world.now = world.client.poll_timeout().expect("a timer while a request waits");
        world.client.handle_timeout(world.now);
    };
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!((world.now - START).as_millis(), 39_500);
    assert_eq!(failure(Some(event)), Failure::TimedOut);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn a_stream_carries_each_request_once() {
    let mut world = World::new(|config| config.transport = Transport::Stream);
    world.client.binding(world.now, BindingOptions::default()).unwrap();
    assert!(world.sent().is_some());
    world.now = world.client.poll_timeout().unwrap();
    assert_eq!((world.now - START).as_millis(), 39_500);
    world.client.handle_timeout(world.now);
    assert_eq!(world.sent(), None);
    assert_eq!(failure(world.client.poll_event()), Failure::TimedOut);
}

#[test]
fn an_alternate_server_is_reported_with_whether_it_can_be_trusted() {
    let elsewhere: SocketAddr = "198.51.100.5:3478".parse().unwrap();
    let redirect = |writer: &mut MessageWriter<'_>| {
        writer
            .add(&ErrorCode { number: ErrorNumber::TRY_ALTERNATE, reason: "" })
            .add(&AlternateServer(elsewhere));
    };
    let mut world = World::new(|_| {});
    world.client.allocate(world.now, AllocateOptions::default()).unwrap();
    let first = world.expect(Method::ALLOCATE);
    let event = world.answer(&first, Class::Error, Signature::None, redirect);
    let expected = Failure::TryAlternate { server: elsewhere, authenticated: false, domain: None };
    assert_eq!(failure(event), expected);

    world.allocate(AllocateOptions::default());
    world.client.refresh(world.now, None, None).unwrap();
    let request = world.expect(Method::REFRESH);
    let event = world.answer(&request, Class::Error, Signature::Sha1, redirect);
    let expected = Failure::TryAlternate { server: elsewhere, authenticated: true, domain: None };
    assert_eq!(failure(event), expected);
}

#[test]
fn a_reserved_port_is_claimed_by_its_token() {
    let mut world = World::new(|_| {});
    let token = ReservationToken(*b"8 bytes.");
    world
        .client
        .allocate(world.now, AllocateOptions { port: Port::Reserved(token), ..Default::default() })
        .unwrap();
    let request = world.expect(Method::ALLOCATE);
    let parsed = Message::parse(&request).unwrap();
    assert_eq!(parsed.get(), Ok(Some(token)));
    assert!(!parsed.has(AttributeType::EVEN_PORT));
    let event = world.answer(&request, Class::Success, Signature::None, |writer| {
        grant(writer);
        writer.add(&ReservationToken(*b"another."));
    });
    let Some(Event::Allocated(allocated)) = event else { panic!("{event:?}") };
    assert_eq!(allocated.reservation, Some(ReservationToken(*b"another.")));
}

#[test]
fn refusals_carry_the_servers_words() {
    let mut world = World::new(|_| {});
    world.client.allocate(world.now, AllocateOptions { dont_fragment: true, ..Default::default() }).unwrap();
    let request = world.expect(Method::ALLOCATE);
    let event = world.answer(&request, Class::Error, Signature::None, |writer| {
        writer
            .add(&ErrorCode { number: ErrorNumber::UNKNOWN_ATTRIBUTE, reason: "Unknown Attribute  " })
            .add_raw(AttributeType::UNKNOWN_ATTRIBUTES, &[0x00, 0x1A]);
    });
    let failure = failure(event);
    assert_eq!(failure.to_string(), "error 420 (Unknown Attribute)");
    let Failure::Refused { unknown_attributes, .. } = failure else { panic!() };
    assert_eq!(*unknown_attributes, [AttributeType::DONT_FRAGMENT]);
}
