//! Bytes a second (`max-bps`): one account, which the program and user space spend of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use turnpike_wire::Family;
use turnpike_xdp::{Account, FlowUsage, Point, Usage};

use crate::frame::read;
use crate::world::{Call, Did, POINTS, World, now, pattern, within};

/// An account in a second that does not end while a test runs: it has begun for somebody, and so for everybody.
fn begin(account: &Account) {
    account.words().into_iter().for_each(|word| word.store(FAR << 32, Ordering::Relaxed));
}

fn spent(account: &Account) -> [u64; 2] {
    account.words().map(|word| word.load(Ordering::Relaxed) & u64::from(u32::MAX))
}

fn limited(world: &mut World, rate: u64) -> Call {
    world.limit(rate);
    let call = world.call(0, Family::Ipv4, Family::Ipv4);
    begin(&world.flows.account(call.name.relay).unwrap());
    call
}

#[test]
fn what_does_not_fit_goes_up_each_way_by_itself() {
    within("limits::what_does_not_fit_goes_up_each_way_by_itself", |world| {
        let call = limited(world, 1000);
        let account = world.flows.account(call.name.relay).unwrap();
        let interfaces = [world.clients_interface, world.peers_interface];
        let frames = |length| [call.client_sends(&pattern(length)), call.peer_sends(&pattern(length))];
        for (number, point) in POINTS.into_iter().enumerate() {
            begin(&account);
            for way in [0, 1] {
                let mut run = |length| world.run(point, interfaces[way], &frames(length)[way].bytes());
                run(400).forwarded();
                run(400).forwarded();
                assert_eq!(run(201), Did::PassedUp);
                run(200).forwarded();
                assert_eq!(run(1), Did::PassedUp);
                run(0).forwarded();
                assert_eq!(run(1400), Did::PassedUp, "never more than a second's worth");
            }
            assert_eq!(spent(&account), [1000, 1000]);
            assert_eq!(world.outcomes().over_limit, 6 * (number as u64 + 1));
        }
        let each = Usage { packets: 8, bytes: 2000 };
        let usage = FlowUsage { to_peer: each, to_client: each };
        assert_eq!(world.flows.read(call.name), Some(usage), "what was refused is not relayed");
    });
}

#[test]
fn the_engine_and_the_program_spend_of_one_account() {
    within("limits::the_engine_and_the_program_spend_of_one_account", |world| {
        let call = limited(world, 1000);
        let account = world.flows.account(call.name.relay).unwrap();
        for point in POINTS {
            begin(&account);
            let frames = |length| [call.client_sends(&pattern(length)), call.peer_sends(&pattern(length))];
            for (way, interface) in [world.clients_interface, world.peers_interface].into_iter().enumerate() {
                let bytes = |length| frames(length)[way].bytes();
                world.run(point, interface, &bytes(300)).forwarded();
                assert!(world.engine(&read(&bytes(300)).unwrap()).is_some());
                assert!(world.engine(&read(&bytes(401)).unwrap()).is_none(), "the program's count as well");
                assert_eq!(world.run(point, interface, &bytes(401)), Did::PassedUp, "and so do the engine's");
                world.run(point, interface, &bytes(400)).forwarded();
                assert!(world.engine(&read(&bytes(1)).unwrap()).is_none());
            }
            assert_eq!(spent(&account), [1000, 1000]);
        }
    });
}

#[test]
fn each_second_brings_a_new_limit() {
    within("limits::each_second_brings_a_new_limit", |world| {
        let call = limited(world, 1000);
        let account = world.flows.account(call.name.relay).unwrap();
        let frame = call.client_sends(&pattern(1000)).bytes();
        for point in POINTS {
            let before = now().monotonic.0 / SECOND;
            account.words()[0].store((before - 2) << 32 | 1000, Ordering::Relaxed);
            world.run(point, world.clients_interface, &frame).forwarded();
            let word = account.words()[0].load(Ordering::Relaxed);
            let after = now().monotonic.0 / SECOND;
            // The program's clock may be a tick behind.
            assert!((before - 1..=after).contains(&(word >> 32)), "{before} {after} {}", word >> 32);
            assert_eq!(word & u64::from(u32::MAX), 1000);
            let patience = Instant::now() + Duration::from_secs(10);
            while world.run(point, world.clients_interface, &frame) == Did::PassedUp {
                assert!(Instant::now() < patience, "the next second comes");
            }
        }
    });
}

