//! Hot upgrade: a new program takes over from the running one, and no packet of a call is lost.
//!
//! The old process starts the new one and stays the master of everything until the new one serves:
//!
//! 1. It asks the program which version of the handover it knows, and starts it with the arguments it was started with
//!    itself and one end of a line as standard input (`giver`).
//! 2. The new process reads its configuration, takes the listening sockets over the line and gets ready (`heir`).
//! 3. The workers of the old one stand still and send what can move. What comes meanwhile waits in the sockets.
//! 4. The new one serves. Only now does the old one forget what it gave; what could not move (connections and those who
//!    came by them, DTLS associations) it serves until that ends.
//!
//! Whatever goes wrong before the last step, the new process is ended and the old one goes on as if nothing had been.

mod giver;
mod heir;
mod listening;
mod program;
mod protocol;
mod remains;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use turnpike_control::Watcher;
use turnpike_net::Line;
use turnpike_turn::codec::Value;
use turnpike_turn::{Event, NonceKey};
use turnpike_xdp::Heirloom;

pub(crate) use giver::begin;
pub use heir::refuse;
pub(crate) use heir::{Predecessor, Took, refuse_over, takes_over};
pub(crate) use listening::{Inherited, Listening};
pub use program::{HANDOVER_FLAG, handover_line};
pub(crate) use program::{Program, port_of_predecessor};
pub(crate) use remains::watch as watch_remains;

/// What a server needs to hand over, and how far it has come with that.
#[derive(Debug)]
pub(crate) struct Upgrades {
    /// What this process runs, and how it was started.
    pub(crate) program: Program,
    /// The sockets that clients come by.
    listening: Mutex<Listening>,
    /// The program in the kernel.
    kernel: Mutex<Option<Heirloom>>,
    pub(crate) nonce_key: NonceKey,
    pub(crate) successor: Arc<Successor>,
    /// Sessions that the process before this one still serves.
    pub(crate) elsewhere: Arc<Mutex<usize>>,
    stage: Mutex<Stage>,
}

/// How far an upgrade has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    None,
    /// One is under way.
    UnderWay,
    /// This process has handed over.
    Done,
}

/// The process after this one.
#[derive(Debug, Default)]
pub(crate) struct Successor {
    line: OnceLock<Line>,
    process: AtomicU32,
}

impl Upgrades {
    pub(crate) fn new(
        program: Program,
        (listening, kernel): (Listening, Option<Heirloom>),
        nonce_key: NonceKey,
        successor: Arc<Successor>,
    ) -> Self {
        let (elsewhere, stage) = (Arc::default(), Mutex::new(Stage::None));
        let (listening, kernel) = (Mutex::new(listening), Mutex::new(kernel));
        Upgrades { program, listening, kernel, nonce_key, successor, elsewhere, stage }
    }

    /// Notes listeners that have come while it runs.
    pub(crate) fn listen_also(&self, further: Listening) {
        self.listening().groups.extend(further.groups);
    }

    /// The sockets that clients come by, those that came later among them.
    pub(crate) fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program in the kernel; it is kept there for as long as this is.
    pub(crate) fn kernel(&self) -> MutexGuard<'_, Option<Heirloom>> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another process has taken over.
    pub(crate) fn is_handed_over(&self) -> bool {
        *self.stage() == Stage::Done
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Successor {
    fn set(&self, line: Line, process: u32) {
        self.process.store(process, Ordering::Relaxed);
        let _ = self.line.set(line);
    }

    /// Its process id; zero for none.
    pub(crate) fn process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }
}

/// Tells the process after this one of every session that ends here: its port and its place in the quotas are free.
#[derive(Debug)]
pub(crate) struct TellsSuccessor(pub(crate) Arc<Successor>);

impl Watcher for TellsSuccessor {
    fn see(&mut self, event: &Event) {
        if let (Event::Ended { session, .. }, Some(line)) = (event, self.0.line.get()) {
            let mut bytes = Vec::new();
            session.number().write(&mut bytes);
            // One that is gone keeps no accounts.
            let _ = line.send(protocol::ENDED, &bytes, &[]);
        }
    }
}
