//! Clients that come by TCP and TLS: streams of bytes, in order and undamaged, cut anywhere, that may break at any moment.
//!
//! Which transport a client speaks is told by its port, so that actors need not know: they send and get messages, and
//! what lies between is a stream.

use std::net::SocketAddr;

use turnpike_turn::{Client, FiveTuple, Link, Transport};
use turnpike_wire::framing::{Frame, next_frame};

use crate::model::Source;
use crate::network::{Datagram, SECOND};
use crate::observed::Action;
use crate::random::Random;
use crate::world::{FIRST_STREAM, Happening, World};

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Vec<Connection>,
    /// How many there ever were.
    opened: u64,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    worker: u16,
    /// What has arrived of a message.
    unread: Vec<u8>,
    /// When the last bytes on their way arrive, at the server and at the client.
    to_server: u64,
    to_client: u64,
}

/// What a client with this address speaks. From `FIRST_STREAM` on, another file says so.
pub(crate) fn transport_of(client: SocketAddr) -> Transport {
    match client.port() % 8 {
        _ if client.port() >= FIRST_STREAM => Transport::Udp,
        6 => Transport::Tcp,
        7 => Transport::Tls,
        _ => Transport::Udp,
    }
}

/// Whether a link is a connection's.
pub(crate) fn is_connection(link: Link) -> bool {
    link.0 & STREAM != 0
}

impl World {
    /// Puts a client's message on its connection, which is opened if need be.
    pub(crate) fn send_on_stream(&mut self, datagram: Datagram) {
        let at = self.connection_of(&datagram);
        let mut bytes = datagram.bytes;
        if bytes.first().is_some_and(|first| first & 0xC0 == 0x40) {
            // RFC 8656 §12.5.
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let link = self.connections.open[at].client.link;
        while !bytes.is_empty() {
            let length = match self.random.chance(300) {
                true => self.random.between(1, bytes.len() as u64) as usize,
                false => bytes.len(),
            };
            let segment = bytes.drain(..length).collect();
            let connection = &mut self.connections.open[at];
            let arrival =
                arrival(&mut connection.to_server, self.now, self.faults.stream_delay(&mut self.random));
            self.schedule(arrival - self.now, Happening::Segment(link, segment));
        }
        if self.random.chance(BREAKING) {
            let delay = self.random.below(2 * SECOND);
            self.schedule(delay, Happening::Break(link));
        }
    }

    /// Puts the server's message on a client's connection. One that has ended takes nothing.
    pub(crate) fn answer_on_stream(&mut self, to: Client, bytes: Vec<u8>) {
        let Some(at) = self.connections.find(to.link) else { return };
        let kind =
            if bytes[0] & 0xC0 == 0x40 { "ChannelData over a stream" } else { "a message over a stream" };
        *self.actions.entry(kind.into()).or_default() += 1;
        let datagram = Datagram { from: to.tuple.server, to: to.tuple.client, bytes };
        let connection = &mut self.connections.open[at];
        let arrival =
            arrival(&mut connection.to_client, self.now, self.faults.stream_delay(&mut self.random));
        self.schedule(arrival - self.now, Happening::Delivery(to.link, datagram));
    }

    /// A connection goes to the worker it belongs to. Returns whether it is one.
    pub(crate) fn move_connection(&mut self, link: Link, worker: u16) -> bool {
        let found = self.connections.find(link);
        found.map(|at| self.connections.open[at].worker = worker).is_some()
    }

    /// Whether a connection is still open.
    pub(crate) fn is_connected(&self, link: Link) -> bool {
        self.connections.find(link).is_some()
    }

    /// Bytes arrive at the server: hands every message that is whole to the connection's worker. Returns them.
    pub(crate) fn segment(&mut self, link: Link, bytes: &[u8]) -> Result<Vec<Datagram>, String> {
        let mut messages = Vec::new();
        let Some(at) = self.connections.find(link) else { return Ok(messages) };
        self.connections.open[at].unread.extend_from_slice(bytes);
        while let Some(at) = self.connections.find(link) {
            let Connection { client, worker, unread, .. } = &mut self.connections.open[at];
            let (client, worker) = (*client, *worker);
            match next_frame(unread) {
                Frame::Whole { length, consumed } => {
                    let mut bytes: Vec<u8> = unread.drain(..consumed).collect();
                    bytes.truncate(length);
                    let message = Datagram { from: client.tuple.client, to: client.tuple.server, bytes };
                    self.packet_of(Source { worker, client }, &message)?;
                    messages.push(message);
                }
                // As a worker does: nobody waits for what no request is as long as.
                Frame::Partial { needed } if needed <= LONGEST => break,
                Frame::Partial { .. } | Frame::Invalid => self.break_connection(link)?,
            }
        }
        Ok(messages)
    }

    /// A connection ends, with all that is on its way.
    pub(crate) fn break_connection(&mut self, link: Link) -> Result<(), String> {
        let Some(at) = self.connections.find(link) else { return Ok(()) };
        let Connection { client, worker, .. } = self.connections.open.swap_remove(at);
        *self.actions.entry("a connection broke".into()).or_default() += 1;
        self.end_splice_of(client.tuple.client)?;
        self.wake_if_due(worker)?;
        let now = self.clocks();
        let expected = self.model.link_closed(now, Source { worker, client });
        self.servers[usize::from(worker)].handle_link_closed(now, client);
        self.conclude(worker, ("connection closed", &client.link), expected, Action::Nothing)
    }

    fn connection_of(&mut self, datagram: &Datagram) -> usize {
        let Datagram { from: client, to: server, .. } = *datagram;
        let tuple = FiveTuple { transport: transport_of(client), server, client };
        let known = self.connections.open.iter().position(|it| it.client.tuple == tuple);
        known.unwrap_or_else(|| {
            let link = Link(STREAM | self.connections.opened);
            self.connections.opened += 1;
            let worker = self.worker_of(client);
            let client = Client { link, tuple };
            let (to_server, to_client) = (self.now, self.now);
            self.connections.open.push(Connection {
                client,
                worker,
                unread: Vec::new(),
                to_server,
                to_client,
            });
            self.connections.open.len() - 1
        })
    }
}

impl Connections {
    fn find(&self, link: Link) -> Option<usize> {
        self.open.iter().position(|it| it.client.link == link)
    }
}

/// Nothing overtakes what was sent before.
fn arrival(last: &mut u64, now: u64, delay: u64) -> u64 {
    *last = (*last).max(now + delay);
    *last
}

impl crate::network::Faults {
    /// How long bytes are under way: what a datagram loses costs a stream a retransmission.
    fn stream_delay(&self, random: &mut Random) -> u64 {
        let lost = random.chance(self.loss);
        self.least_delay + random.below(self.jitter + 1) + if lost { SECOND } else { 0 }
    }
}

/// Tells links of connections from links of listeners.
const STREAM: u64 = 1 << 63;
/// Permille of messages after which a connection breaks.
const BREAKING: u64 = 15;
/// Bytes of a message that are waited for.
const LONGEST: usize = 8192;
