//! A naive server: what RFC 8489 and RFC 8656 say, over plain lists that are searched from end to end.
//!
//! It shares no logic with the core: it reads bytes, derives keys and checks integrity by itself. Where the
//! core may choose (port, nonce, token, session), the model learns the choice and checks that it was allowed.

mod algorithms;
mod allocate;
mod credentials;
mod data;
mod message;
mod mobility;
mod opening;
mod peers;
mod requests;
mod response;
mod settle;
mod tcp_relay;

pub(crate) use algorithms::{Algorithm, long_term_key, user_hash};
pub(crate) use credentials::rest_password;
pub(crate) use settle::Counters;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use turnpike_turn::{
    Client, EndCause, IcmpError, Now, PeerConnectionId, Reason, RelayId, SessionId, Timestamp, Usage, WaitId,
};

use allocate::Wanted;
use credentials::{Identity, IssuedNonce};
use message::Parsed;
use mobility::Mobile;
use peers::Access;
use response::{Asked, Bucket, Response};
use tcp_relay::{Attempt, Connection};

use crate::observed::Report;
use crate::settings::Settings;

/// The state of all workers together.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    settings: Settings,
    allocations: Vec<Allocation>,
    pending: Vec<Pending>,
    reservations: Vec<Reservation>,
    connections: Vec<Connection>,
    /// Ports of ended allocations whose sockets are still being closed.
    closing: Vec<SocketAddr>,
    deleted: Vec<Deleted>,
    nonces: Vec<IssuedNonce>,
    buckets: Vec<((u16, IpAddr), Bucket)>,
    sessions: Vec<SessionId>,
    tokens: Vec<[u8; 8]>,
    /// What goes with sessions that have tickets.
    mobiles: Vec<Mobile>,
    /// Every ticket that was ever given out, for which session, and by which worker.
    tickets: Vec<(Vec<u8>, SessionId, u16)>,
    counters: Vec<Counters>,
    /// What the core is to report for the input at hand.
    reports: Vec<Report>,
    /// The sockets it is to close.
    closings: Vec<(RelayId, SocketAddr)>,
    /// The connections it is to splice, and those it is to close.
    splices: Vec<(Client, PeerConnectionId)>,
    closed_connections: Vec<PeerConnectionId>,
}

/// Where an input comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// Which worker got it.
    pub(crate) worker: u16,
    /// The client.
    pub(crate) client: Client,
}

/// What the core is to do with one input.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Drop it.
    Drop(Reason),
    /// Send this to a peer.
    ToPeer {
        /// From which relayed address.
        relay: RelayId,
        /// To whom.
        peer: SocketAddr,
        /// What.
        data: Vec<u8>,
        /// Unfragmented.
        dont_fragment: bool,
    },
    /// Send this to a client.
    ToClient {
        /// To whom.
        to: Client,
        /// By a channel, or as a Data indication.
        channel: Option<u16>,
        /// From whom.
        peer: SocketAddr,
        /// Whether an indication carries FINGERPRINT.
        fingerprint: bool,
        /// What.
        data: Vec<u8>,
    },
    /// Tell a client of an ICMP error.
    Icmp {
        /// Whom.
        to: Client,
        /// About whom.
        peer: SocketAddr,
        /// The attribute's value.
        value: [u8; 8],
        /// Whether it carries FINGERPRINT.
        fingerprint: bool,
    },
    /// Answer.
    Reply(Box<Response>),
    /// Answer that an allocation was made.
    Allocate {
        /// The answer.
        response: Box<Response>,
        /// The allocation to be.
        pending: Box<Pending>,
        /// When.
        now: Timestamp,
    },
    /// Open a socket of the core's choice.
    Open(Box<Wanted>),
    /// Make a connection to a peer.
    Connect(Box<Attempt>),
    /// Tell a client of one that a peer has made.
    Attempted {
        /// Which worker has it.
        worker: u16,
        /// From which relayed address.
        relay: RelayId,
        /// Whom to tell.
        to: Client,
        /// Whose it is.
        peer: SocketAddr,
        /// Whether it carries FINGERPRINT.
        fingerprint: bool,
    },
    /// Let another worker see it.
    HandOver(u16),
    /// The input has no verdict.
    Nothing,
}

/// A relayed transport address; an allocation has one or two, IPv4 first.
#[derive(Clone, Debug)]
struct Allocation {
    worker: u16,
    client: Client,
    owner: Identity,
    relay: RelayId,
    session: SessionId,
    local: SocketAddr,
    tcp: bool,
    id: [u8; 12],
    created: Timestamp,
    expires: Timestamp,
    token: Option<[u8; 8]>,
    /// The family (1 or 2) that could not be had, and the error.
    lacks: Option<(u8, u16)>,
    fingerprint: bool,
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
    usage: Usage,
}

#[derive(Clone, Debug)]
struct Permission {
    peer: IpAddr,
    access: Access,
    expires: Timestamp,
    /// Whether a refusal under it was reported.
    told: bool,
}

