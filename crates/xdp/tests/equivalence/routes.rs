//! Routes that the program keeps: used while they hold, and no longer than they may.

use std::time::{Duration, Instant};

use turnpike_wire::Family;
use turnpike_xdp::{Flow, Point};

use crate::world::{Call, Did, POINTS, ROUTER, World, ip, pattern, within};

const MOVED: [u8; 6] = [2, 0, 0, 0, 2, 0x77];
const NEIGHBOUR_MOVES: &str = "neighbour replace 10.2.0.2 lladdr 02:00:00:00:02:77 dev peers nud permanent";
const NEIGHBOUR_RETURNS: &str = "neighbour replace 10.2.0.2 lladdr 02:00:00:00:02:02 dev peers nud permanent";

fn send(world: &mut World, point: Point, call: &Call, size: usize) -> Did {
    world.agree(point, world.clients_interface, &call.client_sends(&pattern(size)).bytes())
}

fn sent_to(world: &mut World, point: Point, call: &Call) -> [u8; 6] {
    send(world, point, call, 5).forwarded().to_hardware
}

#[test]
fn a_route_is_kept_until_the_server_says_that_something_has_changed() {
    within("routes::a_route_is_kept_until_the_server_says_that_something_has_changed", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        // However slow this machine is, its time does not run out.
        world.bench.keep_routes_for(Duration::from_secs(3600)).unwrap();
        for point in POINTS {
            let before = sent_to(world, point, &call);
            ip(NEIGHBOUR_MOVES);
            assert_eq!(sent_to(world, point, &call), before, "nobody has said anything");
            world.bench.forget_routes().unwrap();
            assert_eq!(sent_to(world, point, &call), MOVED);
            world.change("route add 10.2.0.2/32 via 10.2.0.254");
            assert_eq!(sent_to(world, point, &call), ROUTER, "another way");
            world.change("route delete 10.2.0.2/32 via 10.2.0.254");
            world.change(NEIGHBOUR_RETURNS);
            assert_eq!(sent_to(world, point, &call), before);
        }
    });
}

#[test]
fn a_route_is_asked_for_again_in_time_even_if_the_server_hears_of_no_change() {
    within("routes::a_route_is_asked_for_again_in_time_even_if_the_server_hears_of_no_change", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        world.bench.keep_routes_for(Duration::from_millis(20)).unwrap();
        world.bench.forget_routes().unwrap();
        for point in POINTS {
            sent_to(world, point, &call);
            for (change, to) in [(NEIGHBOUR_MOVES, MOVED), (NEIGHBOUR_RETURNS, [2, 0, 0, 0, 2, 2])] {
                ip(change);
                let patience = Instant::now() + Duration::from_secs(10);
                while sent_to(world, point, &call) != to {
                    assert!(Instant::now() < patience, "the old neighbour is used for ever");
                }
            }
            ip("neighbour delete 10.2.0.2 dev peers");
            let patience = Instant::now() + Duration::from_secs(10);
            while send(world, point, &call, 5) != Did::PassedUp {
                assert!(Instant::now() < patience, "the lost neighbour is used for ever");
            }
            ip(NEIGHBOUR_RETURNS);
        }
    });
}

#[test]
fn nothing_is_kept_where_nothing_may_be() {
    within("routes::nothing_is_kept_where_nothing_may_be", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        world.bench.keep_routes_for(Duration::ZERO).unwrap();
        world.bench.forget_routes().unwrap();
        for point in POINTS {
            for (change, to) in [(NEIGHBOUR_MOVES, MOVED), (NEIGHBOUR_RETURNS, [2, 0, 0, 0, 2, 2])] {
                ip(change);
                assert_eq!(sent_to(world, point, &call), to);
            }
        }
    });
}

#[test]
fn a_smaller_mtu_sends_up_what_does_not_fit_any_more() {
    within("routes::a_smaller_mtu_sends_up_what_does_not_fit_any_more", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        for point in POINTS {
            send(world, point, &call, 1472).forwarded();
            world.change("link set peers mtu 1000");
            assert_eq!(send(world, point, &call, 973), Did::PassedUp);
            send(world, point, &call, 972).forwarded();
            assert_eq!(
                send(world, point, &call, 1472),
                Did::PassedUp,
                "what fits is remembered as fitting alone"
            );
            world.change("link set peers mtu 1500");
            send(world, point, &call, 1472).forwarded();
        }
    });
}

#[test]
fn nothing_is_sent_by_an_interface_that_went_down() {
    within("routes::nothing_is_sent_by_an_interface_that_went_down", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        for point in POINTS {
            send(world, point, &call, 5).forwarded();
            world.change("link set peers down");
            assert_eq!(send(world, point, &call, 5), Did::PassedUp);
            world.change("link set peers up");
            world.change(NEIGHBOUR_RETURNS);
            send(world, point, &call, 5).forwarded();
        }
    });
}

#[test]
fn a_flow_that_goes_elsewhere_does_not_take_its_old_route() {
    within("routes::a_flow_that_goes_elsewhere_does_not_take_its_old_route", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let frame = call.client_sends(b"hello").bytes();
        for point in POINTS {
            assert_eq!(sent_to(world, point, &call), [2, 0, 0, 0, 2, 2]);
            let peer = "192.0.2.7:9".parse().unwrap();
            assert!(world.flows.set(call.name, Flow { peer, ..call.flow }).is_ok());
            let out = world.run(point, world.clients_interface, &frame).forwarded();
            assert_eq!((out.to, out.to_hardware), (peer, ROUTER));
            assert!(world.flows.set(call.name, call.flow).is_ok());
            assert_eq!(sent_to(world, point, &call), [2, 0, 0, 0, 2, 2]);
        }
    });
}

#[test]
fn a_place_among_the_counters_hands_on_no_route() {
    within("routes::a_place_among_the_counters_hands_on_no_route", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let frame = call.client_sends(b"hello").bytes();
        // Every place comes up at least twice, for flows that go one way and then the other.
        for round in 0..2 * 4096 + 1 {
            let peer = if round % 3 == 0 { "192.0.2.7:9".parse().unwrap() } else { call.flow.peer };
            world.flows.remove(call.name);
            assert!(world.flows.set(call.name, Flow { peer, ..call.flow }).is_ok());
            let out = world.run(POINTS[round % 2], world.clients_interface, &frame).forwarded();
            assert_eq!(out.to_hardware == ROUTER, round % 3 == 0, "{round}");
        }
    });
}
