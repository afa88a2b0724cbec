//! Clients' connections: TCP, and TLS over it.
//!
//! An idle connection holds no buffer: what is read goes into the packet pool and what is sent into a buffer that all
//! connections share for one turn of the loop; a connection of its own keeps only half a message that has not ended
//! yet, and what the client has not taken. Both are bounded. For a client that does not read, data is dropped and
//! answers are kept, until there is too much of them as well.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use turnpike_net::{PacketPool, Poller, Span, TcpConnection, TcpListener};
use turnpike_turn::{Client, FiveTuple, Link, PeerConnectionId, Reason, Timestamp, Transport};

use crate::http::{HttpAnswer, HttpAnswers};
use crate::proxies::{Opening, ProxyRules};
use crate::stream::{Fill, Stream};
use crate::stream_limits::{StreamCounters, StreamLimits};
use crate::stream_listeners::StreamListeners;
use crate::stream_output::{StreamOutput, Urgency};
use crate::tls::TlsAcceptor;

/// A worker's connections and the listeners they come by.
pub(crate) struct Streams {
    pub(crate) listeners: StreamListeners,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// How many connections each source has open.
    sources: HashMap<IpAddr, u32>,
    /// When to look whether a connection is still wanted.
    deadlines: BinaryHeap<Reverse<(Timestamp, u64)>>,
    output: StreamOutput,
    /// What turned out to have ended, and is to be closed before the turn ends.
    ending: Vec<(Link, Closing)>,
    acceptor: Option<Arc<TlsAcceptor>>,
    limits: StreamLimits,
    http: HttpAnswers,
    proxies: ProxyRules,
    counters: StreamCounters,
}

/// A connection on its way to another worker.
pub struct MovedStream(Box<Stream>);

impl std::fmt::Debug for MovedStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "MovedStream({})", self.0.client.tuple.client)
    }
}

struct Slot {
    generation: u32,
    stream: Option<Stream>,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The client did, or the network.
    Ended,
    /// What came is nothing that is spoken here.
    Invalid,
    /// A proxy did not say, or not properly, whose it is.
    Header(Reason),
    /// Silence.
    Idle,
    /// The client does not read.
    Stuck,
    /// What it was spliced with broke.
    Broken,
}

impl Streams {
    /// None yet; they will come by these listeners.
    pub(crate) fn new(
        listeners: StreamListeners,
        acceptor: Option<Arc<TlsAcceptor>>,
        (limits, http, proxies): (StreamLimits, HttpAnswers, ProxyRules),
    ) -> Self {
        Streams {
            listeners,
            slots: Vec::new(),
            free: Vec::new(),
            sources: HashMap::new(),
            deadlines: BinaryHeap::new(),
            output: StreamOutput::default(),
            ending: Vec::new(),
            acceptor,
            limits,
            http,
            proxies,
            counters: StreamCounters::default(),
        }
    }

    /// Treats connections so from here on.
    pub(crate) fn follow(&mut self, idle: Duration, http: HttpAnswers, proxies: ProxyRules) {
        self.limits.idle = idle;
        self.http = http;
        self.proxies = proxies;
    }

    pub(crate) fn counters(&self) -> StreamCounters {
        self.counters
    }

    /// Takes in what waits at a listener, a few at a time. Names those that come where only proxies may, to `refused`.
    pub(crate) fn accept(
        &mut self,
        index: usize,
        now: Timestamp,
        poller: &Poller,
        mut refused: impl FnMut(SocketAddr),
    ) {
        for _ in 0..ACCEPTED_AT_ONCE {
            match self.listeners.get(index).map(TcpListener::accept) {
                Some(Ok(Some(connection))) => {
                    let source = connection.peer_address();
                    match self.proxies.judge(source.ip(), connection.local_address().port()) {
                        Opening::Direct => self.admit(connection, false, now, poller),
                        Opening::Proxied => self.admit(connection, true, now, poller),
                        Opening::Untrusted => {
                            self.counters.refused += 1;
                            refused(source);
                        }
                    }
                }
                Some(Err(_)) => return self.listeners.pause(now, poller),
                Some(Ok(None)) | None => return,
            }
        }
    }

