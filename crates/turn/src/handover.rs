//! Handing a server over to another process, while its clients notice nothing (a hot upgrade).
//!
//! What moves is written down as values: every allocation whose client's packets the other process will receive, with
//! its permissions, channels, usage, deadlines and its owner's key; the memory of deletions; reserved ports; session
//! numbers and tickets. The descriptors travel beside them, in the order that [`Estate::relays`] names. Both processes
//! run on one machine, and so by one monotonic clock: deadlines go over as they are.
//!
//! What cannot move (connections, and what came by them) stays, and the estate tells of it: its ports and places in the
//! quotas are taken here too, until they are given back ([`Elsewhere`]).
//!
//! Invariants: writing an estate changes nothing, so that the giver can go on if the other one fails; an estate is read
//! wholly or not at all; nothing in it, however damaged, makes the reader panic or take more than a multiple of its
//! length; an allocation's session is reported once, by the process where it ends.

pub mod codec;
pub(crate) mod values;

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_wire::TransactionId;

use crate::flows::{FlowOwner, withdraw};
use crate::ports::RelayedPort;
use crate::quota::QuotaPlace;
use crate::server::Server;
use crate::tcp_relay::PeerTransport;
use crate::time::{Now, Timestamp};
use crate::timers::Timer;
use crate::tuple::{Client, FiveTuple, Link, RelayId, SessionId, Transport};
use crate::user::User;

use codec::{Reader, Value};
use values::{Half, People, Reserved, Session, Staying, Written};

/// Everything one worker's server hands over.
#[derive(Debug)]
pub struct Estate {
    /// The values.
    pub bytes: Vec<u8>,
    /// The names that its relayed addresses have with the giver, in the order in which the values tell of them.
    pub relays: Vec<RelayId>,
    /// The tokens of the reserved ports among the values, likewise.
    pub reserved: Vec<[u8; 8]>,
}

/// What an estate has become with whoever took it.
#[derive(Debug)]
pub struct Inherited {
    /// The names that the relayed addresses have here, in the order of [`Estate::relays`].
    pub relays: Vec<RelayId>,
    /// The tokens of reserved ports, in the order of [`Estate::reserved`].
    pub reserved: Vec<[u8; 8]>,
    /// What the giver keeps.
    pub elsewhere: Vec<Elsewhere>,
}

/// An allocation that another process of this very server still has. Its ports and its place in the quotas are taken
/// until this is dropped.
#[derive(Debug)]
pub struct Elsewhere {
    /// Its name.
    pub session: SessionId,
    /// Its client.
    pub client: Client,
    _ports: Vec<RelayedPort>,
    _place: Option<QuotaPlace>,
}

/// What the giver has no use for any more and must not give back: ports that are live in the other process, and places
/// that are counted there.
#[derive(Debug, Default)]
pub struct Released {
    _ports: Vec<RelayedPort>,
    _places: Vec<QuotaPlace>,
}

/// Why an estate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EstateError {
    /// It is of another version.
    Version(u16),
    /// It is none, or damaged.
    Damaged,
    /// A relay address has calls and is not one of this server's.
    NoRelayAddress(SocketAddr),
    /// A relayed port is taken twice.
    PortTaken(SocketAddr),
}

impl fmt::Display for EstateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EstateError::Version(version) => write!(
                formatter,
                "the calls are told of in version {version}, and this program reads {HANDOVER_VERSION}"
            ),
            EstateError::Damaged => formatter.write_str("what tells of the calls is damaged"),
            EstateError::NoRelayAddress(address) => {
                write!(formatter, "{address} has a call, and is no relay address in the new configuration")
            }
            EstateError::PortTaken(address) => write!(formatter, "{address} has two calls"),
        }
    }
}

impl std::error::Error for EstateError {}

impl Server {
    /// Writes down what goes over. `moves` tells by which listeners the other process will receive; with `common` the
    /// reserved ports, which all workers share, are among it. Flows are to be withdrawn before.
    pub fn write_estate(&self, moves: &dyn Fn(Link) -> bool, common: bool) -> Estate {
        let mut people = People::default();
        let (mut sessions, mut staying, mut relays) = (Vec::new(), Vec::new(), Vec::new());
        for first in self.first_relays() {
            let family: Vec<RelayId> = self.allocations.family_of(first).collect();
            match self.is_movable(first, moves) {
                true => {
                    sessions.extend(self.session_value(&family, &mut people));
                    relays.extend(family);
                }
                false => staying.extend(self.staying_value(&family, &mut people)),
            }
        }
        let deleted = self.deleted.written(&mut people);
        let reservations = if common { self.ports.written(&mut people) } else { Vec::new() };
        let reserved = reservations.iter().map(|it: &Reserved| it.token).collect();
        let written = Written {
            sessions_made: self.sessions,
            sessions,
            staying,
            deleted,
            reservations,
            departed: self.mobile.departed_value(moves),
        };
        let mut bytes = MAGIC.to_vec();
        HANDOVER_VERSION.write(&mut bytes);
        people.into_users().write(&mut bytes);
        written.write(&mut bytes);
        Estate { bytes, relays, reserved }
    }

