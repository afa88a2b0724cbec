//! Allocate (RFC 8656 §7): a relayed transport address for a client.
//!
//! The 5-tuple is checked before anything in the request, and a retransmission gets the same answer again.
//! Nothing half-made is stored: until the relay socket is open, the request waits with all it has taken, and
//! dropping it gives everything back.

use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::attributes::{
    AdditionalAddressFamily, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport, ReservationToken,
};
use turnpike_wire::{AttributeError, AttributeType, ErrorNumber, Family, Message};

use super::{Answer, Refused, Request, refused};
use crate::allocation::Allocation;
use crate::config::DefaultFamily;
use crate::credentials::User;
use crate::effect::{Effect, Event, Reserve};
use crate::ports::{Parity, RelayedPort};
use crate::reason::Reason;
use crate::requests::Refusal;
use crate::server::Server;
use crate::time::{Now, Timestamp};
use crate::timers::Timer;
use crate::tuple::{FiveTuple, SessionId, WaitId};
use crate::verdict::Verdict;
use crate::waiting::{PendingAllocation, PortChoice};

/// What an Allocate asks for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    family: Option<Family>,
    parity: Parity,
    token: Option<[u8; 8]>,
    lifetime: Option<u32>,
    /// A second family was asked for (RFC 8656 §7.1).
    additional: bool,
}

/// Where an allocation's port comes from.
#[derive(Debug)]
enum Source {
    /// It was reserved under this token.
    Reserved([u8; 8]),
    /// Any fitting one of these relay addresses.
    Free(Vec<u16>, Parity),
}

/// Why a relay socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayError {
    /// The port belongs to another process.
    AddressInUse,
    /// Anything else: no descriptors, no memory, no such address.
    Other,
}

