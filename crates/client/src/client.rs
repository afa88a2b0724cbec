//! [`Client`]: inputs and outputs. What a response means is in `answers`, what is kept in `allocation`.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use turnpike_wire::attributes::{ConnectionId, Data, Icmp, XorPeerAddress};
use turnpike_wire::{
    AttributeType, BufferTooSmall, CHANNEL_HEADER, ChannelData, Class, Family, Message, MessageWriter,
    Method, channel_data_header,
};

use crate::allocation::Allocation;
use crate::authentication::Authentication;
use crate::config::{AllocateOptions, ClientConfig, Transport};
use crate::event::{DiscardReason, Event, Failure};
use crate::request::{BindingOptions, MAX_PEERS_PER_REQUEST, Request, RequestError, RequestId};
use crate::transaction::{Beginning, Overdue, Transaction};
use crate::transaction_ids::TransactionIds;

/// A STUN and TURN client on one 5-tuple, with at most one allocation.
///
/// Invariant: a request that was started ends in exactly one event, unless the client is dropped.
pub struct Client {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) authentication: Authentication,
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) allocation: Option<Box<Allocation>>,
    ids: TransactionIds,
    events: VecDeque<Event>,
    next_request: u32,
}

impl Client {
    /// A client that has asked for nothing yet. `seed` makes its transaction ids: see [`TransactionIds::new`].
    pub fn new(config: Arc<ClientConfig>, seed: [u8; 16]) -> Self {
        Client {
            config,
            authentication: Authentication::default(),
            transactions: Vec::new(),
            allocation: None,
            ids: TransactionIds::new(seed),
            events: VecDeque::new(),
            next_request: 0,
        }
    }

    /// A client on another connection to the same server: it knows already what to sign with. For the connections of a
    /// TCP allocation (RFC 6062 §4.3); their server must not mind another port.
    pub fn beside(&self, seed: [u8; 16]) -> Self {
        let authentication = self.authentication.clone();
        Client { authentication, ..Client::new(self.config.clone(), seed) }
    }

    /// Asks the server for this client's address. Ends in [`Event::Binding`].
    pub fn binding(&mut self, now: Duration, options: BindingOptions) -> Result<RequestId, RequestError> {
        self.start(now, Request::Binding(options))
    }

    /// Asks for an allocation. Ends in [`Event::Allocated`].
    pub fn allocate(&mut self, now: Duration, options: AllocateOptions) -> Result<RequestId, RequestError> {
        self.start(now, Request::Allocate(options))
    }

    /// Asks for `lifetime` seconds more, or for the server's default; a `family` names one half of a dual
    /// allocation. Ends in [`Event::Refreshed`], or in [`Event::Deleted`] when `lifetime` is zero.
    pub fn refresh(
        &mut self,
        now: Duration,
        lifetime: Option<u32>,
        family: Option<Family>,
    ) -> Result<RequestId, RequestError> {
        self.start(now, Request::Refresh { lifetime, family, ticket: None })
    }

    /// Takes the allocation along to another 5-tuple (RFC 8016 §3.2.1): what is sent from here on goes by a new
    /// socket, as `transport` says. Data is better held back until it ends, in [`Event::Refreshed`], and the old
    /// socket kept.
    pub fn resume(&mut self, now: Duration, transport: Transport) -> Result<RequestId, RequestError> {
        let ticket = self.allocation.as_ref().and_then(|allocation| allocation.ticket.clone());
        let ticket = Some(ticket.ok_or(RequestError::NoTicket)?);
        if self.config.transport != transport {
            self.config = Arc::new(ClientConfig { transport, ..(*self.config).clone() });
        }
        self.start(now, Request::Refresh { lifetime: None, family: None, ticket })
    }

    /// Gives the allocation back. Ends in [`Event::Deleted`].
    pub fn delete(&mut self, now: Duration) -> Result<RequestId, RequestError> {
        self.refresh(now, Some(0), None)
    }

    /// Lets these peers send. Ends in [`Event::PermissionsCreated`].
    pub fn create_permission(&mut self, now: Duration, peers: &[IpAddr]) -> Result<RequestId, RequestError> {
        if peers.is_empty() || peers.len() > MAX_PEERS_PER_REQUEST {
            return Err(RequestError::PeerCount);
        }
        self.start(now, Request::CreatePermission { peers: peers.into() })
    }

    /// Binds a channel (0x4000 to 0x4FFF) to a peer. Ends in [`Event::ChannelBound`].
    pub fn bind_channel(
        &mut self,
        now: Duration,
        channel: u16,
        peer: SocketAddr,
    ) -> Result<RequestId, RequestError> {
        self.start(now, Request::ChannelBind { channel, peer })
    }

