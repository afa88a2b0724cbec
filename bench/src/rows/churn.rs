//! Calls that come and go, as fast as the server answers.

use anyhow::Result;

use crate::calls::Calls;
use crate::rows::relay::PEERS;
use crate::rows::{Bench, Metric, Row, Sample, generator_limited, microseconds_each, other_work_percent};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;

/// Whole lives of allocations: Allocate (with the challenge before it), ChannelBind, Refresh, delete.
pub(super) const CHURN: Row = Row {
    name: "churn",
    about: "8,000 clients on sockets of their own: challenge, Allocate, ChannelBind, Refresh, Refresh to zero; 128 dialogues \
            at a time",
    metrics: &[
        Metric {
            key: "cycles_per_second",
            title: "Allocate + ChannelBind + Refresh + delete",
            unit: "cycles/s",
            better: Better::Higher,
            decimals: 0,
        },
        Metric {
            key: "cpu_us_per_cycle",
            title: "CPU per Allocate + ChannelBind + Refresh + delete",
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
    let lives = calls.come_and_go(128, &bench.stop)?;
    let spent = meter.since(before)?;
    let elapsed = lives.elapsed;
    Ok(Sample::from([
        ("cycles_per_second", count as f64 / elapsed.as_secs_f64()),
        ("cpu_us_per_cycle", microseconds_each(spent.total(), count as u64)),
        ("threads_us_per_cycle", microseconds_each(spent.threads, count as u64)),
        ("retransmitted_requests", lives.retransmitted as f64),
        ("server_core_percent", 100.0 * spent.total().as_secs_f64() / elapsed.as_secs_f64()),
        ("generator_limited", generator_limited(spent, elapsed)),
        ("other_work_percent", other_work_percent(spent, elapsed)),
    ]))
}
