//! Application data, client to peer and back (RFC 8656 §11, §12).
//!
//! Nothing here allocates, locks or logs. Received bytes are not touched: a verdict names the part to send on
//! and the few bytes that go before and after it.

use std::net::SocketAddr;

use turnpike_wire::attributes::XorPeerAddress;
use turnpike_wire::{
    AttributeType, CHANNEL_HEADER, ChannelData, Class, Message, MessageWriter, Method, channel_data_header,
    fingerprint_over,
};

use crate::allocation::Allocation;
use crate::bandwidth::Way;
use crate::config::Config;
use crate::effect::{Effect, Event};
use crate::peers::PeerAccess;
use crate::reason::Reason;
use crate::requests::unknown_attributes;
use crate::server::Server;
use crate::time::{Now, Timestamp};
use crate::tuple::{Client, Link, RelayId};
use crate::verdict::{Edge, Egress, Forward, Head, Tail, Verdict};

impl Server {
    /// ChannelData from a client (RFC 8656 §12.6).
    #[inline]
    pub(crate) fn relay_channel_data(&mut self, now: Now, client: Client, packet: &[u8]) -> Verdict<'_> {
        let Ok(ChannelData { channel, data }) = ChannelData::parse(packet) else {
            return self.drop_packet(Reason::BadChannelData);
        };
        let found = self.allocations.find(&client.tuple).or_else(|| self.arrived(&client.tuple));
        let Some(relay) = found else {
            return self.drop_without_allocation(client, packet);
        };
        let bound = self.allocations.get(relay).and_then(|it| it.channels.peer(channel, now.monotonic));
        let span = CHANNEL_HEADER..CHANNEL_HEADER + data.len();
        let Some(peer) = bound else {
            return self.relay_by_sibling(now.monotonic, relay, channel, span);
        };
        self.relay_to_peer(now.monotonic, relay, peer, span, false)
    }

    /// ChannelData on a channel that is none of the address that the 5-tuple leads to: only an allocation with two of
    /// them has any other. Apart, so that those with one do not carry it along.
    #[inline(never)]
    fn relay_by_sibling(
        &mut self,
        now: Timestamp,
        relay: RelayId,
        channel: u16,
        span: std::ops::Range<usize>,
    ) -> Verdict<'_> {
        let sibling = self.allocations.get(relay).and_then(|allocation| allocation.sibling);
        let bound = sibling.and_then(|sibling| {
            let peer = self.allocations.get(sibling)?.channels.peer(channel, now)?;
            Some((sibling, peer))
        });
        match bound {
            Some((sibling, peer)) => self.relay_to_peer(now, sibling, peer, span, false),
            None => self.drop_packet(Reason::NoChannel),
        }
    }

    /// A Send indication (RFC 8656 §11.2): indications are not authenticated and never answered.
    pub(crate) fn relay_send(&mut self, now: Now, client: Client, message: &Message<'_>) -> Verdict<'_> {
        let found = self.allocations.find(&client.tuple).or_else(|| self.arrived(&client.tuple));
        let Some(relay) = found else {
            return self.drop_without_allocation(client, message.bytes());
        };
        if unknown_attributes(message).next().is_some() {
            return self.drop_packet(Reason::UnknownAttribute);
        }
        let data = message.attributes().find(|attribute| attribute.kind == AttributeType::DATA);
        let (Some(data), Ok(Some(XorPeerAddress(peer)))) = (data, message.get()) else {
            return self.drop_packet(Reason::BadSend);
        };
        let peer = self.config.peers.canonical(peer);
        let Some(relay) = self.allocations.towards(relay, &peer) else {
            return self.drop_packet(Reason::WrongFamily);
        };
        if self.allocations.get(relay).is_some_and(|allocation| allocation.tcp.is_some()) {
            return self.drop_packet(Reason::OtherRelayTransport);
        }
        let dont_fragment = message.has(AttributeType::DONT_FRAGMENT);
        let span = data.offset..data.offset + data.value.len();
        self.relay_to_peer(now.monotonic, relay, peer, span, dont_fragment)
    }

    /// A datagram from a peer to a relayed address (RFC 8656 §11.3, §12.7).
    #[inline]
    pub(crate) fn relay_to_client(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: SocketAddr,
        length: usize,
        packet: &[u8],
    ) -> Verdict<'_> {
        let from = peer;
        let mut peer = SocketAddr::new(self.config.peers.external_form(peer.ip()), peer.port());
        if !self.config.peers.former.is_empty() {
            peer = self.as_told(from, peer);
        }
        let Server { allocations, ports, stats, random, config, .. } = self;
        let Some(allocation) = allocations.get_mut(relay) else {
            return self.drop_packet(Reason::StaleRelay);
        };
        let access = match allocation.permissions.get(peer.ip(), now.monotonic) {
            Some(permission) => permission.access,
            None => match told_before(allocation, config, from, now.monotonic) {
                Some((former, access)) => {
                    peer = former;
                    access
                }
                None => match config.without_permission(peer.ip()) {
                    Ok(access) => access,
                    Err(reason) => return self.drop_packet(reason),
                },
            },
        };
        if access == PeerAccess::LiveRelays && ports.live_relay(&config.peers, peer).is_none() {
            return self.drop_packet(Reason::OwnAddress);
        }
        if allocation.client.link == Link::NOWHERE {
            return self.drop_packet(Reason::ClientAway);
        }
        let (head, tail) = match allocation.channels.number(&peer, now.monotonic) {
            Some(channel) if length <= usize::from(u16::MAX) => (
                Edge::copy_of(&channel_data_header(channel, length as u16)),
                padding(&allocation.client, length),
            ),
            _ => {
                let fingerprint = allocation.fingerprint || config.always_fingerprint;
                data_indication(&peer, random.transaction_id(), packet, fingerprint)
            }
        };
        if head.as_slice().len() + length + tail.as_slice().len() > LARGEST_DATAGRAM {
            return self.drop_packet(Reason::TooLarge);
        }
        if !admits(allocation, now.monotonic, Way::ToClient, length as u64) {
            return self.drop_packet(Reason::OverBandwidth);
        }
        allocation.usage.peer_packets += 1;
        allocation.usage.peer_bytes += length as u64;
        let realm = stats.realms.usage(allocation.realm);
        realm.peer_packets += 1;
        realm.peer_bytes += length as u64;
        let to = Egress::Client(allocation.client);
        Verdict::Forward(Forward { to, head, span: 0..length, tail, dont_fragment: false })
    }

    /// The form of a peer on this very server that it was told itself, and so told others.
    #[inline(never)]
    fn as_told(&self, from: SocketAddr, now: SocketAddr) -> SocketAddr {
        let peers = &self.config.peers;
        let forms = std::iter::once(now.ip()).chain(peers.former_forms(from.ip()));
        let told = self.ports.told_as(from, forms);
        told.map_or(now, |ip| SocketAddr::new(ip, from.port()))
    }

    #[inline]
    fn relay_to_peer(
        &mut self,
        now: Timestamp,
        relay: RelayId,
        peer: SocketAddr,
        span: std::ops::Range<usize>,
        dont_fragment: bool,
    ) -> Verdict<'_> {
        let Server { allocations, ports, config, stats, claims, .. } = self;
        let Some(allocation) = allocations.get_mut(relay) else {
            return self.drop_packet(Reason::NoAllocation);
        };
        // On a shared port the peer could not tell whose it is. Without a claim there is no permission on one either.
        if !claims.is_empty()
            && allocation.port.is_shared()
            && claims.holder(allocation.port.relay_index(), &peer) != Some(relay)
        {
            return self.drop_packet(Reason::PeerTaken);
        }
        let access = match allocation.permissions.get(peer.ip(), now) {
            Some(permission) => permission.access,
            None => match config.without_permission(peer.ip()) {
                Ok(access) => access,
                Err(reason) => return self.drop_packet(reason),
            },
        };
        let to = match access {
            PeerAccess::Anywhere => Some(peer),
            PeerAccess::LiveRelays => ports.live_relay(&config.peers, peer),
            PeerAccess::NotListeners => {
                let relayed = ports.live_relay(&config.peers, peer);
                relayed.or((!config.peers.is_listener(&peer)).then_some(peer))
            }
        };
        let Some(to) = to else {
            return self.refuse_own_address(relay, peer);
        };
        let bytes = span.len() as u64;
        if !admits(allocation, now, Way::ToPeer, bytes) {
            return self.drop_packet(Reason::OverBandwidth);
        }
        allocation.usage.client_packets += 1;
        allocation.usage.client_bytes += bytes;
        let realm = stats.realms.usage(allocation.realm);
        realm.client_packets += 1;
        realm.client_bytes += bytes;
        let to = Egress::Peer { relay, peer: to };
        Verdict::Forward(Forward { to, head: Edge::EMPTY, span, tail: Edge::EMPTY, dont_fragment })
    }

    /// A permission names no port, so only now it shows that the client wants what is not for peers. Told once, for
    /// whoever runs a media server on the same host and wonders.
    #[cold]
    fn refuse_own_address(&mut self, relay: RelayId, peer: SocketAddr) -> Verdict<'_> {
        let Server { allocations, effects, .. } = self;
        if let Some(allocation) = allocations.get_mut(relay)
            && allocation.permissions.is_first_refusal(peer.ip())
        {
            let (tuple, session) = (allocation.client.tuple, allocation.session);
            let rule = "this server's own, and no relayed port";
            let event = Event::PeerRefused { tuple, session, peer: peer.ip(), rule };
            effects.push_back(Effect::Report(event));
        }
        self.drop_packet(Reason::OwnAddress)
    }
}

