//! The kernel of this world: it relays what it was offered by the flows alone, as the program in `bpf/` does, and tells
//! the core later what it relayed.
//!
//! Between two clients of the server the program does both hops at once, or leaves the packet to user space; here the
//! second hop is a packet of its own, which may be lost on the way and go up by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use turnpike_turn::{Client, Egress, FiveTuple, Flow, FlowId, FlowOwner, RelayId, Server, Transport, Usage};

use crate::model::Source;
use crate::observed::Action;
use crate::random::Random;

/// The flows that workers offered and have not taken back.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    flows: BTreeMap<(u16, u64, u16), Entry>,
}

#[derive(Debug)]
struct Entry {
    flow: Flow,
    /// What was relayed and not told.
    usage: Usage,
}

/// A packet that was relayed: what became of it, for which relayed address, and how many bytes of data it had.
pub(crate) type Relayed = (Action, RelayId, u64);

impl Kernel {
    pub(crate) fn up(&mut self, worker: u16, flow: Flow) {
        assert_eq!(flow.rate, None, "nobody has a limit in this world");
        let entry = self.flows.entry(place(worker, flow.id));
        entry.and_modify(|entry| entry.flow = flow).or_insert(Entry { flow, usage: Usage::default() });
    }

    /// Takes a flow back. What it relayed last is its owner's.
    pub(crate) fn down(&mut self, worker: u16, flow: FlowId, owner: FlowOwner, server: &mut Server) {
        let entry = self.flows.remove(&place(worker, flow));
        let entry = entry.unwrap_or_else(|| panic!("{flow:?} was offered before it is taken back"));
        server.handle_flow_usage(owner, entry.usage);
    }

    /// Tells a worker's core what its flows relayed since.
    pub(crate) fn tell(&mut self, worker: u16, server: &mut Server) {
        for entry in self.flows.iter_mut().filter(|((owner, ..), _)| *owner == worker).map(|(_, entry)| entry)
        {
            server.handle_flow_usage(entry.flow.owner, std::mem::take(&mut entry.usage));
        }
    }

    /// Whether a worker's relayed address has flows.
    pub(crate) fn has_flows(&self, worker: u16, relay: RelayId) -> bool {
        self.flows.iter().any(|((owner, ..), entry)| *owner == worker && entry.flow.id.relay == relay)
    }

    /// Relays ChannelData of a client, if there is such a flow and its time is not up.
    pub(crate) fn client_packet(
        &mut self,
        now: u64,
        Source { worker, client }: Source,
        bytes: &[u8],
        random: &mut Random,
    ) -> Option<Relayed> {
        let (Transport::Udp, [first, second, high, low, rest @ ..]) = (client.tuple.transport, bytes) else {
            return None;
        };
        let (channel, length) = (u16::from_be_bytes([*first, *second]), u16::from_be_bytes([*high, *low]));
        let (data, padding) = rest.split_at_checked(length.into())?;
        if padding.len() > 3 || padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let entry = self.of(worker, now, random, |flow| {
            let addresses = (flow.client, flow.server) == (client.tuple.client, client.tuple.server);
            addresses && flow.id.channel == channel
        })?;
        entry.usage.client_packets += 1;
        entry.usage.client_bytes += data.len() as u64;
        let Flow { id: FlowId { relay, .. }, peer, .. } = entry.flow;
        Some((forward(Egress::Peer { relay, peer }, Vec::new(), data), relay, data.len() as u64))
    }

    /// Relays a datagram of a peer, likewise.
    pub(crate) fn peer_packet(
        &mut self,
        now: u64,
        (worker, relayed): (u16, SocketAddr),
        peer: SocketAddr,
        data: &[u8],
        random: &mut Random,
    ) -> Option<Relayed> {
        // What has to be fragmented goes up.
        if data.len() > 1400 {
            return None;
        }
        let entry = self.of(worker, now, random, |flow| (flow.relayed, flow.peer) == (relayed, peer))?;
        entry.usage.peer_packets += 1;
        entry.usage.peer_bytes += data.len() as u64;
        let Flow { id: FlowId { relay, channel }, link, client, server, .. } = entry.flow;
        let tuple = FiveTuple { transport: Transport::Udp, server, client };
        let header = [channel.to_be_bytes(), (data.len() as u16).to_be_bytes()].concat();
        Some((forward(Egress::Client(Client { link, tuple }), header, data), relay, data.len() as u64))
    }

    /// The flow that is meant; now and then its packet goes up all the same.
    fn of(
        &mut self,
        worker: u16,
        now: u64,
        random: &mut Random,
        is_meant: impl Fn(&Flow) -> bool,
    ) -> Option<&mut Entry> {
        let own = self.flows.iter().find(|((owner, ..), entry)| *owner == worker && is_meant(&entry.flow));
        let (place, flow) = own.map(|(place, entry)| (*place, entry.flow))?;
        // Another client's relayed address has to have its flow too, on whichever worker.
        let leads_on =
            |other: &Flow| (other.relayed, other.peer) == (flow.peer, flow.relayed) && now < other.deadline.0;
        let is_complete = !flow.own_peer || self.flows.values().any(|entry| leads_on(&entry.flow));
        if now >= flow.deadline.0 || !is_complete || random.chance(200) {
            return None;
        }
        self.flows.get_mut(&place)
    }
}

fn forward(to: Egress, header: Vec<u8>, data: &[u8]) -> Action {
    Action::Forward { to, bytes: [&header, data].concat(), span: data.to_vec(), dont_fragment: false }
}

fn place(worker: u16, flow: FlowId) -> (u16, u64, u16) {
    (worker, flow.relay.to_bits(), flow.channel)
}
