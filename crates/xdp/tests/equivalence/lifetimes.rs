//! Deadlines, ends, counters.

use std::time::{Duration, Instant};

use turnpike_wire::Family;
use turnpike_xdp::{Flow, FlowName, FlowUsage, Usage};

use crate::world::{Did, POINTS, now, within};

#[test]
fn from_its_deadline_on_a_flow_is_user_spaces() {
    within("lifetimes::from_its_deadline_on_a_flow_is_user_spaces", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let frames = [call.client_sends(b"hello").bytes(), call.peer_sends(b"hello").bytes()];
        let interfaces = [world.clients_interface, world.peers_interface];
        let ends = [0, 1, now().monotonic.0 - 1, now().monotonic.0];
        for deadline in ends {
            assert!(world.flows.set(call.name, Flow { deadline, ..call.flow }).is_ok());
            for (point, way) in POINTS.iter().flat_map(|point| [0, 1].map(|way| (*point, way))) {
                assert_eq!(world.run(point, interfaces[way], &frames[way]), Did::PassedUp);
            }
        }
        assert_eq!(world.outcomes().expired, 16);
        let deadline = now().monotonic.0 + 60_000_000_000;
        assert!(world.flows.set(call.name, Flow { deadline, ..call.flow }).is_ok(), "renewed");
        for (point, way) in POINTS.iter().flat_map(|point| [0, 1].map(|way| (*point, way))) {
            world.agree(point, interfaces[way], &frames[way]).forwarded();
        }
        let usage = world.flows.read(call.name).unwrap();
        let twice = Usage { packets: 2, bytes: 10 };
        assert_eq!((usage.to_peer, usage.to_client), (twice, twice), "renewing forgets nothing");
    });
}

#[test]
fn the_deadline_of_the_second_of_two_clients_counts_as_well() {
    within("lifetimes::the_deadline_of_the_second_of_two_clients_counts_as_well", |world| {
        let clients = ["10.1.0.2:7000", "10.1.0.3:7000"];
        let relays = clients.map(|client| world.allocate(client, "10.1.0.1:3478", Family::Ipv4));
        let [first, second] =
            [0, 1].map(|who| world.bind(clients[who], "10.1.0.1:3478", 0x4000, relays[1 - who]));
        let frame = first.client_sends(b"hello").bytes();
        for point in POINTS {
            world.agree(point, world.clients_interface, &frame).forwarded();
        }
        let over = Flow { deadline: now().monotonic.0, ..second.flow };
        assert!(world.flows.set(second.name, over).is_ok());
        for point in POINTS {
            assert_eq!(world.run(point, world.clients_interface, &frame), Did::PassedUp);
        }
        assert!(world.flows.remove(second.name).is_some());
        for point in POINTS {
            assert_eq!(world.run(point, world.clients_interface, &frame), Did::PassedUp);
        }
        assert_eq!(world.flows.read(first.name).unwrap().to_peer.packets, 2);
    });
}

#[test]
fn an_ended_flow_is_told_once_more_and_then_unknown() {
    within("lifetimes::an_ended_flow_is_told_once_more_and_then_unknown", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let frame = call.client_sends(b"hello").bytes();
        for point in POINTS {
            world.agree(point, world.clients_interface, &frame).forwarded();
        }
        let usage = world.flows.remove(call.name).unwrap();
        assert_eq!(usage.to_peer, Usage { packets: 2, bytes: 10 });
        assert!(world.flows.is_empty());
        assert_eq!((world.flows.remove(call.name), world.flows.read(call.name)), (None, None));
        for point in POINTS {
            assert_eq!(world.run(point, world.clients_interface, &frame), Did::PassedUp);
        }
    });
}

#[test]
fn a_place_that_is_used_again_begins_at_nothing() {
    within("lifetimes::a_place_that_is_used_again_begins_at_nothing", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let frame = call.client_sends(b"hello").bytes();
        // Every place comes up at least twice.
        for _ in 0..2 * 4096 + 1 {
            world.flows.remove(call.name);
            assert!(world.flows.set(call.name, call.flow).is_ok());
            assert_eq!(world.flows.read(call.name), Some(FlowUsage::default()));
            world.run(POINTS[0], world.clients_interface, &frame).forwarded();
        }
    });
}

#[test]
fn a_flow_that_finds_no_room_stays_with_user_space() {
    within("lifetimes::a_flow_that_finds_no_room_stays_with_user_space", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let nth = |number: u32| {
            let client = std::net::SocketAddr::from(([10, 9, (number >> 8) as u8, number as u8], 9));
            let peer = std::net::SocketAddr::from(([10, 8, (number >> 8) as u8, number as u8], 9));
            (
                FlowName { relay: u64::from(number) + 1000, channel: 0x4000 },
                Flow { client, peer, ..call.flow },
            )
        };
        for number in 1..4096 {
            let (name, flow) = nth(number);
            assert!(world.flows.set(name, flow).is_ok(), "{number}");
        }
        let (name, flow) = nth(5000);
        assert_eq!(world.flows.set(name, flow), Err(FlowUsage::default()));
        assert_eq!(world.flows.len(), 4096);
        world.flows.remove(nth(77).0).unwrap();
        assert!(world.flows.set(name, flow).is_ok(), "there is room again");
    });
}

#[test]
fn a_client_that_moves_is_found_at_its_new_address_and_not_at_the_old_one() {
    within("lifetimes::a_client_that_moves_is_found_at_its_new_address_and_not_at_the_old_one", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let old = call.client_sends(b"hello").bytes();
        let client = "10.1.0.3:4444".parse().unwrap();
        assert!(world.flows.set(call.name, Flow { client, ..call.flow }).is_ok());
        for point in POINTS {
            assert_eq!(world.run(point, world.clients_interface, &old), Did::PassedUp);
            let new = crate::frame::Frame { from: client, ..call.client_sends(b"hello") };
            world.run(point, world.clients_interface, &new.bytes()).forwarded();
            let back =
                world.run(point, world.peers_interface, &call.peer_sends(b"hello").bytes()).forwarded();
            assert_eq!(back.to, client);
        }
        assert_eq!(world.flows.len(), 1);
    });
}

#[test]
fn now_and_then_a_packet_of_each_way_goes_up_but_never_the_first() {
    within("lifetimes::now_and_then_a_packet_of_each_way_goes_up_but_never_the_first", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let frames = [call.client_sends(b"hello").bytes(), call.peer_sends(b"hello").bytes()];
        let interfaces = [world.clients_interface, world.peers_interface];
        for (point, way) in POINTS.iter().flat_map(|point| [0, 1].map(|way| (*point, way))) {
            let mut send = |fresh_for: Duration| {
                world.bench.set_routes([1, 1], [64, 63], fresh_for).unwrap();
                world.run(point, interfaces[way], &frames[way])
            };
            send(Duration::from_nanos(1)).forwarded();
            // The program's clock stands still from tick to tick.
            let patience = Instant::now() + Duration::from_secs(10);
            while send(Duration::from_nanos(1)) != Did::PassedUp {
                assert!(Instant::now() < patience, "its clock stands still");
            }
            while send(Duration::from_secs(3600)) != Did::PassedUp {
                assert!(Instant::now() < patience, "its clock stands still");
            }
            (0..100).for_each(|_| drop(send(Duration::from_secs(3600)).forwarded()));
            assert!(world.flows.set(call.name, call.flow).is_ok());
        }
        assert_eq!(world.outcomes().refresh, 8);
    });
}
