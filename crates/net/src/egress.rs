//! Sending: what is to leave in one turn of the loop, grouped and sent at once.
//!
//! Datagrams of one socket go out together; those that follow each other to the same destination with the same
//! size go as one message that the kernel cuts up (UDP_SEGMENT). Order within a socket and destination is kept.
//! Received bytes stay where they lie and are never written: heads, tails and messages the server itself has built are
//! copied into the queue, and the kernel gathers the parts. A small datagram that leaves alone is copied together
//! instead, which is cheaper.
//!
//! Media do not wait: what the kernel does not take at once is dropped and counted by kind, and the rest still goes.

mod batch;
mod outcome;

use std::net::{IpAddr, SocketAddr};

use batch::{Batch, Flight};
pub use outcome::FlushReport;

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
    /// Whether the datagram must not be fragmented, here or on its way.
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

/// Fields of the IP header that a datagram asks for; those of the socket where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpFields {
    /// Differentiated services and congestion notification: the TOS or traffic class octet.
    pub tos: Option<u8>,
    /// Time to live or hop limit, 1 to 255; the kernel refuses to send 0.
    pub ttl: Option<u8>,
}

/// What waits to be sent.
#[derive(Debug)]
pub struct Egress {
    queue: Vec<Queued>,
    /// Heads, tails and built bodies.
    arena: Vec<u8>,
    /// One for each socket that has something to send, in the order in which they came up.
    runs: Vec<Run>,
    /// By a socket's slot, where in `runs` it may be; believed only if that run is indeed the socket's, so that
    /// nothing needs to be cleared.
    run_of_slot: Vec<u32>,
    /// The queue's indices of the run being sent.
    order: Vec<u32>,
    /// Datagrams that can be none, since the last flush.
    oversized: u64,
    batch: Batch,
}

/// A queued datagram: head and tail lie one behind the other in the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) to: SocketAddr,
    pub(crate) source: Option<IpAddr>,
    pub(crate) ip: IpFields,
    pub(crate) dont_fragment: bool,
    pub(crate) edges: u32,
    pub(crate) head: u16,
    pub(crate) tail: u16,
    pub(crate) body: Span,
    /// The next one of the same socket.
    next: u32,
}

/// The queued datagrams of one socket: a list through the queue.
#[derive(Clone, Copy, Debug)]
struct Run {
    socket: SocketId,
    first: u32,
    last: u32,
}

impl Queued {
    /// Bytes on the wire.
    #[inline]
    pub(crate) fn length(&self) -> usize {
        usize::from(self.head) + self.body.len() + usize::from(self.tail)
    }
}

impl Egress {
    /// A queue that takes `capacity` datagrams before it must be flushed. All its memory is taken here, but for a
    /// few bytes per socket that has ever sent something.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Egress {
            queue: Vec::with_capacity(capacity),
            arena: Vec::with_capacity(capacity * EDGES + 2 * LARGEST_PAYLOAD),
            runs: Vec::with_capacity(capacity),
            run_of_slot: Vec::new(),
            order: Vec::with_capacity(capacity),
            oversized: 0,
            batch: Batch::new(),
        }
    }

    /// Whether the next datagram needs a flush first.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.queue.len() == self.queue.capacity()
            || self.arena.capacity() - self.arena.len() < LARGEST_PAYLOAD
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues a datagram; refuses it when the queue is full. One that is longer than any UDP datagram over IPv4 can
    /// be is taken, but counted as too large at the next flush.
    #[inline]
    pub fn push(&mut self, datagram: &Datagram<'_>) -> bool {
        self.push_with(datagram, IpFields::default())
    }

    /// Like [`Egress::push`], with fields of the IP header.
    #[inline]
    pub fn push_with(&mut self, datagram: &Datagram<'_>, ip: IpFields) -> bool {
        if self.is_full() {
            return false;
        }
        let body_length = match datagram.body {
            Body::Received(span) => span.len(),
            Body::Built(bytes) => bytes.len(),
        };
        if datagram.head.len() + body_length + datagram.tail.len() > LARGEST_PAYLOAD {
            self.oversized += 1;
            return true;
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
        self.append(datagram.socket);
        self.queue.push(Queued {
            to: datagram.to,
            source: datagram.source,
            ip,
            dont_fragment: datagram.dont_fragment,
            edges,
            head: datagram.head.len() as u16,
            tail: datagram.tail.len() as u16,
            body,
            next: NONE,
        });
        true
    }

    /// Sends everything, and leaves the queue empty.
    pub fn flush(&mut self, sockets: &Sockets, pool: &PacketPool) -> FlushReport {
        let mut report = FlushReport { too_large: std::mem::take(&mut self.oversized), ..Default::default() };
        let Egress { queue, arena, runs, order, batch, .. } = self;
        let bytes = Bytes { arena, pool };
        for run in runs.drain(..) {
            order.clear();
            let mut index = run.first;
            while let Some(queued) = queue.get(index as usize) {
                order.push(index);
                index = queued.next;
            }
            match sockets.get(run.socket) {
                Some(socket) => batch.send(&Flight { socket, queue, bytes }, order, &mut report),
                None => report.stale += order.len() as u64,
            }
        }
        queue.clear();
        arena.clear();
        report
    }

    /// Whether trains are cut up by the kernel; off from the start, or for good, where it cannot.
    pub fn segmentation(&self) -> bool {
        self.batch.segmentation()
    }

    /// Never asks the kernel to cut up trains from here on.
    pub fn disable_segmentation(&mut self) {
        self.batch.disable_segmentation();
    }

    /// Puts the datagram that is about to be queued at the end of its socket's run.
    #[inline]
    fn append(&mut self, socket: SocketId) {
        let index = self.queue.len() as u32;
        let slot = socket.slot();
        if slot >= self.run_of_slot.len() {
            self.run_of_slot.resize(slot + 1, NONE);
        }
        match self.runs.get_mut(self.run_of_slot[slot] as usize) {
            Some(run) if run.socket == socket => {
                self.queue[run.last as usize].next = index;
                run.last = index;
            }
            _ => {
                self.run_of_slot[slot] = self.runs.len() as u32;
                self.runs.push(Run { socket, first: index, last: index });
            }
        }
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
    #[inline]
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

/// The buffer number that means the arena.
const ARENA: u32 = u32::MAX;
/// No index.
const NONE: u32 = u32::MAX;
/// Bytes of head and tail that the arena has room for, per datagram: a Data indication's, with a FINGERPRINT.
const EDGES: usize = 64;
/// The largest UDP payload of an IPv4 packet.
pub(crate) const LARGEST_PAYLOAD: usize = 65_507;
