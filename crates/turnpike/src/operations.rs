//! What a running server offers to those who look after it: what it works with, what its workers count, and a way to
//! have the main loop do something. Shared by everything that people and their tools talk to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, sync_channel};
use std::time::SystemTime;

use turnpike_control::Log;
use turnpike_turn::{Ports, Quotas};
use turnpike_worker::{Mailbox, Snapshot};

use crate::certificates::Certificates;
use crate::drain::Draining;
use crate::fleet::Fleet;
use crate::recording::Tellings;
use crate::reload::Reloads;
use crate::rulebook::Rulebook;
use crate::upgrade::Upgrades;

/// A running server, to be looked at and asked from any thread.
#[derive(Debug)]
pub(crate) struct Operations {
    pub(crate) log: Arc<Log>,
    /// The configuration and addresses it works with now, and the way to change them.
    pub(crate) rulebook: Arc<Rulebook>,
    /// The workers, by number.
    pub(crate) workers: Vec<WorkerHandle>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) started: SystemTime,
    pub(crate) stage: Stage,
    pub(crate) requests: Requests,
    /// What the configuration was read from, and how it is read again.
    pub(crate) reloads: Reloads,
    /// Who asks the servers that clients are sent to.
    pub(crate) fleet: Fleet,
    /// How it is coming to its end, if it is.
    pub(crate) draining: Draining,
    /// Handing over to another process.
    pub(crate) upgrades: Upgrades,
    /// What becomes of records of sessions, and of what Redis is told.
    pub(crate) tellings: Tellings,
}

/// A worker, as other threads know it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerHandle {
    /// The way to talk to it: `Command::Visit` runs a closure on its `Server` between two packets.
    pub(crate) mailbox: Mailbox,
    /// Its counters as of at most a second ago.
    pub(crate) snapshot: Snapshot,
}

/// How far the server's life has come.
#[derive(Debug)]
pub(crate) struct Stage(AtomicU8);

/// The stages of a server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Serving {
    /// It takes whoever comes.
    Fully = 0,
    /// It takes no new allocations and waits for those it has to end.
    Draining = 1,
    /// It is about to be gone.
    Stopping = 2,
}

/// Where the main loop is asked to do something.
#[derive(Clone, Debug)]
pub(crate) struct Requests(SyncSender<Request>);

/// What the main loop can be asked to do; one at a time, in order.
#[derive(Debug)]
pub(crate) enum Request {
    /// A signal came.
    Signal(i32),
    /// It is time to end, for this reason.
    Stop(String),
    /// Hand over to a new process: of this program, or of the one at its own path. Says what came of it.
    Upgrade { program: Option<PathBuf>, answer: Sender<Result<String, String>> },
    /// Another process has taken over.
    HandedOver,
    /// The new program cannot take over from this one: take in nobody new.
    DrainForUpgrade,
    /// What another process could not take over has ended.
    NothingLeft,
}

impl Stage {
    pub(crate) const fn new() -> Self {
        Stage(AtomicU8::new(Serving::Fully as u8))
    }

    pub(crate) fn now(&self) -> Serving {
        match self.0.load(Ordering::Acquire) {
            0 => Serving::Fully,
            1 => Serving::Draining,
            _ => Serving::Stopping,
        }
    }

    pub(crate) fn set(&self, serving: Serving) {
        self.0.store(serving as u8, Ordering::Release);
    }
}

impl Requests {
    /// Both ends. What comes while many requests wait is refused rather than piled up.
    pub(crate) fn channel() -> (Self, Receiver<Request>) {
        let (sender, receiver) = sync_channel(MOST_WAITING);
        (Requests(sender), receiver)
    }

    /// Hands in a request.
    ///
    /// # Errors
    /// The request: too many wait already, or the server is ending.
    pub(crate) fn send(&self, request: Request) -> Result<(), Request> {
        self.0.try_send(request).map_err(|refused| match refused {
            TrySendError::Full(request) | TrySendError::Disconnected(request) => request,
        })
    }
}

/// Requests that may wait.
const MOST_WAITING: usize = 64;
