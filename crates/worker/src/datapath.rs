//! The way of packets through a worker: in by batches, a verdict each, out at once.
//!
//! Nothing here allocates, locks or logs per packet: queues and buffers have their size from the start.

use std::net::SocketAddr;

use turnpike_net::{
    Clock, Egress, FlushReport, IcmpError, PacketPool, Poller, Received, Receiver, SocketId, Sockets, Span,
};
use turnpike_turn::{
    Client, Effect, Event, Link, Now, RelayId, RelayedPort, Reserve, Server, Timestamp, UnixTime, Verdict,
    WaitId,
};
use turnpike_wire::framing::{Frame, next_frame};

use crate::egress::Ways;
use crate::http::HttpAnswer;
use crate::kernel_flows::KernelFlows;
use crate::links::Links;
use crate::relay_sockets::RelaySockets;
use crate::stream::Fill;
use crate::stream_output::Urgency;
use crate::streams::{Closing, StreamCounters, Streams};

/// Everything a packet meets.
pub(crate) struct Datapath {
    pub(crate) server: Server,
    pub(crate) now: Now,
    /// What became of everything sent so far.
    pub(crate) sent: FlushReport,
    links: Links,
    streams: Streams,
    relays: RelaySockets,
    sockets: Sockets,
    poller: Poller,
    flows: KernelFlows,
    report: Box<dyn Fn(Event) + Send>,
    receiver: Receiver,
    pool: PacketPool,
    batch: Vec<Received>,
    icmp_errors: Vec<IcmpError>,
    egress: Egress,
    /// Relays to close once what they still have to send is out.
    closing: Vec<(Option<SocketId>, RelayedPort)>,
}

/// What a [`Datapath`] is made from.
pub(crate) struct Parts {
    pub(crate) server: Server,
    pub(crate) links: Links,
    pub(crate) streams: Streams,
    pub(crate) sockets: Sockets,
    pub(crate) poller: Poller,
    pub(crate) relays: RelaySockets,
    pub(crate) flows: KernelFlows,
    pub(crate) report: Box<dyn Fn(Event) + Send>,
}

impl Datapath {
    pub(crate) fn new(parts: Parts) -> Self {
        Datapath {
            server: parts.server,
            now: Now::default(),
            sent: FlushReport::default(),
            links: parts.links,
            streams: parts.streams,
            relays: parts.relays,
            sockets: parts.sockets,
            poller: parts.poller,
            flows: parts.flows,
            report: parts.report,
            receiver: Receiver::new(LISTENER_BATCH),
            pool: PacketPool::new(POOL),
            batch: Vec::with_capacity(LISTENER_BATCH),
            icmp_errors: Vec::with_capacity(ICMP_ERRORS),
            egress: Egress::new(QUEUE),
            closing: Vec::new(),
        }
    }

    pub(crate) fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Reads the clock, once for everything that follows.
    pub(crate) fn read_clock(&mut self) {
        let reading = Clock.now();
        self.now = Now { monotonic: Timestamp(reading.monotonic), unix: UnixTime(reading.unix) };
    }

    /// Takes in a batch from a listener.
    pub(crate) fn receive_from_clients(&mut self, index: usize) {
        self.make_room(LISTENER_BATCH);
        let Some(listener) = self.links.get_mut(index) else { return };
        let Some(socket) = self.sockets.get(listener.socket) else { return };
        // What is wrong with a listener is wrong for good or passes by itself; either way there is nobody to tell here.
        let _ = self.receiver.receive(socket, LISTENER_BATCH, &mut self.pool, &mut self.batch);
        if let Some(on) = listener.gro.observe(&self.batch) {
            let _ = socket.set_gro(on && self.flows.allow_joining());
        }
        let mut batch = std::mem::take(&mut self.batch);
        for received in &batch {
            let Some(client) = self.links.client(index, received) else { break };
            received.datagrams().for_each(|span| self.client_packet(client, span));
        }
        batch.clear();
        self.batch = batch;
    }

