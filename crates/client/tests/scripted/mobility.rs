//! Taking an allocation along (RFC 8016 §3.1.1, §3.2.1, §3.2.3).

use turnpike_client::{AllocateOptions, Event, RequestError, Transport};
use turnpike_wire::attributes::{ErrorCode, Lifetime, MobilityTicket};
use turnpike_wire::{AttributeType, Class, ErrorNumber, Message, Method};

use crate::world::{Signature, World, grant};

/// A client with an allocation, and with this ticket if there is one.
fn world_with(ticket: Option<&[u8]>) -> World {
    let mut world = World::new(|_| {});
    let options = AllocateOptions { mobility: true, ..AllocateOptions::default() };
    world.client.allocate(world.now, options).unwrap();
    let first = world.expect(Method::ALLOCATE);
    assert_eq!(asked(&first), Some(&[][..]), "an empty one asks for a ticket");
    world.challenge(&first, ErrorNumber::UNAUTHENTICATED, "n1");
    let second = world.expect(Method::ALLOCATE);
    let event = world.answer(&second, Class::Success, Signature::Sha1, |writer| {
        grant(writer);
        writer.add_some(ticket.map(MobilityTicket).as_ref());
    });
    let Some(Event::Allocated(allocated)) = event else { panic!("{event:?}") };
    let long = ticket.is_some_and(|ticket| ticket.len() > 1024 || ticket.is_empty());
    assert_eq!(allocated.mobile, ticket.is_some() && !long);
    world
}

fn asked(request: &[u8]) -> Option<&[u8]> {
    Message::parse(request).unwrap().value(AttributeType::MOBILITY_TICKET)
}

#[test]
fn the_ticket_is_shown_and_the_next_one_takes_its_place() {
    let mut world = world_with(Some(b"first"));
    for (shown, next) in [(&b"first"[..], &b"second"[..]), (b"second", b"third")] {
        world.client.resume(world.now, Transport::Datagram).unwrap();
        let request = world.expect(Method::REFRESH);
        assert_eq!(asked(&request), Some(shown));
        // The nonce is another address's: the ticket is shown again under the next one.
        world.challenge(&request, ErrorNumber::STALE_NONCE, "n2");
        let request = world.expect(Method::REFRESH);
        assert_eq!(asked(&request), Some(shown));
        let event = world.answer(&request, Class::Success, Signature::Sha1, |writer| {
            writer.add(&Lifetime(600)).add(&MobilityTicket(next));
        });
        assert!(matches!(event, Some(Event::Refreshed { lifetime: 600, .. })));
    }
    world.client.refresh(world.now, None, None).unwrap();
    assert_eq!(asked(&world.expect(Method::REFRESH)), None, "where nothing has changed it is not shown");
}

#[test]
fn without_a_ticket_worth_keeping_there_is_nothing_to_show() {
    for ticket in [None, Some(&[][..]), Some(&[7; 1025][..])] {
        let mut world = world_with(ticket);
        assert_eq!(world.client.resume(world.now, Transport::Datagram), Err(RequestError::NoTicket));
        assert_eq!(world.sent(), None);
    }
    let mut world = World::new(|_| {});
    assert_eq!(world.client.resume(world.now, Transport::Stream), Err(RequestError::NoTicket));
}

#[test]
fn from_datagrams_to_a_connection_channel_data_is_padded_from_then_on() {
    let mut world = world_with(Some(b"first"));
    let mut buffer = [0; 64];
    assert_eq!(world.client.write_channel_data(0x4000, b"12345", &mut buffer), Ok(9));
    world.client.resume(world.now, Transport::Stream).unwrap();
    assert_eq!(world.client.write_channel_data(0x4000, b"12345", &mut buffer), Ok(12));
}

#[test]
fn a_refused_move_leaves_the_allocation_unless_it_is_gone() {
    for (number, kept) in [(ErrorNumber::BAD_REQUEST, true), (ErrorNumber::ALLOCATION_MISMATCH, false)] {
        let mut world = world_with(Some(b"first"));
        world.client.resume(world.now, Transport::Datagram).unwrap();
        let request = world.expect(Method::REFRESH);
        let event = world.answer(&request, Class::Error, Signature::Sha1, |writer| {
            writer.add(&ErrorCode { number, reason: "" });
        });
        assert!(matches!(event, Some(Event::Failed { .. })));
        assert_eq!(world.client.relayed().is_some(), kept);
    }
}
