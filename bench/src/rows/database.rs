//! What it takes to let in users out of a database, none of whom was asked for before.

use anyhow::{Context, Result};

use crate::calls::Calls;
use crate::million_users::MillionUsers;
use crate::rows::relay::PEERS;
use crate::rows::{Bench, Metric, Row, Sample, microseconds_each, other_work_percent};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::{Better, percentile};

/// A file beside the server.
pub(super) const SQLITE: Row = Row {
    name: "sqlite",
    about: "a million users in SQLite, each allocating for the first time: 1,000 one after the other, then 8,000, 128 \
            dialogues at a time",
    metrics: &[
        time("p50_us", "challenge + Allocate of a user in SQLite, median"),
        time("p99_us", "challenge + Allocate of a user in SQLite, p99"),
        rate("calls_per_second", "Allocate + ChannelBind of users in SQLite"),
    ],
    compared: true,
    most_rounds: 3,
    full_checksums: false,
    measure: |bench, command| measure(bench, command, bench.million_users.in_sqlite(&bench.lab)?),
};

/// A server on the same machine, on the generator's core.
pub(super) const POSTGRES: Row = Row {
    name: "postgres",
    about: "the same in PostgreSQL, on a local socket and on the generator's core",
    metrics: &[
        time("p50_us", "challenge + Allocate of a user in PostgreSQL, median"),
        time("p99_us", "challenge + Allocate of a user in PostgreSQL, p99"),
        rate("calls_per_second", "Allocate + ChannelBind of users in PostgreSQL"),
    ],
    measure: |bench, command| measure(bench, command, bench.million_users.in_postgres(&bench.lab)?),
    ..SQLITE
};

const fn time(key: &'static str, title: &'static str) -> Metric {
    Metric { key, title, unit: "µs", better: Better::Lower, decimals: 0 }
}

const fn rate(key: &'static str, title: &'static str) -> Metric {
    Metric { key, title, unit: "calls/s", better: Better::Higher, decimals: 0 }
}

fn measure(bench: &Bench, command: &ServerCommand, database: String) -> Result<Sample> {
    let mut command = command.clone();
    command.extra.push(database);
    let (alone, together) = if bench.quick { (200, 2_000) } else { (1_000, 8_000) };
    let server = RunningServer::start(&bench.lab, &command, 1, &bench.stop)?;
    let open = |count, first: usize| {
        let calls = Calls::open(&bench.lab, server.address(), count, PEERS)?;
        Ok::<_, anyhow::Error>(calls.of_users(|call| MillionUsers::user(first + call)))
    };
    // Both at once: a port that is free again may have an allocation still.
    let (mut first, mut calls) = (open(alone, 0)?, open(together, alone)?);
    let mut times = first.establish(1, &bench.stop)?.allocated_after;
    let meter = server.meter(&bench.lab)?;
    let before = meter.read()?;
    let establishment = calls.establish(128, &bench.stop)?;
    let spent = meter.since(before)?;
    let mut sample = Sample::from([
        ("calls_per_second", together as f64 / establishment.elapsed.as_secs_f64()),
        ("cpu_us_per_call", microseconds_each(spent.total(), together as u64)),
        ("retransmitted_requests", establishment.retransmitted as f64),
        ("other_work_percent", other_work_percent(spent, establishment.elapsed)),
    ]);
    for (key, share) in [("p50_us", 0.5), ("p99_us", 0.99)] {
        let nanoseconds = percentile(&mut times, share).context("nobody was let in")?;
        sample.insert(key, nanoseconds as f64 / 1000.0);
    }
    Ok(sample)
}
