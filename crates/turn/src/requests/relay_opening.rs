//! From an Allocate that is granted to an allocation that exists (RFC 8656 §7.2): relay sockets are opened, one after
//! the other where two families are asked for.
//!
//! Invariant: whatever fails in whichever order, names, ports and the place in the quotas are either those of an
//! allocation or given back. A family that fails beside one that is had is told to the client and is no failure.

use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::{ErrorNumber, Family, Method, TransactionId};

use super::{Refusal, refused};
use crate::allocation::Allocation;
use crate::bandwidth::BandwidthLimit;
use crate::effect::{Effect, Event, Reserve};
use crate::mobility::Serial;
use crate::origin::PinnedOrigin;
use crate::ports::{Parity, RelayedPort};
use crate::quota::QuotaPlace;
use crate::realm_stats::RealmPlace;
use crate::reason::Reason;
use crate::server::Server;
use crate::tcp_relay::{PeerTransport, TcpRelay};
use crate::time::{Now, Timestamp};
use crate::timers::Timer;
use crate::tuple::{Client, FiveTuple, SessionId, WaitId};
use crate::user::User;
use crate::verdict::Verdict;
use crate::waiting::{Half, PendingAllocation, PortChoice};

/// Why a relay socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayError {
    /// The port belongs to another process.
    AddressInUse,
    /// Anything else: no descriptors, no memory, no such address.
    Other,
}