    /// How many connections are open.
    pub(crate) fn open_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn admit(&mut self, connection: TcpConnection, proxied: bool, now: Timestamp, poller: &Poller) {
        let tuple = FiveTuple {
            transport: Transport::Tcp,
            server: connection.local_address(),
            client: connection.peer_address(),
        };
        let stream = Stream::new(connection, Client { link: Link(0), tuple }, proxied, now);
        if self.place(stream, now, poller).is_some() {
            self.counters.accepted += 1;
        }
    }

    /// Gives a connection that is not watched a link of its own, if there is room for one more.
    fn place(&mut self, mut stream: Stream, now: Timestamp, poller: &Poller) -> Option<Link> {
        let source = stream.counted;
        let open = self.slots.len() - self.free.len();
        let of_source = self.sources.get(&source).copied().unwrap_or_default();
        if open >= self.limits.total as usize || of_source >= self.limits.per_source {
            self.counters.refused += 1;
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, stream: None });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        let link = link_of(slot, place.generation);
        stream.client.link = link;
        if stream.watch(poller).is_err() {
            self.free.push(slot);
            self.counters.refused += 1;
            return None;
        }
        place.stream = Some(stream);
        *self.sources.entry(source).or_default() += 1;
        self.deadlines.push(Reverse((now + self.limits.idle, link.0)));
        Some(link)
    }

    /// Takes a connection out, for another worker.
    pub(crate) fn release(&mut self, link: Link, poller: &Poller) -> Option<MovedStream> {
        let mut stream = self.take(link)?;
        stream.unwatch(poller).ok()?;
        self.counters.moved += 1;
        Some(MovedStream(Box::new(stream)))
    }

    /// Takes over a connection from another worker.
    pub(crate) fn adopt(&mut self, moved: MovedStream, now: Timestamp, poller: &Poller) -> Option<Link> {
        self.place(*moved.0, now, poller)
    }

    /// What a connection brought along, in one piece; `None` if that is nothing.
    pub(crate) fn take_unread(&mut self, link: Link, pool: &mut PacketPool) -> Option<Span> {
        find(&mut self.slots, link)?.take_unread(pool)
    }

    /// A connection could not go where it belongs.
    pub(crate) fn count_refused(&mut self) {
        self.counters.refused += 1;
    }

    /// Joins a connection with that of a peer. Returns whether it is there.
    pub(crate) fn splice(&mut self, link: Link, name: PeerConnectionId) -> bool {
        find(&mut self.slots, link).map(|stream| stream.spliced = Some(name)).is_some()
    }

    /// The connection with a peer that a client's is spliced with.
    #[inline]
    pub(crate) fn spliced(&self, link: Link) -> Option<PeerConnectionId> {
        self.get(link)?.spliced
    }

    /// Sends bytes at once, as they are.
    pub(crate) fn send_raw(&mut self, link: Link, bytes: &[u8]) -> std::io::Result<()> {
        find(&mut self.slots, link).map_or(Ok(()), |stream| stream.send(&[std::io::IoSlice::new(bytes)]))
    }

    /// Whether a client has not taken everything.
    pub(crate) fn is_blocked(&self, link: Link) -> bool {
        self.get(link).is_some_and(Stream::is_behind)
    }

    /// Sends the end of what is sent. Returns whether everything is out.
    pub(crate) fn finish(&mut self, link: Link) -> std::io::Result<bool> {
        find(&mut self.slots, link).map_or(Ok(true), Stream::finish)
    }

    /// Whether a connection is to be read from here on.
    pub(crate) fn read_on(&mut self, link: Link, reads: bool, poller: &Poller) -> std::io::Result<()> {
        let Some(stream) = find(&mut self.slots, link) else { return Ok(()) };
        stream.reads = reads;
        stream.watch(poller)
    }

    /// Who is at the other end of a connection.
    pub(crate) fn client(&self, link: Link) -> Option<Client> {
        self.get(link).map(|stream| stream.client)
    }

    /// What its TLS agreed on, if it is spoken.
    pub(crate) fn security(&self, link: Link) -> Option<turnpike_turn::Security> {
        self.get(link)?.security()
    }

    /// Whether a whole message has ever come by it.
    pub(crate) fn has_begun(&self, link: Link) -> bool {
        self.get(link).is_some_and(|stream| stream.has_begun)
    }

    /// The server that a connection's TLS session has asked for.
    pub(crate) fn server_name(&self, link: Link) -> Option<&str> {
        self.get(link)?.server_name()
    }

    /// What to say to whoever begins with anything but STUN.
    pub(crate) fn http_answer(&self, client: &Client, bytes: &[u8]) -> HttpAnswer {
        self.http.judge(bytes, client.tuple.transport == Transport::Tcp)
    }

    /// More of what a client sent: behind half a message that came before, in one piece. Reads the socket only if
    /// `reading`, and otherwise gives what was read with it.
    pub(crate) fn fill(&mut self, link: Link, pool: &mut PacketPool, reading: bool) -> Fill {
        let Streams { slots, acceptor, .. } = self;
        let Some(stream) = find(slots, link) else { return Fill::Dry };
        if stream.awaits_header {
            match stream.read_header(reading) {
                Fill::Dry if !stream.awaits_header => return self.move_to_client(link),
                fill => return fill,
            }
        }
        stream.fill(pool, acceptor.as_deref(), reading)
    }

    /// A proxy has said whose a connection is: it counts as the client's from here on, and no longer as the proxy's.
    #[cold]
    fn move_to_client(&mut self, link: Link) -> Fill {
        let Streams { slots, sources, limits, counters, .. } = self;
        let Some(stream) = find(slots, link) else { return Fill::Dry };
        let source = stream.client.tuple.client.ip();
        let of_source = sources.get(&source).copied().unwrap_or_default();
        if source != stream.counted && of_source >= limits.per_source {
            counters.refused += 1;
            return Fill::Close(Closing::Ended);
        }
        let before = std::mem::replace(&mut stream.counted, source);
        count_out(sources, before);
        *sources.entry(source).or_default() += 1;
        Fill::Dry
    }

    /// A whole message has come.
    pub(crate) fn note_message(&mut self, link: Link, now: Timestamp) {
        if let Some(stream) = find(&mut self.slots, link) {
            stream.heard = now;
            stream.has_begun = true;
        }
    }

    /// Keeps the beginning of a message until more comes.
    pub(crate) fn keep(&mut self, link: Link, span: Span, pool: &PacketPool) {
        if let Some(stream) = find(&mut self.slots, link) {
            stream.keep(pool.bytes(span));
        }
    }

    /// Puts a message, in parts, behind what is to be sent this turn.
    pub(crate) fn send(&mut self, link: Link, parts: [&[u8]; 3], urgency: Urgency) {
        let Streams { slots, output, counters, ending, .. } = self;
        let Some(stream) = find(slots, link) else { return };
        let room = match urgency {
            Urgency::Data => MOST_DATA_WAITING,
            Urgency::Control => MOST_WAITING,
        };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if stream.waiting() + length > room {
            counters.dropped += 1;
            if urgency == Urgency::Control {
                ending.push((link, Closing::Stuck));
            }
            return;
        }
        stream.queued += length;
        output.push(link, parts);
    }

    /// Whether so much is to be sent that it should be now.
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() >= MOST_OUTPUT
    }

    /// Hands everything to the kernel.
    pub(crate) fn flush(&mut self, poller: &Poller) {
        let Streams { slots, output, ending, .. } = self;
        output.drain(|link, slices| {
            let Some(stream) = find(slots, link) else { return };
            stream.queued = 0;
            let sent = stream.send(slices);
            if sent.and_then(|()| stream.watch(poller)).is_err() {
                ending.push((link, Closing::Ended));
            }
        });
    }

    /// A connection that is to be closed, with the reason.
    pub(crate) fn pop_ending(&mut self) -> Option<(Link, Closing)> {
        self.ending.pop()
    }

    /// The kernel takes more: sends what waited.
    pub(crate) fn resume(&mut self, link: Link, poller: &Poller) -> Result<(), Closing> {
        let Some(stream) = find(&mut self.slots, link) else { return Ok(()) };
        stream.resume().and_then(|()| stream.watch(poller)).map_err(|_| Closing::Ended)
    }

    /// Forgets a connection, which closes it. Returns whose it was.
    pub(crate) fn close(&mut self, link: Link, closing: Closing) -> Option<Client> {
        let stream = self.take(link)?;
        match closing {
            Closing::Ended | Closing::Broken => {}
            Closing::Invalid | Closing::Header(_) => self.counters.invalid += 1,
            Closing::Idle => self.counters.idle += 1,
            Closing::Stuck => self.counters.stuck += 1,
        }
        let client = stream.client;
        if closing == Closing::Broken {
            stream.abort()
        } else {
            stream.end()
        }
        Some(client)
    }

    fn take(&mut self, link: Link) -> Option<Stream> {
        let (slot, generation) = parts_of(link)?;
        let place = self.slots.get_mut(slot as usize)?;
        if place.generation != generation {
            return None;
        }
        let stream = place.stream.take()?;
        place.generation = (generation + 1) & GENERATIONS;
        self.free.push(slot);
        count_out(&mut self.sources, stream.counted);
        Some(stream)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let idle = self.deadlines.peek().map(|Reverse((due, _))| *due);
        [idle, self.listeners.paused()].into_iter().flatten().min()
    }

    /// The next connection that has been silent for too long; one that `is_used` may be.
    pub(crate) fn pop_idle(&mut self, now: Timestamp, is_used: impl Fn(&FiveTuple) -> bool) -> Option<Link> {
        while self.deadlines.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Reverse((_, bits)) = self.deadlines.pop()?;
            let Some(stream) = find(&mut self.slots, Link(bits)) else { continue };
            let used = stream.spliced.is_some() || is_used(&stream.client.tuple);
            let due = if used { now } else { stream.heard } + self.limits.idle;
            if due <= now {
                return Some(Link(bits));
            }
            self.deadlines.push(Reverse((due, bits)));
        }
        None
    }

    /// Every connection there is.
    pub(crate) fn links(&self) -> Vec<Link> {
        let open = self.slots.iter().filter_map(|slot| slot.stream.as_ref());
        open.map(|stream| stream.client.link).collect()
    }

    fn get(&self, link: Link) -> Option<&Stream> {
        let (slot, generation) = parts_of(link)?;
        let place = self.slots.get(slot as usize)?;
        place.stream.as_ref().filter(|_| place.generation == generation)
    }
}

