//! The path's MTU, routes, neighbours, padding.

use std::time::Duration;

use turnpike_wire::Family;

use crate::world::{CLIENTS_SIDE, Did, POINTS, pattern, within};

#[test]
fn what_would_have_to_be_fragmented_goes_up() {
    within("bounds::what_would_have_to_be_fragmented_goes_up", |world| {
        let families = [(Family::Ipv4, Family::Ipv4, 1472), (Family::Ipv4, Family::Ipv6, 1452)];
        for (number, (client, peer, most)) in families.into_iter().enumerate() {
            let call = world.call(number as u16, client, peer);
            for point in POINTS {
                let mut send = |size: usize| {
                    world.agree(point, world.clients_interface, &call.client_sends(&pattern(size)).bytes())
                };
                send(most).forwarded();
                assert_eq!(send(most + 1), Did::PassedUp);
            }
            // On the way back there are four bytes more.
            let most = 1468;
            for point in POINTS {
                let mut send = |size: usize| {
                    world.agree(point, world.peers_interface, &call.peer_sends(&pattern(size)).bytes())
                };
                send(most).forwarded();
                assert_eq!(send(most + 1), Did::PassedUp);
            }
        }
        assert_eq!(world.outcomes().too_large, 8);
        world.change("route replace 10.2.0.2 dev peers mtu lock 600");
        let call = world.call(9, Family::Ipv4, Family::Ipv4);
        for point in POINTS {
            let mut send = |size: usize| {
                world.agree(point, world.clients_interface, &call.client_sends(&pattern(size)).bytes())
            };
            send(572).forwarded();
            assert_eq!(send(573), Did::PassedUp, "a route may say less than its interface");
        }
    });
}

#[test]
fn without_a_route_or_a_neighbour_packets_go_up() {
    within("bounds::without_a_route_or_a_neighbour_packets_go_up", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let frame = call.client_sends(b"hello").bytes();
        for point in POINTS {
            world.agree(point, world.clients_interface, &frame).forwarded();
        }
        world.change("neighbour delete 10.2.0.2 dev peers");
        for point in POINTS {
            assert_eq!(world.agree(point, world.clients_interface, &frame), Did::PassedUp);
        }
        world.change("neighbour add 10.2.0.2 lladdr 02:00:00:00:02:02 dev peers nud permanent");
        world.change("route add blackhole 10.2.0.2/32");
        for point in POINTS {
            assert_eq!(world.agree(point, world.clients_interface, &frame), Did::PassedUp);
        }
        world.change("route delete blackhole 10.2.0.2/32");
        for point in POINTS {
            world.agree(point, world.clients_interface, &frame).forwarded();
        }
        assert_eq!(world.outcomes().no_route, 4);
        world.bench.set_routes([0, 1], [64, 64], Duration::ZERO).unwrap();
        for point in POINTS {
            assert_eq!(world.agree(point, world.clients_interface, &frame), Did::PassedUp, "nowhere to ask");
        }
    });
}

#[test]
fn padding_of_channel_data_and_of_the_link_is_taken_off() {
    within("bounds::padding_of_channel_data_and_of_the_link_is_taken_off", |world| {
        let calls = [Family::Ipv4, Family::Ipv6].map(|peer| world.call(peer as u16, Family::Ipv4, peer));
        for (point, call) in POINTS.iter().flat_map(|point| calls.map(|call| (*point, call))) {
            for (size, padding) in [(1, 3), (2, 2), (3, 1), (157, 3), (4, 2), (0, 1)] {
                let mut frame = call.client_sends(&pattern(size));
                frame.payload.resize(frame.payload.len() + padding, 0);
                let out = world.agree(point, world.clients_interface, &frame.bytes()).forwarded();
                assert_eq!(out.payload, pattern(size));
                frame.trailer = 7;
                world.agree(point, world.clients_interface, &frame.bytes()).forwarded();
            }
            for trailer in [1, 2, 18, 46] {
                let mut frame = call.peer_sends(b"short");
                frame.trailer = trailer;
                world.agree(point, world.peers_interface, &frame.bytes()).forwarded();
            }
            // More than padding, or something else: user space knows.
            for tail in [vec![0, 0, 1], vec![7], vec![0; 4], vec![0; 100]] {
                let mut frame = call.client_sends(b"data");
                frame.payload.extend(&tail);
                assert_eq!(world.agree(point, world.clients_interface, &frame.bytes()), Did::PassedUp);
            }
        }
        assert_eq!(world.outcomes().padded, 16);
    });
}

#[test]
fn frames_for_another_host_are_not_ours() {
    within("bounds::frames_for_another_host_are_not_ours", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        for (point, bit) in POINTS.iter().flat_map(|point| (0..48).map(|bit| (*point, bit))) {
            let mut frame = call.client_sends(b"hello");
            frame.to_hardware[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(frame.to_hardware, CLIENTS_SIDE);
            assert_eq!(
                world.agree(point, world.clients_interface, &frame.bytes()),
                Did::PassedUp,
                "bit {bit}"
            );
        }
    });
}
