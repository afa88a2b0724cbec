//! The generator: a few threads, each with its own sockets and its own share of the load. Whoever conducts a run sets
//! the level; the threads follow it, and count.

mod binding;
mod churn;
mod media;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use turnpike_client::{AllocateOptions, ClientConfig, Failure};
use turnpike_wire::{Family, Method};

use super::profile::{Profile, Stream};
use super::recorder::Recorder;
use super::target::Target;
pub(super) use media::CALLS_A_PEER;

/// What all threads of a run share and none changes.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) target: Target,
    pub(super) profile: Profile,
    pub(super) streams: Vec<Stream>,
    pub(super) client: Arc<ClientConfig>,
    /// Where clients come from.
    pub(super) local: IpAddr,
    /// Where peers are.
    pub(super) peer_address: IpAddr,
    pub(super) threads: usize,
    /// Clients of a binding flood, and the most cycles under way, over all threads.
    pub(super) clients: usize,
    pub(super) interval: Duration,
    /// Tells this run's packets from those of others.
    pub(super) run: u32,
}

/// The threads of a run.
pub(super) struct Generator {
    control: Arc<Control>,
    threads: Vec<(Arc<Account>, JoinHandle<Result<()>>)>,
    series: usize,
    interval: u64,
}

/// What the threads are told.
#[derive(Debug)]
struct Control {
    begun: Instant,
    /// Calls with media, or cycles or requests a second, over all threads.
    level: AtomicU32,
    /// Counts up when calls that failed are to be tried again.
    round: AtomicU32,
    stop: AtomicBool,
}

/// What one thread tells.
#[derive(Debug)]
struct Account {
    recorder: Mutex<Recorder>,
    /// Calls that are up, of those that are wanted; or cycles that came to their end.
    established: AtomicU32,
    /// Calls that did not come about, or ended before their time; or cycles, or connections.
    failed: AtomicU32,
    /// Nanoseconds this thread has run on a processor.
    busy: AtomicU64,
    /// Nanoseconds it was ready to run and no processor was free.
    waited: AtomicU64,
    /// Datagrams the kernel had no room for.
    dropped: AtomicU64,
}

/// Calls by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) established: u32,
    pub(super) failed: u32,
}

impl Task {
    /// What every Allocate request asks for.
    pub(super) fn allocate_options(&self) -> AllocateOptions {
        AllocateOptions {
            family: self.peer_address.is_ipv6().then_some(Family::Ipv6),
            ..AllocateOptions::default()
        }
    }

    /// Packets a second that one call sends, each way.
    pub(super) fn packets_per_call(&self) -> f64 {
        self.streams.iter().map(Stream::packets_per_second).sum()
    }

    /// Bits of payload a second that one call sends, each way.
    pub(super) fn bits_per_call(&self) -> f64 {
        self.streams.iter().map(|stream| stream.packets_per_second() * stream.payload as f64 * 8.0).sum()
    }

    /// A thread's part of a number that all share.
    fn share(&self, whole: u32, thread: usize) -> u32 {
        let threads = self.threads.max(1) as u32;
        whole / threads + u32::from((thread as u32) < whole % threads)
    }
}

