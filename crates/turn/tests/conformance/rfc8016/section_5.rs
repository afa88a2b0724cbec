//! RFC 8016 §5: security. Tickets are stolen, forged and replayed.

use turnpike_turn::Reason;
use turnpike_wire::attributes::{Lifetime, MobilityTicket};
use turnpike_wire::{AttributeType, Method};

use super::{CAFE, HOME, Mobile, TRAIN, alice_at, allocate_mobile, resume, setup};
use crate::harness::{Caller, Dice};

#[test]
fn a_ticket_stolen_by_another_user_is_of_no_use() {
    // coturn once moved an allocation to whoever had its ticket.
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let mut thief = Caller::new(CAFE).named("bob", "builder");
    let reply = resume(&mut thief, &mut world, &mobile.ticket).expect_error(441);
    assert!(!reply.has(AttributeType::MOBILITY_TICKET));
    assert_eq!(world.server.stats().refused(Reason::NotTheOwner), 1);
    let outcome = thief.request(&mut world, Method::REFRESH, |writer| {
        writer.add(&Lifetime(0)).add(&MobilityTicket(&mobile.ticket));
    });
    outcome.expect_error(441);
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
    // The thief has not used it up, either.
    mobile.move_to(&mut world, alice_at(TRAIN));
    world.server.check_invariants();
}

#[test]
fn moves_take_no_second_place_in_the_quotas_and_free_none() {
    // coturn once counted so that a client with one allowed allocation got more by moving.
    let mut world = setup().quotas(1, 0).build();
    let mut mobile = Mobile::new(&mut world);
    for from in [CAFE, TRAIN, HOME, CAFE] {
        mobile.move_to(&mut world, alice_at(from));
        assert_eq!(world.quotas.taken(), 1);
        allocate_mobile(&mut alice_at("198.51.100.99:9000"), &mut world).expect_error(486);
    }
    mobile.caller.refresh(&mut world, 0).expect_success();
    assert_eq!(world.quotas.taken(), 0);
    Mobile::of(&mut world, alice_at("198.51.100.99:9000"));
}

#[test]
fn no_changed_bit_of_a_ticket_passes() {
    // Conformance 143 and 146.
    let mut world = setup().build();
    let mut mobile = Mobile::new(&mut world);
    let mut caller = alice_at(CAFE);
    for bit in 0..mobile.ticket.len() * 8 {
        let mut forged = mobile.ticket.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        resume(&mut caller, &mut world, &forged).expect_error(400);
    }
    let longer = [mobile.ticket.as_slice(), b"A"].concat();
    for forged in [&b""[..], &mobile.ticket[..31], &longer, &[b'A'; 32], &[0; 600]] {
        resume(&mut caller, &mut world, forged).expect_error(400);
    }
    mobile.move_to(&mut world, caller);
}

#[test]
fn made_up_tickets_open_nothing() {
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    let mut caller = alice_at(CAFE);
    let mut dice = Dice(11);
    for _ in 0..2000 {
        let length = [32, dice.below(100)][dice.below(2)];
        let forged: Vec<u8> = (0..length).map(|_| b"ABCabc012-_"[dice.below(11)]).collect();
        resume(&mut caller, &mut world, &forged).expect_error(400);
    }
    assert_eq!(mobile.reached_at(&mut world), mobile.caller.client);
}

#[test]
fn a_ticket_of_another_server_that_shares_the_key_is_for_nothing_here() {
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    let mut other = setup().build();
    // As in a fleet: it is known to be sealed, and there is no such session.
    resume(&mut alice_at(CAFE), &mut other, &mobile.ticket).expect_error(437);
}

#[test]
fn neither_tickets_nor_their_key_are_shown_to_whoever_prints_the_server() {
    let mut world = setup().build();
    let mobile = Mobile::new(&mut world);
    let shown = format!("{:?}", world.server);
    assert!(shown.contains("TicketKey([redacted])") && shown.contains("Serial([redacted])"));
    assert!(!shown.contains(std::str::from_utf8(&mobile.ticket).expect("printable")));
}
