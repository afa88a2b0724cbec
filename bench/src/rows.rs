//! What can be measured. Each row starts a fresh server, measures once and says what it saw.

mod allocate;
mod binding;
mod churn;
mod database;
mod dtls;
mod frames;
mod hold;
mod idle;
mod latency;
mod memory;
mod program;
mod relay;
mod saturation;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::arguments::Against;
use crate::lab::Lab;
use crate::million_users::MillionUsers;
use crate::processor_time::ProcessorTime;
use crate::server::ServerCommand;
use crate::statistics::Better;
use crate::stop::Stop;

/// One kind of measurement.
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) about: &'static str,
    /// What of its samples is compared.
    pub(crate) metrics: &'static [Metric],
    /// Whether coturn is measured too.
    pub(crate) compared: bool,
    /// Rounds at most: for rows that take long.
    pub(crate) most_rounds: usize,
    /// Whether every checksum is computed: what is left to hardware that is not there cannot be relayed in the kernel.
    pub(crate) full_checksums: bool,
    /// Measures one server once.
    pub(crate) measure: fn(&Bench, &ServerCommand) -> Result<Sample>,
}

/// One compared figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// Its key in a [`Sample`].
    pub(crate) key: &'static str,
    /// Its name in tables.
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// Digits after the point in tables.
    pub(crate) decimals: usize,
}

/// What one measurement gave, by name: the row's metrics, and whatever else helps to judge them.
pub(crate) type Sample = BTreeMap<&'static str, f64>;

/// Why something cannot be measured here: no failure, but a fact of this machine or this server.
#[derive(Debug)]
pub(crate) struct NotMeasured(pub(crate) String);

impl fmt::Display for NotMeasured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NotMeasured {}

/// What every measurement needs.
pub(crate) struct Bench {
    /// Ended before the laboratory is, which holds its files.
    pub(crate) million_users: MillionUsers,
    pub(crate) lab: Lab,
    pub(crate) stop: Stop,
    /// Shorter runs, for trying out.
    pub(crate) quick: bool,
    /// How often a group of packets is sent.
    pub(crate) tick: Duration,
    /// Descriptors a process may have open.
    pub(crate) descriptors: u64,
}

impl Bench {
    /// How long one load lasts.
    pub(crate) fn load_duration(&self) -> Duration {
        Duration::from_millis(if self.quick { 1000 } else { 3000 })
    }
}

/// All rows in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    relay::AUDIO,
    relay::VIDEO,
    relay::FEW_PORTS,
    relay::TC_AUDIO,
    relay::TC_VIDEO,
    relay::XDP_AUDIO,
    frames::FRAMES,
    program::PROGRAM,
    saturation::SATURATION,
    latency::LATENCY,
    latency::TC_LATENCY,
    latency::XDP_LATENCY,
    allocate::ALLOCATE,
    churn::CHURN,
    database::SQLITE,
    database::POSTGRES,
    memory::MEMORY,
    binding::BINDING,
    tls::TLS,
    dtls::DTLS,
    idle::IDLE,
    hold::HOLD,
];

/// The rows of these names, or all. Between two servers of ours, those that measure no server are left out.
pub(crate) fn select(names: &[String], against: Against) -> Result<Vec<&'static Row>> {
    let fits = |row: &&Row| against == Against::Coturn || !WITHOUT_SERVER.contains(&row.name);
    let known: Vec<&'static Row> = ROWS.iter().filter(fits).collect();
    if let Some(unknown) = names.iter().find(|name| known.iter().all(|row| row.name != **name)) {
        let known: Vec<&str> = known.iter().map(|row| row.name).collect();
        bail!("no row is called {unknown:?}; there are: {}", known.join(", "));
    }
    Ok(known
        .into_iter()
        .filter(|row| names.is_empty() || names.iter().any(|name| name == row.name))
        .collect())
}

/// Microseconds of `time` for each of `count`.
fn microseconds_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

/// What noise there was: percent of the elapsed time the server's core spent on anything uncounted.
fn other_work_percent(spent: ProcessorTime, elapsed: Duration) -> f64 {
    let uncounted = elapsed.saturating_sub(spent.core_idle + spent.total());
    100.0 * uncounted.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// 1 if the server's core had time to rest, so that a rate says nothing about the server; 0 otherwise.
fn generator_limited(spent: ProcessorTime, elapsed: Duration) -> f64 {
    if spent.core_idle.as_secs_f64() > 0.1 * elapsed.as_secs_f64() { 1.0 } else { 0.0 }
}

/// Rows that measure what is built into this program.
const WITHOUT_SERVER: &[&str] = &["program"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_name_and_an_unknown_name_lists_the_known() {
        let select = |names: &[&str], against| {
            super::select(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), against)
        };
        assert_eq!(select(&[], Against::Coturn).unwrap().len(), ROWS.len());
        let chosen = select(&["binding", "audio"], Against::Coturn).unwrap();
        assert_eq!(chosen.iter().map(|row| row.name).collect::<Vec<_>>(), ["audio", "binding"]);
        let Err(error) = select(&["vidoe"], Against::Coturn) else { panic!("accepted") };
        assert!(error.to_string().contains("video"));
        assert!(
            select(&["program"], Against::Coturn).is_ok() && select(&["program"], Against::Older).is_err()
        );
    }

    #[test]
    fn work_that_was_not_counted_is_a_share_of_the_elapsed_time() {
        let spent = ProcessorTime {
            threads: Duration::from_millis(300),
            receive: Duration::from_millis(100),
            core_idle: Duration::from_millis(500),
        };
        assert_eq!(other_work_percent(spent, Duration::from_secs(1)).round(), 10.0);
        assert_eq!(generator_limited(spent, Duration::from_secs(1)), 1.0);
        assert_eq!(generator_limited(spent, Duration::from_secs(6)), 0.0);
        assert_eq!(microseconds_each(Duration::from_millis(2), 1000), 2.0);
    }
}
