//! Processor time for each relayed packet, at a pace both servers easily keep.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::calls::Calls;
use crate::lab::Drops;
use crate::processor_time::{Meter, ProcessorTime};
use crate::rows::{Bench, Metric, Row, Sample, microseconds_each, other_work_percent};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;
use crate::traffic::{Delivery, Generator, Load};

/// A thousand calls of audio.
pub(super) const AUDIO: Row = Row {
    name: "audio",
    about: "1,000 calls × 160 bytes, evenly paced, 50,000 packets/s over both directions",
    metrics: &[per_packet("CPU per relayed packet, audio")],
    compared: true,
    most_rounds: usize::MAX,
    full_checksums: false,
    measure: |bench, command| measure(bench, command, &AUDIO_LOAD),
};

/// A hundred calls of video.
pub(super) const VIDEO: Row = Row {
    name: "video",
    about: "100 calls × 1,200 bytes in back-to-back bursts of 8, 40,000 packets/s over both directions",
    metrics: &[per_packet("CPU per relayed packet, video")],
    compared: true,
    most_rounds: usize::MAX,
    full_checksums: false,
    measure: |bench, command| measure(bench, command, &VIDEO_LOAD),
};

/// Audio with all relayed addresses on one port, each peer with an address of its own.
pub(super) const FEW_PORTS: Row = Row {
    name: "few-ports",
    about: "audio with all relayed addresses on one port (multiplex-peer) and a peer address for each call, beside coturn's \
            plain mode: coturn has few ports since 4.17 only, where that mode with GSO took 1/1.28 of what its plain mode \
            takes; so the target here is 1.3 times that",
    metrics: &[per_packet("CPU per relayed packet, audio, few ports")],
    compared: true,
    most_rounds: usize::MAX,
    full_checksums: false,
    measure: |bench, command| {
        let plan = Plan { peers: AUDIO_CALLS, ..AUDIO_LOAD };
        measure(bench, &command.with_few_ports(), &plan)
    },
};

/// Audio relayed at tc.
pub(super) const TC_AUDIO: Row = Row {
    name: "tc-audio",
    about: "audio relayed in the kernel at tc (fast-path=tc), every checksum computed",
    metrics: &[per_packet("CPU per relayed packet, audio, tc")],
    full_checksums: true,
    measure: |bench, command| measure(bench, &command.in_the_kernel("tc"), &AUDIO_LOAD),
    ..AUDIO
};

/// Video relayed at tc.
pub(super) const TC_VIDEO: Row = Row {
    name: "tc-video",
    about: "video relayed in the kernel at tc, every checksum computed",
    metrics: &[per_packet("CPU per relayed packet, video, tc")],
    full_checksums: true,
    measure: |bench, command| measure(bench, &command.in_the_kernel("tc"), &VIDEO_LOAD),
    ..VIDEO
};

/// Audio relayed at XDP.
pub(super) const XDP_AUDIO: Row = Row {
    name: "xdp-audio",
    about: "audio relayed in the kernel at XDP (fast-path=xdp), every checksum computed; a veth copies every packet that \
            comes from a socket before an XDP program sees it, which a network card does not",
    metrics: &[per_packet("CPU per relayed packet, audio, XDP")],
    full_checksums: true,
    measure: |bench, command| measure(bench, &command.in_the_kernel("xdp"), &AUDIO_LOAD),
    ..AUDIO
};

/// A load as it is planned.
#[derive(Clone, Copy)]
struct Plan {
    calls: usize,
    peers: usize,
    payload: usize,
    burst: usize,
    packets_per_second: f64,
}

const AUDIO_LOAD: Plan =
    Plan { calls: AUDIO_CALLS, peers: PEERS, payload: AUDIO_PAYLOAD, burst: 1, packets_per_second: 50_000.0 };

const VIDEO_LOAD: Plan =
    Plan { calls: 100, peers: PEERS, payload: 1200, burst: 8, packets_per_second: 40_000.0 };

