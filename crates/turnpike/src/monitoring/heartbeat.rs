//! Whether every worker's loop turns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use turnpike_worker::{Command, Visit};

use crate::operations::WorkerHandle;

/// Signs of life that are asked for now and then.
#[derive(Debug)]
pub(super) struct Heartbeat {
    beats: Vec<Beat>,
    asked: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Beat {
    /// How often it was asked for a sign of life.
    asked: AtomicU64,
    /// How often it gave one.
    given: Arc<AtomicU64>,
    /// When it was first asked for one that has not come.
    waiting_since: Mutex<Option<Instant>>,
}

impl Heartbeat {
    pub(super) fn new(workers: usize) -> Self {
        Heartbeat { beats: (0..workers).map(|_| Beat::default()).collect(), asked: Mutex::new(None) }
    }

    /// The numbers of the workers that have not given a sign of life for too long. Asks them for the next one, but
    /// however often this is called no more than once a second, and none that still owes one.
    pub(super) fn stuck(&self, workers: &[WorkerHandle]) -> Vec<usize> {
        let now = Instant::now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = asked.is_none_or(|asked| now - asked >= EVERY);
        if is_due {
            *asked = Some(now);
        }
        drop(asked);
        let beats = self.beats.iter().zip(workers).enumerate();
        let is_stuck = |(number, (beat, worker)): (usize, (&Beat, &WorkerHandle))| {
            beat.is_stuck(now, worker, is_due).then_some(number)
        };
        beats.filter_map(is_stuck).collect()
    }
}

impl Beat {
    fn is_stuck(&self, now: Instant, worker: &WorkerHandle, is_due: bool) -> bool {
        let mut waiting_since = self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner);
        let owes = self.asked.load(Ordering::Acquire) > self.given.load(Ordering::Acquire);
        if !owes {
            *waiting_since = None;
            if is_due {
                *waiting_since = Some(now);
                self.asked.fetch_add(1, Ordering::AcqRel);
                let given = self.given.clone();
                let visit = Visit::new(move |_, _| _ = given.fetch_add(1, Ordering::AcqRel));
                worker.mailbox.send(Command::Visit(visit));
            }
        }
        waiting_since.is_some_and(|since| now - since > PATIENCE)
    }
}

const EVERY: Duration = Duration::from_secs(1);
/// A worker is never busy for so long.
const PATIENCE: Duration = Duration::from_secs(10);
