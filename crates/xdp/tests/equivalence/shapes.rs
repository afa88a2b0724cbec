//! Everything the kernel program is there for: families, directions, sizes.

use turnpike_wire::Family;
use turnpike_xdp::{Point, Usage};

use crate::frame::{Checksum, Verified};
use crate::world::{CLIENTS_SIDE, PEERS_SIDE, POINTS, neighbour, pattern, within};

const FAMILIES: [(Family, Family); 4] = [
    (Family::Ipv4, Family::Ipv4),
    (Family::Ipv6, Family::Ipv6),
    (Family::Ipv4, Family::Ipv6),
    (Family::Ipv6, Family::Ipv4),
];
/// Around multiples of four, an RTP packet, and what just fits an MTU of 1500 bytes with every header.
const SIZES: [usize; 12] = [0, 1, 2, 3, 4, 5, 159, 160, 161, 1200, 1399, 1448];

#[test]
fn both_ways_of_every_pair_of_families_and_every_size_are_forwarded_as_user_space_would() {
    within(
        "shapes::both_ways_of_every_pair_of_families_and_every_size_are_forwarded_as_user_space_would",
        |world| {
            for (number, (client_family, peer_family)) in FAMILIES.into_iter().enumerate() {
                let call = world.call(number as u16, client_family, peer_family);
                for (point, size) in POINTS.iter().flat_map(|point| SIZES.map(|size| (*point, size))) {
                    let data = pattern(size);
                    let out = world
                        .agree(point, world.clients_interface, &call.client_sends(&data).bytes())
                        .forwarded();
                    assert_eq!((out.from_hardware, out.to_hardware), (PEERS_SIDE, neighbour(out.to.ip())));
                    let out = world
                        .agree(point, world.peers_interface, &call.peer_sends(&data).bytes())
                        .forwarded();
                    assert_eq!((out.from_hardware, out.to_hardware), (CLIENTS_SIDE, neighbour(out.to.ip())));
                }
                let usage = world.flows.read(call.name).unwrap();
                let each = Usage { packets: 24, bytes: 2 * SIZES.iter().sum::<usize>() as u64 };
                assert_eq!((usage.to_peer, usage.to_client), (each, each));
                assert_eq!(
                    world.flows.read(call.name).unwrap(),
                    Default::default(),
                    "what was told is not told again"
                );
            }
            assert_eq!(world.outcomes().lost, 0);
        },
    );
}

#[test]
fn every_bit_of_the_data_may_be_set_or_not_and_the_checksum_stays_right() {
    within("shapes::every_bit_of_the_data_may_be_set_or_not_and_the_checksum_stays_right", |world| {
        let calls = FAMILIES.map(|(client, peer)| world.call(client as u16 * 2 + peer as u16, client, peer));
        for data in [vec![0; 33], vec![0xFF; 33], vec![0xFF; 160], vec![0; 160]] {
            for (point, call) in POINTS.iter().flat_map(|point| calls.map(|call| (*point, call))) {
                world.agree(point, world.clients_interface, &call.client_sends(&data).bytes()).forwarded();
                world.agree(point, world.peers_interface, &call.peer_sends(&data).bytes()).forwarded();
            }
        }
        // All 65,536 checksums, the two that are written alike among them. What looks as if a local sender had left the
        // sum to the hardware goes up: one of them.
        let call = calls[0];
        for point in POINTS {
            let mut passed_up = 0;
            for word in 0..=u16::MAX {
                let frame = call.client_sends(&word.to_be_bytes()).bytes();
                match world.agree(point, world.clients_interface, &frame) {
                    crate::world::Did::PassedUp => passed_up += 1,
                    crate::world::Did::Forwarded(out) => assert_eq!(out.check, Verified::Right),
                }
            }
            assert_eq!(passed_up, 1);
        }
    });
}

#[test]
fn peers_behind_a_router_and_on_the_same_interface_are_reached() {
    within("shapes::peers_behind_a_router_and_on_the_same_interface_are_reached", |world| {
        let (client, server) = ("10.1.0.2:1000", "10.1.0.1:5000");
        world.allocate(client, server, Family::Ipv4);
        let peers = [("203.0.113.9:9", PEERS_SIDE), ("10.1.0.3:9", CLIENTS_SIDE)];
        for (number, (peer, side)) in peers.into_iter().enumerate() {
            let call = world.bind(client, server, 0x4100 + number as u16, peer.parse().unwrap());
            for point in POINTS {
                let frame = call.client_sends(b"hello").bytes();
                let out = world.agree(point, world.clients_interface, &frame).forwarded();
                assert_eq!((out.from_hardware, out.to_hardware), (side, neighbour(call.flow.peer.ip())));
                let back = crate::frame::Frame { to_hardware: side, ..call.peer_sends(b"hello") }.bytes();
                let by = if side == CLIENTS_SIDE { world.clients_interface } else { world.peers_interface };
                world.agree(point, by, &back).forwarded();
            }
        }
    });
}

