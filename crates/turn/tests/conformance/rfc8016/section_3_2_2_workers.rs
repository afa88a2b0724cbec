//! RFC 8016 §3.2.2 where the new 5-tuple belongs to another worker than the allocation.

use turnpike_turn::{Event, Reason, Transport};
use turnpike_wire::attributes::{
    AdditionalAddressFamily, Lifetime, MobilityTicket, RequestedAddressFamily, XorRelayedAddress,
};
use turnpike_wire::{Family, Method};

use super::workers::{Workers, abroad};
use super::{CAFE, HOME, Mobile, TRAIN, alice_at, alice_by, resume, resume_as, setup};
use crate::harness::{Caller, Dice, OTHER_PEER, Outcome, PEER, PEER_V6, SECOND, World, request};

/// Moves a client to a worker; returns how it is to be called where it was.
#[track_caller]
fn go(workers: &mut Workers, worker: usize, mobile: &mut Mobile, mut to: Caller) -> Caller {
    let ticket = mobile.ticket.clone();
    let outcome = workers.answered(worker, &mut to, |caller, world| resume(caller, world, &ticket));
    mobile.ticket = outcome.expect_success().expect::<MobilityTicket<'_>>().0.to_vec();
    assert_ne!(mobile.ticket, ticket);
    std::mem::replace(&mut mobile.caller, to)
}

/// What the server holds in all: allocations, relay sockets, ports and places.
fn held(workers: &Workers) -> (u64, usize, u32, u32) {
    let allocations = workers.worlds.iter().map(|world| world.server.stats().allocations()).sum();
    let open = workers.worlds.iter().map(|world| world.open.len()).sum();
    (allocations, open, workers.worlds[0].ports.taken(), workers.worlds[0].quotas.taken())
}

#[test]
fn an_allocation_moves_between_workers_with_all_it_has() {
    // Conformance 142, with every worker as the first and as the second.
    for (from, to) in [(0, 1), (1, 0), (2, 1)] {
        let mut workers = Workers::of(3, || setup().quotas(1, 1));
        let mut mobile = Mobile::new(&mut workers.worlds[from]);
        mobile.caller.send_on(&mut workers.worlds[from], 0x4000, b"home").expect_to_peer(PEER, b"home");
        go(&mut workers, to, &mut mobile, alice_at(CAFE));
        assert_eq!(held(&workers), (1, 1, 1, 1));
        assert_eq!(workers.worlds[to].server.stats().allocations(), 1);
        let outcome = workers.at(to, |world| mobile.caller.send_on(world, 0x4000, b"cafe"));
        outcome.expect_to_peer(PEER, b"cafe");
        assert_eq!(mobile.reached_at(&mut workers.worlds[to]), mobile.caller.client);
        mobile.caller.bind(&mut workers.worlds[to], 0x4001, OTHER_PEER).expect_success();
        mobile.caller.refresh(&mut workers.worlds[to], 0).expect_success();
        assert_eq!(held(&workers), (0, 0, 0, 0));
        let usage = workers.worlds[to].events.iter().find_map(|event| match event {
            Event::Ended { usage, .. } => Some(usage.client_packets),
            _ => None,
        });
        assert_eq!(usage, Some(2), "what it relayed before counts as well");
    }
}

