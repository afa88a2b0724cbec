//! What other threads tell a worker. Looked at only when the worker is woken for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use turnpike_net::Waker;
use turnpike_turn::Config;

use crate::streams::MovedStream;

/// Something to do between two packets.
#[derive(Debug)]
pub enum Command {
    /// Follow new rules.
    Configure(Arc<Config>),
    /// Take over a connection from another worker.
    Adopt(MovedStream),
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

    /// Hands in a command that clients bring about, unless too many commands wait already.
    ///
    /// # Errors
    /// The command.
    pub(crate) fn try_send(&self, command: Command) -> Result<(), Command> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.len() >= MOST_WAITING {
            return Err(command);
        }
        commands.push_back(command);
        drop(commands);
        self.waker.wake();
        Ok(())
    }

    pub(crate) fn acknowledge(&self) {
        self.waker.acknowledge();
    }

    pub(crate) fn take(&self) -> Option<Command> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The mailboxes of all workers, by number, for each of them to reach the others. Told once, when all of them exist.
#[derive(Clone, Debug, Default)]
pub struct Siblings {
    mailboxes: Arc<OnceLock<Vec<Mailbox>>>,
}

impl Siblings {
    /// Says who the workers are. Only the first time counts.
    pub fn introduce(&self, mailboxes: Vec<Mailbox>) {
        let _ = self.mailboxes.set(mailboxes);
    }

    /// Hands a command that clients bring about to a worker.
    ///
    /// # Errors
    /// The command: there is no such worker, or too many commands wait for it already.
    pub(crate) fn send(&self, worker: u16, command: Command) -> Result<(), Command> {
        match self.mailboxes.get().and_then(|mailboxes| mailboxes.get(usize::from(worker))) {
            Some(mailbox) => mailbox.try_send(command),
            None => Err(command),
        }
    }
}

/// Commands that may wait for a worker before clients may bring about no more.
const MOST_WAITING: usize = 256;