    /// Asks for a connection from the relayed address of a TCP allocation to a peer (RFC 6062 §4.3). Ends in
    /// [`Event::Connected`].
    pub fn connect(&mut self, now: Duration, peer: SocketAddr) -> Result<RequestId, RequestError> {
        self.start(now, Request::Connect { peer })
    }

    /// Binds the connection that this is sent on to one with a peer. Ends in [`Event::ConnectionBound`].
    pub fn bind_connection(&mut self, now: Duration, connection: u32) -> Result<RequestId, RequestError> {
        self.start(now, Request::ConnectionBind { connection })
    }

    /// Sends a request of any method with any attributes, signed like all others: for tests of a server.
    /// Ends in [`Event::CustomSucceeded`]; whatever it changes at the server, this client does not notice.
    pub fn custom_request(
        &mut self,
        now: Duration,
        method: Method,
        attributes: &[(AttributeType, &[u8])],
    ) -> Result<RequestId, RequestError> {
        let attributes = attributes.iter().map(|(kind, value)| (*kind, Box::from(*value))).collect();
        self.start(now, Request::Custom { method, attributes })
    }

    /// Writes a Send indication (RFC 8656 §11.1) and returns its length.
    pub fn write_send_indication(
        &mut self,
        peer: SocketAddr,
        data: &[u8],
        buffer: &mut [u8],
    ) -> Result<usize, BufferTooSmall> {
        let mut writer = MessageWriter::new(buffer, Class::Indication, Method::SEND, self.ids.next_id());
        writer.add(&XorPeerAddress(peer)).add(&Data(data));
        if self.config.fingerprint {
            writer.fingerprint();
        }
        writer.finish().map(<[u8]>::len)
    }

    /// Writes a ChannelData message (RFC 8656 §12.5) and returns its length. On a stream it is padded.
    pub fn write_channel_data(
        &self,
        channel: u16,
        data: &[u8],
        buffer: &mut [u8],
    ) -> Result<usize, BufferTooSmall> {
        let length = u16::try_from(data.len()).map_err(|_| BufferTooSmall)?;
        let end = CHANNEL_HEADER + data.len();
        let padded = match self.config.transport {
            Transport::Datagram => end,
            Transport::Stream => end.next_multiple_of(4),
        };
        let room = buffer.get_mut(..padded).ok_or(BufferTooSmall)?;
        room[..CHANNEL_HEADER].copy_from_slice(&channel_data_header(channel, length));
        room[CHANNEL_HEADER..end].copy_from_slice(data);
        room[end..].fill(0);
        Ok(padded)
    }

