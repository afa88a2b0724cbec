//! Connections that go from one worker to another: the kernel spreads them over workers as it likes, and only a request
//! tells where one belongs.
//!
//! A connection moves as a whole, with its TLS session and the bytes that nobody has looked at, and before the request
//! that moved it is answered. Nothing of it stays.

use turnpike_turn::Link;

use super::Datapath;
use super::streams::Followed;
use crate::mailbox::Command;
use crate::streams::{Closing, MovedStream};

impl Datapath {
    /// Gives a connection to another worker.
    pub(super) fn hand_over(&mut self, link: Link, worker: u16) {
        // What was answered before goes before it.
        self.streams.flush(&self.poller);
        let Some(moved) = self.streams.release(link, &self.poller) else { return };
        self.server.forget_server_name(link);
        if self.siblings.send(worker, Command::Adopt(moved)).is_err() {
            self.streams.count_refused();
        }
    }

    /// Takes over a connection from another worker, and goes on where that one stopped.
    pub(crate) fn adopt(&mut self, moved: MovedStream) {
        let Some(link) = self.streams.adopt(moved, self.now.monotonic, &self.poller) else { return };
        self.name_server(link);
        self.make_room(1);
        if let Some(span) = self.streams.take_unread(link, &mut self.pool)
            && !self.follow_stream(link, span)
        {
            return;
        }
        self.read_stream(link);
    }

    /// Does what the bytes of a connection ask for. Returns whether there is more to read of it here.
    pub(super) fn follow_stream(&mut self, link: Link, span: turnpike_net::Span) -> bool {
        match self.stream_bytes(link, span) {
            Followed::Waits => true,
            Followed::Invalid => {
                self.close_stream(link, Closing::Invalid);
                false
            }
            Followed::Spliced(name) => {
                self.pump(name);
                false
            }
            Followed::Elsewhere { worker } => {
                self.hand_over(link, worker);
                false
            }
        }
    }
}
