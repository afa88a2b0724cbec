//! The way of packets through a worker: in by batches, a verdict each, out at once.
//!
//! Nothing here allocates, locks or logs per packet: queues and buffers have their size from the start.

mod dtls;
mod hand_over;
mod shared;
mod splice;
mod streams;

use std::net::SocketAddr;

use turnpike_net::{
    Clock, Egress, FlushReport, IcmpError, PacketPool, Poller, Received, Receiver, SocketId, Sockets, Span,
};
use turnpike_turn::{
    Client, Effect, Event, FiveTuple, InquiryId, Now, PeerTransport, Reason, RelayId, RelayedPort, Released,
    Reserve, Server, Timestamp, Transport, UnixTime, Verdict, WaitId,
};

use crate::dtls::{Dtls, is_dtls};
use crate::egress::Ways;
use crate::kernel_flows::KernelFlows;
use crate::links::Links;
use crate::mailbox::Siblings;
use crate::peer_connections::PeerConnections;
use crate::relay_sockets::RelaySockets;
use crate::security::add_security;
use crate::stream_limits::StreamCounters;
use crate::streams::Streams;
use crate::stub::{Predecessor, Successor};
use crate::worker::{Ask, Dropped};

/// Everything a packet meets.
pub(crate) struct Datapath {
    pub(crate) server: Server,
    pub(crate) now: Now,
    /// What became of everything sent so far.
    pub(crate) sent: FlushReport,
    pub(crate) links: Links,
    pub(crate) streams: Streams,
    pub(crate) dtls: Option<Box<Dtls>>,
    /// The way to those DTLS clients that the process before this one has kept.
    pub(crate) predecessor: Option<Box<Predecessor>>,
    /// The way by which datagrams come of those that this process has kept from the one after it.
    pub(crate) successor: Option<Successor>,
    /// What is another process's now.
    pub(crate) released: Option<Released>,
    pub(crate) relays: RelaySockets,
    peers: PeerConnections,
    siblings: Siblings,
    pub(crate) sockets: Sockets,
    pub(crate) poller: Poller,
    pub(crate) flows: KernelFlows,
    report: Box<dyn Fn(Event) + Send>,
    dropped: Option<Dropped>,
    ask: Option<Ask>,
    pub(crate) receiver: Receiver,
    pub(crate) pool: PacketPool,
    batch: Vec<Received>,
    icmp_errors: Vec<IcmpError>,
    pub(crate) egress: Egress,
    /// Relays to close once what they still have to send is out.
    closing: Vec<(Option<SocketId>, RelayedPort)>,
    /// Room for the plain text of a DTLS record.
    plain_text: Box<[u8]>,
}

/// What a [`Datapath`] is made from.
pub(crate) struct Parts {
    pub(crate) server: Server,
    pub(crate) links: Links,
    pub(crate) streams: Streams,
    pub(crate) dtls: Option<Dtls>,
    pub(crate) sockets: Sockets,
    pub(crate) poller: Poller,
    pub(crate) relays: RelaySockets,
    pub(crate) peers: PeerConnections,
    pub(crate) siblings: Siblings,
    pub(crate) flows: KernelFlows,
    pub(crate) report: Box<dyn Fn(Event) + Send>,
    pub(crate) dropped: Option<Dropped>,
    pub(crate) ask: Option<Ask>,
}

