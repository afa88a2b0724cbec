//! Allocate (RFC 8656 §7): a relayed transport address for a client.
//!
//! The 5-tuple is checked before anything in the request, and a retransmission gets the same answer again.
//! Nothing half-made is stored: until the relay socket is open, the request waits with all it has taken, and
//! dropping it gives everything back.

use std::sync::Arc;

use turnpike_wire::attributes::{
    AdditionalAddressFamily, EvenPort, Lifetime, RequestedAddressFamily, RequestedTransport, ReservationToken,
};
use turnpike_wire::{AttributeError, AttributeType, ErrorNumber, Family, Message};

use super::{Answer, Refused, Request, refused};
use crate::config::{Config, DefaultFamily};
use crate::ports::{Parity, RelayedPort};
use crate::reason::Reason;
use crate::server::Server;
use crate::tcp_relay::PeerTransport;
use crate::time::Now;
use crate::tuple::{Client, Transport};
use crate::user::User;
use crate::waiting::{Half, PendingAllocation, PortChoice};

/// What an Allocate asks for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    transport: PeerTransport,
    family: Option<Family>,
    parity: Parity,
    token: Option<[u8; 8]>,
    lifetime: Option<u32>,
    /// A second family was asked for (RFC 8656 §7.1).
    additional: bool,
    /// A ticket was asked for (RFC 8016 §3.1).
    mobile: bool,
}

/// Which relayed addresses an allocation can have.
#[derive(Debug)]
struct Plan {
    /// Where the first one's port comes from.
    source: Source,
    /// The family of the second one.
    then: Option<Family>,
    /// The family that cannot be had, and why.
    lacks: Option<(Family, ErrorNumber)>,
}

/// Where an allocation's port comes from.
#[derive(Debug)]
enum Source {
    /// It was reserved under this token.
    Reserved([u8; 8]),
    /// Any fitting one of these relay addresses.
    Free(Vec<u16>, Parity),
}

