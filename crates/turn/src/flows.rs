//! Flows: bound channels that something faster than this core may relay in its place, such as the kernel
//! (RFC 8656 §12).
//!
//! The core stays ignorant of who does it. It tells of a flow by [`Effect::FlowUp`], tells again when its deadline
//! changes, and takes it back by [`Effect::FlowDown`]. What was relayed comes back by [`Server::handle_flow_usage`], so
//! that sessions and counters are as true as if every packet had come by here.
//!
//! Invariants: nobody relays a flow for longer than its channel, its permission and its allocation last, and never one
//! whose client came by anything but UDP or may move (RFC 8016). Whose bytes are limited is relayed by who spends of the
//! same account ([`Server::share_account`]). A flow is told of by a binding that remembers until when, and is taken back
//! before that binding is forgotten. What it relayed last is counted before the record of its session leaves the queue of
//! effects.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::allocation::{Allocation, Binding};
use crate::bandwidth::SharedAccount;
use crate::effect::{Effect, Event, Usage};
use crate::peers::{PeerAccess, PeerRules};
use crate::ports::Ports;
use crate::realm_stats::RealmPlace;
use crate::server::Server;
use crate::time::Timestamp;
use crate::tuple::{Link, RelayId, SessionId, Transport};

/// A bound channel that may be relayed elsewhere, both ways. Its addresses are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its name.
    pub id: FlowId,
    /// Whose usage it is.
    pub owner: FlowOwner,
    /// How the client is reached: only whose packets come by a listener are what they seem on the wire.
    pub link: Link,
    /// The client.
    pub client: SocketAddr,
    /// Where the client sends to.
    pub server: SocketAddr,
    /// The relayed address, local form.
    pub relayed: SocketAddr,
    /// The peer; local form where it is a relayed address of this server.
    pub peer: SocketAddr,
    /// Whether it is one: its packets are for another client, and come by no wire.
    pub own_peer: bool,
    /// From when on it may not be relayed any more.
    pub deadline: Timestamp,
    /// Bytes of application data a second, each way, of all flows of the relayed address: whoever relays it has to have
    /// shared an account before, and to spend of it.
    pub rate: Option<u32>,
}

/// What a flow is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// The relayed address.
    pub relay: RelayId,
    /// The channel bound there.
    pub channel: u16,
}

/// Whose usage a flow's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOwner {
    /// The relayed address whose counters it adds to.
    pub relay: RelayId,
    /// The session, when that is no more.
    pub session: SessionId,
}

impl Server {
    /// What a flow relayed since it was last told: while it lives, or in answer to [`Effect::FlowDown`]. All of it was
    /// relayed elsewhere, and counts as such.
    pub fn handle_flow_usage(&mut self, owner: FlowOwner, usage: Usage) {
        let flow_packets = usage.client_packets + usage.peer_packets;
        let flow_bytes = usage.client_bytes + usage.peer_bytes;
        let usage = Usage { flow_packets, flow_bytes, ..usage };
        let Server { allocations, effects, stats, .. } = self;
        if let Some(allocation) = allocations.get_mut(owner.relay) {
            stats.realms.usage(allocation.realm).add(&usage);
            return allocation.usage.add(&usage);
        }
        // The record of an ended session is not far behind the flows that ended with it.
        let ended = effects.iter_mut().find_map(|effect| match effect {
            Effect::Report(Event::Ended { session, user, usage, .. }) if *session == owner.session => {
                Some((user, usage))
            }
            _ => None,
        });
        match ended {
            Some((user, ended)) => {
                let realm = stats.realms.place(user.realm());
                stats.realms.usage(realm).add(&usage);
                ended.add(&usage);
            }
            None => stats.realms.usage(RealmPlace::OTHERS).add(&usage),
        }
    }

    /// Writes what a relayed address spends of its limit where another one, who is to relay for it, spends as well. Nothing
    /// that was spent is forgotten.
    pub fn share_account(&mut self, relay: RelayId, account: Arc<dyn SharedAccount>) {
        if let Some(limit) = self.allocations.get_mut(relay).and_then(|allocation| allocation.limit.as_mut())
        {
            limit.share(account);
        }
    }

    /// Tells of the flows of a relayed address, towards one peer or all, as far as something is new about them.
    pub(crate) fn announce_flows(&mut self, relay: RelayId, towards: Option<IpAddr>) {
        if self.config.flows {
            self.announce(relay, towards);
        }
    }

