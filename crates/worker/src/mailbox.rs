//! What other threads tell a worker. Looked at only when the worker is woken for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use turnpike_net::Waker;
use turnpike_turn::Config;

/// Something to do between two packets.
#[derive(Clone, Debug)]
pub enum Command {
    /// Follow new rules.
    Configure(Arc<Config>),
    /// End every allocation and return.
    Stop,
}

/// The sending end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    commands: Arc<Mutex<VecDeque<Command>>>,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Mailbox { commands: Arc::default(), waker }
    }

    /// Hands in a command and wakes the worker.
    pub fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.waker.wake();
    }

    pub(crate) fn acknowledge(&self) {
        self.waker.acknowledge();
    }

    pub(crate) fn take(&self) -> Option<Command> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
