//! How long a packet takes through the server at a moderate load.

use anyhow::{Context, Result};

use crate::calls::Calls;
use crate::rows::relay::{AUDIO_CALLS, AUDIO_PAYLOAD, ESTABLISH_AT_ONCE, Measured, PEERS, WARM_UP};
use crate::rows::{Bench, Metric, Row, Sample};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::{Better, percentile};
use crate::traffic::{Generator, Load};

/// One-way time from the sender's send to the receiver's program.
pub(super) const LATENCY: Row = Row {
    name: "latency",
    about: "1,000 calls × 160 bytes at 75,000 packets/s, about 40 % of what coturn carries; one-way time \
            between the programs at both ends, the generator's own waiting included",
    metrics: &[time("p50_us", "one-way time, median"), time("p99_us", "one-way time, p99")],
    compared: true,
    most_rounds: usize::MAX,
    full_checksums: false,
    measure,
};

/// The same with the kernel relaying at tc.
pub(super) const TC_LATENCY: Row = Row {
    name: "tc-latency",
    about: "the same relayed in the kernel at tc, every checksum computed",
    metrics: &[time("p50_us", "one-way time, median, tc"), time("p99_us", "one-way time, p99, tc")],
    full_checksums: true,
    measure: |bench, command| measure(bench, &command.in_the_kernel("tc")),
    ..LATENCY
};

/// The same with the kernel relaying at XDP.
pub(super) const XDP_LATENCY: Row = Row {
    name: "xdp-latency",
    about: "the same relayed in the kernel at XDP, every checksum computed",
    metrics: &[time("p50_us", "one-way time, median, XDP"), time("p99_us", "one-way time, p99, XDP")],
    full_checksums: true,
    measure: |bench, command| measure(bench, &command.in_the_kernel("xdp")),
    ..LATENCY
};

const fn time(key: &'static str, title: &'static str) -> Metric {
    Metric { key, title, unit: "µs", better: Better::Lower, decimals: 0 }
}

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let server = RunningServer::start(&bench.lab, command, 1, &bench.stop)?;
    let mut calls = Calls::open(&bench.lab, server.address(), AUDIO_CALLS, PEERS)?;
    calls.establish(ESTABLISH_AT_ONCE, &bench.stop)?;
    let mut generator = Generator::new(&calls, AUDIO_PAYLOAD, 1)?;
    let load = Load {
        payload: AUDIO_PAYLOAD,
        burst: 1,
        packets_per_second: 75_000.0,
        tick: bench.tick,
        duration: bench.load_duration(),
    };
    generator.run(&Load { duration: WARM_UP, ..load }, &bench.stop)?;
    let mut measured = Measured::take(bench, &server.meter(&bench.lab)?, &mut generator, &load)?;
    let mut sample = measured.sample();
    for (key, share) in [("p50_us", 0.5), ("p99_us", 0.99)] {
        let time = percentile(&mut measured.delivery.one_way, share).context("no packet was timed")?;
        sample.insert(key, time as f64 / 1000.0);
    }
    Ok(sample)
}
