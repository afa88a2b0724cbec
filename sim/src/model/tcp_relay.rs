//! Relayed TCP, the plain way (RFC 6062 §5.2 to §5.5).

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_turn::{Client, ConnectError, Now, PeerConnectionId, Reason, RelayId, Timestamp, Way};

use super::credentials::{Identity, Refusal};
use super::message::{Parsed, Protection, read_xored};
use super::peers::{Access, external};
use super::requests::{Granted, Rule, of_length};
use super::response::{Asked, ensure, same};
use super::{Expected, Model, Source};
use crate::observed::{Action, Connect, Observed, Report};

/// A connection with a peer.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) worker: u16,
    id: PeerConnectionId,
    relay: RelayId,
    peer: SocketAddr,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    Connecting(Asked, Identity),
    Unbound(Timestamp),
    Bound,
}

/// A connection that a Connect asks for.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    worker: u16,
    relay: RelayId,
    from: SocketAddr,
    /// Its canonical address, and the one that leads to it.
    peer: SocketAddr,
    target: SocketAddr,
    asked: Asked,
    owner: Identity,
}

impl Model {
    /// RFC 6062 §5.2.
    pub(super) fn connect(
        &mut self,
        source: Source,
        message: &Parsed,
        asked: &Asked,
        user: &Identity,
    ) -> Rule {
        self.own_allocation(source, user)?;
        if self.allocation(&source).is_some_and(|it| !it.tcp) {
            return Err((403, Reason::OtherRelayTransport));
        }
        let value = message.value(XOR_PEER_ADDRESS).ok_or((400, Reason::BadRequest))?;
        let peer = self.read_peer(message, value)?;
        let at = self.towards(&source, peer);
        if at.is_some_and(|at| self.is_connected(at, peer)) {
            return Err((446, Reason::ConnectionExists));
        }
        let access = self.judge_peer(source, peer)?;
        let at = at.ok_or((443, Reason::WrongFamily))?;
        let (session, relay, from) =
            (self.allocations[at].session, self.allocations[at].relay, self.allocations[at].local);
        let listener = peer.port() == self.settings.listening_port;
        let target = match access {
            Access::Foreign => Some(peer),
            Access::LiveOnly => self.live_tcp_relay(peer),
            Access::Opened => self.live_tcp_relay(peer).or(if listener { None } else { Some(peer) }),
        };
        let Some(target) = target.filter(|target| *target != from) else {
            let tuple = source.client.tuple;
            self.reports.push(Report::PeerRefused { tuple, session, peer: peer.ip() });
            return Err((403, Reason::OwnAddress));
        };
        if !self.has_room(source.worker, relay) {
            return Err((508, Reason::TooManyConnections));
        }
        let (worker, asked, owner) = (source.worker, asked.clone(), user.clone());
        Ok(Granted::Connect(Box::new(Attempt { worker, relay, from, peer, target, asked, owner })))
    }

    /// RFC 6062 §5.4.
    pub(super) fn connection_bind(
        &mut self,
        now: Now,
        source: Source,
        message: &Parsed,
        user: &Identity,
    ) -> Rule {
        let (worker, tuple) = (source.worker, source.client.tuple);
        if !tuple.transport.is_stream() {
            return Err((400, Reason::NeedsConnection));
        }
        let value = of_length(message, CONNECTION_ID, 4)?.ok_or((400, Reason::BadRequest))?;
        let number = u32::from_be_bytes([value[0], value[1], value[2], value[3]]);
        let waits =
            |it: &super::Pending| it.wanted.source.worker == worker && it.wanted.source.client.tuple == tuple;
        if self.allocation(&source).is_some() || self.pending.iter().any(waits) {
            return Err((400, Reason::AllocationMismatch));
        }
        let owner = (number % 128) as u16;
        if owner != worker && owner < self.settings.workers {
            return Ok(Granted::HandOver(owner));
        }
        let at = self.connections.iter().position(|it| it.worker == worker && it.id.number() == number);
        let waits = at.filter(|at| match self.connections[*at].stage {
            Stage::Unbound(deadline) => deadline > now.monotonic,
            Stage::Connecting(..) | Stage::Bound => false,
        });
        let own = waits.filter(|at| {
            let connection = &self.connections[*at];
            let owner = self.owner_of(worker, connection.relay);
            owner.is_some_and(|owner| owner.is_same(user))
        });
        let at = own.ok_or((400, Reason::UnknownConnection))?;
        self.connections[at].stage = Stage::Bound;
        self.splices.push((source.client, self.connections[at].id));
        Ok(Granted::Attributes(Vec::new()))
    }