impl Server {
    pub(super) fn allocate(&mut self, request: &Request<'_>, user: &Arc<User>) -> Result<Answer, Refused> {
        if let Some(answer) = self.repeated(request, user)? {
            return Ok(answer);
        }
        let wish = Wish::read(&request.message)?;
        // RFC 8656 §7.2: token and family are judged before the quota, and capacity comes last.
        let source = self.find_source(request, &wish)?;
        let place = self
            .quotas
            .take(user)
            .map_err(|reason| refused(ErrorNumber::ALLOCATION_QUOTA_REACHED, reason))?;
        if self.waiting.is_full() {
            return Err(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::TooManyWaiting));
        }
        let (port, next) = self.choose_port(request, &source)?;
        let reserved = next.map(|port| (port, self.random.next_u64().to_be_bytes()));
        let pending = PendingAllocation {
            client: request.client,
            transaction: request.message.transaction_id(),
            user: user.clone(),
            place,
            relay: self.allocations.reserve(),
            port,
            reserved,
            choice: wish.token.map_or(PortChoice::Free(wish.parity), PortChoice::Reserved),
            attempts: 1,
            lifetime: self.granted_lifetime(wish.lifetime),
            fingerprint: request.reply().fingerprint,
            integrity: request.reply().integrity,
            lacks_family: wish.additional,
        };
        Ok(Answer::Wait(self.open_relay(pending)))
    }

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
        match opened {
            Ok(()) => self.complete(now, pending),
            Err(RelayError::AddressInUse) if pending.attempts < MOST_ATTEMPTS => self.retry(now, pending),
            Err(_) => self.give_up(now, pending, Reason::RelayFailed),
        }
    }

    /// Seconds to grant: at least ten minutes, at most what is configured (RFC 8656 §7.2).
    pub(super) fn granted_lifetime(&self, asked: Option<u32>) -> u32 {
        let longest = self.config.max_lifetime.as_secs().min(u64::from(u32::MAX)) as u32;
        asked.unwrap_or(DEFAULT_LIFETIME).min(longest).max(DEFAULT_LIFETIME)
    }

    /// The answer to a copy of a request that was or is being granted; a refusal if the 5-tuple is taken.
    fn repeated(&self, request: &Request<'_>, user: &User) -> Result<Option<Answer>, Refused> {
        let mismatch = Err(refused(ErrorNumber::ALLOCATION_MISMATCH, Reason::AllocationMismatch));
        let transaction = request.message.transaction_id();
        if let Some(relay) = self.allocations.find(&request.client.tuple) {
            let same = self.allocations.get(relay).is_some_and(|allocation| {
                allocation.transaction == transaction && allocation.user.name() == user.name()
            });
            return if same { Ok(Some(Answer::Allocated(relay))) } else { mismatch };
        }
        match self.waiting.find(&request.client.tuple) {
            Some(pending) if pending.transaction == transaction => Ok(Some(Answer::InProgress)),
            Some(_) => mismatch,
            None => Ok(None),
        }
    }

    /// Where a port may come from, without taking it; a refusal if the token or the family is of no use here.
    fn find_source(&self, request: &Request<'_>, wish: &Wish) -> Result<Source, Refused> {
        if let Some(token) = wish.token {
            let known = self.ports.expiry(token).is_some_and(|expires| expires > request.now.monotonic);
            return if known { Ok(Source::Reserved(token)) } else { Err(UNKNOWN_RESERVATION) };
        }
        let server = request.client.tuple.server.ip();
        let family = match (wish.family, self.config.default_family) {
            (Some(family), _) | (None, DefaultFamily::Of(family)) => family,
            (None, DefaultFamily::Client) => Family::of(&server),
        };
        let relays: Vec<u16> = self.ports.of_family(family == Family::Ipv4).collect();
        if relays.is_empty() {
            return Err(refused(ErrorNumber::ADDRESS_FAMILY_NOT_SUPPORTED, Reason::UnsupportedFamily));
        }
        Ok(Source::Free(relays, wish.parity))
    }

    fn choose_port(
        &mut self,
        request: &Request<'_>,
        source: &Source,
    ) -> Result<(RelayedPort, Option<RelayedPort>), Refused> {
        let (relays, parity) = match source {
            // Another worker may have been quicker.
            Source::Reserved(token) => {
                let port = self.ports.claim(*token, request.now.monotonic);
                return port.map(|port| (port, None)).ok_or(UNKNOWN_RESERVATION);
            }
            Source::Free(relays, parity) => (relays, *parity),
        };
        let server = request.client.tuple.server.ip();
        // The address the client came in on is the likeliest to be routed as it expects; otherwise in turn.
        let same = relays
            .iter()
            .position(|index| self.ports.relay(*index).is_some_and(|relay| relay.address == server));
        self.turn = self.turn.wrapping_add(1);
        let first = same.unwrap_or(self.turn % relays.len());
        let found = self.take_port(relays, first, parity);
        found.ok_or(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::NoPort))
    }

    /// Takes a fitting port on one of these relay addresses: on the `first` if it has one, or on another.
    fn take_port(
        &mut self,
        relays: &[u16],
        first: usize,
        parity: Parity,
    ) -> Option<(RelayedPort, Option<RelayedPort>)> {
        let (after, before) = (&relays[first..], &relays[..first]);
        after.iter().chain(before).find_map(|index| self.ports.take(*index, parity, &mut self.random))
    }

    fn open_relay(&mut self, pending: PendingAllocation) -> WaitId {
        let (relay, address) = (pending.relay, pending.port.local());
        let reserve = match (pending.choice, &pending.reserved) {
            (PortChoice::Reserved(token), _) => Reserve::Held { token },
            (_, Some((next, token))) => Reserve::Next { token: *token, address: next.local() },
            _ => Reserve::No,
        };
        let wait = self.waiting.insert(pending);
        self.effects.push_back(Effect::OpenRelay { wait, relay, address, reserve });
        wait
    }

    /// Another process holds the port: tries the next one.
    fn retry(&mut self, now: Now, mut pending: PendingAllocation) -> Verdict<'_> {
        let relays: Vec<u16> = self.ports.of_family(pending.port.local().is_ipv4()).collect();
        let first = relays.iter().position(|index| *index == pending.port.relay_index()).unwrap_or(0);
        let found = match pending.choice {
            PortChoice::Free(parity) => self.take_port(&relays, first, parity),
            PortChoice::Reserved(_) => None,
        };
        let Some((port, next)) = found else {
            return self.give_up(now, pending, Reason::NoPort);
        };
        pending.port = port;
        pending.reserved = next.map(|port| (port, self.random.next_u64().to_be_bytes()));
        pending.attempts += 1;
        Verdict::Wait(self.open_relay(pending))
    }

    fn give_up(&mut self, now: Now, pending: PendingAllocation, reason: Reason) -> Verdict<'_> {
        self.allocations.cancel(pending.relay);
        let refused = refused(ErrorNumber::INSUFFICIENT_CAPACITY, reason);
        let refusal = Refusal { refused, challenge: false, user: Some(pending.user.clone()) };
        let answered = (pending.client.tuple, pending.user.clone());
        self.report_answered(answered, None, Some((refused.number, reason)));
        self.refuse_pending(now, &pending, &refusal)
    }

    fn complete(&mut self, now: Now, pending: PendingAllocation) -> Verdict<'_> {
        let relay = pending.relay;
        let reply = pending.reply();
        let answered = (pending.client.tuple, pending.user.clone());
        let lifetime = Duration::from_secs(pending.lifetime.into());
        let allocation = self.make_allocation(now.monotonic, pending);
        self.report(Event::Allocated {
            session: allocation.session,
            user: allocation.user.clone(),
            tuple: allocation.client.tuple,
            relayed: allocation.port.advertised(),
            lifetime,
        });
        self.report_answered(answered, Some(allocation.session), None);
        let wakes = allocation.wakes;
        self.allocations.insert(relay, allocation);
        self.set_timer(wakes, Timer::Allocation(relay));
        self.stats.allocations_created += 1;
        self.succeed_pending(now, &reply, relay)
    }

    fn make_allocation(&mut self, now: Timestamp, pending: PendingAllocation) -> Box<Allocation> {
        let reservation = pending.reserved.map(|(port, token)| {
            let expires = now + RESERVATION_LIFETIME;
            self.ports.reserve(token, port, expires);
            self.set_timer(expires, Timer::Reservation(token));
            token
        });
        self.sessions += 1;
        pending.port.set_live(true);
        let expires = now + Duration::from_secs(pending.lifetime.into());
        Box::new(Allocation {
            client: pending.client,
            expires,
            permissions: Default::default(),
            channels: Default::default(),
            usage: Default::default(),
            fingerprint: pending.fingerprint,
            wakes: expires,
            created: now,
            user: pending.user,
            session: SessionId::new(self.worker, self.sessions),
            port: pending.port,
            transaction: pending.transaction,
            reservation,
            lacks_family: pending.lacks_family,
            _place: pending.place,
        })
    }

    /// `session` is the one that was made.
    fn report_answered(
        &mut self,
        (tuple, user): (FiveTuple, Arc<User>),
        session: Option<SessionId>,
        refusal: Option<(ErrorNumber, Reason)>,
    ) {
        if self.config.verbose {
            let method = turnpike_wire::Method::ALLOCATE;
            self.report(Event::Processed { tuple, session, user: Some(user), method, refusal });
        }
    }
}

