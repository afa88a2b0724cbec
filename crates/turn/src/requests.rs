//! Requests: from a parsed message to an answer or a refusal (RFC 8489 §6.3, RFC 8656 §5).
//!
//! Each method has its file with the rules; this one holds what they share: the order of checks, and the
//! types a rule answers with. How answers look on the wire is `response.rs`.

mod allocate;
mod binding;
mod channel_bind;
mod classic;
mod connect;
mod connection_bind;
mod create_permission;
mod refresh;
mod relay_opening;
mod resume;

pub(crate) use binding::Discovered;
pub(crate) use refresh::Renewal;
pub use relay_opening::RelayError;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use turnpike_wire::attributes::XorPeerAddress;
use turnpike_wire::{AttributeType, Class, ErrorNumber, Message, Method};

use crate::auth::Sender;
use crate::effect::{Effect, Event};
use crate::peers::PeerAccess;
use crate::reason::Reason;
use crate::server::Server;
use crate::tcp_relay::PeerConnectionId;
use crate::time::Now;
use crate::tuple::{Client, InquiryId, RelayId, SessionId, WaitId};
use crate::user::User;
use crate::verdict::Verdict;

/// One request being worked on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'m> {
    pub(crate) now: Now,
    pub(crate) client: Client,
    pub(crate) message: Message<'m>,
    /// Whether the store has been asked for its sender.
    pub(crate) asked: bool,
}

/// What a rule answers when it grants the request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Nothing but success.
    Done,
    /// The client's own address.
    Mapped,
    /// Likewise, and what NAT behaviour discovery adds.
    Discovered(Discovered),
    /// A lifetime in seconds.
    Lifetime(u32),
    /// Likewise, and the next ticket of the session that has moved.
    Moved(u32, SessionId),
    /// The allocation just made, or made by an earlier copy of this request.
    Allocated(RelayId),
    /// A connection with a peer, which is there.
    Connected(PeerConnectionId),
    /// Later, when it is.
    Connecting(PeerConnectionId),
    /// Nothing: this worker is to see the request.
    HandOver { worker: u16 },
    /// Later.
    Wait(WaitId),
    /// Later, when its sender is known.
    Asking(InquiryId),
    /// Nothing: the store does not say who sent it.
    Unavailable(Reason),
    /// An earlier copy of this request is being worked on.
    InProgress,
    /// Nothing: its source has had as many answers of this kind as it may.
    Withheld,
}

impl Answer {
    /// Whether the request has been worked on to its end here and now.
    fn is_final(&self) -> bool {
        match self {
            Answer::Wait(_) | Answer::Connecting(_) | Answer::HandOver { .. } => false,
            Answer::Asking(_) | Answer::Unavailable(_) => false,
            Answer::InProgress | Answer::Withheld => false,
            Answer::Done | Answer::Mapped | Answer::Discovered(_) => true,
            Answer::Lifetime(_) | Answer::Moved(..) | Answer::Allocated(_) | Answer::Connected(_) => true,
        }
    }
}

/// A peer that may be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    /// From which of the allocation's relayed addresses.
    pub(crate) relay: RelayId,
    pub(crate) ip: IpAddr,
    pub(crate) access: PeerAccess,
}

/// Why a rule refuses, and what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) number: ErrorNumber,
    pub(crate) reason: Reason,
}

/// A refusal with what the response must carry besides the error.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) refused: Refused,
    /// Whether REALM, a new NONCE and PASSWORD-ALGORITHMS go with it.
    pub(crate) challenge: bool,
    /// Who is known to have asked; signs the response.
    pub(crate) user: Option<Arc<User>>,
}

impl Refusal {
    pub(crate) fn challenge(number: ErrorNumber, reason: Reason) -> Self {
        Refusal { refused: Refused { number, reason }, challenge: true, user: None }
    }

    pub(crate) fn plain(number: ErrorNumber, reason: Reason) -> Self {
        Refusal { refused: Refused { number, reason }, challenge: false, user: None }
    }
}

