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
    measure: |bench, command| {
        let load = Load {
            payload: AUDIO_PAYLOAD,
            burst: 1,
            packets_per_second: 50_000.0,
            tick: bench.tick,
            duration: bench.load_duration(),
        };
        measure(bench, command, AUDIO_CALLS, &load)
    },
};

/// A hundred calls of video.
pub(super) const VIDEO: Row = Row {
    name: "video",
    about: "100 calls × 1,200 bytes in back-to-back bursts of 8, 40,000 packets/s over both directions",
    metrics: &[per_packet("CPU per relayed packet, video")],
    compared: true,
    most_rounds: usize::MAX,
    measure: |bench, command| {
        let load = Load {
            payload: 1200,
            burst: 8,
            packets_per_second: 40_000.0,
            tick: bench.tick,
            duration: bench.load_duration(),
        };
        measure(bench, command, 100, &load)
    },
};

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
fn measure(bench: &Bench, command: &ServerCommand, count: usize, load: &Load) -> Result<Sample> {
    let server = RunningServer::start(&bench.lab, command, 1, &bench.stop)?;
    let mut calls = Calls::open(&bench.lab, server.address(), count, PEERS)?;
    calls.establish(ESTABLISH_AT_ONCE, &bench.stop)?;
    let mut generator = Generator::new(&calls, load.payload, load.burst)?;
    generator.run(&Load { duration: WARM_UP, ..*load }, &bench.stop)?;
    let measured = Measured::take(bench, &server.meter(&bench.lab)?, &mut generator, load)?;
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
