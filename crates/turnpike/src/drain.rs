//! Draining: nobody new is taken in, and the server ends when those it has are gone, or as many of them as shall be, or
//! when its time is up.
//!
//! SIGUSR1 begins it without an end in time, as in coturn; SIGTERM does with `drain-timeout`; `turnpike drain` as it is told.
//! From then on the rules say so to every worker, [`Stage`](crate::operations::Stage) to whoever is asked whether the
//! server is ready, and a thread counts what is left once a second until it asks the main loop to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use turnpike_control::in_words;
use turnpike_net::Clock;
use turnpike_turn::{Drain, Timestamp};

use crate::operations::{Operations, Request, Serving};

/// How a server is coming to its end, if it is.
#[derive(Debug, Default)]
pub(crate) struct Draining(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How often draining has begun: the thread that counts for an earlier one ends.
    number: u64,
    now: Option<Progress>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) began: Instant,
    /// When whoever is left is ended; `None` for never.
    pub(crate) deadline: Option<Instant>,
    /// It is over when no more than so many allocations are left.
    pub(crate) least: u64,
    /// Allocations there were when it began.
    pub(crate) at_first: u64,
    /// Allocations there are.
    pub(crate) allocations: u64,
    /// Whether the process was told to end, so that the next such signal ends it at once.
    pub(crate) ends_process: bool,
}

/// How a server is to drain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// How long sessions may go on; `None` for as long as they like.
    pub(crate) timeout: Option<Duration>,
    /// Whether the process was told to end.
    pub(crate) ends_process: bool,
}

impl Operations {
    /// Takes nobody in any more, and ends the server when it is time. Given again, the new order counts.
    pub(crate) fn drain(self: &Arc<Self>, order: Order, why: &str) {
        // Workers are asked before anybody is kept waiting for it.
        let counted_now = self.allocations();
        let mut state = self.draining.lock();
        if self.stage.now() == Serving::Stopping {
            return;
        }
        let began = Instant::now();
        // Whoever told the process to end waits for that, whatever else is ordered.
        let promised = state.now.filter(|now| now.ends_process).and_then(|now| now.left());
        let order = Order { timeout: order.timeout.or(promised), ..order };
        let deadline = order.timeout.and_then(|timeout| began.checked_add(timeout));
        let allocations =
            counted_now.unwrap_or_else(|_| state.now.map_or(0, |progress| progress.allocations));
        let least = self.rulebook.read(|parts| parts.settings.administration.drain.least_allocations);
        let ends_process = order.ends_process || state.now.is_some_and(|now| now.ends_process);
        state.number += 1;
        state.now =
            Some(Progress { began, deadline, least, at_first: allocations, allocations, ends_process });
        self.stage.set(Serving::Draining);
        let until = order.timeout.map(|timeout| Timestamp(Clock.now().monotonic) + timeout);
        self.rulebook.change(|parts| parts.drain = Some(Drain { deadline: until }));
        let limit = order
            .timeout
            .map_or_else(String::new, |timeout| format!(", for {} at most", in_words(timeout.as_secs())));
        let enough = match least {
            0 => String::new(),
            _ => format!(", no reason to wait when there are {least} or fewer"),
        };
        let left = counted(allocations);
        self.log.info(&format!("Draining ({why}): no new allocations; {left} left{limit}{enough}"));
        if order.ends_process {
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
        }
        let (operations, number) = (self.clone(), state.number);
        let counting =
            thread::Builder::new().name("drain".into()).spawn(move || operations.count_down(number));
        if let Err(error) = counting {
            self.log.error(&format!(
                "nothing tells when draining is over, because the system gives no thread: {error}"
            ));
        }
    }

    /// Takes in whoever comes again; says whether there was anything to call off.
    pub(crate) fn call_drain_off(&self, why: &str) -> bool {
        let mut state = self.draining.lock();
        if state.now.is_none() || self.stage.now() == Serving::Stopping {
            return false;
        }
        state.number += 1;
        state.now = None;
        self.stage.set(Serving::Fully);
        self.rulebook.change(|parts| parts.drain = None);
        let _ = sd_notify::notify(&[NotifyState::Status("Serving")]);
        self.log.info(&format!("Draining was called off ({why}): new allocations are taken again"));
        true
    }

    /// Counts what is left until that is little enough, the time is up, or the drain was called off.
    fn count_down(&self, number: u64) {
        let mut told = Instant::now();
        loop {
            let allocations = self.allocations();
            let progress = {
                let mut state = self.draining.lock();
                if state.number != number || self.stage.now() == Serving::Stopping {
                    return;
                }
                let Some(progress) = &mut state.now else { return };
                // A worker that does not answer has no say; the deadline does.
                if let Ok(allocations) = allocations {
                    progress.allocations = allocations;
                }
                *progress
            };
            if let Some(how) = progress.outcome(allocations.is_ok()) {
                let left = counted(progress.allocations);
                let said = format!("Drain complete ({how}; {left} left)");
                // Where too many requests wait, the main loop is asked again.
                if self.requests.send(Request::Stop(said)).is_ok() {
                    return;
                }
            }
            if told.elapsed() >= progress.pause() {
                told = Instant::now();
                self.log.info(&progress.to_string());
            }
            let (text, grace) = (progress.to_string(), GRACE.as_micros() as u32);
            let _ = sd_notify::notify(&[NotifyState::Status(&text), NotifyState::ExtendTimeoutUsec(grace)]);
            thread::sleep(progress.until_next_look());
        }
    }
}

impl Draining {
    /// How far it has come; `None` for a server that takes in whoever comes.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.lock().now
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// How long sessions may go on; `None` for as long as they like.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Why it is over, if it is.
    fn outcome(&self, counted: bool) -> Option<&'static str> {
        if counted && self.allocations <= self.least {
            return Some(if self.least == 0 {
                "every session has ended"
            } else {
                "few enough sessions are left"
            });
        }
        self.left().is_some_and(|left| left.is_zero()).then_some("the time is up")
    }

    /// Between two lines of the log.
    fn pause(&self) -> Duration {
        if self.began.elapsed() < Duration::from_secs(60) {
            Duration::from_secs(10)
        } else {
            Duration::from_secs(60)
        }
    }

    fn until_next_look(&self) -> Duration {
        let soon = if self.began.elapsed() < Duration::from_secs(2) { SOON } else { Duration::from_secs(1) };
        self.left().map_or(soon, |left| left.clamp(Duration::from_millis(1), soon))
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Draining: {} of {} left", self.allocations, counted(self.at_first))?;
        match self.left() {
            Some(left) => write!(formatter, ", for {} at most", in_words(left.as_secs())),
            None => Ok(()),
        }
    }
}

fn counted(allocations: u64) -> String {
    format!("{allocations} allocation{}", if allocations == 1 { "" } else { "s" })
}

/// Soon after the beginning it is looked more often: a server that nobody uses ends at once.
const SOON: Duration = Duration::from_millis(100);
/// By how much a supervisor is asked to wait longer, each second anew.
const GRACE: Duration = Duration::from_secs(30);