#[test]
fn the_old_5_tuple_is_served_through_its_worker_until_the_new_one_is_confirmed() {
    // Conformance 144.
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let mut workers = Workers::new(2);
        let mut mobile = Mobile::of(&mut workers.worlds[0], alice_by(transport, HOME, 7));
        let mut home = go(&mut workers, 1, &mut mobile, alice_at(CAFE));
        let there = abroad(home.client, 0);
        assert_eq!(mobile.reached_at(&mut workers.worlds[1]), there);
        workers.at(0, |world| home.send_on(world, 0x4000, b"still")).expect_to_peer(PEER, b"still");
        workers.at(0, |world| home.send(world, PEER, b"here")).expect_to_peer(PEER, b"here");
        let reply = workers.answered(0, &mut home, |home, world| home.permit(world, &[OTHER_PEER]));
        assert_eq!(reply.expect_success().to, there, "answered where it came from");
        workers.answered(0, &mut home, |home, world| home.allocate_with(world, |_| {})).expect_error(437);
        assert!(workers.worlds[0].server.is_allocated(&home.client.tuple));
        // Binding needs no allocation, so it does not travel.
        let binding = request(Method::BINDING, |_| {});
        let outcome = workers.at(0, |world| world.receive(home.client, &binding));
        assert_eq!(outcome.expect_success().to, home.client);

        workers
            .at(1, |world| mobile.caller.send_on(world, 0x4000, b"arrived"))
            .expect_to_peer(PEER, b"arrived");
        assert_eq!(mobile.reached_at(&mut workers.worlds[1]), mobile.caller.client);
        workers.at(0, |world| home.send_on(world, 0x4000, b"gone")).expect_drop(Reason::NoAllocation);
        workers.answered(0, &mut home, |home, world| home.refresh(world, 0)).expect_error(437);
        assert!(!workers.worlds[0].server.is_allocated(&home.client.tuple));
        home.allocate(&mut workers.worlds[0]);
        assert_eq!(held(&workers), (2, 2, 2, 2));
    }
}

#[test]
fn a_packet_that_was_passed_on_too_late_opens_nothing() {
    let mut workers = Workers::new(2);
    let mut mobile = Mobile::new(&mut workers.worlds[0]);
    let home = go(&mut workers, 1, &mut mobile, alice_at(CAFE));
    workers.delivers = false;
    let id = workers.worlds[0].transaction();
    let late = workers.at(0, |world| {
        home.request_as(world, id, Method::ALLOCATE, |writer| {
            writer.add(&turnpike_wire::attributes::RequestedTransport::UDP);
        })
    });
    late.expect_drop(Reason::PassedOn);
    mobile.caller.send_on(&mut workers.worlds[1], 0x4000, b"first").expect_to_peer(PEER, b"first");
    workers.deliver();
    assert_eq!(held(&workers), (1, 1, 1, 1));
}

#[test]
fn the_overlap_between_workers_ends_by_itself_too() {
    let mut workers = Workers::new(2);
    let mut mobile = Mobile::new(&mut workers.worlds[0]);
    let home = go(&mut workers, 1, &mut mobile, alice_at(CAFE));
    workers.advance(30 * SECOND);
    assert_eq!(mobile.reached_at(&mut workers.worlds[1]), mobile.caller.client);
    workers.at(0, |world| home.send_on(world, 0x4000, b"late")).expect_drop(Reason::NoAllocation);
    // Timers were set anew: it expires like any other.
    workers.advance(569 * SECOND);
    assert_eq!(held(&workers), (1, 1, 1, 1));
    workers.advance(SECOND);
    assert_eq!(held(&workers), (0, 0, 0, 0));
    assert!(workers.worlds.iter().all(|world| world.server.poll_timeout().is_none()));
}

#[test]
fn nothing_moves_for_another_user_or_with_a_used_or_forged_ticket() {
    let mut workers = Workers::new(2);
    let mut mobile = Mobile::new(&mut workers.worlds[0]);
    let stolen = mobile.ticket.clone();
    let mut thief = Caller::new(TRAIN).named("bob", "builder");
    workers.answered(1, &mut thief, |thief, world| resume(thief, world, &stolen)).expect_error(441);
    let mut forged = stolen.clone();
    forged[9] ^= 1;
    let mut caller = alice_at(TRAIN);
    workers.answered(1, &mut caller, |caller, world| resume(caller, world, &forged)).expect_error(400);
    let ask = |caller: &mut Caller, world: &mut World| {
        caller.request(world, Method::REFRESH, |writer| {
            writer.add(&RequestedAddressFamily(Family::Ipv6)).add(&MobilityTicket(&stolen));
        })
    };
    workers.answered(1, &mut caller, ask).expect_error(443);
    assert_eq!(mobile.reached_at(&mut workers.worlds[0]), mobile.caller.client);
    go(&mut workers, 1, &mut mobile, alice_at(CAFE));
    for worker in [0, 1] {
        let outcome = workers.answered(worker, &mut caller, |caller, world| resume(caller, world, &stolen));
        outcome.expect_error(400);
    }
    assert_eq!(held(&workers), (1, 1, 1, 1));
}

