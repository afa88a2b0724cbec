//! Frames as a driver delivers them: neither socket nor copy in front of the server's interface.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use turnpike_wire::channel_data_header;

use crate::calls::{CHANNEL, Calls};
use crate::frame::{Route, frame, hardware_address};
use crate::lab::devices;
use crate::live_frames::{LiveFrames, Pace};
use crate::payload::{Direction, Pattern, Stamp};
use crate::rows::relay::{AUDIO_CALLS, AUDIO_PAYLOAD, ESTABLISH_AT_ONCE, PEERS};
use crate::rows::{Bench, Metric, Row, Sample, microseconds_each, other_work_percent};
use crate::server::{Kind, RunningServer, ServerCommand};
use crate::statistics::Better;
use crate::syscalls::Inbox;

/// ChannelData of a thousand flows, client to peer, at several rates.
pub(super) const FRAMES: Row = Row {
    name: "xdp-frames",
    about: "frames as a driver delivers them, client to peer, ChannelData of 1,000 flows × 160 bytes, made by \
            BPF_PROG_TEST_RUN with live frames and counted by an XDP program at the peers' interface; every checksum \
            computed; cost for each frame the server sent on, those it lost not counted; at XDP, and in user space without it; flat out \
            beside the lowest cost that coturn has at any of the rates",
    metrics: &[
        each("xdp_50k_us", "CPU per frame, 50,000/s, XDP"),
        each("xdp_100k_us", "CPU per frame, 100,000/s, XDP"),
        each("xdp_200k_us", "CPU per frame, 200,000/s, XDP"),
        each("xdp_400k_us", "CPU per frame, 400,000/s, XDP"),
        each("xdp_flat_out_us", "CPU per frame, flat out, XDP"),
        each("user_50k_us", "CPU per frame, 50,000/s, user space"),
        each("user_100k_us", "CPU per frame, 100,000/s, user space"),
        each("user_200k_us", "CPU per frame, 200,000/s, user space"),
        each("user_400k_us", "CPU per frame, 400,000/s, user space"),
    ],
    compared: true,
    most_rounds: 3,
    full_checksums: true,
    measure,
};

/// Frames a second, and what is noted of them: in user space and at XDP, and the share that was lost.
const RATES: [(u32, [&str; 2], [&str; 2]); 4] = [
    (50_000, ["user_50k_us", "xdp_50k_us"], ["user_50k_lost_percent", "xdp_50k_lost_percent"]),
    (100_000, ["user_100k_us", "xdp_100k_us"], ["user_100k_lost_percent", "xdp_100k_lost_percent"]),
    (200_000, ["user_200k_us", "xdp_200k_us"], ["user_200k_lost_percent", "xdp_200k_lost_percent"]),
    (400_000, ["user_400k_us", "xdp_400k_us"], ["user_400k_lost_percent", "xdp_400k_lost_percent"]),
];

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let mut sample = Sample::new();
    measure_at(bench, command, &mut sample, 0)?;
    if command.kind == Kind::Turnpike {
        measure_at(bench, &command.in_the_kernel("xdp"), &mut sample, 1)?;
        return Ok(sample);
    }
    // Coturn has one way to relay, and is beside both of ours.
    let costs = RATES.iter().filter_map(|(_, [user, _], _)| sample.get(user).copied());
    if let Some(lowest) = costs.min_by(f64::total_cmp) {
        sample.insert("xdp_flat_out_us", lowest);
    }
    for (_, [user, xdp], _) in RATES {
        if let Some(cost) = sample.get(user).copied() {
            sample.insert(xdp, cost);
        }
    }
    Ok(sample)
}

/// Measures all rates; `at` is 1 if the kernel relays.
fn measure_at(bench: &Bench, command: &ServerCommand, sample: &mut Sample, at: usize) -> Result<()> {
    let server = RunningServer::start(&bench.lab, command, 1, &bench.stop)?;
    let mut calls = Calls::open(&bench.lab, server.address(), AUDIO_CALLS, PEERS)?;
    calls.establish(ESTABLISH_AT_ONCE, &bench.stop)?;
    let payload = payload();
    let mut live = LiveFrames::load(&bench.lab, &frames(bench, &calls, server.address(), &payload)?)?;
    let path = Path { bench, server: &server, flows: calls.count() as u32 };
    path.check(&mut live, &calls, &payload)?;
    live.count_at_peers(&bench.lab)?;
    let seconds = if bench.quick { 0.4 } else { 1.5 };
    for (rate, costs, losses) in RATES {
        let group = (f64::from(rate) * bench.tick.as_secs_f64()).round().max(1.0) as u32;
        let period = Duration::from_secs_f64(f64::from(group) / f64::from(rate));
        let count = (f64::from(rate) * seconds) as u32;
        let (cost, lost, other) = path.load(&mut live, count, 1, Pace::Groups { group, period })?;
        sample.insert(costs[at], cost);
        sample.insert(losses[at], lost);
        note_worst(sample, "other_work_percent", other);
    }
    if at == 1 {
        let (cost, lost, _) =
            path.load(&mut live, FLAT_OUT, if bench.quick { 1 } else { 4 }, Pace::FlatOut)?;
        sample.insert("xdp_flat_out_us", cost);
        sample.insert("xdp_flat_out_lost_percent", lost);
    }
    let other = live.received()?.other;
    note_worst(sample, "bad_packets", other as f64);
    Ok(())
}