impl Server {
    pub(super) fn allocate(&mut self, request: &Request<'_>, user: &Arc<User>) -> Result<Answer, Refused> {
        if let Some(answer) = self.repeated(request, user)? {
            return Ok(answer);
        }
        // RFC 8489 §10: whatever it asks for, the other server will judge.
        if self.config.alternate_servers.are_for(&request.client.tuple) {
            return Err(refused(ErrorNumber::TRY_ALTERNATE, Reason::TryAlternate));
        }
        self.refuse_if_draining()?;
        let wish = Wish::read(&request.message, request.client.tuple.transport, &self.config)?;
        if wish.mobile && !self.offers_mobility() {
            return Err(refused(ErrorNumber::MOBILITY_FORBIDDEN, Reason::MobilityForbidden));
        }
        let origin = self.origin_to_pin(request)?;
        // A port that everybody has can be neither chosen nor kept.
        let shared = self.config.multiplex.is_some() && wish.transport == PeerTransport::Udp;
        if shared && (wish.parity != Parity::Any || wish.token.is_some()) {
            return Err(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::NoPort));
        }
        // RFC 8656 §7.2: token and family are judged before the quota, and capacity comes last.
        let mut plan = self.plan(request, &wish)?;
        let place = match wish.token.and_then(|token| self.ports.take_place(token, user)) {
            Some(place) => place,
            None => {
                let quota = |reason| refused(ErrorNumber::ALLOCATION_QUOTA_REACHED, reason);
                let limits = self.config.limits_of(user);
                self.quotas.take(user, &limits).map_err(quota)?
            }
        };
        if self.waiting.is_full() {
            return Err(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::TooManyWaiting));
        }
        let (port, next) = self.choose_first_port(request, &mut plan, wish.transport)?;
        let reserved = next.map(|port| (port, self.random.next_u64().to_be_bytes()));
        let pending = PendingAllocation {
            client: request.client,
            transaction: request.message.transaction_id(),
            user: user.clone(),
            place,
            opening: Half { relay: self.allocations.reserve(), port },
            opened: None,
            then: plan.then,
            lacks: plan.lacks,
            reserved,
            choice: wish.token.map_or(PortChoice::Free(wish.parity), PortChoice::Reserved),
            transport: wish.transport,
            attempts: 1,
            lifetime: self.granted_lifetime(wish.lifetime, request.now, user),
            // Connections with peers stay where they are, and so does what they come from; a port that sessions share
            // is one worker's.
            mobile: wish.mobile && wish.transport == PeerTransport::Udp && !shared,
            fingerprint: request.reply().fingerprint,
            integrity: request.reply().integrity,
            abandoned: false,
            origin,
        };
        Ok(Answer::Wait(self.open_relay(pending)))
    }

    /// Seconds to grant: at least ten minutes, at most what is configured (RFC 8656 §7.2), and no more than an access
    /// token is good for (RFC 7635 §9). A server that is about to end grants less.
    pub(super) fn granted_lifetime(&self, asked: Option<u32>, now: Now, user: &User) -> u32 {
        let longest = self.config.max_lifetime.as_secs().min(u64::from(u32::MAX)) as u32;
        let granted = asked.unwrap_or(DEFAULT_LIFETIME).min(longest).max(DEFAULT_LIFETIME);
        let granted = user.session_key().map_or(granted, |key| granted.min(key.left(now.unix)));
        let granted = self.config.drain.map_or(granted, |drain| drain.shorten(granted, now.monotonic));
        match user.expires().filter(|_| self.config.strict_expiry) {
            Some(expires) => {
                granted.min(expires.0.saturating_sub(now.unix.0).clamp(1, u32::MAX.into()) as u32)
            }
            None => granted,
        }
    }

    /// The answer to a copy of a request that was or is being granted; a refusal if the 5-tuple is taken.
    fn repeated(&self, request: &Request<'_>, user: &User) -> Result<Option<Answer>, Refused> {
        let mismatch = Err(refused(ErrorNumber::ALLOCATION_MISMATCH, Reason::AllocationMismatch));
        let transaction = request.message.transaction_id();
        if let Some(relay) = self.allocation_on(&request.client.tuple) {
            let same = self.allocations.get(relay).is_some_and(|allocation| {
                allocation.transaction == transaction && allocation.user.is_same(user)
            });
            return if same { Ok(Some(Answer::Allocated(relay))) } else { mismatch };
        }
        match self.waiting.find(&request.client.tuple) {
            Some(pending) if pending.transaction == transaction => Ok(Some(Answer::InProgress)),
            Some(_) => mismatch,
            None if self.mobile.claims.find(&request.client.tuple).is_some() => mismatch,
            None => Ok(None),
        }
    }

    /// Which relayed addresses there can be, without taking anything. With an additional family it is one of each, or
    /// the one that can be had (RFC 8656 §7.2).
    fn plan(&self, request: &Request<'_>, wish: &Wish) -> Result<Plan, Refused> {
        if !wish.additional {
            return Ok(Plan { source: self.find_source(request, wish)?, then: None, lacks: None });
        }
        let [four, six] = [true, false].map(|ipv4| self.ports.of_family(ipv4).collect::<Vec<u16>>());
        let lacking = |family| Some((family, ErrorNumber::ADDRESS_FAMILY_NOT_SUPPORTED));
        let (relays, then, lacks) = match (four.is_empty(), six.is_empty()) {
            (false, false) => (four, Some(Family::Ipv6), None),
            (false, true) => (four, None, lacking(Family::Ipv6)),
            (true, false) => (six, None, lacking(Family::Ipv4)),
            (true, true) => return Err(UNSUPPORTED_FAMILY),
        };
        Ok(Plan { source: Source::Free(relays, wish.parity), then, lacks })
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
            return Err(UNSUPPORTED_FAMILY);
        }
        Ok(Source::Free(relays, wish.parity))
    }

    /// The first relayed address's port: of the second family if the first has none left.
    fn choose_first_port(
        &mut self,
        request: &Request<'_>,
        plan: &mut Plan,
        transport: PeerTransport,
    ) -> Result<(RelayedPort, Option<RelayedPort>), Refused> {
        let chosen = self.choose_port(request, &plan.source, transport);
        let (Err(_), Some(family), Source::Free(_, parity)) = (&chosen, plan.then, &plan.source) else {
            return chosen;
        };
        plan.lacks = Some((Family::Ipv4, ErrorNumber::INSUFFICIENT_CAPACITY));
        plan.then = None;
        plan.source = Source::Free(self.ports.of_family(family == Family::Ipv4).collect(), *parity);
        self.choose_port(request, &plan.source, transport)
    }

    fn choose_port(
        &mut self,
        request: &Request<'_>,
        source: &Source,
        transport: PeerTransport,
    ) -> Result<(RelayedPort, Option<RelayedPort>), Refused> {
        let (relays, parity) = match source {
            // Another worker may have been quicker.
            Source::Reserved(token) => {
                let port = self.ports.claim(*token, request.now.monotonic);
                return port.map(|port| (port, None)).ok_or(UNKNOWN_RESERVATION);
            }
            Source::Free(relays, parity) => (relays, *parity),
        };
        let found = self.take_any_port(&request.client, relays, (parity, transport));
        found.ok_or(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::NoPort))
    }

    /// Takes a fitting port on one of these relay addresses.
    pub(super) fn take_any_port(
        &mut self,
        client: &Client,
        relays: &[u16],
        choice: (Parity, PeerTransport),
    ) -> Option<(RelayedPort, Option<RelayedPort>)> {
        let server = client.tuple.server.ip();
        // The address the client came in on is the likeliest to be routed as it expects; otherwise in turn.
        let same = relays
            .iter()
            .position(|index| self.ports.relay(*index).is_some_and(|relay| relay.address == server));
        self.turn = self.turn.wrapping_add(1);
        let first = same.unwrap_or(self.turn.checked_rem(relays.len())?);
        self.take_port(relays, first, choice)
    }

    /// Takes a fitting port on one of these relay addresses: on the `first` if it has one, or on another.
    pub(super) fn take_port(
        &mut self,
        relays: &[u16],
        first: usize,
        (parity, transport): (Parity, PeerTransport),
    ) -> Option<(RelayedPort, Option<RelayedPort>)> {
        if let (Some(multiplex), PeerTransport::Udp) = (self.config.multiplex, transport) {
            let index = *relays.get(first)?;
            let port = multiplex.port(self.worker, self.ports.relay(index)?.address.is_ipv4());
            return Some((self.ports.shared(index, port).told_by(&self.config.peers), None));
        }
        let (after, before) = (&relays[first..], &relays[..first]);
        let mut indices = after.iter().chain(before);
        let (port, next) = indices.find_map(|index| self.ports.take(*index, parity, &mut self.random))?;
        let told = |port: RelayedPort| port.told_by(&self.config.peers);
        Some((told(port), next.map(told)))
    }
}