    #[inline(never)]
    fn announce(&mut self, relay: RelayId, towards: Option<IpAddr>) {
        let Server { allocations, ports, config, effects, mobile, .. } = self;
        let Some(allocation) = allocations.get_mut(relay) else { return };
        // What may change its 5-tuple, or is told apart by more than its addresses, is for the core alone.
        let is_settled = !mobile.has_ticket(allocation.session) && !allocation.port.is_shared();
        if !is_settled || !may_be_relayed_elsewhere(allocation) {
            return;
        }
        let mut room = MOST_FLOWS.saturating_sub(allocation.channels.flows());
        // Channels and permissions are apart, so that one can be changed by the other.
        let mut channels = std::mem::take(&mut allocation.channels);
        for binding in channels.iter_mut().filter(|binding| towards.is_none_or(|ip| ip == binding.peer.ip()))
        {
            if binding.flow.is_none() && room == 0 {
                continue;
            }
            let Some(flow) = flow_of(allocation, relay, binding, (ports, &config.peers)) else {
                // Such as the address of another client, which has left meanwhile.
                withdraw(effects, relay, FlowOwner { relay, session: allocation.session }, binding);
                continue;
            };
            if binding.flow.is_some_and(|told| is_near(told, flow.deadline)) {
                continue;
            }
            room -= usize::from(binding.flow.is_none());
            binding.flow = Some(flow.deadline);
            effects.push_back(Effect::FlowUp(flow));
        }
        allocation.channels = channels;
    }

    /// Takes back the flows of an allocation that has just ended, and adds what they relayed to `heir`'s account.
    pub(crate) fn withdraw_flows(&mut self, relay: RelayId, allocation: &mut Allocation, heir: RelayId) {
        let owner = FlowOwner { relay: heir, session: allocation.session };
        for binding in allocation.channels.iter_mut() {
            withdraw(&mut self.effects, relay, owner, binding);
        }
    }
}

/// Takes back the flow of a binding, if it has one.
pub(crate) fn withdraw(
    effects: &mut std::collections::VecDeque<Effect>,
    relay: RelayId,
    owner: FlowOwner,
    binding: &mut Binding,
) {
    if binding.flow.take().is_some() {
        let flow = FlowId { relay, channel: binding.number };
        effects.push_back(Effect::FlowDown { flow, owner });
    }
}

/// Other transports are not datagrams, and a limit that nobody reaches does not fit an account.
fn may_be_relayed_elsewhere(allocation: &Allocation) -> bool {
    let tuple = &allocation.client.tuple;
    let plain = |address: &SocketAddr| match address {
        SocketAddr::V4(_) => true,
        // An address with a scope says too little without its interface.
        SocketAddr::V6(address) => {
            address.scope_id() == 0
                && !address.ip().is_unicast_link_local()
                && address.ip().to_ipv4_mapped().is_none()
        }
    };
    tuple.transport == Transport::Udp
        && allocation.limit.as_ref().is_none_or(|limit| limit.shareable_rate().is_some())
        && plain(&tuple.client)
        && plain(&tuple.server)
        && !tuple.server.ip().is_unspecified()
}

fn flow_of(
    allocation: &Allocation,
    relay: RelayId,
    binding: &Binding,
    (ports, peers): (&Ports, &PeerRules),
) -> Option<Flow> {
    let permission = allocation.permissions.kept(binding.peer.ip())?;
    let own = ports.live_relay(peers, binding.peer);
    let (peer, own_peer) = match (permission.access, own) {
        (PeerAccess::Anywhere, None) => (binding.peer, false),
        (PeerAccess::LiveRelays | PeerAccess::NotListeners, Some(own)) => (own, true),
        // Something else on this host, which only the host reaches.
        _ => return None,
    };
    if matches!(peer, SocketAddr::V6(peer) if peer.scope_id() != 0 || peer.ip().is_unicast_link_local()) {
        return None;
    }
    Some(Flow {
        id: FlowId { relay, channel: binding.number },
        owner: FlowOwner { relay, session: allocation.session },
        link: allocation.client.link,
        client: allocation.client.tuple.client,
        server: allocation.client.tuple.server,
        relayed: allocation.port.local(),
        peer,
        own_peer,
        deadline: binding.expires.min(permission.expires).min(allocation.expires),
        rate: allocation.limit.as_ref().and_then(|limit| limit.shareable_rate()),
    })
}

/// Whether a deadline was told well enough: never too late, and hardly too early. A client that refreshes all the time
/// does not cause work all the time.
fn is_near(told: Timestamp, deadline: Timestamp) -> bool {
    told <= deadline && deadline < told + EARLY
}

/// The flows of one relayed address. Other channels are relayed here.
const MOST_FLOWS: usize = 64;
/// By how much a flow may end too early elsewhere.
const EARLY: Duration = Duration::from_secs(1);
