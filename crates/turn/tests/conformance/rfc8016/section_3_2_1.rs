//! RFC 8016 §3.2.1: what a client sends in a Refresh, and what it must not.

use turnpike_turn::Reason;
use turnpike_wire::AttributeType;

use super::{CAFE, Mobile, TRAIN, alice_at, resume, setup};
use crate::harness::{Caller, PEER};

#[test]
fn a_ticket_where_nothing_has_changed_is_refused() {
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    resume(&mut mobile.caller, &mut world, &mobile.ticket).expect_error(400);
    // Nothing has happened: the ticket is as good as before, and a Refresh without it works.
    let reply = mobile.caller.refresh(&mut world, 600).expect_success();
    assert!(!reply.has(AttributeType::MOBILITY_TICKET));
    mobile.move_to(&mut world, alice_at(CAFE));
}

#[test]
fn a_ticket_on_a_5_tuple_with_an_allocation_of_its_own_is_refused() {
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    let mut other = Mobile::of(&mut world, alice_at(CAFE));
    resume(&mut other.caller, &mut world, &mobile.ticket).expect_error(400);
    assert_eq!(world.server.stats().refused(Reason::BadTicket), 1);
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    assert_eq!(other.reached_at(&mut world), other.caller.client);
}

#[test]
fn a_refresh_from_elsewhere_without_a_ticket_knows_no_allocation() {
    // Conformance 143.
    let mut world = setup().build();
    Mobile::new(&mut world);
    alice_at(CAFE).refresh(&mut world, 600).expect_error(437);
}

#[test]
fn a_refresh_from_elsewhere_without_credentials_is_challenged() {
    // Conformance 143: and the old address's nonce is no good at the new one.
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    let mut bare = alice_at(CAFE).anonymous();
    resume(&mut bare, &mut world, &mobile.ticket).expect_error(401);
    let mut other = alice_at(TRAIN);
    other.nonce = mobile.caller.nonce.clone();
    let id = world.transaction();
    super::resume_as(&other, &mut world, id, &mobile.ticket).expect_error(438);
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
}

#[test]
fn data_ahead_of_the_refresh_is_dropped() {
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    Caller::new(CAFE).send_on(&mut world, 0x4000, b"early").expect_drop(Reason::NoAllocation);
    Caller::new(CAFE).send(&mut world, PEER, b"early").expect_drop(Reason::NoAllocation);
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
}
