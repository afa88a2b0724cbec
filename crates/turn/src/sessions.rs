//! Sessions as those see them who look after the server: listed in pages, and ended one by one.
//!
//! A session is an allocation with one or two relayed addresses and all it has done so far. Invariants: a page has at most
//! [`MOST_ROWS`] rows and is made from a bounded number of allocations, however many there are and whatever is asked
//! for, so that data waits for no more than that; whoever turns all pages sees every session that lived all the time
//! exactly once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::allocation::Allocation;
use crate::effect::{EndCause, Usage};
use crate::server::Server;
use crate::tcp_relay::PeerTransport;
use crate::time::{Now, Timestamp};
use crate::tuple::{FiveTuple, Link, RelayId, SessionId, Transport};
use crate::user::User;

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name in logs.
    pub id: SessionId,
    /// One of its relayed addresses: by this it is found again at once.
    pub relay: RelayId,
    /// Its owner.
    pub user: Arc<User>,
    /// Its 5-tuple; the last one of a client that is away.
    pub tuple: FiveTuple,
    /// Whether the client is away, and its allocation waits for it (RFC 8016).
    pub away: bool,
    /// Whether it may follow its client to another 5-tuple.
    pub mobile: bool,
    /// The relayed address as clients are told it.
    pub relayed: SocketAddr,
    /// A second one, of the other family.
    pub additional: Option<SocketAddr>,
    /// What it speaks with peers.
    pub transport: PeerTransport,
    /// How long it has lived.
    pub age: Duration,
    /// How long it lives if it is not refreshed; of two relayed addresses the one that lasts longer.
    pub left: Duration,
    /// What it has relayed so far.
    pub usage: Usage,
    /// Bytes a second each way that it may relay; `None` for no limit.
    pub rate: Option<u64>,
    /// Whether the client is sent FINGERPRINT.
    pub fingerprint: bool,
    /// How many permissions it has.
    pub permissions: usize,
    /// How many channels are bound.
    pub channels: usize,
    /// How many of these are relayed elsewhere, such as by the kernel.
    pub flows: usize,
    /// Its peers, 32 at most, and only if they were asked for: those that channels are bound to, and with port 0 those it
    /// has nothing but a permission for.
    pub peers: Vec<SocketAddr>,
}

/// Which sessions are wanted: those that fit everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// The one of this name.
    pub id: Option<SessionId>,
    /// Those of this user: the whole name, or the part of it that stays the same from one REST credential to the next.
    pub user: Option<Box<str>>,
    /// Those whose user's name begins so.
    pub user_prefix: Option<Box<str>>,
    /// Those of this realm.
    pub realm: Option<Box<str>>,
    /// Those with this address: the client's, a relayed one, or a peer's.
    pub address: Option<IpAddr>,
    /// Those whose clients came by this transport.
    pub client_transport: Option<Transport>,
    /// Whether peers are to be listed too.
    pub with_peers: bool,
}

/// Some of the sessions.
#[derive(Clone, Debug, Default)]
pub struct SessionPage {
    /// Those that fit.
    pub sessions: Vec<Session>,
    /// Where the next page begins; `None` after the last one. A page may be empty without being the last.
    pub next: Option<u32>,
}

impl Server {
    /// The sessions that fit, from one place in the table on; the first page begins at 0.
    pub fn sessions(&self, now: Now, filter: &SessionFilter, from: u32) -> SessionPage {
        let mut page = SessionPage::default();
        let (mut place, end) = (from, from.saturating_add(MOST_LOOKED_AT));
        while page.sessions.len() < MOST_ROWS {
            if place >= self.allocations.places() {
                return page;
            }
            if place >= end {
                break;
            }
            let found = self.allocations.at(place);
            place += 1;
            let Some((relay, allocation)) = found else { continue };
            // Of siblings the one that holds the place in the quotas: there is always exactly one.
            if allocation.place.is_some() && self.fits(filter, allocation) {
                page.sessions.push(self.session_of(now.monotonic, relay, allocation, filter.with_peers));
            }
        }
        page.next = Some(place);
        page
    }

    /// Ends a session that was listed, with all its relayed addresses; says whether it was still there.
    pub fn end_session(&mut self, now: Now, relay: RelayId, id: SessionId) -> bool {
        if self.allocations.get(relay).is_none_or(|allocation| allocation.session != id) {
            return false;
        }
        for relay in self.allocations.family_of(relay) {
            self.end_relay(now.monotonic, relay, EndCause::Killed);
        }
        true
    }