impl Generator {
    /// Starts the threads at level zero.
    pub(super) fn start(task: &Arc<Task>) -> Result<Self> {
        let control = Arc::new(Control {
            begun: Instant::now(),
            level: AtomicU32::new(0),
            round: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        let series = task.profile.series().len();
        let interval = u64::try_from(task.interval.as_nanos()).unwrap_or(u64::MAX);
        let mut threads = Vec::new();
        for number in 0..task.threads {
            let account = Arc::new(Account {
                recorder: Mutex::new(Recorder::new(series, interval)),
                established: AtomicU32::new(0),
                failed: AtomicU32::new(0),
                busy: AtomicU64::new(0),
                waited: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
            });
            let (task, control, theirs) = (Arc::clone(task), Arc::clone(&control), Arc::clone(&account));
            let thread = std::thread::Builder::new()
                .name(format!("load-{number}"))
                .spawn(move || match task.profile {
                    Profile::Audio | Profile::Video | Profile::Mixed => {
                        media::run(&task, &control, &theirs, number)
                    }
                    Profile::Churn => churn::run(&task, &control, &theirs),
                    Profile::Binding => binding::run(&task, &control, &theirs),
                })
                .context("cannot start a thread")?;
            threads.push((account, thread));
        }
        Ok(Generator { control, threads, series, interval })
    }

    /// Time since the start; intervals are counted from there.
    pub(super) fn elapsed(&self) -> Duration {
        self.control.begun.elapsed()
    }

    pub(super) fn set_level(&self, level: u32) {
        self.control.level.store(level, Ordering::Relaxed);
    }

    /// Has calls that failed tried again.
    pub(super) fn try_again(&self) {
        self.control.round.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls by what became of them: of those that are wanted now, as of a moment ago.
    pub(super) fn progress(&self) -> Progress {
        self.threads.iter().fold(Progress::default(), |sum, (account, _)| Progress {
            established: sum.established + account.established.load(Ordering::Relaxed),
            failed: sum.failed + account.failed.load(Ordering::Relaxed),
        })
    }

    /// Processor time of all threads so far.
    pub(super) fn busy(&self) -> Duration {
        let busy = |(account, _): &(Arc<Account>, _)| account.busy.load(Ordering::Relaxed);
        Duration::from_nanos(self.threads.iter().map(busy).sum())
    }

    /// Time all threads have waited for a processor so far.
    pub(super) fn waited(&self) -> Duration {
        let waited = |(account, _): &(Arc<Account>, _)| account.waited.load(Ordering::Relaxed);
        Duration::from_nanos(self.threads.iter().map(waited).sum())
    }

    /// Datagrams the kernel had no room for.
    pub(super) fn dropped(&self) -> u64 {
        self.threads.iter().map(|(account, _)| account.dropped.load(Ordering::Relaxed)).sum()
    }

    /// What all threads have counted so far in these intervals, and since the beginning about calls.
    pub(super) fn look(&self, intervals: std::ops::Range<usize>) -> Recorder {
        let mut sum = Recorder::new(self.series, self.interval);
        for (account, _) in &self.threads {
            let mut part = Recorder::new(self.series, self.interval);
            let recorder = account.lock();
            let end = intervals.end.min(recorder.intervals.len());
            for index in intervals.start.min(end)..end {
                part.at(index as u64 * self.interval).merge(&recorder.intervals[index]);
            }
            part.set_up = recorder.set_up.clone();
            part.failures.clone_from(&recorder.failures);
            drop(recorder);
            sum.merge(&part);
        }
        sum
    }

    /// Whether a thread has ended before its time.
    pub(super) fn has_failed(&self) -> bool {
        self.threads.iter().any(|(_, thread)| thread.is_finished())
    }

    /// Tells the threads to stop, and waits until the last packets are in and the allocations given back.
    pub(super) fn finish(self) -> Result<Recorder> {
        self.control.stop.store(true, Ordering::Relaxed);
        let mut sum = Recorder::new(self.series, self.interval);
        let mut outcome = Ok(());
        for (account, thread) in self.threads {
            let ended = thread.join().unwrap_or_else(|_| Err(anyhow!("a thread of the generator panicked")));
            outcome = outcome.and(ended);
            sum.merge(&account.lock());
        }
        outcome.map(|()| sum)
    }
}

impl Control {
    /// Nanoseconds since the run began.
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn level(&self) -> u32 {
        self.level.load(Ordering::Relaxed)
    }

    fn round(&self) -> u32 {
        self.round.load(Ordering::Relaxed)
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Account {
    fn lock(&self) -> MutexGuard<'_, Recorder> {
        // What was counted stays true whatever became of a thread.
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_busy(&self) {
        // Nanoseconds on a processor, and nanoseconds waiting for one.
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        for (place, number) in [&self.busy, &self.waited].into_iter().zip(schedstat.split_whitespace()) {
            if let Ok(nanoseconds) = number.parse() {
                place.store(nanoseconds, Ordering::Relaxed);
            }
        }
    }
}

/// Something that happens so often a second, at even distances: due times that do not depend on when one looks.
#[derive(Debug, Default)]
struct Pace {
    last: Option<u64>,
    period: u64,
}

impl Pace {
    /// The next moment that has come, at this many a second; `None` if none has.
    fn due(&mut self, now: u64, per_second: f64) -> Option<u64> {
        if per_second <= 0.0 {
            *self = Pace::default();
            return None;
        }
        self.period = ((1e9 / per_second) as u64).max(1);
        let due = self.last.map_or(now, |last| last + self.period);
        (due <= now).then(|| *self.last.insert(due))
    }

    /// How long until the next one.
    fn patience(&self, now: u64) -> Duration {
        let next = self.last.map(|last| Duration::from_nanos((last + self.period).saturating_sub(now)));
        next.map_or(TURN, |next| next.min(TURN))
    }
}

/// A request's failure in words that are the same for all calls it happens to.
pub(super) fn failure_text(method: Method, failure: &Failure) -> String {
    format!("{}: {failure}", method.name().unwrap_or("request"))
}

/// The longest a thread waits before it looks what it is told.
const TURN: Duration = Duration::from_millis(10);
/// How often clients' timers are looked at: they count in hundreds of milliseconds.
const TIMER_TICK: u64 = 50_000_000;
/// Further behind than this, what is due is given up and counted, not sent in a burst.
const HOPELESS: u64 = 500_000_000;
/// Packets sent before looking at what arrived.
const CATCH_UP: u32 = 64;
/// How long to wait for the last packets.
const DRAIN: u64 = 500_000_000;
/// How long to wait for allocations to be given back.
const GOODBYE: u64 = 2_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_keeps_its_moments_however_late_one_looks() {
        let mut pace = Pace::default();
        assert_eq!(pace.due(5_000, 0.0), None);
        assert_eq!(pace.due(1_000_000, 1000.0), Some(1_000_000));
        assert_eq!(pace.due(1_500_000, 1000.0), None);
        assert_eq!(pace.patience(1_500_000), Duration::from_micros(500));
        let late: Vec<u64> = std::iter::from_fn(|| pace.due(4_700_000, 1000.0)).collect();
        assert_eq!(late, [2_000_000, 3_000_000, 4_000_000]);
        // A faster pace counts from the last moment.
        assert_eq!(pace.due(4_700_000, 2000.0), Some(4_500_000));
        pace.due(4_800_000, 0.0);
        assert_eq!(pace.due(9_000_000, 1000.0), Some(9_000_000));
    }
}
