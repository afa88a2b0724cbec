//! Sending: what is to leave in one turn of the loop, grouped and sent at once.
//!
//! Datagrams of one socket go out in one `sendmmsg`; equal-sized ones that follow each other to the same
//! destination go as one message that the kernel cuts up (UDP_SEGMENT). Order within a socket and destination is
//! kept. Nothing is copied but the few bytes of heads and tails, and messages the server itself has built.

mod batch;

use std::net::{IpAddr, SocketAddr};

use batch::Batch;

use crate::packet_pool::{PacketPool, Span};
use crate::sockets::{SocketId, Sockets};

/// One datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'d> {
    /// From which socket.
    pub socket: SocketId,
    /// To whom.
    pub to: SocketAddr,
    /// From which address, on a socket with a wildcard address.
    pub source: Option<IpAddr>,
    /// Bytes to go first; copied.
    pub head: &'d [u8],
    /// The bytes.
    pub body: Body<'d>,
    /// Bytes to go last; copied.
    pub tail: &'d [u8],
    /// Whether the datagram must not be fragmented.
    pub dont_fragment: bool,
}

/// The bytes of a datagram.
#[derive(Clone, Copy, Debug)]
pub enum Body<'d> {
    /// Received bytes, sent from where they lie.
    Received(Span),
    /// Bytes that are copied.
    Built(&'d [u8]),
}

/// What waits to be sent.
#[derive(Debug)]
pub struct Egress {
    queue: Vec<Queued>,
    /// Heads, tails and built bodies.
    arena: Vec<u8>,
    order: Vec<u32>,
    batch: Batch,
}

/// A queued datagram: head and tail lie one behind the other in the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) edges: u32,
    pub(crate) head: u16,
    pub(crate) tail: u16,
    pub(crate) body: Span,
    pub(crate) dont_fragment: bool,
}

impl Queued {
    /// Bytes on the wire.
    pub(crate) fn length(&self) -> usize {
        usize::from(self.head) + self.body.len() + usize::from(self.tail)
    }
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Of these, datagrams that went as part of a train.
    pub segmented: u64,
    /// Datagrams dropped because the socket's buffer was full.
    pub buffer_full: u64,
    /// Datagrams dropped because there is no route, or a firewall forbids it.
    pub unreachable: u64,
    /// Datagrams dropped because they are too large for the path and must not be fragmented.
    pub too_large: u64,
    /// Datagrams dropped for another error, or because their socket was closed.
    pub failed: u64,
}

impl Egress {
    /// A queue that takes `capacity` datagrams before it must be flushed.
    pub fn new(capacity: usize) -> Self {
        Egress {
            queue: Vec::with_capacity(capacity),
            arena: Vec::with_capacity(capacity * 64),
            order: Vec::with_capacity(capacity),
            batch: Batch::new(),
        }
    }

    /// Whether the next datagram needs a flush first.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.queue.len() == self.queue.capacity()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues a datagram; refuses it when the queue is full. Heads and tails of more than 64 KiB are no datagram.
    #[inline]
    pub fn push(&mut self, datagram: &Datagram<'_>) -> bool {
        if self.is_full() {
            return false;
        }
        let edges = self.arena.len() as u32;
        self.arena.extend_from_slice(datagram.head);
        self.arena.extend_from_slice(datagram.tail);
        let body = match datagram.body {
            Body::Received(span) => span,
            Body::Built(bytes) => {
                let start = self.arena.len() as u32;
                self.arena.extend_from_slice(bytes);
                Span { buffer: ARENA, start, end: self.arena.len() as u32 }
            }
        };
        self.queue.push(Queued {
            socket: datagram.socket,
            to: datagram.to,
            source: datagram.source,
            edges,
            head: datagram.head.len() as u16,
            tail: datagram.tail.len() as u16,
            body,
            dont_fragment: datagram.dont_fragment,
        });
        true
    }

    /// Sends everything, and leaves the queue empty.
    pub fn flush(&mut self, sockets: &Sockets, pool: &PacketPool) -> FlushReport {
        let mut report = FlushReport::default();
        if self.queue.is_empty() {
            return report;
        }
        let Egress { queue, arena, order, batch } = self;
        order.clear();
        order.extend(0..queue.len() as u32);
        // Stable: the order within a socket is kept.
        order.sort_by_key(|index| queue[*index as usize].socket);
        let bytes = Bytes { arena, pool };
        for run in order.chunk_by(|a, b| queue[*a as usize].socket == queue[*b as usize].socket) {
            match sockets.get(queue[run[0] as usize].socket) {
                Some(socket) => batch.send(socket, run, queue, bytes, &mut report),
                None => report.failed += run.len() as u64,
            }
        }
        queue.clear();
        arena.clear();
        report
    }
}

/// Where the bytes of queued datagrams lie.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'b> {
    arena: &'b [u8],
    pool: &'b PacketPool,
}

impl<'b> Bytes<'b> {
    /// Head, body and tail.
    pub(crate) fn parts(&self, queued: &Queued) -> [&'b [u8]; 3] {
        let head = queued.edges as usize;
        let tail = head + usize::from(queued.head);
        let end = tail + usize::from(queued.tail);
        let body = match queued.body {
            Span { buffer: ARENA, start, end } => &self.arena[start as usize..end as usize],
            span => self.pool.bytes(span),
        };
        [&self.arena[head..tail], body, &self.arena[tail..end]]
    }
}

impl FlushReport {
    /// Adds another report.
    pub fn add(&mut self, other: &FlushReport) {
        self.sent += other.sent;
        self.segmented += other.segmented;
        self.buffer_full += other.buffer_full;
        self.unreachable += other.unreachable;
        self.too_large += other.too_large;
        self.failed += other.failed;
    }
}

/// The buffer number that means the arena.
const ARENA: u32 = u32::MAX;