impl Server {
    /// The worker's answer to [`Effect::OpenRelay`].
    pub fn handle_relay_opened(
        &mut self,
        now: Now,
        wait: WaitId,
        opened: Result<(), RelayError>,
    ) -> Verdict<'_> {
        let Some(pending) = self.waiting.take(wait) else {
            return self.drop_packet(Reason::StaleRelay);
        };
        if pending.abandoned {
            self.give_back(pending, opened.is_ok());
            return self.drop_packet(Reason::Disconnected);
        }
        match opened {
            Ok(()) => self.opened(now, pending),
            Err(RelayError::AddressInUse) if pending.attempts < MOST_ATTEMPTS => self.retry(now, pending),
            Err(_) => self.failed(now, pending, Reason::RelayFailed),
        }
    }

    pub(super) fn open_relay(&mut self, pending: PendingAllocation) -> WaitId {
        let (relay, address) = (pending.opening.relay, pending.opening.port.local());
        let reserve = match (pending.choice, &pending.reserved) {
            _ if pending.opening.port.is_shared() => {
                Reserve::Shared { relay_address: pending.opening.port.relay_index() }
            }
            (PortChoice::Reserved(token), _) => Reserve::Held { token },
            (_, Some((next, token))) => Reserve::Next { token: *token, address: next.local() },
            _ => Reserve::No,
        };
        let transport = pending.transport;
        let wait = self.waiting.insert(pending);
        self.effects.push_back(Effect::OpenRelay { wait, relay, address, transport, reserve });
        wait
    }

    /// One relayed address is open: goes on with the other one, if there is to be another.
    fn opened(&mut self, now: Now, mut pending: PendingAllocation) -> Verdict<'_> {
        let Some(family) = pending.then.take() else {
            return self.complete(now, pending);
        };
        match self.choose_half(&pending, family) {
            Some(second) => {
                pending.opened = Some(std::mem::replace(&mut pending.opening, second));
                pending.attempts = 1;
                Verdict::Wait(self.open_relay(pending))
            }
            None => {
                pending.lacks = Some((family, ErrorNumber::INSUFFICIENT_CAPACITY));
                self.complete(now, pending)
            }
        }
    }

    /// A relayed address cannot be had: makes do with the other one, or refuses.
    fn failed(&mut self, now: Now, mut pending: PendingAllocation, reason: Reason) -> Verdict<'_> {
        let family = Family::of(&pending.opening.port.local().ip());
        let lacks = Some((family, ErrorNumber::INSUFFICIENT_CAPACITY));
        if let Some(first) = pending.opened.take() {
            let failed = std::mem::replace(&mut pending.opening, first);
            self.allocations.cancel(failed.relay);
            pending.lacks = lacks;
            return self.complete(now, pending);
        }
        let then = pending.then.take();
        let Some(second) = then.and_then(|family| self.choose_half(&pending, family)) else {
            return self.give_up(now, pending, reason);
        };
        let failed = std::mem::replace(&mut pending.opening, second);
        self.allocations.cancel(failed.relay);
        pending.lacks = lacks;
        pending.attempts = 1;
        Verdict::Wait(self.open_relay(pending))
    }

    /// A name and a port for the second relayed address, which is of this family.
    fn choose_half(&mut self, pending: &PendingAllocation, family: Family) -> Option<Half> {
        let parity = match pending.choice {
            PortChoice::Free(parity) => parity,
            PortChoice::Reserved(_) => Parity::Any,
        };
        let relays: Vec<u16> = self.ports.of_family(family == Family::Ipv4).collect();
        // A pair is not asked for together with a second family, so that there is no next port to keep.
        let (port, _) = self.take_any_port(&pending.client, &relays, (parity, pending.transport))?;
        Some(Half { relay: self.allocations.reserve(), port })
    }

    /// Another process holds the port: tries the next one.
    fn retry(&mut self, now: Now, mut pending: PendingAllocation) -> Verdict<'_> {
        let port = &pending.opening.port;
        let relays: Vec<u16> = self.ports.of_family(port.local().is_ipv4()).collect();
        let first = relays.iter().position(|index| *index == port.relay_index()).unwrap_or(0);
        let found = match pending.choice {
            PortChoice::Free(parity) => self.take_port(&relays, first, (parity, pending.transport)),
            PortChoice::Reserved(_) => None,
        };
        let Some((port, next)) = found else {
            return self.failed(now, pending, Reason::NoPort);
        };
        pending.opening.port = port;
        pending.reserved = next.map(|port| (port, self.random.next_u64().to_be_bytes()));
        pending.attempts += 1;
        Verdict::Wait(self.open_relay(pending))
    }

    fn give_up(&mut self, now: Now, pending: PendingAllocation, reason: Reason) -> Verdict<'_> {
        self.allocations.cancel(pending.opening.relay);
        let refused = refused(ErrorNumber::INSUFFICIENT_CAPACITY, reason);
        let refusal = Refusal { refused, challenge: false, user: Some(pending.user.clone()) };
        let answered = (pending.client.tuple, pending.user.clone());
        self.report_answered(answered, None, Some((refused.number, reason)));
        self.refuse_pending(now, &pending, &refusal)
    }

    /// Closes what was opened for a client that is gone; `opened` tells whether the last one was.
    fn give_back(&mut self, pending: PendingAllocation, opened: bool) {
        let PendingAllocation { opening, opened: first, reserved, .. } = pending;
        if let Some((_, token)) = reserved {
            self.effects.push_back(Effect::DropReserved { token });
        }
        for (Half { relay, port }, is_open) in
            first.map(|first| (first, true)).into_iter().chain([(opening, opened)])
        {
            self.allocations.cancel(relay);
            if is_open {
                self.effects.push_back(Effect::CloseRelay { relay, port });
            }
        }
    }

    /// Everything that can be had is open: makes the allocation.
    fn complete(&mut self, now: Now, pending: PendingAllocation) -> Verdict<'_> {
        let reply = pending.reply();
        let PendingAllocation { client, user, place, opening, opened, reserved, .. } = pending;
        let (first, second) = match opened {
            Some(first) => (first, Some(opening)),
            None => (opening, None),
        };
        self.sessions += 1;
        let granted = Granted {
            client,
            now: now.monotonic,
            lifetime: Duration::from_secs(pending.lifetime.into()),
            session: SessionId::new(self.worker, self.sessions),
            transaction: pending.transaction,
            fingerprint: pending.fingerprint,
            transport: pending.transport,
            realm: self.stats.realms.place(user.realm()),
            limit: BandwidthLimit::new(place.rate()),
            reservation: reserved.map(|(port, token)| self.keep_reserved(now.monotonic, port, token)),
            lacks: pending.lacks,
            origin: pending.origin,
            user,
        };
        let Granted { session, lifetime, .. } = granted;
        self.report(Event::Allocated {
            session,
            user: granted.user.clone(),
            tuple: client.tuple,
            relayed: first.port.advertised(),
            additional: second.as_ref().map(|second| second.port.advertised()),
            lifetime,
            link: client.link,
            security: None,
        });
        self.report_answered((client.tuple, granted.user.clone()), Some(session), None);
        self.stats.allocations_created += 1;
        let relay = first.relay;
        let allocation = granted.allocation(first.port, Some(place));
        self.stats.count_alive(&allocation);
        self.allocations.insert(relay, allocation);
        self.set_timer(granted.expires(), Timer::Allocation(relay));
        if let Some(second) = second {
            self.allocations.insert_beside(relay, second.relay, granted.allocation(second.port, None));
            self.set_timer(granted.expires(), Timer::Allocation(second.relay));
        }
        if pending.mobile {
            let serial = Serial::new(&mut self.random);
            self.mobile.issue(session, relay, serial);
        }
        self.succeed_pending(now, &reply, relay)
    }

    /// Keeps the next port for whoever shows the token.
    fn keep_reserved(&mut self, now: Timestamp, port: RelayedPort, token: [u8; 8]) -> [u8; 8] {
        let expires = now + RESERVATION_LIFETIME;
        self.ports.reserve(token, port, expires);
        self.set_timer(expires, Timer::Reservation(token));
        token
    }

    /// `session` is the one that was made.
    fn report_answered(
        &mut self,
        (tuple, user): (FiveTuple, Arc<User>),
        session: Option<SessionId>,
        refusal: Option<(ErrorNumber, Reason)>,
    ) {
        if self.config.verbose {
            let method = Method::ALLOCATE;
            self.report(Event::Processed { tuple, session, user: Some(user), method, refusal });
        }
    }
}