#[test]
fn a_ticket_of_a_worker_that_is_not_there_is_for_nothing() {
    // The same shared secret, and fewer threads than before the restart.
    let mut many = Workers::new(4);
    let mobile = Mobile::new(&mut many.worlds[3]);
    let mut few = Workers::new(2);
    let mut caller = alice_at(CAFE);
    let outcome = few.answered(1, &mut caller, |caller, world| resume(caller, world, &mobile.ticket));
    outcome.expect_error(437);
}

#[test]
fn copies_of_a_request_that_waits_are_dropped_and_later_ones_answered_alike() {
    // Conformance 145.
    let mut workers = Workers::new(2);
    let mobile = Mobile::new(&mut workers.worlds[0]);
    let mut caller = alice_at(CAFE);
    caller.fetch_nonce(&mut workers.worlds[1]);
    let id = workers.worlds[1].transaction();
    workers.delivers = false;
    let send = |workers: &mut Workers| workers.at(1, |world| resume_as(&caller, world, id, &mobile.ticket));
    assert!(matches!(send(&mut workers), Outcome::Wait(_)));
    send(&mut workers).expect_drop(Reason::InProgress);
    let mut other = caller.clone();
    workers.at(1, |world| other.allocate_with(world, |_| {})).expect_error(437);
    workers.at(1, |world| resume(&mut other, world, &mobile.ticket)).expect_error(437);
    workers.deliver();
    workers.delivers = true;
    let [one, another] = [0; 2].map(|_| {
        let reply = send(&mut workers).expect_success();
        reply.expect::<MobilityTicket<'_>>().0.to_vec()
    });
    assert_eq!(one, another);
    assert_eq!(held(&workers), (1, 1, 1, 1));
}

#[test]
fn a_chain_through_all_workers_leaves_nothing_behind() {
    let mut workers = Workers::of(4, || setup().quotas(1, 1));
    let mut mobile = Mobile::new(&mut workers.worlds[0]);
    let mut left = Vec::new();
    for number in 1..200_usize {
        let from = format!("198.51.100.{number}:4000");
        left.push((number - 1, go(&mut workers, number % 4, &mut mobile, alice_at(&from))));
        assert_eq!(held(&workers), (1, 1, 1, 1));
    }
    let (at, before) = left.pop().expect("there was one before");
    workers.at(at % 4, |world| before.send_on(world, 0x4000, b"there")).expect_to_peer(PEER, b"there");
    for (at, gone) in left {
        workers.at(at % 4, |world| gone.send_on(world, 0x4000, b"gone")).expect_drop(Reason::NoAllocation);
    }
    workers.advance(700 * SECOND);
    assert_eq!(held(&workers), (0, 0, 0, 0));
    for world in &workers.worlds {
        assert_eq!(world.server.poll_timeout(), None);
        assert!(!world.server.is_allocated(&before.client.tuple));
    }
}

#[test]
fn a_worker_that_has_not_heard_of_later_moves_believes_the_ticket() {
    let mut workers = Workers::of(4, || setup().quotas(1, 1));
    let mut mobile = Mobile::new(&mut workers.worlds[0]);
    for (number, worker) in [1, 2, 3, 0].into_iter().enumerate() {
        go(&mut workers, worker, &mut mobile, alice_at(&format!("198.51.100.{}:4000", number + 1)));
        assert_eq!(workers.worlds[worker].server.stats().allocations(), 1);
        // The first one does not hear that it need no longer remember whom it gave the allocation to.
        workers.stuck = Some((1, 0));
    }
    workers.stuck = None;
    workers.deliver();
    go(&mut workers, 2, &mut mobile, alice_at(CAFE));
    assert_eq!(held(&workers), (1, 1, 1, 1));
}

