//! RFC 8016 §3.1.2: receiving an Allocate request.

use turnpike_turn::Reason;
use turnpike_wire::attributes::{AdditionalAddressFamily, MobilityTicket, RequestedTransport};
use turnpike_wire::{AttributeType, Family, Method};

use super::{HOME, Mobile, alice_at, allocate_mobile, resume, setup};
use crate::harness::{Caller, Setup};

#[test]
fn an_empty_ticket_asks_for_one_and_gets_it() {
    // Conformance 141. As coturn's client keeps it: at most 32 bytes, none of them zero.
    let mut world = setup().build();
    let Mobile { ticket, .. } = Mobile::new(&mut world);
    assert!(!ticket.is_empty() && ticket.len() <= 32 && !ticket.contains(&0));
}

#[test]
fn who_asks_for_no_ticket_gets_none() {
    let mut world = setup().build();
    let mut caller = Caller::new(HOME);
    let reply = caller.allocate_with(&mut world, |_| {}).expect_success();
    assert!(!reply.has(AttributeType::MOBILITY_TICKET));
}

#[test]
fn a_ticket_in_an_allocate_is_refused() {
    let mut world = setup().build();
    let mut caller = Caller::new(HOME);
    let outcome = caller.allocate_with(&mut world, |writer| {
        writer.add(&MobilityTicket(b"ticket"));
    });
    outcome.expect_error(400);
    assert_eq!(world.server.stats().refused(Reason::BadTicket), 1);
    assert_eq!((world.ports.taken(), world.quotas.taken()), (0, 0));
}

#[test]
fn mobility_that_is_off_is_forbidden_and_costs_nothing() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(HOME);
    allocate_mobile(&mut caller, &mut world).expect_error(405);
    assert_eq!(world.server.stats().refused(Reason::MobilityForbidden), 1);
    assert_eq!((world.ports.taken(), world.quotas.taken()), (0, 0));
    // In a Refresh as well, wherever it comes from.
    caller.allocate(&mut world);
    resume(&mut caller, &mut world, b"ticket").expect_error(405);
    resume(&mut alice_at(super::CAFE), &mut world, b"ticket").expect_error(405);
}

#[test]
fn without_credentials_there_are_no_tickets() {
    // Nobody proves his address there: with a ticket, peers' data could be turned on anybody.
    let credentials = turnpike_turn::Credentials::anonymous("example.org");
    let mut world = Setup::with_credentials(credentials).config(|config| config.mobility = true).build();
    let mut caller = Caller::new(HOME).anonymous();
    allocate_mobile(&mut caller, &mut world).expect_error(405);
}

#[test]
fn a_repeated_allocate_is_answered_with_the_same_ticket() {
    let mut world = setup().build();
    let mut caller = Caller::new(HOME);
    caller.fetch_nonce(&mut world);
    let id = world.transaction();
    let [one, other] = [0; 2].map(|_| {
        let outcome = caller.request_as(&mut world, id, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP).add(&MobilityTicket(b""));
        });
        outcome.expect_success()
    });
    assert_eq!(one.expect::<MobilityTicket<'_>>(), other.expect::<MobilityTicket<'_>>());
    assert_eq!(world.quotas.taken(), 1);
}

#[test]
fn an_allocation_of_both_families_has_one_ticket() {
    let mut world = setup().build();
    let mut caller = Caller::new(HOME);
    let reply = caller.allocate_with(&mut world, |writer| {
        writer.add(&AdditionalAddressFamily(Family::Ipv6)).add(&MobilityTicket(b""));
    });
    let reply = reply.expect_success();
    let tickets = reply.message().attributes().filter(|it| it.kind == AttributeType::MOBILITY_TICKET);
    assert_eq!(tickets.count(), 1);
}