    /// Takes one message from the server: a datagram, or what a [`FrameBuffer`](crate::FrameBuffer) handed
    /// out. `None` means that it was useful but is not worth an event (a challenge, say).
    pub fn handle_input(&mut self, now: Duration, bytes: &[u8]) -> Option<Event> {
        if bytes.first().is_some_and(|first| first & 0xC0 == 0x40) {
            return Some(self.handle_channel_data(bytes));
        }
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => return Some(Event::Discarded(error.into())),
        };
        if message.fingerprint_is_valid() == Some(false) {
            return Some(Event::Discarded(DiscardReason::BadFingerprint));
        }
        match message.class() {
            Class::Indication => Some(handle_indication(&message)),
            Class::Request => Some(Event::Discarded(DiscardReason::Request)),
            Class::Success | Class::Error => self.handle_response(now, &message),
        }
    }

    /// Copies the next message to send into `buffer` and returns its length. Call until `None`. A buffer of
    /// 4096 bytes always suffices; a message that does not fit stays.
    pub fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let transaction = self.transactions.iter_mut().find(|transaction| transaction.transmit_pending)?;
        let length = transaction.message.len();
        buffer.get_mut(..length)?.copy_from_slice(&transaction.message);
        transaction.transmit_pending = false;
        Some(length)
    }

    /// When [`Client::handle_timeout`] wants to be called; `None` for never.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let transactions = self.transactions.iter().map(|transaction| transaction.due).min();
        let allocation =
            self.allocation.as_ref().map(|allocation| allocation.next_due(self.config.keep_alive));
        transactions.into_iter().chain(allocation).min()
    }

    /// Does what has become due: retransmissions, refreshes, giving up.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.retransmit(now);
        self.expire(now);
        if self.config.keep_alive {
            self.keep_alive(now);
        }
    }

    /// The next thing [`Client::handle_timeout`] has to report.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The relayed transport address, while there is an allocation.
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.allocation.as_ref().map(|allocation| allocation.relayed)
    }

    /// Requests that were not answered yet.
    pub fn requests_under_way(&self) -> usize {
        self.transactions.len()
    }

    /// Sends a request once more after a challenge: a new transaction under the old name.
    pub(crate) fn ask_again(&mut self, now: Duration, old: Transaction) -> Result<(), RequestError> {
        self.begin(now, old.request_id, old.request, old.stale_nonces)
    }

    fn start(&mut self, now: Duration, request: Request) -> Result<RequestId, RequestError> {
        let id = RequestId(self.next_request);
        self.begin(now, id, request, 0)?;
        self.next_request = self.next_request.wrapping_add(1);
        Ok(id)
    }

    fn begin(
        &mut self,
        now: Duration,
        request_id: RequestId,
        request: Request,
        stale_nonces: u8,
    ) -> Result<(), RequestError> {
        let id = self.ids.next_id();
        if matches!(request, Request::Refresh { .. }) {
            self.authentication.renew(&self.config);
        }
        let message = request.write(id, &self.config, &self.authentication)?;
        let authenticated = request.wants_authentication() && self.authentication.is_ready();
        let beginning = Beginning { id, request_id, request, message, authenticated, stale_nonces };
        let ClientConfig { transport, retransmission, .. } = *self.config;
        self.transactions.push(Transaction::begin(beginning, now, transport, retransmission));
        Ok(())
    }

    fn handle_channel_data(&self, bytes: &[u8]) -> Event {
        let Ok(message) = ChannelData::parse(bytes) else {
            return Event::Discarded(DiscardReason::BadChannelData);
        };
        let ChannelData { channel, data } = message;
        let bound = self.allocation.as_ref().and_then(|allocation| allocation.peer_of(channel));
        match bound.or_else(|| self.peer_being_bound(channel)) {
            Some(peer) => Event::Data {
                peer,
                channel: Some(channel),
                span: CHANNEL_HEADER..CHANNEL_HEADER + data.len(),
            },
            None => Event::Discarded(DiscardReason::UnknownChannel),
        }
    }

    /// Data may overtake the response to the ChannelBind request that let it through.
    fn peer_being_bound(&self, wanted: u16) -> Option<SocketAddr> {
        self.transactions.iter().find_map(|transaction| match transaction.request {
            Request::ChannelBind { channel, peer } if channel == wanted => Some(peer),
            _ => None,
        })
    }

    fn retransmit(&mut self, now: Duration) {
        let ClientConfig { transport, retransmission, .. } = *self.config;
        let mut at = 0;
        while at < self.transactions.len() {
            let transaction = &mut self.transactions[at];
            if transaction.due > now
                || transaction.overdue(now, transport, retransmission) == Overdue::SendAgain
            {
                at += 1;
                continue;
            }
            let Transaction { request_id, request, .. } = self.transactions.swap_remove(at);
            let (method, failure) = (request.method(), Failure::TimedOut);
            self.events.push_back(Event::Failed { request: request_id, method, failure });
        }
    }

    fn expire(&mut self, now: Duration) {
        if self.allocation.take_if(|allocation| allocation.expires <= now).is_some() {
            self.events.push_back(Event::Expired);
        }
    }

    fn keep_alive(&mut self, now: Duration) {
        let Some(allocation) = &mut self.allocation else { return };
        let mut requests = Vec::new();
        if allocation.take_refresh_due(now) {
            requests.push(Request::Refresh { lifetime: None, family: None, ticket: None });
        }
        loop {
            let peers = allocation.take_permissions_due(now);
            if peers.is_empty() {
                break;
            }
            requests.push(Request::CreatePermission { peers: peers.into() });
        }
        while let Some((channel, peer)) = allocation.take_channel_due(now) {
            requests.push(Request::ChannelBind { channel, peer });
        }
        for request in requests {
            let method = request.method();
            let request_id = RequestId(self.next_request);
            if self.start(now, request).is_err() {
                let failure = Failure::Malformed("NONCE");
                self.events.push_back(Event::Failed { request: request_id, method, failure });
            }
        }
    }
}

fn handle_indication(message: &Message<'_>) -> Event {
    let useless = Event::Discarded(DiscardReason::BadIndication);
    let Ok(Some(XorPeerAddress(peer))) = message.get() else { return useless };
    match (message.method(), message.get()) {
        (Method::DATA, _) => {}
        (Method::CONNECTION_ATTEMPT, Ok(Some(ConnectionId(connection)))) => {
            return Event::ConnectionAttempt { peer, connection };
        }
        _ => return useless,
    }
    if let Some(data) = message.attributes().find(|attribute| attribute.kind == AttributeType::DATA) {
        return Event::Data { peer, channel: None, span: data.offset..data.offset + data.value.len() };
    }
    match message.get::<Icmp>() {
        Ok(Some(Icmp { kind, code, .. })) => Event::PeerUnreachable { peer, kind, code },
        _ => useless,
    }
}