/// One connection less of this source.
fn count_out(sources: &mut HashMap<IpAddr, u32>, source: IpAddr) {
    if let Some(open) = sources.get_mut(&source) {
        *open -= 1;
        if *open == 0 {
            sources.remove(&source);
        }
    }
}

fn find(slots: &mut [Slot], link: Link) -> Option<&mut Stream> {
    let (slot, generation) = parts_of(link)?;
    let place = slots.get_mut(slot as usize)?;
    place.stream.as_mut().filter(|_| place.generation == generation)
}

/// Whether a link, or a poller's token, is a connection's.
#[inline]
pub(crate) fn is_stream(bits: u64) -> bool {
    bits >> 62 == STREAM >> 62
}

fn link_of(slot: u32, generation: u32) -> Link {
    Link(STREAM | u64::from(generation & GENERATIONS) << 32 | u64::from(slot))
}

fn parts_of(link: Link) -> Option<(u32, u32)> {
    is_stream(link.0).then_some((link.0 as u32, (link.0 >> 32) as u32 & GENERATIONS))
}

/// What tells a connection's link from a listener's (no high bit) and from the tokens of listeners (both high bits).
const STREAM: u64 = 1 << 63;
const GENERATIONS: u32 = (1 << 30) - 1;
/// Connections taken from a listener in one turn.
const ACCEPTED_AT_ONCE: usize = 64;
/// Bytes that wait for a client beyond which data is dropped.
const MOST_DATA_WAITING: usize = 256 * 1024;
/// Bytes that wait for a client beyond which it is given up.
const MOST_WAITING: usize = 384 * 1024;
/// Bytes to send in one turn before some are sent.
const MOST_OUTPUT: usize = 1024 * 1024;

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
