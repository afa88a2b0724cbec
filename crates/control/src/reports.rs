//! The workers' reports, received on a thread of their own and written to the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use turnpike_turn::Event;

use crate::log::{Level, Log};
use crate::session_lines::line_of;
use crate::throttle::{Admission, Throttle};

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
}

/// The receiving end.
#[derive(Debug)]
pub struct Reports {
    queue: Receiver<Event>,
    lost: Arc<AtomicU64>,
    log: Arc<Log>,
    realm: Arc<str>,
    /// Whether lines about sessions are written, and not only refusals.
    verbose: bool,
}

impl Reports {
    /// Both ends of the queue.
    pub fn channel(log: Arc<Log>, realm: Arc<str>, verbose: bool) -> (ReportSender, Reports) {
        let (sender, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        (ReportSender { queue: sender, lost: lost.clone() }, Reports { queue, lost, log, realm, verbose })
    }

    /// Writes lines until all senders are gone.
    pub fn run(self) {
        let mut throttle = Throttle::new(Instant::now());
        loop {
            match self.queue.recv_timeout(Duration::from_secs(1)) {
                Ok(event) => self.write(&event, &mut throttle),
                Err(RecvTimeoutError::Timeout) => self.tell_losses(),
                Err(RecvTimeoutError::Disconnected) => return self.tell_losses(),
            }
        }
    }

    fn write(&self, event: &Event, throttle: &mut Throttle) {
        for line in line_of(event, &self.realm) {
            if !line.limited {
                if self.verbose {
                    self.log.write(line.level, &line.text);
                }
                continue;
            }
            match throttle.admit(Instant::now()) {
                Admission::Write => self.log.write(line.level, &line.text),
                Admission::WriteAfter(withheld) => {
                    self.log.write(Level::Warning, &format!("{withheld} more such lines were not logged"));
                    self.log.write(line.level, &line.text);
                }
                Admission::Withhold => {}
            }
        }
    }

    fn tell_losses(&self) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.log.write(Level::Warning, &format!("{lost} log lines were lost: the log is too slow"));
        }
    }
}

/// Reports that may wait to be written.
const QUEUE: usize = 16_384;
