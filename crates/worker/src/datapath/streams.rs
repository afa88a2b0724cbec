//! Clients that come by TCP or TLS: connections are accepted, read and cut into messages, and closed.

use turnpike_net::{PacketPool, Span};
use turnpike_turn::{Client, FiveTuple, Link, PeerConnectionId, Reason, Transport};
use turnpike_wire::framing::{Frame, next_frame};

use super::{Datapath, Handled};
use crate::http::HttpAnswer;
use crate::stream::Fill;
use crate::stream_output::Urgency;
use crate::streams::Closing;

impl Datapath {
    /// Takes in connections that wait at a listener.
    pub(crate) fn accept(&mut self, index: usize) {
        let Datapath { streams, server, now, poller, .. } = self;
        streams.accept(index, now.monotonic, poller, |source| {
            let (transport, reason) = (Transport::Tcp, Reason::UntrustedProxy);
            server.handle_proxy_refused(now.monotonic, source, transport, reason);
        });
        self.carry_out_effects();
    }

    /// A connection is ready: to take more of what waits for its client, or to be read.
    pub(crate) fn serve_stream(&mut self, link: Link, readable: bool, writable: bool) {
        if let Some(name) = self.streams.spliced(link) {
            return self.pump(name);
        }
        if writable && let Err(closing) = self.streams.resume(link, &self.poller) {
            return self.close_stream(link, closing);
        }
        if readable {
            self.read_stream(link);
        }
    }

    /// Reads a connection once, and takes everything out that came with it: TLS may hold more than fits a buffer.
    pub(super) fn read_stream(&mut self, link: Link) {
        let mut reading = true;
        loop {
            self.make_room(1);
            match self.streams.fill(link, &mut self.pool, reading) {
                Fill::Bytes(span) => {
                    if !self.follow_stream(link, span) {
                        return;
                    }
                }
                Fill::Dry => return,
                Fill::End => return self.close_stream(link, Closing::Ended),
                Fill::Close(closing) => return self.close_stream(link, closing),
            }
            reading = false;
        }
    }

    /// Cuts what came by a connection into messages.
    pub(super) fn stream_bytes(&mut self, link: Link, mut rest: Span) -> Followed {
        let Some(client) = self.streams.client(link) else { return Followed::Waits };
        if self.server.heeds_server_names() && !self.streams.has_begun(link) {
            self.name_server(link);
        }
        // Nobody has a channel yet, and a request of HTTP would look like the beginning of much ChannelData.
        let begins_wrongly = self.pool.bytes(rest).first().is_some_and(|first| first & 0xC0 != 0);
        if begins_wrongly && !self.streams.has_begun(link) {
            let waits = self.answer_http(&client, rest);
            return if waits { Followed::Waits } else { Followed::Invalid };
        }
        loop {
            match next_frame(self.pool.bytes(rest)) {
                Frame::Whole { length, consumed } => {
                    self.streams.note_message(link, self.now.monotonic);
                    let handled = self.client_packet(client, rest.part(0..length));
                    if let Handled::Elsewhere { worker } = handled {
                        // It is to find the request again, and all that follows.
                        self.streams.keep(link, rest, &self.pool);
                        return Followed::Elsewhere { worker };
                    }
                    rest = rest.part(consumed..usize::MAX);
                    if handled == Handled::Control
                        && let Some(name) = self.streams.spliced(link)
                    {
                        self.splice_rest(name, rest);
                        return Followed::Spliced(name);
                    }
                }
                Frame::Partial { needed } => {
                    self.streams.keep(link, rest, &self.pool);
                    let allocated = self.server.is_allocated(&client.tuple);
                    let most = if allocated { PacketPool::BUFFER } else { LARGEST_FROM_STRANGERS };
                    return if needed <= most { Followed::Waits } else { Followed::Invalid };
                }
                Frame::Invalid => return Followed::Invalid,
            }
        }
    }

    /// Tells which server a client of TLS has asked for.
    #[cold]
    pub(super) fn name_server(&mut self, link: Link) {
        if let Some(name) = self.streams.server_name(link) {
            self.server.handle_server_name(link, name);
        }
    }

    /// Returns whether to wait for more of it.
    fn answer_http(&mut self, client: &Client, span: Span) -> bool {
        match self.streams.http_answer(client, self.pool.bytes(span)) {
            HttpAnswer::None => false,
            HttpAnswer::Wait => {
                self.streams.keep(client.link, span, &self.pool);
                true
            }
            HttpAnswer::Reply(text) => {
                self.streams.send(client.link, [text.as_bytes(), &[], &[]], Urgency::Control);
                false
            }
        }
    }

    pub(super) fn close_stream(&mut self, link: Link, closing: Closing) {
        // What was just answered still goes.
        self.streams.flush(&self.poller);
        let spliced = self.streams.spliced(link);
        if let Some(client) = self.streams.close(link, closing) {
            if let Closing::Header(reason) = closing {
                let FiveTuple { transport, client: proxy, .. } = client.tuple;
                self.server.handle_proxy_refused(self.now.monotonic, proxy, transport, reason);
            }
            self.server.handle_link_closed(self.now, client);
        }
        if let Some(name) = spliced {
            self.peers.remove(name);
            self.server.handle_peer_closed(name);
        }
    }

    pub(super) fn close_ended_streams(&mut self) {
        while let Some((link, closing)) = self.streams.pop_ending() {
            self.close_stream(link, closing);
        }
        self.carry_out_effects();
    }

    pub(super) fn close_idle_streams(&mut self) {
        let now = self.now.monotonic;
        while let Some(link) = self.streams.pop_idle(now, |tuple| self.server.is_allocated(tuple)) {
            self.close_stream(link, Closing::Idle);
        }
    }

    /// Ends every connection, saying goodbye.
    pub(crate) fn close_all_streams(&mut self) {
        for link in self.streams.links() {
            self.close_stream(link, Closing::Ended);
        }
    }
}

/// What came of bytes of a connection.
pub(super) enum Followed {
    /// They were messages, and more may come.
    Waits,
    /// They were nothing that is spoken here.
    Invalid,
    /// From here on they are a peer's.
    Spliced(PeerConnectionId),
    /// Another worker is to go on.
    Elsewhere { worker: u16 },
}

/// Bytes of a message that are waited for on a connection without an allocation: far more than any request has, and
/// far less than would fill the memory.
const LARGEST_FROM_STRANGERS: usize = 8192;
