//! What a packet costs, without the network around it. Printed, not judged: machines differ.

use turnpike_wire::Family;

use crate::world::{POINTS, pattern, within};

#[test]
fn the_cost_of_a_packet_is_measured() {
    within("speed::the_cost_of_a_packet_is_measured", |world| {
        let call = world.call(0, Family::Ipv4, Family::Ipv4);
        let unknown = crate::frame::Frame { to: "10.1.0.1:9".parse().unwrap(), ..call.client_sends(b"") };
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
        for point in POINTS {
            let (_, interface, frame) = &frames[0];
            let each = world.bench.time(point, *interface, frame, 1_000_000).unwrap();
            println!("measured: other traffic at {point}: {} ns", each.as_nanos());
        }
    });
}