/// One load that was measured.
pub(super) struct Measured {
    pub(super) delivery: Delivery,
    pub(super) spent: ProcessorTime,
    /// Until the last packet arrived.
    pub(super) elapsed: Duration,
    pub(super) drops: Drops,
}

impl Measured {
    /// Runs `load` and reads everything before and after it.
    pub(super) fn take(
        bench: &Bench,
        meter: &Meter,
        generator: &mut Generator<'_>,
        load: &Load,
    ) -> Result<Self> {
        let drops_before = bench.lab.drops()?;
        let before = meter.read()?;
        let begun = Instant::now();
        let delivery = generator.run(load, &bench.stop)?;
        let spent = meter.since(before)?;
        let elapsed = begun.elapsed();
        let drops = bench.lab.drops()?;
        let drops = Drops {
            to_server: drops.to_server - drops_before.to_server,
            to_generator: drops.to_generator - drops_before.to_generator,
        };
        Ok(Measured { delivery, spent, elapsed, drops })
    }

    /// Microseconds of processor time for each delivered packet.
    pub(super) fn cost(&self) -> f64 {
        microseconds_each(self.spent.total(), self.delivery.delivered)
    }

    /// Percent of the packets the server did not deliver, those left out that only the generator lost.
    pub(super) fn server_loss_percent(&self) -> f64 {
        let Delivery { sent, .. } = self.delivery;
        (self.delivery.loss() - self.drops.to_generator as f64 / sent.max(1) as f64).max(0.0) * 100.0
    }

    /// Everything worth keeping.
    pub(super) fn sample(&self) -> Sample {
        let Delivery { delivered, bad, out_of_order, .. } = self.delivery;
        Sample::from([
            (COST, self.cost()),
            ("threads_us_per_packet", microseconds_each(self.spent.threads, delivered)),
            ("kernel_receive_us_per_packet", microseconds_each(self.spent.receive, delivered)),
            ("offered_per_second", self.delivery.offered_rate()),
            ("loss_percent", self.delivery.loss() * 100.0),
            ("server_loss_percent", self.server_loss_percent()),
            ("bad_packets", bad as f64),
            ("out_of_order_packets", out_of_order as f64),
            ("generator_dropped_packets", (self.drops.to_generator + self.delivery.refused) as f64),
            ("other_work_percent", other_work_percent(self.spent, self.elapsed)),
        ])
    }
}

/// Starts a server, establishes calls, warms up and measures one load.
fn measure(bench: &Bench, command: &ServerCommand, plan: &Plan) -> Result<Sample> {
    let Plan { calls, peers, payload, burst, packets_per_second } = *plan;
    let load = Load { payload, burst, packets_per_second, tick: bench.tick, duration: bench.load_duration() };
    let server = RunningServer::start(&bench.lab, command, 1, &bench.stop)?;
    let mut calls = Calls::open(&bench.lab, server.address(), calls, peers)?;
    calls.establish(ESTABLISH_AT_ONCE, &bench.stop)?;
    let mut generator = Generator::new(&calls, load.payload, load.burst)?;
    generator.run(&Load { duration: WARM_UP, ..load }, &bench.stop)?;
    let measured = Measured::take(bench, &server.meter(&bench.lab)?, &mut generator, &load)?;
    ensure!(measured.delivery.delivered > 0, "nothing was relayed");
    Ok(measured.sample())
}

const fn per_packet(title: &'static str) -> Metric {
    Metric { key: COST, title, unit: "µs", better: Better::Lower, decimals: 2 }
}

/// The key of the cost per packet.
pub(super) const COST: &str = "cpu_us_per_packet";
/// Bytes of an audio packet.
pub(super) const AUDIO_PAYLOAD: usize = 160;
/// Calls of an audio load.
pub(super) const AUDIO_CALLS: usize = 1000;
/// Peer sockets the calls share.
pub(super) const PEERS: usize = 50;
/// Dialogues under way at any time where their speed is not what is measured.
pub(super) const ESTABLISH_AT_ONCE: usize = 32;
/// What is relayed before measuring begins.
pub(super) const WARM_UP: Duration = Duration::from_millis(400);
