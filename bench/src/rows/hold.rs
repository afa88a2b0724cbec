//! As many allocations as descriptors allow, held by one process over several relay addresses.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::calls::Calls;
use crate::lab::RELAY_ADDRESSES;
use crate::memory::Memory;
use crate::rows::relay::{AUDIO_PAYLOAD, ESTABLISH_AT_ONCE, Measured, PEERS, WARM_UP};
use crate::rows::{Bench, Metric, Row, Sample};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;
use crate::traffic::{Generator, Load};

/// Cost per packet with ever more allocations, and memory of the idle ones.
pub(super) const HOLD: Row = Row {
    name: "hold",
    about: "1,000, 16,000 and as many allocations as descriptors allow, over four relay addresses; 50,000 \
            packets/s of 160 bytes spread over all of them",
    metrics: &[
        Metric {
            key: "allocations",
            title: "allocations held at once",
            unit: "",
            better: Better::Higher,
            decimals: 0,
        },
        cost("cost_1000_us", "CPU per packet with 1,000 allocations"),
        cost("cost_16000_us", "CPU per packet with 16,000 allocations"),
        cost("cost_most_us", "CPU per packet with all of them"),
        Metric {
            key: "growth_16000",
            title: "cost with 16,000 allocations, of that with 1,000",
            unit: "",
            better: Better::Lower,
            decimals: 2,
        },
        Metric {
            key: "bytes_per_allocation",
            title: "user-space bytes per idle allocation",
            unit: "bytes",
            better: Better::Lower,
            decimals: 0,
        },
    ],
    compared: false,
    most_rounds: 3,
    full_checksums: false,
    measure,
};

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let most = (bench.descriptors as usize).saturating_sub(SPARE_DESCRIPTORS);
    let mut sample = Sample::new();
    let steps = [(1_000, "cost_1000_us"), (16_000, "cost_16000_us"), (most, "cost_most_us")];
    for (count, key) in steps.into_iter().filter(|(count, _)| *count <= most) {
        let held = hold(bench, command, count)?;
        let loss = held.measured.server_loss_percent();
        sample.insert(key, held.measured.cost());
        sample.insert("allocations", count as f64);
        sample.insert("bytes_per_allocation", held.bytes_per_allocation);
        sample.insert("machine_kernel_bytes_per_allocation", held.kernel_bytes_per_allocation);
        sample.insert("bad_packets", held.measured.delivery.bad as f64);
        sample.insert("loss_percent", loss.max(sample.get("loss_percent").copied().unwrap_or(0.0)));
    }
    if let (Some(few), Some(many)) = (sample.get("cost_1000_us"), sample.get("cost_16000_us")) {
        sample.insert("growth_16000", many / few);
    }
    Ok(sample)
}

struct Held {
    measured: Measured,
    bytes_per_allocation: f64,
    kernel_bytes_per_allocation: f64,
}

fn hold(bench: &Bench, command: &ServerCommand, count: usize) -> Result<Held> {
    let server = RunningServer::start(&bench.lab, command, RELAY_ADDRESSES, &bench.stop)?;
    let mut calls = Calls::open(&bench.lab, server.address(), count, PEERS)?;
    thread::sleep(SETTLE);
    let before = Memory::of(server.process())?;
    calls.establish(ESTABLISH_AT_ONCE, &bench.stop)?;
    thread::sleep(SETTLE);
    let after = Memory::of(server.process())?;
    let each = |before: u64, after: u64| (after as f64 - before as f64) / count as f64;
    let mut generator = Generator::new(&calls, AUDIO_PAYLOAD, 1)?;
    let load = Load {
        payload: AUDIO_PAYLOAD,
        burst: 1,
        packets_per_second: 50_000.0,
        tick: bench.tick,
        duration: bench.load_duration(),
    };
    generator.run(&Load { duration: WARM_UP, ..load }, &bench.stop)?;
    let measured = Measured::take(bench, &server.meter(&bench.lab)?, &mut generator, &load)?;
    Ok(Held {
        measured,
        bytes_per_allocation: each(before.anonymous, after.anonymous),
        kernel_bytes_per_allocation: each(before.kernel, after.kernel),
    })
}

const fn cost(key: &'static str, title: &'static str) -> Metric {
    Metric { key, title, unit: "µs", better: Better::Lower, decimals: 2 }
}

/// Descriptors that are no relay or client socket: listeners, logs, peers.
const SPARE_DESCRIPTORS: usize = 150;
const SETTLE: Duration = Duration::from_millis(500);
