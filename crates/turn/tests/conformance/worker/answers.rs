//! Answers to effects: late, repeated, failed.

use turnpike_turn::{Link, Reason, RelayError, Transport, WaitId};
use turnpike_wire::Method;
use turnpike_wire::attributes::{EvenPort, RequestedTransport};

use crate::harness::{Caller, Outcome, SECOND, Setup, World};

const CALLER: &str = "203.0.113.1:4000";

/// An Allocate that waits for its relay.
fn parked(world: &mut World, caller: &mut Caller) -> WaitId {
    world.answers = false;
    match caller.allocate_with(world, |_| {}) {
        Outcome::Wait(wait) => wait,
        other => panic!("{other:?}"),
    }
}

fn open(world: &mut World) -> WaitId {
    let (wait, relay, local) = world.asked.pop_front().expect("a relay was asked for");
    world.open.push((relay, local));
    wait
}

#[test]
fn a_relay_that_is_opened_completes_its_allocate() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let wait = parked(&mut world, &mut caller);
    assert_eq!(world.server.stats().allocations(), 0);
    assert_eq!(open(&mut world), wait);
    let reply = world.answer(wait, Ok(())).expect_success();
    assert_eq!(reply.to, caller.client);
    caller.check_integrity(&reply);
    assert_eq!(world.server.stats().allocations(), 1);
}

#[test]
fn an_answer_that_comes_twice_or_to_nobody_is_refused() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let wait = parked(&mut world, &mut caller);
    open(&mut world);
    world.answer(wait, Ok(())).expect_success();
    for late in [Ok(()), Err(RelayError::Other), Err(RelayError::AddressInUse)] {
        world.answer(wait, late).expect_drop(Reason::StaleRelay);
    }
    for (slot, generation) in [(0, 5), (1, 0), (u32::MAX, 0), (0, u32::MAX)] {
        world.answer(WaitId { slot, generation }, Ok(())).expect_drop(Reason::StaleRelay);
    }
    assert_eq!(world.server.stats().allocations(), 1);
}

#[test]
fn a_late_answer_does_not_reach_the_next_request_in_its_place() {
    let mut world = Setup::new().build();
    let mut first = Caller::new(CALLER);
    let stale = parked(&mut world, &mut first);
    open(&mut world);
    world.answer(stale, Ok(())).expect_success();
    let mut second = Caller::new("203.0.113.2:4000");
    let wait = parked(&mut world, &mut second);
    assert_eq!(wait.slot, stale.slot);
    world.answer(stale, Ok(())).expect_drop(Reason::StaleRelay);
    assert_eq!(world.server.stats().allocations(), 1);
    open(&mut world);
    assert_eq!(world.answer(wait, Ok(())).expect_success().to, second.client);
}

#[test]
fn a_connection_that_ends_while_its_allocate_waits_leaves_nothing_behind() {
    // It was once granted to nobody, and lived on until its lifetime ran out.
    let mut world = Setup::new().quotas(1, 0).build();
    for opened in [Ok(()), Err(RelayError::Other)] {
        let mut gone = Caller::new(CALLER);
        gone.client.tuple.transport = Transport::Tcp;
        let wait = parked(&mut world, &mut gone);
        world.server.handle_link_closed(world.now, gone.client);
        world.drain();
        if opened.is_ok() {
            open(&mut world);
        } else {
            world.asked.clear();
        }
        // Meanwhile the next connection comes from the same address.
        let mut next = Caller::new(CALLER).named("bob", "builder");
        (next.client.tuple.transport, next.client.link) = (Transport::Tcp, Link(2));
        let other = parked(&mut world, &mut next);
        world.answer(wait, opened).expect_drop(Reason::Disconnected);
        assert_eq!((world.ports.taken(), world.quotas.taken(), world.open.len()), (1, 1, 0));
        open(&mut world);
        assert_eq!(world.answer(other, Ok(())).expect_success().to, next.client);
        world.server.handle_link_closed(world.now, next.client);
        world.drain();
        assert_eq!((world.ports.taken(), world.quotas.taken(), world.open.len()), (0, 0, 0));
    }
}

#[test]
fn answers_may_come_in_any_order() {
    let mut world = Setup::new().build();
    let mut callers: Vec<Caller> = (0..5).map(|last| Caller::new(&format!("203.0.113.{last}:1"))).collect();
    let waits: Vec<WaitId> = callers.iter_mut().map(|caller| parked(&mut world, caller)).collect();
    for _ in 0..5 {
        open(&mut world);
    }
    for index in [3, 0, 4, 1, 2] {
        let reply = world.answer(waits[index], Ok(())).expect_success();
        assert_eq!(reply.to, callers[index].client);
        callers[index].check_integrity(&reply);
    }
}

