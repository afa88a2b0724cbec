//! The listeners that clients' connections come by.

use std::time::Duration;

use turnpike_net::{Poller, TcpListener};
use turnpike_turn::Timestamp;

/// A worker's listeners, numbered in the order they came.
pub(crate) struct StreamListeners {
    /// `None` for those that another process has taken over.
    listeners: Vec<Option<TcpListener>>,
    /// Tokens count down from here.
    first_token: u64,
    /// Until when no connection is accepted, because there was no descriptor for the last.
    paused: Option<Timestamp>,
}

impl StreamListeners {
    /// Takes over listeners and watches them.
    pub(crate) fn watch(
        listeners: Vec<TcpListener>,
        first_token: u64,
        poller: &Poller,
    ) -> std::io::Result<Self> {
        for (index, listener) in listeners.iter().enumerate() {
            listener.set_send_buffer(SEND_BUFFER);
            poller.add(listener, first_token - index as u64)?;
        }
        let listeners = listeners.into_iter().map(Some).collect();
        Ok(StreamListeners { listeners, first_token, paused: None })
    }

    /// Takes over one more. It has the next number whether or not it can be watched.
    pub(crate) fn add(&mut self, listener: TcpListener, poller: &Poller) -> std::io::Result<()> {
        listener.set_send_buffer(SEND_BUFFER);
        let token = self.first_token - self.listeners.len() as u64;
        // One that comes in a pause is watched with the others when that is over.
        let watched = if self.paused.is_some() { Ok(()) } else { poller.add(&listener, token) };
        self.listeners.push(Some(listener));
        watched
    }

    pub(crate) fn get(&self, index: usize) -> Option<&TcpListener> {
        self.listeners.get(index).and_then(Option::as_ref)
    }

    /// Accepts nothing for a while: what waits would be reported again and again while it cannot be had.
    pub(crate) fn pause(&mut self, now: Timestamp, poller: &Poller) {
        if self.paused.is_none() {
            self.paused = Some(now + PAUSE);
            self.listeners.iter().flatten().for_each(|listener| drop(poller.remove(listener)));
        }
    }

    /// When the pause ends, if there is one.
    pub(crate) fn paused(&self) -> Option<Timestamp> {
        self.paused
    }

    /// Accepts again, if the pause is over.
    pub(crate) fn listen_again(&mut self, now: Timestamp, poller: &Poller) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            for (index, listener) in self.listeners.iter().enumerate() {
                let Some(listener) = listener else { continue };
                if poller.add(listener, self.first_token - index as u64).is_err() {
                    self.paused = Some(now + PAUSE);
                }
            }
        }
    }

    /// Lets go of those that another process has taken over, for it to accept by.
    pub(crate) fn leave(&mut self, taken: impl Fn(usize) -> bool, poller: &Poller) {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if let Some(listener) = listener.take_if(|_| taken(index)) {
                // It is not watched in a pause. Closing alone would not do: the other process has it open.
                let _ = poller.remove(&listener);
            }
        }
    }
}

/// How long nothing is accepted when there is no descriptor.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
/// Bytes the kernel keeps for a client that does not read.
const SEND_BUFFER: usize = 256 * 1024;