impl Datapath {
    pub(crate) fn new(parts: Parts) -> Self {
        Datapath {
            server: parts.server,
            now: Now::default(),
            sent: FlushReport::default(),
            links: parts.links,
            streams: parts.streams,
            dtls: parts.dtls.map(Box::new),
            predecessor: None,
            successor: None,
            released: None,
            relays: parts.relays,
            peers: parts.peers,
            siblings: parts.siblings,
            sockets: parts.sockets,
            poller: parts.poller,
            flows: parts.flows,
            report: parts.report,
            dropped: parts.dropped,
            ask: parts.ask,
            receiver: Receiver::new(LISTENER_BATCH),
            pool: PacketPool::new(POOL),
            batch: Vec::with_capacity(LISTENER_BATCH),
            icmp_errors: Vec::with_capacity(ICMP_ERRORS),
            egress: Egress::new(QUEUE),
            closing: Vec::new(),
            plain_text: vec![0; LARGEST_RECORD].into(),
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
        let plain = listener.plain;
        // What is wrong with a listener is wrong for good or passes by itself; either way there is nobody to tell here.
        let _ = self.receiver.receive(socket, LISTENER_BATCH, &mut self.pool, &mut self.batch);
        if let Some(on) = listener.gro.observe(&self.batch) {
            let _ = socket.set_gro(on && self.flows.allow_joining());
        }
        let mut batch = std::mem::take(&mut self.batch);
        for received in &batch {
            if self.links.is_proxy(received.from.ip()) {
                self.proxied_datagrams(index, received, plain);
                continue;
            }
            let Some(client) = self.links.client(index, received) else { break };
            match plain {
                true => received.datagrams().for_each(|span| self.client_datagram(client, span)),
                false => received.datagrams().for_each(|span| self.dtls_datagram(client, span)),
            }
        }
        batch.clear();
        self.batch = batch;
    }

    /// Takes in what came by a proxy: each datagram says whose it is, or the first of its flow did.
    #[inline(never)]
    fn proxied_datagrams(&mut self, index: usize, received: &Received, plain: bool) {
        for span in received.datagrams() {
            let Datapath { links, server, pool, now, .. } = self;
            let is_used = |tuple: &FiveTuple| server.is_allocated(tuple);
            let origin = links.proxied_client(index, received, pool.bytes(span), now.monotonic, is_used);
            match origin {
                Ok((client, start)) if plain => self.client_datagram(client, span.part(start..usize::MAX)),
                Ok((client, start)) => self.dtls_datagram(client, span.part(start..usize::MAX)),
                Err(reason) => {
                    server.handle_proxy_refused(now.monotonic, received.from, Transport::Udp, reason);
                }
            }
        }
    }

    /// Takes in a batch from a relayed address.
    pub(crate) fn receive_from_peers(&mut self, relay: RelayId) {
        self.make_room(RELAY_BATCH);
        let Some(relay_socket) = self.relays.get_mut(relay) else {
            return self.accept_from_peers(relay);
        };
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
            let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
            let verdict = server.handle_peer_icmp(self.now, relay, error.peer, told);
            Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }.queue_notice(&verdict);
        }
        self.icmp_errors = errors;
    }

    /// When there is something to do without being asked.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let dtls = self.dtls.as_ref().and_then(|dtls| dtls.next_deadline());
        let connections = [self.streams.next_deadline(), self.peers.next_deadline()];
        [self.server.poll_timeout(), self.flows.next_due(), dtls]
            .into_iter()
            .chain(connections)
            .flatten()
            .min()
    }

    /// Datagrams that the kernel has dropped in front of the listeners.
    pub(crate) fn dropped_by_kernel(&self) -> u64 {
        self.links.dropped_by_kernel(&self.sockets)
    }

    pub(crate) fn stream_counters(&self) -> StreamCounters {
        self.streams.counters()
    }

    /// Does what is due, sends everything, and closes what was ended.
    pub(crate) fn finish_turn(&mut self) {
        if self.server.poll_timeout().is_some_and(|due| due <= self.now.monotonic) {
            self.server.handle_timeout(self.now);
        }
        if self.peers.next_deadline().is_some_and(|due| due <= self.now.monotonic) {
            self.serve_due_peers();
        }
        self.flows.read(self.now.monotonic, &mut self.server);
        self.close_idle_streams();
        self.finish_dtls_turn();
        self.streams.listeners.listen_again(self.now.monotonic, &self.poller);
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

    /// A datagram that came by a listener.
    #[inline]
    fn client_datagram(&mut self, client: Client, span: Span) {
        if (self.dtls.is_some() || self.predecessor.is_some()) && is_dtls(self.pool.bytes(span)) {
            return self.dtls_datagram(client, span);
        }
        self.client_packet(client, span);
    }

    #[inline]
    fn client_packet(&mut self, client: Client, span: Span) -> Handled {
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, dtls, dropped, .. } = self;
        let verdict = server.handle_client_packet(self.now, client, pool.bytes(span));
        let handled = match &verdict {
            Verdict::Forward(_) => Handled::Data,
            Verdict::Drop(reason) => {
                if let Some(dropped) = dropped
                    && is_worth_showing(*reason, &client.tuple)
                {
                    dropped(&client.tuple, *reason, pool.bytes(span));
                }
                Handled::Data
            }
            Verdict::HandOver { worker } => Handled::Elsewhere { worker: *worker },
            Verdict::Reply { .. } | Verdict::Wait(_) | Verdict::Asking(_) | Verdict::Connecting(_) => {
                Handled::Control
            }
        };
        Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }.queue(&verdict, span);
        if handled == Handled::Control {
            self.carry_out_effects();
        }
        handled
    }

    #[inline]
    fn peer_packet(&mut self, relay: RelayId, peer: SocketAddr, span: Span) {
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
        let verdict = server.handle_peer_packet(self.now, relay, peer, pool.bytes(span));
        Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }.queue(&verdict, span);
    }

    /// Does what the server asks for, which may make it ask for more.
    pub(crate) fn carry_out_effects(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::OpenRelay { wait, relay, address, transport, reserve } => {
                    self.open_relay(wait, (relay, transport), address, reserve);
                }
                Effect::ConnectPeer { connection, from, peer, deadline } => {
                    self.connect_peer(connection, (from, peer), deadline);
                }
                Effect::Splice { client, connection } => self.splice(client, connection),
                Effect::ClosePeer { connection } => self.close_peer(connection),
                Effect::DropReserved { token } => self.relays.drop_held(token),
                // At once: the next request may use the slot again.
                Effect::CloseRelay { relay, port } => {
                    self.peers.close_relay(relay);
                    self.closing.push((self.relays.take(relay), port));
                }
                Effect::FindCredential { inquiry, realm, name } => match &self.ask {
                    Some(ask) => ask(inquiry, realm, name),
                    None => self.go_on(inquiry),
                },
                Effect::Post { to, letter } => self.post(to, letter),
                Effect::FlowUp(flow) => self.flows.up(self.now.monotonic, &flow, &mut self.server),
                Effect::FlowDown { flow, owner } => self.flows.down(flow, owner, &mut self.server),
                Effect::Report(mut event) => {
                    add_security(&mut event, &self.streams, self.dtls.as_deref());
                    (self.report)(event);
                }
            }
        }
    }

    /// Goes on with a request whose sender is known now, or will not be.
    pub(crate) fn go_on(&mut self, inquiry: InquiryId) {
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
        let verdict = server.handle_credential(self.now, inquiry);
        // No packet is at hand: the verdict can only be a reply.
        Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }
            .queue(&verdict, Span { buffer: 0, start: 0, end: 0 });
    }

    fn open_relay(
        &mut self,
        wait: WaitId,
        (relay, transport): (RelayId, PeerTransport),
        address: SocketAddr,
        reserve: Reserve,
    ) {
        let opened = match transport {
            PeerTransport::Udp => self.relays.open(relay, address, reserve, &mut self.sockets, &self.poller),
            PeerTransport::Tcp => self.peers.open(relay, address, &self.poller),
        };
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
        let verdict = server.handle_relay_opened(self.now, wait, opened);
        // What was asked for may have come by now, but no packet is at hand: the verdict can only be a reply.
        Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }
            .queue(&verdict, Span { buffer: 0, start: 0, end: 0 });
    }

    /// Sees to it that a batch finds free buffers; what is queued is sent before its bytes are given up.
    pub(crate) fn make_room(&mut self, buffers: usize) {
        if self.pool.free() < buffers {
            self.flush();
            self.pool.clear();
        }
    }

    #[inline]
    pub(crate) fn make_room_to_send(&mut self) {
        if self.egress.is_full() || self.streams.is_full() {
            self.flush();
        }
    }

    /// The ways out.
    pub(crate) fn ways(&mut self) -> Ways<'_> {
        let Datapath { pool, egress, links, streams, relays, dtls, .. } = self;
        Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }
    }

    pub(crate) fn flush(&mut self) {
        let report = self.egress.flush(&self.sockets, &self.pool);
        self.sent.add(&report);
        self.streams.flush(&self.poller);
    }
}

/// Whether a datagram is dropped for what it is, and not for what its sender may do.
fn is_worth_showing(reason: Reason, tuple: &FiveTuple) -> bool {
    use Reason::{
        BadChannelData, Empty, Malformed, NoMagicCookie, NotStun, UnexpectedResponse, UnknownMethod,
        WrongFingerprint,
    };
    let is_odd = matches!(
        reason,
        Empty
            | NotStun
            | Malformed
            | NoMagicCookie
            | WrongFingerprint
            | UnexpectedResponse
            | UnknownMethod
            | BadChannelData
    );
    is_odd && !tuple.transport.is_stream()
}

/// Bytes of plain text in a DTLS record.
const LARGEST_RECORD: usize = 1 << 14;
/// What came of a client's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handled {
    /// It was passed on, or dropped.
    Data,
    /// It was answered, or will be.
    Control,
    /// Another worker is to see it.
    Elsewhere { worker: u16 },
}

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
