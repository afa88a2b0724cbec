//! Users who take all they can get: everything a client can fill has an end, and an end that is answered.

use std::time::Duration;

use turnpike_turn::{ChannelRange, Reason, RelayError, rest_password};
use turnpike_wire::attributes::{EvenPort, XorPeerAddress};
use turnpike_wire::{MessageWriter, Method};

use super::written_out;
use crate::harness::{Caller, Outcome, PEER, SECOND, Setup, World, address, credentials};

fn caller(number: u16) -> Caller {
    Caller::new(&format!("203.0.113.{}:{}", 1 + number / 1000, 4000 + number % 1000))
}

/// Peers 8.`high`.x.y, as many as asked for.
fn permit_many(world: &mut World, caller: &mut Caller, high: u16, count: u16) -> Outcome {
    caller.request(world, Method::CREATE_PERMISSION, |writer| {
        for number in 0..count {
            let peer = format!("8.{high}.{}.{}:7000", number / 256, number % 256);
            writer.add(&XorPeerAddress(address(&peer)));
        }
    })
}

#[test]
fn permissions_are_bounded_and_those_that_were_granted_stay() {
    // Conformance 95 and 164: 1024, as in coturn.
    let mut world = Setup::new().build();
    let mut caller = caller(0);
    let relayed = caller.allocate(&mut world);
    permit_many(&mut world, &mut caller, 1, 1024).expect_success();
    caller.permit(&mut world, &[PEER]).expect_error(508);
    caller.bind(&mut world, 0x4000, PEER).expect_error(508);
    assert_eq!(world.server.stats().refused(Reason::TooManyPermissions), 2);
    for peer in ["8.1.0.0:1", "8.1.3.255:9"] {
        caller.send(&mut world, peer, b"x").expect_to_peer(peer, b"x");
        world.receive_from_peer(relayed, peer, b"x").expect_data_indication(peer, b"x");
    }
    permit_many(&mut world, &mut caller, 1, 1024).expect_success();
    world.advance(300 * SECOND);
    caller.permit(&mut world, &[PEER]).expect_success();
}

#[test]
fn one_request_for_more_permissions_than_there_may_be_grants_none() {
    // As many addresses as a datagram can hold.
    let mut world = Setup::new().build();
    let mut caller = caller(0);
    caller.allocate(&mut world);
    permit_many(&mut world, &mut caller, 1, 5400).expect_error(508);
    caller.send(&mut world, "8.1.0.0:1", b"x").expect_drop(Reason::NoPermission);
}

#[test]
fn the_same_peer_many_times_is_one_permission() {
    let mut world = Setup::new().config(|config| config.max_permissions = 1).build();
    let mut caller = caller(0);
    caller.allocate(&mut world);
    caller.permit(&mut world, &[PEER; 1000]).expect_success();
}

#[test]
fn every_channel_number_can_be_bound_and_each_finds_its_peer() {
    // Conformance 164: all 4096 of them, to as many ports of a few peers.
    let mut world = Setup::new().build();
    let mut caller = caller(0);
    let relayed = caller.allocate(&mut world);
    let peer = |number: u16| format!("8.8.8.{}:{}", number % 4, 1000 + number);
    for number in 0..4096 {
        caller.bind(&mut world, 0x4000 + number, &peer(number)).expect_success();
    }
    caller.bind(&mut world, 0x4000, &peer(4096)).expect_error(400);
    caller.bind(&mut world, 0x5000, &peer(4096)).expect_error(400);
    for number in 0..4096 {
        let channel = 0x4000 + number;
        caller.send_on(&mut world, channel, b"x").expect_to_peer(&peer(number), b"x");
        world.receive_from_peer(relayed, &peer(number), b"x").expect_channel_data(channel, b"x");
    }
}

#[test]
fn the_older_range_is_bounded_by_its_numbers_too() {
    let mut world = Setup::new().config(|config| config.channels = ChannelRange::Rfc5766).build();
    let mut caller = caller(0);
    caller.allocate(&mut world);
    for number in 0x4000..=0x7FFF_u16 {
        caller.bind(&mut world, number, &format!("8.8.8.8:{number}")).expect_success();
    }
    for number in [0x0000, 0x3FFF, 0x8000, 0xFFFF] {
        caller.bind(&mut world, number, PEER).expect_error(400);
    }
}

#[test]
fn permissions_and_channels_that_expire_one_by_one_do_not_wake_the_server_for_each() {
    // A sweep looks at all of an allocation's entries; one for each that expires would let a client buy much work
    // with little.
    let mut world = Setup::new().build();
    let mut caller = caller(0);
    caller.allocate(&mut world);
    caller.refresh(&mut world, 3600).expect_success();
    for number in 0..1000 {
        caller
            .bind(&mut world, 0x4000 + number, &format!("8.8.{}.{}:7", number / 250, number % 250))
            .expect_success();
        world.advance(Duration::from_millis(2));
    }
    let mut wakes = 0;
    let end = world.now.monotonic + 700 * SECOND;
    while let Some(due) = world.server.poll_timeout().filter(|due| *due < end) {
        world.now.monotonic = due;
        world.server.handle_timeout(world.now);
        wakes += 1;
    }
    assert!((2..20).contains(&wakes), "{wakes} times");
}