#[test]
fn between_two_clients_both_pay_or_neither() {
    within("limits::between_two_clients_both_pay_or_neither", |world| {
        world.limit(1000);
        let clients = ["10.1.0.2:7000", "10.1.0.3:7000"];
        let relays = clients.map(|client| world.allocate(client, "10.1.0.1:3478", Family::Ipv4));
        let calls = [0, 1].map(|who| world.bind(clients[who], "10.1.0.1:3478", 0x4000, relays[1 - who]));
        let [first, second] = calls.map(|call| world.flows.account(call.name.relay).unwrap());
        let frame = |length| calls[0].client_sends(&pattern(length)).bytes();
        for point in POINTS {
            begin(&first);
            begin(&second);
            world.run(point, world.clients_interface, &frame(600)).forwarded();
            assert_eq!((spent(&first), spent(&second)), ([600, 0], [0, 600]));
            // The other one has received from elsewhere.
            second.words()[1].fetch_add(300, Ordering::Relaxed);
            assert_eq!(world.run(point, world.clients_interface, &frame(101)), Did::PassedUp);
            assert_eq!((spent(&first), spent(&second)), ([600, 0], [0, 900]), "the first has it back");
            world.run(point, world.clients_interface, &frame(100)).forwarded();
            first.words()[0].fetch_add(300, Ordering::Relaxed);
            assert_eq!(world.run(point, world.clients_interface, &frame(1)), Did::PassedUp);
            assert_eq!((spent(&first), spent(&second)), ([1000, 0], [0, 1000]));
        }
    });
}

#[test]
fn nothing_is_lost_where_both_spend_at_once() {
    within("limits::nothing_is_lost_where_both_spend_at_once", |world| {
        let call = limited(world, u32::MAX.into());
        let account = world.flows.account(call.name.relay).unwrap();
        let frame = call.peer_sends(&pattern(100)).bytes();
        let is_over = AtomicBool::new(false);
        let ours = thread::scope(|scope| {
            let spender = scope.spawn(|| {
                let mut spent = 0;
                while !is_over.load(Ordering::Relaxed) && spent < MOST {
                    account.words()[1].fetch_add(3, Ordering::Relaxed);
                    spent += 3;
                }
                spent
            });
            for _ in 0..20_000 {
                world.bench.time(Point::Xdp, world.peers_interface, &frame, 1).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
            spender.join().unwrap()
        });
        let relayed = world.flows.read(call.name).unwrap().to_client.bytes;
        assert!(relayed > 0 && ours > 0);
        assert_eq!(spent(&account)[1], relayed + ours);
    });
}

#[test]
fn an_account_is_one_relayed_addresss_until_nobody_has_it() {
    within("limits::an_account_is_one_relayed_addresss_until_nobody_has_it", |world| {
        let call = limited(world, 1000);
        let held = world.flows.account(call.name.relay).unwrap();
        assert!(std::ptr::eq(held.words()[0], world.flows.account(call.name.relay).unwrap().words()[0]));
        // All others: one for each flow that there may be.
        let others: Vec<_> = (1 << 50..).map_while(|relay| world.flows.account(relay)).take(5000).collect();
        assert_eq!(others.len(), 4095);
        let other = turnpike_xdp::FlowName { relay: 1, channel: 0x4000 };
        let flow = turnpike_xdp::Flow { client: "10.1.0.2:9".parse().unwrap(), ..call.flow };
        assert_eq!(world.flows.set(other, flow), Err(FlowUsage::default()), "there is no account for it");
        drop(others);
        assert!(world.flows.set(other, flow).is_ok(), "they are free again");
        begin(&held);
        world.run(Point::Tc, world.clients_interface, &call.client_sends(b"still").bytes()).forwarded();
        assert_eq!(spent(&held), [5, 0]);
    });
}

/// Leaves the program something to spend, however long it takes.
const MOST: u64 = 1 << 30;
/// The latest second that there is.
const FAR: u64 = u32::MAX as u64;
const SECOND: u64 = 1_000_000_000;