    /// Every client of what goes over, where it is and where it is about to be.
    pub fn clients_of(&self, estate: &Estate) -> Vec<Client> {
        let mut clients = Vec::new();
        for allocation in estate.relays.iter().filter_map(|relay| self.allocations.get(*relay)) {
            let arriving = self.mobile.arriving_client(allocation.session);
            for client in [Some(allocation.client), arriving].into_iter().flatten() {
                // Of two relayed addresses of one allocation the second says nothing new.
                if clients.last() != Some(&client) {
                    clients.push(client);
                }
            }
        }
        clients
    }

    /// Takes an estate in. `link` gives the way back here for each of the giver's, and `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or does not fit this server; then nothing has changed.
    pub fn read_estate(
        &mut self,
        now: Now,
        bytes: &[u8],
        link: &dyn Fn(Link) -> Option<Link>,
    ) -> Result<Inherited, EstateError> {
        let (users, written) = parse(bytes)?;
        let mut taken = self.claim_ports(&written)?;
        let users: Vec<Arc<User>> = users.into_iter().map(Arc::new).collect();
        self.check(&written, &users, link)?;
        // From here on nothing fails.
        self.sessions = self.sessions.max(written.sessions_made.saturating_add(LEFT_TO_THE_GIVER));
        let mut relays = Vec::new();
        for session in written.sessions {
            let ports: Vec<RelayedPort> = taken.sessions.drain(..session.halves.len()).collect();
            self.settle(now, (session, ports), &users, link, &mut relays);
        }
        let elsewhere = written.staying.into_iter().zip(taken.staying);
        let elsewhere = elsewhere.filter_map(|(it, ports)| {
            let user = users.get(it.user as usize)?;
            let place = it.place.map(|rate| self.quotas.resume(user, rate));
            Some(Elsewhere { session: it.session, client: it.client, _ports: ports, _place: place })
        });
        let elsewhere = elsewhere.collect();
        for (deletion, user) in written.deleted {
            let Some(user) = users.get(user as usize) else { continue };
            let (tuple, forgotten) = (deletion.tuple, deletion.forgotten);
            self.deleted.resume(deletion, user.clone());
            self.set_timer(forgotten, Timer::Deleted(tuple));
        }
        let mut reserved = Vec::new();
        for (reservation, port) in written.reservations.into_iter().zip(taken.reserved) {
            let place = reservation
                .place
                .and_then(|(user, rate)| users.get(user as usize).map(|user| self.quotas.resume(user, rate)));
            let Reserved { token, expires, .. } = reservation;
            self.ports.reserve(token, port, expires);
            if let Some(place) = place {
                self.ports.keep_place(token, place);
            }
            self.set_timer(expires, Timer::Reservation(token));
            reserved.push(token);
        }
        self.resume_departed(&written.departed, link);
        Ok(Inherited { relays, reserved, elsewhere })
    }

    /// Forgets, without a word, what another process has taken over. Its ports stay live and its places taken, for those
    /// who stay here.
    pub fn release_estate(&mut self, estate: &Estate, moves: &dyn Fn(Link) -> bool) -> Released {
        let mut released = Released::default();
        for relay in &estate.relays {
            let session = self.allocations.get(*relay).map(|allocation| allocation.session);
            let Some(mut allocation) = self.allocations.remove(*relay) else { continue };
            released._places.extend(allocation.place.take());
            if allocation.sibling.is_none_or(|sibling| self.allocations.get(sibling).is_none()) {
                self.stats.allocations_departed += 1;
                self.stats.count_gone(&allocation);
            }
            released._ports.push(allocation.port);
            if let Some(session) = session {
                self.mobile.release(session);
            }
        }
        self.mobile.release_departed(moves);
        self.inquiries.abandon_all(moves);
        released
    }