    /// What became of an attempt to connect.
    pub(crate) fn peer_connected(
        &mut self,
        now: Now,
        worker: u16,
        id: PeerConnectionId,
        connected: Result<(), ConnectError>,
    ) -> Expected {
        let at = self.connections.iter().position(|it| it.worker == worker && it.id == id);
        let waiting = at.and_then(|at| match &self.connections[at].stage {
            Stage::Connecting(asked, owner) => Some((at, asked.clone(), owner.clone())),
            Stage::Unbound(_) | Stage::Bound => None,
        });
        let Some((at, asked, owner)) = waiting else { return self.drop_for(worker, Reason::StaleRelay) };
        let refused = match connected {
            Ok(()) => None,
            Err(ConnectError::TimedOut) => Some(Reason::PeerTimeout),
            Err(ConnectError::Failed) => Some(Reason::PeerUnreachable),
        };
        let relay = self.connections[at].relay;
        let allocation = self.allocations.iter().find(|it| it.worker == worker && it.relay == relay);
        let reported = allocation.map(|it| (it.session, it.owner.clone()));
        if let (true, Some((session, user))) = (self.settings.verbose, reported) {
            self.processed(&asked, Some(session), Some(&user), refused.map(|reason| (447, reason)));
        }
        let response = match refused {
            None => {
                self.connections[at].stage = Stage::Unbound(now.monotonic + BIND_TIMEOUT);
                let attributes = vec![(CONNECTION_ID, id.number().to_be_bytes().to_vec())];
                self.success(worker, &asked, attributes, Some(&owner))
            }
            Some(reason) => {
                self.connections.remove(at);
                let refusal = Refusal { identity: Some(owner), ..Refusal::plain(447, reason) };
                self.error(worker, &asked, &refusal, Vec::new())
            }
        };
        Expected::Reply(Box::new(response))
    }

    /// RFC 6062 §5.3.
    pub(crate) fn peer_accepted(
        &mut self,
        now: Now,
        worker: u16,
        relay: RelayId,
        peer: SocketAddr,
    ) -> Expected {
        let peer = SocketAddr::new(external(&self.settings, peer.ip()), peer.port());
        let at = self.allocations.iter().position(|it| it.worker == worker && it.relay == relay);
        let refused = match at.map(|at| (at, self.access(now, at, peer))) {
            None => Some(Reason::StaleRelay),
            Some((_, None)) => Some(Reason::NoPermission),
            Some((_, Some(Access::LiveOnly))) if self.live_tcp_relay(peer).is_none() => {
                Some(Reason::OwnAddress)
            }
            Some((at, _)) if self.is_connected(at, peer) => Some(Reason::ConnectionExists),
            Some(_) if !self.has_room(worker, relay) => Some(Reason::TooManyConnections),
            Some(_) => None,
        };
        match (refused, at) {
            (Some(reason), _) => self.drop_for(worker, reason),
            (None, None) => Expected::Nothing,
            (None, Some(at)) => {
                let it = &self.allocations[at];
                let fingerprint = it.fingerprint || self.settings.always_fingerprint;
                Expected::Attempted { worker, relay, to: it.client, peer, fingerprint }
            }
        }
    }

    /// A peer's connection has ended, or a client's that it was spliced with.
    pub(crate) fn peer_closed(&mut self, worker: u16, id: PeerConnectionId) -> Expected {
        self.connections.retain(|it| it.worker != worker || it.id != id);
        Expected::Nothing
    }

    /// Bytes pass a splice.
    pub(crate) fn spliced(&mut self, worker: u16, id: PeerConnectionId, way: Way, bytes: u64) -> Expected {
        let relay = self.connections.iter().find(|it| it.worker == worker && it.id == id).map(|it| it.relay);
        let allocation =
            self.allocations.iter_mut().find(|it| it.worker == worker && Some(it.relay) == relay);
        let Some(allocation) = allocation else { return Expected::Nothing };
        let counters = &mut self.counters[usize::from(worker)];
        let usage = &mut allocation.usage;
        match way {
            Way::ToPeer => {
                (usage.client_packets, usage.client_bytes) =
                    (usage.client_packets + 1, usage.client_bytes + bytes);
                (counters.client_packets, counters.client_bytes) =
                    (counters.client_packets + 1, counters.client_bytes + bytes);
            }
            Way::ToClient => {
                (usage.peer_packets, usage.peer_bytes) = (usage.peer_packets + 1, usage.peer_bytes + bytes);
                (counters.peer_packets, counters.peer_bytes) =
                    (counters.peer_packets + 1, counters.peer_bytes + bytes);
            }
        }
        Expected::Nothing
    }

    /// Closes what no ConnectionBind has claimed in time. What belongs to an allocation that is over as well is closed
    /// with it, or before: both are right.
    pub(super) fn close_unbound(&mut self, now: Timestamp, worker: u16) {
        let due = |it: &Connection| {
            let late = matches!(it.stage, Stage::Unbound(deadline) if deadline <= now);
            it.worker == worker && late
        };
        while let Some(at) = self.connections.iter().position(due) {
            let closed = self.connections.remove(at);
            let over =
                |it: &super::Allocation| it.worker == worker && it.relay == closed.relay && it.expires <= now;
            if self.allocations.iter().any(over) {
                self.counters[usize::from(worker)].perhaps_never_bound += 1;
            } else {
                self.count(worker, Reason::NeverBound);
            }
            self.closed_connections.push(closed.id);
        }
    }

