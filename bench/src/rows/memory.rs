//! Memory for each thousand idle allocations.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::calls::Calls;
use crate::memory::Memory;
use crate::rows::relay::{ESTABLISH_AT_ONCE, PEERS};
use crate::rows::{Bench, Metric, Row, Sample};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;

/// Resident memory per 1,000 allocations with a channel each.
pub(super) const MEMORY: Row = Row {
    name: "memory",
    about: "growth of resident memory from none to 4,000 idle allocations with a channel each",
    metrics: &[Metric {
        key: "resident_mb_per_1000",
        title: "resident memory per 1,000 allocations",
        unit: "MB",
        better: Better::Lower,
        decimals: 2,
    }],
    compared: true,
    most_rounds: usize::MAX,
    full_checksums: false,
    measure,
};

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let count = if bench.quick { 1_000 } else { 4_000 };
    let server = RunningServer::start(&bench.lab, command, 1, &bench.stop)?;
    // The clients' sockets are open before the first look, so that the kernel's growth is the server's.
    let mut calls = Calls::open(&bench.lab, server.address(), count, PEERS)?;
    thread::sleep(SETTLE);
    let before = Memory::of(server.process())?;
    calls.establish(ESTABLISH_AT_ONCE, &bench.stop)?;
    thread::sleep(SETTLE);
    let after = Memory::of(server.process())?;
    let megabytes = |before: u64, after: u64| (after as f64 - before as f64) / 1e6 * 1000.0 / count as f64;
    Ok(Sample::from([
        ("resident_mb_per_1000", megabytes(before.resident, after.resident)),
        ("anonymous_mb_per_1000", megabytes(before.anonymous, after.anonymous)),
        ("machine_kernel_mb_per_1000", megabytes(before.kernel, after.kernel)),
        ("resident_mb_at_start", before.resident as f64 / 1e6),
    ]))
}

/// For what a server does a moment later.
const SETTLE: Duration = Duration::from_millis(500);