impl Server {
    /// Handles a request whose format is sound.
    pub(crate) fn handle_request(&mut self, request: &Request<'_>) -> Verdict<'_> {
        let method = request.message.method();
        self.stats.count_request(method);
        self.work_on(request)
    }

    /// Handles a request that was counted.
    pub(crate) fn work_on(&mut self, request: &Request<'_>) -> Verdict<'_> {
        let method = request.message.method();
        if let Err(reason) = self.is_served(method) {
            return self.drop_packet(reason);
        }
        // The session is named before the request may end it.
        let relay = self.allocation_on(&request.client.tuple);
        let session =
            relay.and_then(|relay| self.allocations.get(relay)).map(|allocation| allocation.session);
        let outcome = self.process(request);
        self.report_processed(request, session, &outcome);
        match outcome {
            Ok((Answer::Wait(wait), _)) => Verdict::Wait(wait),
            Ok((Answer::Asking(inquiry), _)) => Verdict::Asking(inquiry),
            Ok((Answer::Unavailable(reason), _)) => self.drop_packet(reason),
            Ok((Answer::Connecting(connection), _)) => Verdict::Connecting(connection),
            Ok((Answer::HandOver { worker }, _)) => Verdict::HandOver { worker },
            Ok((Answer::InProgress, _)) => self.drop_packet(Reason::InProgress),
            Ok((Answer::Withheld, _)) => self.drop_packet(Reason::RateLimited),
            Ok((answer, user)) => self.succeed(request, answer, user.as_deref()),
            Err(refusal) => self.refuse(request, &refusal),
        }
    }

    /// Whether the method is known and switched on.
    fn is_served(&self, method: Method) -> Result<(), Reason> {
        let switched_on = match method {
            Method::BINDING => self.config.binding,
            Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND => {
                self.config.relaying
            }
            Method::CONNECT | Method::CONNECTION_BIND => self.config.relaying && self.config.tcp_relay,
            _ => return Err(Reason::UnknownMethod),
        };
        if switched_on { Ok(()) } else { Err(Reason::SwitchedOff) }
    }

    /// Authentication, then unknown attributes, then the method's rules (RFC 8489 §6.3.1).
    fn process(&mut self, request: &Request<'_>) -> Result<(Answer, Option<Arc<User>>), Refusal> {
        let method = request.message.method();
        if self.is_sent_elsewhere(request) {
            return Err(Refusal::plain(ErrorNumber::TRY_ALTERNATE, Reason::TryAlternate));
        }
        let anybody = method == Method::BINDING && !self.config.authenticated_binding;
        let user = match anybody {
            true => None,
            false => match self.authenticate(request)? {
                Sender::Known(user) => Some(user),
                Sender::Asked(answer) => return Ok((answer, None)),
            },
        };
        if self.unknown_in(request).next().is_some() {
            let (number, reason) = (ErrorNumber::UNKNOWN_ATTRIBUTE, Reason::UnknownAttributes);
            return Err(Refusal { user, ..Refusal::plain(number, reason) });
        }
        let answer = match (method, &user) {
            (Method::ALLOCATE, Some(user)) => self.allocate(request, user),
            (Method::REFRESH, Some(user)) => self.refresh(request, user),
            (Method::CREATE_PERMISSION, Some(user)) => self.create_permission(request, user),
            (Method::CHANNEL_BIND, Some(user)) => self.channel_bind(request, user),
            (Method::CONNECT, Some(user)) => self.connect(request, user),
            (Method::CONNECTION_BIND, Some(user)) => self.connection_bind(request, user),
            _ => self.binding(request, user.as_deref()),
        };
        match answer {
            Ok(answer) => Ok((answer, user)),
            Err(refused) => Err(Refusal { refused, challenge: false, user }),
        }
    }

    /// The allocation on the request's 5-tuple, if `user` owns it.
    fn own_allocation(&mut self, request: &Request<'_>, user: &User) -> Result<RelayId, Refused> {
        let mismatch = refused(ErrorNumber::ALLOCATION_MISMATCH, Reason::AllocationMismatch);
        let relay = self.allocation_on(&request.client.tuple).ok_or(mismatch)?;
        let allocation = self.allocations.get(relay).ok_or(mismatch)?;
        if !allocation.user.is_same(user) {
            return Err(refused(ErrorNumber::WRONG_CREDENTIALS, Reason::NotTheOwner));
        }
        self.check_origin(request, allocation)?;
        // RFC 8016 §3.2.2 waits for data. A request says no less: its client works by this 5-tuple from here on, and
        // one that only listens may never send any data.
        self.arrived(&request.client.tuple);
        Ok(relay)
    }

    /// Refuses what is not for relayed addresses of this kind: channels are for datagrams, connections for TCP.
    fn expect_tcp(&self, relay: RelayId, tcp: bool) -> Result<(), Refused> {
        let fits = self.allocations.get(relay).is_some_and(|allocation| allocation.tcp.is_some() == tcp);
        let other = refused(ErrorNumber::FORBIDDEN, Reason::OtherRelayTransport);
        if fits { Ok(()) } else { Err(other) }
    }

    /// The canonical form of a peer that a client asks for.
    fn read_peer(&self, request: &Request<'_>, value: &[u8]) -> Result<SocketAddr, Refused> {
        let id = request.message.transaction_id();
        match turnpike_wire::Attribute::decode(value, &id) {
            Ok(XorPeerAddress(peer)) => Ok(self.config.peers.canonical(peer)),
            Err(_) => Err(refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest)),
        }
    }

    /// From which relayed address and how a canonical peer may be reached. The family comes first (RFC 8656 §10.2,
    /// §12.2).
    fn judge_peer(
        &mut self,
        request: &Request<'_>,
        relay: RelayId,
        peer: SocketAddr,
    ) -> Result<Judged, Refused> {
        let relay = self.allocations.towards(relay, &peer);
        let found = relay.and_then(|relay| Some((relay, self.allocations.get(relay)?.session)));
        let Some((relay, session)) = found else {
            return Err(refused(ErrorNumber::PEER_ADDRESS_FAMILY_MISMATCH, Reason::WrongFamily));
        };
        let user = self.allocations.get(relay).map(|allocation| allocation.user.clone());
        let own = user.and_then(|user| self.config.tenant_opens(&user, peer.ip()));
        let judged =
            self.config.peers.judge_for(own, peer.ip()).map(|access| Judged { relay, ip: peer.ip(), access });
        judged.map_err(|rule| {
            let tuple = request.client.tuple;
            self.effects.push_back(Effect::Report(Event::PeerRefused {
                tuple,
                session,
                peer: peer.ip(),
                rule,
            }));
            refused(ErrorNumber::FORBIDDEN, Reason::PeerRefused)
        })
    }

    fn report_processed(
        &mut self,
        request: &Request<'_>,
        session: Option<SessionId>,
        outcome: &Result<(Answer, Option<Arc<User>>), Refusal>,
    ) {
        let method = request.message.method();
        let wanted = self.config.verbose && (method != Method::BINDING || self.config.log_binding);
        if !wanted || outcome.as_ref().is_ok_and(|(answer, _)| !answer.is_final()) {
            return;
        }
        let (user, refusal) = match outcome {
            Ok((_, user)) => (user, None),
            Err(refusal) => (&refusal.user, Some((refusal.refused.number, refusal.refused.reason))),
        };
        self.report(Event::Processed {
            tuple: request.client.tuple,
            session,
            user: user.clone(),
            method,
            refusal,
        });
    }
}

pub(crate) fn refused(number: ErrorNumber, reason: Reason) -> Refused {
    Refused { number, reason }
}

/// The comprehension-required attributes of `message` that this server does not understand, in order.
pub(crate) fn unknown_attributes<'m>(message: &Message<'m>) -> impl Iterator<Item = AttributeType> + use<'m> {
    let required = message.attributes().map(|attribute| attribute.kind);
    required.filter(|kind| kind.is_comprehension_required() && !UNDERSTOOD.contains(kind))
}

/// Whether the class can be received by a server at all (RFC 8489 §6.3).
pub(crate) fn is_receivable(class: Class) -> bool {
    matches!(class, Class::Request | Class::Indication)
}

/// Comprehension-required attributes that are understood, or of old known to mean nothing in a request.
const UNDERSTOOD: &[AttributeType] = &[
    AttributeType::MAPPED_ADDRESS,
    AttributeType::USERNAME,
    AttributeType::ERROR_CODE,
    AttributeType::UNKNOWN_ATTRIBUTES,
    AttributeType::CHANNEL_NUMBER,
    AttributeType::LIFETIME,
    AttributeType::BANDWIDTH,
    AttributeType::XOR_PEER_ADDRESS,
    AttributeType::DATA,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::XOR_RELAYED_ADDRESS,
    AttributeType::REQUESTED_ADDRESS_FAMILY,
    AttributeType::EVEN_PORT,
    AttributeType::REQUESTED_TRANSPORT,
    AttributeType::DONT_FRAGMENT,
    AttributeType::PASSWORD_ALGORITHM,
    AttributeType::USERHASH,
    AttributeType::XOR_MAPPED_ADDRESS,
    AttributeType::RESERVATION_TOKEN,
];
