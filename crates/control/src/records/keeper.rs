//! One keeper of records with its queue and thread: it is tried again and again, less and less often, and what does not
//! fit meanwhile is lost and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::SessionRecord;
use crate::log::Log;

/// Somebody who keeps records.
pub trait Keeper: Send {
    /// What it is, for people; no secrets.
    fn name(&self) -> String;

    /// What kind of keeper it is, in a word.
    fn kind(&self) -> &'static str;

    /// The hosts that it writes to.
    fn hosts(&self) -> Vec<String> {
        Vec::new()
    }

    /// Keeps all of these, and may take its time. None of them were kept if it fails, or all of them, and then they come
    /// again.
    ///
    /// # Errors
    /// Why not, and whether it is worth trying again.
    fn keep(&mut self, records: &[Arc<SessionRecord>]) -> Result<(), Failure>;
}

/// Why records were not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The same records may be taken later.
    Later(String),
    /// These records will never be taken.
    Never(String),
}

/// What became of a keeper's records.
#[derive(Debug)]
pub struct KeeperCounters {
    /// What the keeper is.
    pub name: String,
    /// What kind it is of.
    pub kind: &'static str,
    kept: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug)]
pub(super) struct KeeperThread {
    counters: Arc<KeeperCounters>,
    closing: Arc<AtomicBool>,
    /// Absent once there is nothing more to come.
    queue: Option<SyncSender<Arc<SessionRecord>>>,
    thread: JoinHandle<()>,
}

struct Work {
    keeper: Box<dyn Keeper>,
    records: Receiver<Arc<SessionRecord>>,
    counters: Arc<KeeperCounters>,
    closing: Arc<AtomicBool>,
    log: Arc<Log>,
    /// How many were lost when that was last said.
    lost_told: u64,
    is_down: bool,
    is_refusing: bool,
}

impl KeeperCounters {
    /// Records that are kept.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Records that are lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl KeeperThread {
    pub(super) fn start(keeper: Box<dyn Keeper>, log: Arc<Log>) -> std::io::Result<Self> {
        let (queue, records) = sync_channel(QUEUE);
        let (kept, lost) = (AtomicU64::new(0), AtomicU64::new(0));
        let counters = Arc::new(KeeperCounters { name: keeper.name(), kind: keeper.kind(), kept, lost });
        let closing = Arc::new(AtomicBool::new(false));
        let work = Work {
            keeper,
            records,
            counters: counters.clone(),
            closing: closing.clone(),
            log,
            lost_told: 0,
            is_down: false,
            is_refusing: false,
        };
        let thread = thread::Builder::new().name("records".into()).spawn(move || work.run())?;
        Ok(KeeperThread { counters, closing, queue: Some(queue), thread })
    }

    /// Never waits.
    pub(super) fn hand_over(&self, record: Arc<SessionRecord>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(record) {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counters(&self) -> Arc<KeeperCounters> {
        self.counters.clone()
    }
}

/// What waits is kept, if all of them can do that soon.
pub(super) fn close(keepers: &mut [KeeperThread], log: &Log) {
    for keeper in &mut *keepers {
        keeper.queue = None;
        keeper.closing.store(true, Ordering::Release);
        keeper.thread.thread().unpark();
    }
    let deadline = Instant::now() + LAST_CHANCE;
    for keeper in keepers {
        while !keeper.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if !keeper.thread.is_finished() {
            let name = &keeper.counters.name;
            log.warning(&format!("Session records: those that still waited are lost to {name}"));
        }
    }
}

impl Work {
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Ok(first) = self.records.recv() {
            batch.push(first);
            batch.extend(self.records.try_iter().take(BATCH - 1));
            self.keep(&batch);
            batch.clear();
            self.tell_losses();
        }
        self.tell_losses();
    }

    fn keep(&mut self, batch: &[Arc<SessionRecord>]) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.keeper.keep(batch) {
                Ok(()) => {
                    self.counters.kept.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    self.is_refusing = false;
                    if std::mem::take(&mut self.is_down) {
                        self.log.info(&format!("Session records: {} takes them again", self.counters.name));
                    }
                    return;
                }
                Err(Failure::Later(why)) => self.tell_down(&why),
                Err(Failure::Never(_)) if batch.len() > 1 => {
                    // It may be one of them that is refused, or their number.
                    let (one, other) = batch.split_at(batch.len() / 2);
                    self.keep(one);
                    return self.keep(other);
                }
                Err(Failure::Never(why)) => {
                    self.tell_refused(&why);
                    break;
                }
            }
            // At the end of the process there is one more chance, and no other.
            if self.closing.load(Ordering::Acquire) {
                break;
            }
            thread::park_timeout(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
        self.counters.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
    }

    /// Once, until some are taken; how many were lost is told batch by batch.
    fn tell_refused(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_refusing, true) {
            let name = &self.counters.name;
            self.log.error(&format!("Session records: {name} refuses some of them for good: {why}"));
        }
    }

