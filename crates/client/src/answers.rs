//! What a response does: challenges, refusals, and the success of each kind of request.

use alloc::boxed::Box;
use core::net::SocketAddr;
use core::time::Duration;

use turnpike_wire::attributes::{
    AddressErrorCode, AlternateDomain, AlternateServer, ConnectionId, ErrorCode, Lifetime, MappedAddress,
    MobilityTicket, OtherAddress, Padding, ReservationToken, ResponseOrigin, UnknownAttributes,
    XorMappedAddress, XorRelayedAddress,
};
use turnpike_wire::{Attribute, AttributeType, Class, ErrorNumber, Integrity, Message};

use crate::allocation::Allocation;
use crate::client::Client;
use crate::event::{Allocated, BindingAnswer, DiscardReason, Event, Failure};
use crate::request::{Request, RequestId};
use crate::transaction::Transaction;

impl Client {
    pub(crate) fn handle_response(&mut self, now: Duration, message: &Message<'_>) -> Option<Event> {
        let id = message.transaction_id();
        let matches = |transaction: &Transaction| {
            transaction.id == id && transaction.request.method() == message.method()
        };
        let Some(at) = self.transactions.iter().position(matches) else {
            return Some(Event::Discarded(DiscardReason::UnknownTransaction));
        };
        if self.transactions[at].authenticated
            && let Err(reason) = self.authentication.check(message, &self.config)
        {
            return Some(Event::Discarded(reason));
        }
        let transaction = self.transactions.swap_remove(at);
        match message.class() {
            Class::Success => Some(self.handle_success(now, transaction, message)),
            _ => self.handle_error(now, transaction, message),
        }
    }

    fn handle_error(
        &mut self,
        now: Duration,
        mut transaction: Transaction,
        message: &Message<'_>,
    ) -> Option<Event> {
        let request = transaction.request_id;
        let method = transaction.request.method();
        let failed = |failure| Some(Event::Failed { request, method, failure });
        let Ok(Some(error)) = message.get::<ErrorCode<'_>>() else {
            return failed(Failure::Malformed("ERROR-CODE"));
        };
        match error.number {
            ErrorNumber::UNAUTHENTICATED if transaction.authenticated => {
                return failed(Failure::CredentialsRejected { realm: self.authentication.realm() });
            }
            ErrorNumber::UNAUTHENTICATED if transaction.request.wants_authentication() => {}
            ErrorNumber::STALE_NONCE if transaction.stale_nonces < MAX_STALE_NONCES => {
                transaction.stale_nonces += 1;
            }
            _ => return self.handle_refusal(&transaction, message, error),
        }
        if let Err(failure) = self.authentication.learn(message, &self.config) {
            return failed(failure);
        }
        match self.ask_again(now, transaction) {
            Ok(()) => None,
            Err(_) => failed(Failure::Malformed("NONCE")),
        }
    }

    fn handle_refusal(
        &mut self,
        transaction: &Transaction,
        message: &Message<'_>,
        error: ErrorCode<'_>,
    ) -> Option<Event> {
        let request = transaction.request_id;
        if error.number == ErrorNumber::ALLOCATION_MISMATCH
            && let Request::Refresh { lifetime, .. } = transaction.request
        {
            // The server has no allocation here: what was to be deleted is gone already (RFC 8656 §8.3).
            self.allocation = None;
            if lifetime == Some(0) {
                return Some(Event::Deleted { request });
            }
        }
        let failure = match message.get::<AlternateServer>() {
            Ok(Some(AlternateServer(server))) if error.number == ErrorNumber::TRY_ALTERNATE => {
                let domain = message.get::<AlternateDomain<'_>>().ok().flatten();
                let domain = domain.and_then(|AlternateDomain(name)| core::str::from_utf8(name).ok());
                let authenticated = transaction.authenticated && message.integrity() != Integrity::None;
                Failure::TryAlternate { server, authenticated, domain: domain.map(Box::from) }
            }
            _ => {
                let unknown = message.get::<UnknownAttributes<'_>>().ok().flatten();
                let unknown_attributes = unknown.map(|list| list.types().collect()).unwrap_or_default();
                Failure::Refused {
                    number: error.number,
                    reason: error.reason.trim_end().into(),
                    unknown_attributes,
                }
            }
        };
        Some(Event::Failed { request, method: transaction.request.method(), failure })
    }

    fn handle_success(&mut self, now: Duration, transaction: Transaction, message: &Message<'_>) -> Event {
        let request = transaction.request_id;
        let malformed = |attribute| Event::Failed {
            request,
            method: transaction.request.method(),
            failure: Failure::Malformed(attribute),
        };
        match &transaction.request {
            Request::Binding(_) => match binding_answer(request, message) {
                Some(answer) => Event::Binding(Box::new(answer)),
                None => malformed("XOR-MAPPED-ADDRESS"),
            },
            Request::Allocate(_) => match allocated(request, message) {
                Some(allocated) => {
                    let Allocated { relayed, lifetime, .. } = allocated;
                    let mut allocation = Allocation::new(relayed, lifetime, now, self.config.keep_alive);
                    allocation.ticket = ticket(message);
                    self.allocation = Some(Box::new(allocation));
                    Event::Allocated(Box::new(allocated))
                }
                None => malformed("XOR-RELAYED-ADDRESS"),
            },
            Request::Refresh { lifetime, family, .. } => {
                // RFC 8016 §3.2.3: the next ticket takes the place of the one before.
                if let (Some(allocation), Some(ticket)) = (&mut self.allocation, ticket(message)) {
                    allocation.ticket = Some(ticket);
                }
                let granted = message.get::<Lifetime>().ok().flatten().map(|Lifetime(seconds)| seconds);
                self.refreshed(now, request, granted.or(*lifetime), family.is_some())
            }
            Request::CreatePermission { peers } => {
                if let Some(allocation) = &mut self.allocation {
                    peers.iter().for_each(|peer| allocation.permit(*peer, now));
                }
                Event::PermissionsCreated { request }
            }
            &Request::ChannelBind { channel, peer } => {
                if let Some(allocation) = &mut self.allocation {
                    allocation.bind(channel, peer, now);
                }
                Event::ChannelBound { request, channel, peer }
            }
            Request::Connect { .. } => match message.get() {
                Ok(Some(ConnectionId(connection))) => Event::Connected { request, connection },
                _ => malformed("CONNECTION-ID"),
            },
            Request::ConnectionBind { .. } => Event::ConnectionBound { request },
            Request::Custom { .. } => Event::CustomSucceeded { request },
        }
    }

    /// `one_family`: the other half of a dual allocation may live on.
    fn refreshed(
        &mut self,
        now: Duration,
        request: RequestId,
        granted: Option<u32>,
        one_family: bool,
    ) -> Event {
        match granted.unwrap_or(DEFAULT_LIFETIME) {
            0 => {
                if !one_family {
                    self.allocation = None;
                }
                Event::Deleted { request }
            }
            lifetime => {
                if let Some(allocation) = &mut self.allocation {
                    allocation.extend(lifetime, now, self.config.keep_alive);
                }
                Event::Refreshed { request, lifetime }
            }
        }
    }
}

