//! Random packets: mostly of real flows, with something or other done to them.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use turnpike_wire::Family;
use turnpike_xdp::Point;

use crate::frame::{Checksum, correct};
use crate::world::{CLIENTS_SIDE, PEERS_SIDE, within};

/// What is done to a packet.
#[derive(Clone, Debug)]
enum Change {
    None,
    Cut(usize),
    Byte(usize, u8),
    /// A byte of the IP header, whose sum is put right.
    Header(usize, u8),
    Checksum(Checksum),
    Trailer(usize),
    Tail(Vec<u8>),
    Insert(usize, Vec<u8>),
    Tags(Vec<(u16, u16)>),
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => Just(Change::None),
        1 => (0_usize..200).prop_map(Change::Cut),
        3 => (0_usize..90, any::<u8>()).prop_map(|(at, to)| Change::Byte(at, to)),
        3 => (0_usize..20, any::<u8>()).prop_map(|(at, to)| Change::Header(at, to)),
        1 => any::<u16>().prop_map(|by| Change::Checksum(Checksum::Wrong(by))),
        1 => Just(Change::Checksum(Checksum::Zero)),
        1 => Just(Change::Checksum(Checksum::Partial)),
        1 => (0_usize..64).prop_map(Change::Trailer),
        1 => proptest::collection::vec(any::<u8>(), 0..6).prop_map(Change::Tail),
        1 => (12_usize..80, proptest::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => proptest::collection::vec((prop_oneof![Just(0x8100_u16), Just(0x88A8)], 0_u16..4), 0..4).prop_map(Change::Tags),
    ]
}

#[test]
fn whatever_comes_the_kernel_says_what_user_space_says_or_nothing() {
    within("random::whatever_comes_the_kernel_says_what_user_space_says_or_nothing", |world| {
        let mut calls = Vec::new();
        for (number, client) in [Family::Ipv4, Family::Ipv6].into_iter().enumerate() {
            for (other, peer) in [Family::Ipv4, Family::Ipv6].into_iter().enumerate() {
                calls.push(world.call((number * 2 + other) as u16, client, peer));
            }
        }
        let (clients, peers) = (world.clients_interface, world.peers_interface);
        world.bench.set_interface(1000, clients, CLIENTS_SIDE, &[(0x8100, 1)]).unwrap();
        world.bench.set_interface(1001, clients, CLIENTS_SIDE, &[(0x88A8, 2), (0x8100, 3)]).unwrap();
        let cases = (
            0..calls.len(),
            any::<bool>(),
            any::<bool>(),
            proptest::collection::vec(any::<u8>(), 0..1500),
            proptest::collection::vec(changes(), 1..3),
        );
        let world = std::cell::RefCell::new(world);
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(20_000) });
        let forwarded = std::cell::Cell::new(0);
        let outcome = runner.run(&cases, |(call, up, driver, data, changes)| {
            let (call, point) = (calls[call], if driver { Point::Xdp } else { Point::Tc });
            let (mut frame, by) =
                if up { (call.client_sends(&data), clients) } else { (call.peer_sends(&data), peers) };
            frame.to_hardware = if up { CLIENTS_SIDE } else { PEERS_SIDE };
            for change in &changes {
                match change {
                    Change::Checksum(checksum) => frame.checksum = *checksum,
                    Change::Trailer(length) => frame.trailer = *length,
                    Change::Tail(tail) => frame.payload.extend(tail),
                    Change::Tags(tags) => frame.tags = tags.clone(),
                    _ => {}
                }
            }
            let ipv4 = frame.from.is_ipv4();
            let network = 14 + 4 * frame.tags.len();
            let mut bytes = frame.bytes();
            for change in &changes {
                match change {
                    Change::Cut(length) => bytes.truncate((*length).max(15)),
                    Change::Byte(at, to) if *at < bytes.len() => bytes[*at] = *to,
                    Change::Header(at, to) if network + 20 <= bytes.len() => {
                        bytes[network + at] = *to;
                        if ipv4 {
                            correct(&mut bytes[network..network + 20]);
                        }
                    }
                    Change::Insert(at, more) if *at < bytes.len() => {
                        bytes.splice(*at..*at, more.iter().copied());
                    }
                    _ => {}
                }
            }
            if world.borrow_mut().agree(point, by, &bytes) != crate::world::Did::PassedUp {
                forwarded.set(forwarded.get() + 1);
            }
            Ok(())
        });
        outcome.unwrap();
        assert!(forwarded.get() > 4000, "only {} of 20,000 were forwarded", forwarded.get());
        assert_eq!(world.borrow().outcomes().lost, 0);
    });
}