    /// Takes in a batch from a relayed address.
    pub(crate) fn receive_from_peers(&mut self, relay: RelayId) {
        self.make_room(RELAY_BATCH);
        let Some(relay_socket) = self.relays.get_mut(relay) else { return };
        let Some(socket) = self.sockets.get(relay_socket.socket) else { return };
        let _ = self.receiver.receive(socket, RELAY_BATCH, &mut self.pool, &mut self.batch);
        if let Some(on) = relay_socket.gro.observe(&self.batch) {
            let _ = socket.set_gro(on && self.flows.allow_joining());
        }
        let mut batch = std::mem::take(&mut self.batch);
        for received in &batch {
            received.datagrams().for_each(|span| self.peer_packet(relay, received.from, span));
        }
        batch.clear();
        self.batch = batch;
    }

    /// Takes in ICMP errors about what a relayed address has sent: some at a time, since the poller reports the socket
    /// as long as there are more.
    #[cold]
    pub(crate) fn receive_icmp_errors(&mut self, relay: RelayId) {
        let Some(relay_socket) = self.relays.get_mut(relay) else { return };
        let Some(socket) = self.sockets.get(relay_socket.socket) else { return };
        let mut errors = std::mem::take(&mut self.icmp_errors);
        let _ = self.receiver.receive_errors(socket, &mut errors);
        for error in errors.drain(..) {
            self.make_room_to_send();
            let told = turnpike_turn::IcmpError { kind: error.kind, code: error.code, mtu: error.data };
            let Datapath { server, pool, egress, links, streams, relays, .. } = self;
            let verdict = server.handle_peer_icmp(self.now, relay, error.peer, told);
            Ways { pool, egress, links, streams, relays }.queue_notice(&verdict);
        }
        self.icmp_errors = errors;
    }

    /// Takes in connections that wait at a listener.
    pub(crate) fn accept(&mut self, index: usize) {
        self.streams.accept(index, self.now.monotonic, &self.poller);
    }

    /// A connection is ready: to take more of what waits for its client, or to be read.
    pub(crate) fn serve_stream(&mut self, link: Link, readable: bool, writable: bool) {
        if writable && let Err(closing) = self.streams.resume(link, &self.poller) {
            return self.close_stream(link, closing);
        }
        if readable {
            self.read_stream(link);
        }
    }

    /// Reads a connection once, and takes everything out that came with it: TLS may hold more than fits a buffer.
    fn read_stream(&mut self, link: Link) {
        let mut reading = true;
        loop {
            self.make_room(1);
            match self.streams.fill(link, &mut self.pool, reading) {
                Fill::Bytes(span) => {
                    if !self.stream_bytes(link, span) {
                        return self.close_stream(link, Closing::Invalid);
                    }
                }
                Fill::Dry => return,
                Fill::Close(closing) => return self.close_stream(link, closing),
            }
            reading = false;
        }
    }

