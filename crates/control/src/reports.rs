//! The workers' reports, received on a thread of their own and written to the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use turnpike_turn::{Event, User};

use crate::log::{Entry, EventName, Field, Level, Log};
use crate::session_entries::entries_of;
use crate::throttle::Throttle;

/// The workers' end: never waits.
#[derive(Clone, Debug)]
pub struct ReportSender {
    queue: SyncSender<Event>,
    lost: Arc<AtomicU64>,
}

impl ReportSender {
    /// Hands in a report; if the queue is full, it is lost and counted.
    pub fn send(&self, event: Event) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(event) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were lost so far; counts on.
    pub fn losses(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }
}

/// Somebody else who hears every report, on the thread of the log: must not wait for anything either, or reports are
/// lost.
pub trait Watcher: Send {
    /// A report came.
    fn see(&mut self, event: &Event);

    /// About a second has passed since the last time.
    fn tick(&mut self) {}
}

/// The receiving end.
pub struct Reports {
    queue: Receiver<Event>,
    lost: Arc<AtomicU64>,
    /// How many of these the log knows of.
    told: u64,
    log: Arc<Log>,
    realm: Arc<str>,
    /// Whether lines about sessions are written, and not only refusals.
    verbose: Arc<AtomicBool>,
    watchers: Vec<Box<dyn Watcher>>,
}

impl Reports {
    /// Both ends of the queue.
    pub fn channel(
        log: Arc<Log>,
        realm: Arc<str>,
        verbose: Arc<AtomicBool>,
        watchers: Vec<Box<dyn Watcher>>,
    ) -> (ReportSender, Reports) {
        let (sender, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let reports = Reports { queue, lost: lost.clone(), told: 0, log, realm, verbose, watchers };
        (ReportSender { queue: sender, lost }, reports)
    }

    /// Writes lines until all senders are gone.
    pub fn run(mut self) {
        let mut throttles = Throttles::new();
        let mut told = Instant::now();
        loop {
            let received = self.queue.recv_timeout(Duration::from_secs(1));
            let is_last = matches!(received, Err(RecvTimeoutError::Disconnected));
            if is_last || told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                self.tell_losses();
                self.watchers.iter_mut().for_each(|watcher| watcher.tick());
                throttles
                    .each()
                    .into_iter()
                    .for_each(|throttle| self.tell_withheld(throttle.take_withheld()));
            }
            match received {
                // The server that tries itself is nobody's business.
                Ok(event) if event.user().is_some_and(User::is_self_test) => {}
                Ok(event) => {
                    self.watchers.iter_mut().for_each(|watcher| watcher.see(&event));
                    self.write(&event, &mut throttles);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&self, event: &Event, throttles: &mut Throttles) {
        if !is_refusal(event) && !self.verbose.load(Ordering::Relaxed) {
            return;
        }
        for (entry, limited) in entries_of(event, &self.realm, self.log.format()) {
            if !limited {
                self.log.write_entry(entry);
                continue;
            }
            let throttle = throttles.for_level(entry.level);
            let admitted = throttle.admit(Instant::now());
            if admitted {
                self.tell_withheld(throttle.take_withheld());
                self.log.write_entry(entry);
            }
        }
    }

    fn tell_withheld(&self, withheld: u64) {
        if withheld > 0 {
            let message = format!("{withheld} more such lines were not logged");
            self.tell_of_lines(EventName::LinesWithheld, withheld, message);
        }
    }

    fn tell_losses(&mut self) {
        let all = self.lost.load(Ordering::Relaxed);
        let lost = all - std::mem::replace(&mut self.told, all);
        if lost > 0 {
            let message =
                format!("{lost} reports of workers were lost: they come faster than they are heard");
            self.tell_of_lines(EventName::LinesLost, lost, message);
        }
    }

    fn tell_of_lines(&self, event: EventName, count: u64, message: String) {
        let fields = vec![(Field::Count, count.into())];
        self.log.write_entry(Entry { level: Level::Warning, event, message, fields });
    }
}

/// Whether it is told of without being asked to.
fn is_refusal(event: &Event) -> bool {
    matches!(
        event,
        Event::AuthenticationFailed { .. }
            | Event::PeerRefused { .. }
            | Event::ProxyRefused { .. }
            | Event::SourceLimited { .. }
            | Event::Processed { refusal: Some(_), .. }
    )
}

/// Requests and refusals are limited apart, so that no flood of the first hides the second.
struct Throttles {
    requests: Throttle,
    refusals: Throttle,
}

impl Throttles {
    fn new() -> Self {
        let now = Instant::now();
        Throttles { requests: Throttle::new(now), refusals: Throttle::new(now) }
    }

    fn for_level(&mut self, level: Level) -> &mut Throttle {
        if level == Level::Info { &mut self.requests } else { &mut self.refusals }
    }

    fn each(&mut self) -> [&mut Throttle; 2] {
        [&mut self.requests, &mut self.refusals]
    }
}

/// Reports that may wait to be written.
const QUEUE: usize = 16_384;
