//! Application data, the plain way (RFC 8656 §11, §12).

use std::net::SocketAddr;

use turnpike_turn::{IcmpError, Now, Reason, RelayId};

use super::message::{Parsed, number, read_xored};
use super::peers::{Access, canonical, external};
use super::requests::unknown_attributes;
use super::{Allocation, Expected, Model, Source};
use crate::observed::Report;

impl Model {
    pub(super) fn channel_data(
        &mut self,
        now: Now,
        source: Source,
        packet: &[u8],
    ) -> Result<Expected, Reason> {
        if packet.len() < 4 || packet.len() - 4 < usize::from(number(&packet[2..])) {
            return Err(Reason::BadChannelData);
        }
        self.allocation(&source).ok_or(Reason::NoAllocation)?;
        self.arrived(&source);
        let channels = self.halves(source).flat_map(|it| &it.channels);
        let live: Vec<_> = channels.filter(|channel| channel.expires > now.monotonic).collect();
        let channel =
            live.iter().find(|channel| channel.number == number(packet)).ok_or(Reason::NoChannel)?;
        let (peer, length) = (channel.peer, usize::from(number(&packet[2..])));
        self.data_to_peer(now, source, peer, packet[4..4 + length].to_vec(), false)
    }

    pub(super) fn send_indication(
        &mut self,
        now: Now,
        source: Source,
        message: &Parsed,
    ) -> Result<Expected, Reason> {
        self.allocation(&source).ok_or(Reason::NoAllocation)?;
        self.arrived(&source);
        if !unknown_attributes(message).is_empty() {
            return Err(Reason::UnknownAttribute);
        }
        let data = message.value(DATA).ok_or(Reason::BadSend)?;
        let peer = message.value(XOR_PEER_ADDRESS).ok_or(Reason::BadSend)?;
        let peer = read_xored(peer, &message.id).ok_or(Reason::BadSend)?;
        let peer = canonical(&self.settings, peer);
        let at = self.towards(&source, peer).ok_or(Reason::WrongFamily)?;
        if self.allocations[at].tcp {
            return Err(Reason::OtherRelayTransport);
        }
        self.data_to_peer(now, source, peer, data.to_vec(), message.value(DONT_FRAGMENT).is_some())
    }

    pub(super) fn data_from_peer(
        &mut self,
        now: Now,
        worker: u16,
        relay: RelayId,
        peer: SocketAddr,
        packet: &[u8],
    ) -> Result<Expected, Reason> {
        let peer = SocketAddr::new(external(&self.settings, peer.ip()), peer.port());
        let at = self.allocations.iter().position(|it| it.worker == worker && it.relay == relay);
        let at = at.ok_or(Reason::StaleRelay)?;
        let access = self.access(now, at, peer).ok_or(Reason::NoPermission)?;
        if access == Access::LiveOnly && self.live_relay(peer).is_none() {
            return Err(Reason::OwnAddress);
        }
        let fingerprint = self.allocations[at].fingerprint || self.settings.always_fingerprint;
        let allocation = &mut self.allocations[at];
        let live = allocation.channels.iter().filter(|channel| channel.expires > now.monotonic);
        let channel = live.clone().find(|channel| channel.peer == peer).map(|channel| channel.number);
        let padded = packet.len().div_ceil(4) * 4;
        let header = 20 + if peer.is_ipv4() { 12 } else { 24 } + 4;
        let whole = match channel {
            Some(_) if allocation.client.tuple.transport.is_stream() => 4 + padded,
            Some(_) => 4 + packet.len(),
            None => header + padded + if fingerprint { 8 } else { 0 },
        };
        if whole > 65_507 {
            return Err(Reason::TooLarge);
        }
        allocation.usage.peer_packets += 1;
        allocation.usage.peer_bytes += packet.len() as u64;
        let counters = &mut self.counters[usize::from(worker)];
        counters.peer_packets += 1;
        counters.peer_bytes += packet.len() as u64;
        let (to, data) = (allocation.client, packet.to_vec());
        Ok(Expected::ToClient { to, channel, peer, fingerprint, data })
    }