/// A peer of this very server that the client knows by what was told before the external address changed.
fn told_before(
    allocation: &Allocation,
    config: &Config,
    from: SocketAddr,
    now: Timestamp,
) -> Option<(SocketAddr, PeerAccess)> {
    config.peers.former_forms(from.ip()).find_map(|former| {
        let permission = allocation.permissions.get(former, now)?;
        Some((SocketAddr::new(former, from.port()), permission.access))
    })
}

#[inline]
fn admits(allocation: &mut Allocation, now: Timestamp, way: Way, bytes: u64) -> bool {
    allocation.limit.as_mut().is_none_or(|limit| limit.admits(now, way, bytes))
}

/// What follows ChannelData's content: over a stream it is padded (RFC 8656 §12.5).
#[inline]
fn padding(client: &Client, length: usize) -> Tail {
    if client.tuple.transport.is_stream() {
        Edge::new([0; 12], length.wrapping_neg() % 4)
    } else {
        Edge::EMPTY
    }
}

/// The header of a Data indication around `packet`, and what follows it.
fn data_indication(
    peer: &SocketAddr,
    id: turnpike_wire::TransactionId,
    packet: &[u8],
    fingerprint: bool,
) -> (Head, Tail) {
    let mut head = [0; 48];
    let mut writer = MessageWriter::new(&mut head, Class::Indication, Method::DATA, id);
    writer.add(&XorPeerAddress(*peer));
    let data = writer.length();
    let padding = packet.len().wrapping_neg() % 4;
    let body = data + 4 + packet.len() + padding - 20 + if fingerprint { 8 } else { 0 };
    head[2..4].copy_from_slice(&(body as u16).to_be_bytes());
    head[data..data + 2].copy_from_slice(&AttributeType::DATA.0.to_be_bytes());
    head[data + 2..data + 4].copy_from_slice(&(packet.len() as u16).to_be_bytes());
    let head = Edge::new(head, data + 4);
    let mut tail = [0; 12];
    if fingerprint {
        let value = fingerprint_over([head.as_slice(), packet, &tail[..padding]]);
        tail[padding..padding + 2].copy_from_slice(&AttributeType::FINGERPRINT.0.to_be_bytes());
        tail[padding + 3] = 4;
        tail[padding + 4..padding + 8].copy_from_slice(&value.to_be_bytes());
    }
    (head, Edge::new(tail, padding + if fingerprint { 8 } else { 0 }))
}

/// Bytes of UDP payload that fit an IPv4 datagram.
const LARGEST_DATAGRAM: usize = 65_507;
