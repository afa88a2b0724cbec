//! The most packets a second one core relays while it loses less than one in a hundred.

use std::time::Duration;

use anyhow::Result;

use crate::calls::Calls;
use crate::rows::relay::{AUDIO_CALLS, AUDIO_PAYLOAD, COST, ESTABLISH_AT_ONCE, Measured, PEERS};
use crate::rows::{Bench, Metric, Row, Sample};
use crate::server::{RunningServer, ServerCommand};
use crate::statistics::Better;
use crate::traffic::{Generator, Load};

/// Packets a second at saturation.
pub(super) const SATURATION: Row = Row {
    name: "saturation",
    about: "1,000 calls × 160 bytes, both directions, raised until 1 % is lost",
    metrics: &[
        Metric {
            key: "packets_per_second",
            title: "packets/s on one core, loss < 1 %",
            unit: "packets/s",
            better: Better::Higher,
            decimals: 0,
        },
        Metric {
            key: "packets_per_cpu_second",
            title: "packets per CPU-second at that load",
            unit: "packets",
            better: Better::Higher,
            decimals: 0,
        },
    ],
    compared: true,
    most_rounds: usize::MAX,
    full_checksums: false,
    measure,
};

/// How a load went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Kept,
    /// The server lost too much.
    ServerLost,
    /// The generator could not send or take so much: nothing is known about the server.
    GeneratorFailed,
}

fn measure(bench: &Bench, command: &ServerCommand) -> Result<Sample> {
    let server = RunningServer::start(&bench.lab, command, 1, &bench.stop)?;
    let mut calls = Calls::open(&bench.lab, server.address(), AUDIO_CALLS, PEERS)?;
    calls.establish(ESTABLISH_AT_ONCE, &bench.stop)?;
    let mut generator = Generator::new(&calls, AUDIO_PAYLOAD, 1)?;
    let meter = server.meter(&bench.lab)?;
    let duration = Duration::from_millis(if bench.quick { 400 } else { 1000 });
    let mut search = Search::new(LOWEST_RATE);
    let mut best: Option<Measured> = None;
    let mut limited = false;
    while let Some(packets_per_second) = search.next() {
        let load = Load { payload: AUDIO_PAYLOAD, burst: 1, packets_per_second, tick: bench.tick, duration };
        let mut measured = Measured::take(bench, &meter, &mut generator, &load)?;
        let mut outcome = judge(&measured, packets_per_second);
        if outcome != Outcome::Kept {
            // Whatever else runs on the machine may have got in the way: only failing twice counts.
            measured = Measured::take(bench, &meter, &mut generator, &load)?;
            outcome = judge(&measured, packets_per_second);
        }
        search.learn(outcome == Outcome::Kept);
        match outcome {
            Outcome::Kept => best = Some(measured),
            Outcome::ServerLost => limited = false,
            Outcome::GeneratorFailed => limited = true,
        }
    }
    let Some(best) = best else { return Ok(Sample::from([("packets_per_second", 0.0)])) };
    let mut sample = best.sample();
    let rate = best.delivery.delivered as f64 / best.delivery.sending.as_secs_f64();
    sample.insert("packets_per_second", rate);
    sample.insert("generator_limited", f64::from(u8::from(limited)));
    // Unlike the rate, this does not depend on how fast the generator is.
    sample.insert("packets_per_cpu_second", 1e6 / sample[COST]);
    Ok(sample)
}

fn judge(measured: &Measured, asked: f64) -> Outcome {
    let lost_by_generator = (measured.drops.to_generator + measured.delivery.refused) as f64;
    if measured.server_loss_percent() >= 1.0 {
        Outcome::ServerLost
    } else if measured.delivery.offered_rate() < asked * 0.97
        || lost_by_generator > measured.delivery.sent as f64 * 0.01
    {
        Outcome::GeneratorFailed
    } else {
        Outcome::Kept
    }
}

/// Looks for the highest rate that is kept: upwards by a quarter, then by halving.
struct Search {
    rate: f64,
    kept: f64,
    failed: Option<f64>,
    halvings: u32,
}

impl Search {
    fn new(lowest: f64) -> Self {
        Search { rate: lowest, kept: 0.0, failed: None, halvings: 0 }
    }

    /// The rate to try, until the search is over.
    fn next(&self) -> Option<f64> {
        (self.halvings <= HALVINGS && self.rate < HIGHEST_RATE && self.rate > LOWEST_RATE / 8.0)
            .then_some(self.rate)
    }

    fn learn(&mut self, kept: bool) {
        if kept {
            self.kept = self.rate;
        } else {
            self.failed = Some(self.rate);
        }
        match self.failed {
            None => self.rate *= 1.25,
            Some(failed) => {
                self.rate = f64::midpoint(self.kept, failed);
                self.halvings += 1;
            }
        }
    }
}

const LOWEST_RATE: f64 = 60_000.0;
const HIGHEST_RATE: f64 = 2_000_000.0;
const HALVINGS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_close_below_the_capacity() {
        for capacity in [30_000.0, 100_000.0, 192_000.0, 700_000.0] {
            let mut search = Search::new(LOWEST_RATE);
            let mut tries = 0;
            while let Some(rate) = search.next() {
                search.learn(rate <= capacity);
                tries += 1;
            }
            assert!(search.kept <= capacity && search.kept > capacity * 0.93, "{capacity}: {}", search.kept);
            assert!(tries < 25, "{capacity}: {tries}");
        }
    }

    #[test]
    fn a_server_that_keeps_nothing_ends_the_search() {
        let mut search = Search::new(LOWEST_RATE);
        let mut tries = 0;
        while search.next().is_some() {
            search.learn(false);
            tries += 1;
        }
        assert!(tries < 10);
        assert_eq!(search.kept, 0.0);
    }
}