#[derive(Clone, Debug)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires: Timestamp,
}

/// An Allocate whose socket is being opened.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    wait: WaitId,
    relay: RelayId,
    local: SocketAddr,
    wanted: Wanted,
    attempts: u32,
    /// The first of two relayed addresses, which is open.
    first: Option<(RelayId, SocketAddr)>,
    /// Whether the client's connection has ended since.
    abandoned: bool,
}

#[derive(Clone, Debug)]
struct Reservation {
    worker: u16,
    token: [u8; 8],
    local: SocketAddr,
    expires: Timestamp,
    /// Whose place in the quotas it keeps, its allocation having ended.
    place: Option<Identity>,
}

#[derive(Clone, Debug)]
struct Deleted {
    worker: u16,
    client: Client,
    id: [u8; 12],
    owner: Identity,
    forgotten: Timestamp,
}

impl Model {
    /// A server that was just started.
    pub(crate) fn new(settings: Settings) -> Self {
        let counters = vec![Counters::default(); usize::from(settings.workers)];
        Model {
            settings,
            allocations: Vec::new(),
            pending: Vec::new(),
            reservations: Vec::new(),
            connections: Vec::new(),
            closing: Vec::new(),
            deleted: Vec::new(),
            nonces: Vec::new(),
            buckets: Vec::new(),
            sessions: Vec::new(),
            tokens: Vec::new(),
            mobiles: Vec::new(),
            tickets: Vec::new(),
            counters,
            reports: Vec::new(),
            closings: Vec::new(),
            splices: Vec::new(),
            closed_connections: Vec::new(),
        }
    }

    /// A packet from a client.
    pub(crate) fn client_packet(&mut self, now: Now, source: Source, packet: &[u8]) -> Expected {
        let source = self.passed_on(source, packet);
        let expected = match packet.first() {
            None => Err(Reason::Empty),
            Some(0..=3) => self.message(now, source, packet),
            Some(64..=127) => self.channel_data(now, source, packet),
            Some(_) => Err(Reason::NotStun),
        };
        expected.unwrap_or_else(|reason| self.drop_for(source.worker, reason))
    }

    /// A datagram from a peer.
    pub(crate) fn peer_packet(
        &mut self,
        now: Now,
        worker: u16,
        relay: RelayId,
        peer: SocketAddr,
        packet: &[u8],
    ) -> Expected {
        let expected = self.data_from_peer(now, worker, relay, peer, packet);
        expected.unwrap_or_else(|reason| self.drop_for(worker, reason))
    }

    /// An ICMP error about what a relayed address has sent to a peer.
    pub(crate) fn peer_icmp(
        &mut self,
        now: Now,
        worker: u16,
        relay: RelayId,
        peer: SocketAddr,
        error: IcmpError,
    ) -> Expected {
        let expected = self.icmp_from_peer(now, worker, relay, peer, error);
        expected.unwrap_or_else(|reason| self.drop_for(worker, reason))
    }

    /// A client's connection has ended.
    pub(crate) fn link_closed(&mut self, now: Now, source: Source) -> Expected {
        let own = |it: &Allocation| it.worker == source.worker && it.client == source.client;
        while let Some(at) = self.allocations.iter().position(own) {
            self.end(now.monotonic, at, EndCause::Disconnected);
        }
        for pending in &mut self.pending {
            pending.abandoned |= pending.wanted.source.worker == source.worker
                && pending.wanted.source.client == source.client;
        }
        Expected::Nothing
    }

    /// Time has passed.
    pub(crate) fn timeout(&mut self, now: Now, worker: u16) -> Expected {
        let now = now.monotonic;
        self.close_unbound(now, worker);
        self.end_overlaps(now, worker);
        let due = |it: &Allocation| it.worker == worker && it.expires <= now;
        while let Some(at) = self.allocations.iter().position(due) {
            self.end(now, at, EndCause::Expired);
        }
        self.reservations.retain(|it| it.worker != worker || it.expires > now);
        Expected::Nothing
    }

    /// The worker stops.
    pub(crate) fn shutdown(&mut self, now: Now, worker: u16) -> Expected {
        while let Some(at) = self.allocations.iter().position(|it| it.worker == worker) {
            self.end(now.monotonic, at, EndCause::Shutdown);
        }
        Expected::Nothing
    }