#[test]
fn a_client_comes_back_to_the_worker_it_was_about_to_leave() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut workers = Workers::new(2);
        let mut mobile = Mobile::of(&mut workers.worlds[0], alice_by(transport, HOME, 7));
        let home = go(&mut workers, 1, &mut mobile, alice_at(CAFE));
        let cafe = go(&mut workers, 0, &mut mobile, home.clone());
        assert_eq!(mobile.reached_at(&mut workers.worlds[0]), cafe.client);
        workers.at(1, |world| cafe.send_on(world, 0x4000, b"cafe")).expect_to_peer(PEER, b"cafe");
        workers.at(0, |world| home.send_on(world, 0x4000, b"home")).expect_to_peer(PEER, b"home");
        assert_eq!(mobile.reached_at(&mut workers.worlds[0]), home.client);
        workers.at(1, |world| cafe.send_on(world, 0x4000, b"gone")).expect_drop(Reason::NoAllocation);
        assert_eq!(held(&workers), (1, 1, 1, 1));
    }
}

#[test]
fn an_old_5_tuple_that_another_worker_serves_takes_in_no_other_allocation() {
    // It once did, and then belonged to both.
    let mut workers = Workers::new(2);
    let mut mobile = Mobile::new(&mut workers.worlds[0]);
    let other = Mobile::of(&mut workers.worlds[0], alice_at(TRAIN));
    let mut home = go(&mut workers, 1, &mut mobile, alice_at(CAFE));
    let outcome = workers.answered(0, &mut home, |home, world| resume(home, world, &other.ticket));
    outcome.expect_error(400);
    workers.at(0, |world| home.send_on(world, 0x4000, b"mine")).expect_to_peer(PEER, b"mine");
    assert_eq!(mobile.reached_at(&mut workers.worlds[1]), home.client);
    assert_eq!(other.reached_at(&mut workers.worlds[0]), other.caller.client);
}

#[test]
fn the_end_of_the_old_connection_is_told_to_the_worker_that_has_the_allocation() {
    let mut workers = Workers::new(2);
    let mut mobile = Mobile::of(&mut workers.worlds[0], alice_by(Transport::Tls, HOME, 7));
    let home = go(&mut workers, 1, &mut mobile, alice_by(Transport::Tcp, CAFE, 8));
    workers.close(0, home.client);
    assert_eq!(mobile.reached_at(&mut workers.worlds[1]), mobile.caller.client);
    assert!(!workers.worlds[0].server.is_allocated(&home.client.tuple));
}

#[test]
fn an_allocation_whose_client_is_away_is_taken_by_any_worker() {
    let mut workers = Workers::new(2);
    let mut mobile = Mobile::of(&mut workers.worlds[0], alice_by(Transport::Tcp, HOME, 7));
    let home = mobile.caller.client;
    workers.close(0, home);
    go(&mut workers, 1, &mut mobile, alice_by(Transport::Tcp, CAFE, 8));
    assert_eq!(mobile.reached_at(&mut workers.worlds[1]), mobile.caller.client);
    assert!(!workers.worlds[0].server.is_allocated(&home.tuple));
    assert_eq!(held(&workers), (1, 1, 1, 1));
}

#[test]
fn a_new_connection_that_breaks_while_its_request_waits_leaves_all_as_it_was() {
    // The ticket that it was to replace is good again, whichever worker has the allocation by now.
    for worker in [0, 1, 2] {
        let mut workers = Workers::new(3);
        let mut mobile = Mobile::new(&mut workers.worlds[0]);
        let mut cafe = alice_by(Transport::Tcp, CAFE, 8);
        cafe.fetch_nonce(&mut workers.worlds[1]);
        workers.delivers = false;
        let outcome = workers.at(1, |world| resume(&mut cafe, world, &mobile.ticket));
        assert!(matches!(outcome, Outcome::Wait(_)));
        let World { server, now, .. } = &mut workers.worlds[1];
        server.handle_link_closed(*now, cafe.client);
        workers.deliver();
        workers.delivers = true;
        assert_eq!(held(&workers), (1, 1, 1, 1));
        assert_eq!(mobile.reached_at(&mut workers.worlds[1]), mobile.caller.client);
        let data = workers.at(0, |world| mobile.caller.send_on(world, 0x4000, b"still"));
        data.expect_to_peer(PEER, b"still");
        if worker == 0 {
            // Where it was all the time; the allocation comes back to its worker.
            let home = mobile.caller.clone();
            go(&mut workers, 0, &mut mobile, home);
            let data = workers.at(0, |world| mobile.caller.send_on(world, 0x4000, b"home"));
            data.expect_to_peer(PEER, b"home");
        }
        go(&mut workers, worker, &mut mobile, alice_at(TRAIN));
        let data = workers.at(worker, |world| mobile.caller.send_on(world, 0x4000, b"at last"));
        data.expect_to_peer(PEER, b"at last");
        assert_eq!(mobile.reached_at(&mut workers.worlds[worker]), mobile.caller.client);
        assert_eq!(held(&workers), (1, 1, 1, 1));
    }
}