    /// Closes what a relayed address has, which has ended.
    pub(super) fn close_with(&mut self, worker: u16, relay: RelayId) {
        let of_relay = |it: &Connection| it.worker == worker && it.relay == relay;
        let closed = self.connections.iter().filter(|it| of_relay(it)).map(|it| it.id);
        self.closed_connections.extend(closed);
        self.connections.retain(|it| !of_relay(it));
    }

    /// Learns the name of a connection that is asked for.
    pub(super) fn learn_attempt(
        &mut self,
        now: Now,
        attempt: Attempt,
        observed: &Observed,
    ) -> Result<(), String> {
        let Attempt { worker, relay, from, peer, target, asked, owner } = attempt;
        let [Connect { connection, from: found, peer: to, deadline }] = observed.connects[..] else {
            return Err("a connection is to be made".into());
        };
        same("action", &observed.action, &Action::Connecting(connection))?;
        same("ends", &(found, to), &(from, target))?;
        same("deadline", &deadline, &(now.monotonic + CONNECT_TIMEOUT))?;
        self.add(worker, connection, relay, peer, Stage::Connecting(asked, owner))
    }

    /// Learns the name of a connection that a peer has made, and checks that the client is told of it.
    pub(super) fn learn_accepted(
        &mut self,
        now: Now,
        expected: &Expected,
        observed: &Observed,
    ) -> Result<(), String> {
        let Expected::Attempted { worker, relay, to, peer, fingerprint } = expected else { return Ok(()) };
        let (Action::Reply { to: found, bytes }, Some(id)) = (&observed.action, observed.accepted) else {
            return Err("the client is to be told of a connection".into());
        };
        same("destination", found, to)?;
        let message = Parsed::read(bytes).map_err(|_| "the ConnectionAttempt cannot be read")?;
        same("class and method", &(message.class, message.method), &(1, 0x00C))?;
        same("FINGERPRINT", &message.has_fingerprint(), fingerprint)?;
        ensure(message.fingerprint_fits(), "a wrong FINGERPRINT")?;
        same("integrity", &message.protection(), &Protection::None)?;
        same("number of attributes", &message.attributes.len(), &2)?;
        let named = message.value(XOR_PEER_ADDRESS).and_then(|value| read_xored(value, &message.id));
        same("peer", &named, &Some(*peer))?;
        same("CONNECTION-ID", &message.value(CONNECTION_ID), &Some(&id.number().to_be_bytes()[..]))?;
        self.add(*worker, id, *relay, *peer, Stage::Unbound(now.monotonic + BIND_TIMEOUT))
    }

    fn add(
        &mut self,
        worker: u16,
        id: PeerConnectionId,
        relay: RelayId,
        peer: SocketAddr,
        stage: Stage,
    ) -> Result<(), String> {
        same("owner of the connection", &id.owner(), &worker)?;
        let known = self.connections.iter().any(|it| it.id == id);
        ensure(!known, "two connections have one name")?;
        self.connections.push(Connection { worker, id, relay, peer, stage });
        Ok(())
    }

    fn is_connected(&self, at: usize, peer: SocketAddr) -> bool {
        let (worker, relay) = (self.allocations[at].worker, self.allocations[at].relay);
        self.connections.iter().any(|it| it.worker == worker && it.relay == relay && it.peer == peer)
    }

    fn has_room(&self, worker: u16, relay: RelayId) -> bool {
        let own = self.connections.iter().filter(|it| it.worker == worker && it.relay == relay).count();
        own < self.settings.allocation_connections
    }

    fn owner_of(&self, worker: u16, relay: RelayId) -> Option<&Identity> {
        let allocation = self.allocations.iter().find(|it| it.worker == worker && it.relay == relay);
        allocation.map(|it| &it.owner)
    }

    fn live_tcp_relay(&self, peer: SocketAddr) -> Option<SocketAddr> {
        let fits =
            |it: &&super::Allocation| it.tcp && (it.local == peer || self.advertised(it.local) == peer);
        self.allocations.iter().find(fits).map(|it| it.local)
    }
}

impl Expected {
    /// Whom a ConnectionAttempt goes to.
    pub(super) fn attempted(&self) -> Option<&Client> {
        match self {
            Expected::Attempted { to, .. } => Some(to),
            _ => None,
        }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const BIND_TIMEOUT: Duration = Duration::from_secs(30);
const XOR_PEER_ADDRESS: u16 = 0x0012;
pub(super) const CONNECTION_ID: u16 = 0x002A;