/// What the relayed addresses of an allocation have in common.
struct Granted {
    client: Client,
    now: Timestamp,
    lifetime: Duration,
    user: Arc<User>,
    session: SessionId,
    transaction: TransactionId,
    fingerprint: bool,
    transport: PeerTransport,
    realm: RealmPlace,
    limit: Option<BandwidthLimit>,
    reservation: Option<[u8; 8]>,
    lacks: Option<(Family, ErrorNumber)>,
    origin: PinnedOrigin,
}

impl Granted {
    fn expires(&self) -> Timestamp {
        self.now + self.lifetime
    }

    /// A relayed address on this port, which is live from here on.
    fn allocation(&self, port: RelayedPort, place: Option<QuotaPlace>) -> Box<Allocation> {
        port.set_live(self.transport, true);
        Box::new(Allocation {
            client: self.client,
            expires: self.expires(),
            permissions: Default::default(),
            channels: Default::default(),
            usage: Default::default(),
            realm: self.realm,
            limit: self.limit.clone(),
            fingerprint: self.fingerprint,
            wakes: self.expires(),
            created: self.now,
            user: self.user.clone(),
            session: self.session,
            port,
            transaction: self.transaction,
            reservation: self.reservation,
            lacks: self.lacks,
            tcp: (self.transport == PeerTransport::Tcp).then(Box::<TcpRelay>::default),
            sibling: None,
            place,
            origin: self.origin.clone(),
            claims: Vec::new(),
        })
    }
}

/// At least 30 s are demanded (RFC 8656 §7.2).
const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);
/// Ports of other processes that are stumbled over before giving up.
const MOST_ATTEMPTS: u8 = 16;