    fn tell_down(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_down, true) {
            self.log.error(&format!(
                "Session records: {} does not take them; calls go on, {QUEUE} records wait, and more are lost: {why}",
                self.counters.name
            ));
        }
    }

    /// Not while it is down: then there will be more.
    fn tell_losses(&mut self) {
        let lost = self.counters.lost();
        if lost > self.lost_told {
            let (now, name) = (lost - self.lost_told, &self.counters.name);
            self.log.warning(&format!("Session records: {now} of them were lost to {name}"));
            self.lost_told = lost;
        }
    }
}

/// Records that may wait for one keeper; each takes about half a kilobyte.
const QUEUE: usize = 20_000;
/// Records that a keeper is given at once.
const BATCH: usize = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long the end of the process waits for a keeper.
const LAST_CHANCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Level, LogDestination, LogFormat, LogOptions, Value};
    use std::sync::mpsc::{Sender, channel};

    /// Refuses so many times, then takes all; tells what it was given.
    struct Fickle {
        refusals: u32,
        given: Sender<usize>,
    }

    impl Keeper for Fickle {
        fn name(&self) -> String {
            "somebody".into()
        }

        fn kind(&self) -> &'static str {
            "fickle"
        }

        fn keep(&mut self, records: &[Arc<SessionRecord>]) -> Result<(), Failure> {
            if self.refusals > 0 {
                self.refusals -= 1;
                return Err(Failure::Later("not now".into()));
            }
            self.given.send(records.len()).unwrap();
            Ok(())
        }
    }

    fn log() -> Arc<Log> {
        let (destination, format) = (LogDestination::Stderr, LogFormat::Coturn);
        Arc::new(
            Log::open(LogOptions { destination, format, min_level: Level::Error, timestamp: None }).unwrap(),
        )
    }

    fn record() -> Arc<SessionRecord> {
        Arc::new(SessionRecord(vec![Value::Number(1)]))
    }

    #[test]
    fn what_is_refused_comes_again_until_it_is_taken() {
        let (given, taken) = channel();
        let keeper = KeeperThread::start(Box::new(Fickle { refusals: 2, given }), log()).unwrap();
        keeper.hand_over(record());
        assert_eq!(taken.recv_timeout(Duration::from_secs(30)), Ok(1));
        let counters = keeper.counters();
        close(&mut [keeper], &log());
        assert_eq!((counters.kept(), counters.lost()), (1, 0));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_nobody_waits() {
        let (given, taken) = channel();
        let keeper = KeeperThread::start(Box::new(Fickle { refusals: u32::MAX, given }), log()).unwrap();
        for _ in 0..QUEUE + BATCH + 10 {
            keeper.hand_over(record());
        }
        let counters = keeper.counters();
        assert!(counters.lost() >= 10, "{}", counters.lost());
        close(&mut [keeper], &log());
        assert_eq!(taken.try_recv().ok(), None);
        assert_eq!((counters.kept(), counters.lost()), (0, (QUEUE + BATCH + 10) as u64));
    }
}