#[test]
fn both_relayed_addresses_move_between_workers_and_one_may_end_by_it() {
    let mut workers = Workers::new(2);
    let mut home = Caller::new(HOME);
    let outcome = home.allocate_with(&mut workers.worlds[0], |writer| {
        writer.add(&AdditionalAddressFamily(Family::Ipv6)).add(&MobilityTicket(b""));
    });
    let reply = outcome.expect_success();
    let XorRelayedAddress(relayed) = reply.expect();
    let ticket = reply.expect::<MobilityTicket<'_>>().0.to_vec();
    home.bind(&mut workers.worlds[0], 0x4001, PEER_V6).expect_success();
    assert_eq!(held(&workers), (1, 2, 2, 1));
    let mut cafe = alice_at(CAFE);
    let outcome = workers.answered(1, &mut cafe, |cafe, world| {
        cafe.request(world, Method::REFRESH, |writer| {
            writer.add(&RequestedAddressFamily(Family::Ipv4)).add(&Lifetime(0)).add(&MobilityTicket(&ticket));
        })
    });
    outcome.expect_success().expect::<MobilityTicket<'_>>();
    assert!(!workers.worlds[1].open.iter().any(|(_, address)| *address == relayed));
    assert_eq!(held(&workers), (1, 1, 1, 1));
    workers.at(0, |world| home.send_on(world, 0x4001, b"six")).expect_to_peer(PEER_V6, b"six");
    workers.at(1, |world| cafe.send_on(world, 0x4001, b"six")).expect_to_peer(PEER_V6, b"six");
    cafe.refresh(&mut workers.worlds[1], 0).expect_success();
    assert_eq!(held(&workers), (0, 0, 0, 0));
}

#[test]
fn a_delete_with_a_ticket_from_another_worker_leaves_nothing_anywhere() {
    let mut workers = Workers::new(2);
    let mobile = Mobile::new(&mut workers.worlds[0]);
    let mut cafe = alice_at(CAFE);
    let outcome = workers.answered(1, &mut cafe, |cafe, world| {
        cafe.request(world, Method::REFRESH, |writer| {
            writer.add(&Lifetime(0)).add(&MobilityTicket(&mobile.ticket));
        })
    });
    assert_eq!(outcome.expect_success().expect::<Lifetime>().0, 0);
    assert_eq!(held(&workers), (0, 0, 0, 0));
    assert!(!workers.worlds[0].server.is_allocated(&mobile.caller.client.tuple));
}

