//! What a packet costs, without the network around it. Printed, not judged: machines differ.

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_wire::Family;
use turnpike_xdp::{Flow, FlowName};

use crate::frame::Frame;
use crate::world::{CLIENTS_SIDE, PEERS_SIDE, POINTS, World, channel_data, now, pattern, within};

#[test]
fn the_cost_of_a_packet_is_measured() {
    within("speed::the_cost_of_a_packet_is_measured", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let unknown = Frame { to: "10.1.0.1:9".parse().unwrap(), ..call.client_sends(b"") };
        let frames = [
            ("other traffic", world.clients_interface, unknown.bytes()),
            ("client to peer", world.clients_interface, call.client_sends(&pattern(160)).bytes()),
            ("peer to client", world.peers_interface, call.peer_sends(&pattern(160)).bytes()),
        ];
        for (point, (what, interface, frame)) in
            POINTS.iter().flat_map(|point| frames.iter().map(move |it| (point, it)))
        {
            // A packet is changed where it lies, so that only the first run of several sees it as it came. What a run by
            // itself costs, for cold caches and reading the clock, shows in the traffic of others.
            let mut times: Vec<_> =
                (0..2000).map(|_| world.bench.time(*point, *interface, frame, 1).unwrap()).collect();
            times.sort_unstable();
            println!("measured: {what} at {point}: {} ns run singly", times[times.len() / 2].as_nanos());
        }
        let again = same_after_relaying(world);
        for point in POINTS {
            let before = world.outcomes().forwarded;
            let each = world.bench.time(point, world.peers_interface, &again, RUNS).unwrap();
            assert_eq!(world.outcomes().forwarded - before, u64::from(RUNS), "each run relays");
            println!("measured: client to client at {point}: {} ns", each.as_nanos());
        }
        for (kept, rate, how) in [
            (3600, None, "kept"),
            (3600, Some(u32::MAX), "kept, with a limit"),
            (0, None, "asked for each time"),
        ] {
            let again = same_after_two(world, rate);
            world.bench.keep_routes_for(Duration::from_secs(kept)).unwrap();
            world.bench.forget_routes().unwrap();
            for point in POINTS {
                let before = world.outcomes().forwarded;
                let each = world.bench.time(point, world.clients_interface, &again, RUNS).unwrap();
                assert_eq!(world.outcomes().forwarded - before, u64::from(RUNS), "each run relays");
                let each = each.as_nanos();
                println!("measured: client to peer and back at {point}, route {how}: {each} ns each way");
            }
        }
        for point in POINTS {
            let (_, interface, frame) = &frames[0];
            let each = world.bench.time(point, *interface, frame, RUNS).unwrap();
            println!("measured: other traffic at {point}: {} ns", each.as_nanos());
        }
    });
}

/// A packet that is relayed to where it came from, as it came: so it can be run through the program again and again. Two
/// flows are looked up and counted for it.
fn same_after_relaying(world: &mut World) -> Vec<u8> {
    let here = "10.2.0.2:3478".parse().unwrap();
    let relays = [50_001, 50_002].map(|port| SocketAddr::from(([10, 2, 0, 1], port)));
    let deadline = now().monotonic.0 + 3_600_000_000_000;
    for (number, [relayed, peer]) in [relays, [relays[1], relays[0]]].into_iter().enumerate() {
        let channel = 0x4000 + number as u16;
        let flow =
            Flow { client: here, server: here, relayed, peer, own_peer: true, channel, deadline, rate: None };
        assert!(
            world.flows.set(FlowName { relay: 1 << 40, channel }, Flow { channel: 0x4000, ..flow }).is_ok()
        );
    }
    world.change("neighbour replace 10.2.0.2 lladdr 02:00:00:00:02:01 dev peers nud permanent");
    Frame::new(PEERS_SIDE, here, here, channel_data(0x4000, &pattern(160))).bytes()
}

/// A packet of a client that becomes one of a peer, which becomes the client's again: each is another's answer.
fn same_after_two(world: &mut World, rate: Option<u32>) -> Vec<u8> {
    let [client, server, relayed, peer] =
        ["10.1.0.2:6000", "10.1.0.3:3478", "10.2.0.1:50007", "10.2.0.2:50008"]
            .map(|address| address.parse::<SocketAddr>().unwrap());
    let deadline = now().monotonic.0 + 3_600_000_000_000;
    let there = Flow { client, server, relayed, peer, own_peer: false, channel: 0x4000, deadline, rate };
    // Its relayed address and its peer are those of the first the other way round, and so are its client and its server.
    let back = Flow { client: server, server: client, relayed: peer, peer: relayed, ..there };
    assert!(world.flows.set(FlowName { relay: 1 << 41, channel: 0x4000 }, there).is_ok());
    assert!(world.flows.set(FlowName { relay: 1 << 42, channel: 0x4000 }, back).is_ok());
    for device in ["clients", "peers"] {
        let us = format!("link set {device} address 02:00:00:00:01:01");
        world.change(&us);
    }
    for (ip, device) in [("10.1.0.2", "clients"), ("10.1.0.3", "clients"), ("10.2.0.2", "peers")] {
        world.change(&format!("neighbour replace {ip} lladdr 02:00:00:00:01:01 dev {device} nud permanent"));
    }
    let peers = world.peers_interface;
    world.bench.set_interface(peers, peers, CLIENTS_SIDE, &[]).unwrap();
    Frame::new(CLIENTS_SIDE, client, server, channel_data(0x4000, &pattern(160))).bytes()
}

const RUNS: u32 = 1_000_000;