/// A server with flows, and what drives them.
struct Path<'b> {
    bench: &'b Bench,
    server: &'b RunningServer,
    flows: u32,
}

impl Path<'_> {
    /// Sends a few frames of each flow to real sockets: they must arrive whole, at the right peer, from the right address.
    fn check(&self, live: &mut LiveFrames, calls: &Calls, payload: &[u8]) -> Result<()> {
        let pace = Pace::Groups { group: 4, period: Duration::from_micros(200) };
        live.inject(&self.bench.lab, self.flows, self.flows * CHECKED, pace)?;
        thread::sleep(SETTLE);
        let mut arrived = vec![0u32; calls.count()];
        let mut inbox = Inbox::new();
        for (peer, socket) in calls.peers.iter().enumerate() {
            loop {
                let mut wrong = None;
                let count = inbox.receive(socket, |bytes, source| {
                    let relayed = |call: &usize| {
                        calls.peer_of(*call) == peer && calls.relayed[*call] == SocketAddr::V4(source)
                    };
                    match (0..calls.count()).find(relayed) {
                        Some(call) if bytes == payload => arrived[call] += 1,
                        _ => wrong = Some(source),
                    }
                })?;
                if let Some(source) = wrong {
                    bail!("a frame from {source} arrived damaged or at the wrong peer");
                }
                if count == 0 {
                    break;
                }
            }
        }
        let missing = arrived.iter().filter(|count| **count == 0).count();
        ensure!(missing == 0, "of {missing} flows no frame arrived");
        Ok(())
    }

    /// Frames that the server has sent and the core that counts them did not take in time.
    fn lost_by_generator(&self) -> Result<u64> {
        let [.., to_peer, _] = devices();
        let lab = &self.bench.lab;
        Ok(lab.server.redirect_drops(&to_peer)? + lab.drops()?.to_generator)
    }

    /// Makes `count` frames, `times` over. Returns microseconds of processor time for each frame the server sent on, the
    /// percent that it lost, and the percent of the core that other work took.
    fn load(&self, live: &mut LiveFrames, count: u32, times: u32, pace: Pace) -> Result<(f64, f64, f64)> {
        let Path { bench, server, flows } = self;
        let meter = server.meter(&bench.lab)?;
        let received = live.received()?;
        let lost_by_generator = self.lost_by_generator()?;
        let before = meter.read()?;
        let begun = Instant::now();
        for _ in 0..times {
            bench.stop.check()?;
            live.inject(&bench.lab, *flows, count, pace)?;
        }
        thread::sleep(SETTLE);
        let spent = meter.since(before)?;
        let elapsed = begun.elapsed();
        let lost_by_generator = self.lost_by_generator()? - lost_by_generator;
        let delivered = live.received()?.whole - received.whole + lost_by_generator;
        let sent = f64::from(count) * f64::from(times);
        let lost = 100.0 * (1.0 - delivered as f64 / sent).max(0.0);
        Ok((microseconds_each(spent.total(), delivered), lost, other_work_percent(spent, elapsed)))
    }
}

/// One frame of each call, from its client's address.
fn frames(bench: &Bench, calls: &Calls, server: SocketAddr, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
    let [client_device, to_client, ..] = devices();
    let hardware = |text: String| hardware_address(&text).context("ip told no hardware address");
    let from_hardware = hardware(bench.lab.client.hardware_address(&client_device)?)?;
    let to_hardware = hardware(bench.lab.server.hardware_address(&to_client)?)?;
    let to = ipv4(server)?;
    let data = [&channel_data_header(CHANNEL, payload.len() as u16)[..], payload].concat();
    let frame_of = |client: &UdpSocket| {
        let from = ipv4(client.local_addr()?)?;
        Ok(frame(&Route { from_hardware, to_hardware, from, to }, &data))
    };
    calls.clients.iter().map(frame_of).collect()
}

fn ipv4(address: SocketAddr) -> Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(address) => bail!("{address} is no IPv4 address"),
    }
}

fn payload() -> Vec<u8> {
    let mut payload = vec![0; AUDIO_PAYLOAD];
    let stamp = Stamp { direction: Direction::ToPeer, call: 0, number: 1, run: 1, sent: 1 };
    Pattern::new().write(&stamp, &mut payload);
    payload
}

fn note_worst(sample: &mut Sample, key: &'static str, value: f64) {
    let worst = sample.entry(key).or_insert(value);
    *worst = worst.max(value);
}

const fn each(key: &'static str, title: &'static str) -> Metric {
    Metric { key, title, unit: "µs", better: Better::Lower, decimals: 2 }
}

/// Frames of each flow that are checked before anything is measured.
const CHECKED: u32 = 2;
/// Frames made in one go.
const FLAT_OUT: u32 = 500_000;
/// Until the last frame has come through.
const SETTLE: Duration = Duration::from_millis(50);