#[test]
fn a_port_that_another_process_holds_is_passed_over() {
    let mut world = Setup::new().build();
    world.failures = [RelayError::AddressInUse; 3].into();
    Caller::new(CALLER).allocate(&mut world);
    assert_eq!((world.attempts.len(), world.ports.taken()), (4, 1));
    for pair in world.attempts.windows(2) {
        assert_ne!(pair[0], pair[1], "another port is tried");
    }
}

#[test]
fn after_some_attempts_it_is_insufficient_capacity_and_nothing_is_kept() {
    let mut world = Setup::new().quotas(1, 0).build();
    let mut caller = Caller::new(CALLER);
    world.failures = [RelayError::AddressInUse; 1000].into();
    caller.allocate_with(&mut world, |_| {}).expect_error(508);
    assert!((2..=64).contains(&world.attempts.len()), "{} attempts", world.attempts.len());
    assert_eq!((world.ports.taken(), world.server.stats().allocations()), (0, 0));
    world.failures.clear();
    caller.allocate(&mut world);
}

#[test]
fn when_the_only_port_is_held_by_another_process_it_is_insufficient_capacity() {
    let mut world = Setup::new().range(50_000..=50_000).build();
    world.failures = [RelayError::AddressInUse].into();
    Caller::new(CALLER).allocate_with(&mut world, |_| {}).expect_error(508);
    assert_eq!(world.ports.taken(), 0);
    Caller::new(CALLER).allocate(&mut world);
}

#[test]
fn another_failure_is_not_retried() {
    let mut world = Setup::new().build();
    world.failures = [RelayError::Other].into();
    Caller::new(CALLER).allocate_with(&mut world, |_| {}).expect_error(508);
    assert_eq!((world.attempts.len(), world.ports.taken()), (1, 0));
    assert_eq!(world.server.stats().refused(Reason::RelayFailed), 1);
}

#[test]
fn a_pair_stays_a_pair_when_another_port_is_tried() {
    let mut world = Setup::new().range(50_000..=50_063).build();
    world.failures = [RelayError::AddressInUse; 5].into();
    let outcome = Caller::new(CALLER).allocate_with(&mut world, |writer| {
        writer.add(&EvenPort { reserve: true });
    });
    outcome.expect_success().expect::<turnpike_wire::attributes::ReservationToken>();
    assert!(world.attempts.iter().all(|address| address.port() % 2 == 0));
    assert_eq!(world.ports.taken(), 2);
    world.advance(30 * SECOND);
    assert_eq!(world.ports.taken(), 1);
}

#[test]
fn requests_that_wait_are_bounded() {
    // Conformance 164: a worker that opens nothing does not make the server grow.
    let mut world = Setup::new().config(|config| config.challenge_burst = u32::MAX).build();
    world.answers = false;
    let mut waiting = 0;
    let mut refused = 0;
    for number in 0..5000 {
        let mut caller = Caller::new(&format!("203.0.{}.{}:4000", number / 250, number % 250));
        caller.fetch_nonce(&mut world);
        let id = world.transaction();
        let outcome = caller.request_as(&mut world, id, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP);
        });
        match outcome {
            Outcome::Wait(_) => waiting += 1,
            outcome => {
                outcome.expect_error(508);
                refused += 1;
            }
        }
    }
    assert_eq!((waiting, refused), (4096, 904));
    assert_eq!(world.server.stats().refused(Reason::TooManyWaiting), 904);
}

#[test]
fn the_servers_end_ends_every_allocation() {
    let mut world = Setup::new().quotas(10, 10).build();
    for last in 1..=10 {
        Caller::new(&format!("203.0.113.{last}:4000")).allocate(&mut world);
    }
    let now = world.now;
    world.server.handle_shutdown(now);
    world.drain();
    let shut = |event: &&turnpike_turn::Event| {
        matches!(event, turnpike_turn::Event::Ended { cause: turnpike_turn::EndCause::Shutdown, .. })
    };
    assert_eq!(world.events.iter().filter(shut).count(), 10);
    assert_eq!((world.open.len(), world.ports.taken(), world.server.stats().allocations()), (0, 0, 0));
}

#[test]
fn timers_are_asked_for_and_not_polled() {
    // A server without allocations never wakes up; one with an allocation wakes when it must.
    let mut world = Setup::new().build();
    assert_eq!(world.server.poll_timeout(), None);
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    assert_eq!(world.server.poll_timeout(), Some(world.now.monotonic + 600 * SECOND));
    caller.refresh(&mut world, 0).expect_success();
    world.advance(3600 * SECOND);
    assert_eq!(world.server.poll_timeout(), None);
}