#[test]
fn two_clients_of_this_server_meet_in_the_kernel() {
    within("shapes::two_clients_of_this_server_meet_in_the_kernel", |world| {
        for (number, (first, relayed)) in FAMILIES.into_iter().enumerate() {
            let address = |family: Family, host: u16| match family {
                Family::Ipv4 => (format!("10.1.0.{host}:{}", 7000 + number), "10.1.0.1:3478"),
                Family::Ipv6 => (format!("[fd01::{host}]:{}", 7000 + number), "[fd01::1]:3478"),
            };
            // The second client comes by IPv4 whatever the first one does.
            let clients = [address(first, 2), address(Family::Ipv4, 3)];
            let relays = [0, 1].map(|who| world.allocate(&clients[who].0, clients[who].1, relayed));
            let calls = [0, 1]
                .map(|who| world.bind(&clients[who].0, clients[who].1, 0x4200 + who as u16, relays[1 - who]));
            assert!(calls.iter().all(|call| call.flow.own_peer));
            for (point, who) in POINTS.iter().flat_map(|point| [0, 1].map(|who| (*point, who))) {
                let data = pattern(160);
                let out =
                    world.agree(point, world.clients_interface, &calls[who].client_sends(&data).bytes());
                let out = out.forwarded();
                assert_eq!((out.from, out.to), (calls[1 - who].flow.server, calls[1 - who].flow.client));
                let usage = [who, 1 - who].map(|who| world.flows.read(calls[who].name).unwrap());
                let once = Usage { packets: 1, bytes: 160 };
                assert_eq!((usage[0].to_peer, usage[1].to_client), (once, once), "it counts for both");
                assert_eq!((usage[0].to_client, usage[1].to_peer), Default::default());
            }
            // Nobody outside may speak as a relayed address of this server: the kernel drops it.
            for point in POINTS {
                let forged = calls[0].peer_sends(b"forged").bytes();
                assert_eq!(world.run(point, world.peers_interface, &forged), crate::world::Did::PassedUp);
            }
        }
    });
}

#[test]
fn a_packet_without_a_checksum_stays_without_where_that_is_legal() {
    within("shapes::a_packet_without_a_checksum_stays_without_where_that_is_legal", |world| {
        let [same, crossing] =
            [Family::Ipv4, Family::Ipv6].map(|peer| world.call(peer as u16, Family::Ipv4, peer));
        for point in POINTS {
            for size in [0, 1, 160] {
                let mut frame = same.client_sends(&pattern(size));
                frame.checksum = Checksum::Zero;
                let out = world.agree(point, world.clients_interface, &frame.bytes()).forwarded();
                assert_eq!(out.check, Verified::Zero);
                let mut frame = crossing.client_sends(&pattern(size));
                frame.checksum = Checksum::Zero;
                let did = world.agree(point, world.clients_interface, &frame.bytes());
                assert_eq!(did, crate::world::Did::PassedUp, "IPv6 must have one");
            }
        }
        assert_eq!(world.outcomes().no_checksum, 6);
    });
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    within("shapes::a_wrong_checksum_stays_wrong", |world| {
        for (number, (client, peer)) in FAMILIES.into_iter().enumerate() {
            let call = world.call(number as u16, client, peer);
            for (point, by) in
                POINTS.iter().flat_map(|point| [1, 0x100, 0x1234, 0x8000].map(|by| (*point, by)))
            {
                for mut frame in [call.client_sends(b"damaged"), call.peer_sends(b"damaged")] {
                    frame.checksum = Checksum::Wrong(by);
                    let by = if frame.to == call.flow.server {
                        world.clients_interface
                    } else {
                        world.peers_interface
                    };
                    let out = world.agree(point, by, &frame.bytes()).forwarded();
                    assert_eq!(out.check, Verified::Wrong);
                }
            }
        }
    });
}

#[test]
fn a_sum_left_to_the_hardware_goes_up() {
    within("shapes::a_sum_left_to_the_hardware_goes_up", |world| {
        for (number, (client, peer)) in FAMILIES.into_iter().enumerate() {
            let call = world.call(number as u16, client, peer);
            for (point, size) in POINTS.iter().flat_map(|point| SIZES.map(|size| (*point, size))) {
                for mut frame in [call.client_sends(&pattern(size)), call.peer_sends(&pattern(size))] {
                    frame.checksum = Checksum::Partial;
                    let by = if frame.to == call.flow.server {
                        world.clients_interface
                    } else {
                        world.peers_interface
                    };
                    assert_eq!(world.agree(point, by, &frame.bytes()), crate::world::Did::PassedUp);
                }
            }
        }
    });
}

#[test]
fn a_joined_packet_goes_up() {
    within("shapes::a_joined_packet_goes_up", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let frame = call.client_sends(&pattern(1200)).bytes();
        let (verdict, out) = world.bench.run(Point::Tc, world.clients_interface, 400, &frame).unwrap();
        assert_eq!((verdict, out), (-1, frame));
    });
}