    /// Takes every flow back, so that what it relayed is counted.
    pub fn withdraw_all_flows(&mut self) {
        let Server { allocations, effects, .. } = self;
        for relay in allocations.names() {
            let Some(allocation) = allocations.get_mut(relay) else { continue };
            let owner = FlowOwner { relay, session: allocation.session };
            allocation.channels.iter_mut().for_each(|binding| withdraw(effects, relay, owner, binding));
        }
    }

    /// Offers every bound channel as a flow again.
    pub fn offer_all_flows(&mut self) {
        for relay in self.allocations.names() {
            self.announce_flows(relay, None);
        }
    }

    /// Of each allocation the relayed address that comes first.
    fn first_relays(&self) -> Vec<RelayId> {
        let mut names = self.allocations.names();
        names.retain(|relay| {
            let Some(allocation) = self.allocations.get(*relay) else { return false };
            match allocation.sibling {
                None => true,
                Some(sibling) if allocation.client.link == Link::NOWHERE => relay.slot < sibling.slot,
                Some(_) => self.allocations.find(&allocation.client.tuple) == Some(*relay),
            }
        });
        names
    }

    /// Whether everything of an allocation can go: its client comes by a listener that the other process will read, or
    /// is away, and its relayed addresses are its own and speak UDP.
    fn is_movable(&self, relay: RelayId, moves: &dyn Fn(Link) -> bool) -> bool {
        let Some(first) = self.allocations.get(relay) else { return false };
        let comes_by = |client: &Client| client.tuple.transport == Transport::Udp && moves(client.link);
        let is_free = self.allocations.family_of(relay).all(|half| {
            self.allocations.get(half).is_some_and(|half| half.tcp.is_none() && !half.port.is_shared())
        });
        is_free
            && (first.client.link == Link::NOWHERE || comes_by(&first.client))
            && self.mobile.arriving_client(first.session).is_none_or(|arriving| comes_by(&arriving))
    }

    fn session_value(&self, family: &[RelayId], people: &mut People) -> Option<Session> {
        let halves: Vec<_> = family.iter().filter_map(|relay| self.allocations.get(*relay)).collect();
        let first = halves.first()?;
        Some(Session {
            client: first.client,
            user: people.number(&first.user),
            session: first.session,
            place: halves.iter().find_map(|half| half.place.as_ref()).map(QuotaPlace::rate),
            mobility: self.mobile.value(first.session),
            halves: halves.iter().map(|half| Half::of(half)).collect(),
        })
    }

    fn staying_value(&self, family: &[RelayId], people: &mut People) -> Option<Staying> {
        let halves: Vec<_> = family.iter().filter_map(|relay| self.allocations.get(*relay)).collect();
        let first = halves.first()?;
        // A port that sessions share is nobody's to take.
        let own = halves.iter().filter(|half| !half.port.is_shared());
        Some(Staying {
            session: first.session,
            client: first.client,
            user: people.number(&first.user),
            place: halves.iter().find_map(|half| half.place.as_ref()).map(QuotaPlace::rate),
            ports: own.map(|half| (half.port.local(), half.tcp.is_some())).collect(),
        })
    }

    /// Takes every port that an estate tells of; those of a failed attempt are free again.
    fn claim_ports(&self, written: &Written) -> Result<TakenPorts, EstateError> {
        let take = |address: SocketAddr| Ok(self.ports.resume(address)?.told_by(&self.config.peers));
        let sessions = written.sessions.iter().flat_map(|session| &session.halves);
        let sessions = sessions.map(|half| take(half.relayed)).collect::<Result<Vec<_>, _>>()?;
        let mut staying = Vec::new();
        for it in &written.staying {
            let mut ports = Vec::new();
            for (address, speaks_tcp) in &it.ports {
                let port = take(*address)?;
                port.set_live(if *speaks_tcp { PeerTransport::Tcp } else { PeerTransport::Udp }, true);
                ports.push(port);
            }
            staying.push(ports);
        }
        let reserved =
            written.reservations.iter().map(|it| take(it.address)).collect::<Result<Vec<_>, _>>()?;
        Ok(TakenPorts { sessions, staying, reserved })
    }