    /// The rules have changed.
    pub(crate) fn reload(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// A closed socket's port is free again.
    pub(crate) fn port_released(&mut self, local: SocketAddr) {
        self.closing.retain(|it| *it != local);
    }

    /// How many ports are taken.
    pub(crate) fn ports_taken(&self) -> usize {
        let pairs = self.pending.iter().filter(|it| it.wanted.pair).count();
        let firsts = self.pending.iter().filter(|it| it.first.is_some()).count();
        let begun = self.pending.len() + pairs + firsts;
        self.allocations.len() + begun + self.reservations.len() + self.closing.len()
    }

    /// How many quota places are taken.
    pub(crate) fn places_taken(&self) -> usize {
        let mut sessions: Vec<_> = self.allocations.iter().map(|it| it.session).collect();
        sessions.sort();
        sessions.dedup();
        let kept = self.reservations.iter().filter(|it| it.place.is_some()).count();
        sessions.len() + self.pending.len() + kept
    }

    /// When the first allocation of a worker expires.
    pub(crate) fn next_expiry(&self, worker: u16) -> Option<Timestamp> {
        let own = self.allocations.iter().filter(|it| it.worker == worker);
        own.map(|it| it.expires).min()
    }

    fn message(&mut self, now: Now, source: Source, packet: &[u8]) -> Result<Expected, Reason> {
        let message = Parsed::read(packet)?;
        if message.class > 1 {
            return Err(Reason::UnexpectedResponse);
        }
        if !message.fingerprint_fits() {
            return Err(Reason::WrongFingerprint);
        }
        match (message.class, message.method) {
            (1, SEND) if self.settings.relaying => self.send_indication(now, source, &message),
            (1, BINDING) => Err(Reason::KeepAlive),
            (1, _) => Err(Reason::UnknownMethod),
            _ => self.request(now, source, &message),
        }
    }

    /// Ends one relayed address, and the session if it was the last.
    fn end(&mut self, now: Timestamp, at: usize, cause: EndCause) {
        let ended = self.allocations.remove(at);
        self.close_with(ended.worker, ended.relay);
        let relayed = self.advertised(ended.local);
        let (session, user) = (ended.session, ended.owner.name.clone());
        self.closings.push((ended.relay, ended.local));
        self.closing.push(ended.local);
        if let Some(other) = self.allocations.iter_mut().find(|it| it.session == session) {
            other.usage.client_packets += ended.usage.client_packets;
            other.usage.client_bytes += ended.usage.client_bytes;
            other.usage.peer_packets += ended.usage.peer_packets;
            other.usage.peer_bytes += ended.usage.peer_bytes;
            other.usage.flow_packets += ended.usage.flow_packets;
            other.usage.flow_bytes += ended.usage.flow_bytes;
            self.reports.push(Report::RelayEnded { session, user, relayed, cause });
            return;
        }
        let reservation = self.reservations.iter_mut().find(|it| Some(it.token) == ended.token);
        if let Some(reservation) = reservation {
            reservation.place = Some(ended.owner);
        }
        self.counters[usize::from(ended.worker)].allocations_ended += 1;
        self.mobiles.retain(|it| it.session != session);
        let duration = Duration::from_nanos(now.0 - ended.created.0);
        let (tuple, usage) = (ended.client.tuple, ended.usage);
        self.reports.push(Report::Ended { session, user, tuple, relayed, cause, duration, usage });
    }

    fn processed(
        &mut self,
        asked: &Asked,
        session: Option<SessionId>,
        user: Option<&Identity>,
        refusal: Option<(u16, Reason)>,
    ) {
        self.reports.push(Report::Processed {
            tuple: asked.client.tuple,
            session,
            user: user.map(|user| user.name.clone()),
            method: asked.method,
            refusal,
        });
    }

    fn allocation(&self, source: &Source) -> Option<&Allocation> {
        self.allocations.iter().find(|it| self.is_on(it, source))
    }

    /// Where in the list is the relayed address of this client from which `peer` can be reached.
    fn towards(&self, source: &Source, peer: SocketAddr) -> Option<usize> {
        self.allocations.iter().position(|it| self.is_on(it, source) && it.local.is_ipv4() == peer.is_ipv4())
    }

    /// All relayed addresses of this client.
    fn halves(&self, source: Source) -> impl Iterator<Item = &Allocation> {
        self.allocations.iter().filter(move |it| self.is_on(it, &source))
    }

    fn is_taken(&self, local: SocketAddr) -> bool {
        let second =
            |it: &Pending| it.wanted.pair.then(|| SocketAddr::new(it.local.ip(), it.local.port() + 1));
        self.allocations.iter().any(|it| it.local == local)
            || self.pending.iter().any(|it| it.local == local || second(it) == Some(local))
            || self.pending.iter().any(|it| it.first.is_some_and(|(_, first)| first == local))
            || self.reservations.iter().any(|it| it.local == local)
            || self.closing.contains(&local)
    }

    fn advertised(&self, local: SocketAddr) -> SocketAddr {
        SocketAddr::new(peers::external(&self.settings, local.ip()), local.port())
    }

    fn drop_for(&mut self, worker: u16, reason: Reason) -> Expected {
        self.count(worker, reason);
        Expected::Drop(reason)
    }

    fn count(&mut self, worker: u16, reason: Reason) {
        self.counters[usize::from(worker)].refusals.push(reason);
    }
}

const BINDING: u16 = 0x001;
const SEND: u16 = 0x006;