impl Wish {
    /// Reads the attributes in the order RFC 8656 §7.2 checks them.
    fn read(message: &Message<'_>) -> Result<Self, Refused> {
        let bad = refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest);
        match message.get::<RequestedTransport>() {
            Ok(Some(RequestedTransport::UDP)) => {}
            Ok(Some(_)) => {
                return Err(refused(ErrorNumber::UNSUPPORTED_TRANSPORT, Reason::UnsupportedTransport));
            }
            _ => return Err(bad),
        }
        let even_port = message.get::<EvenPort>().map_err(|_| bad)?;
        let token = message.get::<ReservationToken>().map_err(|_| bad)?.map(|token| token.0);
        // Attributes that exclude each other do so whatever family they name.
        let asks_family = message.has(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let asks_additional = message.has(AttributeType::ADDITIONAL_ADDRESS_FAMILY);
        let excluded_by_token = even_port.is_some() || asks_family || asks_additional;
        if token.is_some() && excluded_by_token || asks_family && asks_additional {
            return Err(bad);
        }
        let family = read_family(message.get::<RequestedAddressFamily>())?.map(|family| family.0);
        let additional = read_family(message.get::<AdditionalAddressFamily>())?.map(|family| family.0);
        let pair = even_port.is_some_and(|even_port| even_port.reserve);
        if additional.is_some() && pair || additional == Some(Family::Ipv4) {
            return Err(bad);
        }
        let parity = match even_port {
            None => Parity::Any,
            Some(EvenPort { reserve: false }) => Parity::Even,
            Some(EvenPort { reserve: true }) => Parity::EvenPair,
        };
        let lifetime = message.get::<Lifetime>().map_err(|_| bad)?.map(|lifetime| lifetime.0);
        Ok(Wish { family, parity, token, lifetime, additional: additional.is_some() })
    }
}

/// A family attribute of the right length that names no known family is 440, not 400.
fn read_family<F>(read: Result<Option<F>, AttributeError>) -> Result<Option<F>, Refused> {
    read.map_err(|error| match error {
        AttributeError::Family => {
            refused(ErrorNumber::ADDRESS_FAMILY_NOT_SUPPORTED, Reason::UnsupportedFamily)
        }
        _ => refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest),
    })
}

const UNKNOWN_RESERVATION: Refused =
    Refused { number: ErrorNumber::INSUFFICIENT_CAPACITY, reason: Reason::UnknownReservation };
/// Seconds (RFC 8656 §3.2).
pub(super) const DEFAULT_LIFETIME: u32 = 600;
/// At least 30 s are demanded (RFC 8656 §7.2).
const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);
/// Ports of other processes that are stumbled over before giving up.
const MOST_ATTEMPTS: u8 = 16;