    /// Cuts what came by a connection into messages. Returns whether it can be followed.
    fn stream_bytes(&mut self, link: Link, mut rest: Span) -> bool {
        let Some(client) = self.streams.client(link) else { return true };
        // Nobody has a channel yet, and a request of HTTP would look like the beginning of much ChannelData.
        let begins_wrongly = self.pool.bytes(rest).first().is_some_and(|first| first & 0xC0 != 0);
        if begins_wrongly && !self.streams.has_begun(link) {
            return self.answer_http(&client, rest);
        }
        loop {
            match next_frame(self.pool.bytes(rest)) {
                Frame::Whole { length, consumed } => {
                    self.streams.note_message(link, self.now.monotonic);
                    self.client_packet(client, rest.part(0..length));
                    rest = rest.part(consumed..usize::MAX);
                }
                Frame::Partial { needed } => {
                    self.streams.keep(link, rest, &self.pool);
                    let allocated = self.server.is_allocated(&client.tuple);
                    return needed <= if allocated { PacketPool::BUFFER } else { LARGEST_FROM_STRANGERS };
                }
                Frame::Invalid => return false,
            }
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

    fn close_stream(&mut self, link: Link, closing: Closing) {
        // What was just answered still goes.
        self.streams.flush(&self.poller);
        if let Some(client) = self.streams.close(link, closing) {
            self.server.handle_link_closed(self.now, client);
        }
    }

    fn close_ended_streams(&mut self) {
        while let Some((link, closing)) = self.streams.pop_ending() {
            self.close_stream(link, closing);
        }
        self.carry_out_effects();
    }

    fn close_idle_streams(&mut self) {
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

    /// When there is something to do without being asked.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let due = [self.server.poll_timeout(), self.streams.next_deadline(), self.flows.next_due()];
        due.into_iter().flatten().min()
    }

    pub(crate) fn stream_counters(&self) -> StreamCounters {
        self.streams.counters()
    }

    /// Does what is due, sends everything, and closes what was ended.
    pub(crate) fn finish_turn(&mut self) {
        if self.server.poll_timeout().is_some_and(|due| due <= self.now.monotonic) {
            self.server.handle_timeout(self.now);
        }
        self.flows.read(self.now.monotonic, &mut self.server);
        self.close_idle_streams();
        self.streams.listen_again(self.now.monotonic, &self.poller);
        self.carry_out_effects();
        self.flush();
        self.close_ended_streams();
        self.pool.clear();
        for (socket, port) in self.closing.drain(..) {
            socket.map(|socket| self.sockets.remove(socket));
            // Only now may another allocation have the port.
            drop(port);
        }
    }

    #[inline]
    fn client_packet(&mut self, client: Client, span: Span) {
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, .. } = self;
        let verdict = server.handle_client_packet(self.now, client, pool.bytes(span));
        let control = !matches!(verdict, Verdict::Forward(_) | Verdict::Drop(_));
        Ways { pool, egress, links, streams, relays }.queue(&verdict, span);
        if control {
            self.carry_out_effects();
        }
    }

    #[inline]
    fn peer_packet(&mut self, relay: RelayId, peer: SocketAddr, span: Span) {
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, .. } = self;
        let verdict = server.handle_peer_packet(self.now, relay, peer, pool.bytes(span));
        Ways { pool, egress, links, streams, relays }.queue(&verdict, span);
    }

    /// Does what the server asks for, which may make it ask for more.
    pub(crate) fn carry_out_effects(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::OpenRelay { wait, relay, address, reserve } => {
                    self.open_relay(wait, relay, address, reserve);
                }
                Effect::DropReserved { token } => self.relays.drop_held(token),
                // At once: the next request may use the slot again.
                Effect::CloseRelay { relay, port } => self.closing.push((self.relays.take(relay), port)),
                Effect::FlowUp(flow) => self.flows.up(self.now.monotonic, &flow, &mut self.server),
                Effect::FlowDown { flow, owner } => self.flows.down(flow, owner, &mut self.server),
                Effect::Report(event) => (self.report)(event),
            }
        }
    }

    fn open_relay(&mut self, wait: WaitId, relay: RelayId, address: SocketAddr, reserve: Reserve) {
        let opened = self.relays.open(relay, address, reserve, &mut self.sockets, &self.poller);
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, .. } = self;
        let verdict = server.handle_relay_opened(self.now, wait, opened);
        // What was asked for may have come by now, but no packet is at hand: the verdict can only be a reply.
        Ways { pool, egress, links, streams, relays }.queue(&verdict, Span { buffer: 0, start: 0, end: 0 });
    }

    /// Sees to it that a batch finds free buffers; what is queued is sent before its bytes are given up.
    fn make_room(&mut self, buffers: usize) {
        if self.pool.free() < buffers {
            self.flush();
            self.pool.clear();
        }
    }

    #[inline]
    fn make_room_to_send(&mut self) {
        if self.egress.is_full() || self.streams.is_full() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let report = self.egress.flush(&self.sockets, &self.pool);
        self.sent.add(&report);
        self.streams.flush(&self.poller);
    }
}

/// Bytes of a message that are waited for on a connection without an allocation: far more than any request has, and
/// far less than would fill the memory.
const LARGEST_FROM_STRANGERS: usize = 8192;
/// Messages taken from a listener at a time.
const LISTENER_BATCH: usize = 64;
/// Messages taken from a relay socket at a time.
const RELAY_BATCH: usize = 16;
/// ICMP errors taken from a relay socket at a time; `receive_errors` takes no more.
const ICMP_ERRORS: usize = 64;
/// Buffers of the packet pool: several batches a turn.
const POOL: usize = 256;
/// Datagrams that may wait to be sent.
const QUEUE: usize = 4096;