#[test]
fn ports_run_out_with_an_answer_and_come_back() {
    // Conformance 75 and 164.
    let mut world = Setup::new().range(50_000..=50_199).build();
    for round in 1..=3 {
        for number in 0..200 {
            caller(number).allocate(&mut world);
        }
        for number in 200..250 {
            caller(number).allocate_with(&mut world, |_| {}).expect_error(508);
        }
        assert_eq!(world.server.stats().refused(Reason::NoPort), 50 * round);
        assert_eq!((world.server.stats().allocations(), world.ports.taken()), (200, 200));
        world.advance(600 * SECOND);
        assert_eq!((world.server.stats().allocations(), world.ports.taken(), world.open.len()), (0, 0, 0));
    }
}

#[test]
fn reserved_ports_come_back_although_nobody_claims_them() {
    // A client that asks for pairs and deletes them at once.
    let mut world = Setup::new().range(50_000..=50_099).build();
    let pair = |writer: &mut MessageWriter<'_>| {
        writer.add(&EvenPort { reserve: true });
    };
    for number in 0..50 {
        caller(number).allocate_with(&mut world, pair).expect_success();
        caller(number).refresh(&mut world, 0).expect_success();
    }
    caller(50).allocate_with(&mut world, pair).expect_error(508);
    assert_eq!(world.ports.taken(), 50, "half of the ports are still there for all who want no pair");
    caller(50).allocate(&mut world);
    world.advance(30 * SECOND);
    assert_eq!(world.ports.taken(), 1);
    caller(51).allocate_with(&mut world, pair).expect_success();
}

#[test]
fn one_user_cannot_take_the_ports_of_all_where_there_is_a_user_quota() {
    // Conformance 164: with static and REST users alike.
    let mut known = credentials();
    known.add_secret(b"secret");
    let mut world = Setup::with_credentials(known).range(50_000..=50_009).quotas(4, 0).build();
    for number in 0..20 {
        let username = format!("18000{number:05}:mallory");
        let outcome = caller(number)
            .named(&username, &rest_password(b"secret", &username))
            .allocate_with(&mut world, |_| {});
        if number < 4 {
            outcome.expect_success()
        } else {
            outcome.expect_error(486)
        };
    }
    caller(100).allocate(&mut world);
    assert_eq!(world.ports.taken(), 5);
}

#[test]
fn allocating_and_deleting_without_end_leaves_nothing_behind() {
    // Conformance 166: not even the timers of what was deleted.
    let mut world = Setup::new().build();
    let cycle = |world: &mut World, number: u16| {
        let mut caller = caller(number % 50);
        let outcome = caller.allocate_with(world, |writer| {
            writer.add(&turnpike_wire::attributes::Lifetime(3600));
        });
        outcome.expect_success();
        caller.bind(world, 0x4000, PEER).expect_success();
        caller.refresh(world, 0).expect_success();
        world.events.clear();
        world.attempts.clear();
        world.advance(Duration::from_millis(1));
    };
    (0..2000).for_each(|number| cycle(&mut world, number));
    let before = written_out(&world);
    for number in 0..20_000 {
        cycle(&mut world, number);
    }
    let after = written_out(&world);
    assert!(after < before + before / 2, "{before} bytes have become {after}");
    assert_eq!((world.server.stats().allocations(), world.ports.taken(), world.quotas.taken()), (0, 0, 0));
    world.advance(3600 * SECOND);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_lifetime_that_is_shortened_again_and_again_leaves_no_timers_behind() {
    let mut world = Setup::new().build();
    let mut caller = caller(0);
    caller.allocate(&mut world);
    let rounds = |world: &mut World, caller: &mut Caller| {
        for _ in 0..5 {
            for seconds in (600..3600).rev() {
                caller.refresh(world, seconds).expect_success();
            }
            caller.refresh(world, 3600).expect_success();
            world.advance(601 * SECOND);
        }
    };
    caller.refresh(&mut world, 3600).expect_success();
    let before = written_out(&world);
    rounds(&mut world, &mut caller);
    let after = written_out(&world);
    assert!(after < 2 * before, "{before} bytes have become {after}");
    assert_eq!(world.server.stats().allocations(), 1);
}

#[test]
fn users_who_come_and_go_leave_nothing_behind() {
    // REST names are without number; those who have left are not counted any more, nor remembered.
    let mut known = credentials();
    known.add_secret(b"secret");
    let mut world = Setup::with_credentials(known).quotas(2, 0).build();
    let visits = |world: &mut World, users: std::ops::Range<u32>| {
        for user in users {
            let username = format!("1900000000:user-{user:05}");
            let password = rest_password(b"secret", &username);
            let mut visitor = Caller::new("203.0.113.1:4000").named(&username, &password);
            visitor.allocate(world);
            visitor.refresh(world, 0).expect_success();
            world.advance(SECOND);
            world.events.clear();
        }
    };
    visits(&mut world, 0..1500);
    let before = written_out(&world);
    visits(&mut world, 1500..6000);
    let after = written_out(&world);
    assert!(after < before + before / 10, "{before} bytes have become {after}");
}

#[test]
fn relays_that_cannot_be_opened_leave_nothing_behind() {
    let mut world = Setup::new().build();
    let attempts = |world: &mut World, count: u16| {
        for number in 0..count {
            world.failures = [RelayError::Other].into();
            caller(number % 10).allocate_with(world, |_| {}).expect_error(508);
        }
    };
    attempts(&mut world, 100);
    let before = written_out(&world);
    attempts(&mut world, 5000);
    let after = written_out(&world);
    assert!(after < before + 1000, "{before} bytes have become {after}");
    assert_eq!(world.ports.taken(), 0);
}