    /// Whether the values fit together and to this server.
    fn check(
        &self,
        written: &Written,
        users: &[Arc<User>],
        link: &dyn Fn(Link) -> Option<Link>,
    ) -> Result<(), EstateError> {
        let is_user = |number: u32| (number as usize) < users.len();
        let mut tuples = HashSet::new();
        let mut names = HashSet::new();
        for session in &written.sessions {
            let away = session.client.link == Link::NOWHERE;
            let arriving = session.mobility.as_ref().and_then(|mobility| mobility.arriving_client());
            let mut comes_by = (!away).then_some(session.client).into_iter().chain(arriving);
            let good = is_user(session.user)
                && session.fits_together()
                && (!away || arriving.is_none())
                && names.insert(session.session)
                && !self.mobile.has_ticket(session.session)
                && comes_by.all(|client| {
                    link(client.link).is_some()
                        && tuples.insert(client.tuple)
                        && self.allocation_on(&client.tuple).is_none()
                });
            if !good {
                return Err(EstateError::Damaged);
            }
        }
        let others =
            written.staying.iter().map(|it| it.user).chain(written.deleted.iter().map(|(_, user)| *user));
        let kept = written.reservations.iter().filter_map(|it| it.place.map(|(user, _)| user));
        if !others.chain(kept).all(is_user) {
            return Err(EstateError::Damaged);
        }
        Ok(())
    }

    /// Puts one allocation into the tables.
    fn settle(
        &mut self,
        now: Now,
        (session, ports): (Session, Vec<RelayedPort>),
        users: &[Arc<User>],
        link: &dyn Fn(Link) -> Option<Link>,
        relays: &mut Vec<RelayId>,
    ) {
        let Some(user) = users.get(session.user as usize) else { return };
        let mut place = session.place.map(|rate| self.quotas.resume(user, rate));
        let client = here(session.client, link);
        let mut first = None;
        self.stats.allocations_arrived += 1;
        let realm = self.stats.realms.place(user.realm());
        for (half, port) in session.halves.into_iter().zip(ports) {
            port.set_live(PeerTransport::Udp, true);
            let mut allocation = half.into_allocation(client, (user.clone(), session.session), (port, realm));
            allocation.place = place.take();
            // What is left of its time is looked at from the start: timers do not travel.
            let due = allocation.next_expiry().max(now.monotonic).min(allocation.expires);
            allocation.wakes = due;
            let relay = self.allocations.reserve();
            match first {
                None => {
                    first = Some(relay);
                    self.stats.count_alive(&allocation);
                    self.allocations.insert(relay, allocation);
                }
                Some(first) => self.allocations.insert_beside(first, relay, allocation),
            }
            self.set_timer(due, Timer::Allocation(relay));
            relays.push(relay);
        }
        if let (Some(mobility), Some(first)) = (session.mobility, first) {
            self.resume_mobility(session.session, first, mobility, link);
        }
    }
}

/// Ports that were taken for an estate.
struct TakenPorts {
    /// One for each half of each session, in order.
    sessions: Vec<RelayedPort>,
    staying: Vec<Vec<RelayedPort>>,
    reserved: Vec<RelayedPort>,
}

fn parse(bytes: &[u8]) -> Result<(Vec<User>, Written), EstateError> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or(EstateError::Damaged)?;
    let mut reader = Reader::new(rest);
    match u16::read(&mut reader).ok_or(EstateError::Damaged)? {
        HANDOVER_VERSION => {}
        other => return Err(EstateError::Version(other)),
    }
    let users = Value::read(&mut reader).ok_or(EstateError::Damaged)?;
    let written = Value::read(&mut reader).ok_or(EstateError::Damaged)?;
    if reader.is_at_end() { Ok((users, written)) } else { Err(EstateError::Damaged) }
}

/// A client with the way back that it has here.
pub(crate) fn here(client: Client, link: &dyn Fn(Link) -> Option<Link>) -> Client {
    let known = if client.link == Link::NOWHERE { None } else { link(client.link) };
    Client { link: known.unwrap_or(Link::NOWHERE), ..client }
}

/// When a memory of a deletion ends, and what of.
#[derive(Debug)]
pub(crate) struct DeletionValue {
    pub(crate) tuple: FiveTuple,
    pub(crate) transaction: TransactionId,
    pub(crate) forgotten: Timestamp,
}
codec::value!(DeletionValue { tuple, transaction, forgotten });

/// The version of the values this program writes, and the only one it reads.
pub const HANDOVER_VERSION: u16 = 1;
const MAGIC: [u8; 8] = *b"TPKVALUE";
/// Sessions that the giver may still make, by connections it has, without their numbers being anybody else's.
const LEFT_TO_THE_GIVER: u64 = 1_000_000;

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
