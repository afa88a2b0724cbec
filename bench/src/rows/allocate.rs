//! How fast and at what cost calls are set up.

use anyhow::Result;

use crate::calls::Calls;
use crate::rows::relay::PEERS;
use crate::rows::{Bench, Metric, Row, Sample, generator_limited, microseconds_each, other_work_percent};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;

/// Allocate (with the challenge before it) and ChannelBind, as fast as the server answers.
pub(super) const ALLOCATE: Row = Row {
    name: "allocate",
    about: "8,000 clients on sockets of their own: challenge, Allocate, ChannelBind; 128 dialogues at a time",
    metrics: &[
        Metric {
            key: "calls_per_second",
            title: "Allocate + ChannelBind",
            unit: "calls/s",
            better: Better::Higher,
            decimals: 0,
        },
        Metric {
            key: "cpu_us_per_call",
            title: "CPU per Allocate + ChannelBind",
            unit: "µs",
            better: Better::Lower,
            decimals: 1,
        },
    ],
    compared: true,
    most_rounds: usize::MAX,
    full_checksums: false,
    measure,
};

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let count = if bench.quick { 2_000 } else { 8_000 };
    let server = RunningServer::start(&bench.lab, command, 1, &bench.stop)?;
    let mut calls = Calls::open(&bench.lab, server.address(), count, PEERS)?;
    let meter = server.meter(&bench.lab)?;
    let before = meter.read()?;
    let establishment = calls.establish(128, &bench.stop)?;
    let spent = meter.since(before)?;
    let elapsed = establishment.elapsed;
    Ok(Sample::from([
        ("calls_per_second", count as f64 / elapsed.as_secs_f64()),
        ("cpu_us_per_call", microseconds_each(spent.total(), count as u64)),
        ("threads_us_per_call", microseconds_each(spent.threads, count as u64)),
        ("retransmitted_requests", establishment.retransmitted as f64),
        ("server_core_percent", 100.0 * spent.total().as_secs_f64() / elapsed.as_secs_f64()),
        ("generator_limited", generator_limited(spent, elapsed)),
        ("other_work_percent", other_work_percent(spent, elapsed)),
    ]))
}