    /// Every allocation would be listed, and once.
    pub(crate) fn check_sessions(&self) {
        let places = (0..self.allocations.places()).filter_map(|place| self.allocations.at(place));
        let listed = places.filter(|(_, allocation)| allocation.place.is_some()).count();
        assert_eq!(listed, self.allocations.count(), "one row for each allocation");
    }

    fn fits(&self, filter: &SessionFilter, allocation: &Allocation) -> bool {
        let SessionFilter { id, user, user_prefix, realm, address, client_transport, with_peers: _ } = filter;
        let owner = &allocation.user;
        let is_user = |name: &str| owner.name() == name || owner.account() == name;
        let sibling = || allocation.sibling.and_then(|sibling| self.allocations.get(sibling));
        let tuple = &allocation.client.tuple;
        id.is_none_or(|id| allocation.session == id)
            && user.as_deref().is_none_or(is_user)
            && user_prefix.as_deref().is_none_or(|prefix| owner.name().starts_with(prefix))
            && realm.as_deref().is_none_or(|realm| owner.realm() == realm)
            && client_transport.is_none_or(|transport| tuple.transport == transport)
            && address.is_none_or(|ip| {
                tuple.client.ip() == ip
                    || [Some(allocation), sibling()].into_iter().flatten().any(|half| half.has(ip))
            })
    }

    fn session_of(
        &self,
        now: Timestamp,
        relay: RelayId,
        allocation: &Allocation,
        with_peers: bool,
    ) -> Session {
        let sibling = allocation.sibling.and_then(|sibling| self.allocations.get(sibling));
        let halves = || [Some(allocation), sibling].into_iter().flatten();
        let mut usage = allocation.usage;
        sibling.iter().for_each(|sibling| usage.add(&sibling.usage));
        let relayed = allocation.port.advertised();
        let second = sibling.map(|sibling| sibling.port.advertised());
        // The IPv4 address first, whichever of them holds what.
        let (relayed, additional) = match second {
            Some(second) if relayed.is_ipv6() => (second, Some(relayed)),
            second => (relayed, second),
        };
        Session {
            id: allocation.session,
            relay,
            user: allocation.user.clone(),
            tuple: allocation.client.tuple,
            away: allocation.client.link == Link::NOWHERE,
            mobile: self.mobile.has_ticket(allocation.session),
            relayed,
            additional,
            transport: if allocation.tcp.is_some() { PeerTransport::Tcp } else { PeerTransport::Udp },
            age: now.since(allocation.created),
            left: halves().map(|half| half.expires.since(now)).max().unwrap_or_default(),
            usage,
            rate: allocation.limit.as_ref().map(|limit| limit.rate()),
            fingerprint: allocation.fingerprint,
            permissions: halves().map(|half| half.permissions.len()).sum(),
            channels: halves().map(|half| half.channels.iter().count()).sum(),
            flows: halves().map(|half| half.channels.flows()).sum(),
            peers: if with_peers {
                halves().flat_map(Allocation::peers).take(MOST_PEERS).collect()
            } else {
                Vec::new()
            },
        }
    }
}

impl Allocation {
    /// Those that channels are bound to, then those with nothing but a permission.
    fn peers(&self) -> impl Iterator<Item = SocketAddr> {
        let bound = |ip: IpAddr| self.channels.iter().any(|binding| binding.peer.ip() == ip);
        let others = self.permissions.iter().map(|permission| permission.ip).filter(move |ip| !bound(*ip));
        self.channels.iter().map(|binding| binding.peer).chain(others.map(|ip| SocketAddr::new(ip, 0)))
    }

    /// Whether this address is its relayed one, or one of a peer it has a permission for.
    fn has(&self, ip: IpAddr) -> bool {
        self.port.advertised().ip() == ip
            || self.port.local().ip() == ip
            || self.permissions.kept(ip).is_some()
    }
}

/// Rows of a page.
const MOST_ROWS: usize = 256;
/// Places of the table that are looked at for one page.
const MOST_LOOKED_AT: u32 = 4096;
/// Peers of a session that are listed.
const MOST_PEERS: usize = 32;
