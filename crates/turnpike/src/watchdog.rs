//! Tells the service manager that all is well, for as long as every worker comes round (`WatchdogSec=` of systemd).
//!
//! A worker shows that it comes round by a visit: a closure that its loop runs between two packets. Whoever does not
//! answer until the next round keeps the word back; the manager then ends the process and starts it anew, and no client
//! is left to a worker that hangs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use turnpike_worker::{Command, Visit};

use crate::operations::{Operations, Serving, WorkerHandle};

/// Starts the thread that watches, if the service manager wants to hear of it.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(operations: &Arc<Operations>) -> io::Result<()> {
    let Some(patience) = sd_notify::watchdog_enabled() else { return Ok(()) };
    let operations = operations.clone();
    thread::Builder::new().name("watchdog".into()).spawn(move || watch(&operations, patience))?;
    Ok(())
}

fn watch(operations: &Operations, patience: Duration) {
    // Two rounds fit: one that finds a worker busy for a moment, and one that finds it back.
    let round = patience / ROUNDS;
    let mut pulses: Vec<Pulse> = operations.workers.iter().cloned().map(Pulse::new).collect();
    // One that stops answers nobody, and nobody waits.
    while operations.stage.now() != Serving::Stopping {
        pulses.iter_mut().for_each(Pulse::ask);
        thread::sleep(round);
        let silent: Vec<usize> = pulses
            .iter()
            .enumerate()
            .filter(|(_, pulse)| !pulse.answered())
            .map(|(number, _)| number)
            .collect();
        if silent.is_empty() {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        } else if operations.stage.now() != Serving::Stopping {
            operations.log.error(&format!(
                "watchdog: worker {silent:?} has not come round within {round:?}, so the service manager is not told \
                 that all is well; it ends this process if that goes on"
            ));
        }
    }
}

/// Whether a worker comes round.
struct Pulse {
    worker: WorkerHandle,
    answer: Arc<AtomicBool>,
}

impl Pulse {
    fn new(worker: WorkerHandle) -> Self {
        Pulse { worker, answer: Arc::new(AtomicBool::new(true)) }
    }

    /// Asks it to show itself; one that has been asked and is silent is not asked again.
    fn ask(&mut self) {
        if self.answer.swap(false, Ordering::AcqRel) {
            let answer = self.answer.clone();
            let visit = Visit::new(move |_, _| answer.store(true, Ordering::Release));
            self.worker.mailbox.send(Command::Visit(visit));
        }
    }

    fn answered(&self) -> bool {
        self.answer.load(Ordering::Acquire)
    }
}

/// Rounds within the time after which the service manager loses patience.
const ROUNDS: u32 = 3;