fn binding_answer(request: RequestId, message: &Message<'_>) -> Option<BindingAnswer> {
    let xored = message.get::<XorMappedAddress>().ok().flatten().map(|XorMappedAddress(address)| address);
    let plain = message.get::<MappedAddress>().ok().flatten().map(|MappedAddress(address)| address);
    Some(BindingAnswer {
        request,
        mapped: xored.or(plain)?,
        mapped_in_clear: plain,
        padding: message.get::<Padding<'_>>().ok().flatten().map(|Padding(filler)| filler.len()),
        response_origin: message
            .get::<ResponseOrigin>()
            .ok()
            .flatten()
            .map(|ResponseOrigin(address)| address),
        other_address: message.get::<OtherAddress>().ok().flatten().map(|OtherAddress(address)| address),
    })
}

/// A ticket to keep; none that would not fit a request.
fn ticket(message: &Message<'_>) -> Option<Box<[u8]>> {
    let MobilityTicket(ticket) = message.get().ok().flatten()?;
    (1..=LONGEST_TICKET).contains(&ticket.len()).then(|| ticket.into())
}

fn allocated(request: RequestId, message: &Message<'_>) -> Option<Allocated> {
    let id = message.transaction_id();
    let mut relayed = message
        .attributes()
        .filter(|attribute| attribute.kind == AttributeType::XOR_RELAYED_ADDRESS)
        .filter_map(|attribute| XorRelayedAddress::decode(attribute.value, &id).ok())
        .map(|XorRelayedAddress(address)| address);
    let first: SocketAddr = relayed.next()?;
    let lifetime = message.get::<Lifetime>().ok().flatten();
    let address_error = message.get::<AddressErrorCode<'_>>().ok().flatten();
    Some(Allocated {
        request,
        relayed: first,
        relayed_additional: relayed.next(),
        address_error: address_error.map(|error| (error.family, error.number)),
        mapped: message.get::<XorMappedAddress>().ok().flatten().map(|XorMappedAddress(address)| address),
        lifetime: lifetime.map_or(DEFAULT_LIFETIME, |Lifetime(seconds)| seconds),
        reservation: message.get::<ReservationToken>().ok().flatten(),
        mobile: ticket(message).is_some(),
    })
}

/// Bytes: with the largest name, realm and nonce it fits a request.
const LONGEST_TICKET: usize = 1024;
/// How often one request follows a server that calls each nonce stale.
const MAX_STALE_NONCES: u8 = 3;
/// Seconds an allocation lives when the server does not say (RFC 8656 §3.2).
const DEFAULT_LIFETIME: u32 = 600;
