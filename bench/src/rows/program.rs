//! What the kernel program itself takes for a packet, without a network around it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use turnpike_wire::channel_data_header;
use turnpike_xdp::{Bench as Program, Flow, FlowName, Point, ROUTE_FOR};

use crate::calls::CHANNEL;
use crate::frame::{Route, frame, hardware_address};
use crate::lab::{devices, relay_address};
use crate::rows::{Bench, Metric, NotMeasured, Row, Sample};
use crate::server::ServerCommand;
use crate::statistics::{Better, median};

/// Nanoseconds of one run on a packet that is relayed.
pub(super) const PROGRAM: Row = Row {
    name: "program",
    about: "the kernel program alone, run by BPF_PROG_TEST_RUN on one packet of 160 bytes and more that it relays, its \
            route kept as the server has it kept, caches warm: each run's packet is what the run before made of it, and again one of a flow; no \
            network, and no server, takes part",
    metrics: &[
        nanoseconds("xdp_to_peer_ns", "kernel program at XDP, client to peer"),
        nanoseconds("xdp_to_client_ns", "kernel program at XDP, peer to client"),
        nanoseconds("tc_to_peer_ns", "kernel program at tc, client to peer"),
        nanoseconds("tc_to_client_ns", "kernel program at tc, peer to client"),
    ],
    compared: false,
    most_rounds: 3,
    full_checksums: false,
    measure,
};

fn measure(bench: &Bench, _: &ServerCommand) -> Result<Sample> {
    let [.., to_peer, _] = devices();
    let server = &bench.lab.server;
    let interface = server.index(&to_peer)?;
    let text = server.hardware_address(&to_peer)?;
    let ours = hardware_address(&text).context("ip told no hardware address")?;
    // What is relayed to this neighbour bears our own address, and so may be run again.
    let there = relay_address(NEIGHBOUR);
    let neighbour = there.to_string();
    let entry = ["lladdr", text.as_str(), "dev", &to_peer, "nud", "permanent"];
    server.ip(&[&["neighbour", "replace", &neighbour], &entry[..]].concat())?;
    let tries = if bench.quick { 30 } else { 100 };
    let measured = server.inside(|| {
        let world = World { interface, ours, there };
        let refused = |error: turnpike_xdp::Unavailable| NotMeasured(error.to_string());
        let mut sample = Sample::new();
        for (point, to_peer, to_client) in [
            (Point::Xdp, "xdp_to_peer_ns", "xdp_to_client_ns"),
            (Point::Tc, "tc_to_peer_ns", "tc_to_client_ns"),
        ] {
            sample.insert(to_peer, world.to_peer(point, tries, refused)?);
            sample.insert(to_client, world.to_client(point, tries, refused)?);
        }
        Ok(sample)
    });
    server.ip(&["neighbour", "delete", &neighbour, "dev", &to_peer])?;
    measured
}

struct World {
    interface: u32,
    ours: [u8; 6],
    there: Ipv4Addr,
}

impl World {
    /// ChannelData within ChannelData, often: the flow's addresses are such that what was relayed is a packet of the same
    /// flow, one channel header shorter.
    fn to_peer(
        &self,
        point: Point,
        tries: u32,
        refused: fn(turnpike_xdp::Unavailable) -> NotMeasured,
    ) -> Result<f64> {
        let (from, to) = (SocketAddrV4::new(FROM, 4000), SocketAddrV4::new(self.there, LISTENING));
        let flow = Flow {
            client: from.into(),
            server: to.into(),
            relayed: from.into(),
            peer: to.into(),
            own_peer: false,
            channel: CHANNEL,
            deadline: u64::MAX,
            rate: None,
        };
        let mut payload = vec![0x5A; PAYLOAD];
        for _ in 0..RUNS {
            let header = channel_data_header(CHANNEL, payload.len() as u16);
            payload = [&header[..], &payload].concat();
        }
        self.time(point, flow, &self.packet(from, to, &payload), tries, refused)
    }

    /// The other way: what was relayed is a datagram of the same peer, one channel header longer.
    fn to_client(
        &self,
        point: Point,
        tries: u32,
        refused: fn(turnpike_xdp::Unavailable) -> NotMeasured,
    ) -> Result<f64> {
        let (from, to) = (SocketAddrV4::new(FROM, 4000), SocketAddrV4::new(self.there, *RELAYED.start()));
        let flow = Flow {
            client: to.into(),
            server: from.into(),
            relayed: to.into(),
            peer: from.into(),
            own_peer: false,
            channel: CHANNEL,
            deadline: u64::MAX,
            rate: None,
        };
        self.time(point, flow, &self.packet(from, to, &[0x5A; PAYLOAD]), tries, refused)
    }

    fn packet(&self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        frame(&Route { from_hardware: [2, 0, 0, 0, 0, 9], to_hardware: self.ours, from, to }, payload)
    }

    /// What one more run takes once others have gone before: the median, over `tries`, of the difference between many runs
    /// and half as many, all of which relay. The kernel changes its own code before the first.
    fn time(
        &self,
        point: Point,
        flow: Flow,
        packet: &[u8],
        tries: u32,
        refused: fn(turnpike_xdp::Unavailable) -> NotMeasured,
    ) -> Result<f64> {
        let mut program = Program::load(16).map_err(refused)?;
        program.set_ports(&[flow.server], RELAYED).map_err(refused)?;
        program.set_routes([LOOPBACK; 2], [64; 2], Duration::ZERO).map_err(refused)?;
        program.keep_routes_for(ROUTE_FOR).map_err(refused)?;
        program.set_interface(self.interface, self.interface, self.ours, &[]).map_err(refused)?;
        let mut flows = program.flow_table().map_err(refused)?;
        let name = FlowName { relay: 1, channel: CHANNEL };
        ensure!(flows.set(name, flow).is_ok(), "the kernel took no flow");
        let mut times = Vec::new();
        for _ in 0..tries {
            let mut took = |runs: u32| {
                let each = program.time(point, self.interface, packet, runs).map_err(refused)?;
                anyhow::Ok(each.as_nanos() as f64 * f64::from(runs))
            };
            times.push((took(RUNS)? - took(RUNS / 2)?) / f64::from(RUNS - RUNS / 2));
        }
        let outcomes = program.outcomes();
        let expected = u64::from(RUNS + RUNS / 2) * u64::from(tries);
        ensure!(outcomes.forwarded == expected, "not every run relayed: {outcomes:?}");
        median(&times).context("nothing was run")
    }
}

const fn nanoseconds(key: &'static str, title: &'static str) -> Metric {
    Metric { key, title, unit: "ns", better: Better::Lower, decimals: 0 }
}

/// Runs on one packet: as many as there is room to grow by a channel's header each.
const RUNS: u32 = 40;
const PAYLOAD: usize = 160;
const LISTENING: u16 = 3478;
const RELAYED: std::ops::RangeInclusive<u16> = 50_000..=50_999;
const FROM: Ipv4Addr = Ipv4Addr::new(10, 202, 0, 200);
/// Beyond all addresses that the server and the peers have.
const NEIGHBOUR: u8 = 100;
/// The index of `lo` in every namespace.
const LOOPBACK: u32 = 1;