#[test]
fn requests_that_wait_for_other_workers_are_bounded() {
    let mut workers = Workers::new(2);
    let mobile = Mobile::new(&mut workers.worlds[0]);
    workers.delivers = false;
    let mut refused = 0;
    for port in 2000..3100 {
        let mut caller = alice_at(&format!("198.51.100.7:{port}"));
        match workers.at(1, |world| resume(&mut caller, world, &mobile.ticket)) {
            Outcome::Wait(_) => {}
            outcome => {
                outcome.expect_error(508);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1100 - 1024);
    workers.deliver();
    assert_eq!(held(&workers), (1, 1, 1, 1), "one of them has it");
}

#[test]
fn whenever_mail_arrives_no_allocation_is_lost_doubled_or_left_behind() {
    // Three clients move among three workers by datagrams and connections, send by wherever they are and were, and
    // break off, while mail is delivered some time or other. Then everything expires.
    let mut moves = 0;
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let mut workers = Workers::new(3);
        workers.delivers = false;
        let mut travellers: Vec<Traveller> =
            (0..3).map(|number| Traveller::new(number, &mut workers)).collect();
        for _ in 0..120 {
            let traveller = dice.below(3);
            match dice.below(10) {
                0..=1 => travellers[traveller].travel(&mut workers, &mut dice),
                2..=3 => travellers[traveller].send(&mut workers, &mut dice),
                4 if dice.below(3) == 0 => travellers[traveller].break_off(&mut workers, &mut dice),
                5 if dice.below(4) == 0 => {
                    workers.worlds.iter_mut().for_each(|world| world.advance(9 * SECOND))
                }
                _ => {
                    let waiting = workers.waiting();
                    if !waiting.is_empty() {
                        let (from, to) = waiting[dice.below(waiting.len())];
                        workers.deliver_one(from, to);
                    }
                }
            }
            workers.worlds.iter().for_each(|world| world.server.check_invariants());
        }
        workers.deliver();
        let (allocations, open, ports, places) = held(&workers);
        assert!(allocations <= 3, "{allocations} allocations, seed {seed}");
        assert_eq!(
            (open as u64, u64::from(ports), u64::from(places)),
            (allocations, allocations, allocations)
        );
        for _ in 0..3 {
            workers.advance(600 * SECOND);
        }
        assert_eq!(held(&workers), (0, 0, 0, 0), "seed {seed}");
        for world in &workers.worlds {
            moves += world.server.stats().allocations_arrived;
            assert!(world.server.poll_timeout().is_none(), "seed {seed}");
            for (_, caller) in travellers.iter().flat_map(|traveller| &traveller.places) {
                assert!(!world.server.is_allocated(&caller.client.tuple), "seed {seed}");
            }
        }
    }
    assert!(moves > 1000, "{moves} moves between workers");
}

/// A client that moves without waiting for anything.
struct Traveller {
    /// Where it has been, with the worker that the kernel brings that to.
    places: Vec<(usize, Caller)>,
    ticket: Vec<u8>,
    links: u64,
}

impl Traveller {
    fn new(number: u64, workers: &mut Workers) -> Self {
        let worker = number as usize;
        let from = format!("203.0.113.{}:4000", number + 1);
        let mobile =
            Mobile::of(&mut workers.worlds[worker], alice_by(Transport::Tcp, &from, 100 * (number + 1)));
        Traveller { places: vec![(worker, mobile.caller)], ticket: mobile.ticket, links: 100 * (number + 1) }
    }

    /// To a new place, or back to an old one.
    fn travel(&mut self, workers: &mut Workers, dice: &mut Dice) {
        let back = dice.below(3) == 0;
        let (worker, mut caller) = if back {
            self.places[dice.below(self.places.len())].clone()
        } else {
            self.links += 1;
            let transport = [Transport::Udp, Transport::Tcp, Transport::Tls][dice.below(3)];
            let from = format!("198.51.100.{}:{}", self.links % 256, 2000 + self.links);
            let link = if transport == Transport::Udp { 1 } else { self.links };
            (dice.below(3), alice_by(transport, &from, link))
        };
        let outcome = resume(&mut caller, &mut workers.worlds[worker], &self.ticket);
        self.places.push((worker, caller));
        if let Outcome::Reply(reply) = outcome
            && let Some(MobilityTicket(ticket)) = reply.get()
        {
            self.ticket = ticket.to_vec();
        }
        // What other workers answer reaches it now and then.
        for reply in workers.replies() {
            let place = self.places.iter().find(|(_, caller)| caller.client.tuple == reply.to.tuple);
            if let (Some(_), Some(MobilityTicket(ticket))) = (place, reply.get()) {
                self.ticket = ticket.to_vec();
            }
        }
    }

    fn send(&self, workers: &mut Workers, dice: &mut Dice) {
        let (worker, caller) = &self.places[dice.below(self.places.len())];
        let _ = caller.send_on(&mut workers.worlds[*worker], 0x4000, b"whoever has it");
    }

    fn break_off(&self, workers: &mut Workers, dice: &mut Dice) {
        let (worker, caller) = &self.places[dice.below(self.places.len())];
        if caller.client.tuple.transport.is_stream() {
            let World { server, now, .. } = &mut workers.worlds[*worker];
            server.handle_link_closed(*now, caller.client);
        }
    }
}
