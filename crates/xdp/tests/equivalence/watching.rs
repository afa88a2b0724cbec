//! The program is kept up with the machine: what the kernel tells of changes ends what was kept from before.

use turnpike_wire::Family;
use turnpike_xdp::{Point, Watcher};

use crate::world::{Call, Did, POINTS, World, ip, within};

const NEW_ADDRESS: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// A program whose routes are kept for an hour, and whoever hears of changes.
fn watched(world: &World, point: Point) -> Watcher {
    world.bench.watcher(point, &[world.clients_interface, world.peers_interface], &[]).unwrap()
}

fn sent_to(world: &mut World, point: Point, call: &Call) -> Option<[u8; 6]> {
    match world.agree(point, world.clients_interface, &call.client_sends(b"hello").bytes()) {
        Did::Forwarded(out) => Some(out.to_hardware),
        Did::PassedUp => None,
    }
}

/// Changes something, and lets the watcher hear until what is asked is so: news come one by one.
fn hears(watcher: &mut Watcher, change: &str, mut is_so: impl FnMut() -> bool) -> Vec<String> {
    ip(change);
    let mut late = Vec::new();
    for _ in 0..20 {
        late.extend(watcher.wait().unwrap());
        if is_so() {
            return late;
        }
    }
    panic!("{change} changed nothing");
}

#[test]
fn neighbours_and_routes_that_change_are_used_at_once() {
    within("watching::neighbours_and_routes_that_change_are_used_at_once", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let six = world.call(1, Family::Ipv6, Family::Ipv6);
        let mut watcher = watched(world, Point::Xdp);
        for point in POINTS {
            for (call, family, ip, router) in
                [(call, "-4", "10.2.0.2", "10.2.0.254"), (six, "-6", "fd02::2", "fd02::fe")]
            {
                let peer = Some([2, 0, 0, 0, 2, 2]);
                assert_eq!(sent_to(world, point, &call), peer);
                let mut hears = |change: &str, to: Option<[u8; 6]>| {
                    hears(&mut watcher, change, || sent_to(world, point, &call) == to);
                };
                let neighbour = |address: &str| {
                    format!("neighbour replace {ip} lladdr 02:00:00:00:{address} dev peers nud permanent")
                };
                hears(&neighbour("09:09"), Some(NEW_ADDRESS));
                hears(&format!("neighbour delete {ip} dev peers"), None);
                hears(&neighbour("02:02"), peer);
                hears(&format!("route add {ip} via {router}"), Some(crate::world::ROUTER));
                hears(&format!("route delete {ip} via {router}"), peer);
                hears(&format!("{family} rule add to {ip} blackhole priority 0"), None);
                hears(&format!("{family} rule delete to {ip} blackhole priority 0"), peer);
            }
        }
    });
}

#[test]
fn an_interface_that_goes_down_or_gets_another_address_is_noticed() {
    within("watching::an_interface_that_goes_down_or_gets_another_address_is_noticed", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let mut watcher = watched(world, Point::Xdp);
        for point in POINTS {
            assert!(sent_to(world, point, &call).is_some());
            hears(&mut watcher, "link set peers down", || sent_to(world, point, &call).is_none());
            hears(&mut watcher, "link set peers up", || {
                ip("neighbour replace 10.2.0.2 lladdr 02:00:00:00:02:02 dev peers nud permanent");
                sent_to(world, point, &call).is_some()
            });
        }
        // What comes in has to be for the new hardware address, which what goes out bears.
        let clients = world.clients_interface;
        let mut frame = call.client_sends(b"hello");
        frame.to_hardware = NEW_ADDRESS;
        assert_eq!(world.agree(Point::Xdp, clients, &frame.bytes()), Did::PassedUp);
        hears(&mut watcher, "link set clients address 02:00:00:00:09:09", || {
            world.agree(Point::Xdp, clients, &frame.bytes()) != Did::PassedUp
        });
        assert_eq!(sent_to(world, Point::Xdp, &call), None, "the old address is nobody's");
        let back = call.peer_sends(b"hello").bytes();
        hears(
            &mut watcher,
            "neighbour replace 10.1.0.2 lladdr 02:00:00:00:01:02 dev clients nud permanent",
            || true,
        );
        let out = world.agree(Point::Xdp, world.peers_interface, &back).forwarded();
        assert_eq!(out.from_hardware, NEW_ADDRESS);
    });
}

#[test]
fn an_interface_that_comes_later_is_told_of_once() {
    within("watching::an_interface_that_comes_later_is_told_of_once", |world| {
        let places = [world.clients_interface, world.peers_interface];
        for (names, told) in [(&[][..], true), (&["late"][..], true), (&["clients", "peers"][..], false)] {
            let mut watcher = world.bench.watcher(Point::Tc, &places, names).unwrap();
            let mut late = Vec::new();
            ip("link add late type veth peer name late-end");
            ip("link set late up");
            ip("link set late mtu 1400");
            // The last of the news are read when the route that is made last is.
            ip("route add 192.0.2.0/24 dev late");
            for _ in 0..20 {
                late.extend(watcher.wait().unwrap());
                if !told || !late.is_empty() {
                    break;
                }
            }
            assert_eq!(late, if told { vec!["late"] } else { vec![] });
            ip("link set late mtu 1300");
            assert!(watcher.wait().unwrap().is_empty(), "once is enough");
            ip("link delete late");
        }
    });
}