    /// A packet that was just accounted for was relayed by somebody else than the core.
    pub(crate) fn relayed_elsewhere(&mut self, worker: u16, relay: RelayId, bytes: u64) {
        let counters = &mut self.counters[usize::from(worker)];
        counters.flow_packets += 1;
        counters.flow_bytes += bytes;
        if let Some(its) = self.allocations.iter_mut().find(|it| it.worker == worker && it.relay == relay) {
            its.usage.flow_packets += 1;
            its.usage.flow_bytes += bytes;
        }
    }

    /// RFC 8656 §11.5.
    pub(super) fn icmp_from_peer(
        &mut self,
        now: Now,
        worker: u16,
        relay: RelayId,
        peer: SocketAddr,
        error: IcmpError,
    ) -> Result<Expected, Reason> {
        let IcmpError { kind, code, mtu } = error;
        let told: &[u8] = if peer.is_ipv4() { &[3, 11] } else { &[1, 2, 3] };
        if !self.settings.icmp_errors || !told.contains(&kind) {
            return Err(Reason::UntoldIcmp);
        }
        let peer = SocketAddr::new(external(&self.settings, peer.ip()), peer.port());
        let at = self.allocations.iter().position(|it| it.worker == worker && it.relay == relay);
        let at = at.ok_or(Reason::StaleRelay)?;
        self.access(now, at, peer).ok_or(Reason::NoPermission)?;
        self.counters[usize::from(worker)].icmp_errors += 1;
        let about_size = if peer.is_ipv4() { kind == 3 && code == 4 } else { kind == 2 };
        let [a, b, c, d] = if about_size { mtu.to_be_bytes() } else { [0; 4] };
        let fingerprint = self.allocations[at].fingerprint || self.settings.always_fingerprint;
        let (to, value) = (self.allocations[at].client, [0, 0, kind * 2, code, a, b, c, d]);
        Ok(Expected::Icmp { to, peer, value, fingerprint })
    }

    fn data_to_peer(
        &mut self,
        now: Now,
        source: Source,
        peer: SocketAddr,
        data: Vec<u8>,
        dont_fragment: bool,
    ) -> Result<Expected, Reason> {
        let at = self.towards(&source, peer).ok_or(Reason::NoAllocation)?;
        let access = self.access(now, at, peer).ok_or(Reason::NoPermission)?;
        let listener = peer.port() == self.settings.listening_port;
        let target = match access {
            Access::Foreign => Some(peer),
            Access::LiveOnly => self.live_relay(peer),
            Access::Opened => self.live_relay(peer).or(if listener { None } else { Some(peer) }),
        };
        let Some(peer) = target else {
            self.tell_of_own_address(now, at, peer);
            return Err(Reason::OwnAddress);
        };
        let allocation = &mut self.allocations[at];
        allocation.usage.client_packets += 1;
        allocation.usage.client_bytes += data.len() as u64;
        let counters = &mut self.counters[usize::from(source.worker)];
        counters.client_packets += 1;
        counters.client_bytes += data.len() as u64;
        Ok(Expected::ToPeer { relay: allocation.relay, peer, data, dont_fragment })
    }

    /// The first time under a permission.
    fn tell_of_own_address(&mut self, now: Now, at: usize, peer: SocketAddr) {
        let Allocation { client, session, permissions, .. } = &mut self.allocations[at];
        let live = permissions.iter_mut().filter(|it| it.peer == peer.ip() && it.expires > now.monotonic);
        for permission in live.filter(|it| !it.told) {
            permission.told = true;
            let (tuple, session) = (client.tuple, *session);
            self.reports.push(Report::PeerRefused { tuple, session, peer: peer.ip() });
        }
    }

    /// How the allocation may reach a peer: by a permission for its IP address that has not expired.
    pub(super) fn access(&self, now: Now, at: usize, peer: SocketAddr) -> Option<Access> {
        let permissions = self.allocations[at].permissions.iter();
        let mut fitting = permissions.filter(|it| it.peer == peer.ip() && it.expires > now.monotonic);
        fitting.next().map(|permission| permission.access)
    }

    /// The local form of a relayed transport address that is open, whichever worker it belongs to.
    fn live_relay(&self, peer: SocketAddr) -> Option<SocketAddr> {
        let fits = |it: &&Allocation| !it.tcp && (it.local == peer || self.advertised(it.local) == peer);
        self.allocations.iter().find(fits).map(|it| it.local)
    }
}

const XOR_PEER_ADDRESS: u16 = 0x0012;
const DATA: u16 = 0x0013;
const DONT_FRAGMENT: u16 = 0x001A;
