//! A look at everything that is measured, at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use turnpike_control::metrics::{TopUsers, UserTraffic};
use turnpike_worker::Counters;

use super::machine::{Process, UdpDrops};
use super::self_test::Tried;
use crate::operations::{Operations, Serving};
use crate::recording::Tellings;

/// Everything that is measured.
pub(super) struct Readings {
    /// Of all workers together.
    pub(super) counters: Counters,
    /// Packets relayed, by worker.
    pub(super) by_worker: Vec<u64>,
    /// Ports taken and how many there are: of IPv4, of IPv6.
    pub(super) ports: [(u32, u32); 2],
    pub(super) quota_used: u32,
    pub(super) quota: u32,
    pub(super) process: Process,
    pub(super) drops: UdpDrops,
    pub(super) serving: Serving,
    pub(super) started: SystemTime,
    pub(super) certificate: Option<u64>,
    /// Whether the database answers, if there is one.
    pub(super) database: Option<bool>,
    pub(super) lost_lines: u64,
    /// Records of sessions that were kept and lost, by kind of keeper.
    pub(super) records: Vec<(&'static str, u64, u64)>,
    /// What Redis took and did not.
    pub(super) statsdb: Option<(u64, u64)>,
    pub(super) users: Option<Vec<UserTraffic>>,
    pub(super) tried: Option<Tried>,
    /// Bytes a second that may be granted to all together; zero for no limit.
    pub(super) bandwidth: u64,
}

/// How much is used up in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Processors' worth of time.
    pub(super) processors: f64,
    /// Bytes relayed a second, both ways.
    pub(super) bytes: f64,
}

/// What rates are made from: two moments, so that there is always one that is some seconds ago.
#[derive(Debug, Default)]
pub(super) struct Pace {
    earlier: Option<Moment>,
    later: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Instant,
    processor: Duration,
    bytes: u64,
}

impl Readings {
    pub(super) fn take(
        operations: &Operations,
        (lost, users, tried): (&Arc<AtomicU64>, Option<&TopUsers>, Option<Tried>),
    ) -> Self {
        let mut counters = Counters::default();
        let mut by_worker = Vec::with_capacity(operations.workers.len());
        for worker in &operations.workers {
            let of_worker = worker.snapshot.read();
            let relayed = of_worker.stats.relayed();
            by_worker.push(relayed.client_packets + relayed.peer_packets);
            counters.add(&of_worker);
        }
        let (database, quota, bandwidth) = operations.rulebook.read(|parts| {
            let database = parts.database.as_ref().map(|said| !said.users.is_down());
            (database, parts.settings.total_quota, parts.settings.bps_capacity)
        });
        let Tellings { records, statsdb } = &operations.tellings;
        Readings {
            counters,
            by_worker,
            ports: [true, false].map(|ipv4| operations.ports.usage(ipv4)),
            quota_used: operations.quotas.taken(),
            quota,
            process: Process::look(),
            drops: UdpDrops::look(),
            serving: operations.stage.now(),
            started: operations.started,
            certificate: operations.certificates.as_ref().and_then(|it| it.expires()),
            database,
            records: records.iter().map(|it| (it.kind, it.kept(), it.lost())).collect(),
            statsdb: statsdb.as_ref().map(|it| (it.told(), it.lost())),
            lost_lines: lost.load(Ordering::Relaxed) + operations.log.lost(),
            users: users.map(TopUsers::read),
            tried,
            bandwidth,
        }
    }

    /// Relayed ports that are free.
    pub(super) fn free_ports(&self) -> u32 {
        self.ports.iter().map(|(taken, all)| all.saturating_sub(*taken)).sum()
    }

    /// Whether nobody can be given a port any more.
    pub(super) fn is_full(&self) -> bool {
        self.free_ports() == 0 && self.ports.iter().any(|(_, all)| *all > 0)
    }

    /// How full the server is, from 0 to 1 and beyond: that of its limits which is used up most.
    pub(super) fn load(&self, rates: &Rates, processors: usize) -> f64 {
        let share = |used: f64, of: f64| if of > 0.0 { used / of } else { 0.0 };
        let ports = self.ports.map(|(taken, all)| share(taken.into(), all.into()));
        let Process { descriptors, descriptor_limit, .. } = self.process;
        [
            ports[0].max(ports[1]),
            share(descriptors as f64, descriptor_limit as f64),
            share(self.quota_used.into(), self.quota.into()),
            share(rates.processors, processors as f64),
            share(rates.bytes, self.bandwidth as f64),
        ]
        .into_iter()
        .fold(0.0, f64::max)
    }
}

impl Pace {
    /// How much was used up in the last seconds.
    pub(super) fn note(&mut self, readings: &Readings) -> Rates {
        let relayed = readings.counters.stats.relayed();
        let now = Moment {
            at: Instant::now(),
            processor: readings.process.processor,
            bytes: relayed.client_bytes + relayed.peer_bytes,
        };
        if self.later.is_none_or(|later| now.at - later.at >= WHILE) {
            self.earlier = self.later.replace(now);
        }
        let Some(before) = self.earlier.or(self.later) else { return Rates::default() };
        let seconds = (now.at - before.at).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        Rates {
            processors: now.processor.saturating_sub(before.processor).as_secs_f64() / seconds,
            bytes: now.bytes.saturating_sub(before.bytes) as f64 / seconds,
        }
    }
}

/// The least time that rates are taken over, once there has been as much.
const WHILE: Duration = Duration::from_secs(5);