impl Wish {
    /// Reads the attributes in the order RFC 8656 §7.2 checks them.
    fn read(message: &Message<'_>, client: Transport, config: &Config) -> Result<Self, Refused> {
        let bad = refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest);
        let transport = read_transport(message, client, config)?;
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
        // The draft's number is one that need not be understood: where it does not fit, it counts for nothing.
        let excluded = asks_family || token.is_some() || pair;
        let draft = message.value(DRAFT_ADDITIONAL_ADDRESS_FAMILY).filter(|_| !excluded);
        let drafted = draft.is_some_and(|value| matches!(value, [2, _, _, _]));
        // RFC 8016 §3.1.2: who asks for a ticket has none to show.
        let ticket = message.value(AttributeType::MOBILITY_TICKET);
        if ticket.is_some_and(|ticket| !ticket.is_empty()) {
            return Err(refused(ErrorNumber::BAD_REQUEST, Reason::BadTicket));
        }
        let (additional, mobile) = (additional.is_some() || drafted, ticket.is_some());
        Ok(Wish { transport, family, parity, token, lifetime, additional, mobile })
    }
}

/// What the relayed address is to speak. A TCP allocation is for connections only, and has none of what is about
/// datagrams (RFC 6062 §5.1). A second family it may have: RFC 8656 §7.2 gives one to every allocation, and nothing in
/// RFC 6062, which is older, speaks against it.
fn read_transport(
    message: &Message<'_>,
    client: Transport,
    config: &Config,
) -> Result<PeerTransport, Refused> {
    let bad = |reason| refused(ErrorNumber::BAD_REQUEST, reason);
    match message.get::<RequestedTransport>() {
        Ok(Some(RequestedTransport::UDP)) if config.udp_relay => Ok(PeerTransport::Udp),
        Ok(Some(RequestedTransport::TCP)) if config.tcp_relay => {
            const DATAGRAMS: [AttributeType; 3] =
                [AttributeType::DONT_FRAGMENT, AttributeType::EVEN_PORT, AttributeType::RESERVATION_TOKEN];
            if !client.is_stream() {
                return Err(bad(Reason::NeedsConnection));
            }
            if DATAGRAMS.iter().any(|kind| message.has(*kind)) {
                return Err(bad(Reason::BadRequest));
            }
            Ok(PeerTransport::Tcp)
        }
        Ok(Some(_)) => Err(refused(ErrorNumber::UNSUPPORTED_TRANSPORT, Reason::UnsupportedTransport)),
        _ => Err(bad(Reason::BadRequest)),
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

/// What coturn 4.6 and its client have for ADDITIONAL-ADDRESS-FAMILY: the number of a draft, given to nothing since.
const DRAFT_ADDITIONAL_ADDRESS_FAMILY: AttributeType = AttributeType(0x8032);
const UNSUPPORTED_FAMILY: Refused =
    Refused { number: ErrorNumber::ADDRESS_FAMILY_NOT_SUPPORTED, reason: Reason::UnsupportedFamily };
const UNKNOWN_RESERVATION: Refused =
    Refused { number: ErrorNumber::INSUFFICIENT_CAPACITY, reason: Reason::UnknownReservation };
/// Seconds (RFC 8656 §3.2).
pub(super) const DEFAULT_LIFETIME: u32 = 600;
