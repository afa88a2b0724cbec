//! The flows that the kernel relays for this worker (`turnpike_xdp`): the core offers them, and is told what they relayed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use turnpike_turn::{Flow, FlowId, FlowOwner, Server, SharedAccount, Timestamp, Usage};
use turnpike_xdp::{Account, FlowName, FlowTable, FlowUsage, Point};

use crate::migration::is_listener;

/// The worker's share of the kernel's flows; empty where there is no fast path.
#[derive(Debug, Default)]
pub(crate) struct KernelFlows {
    table: Option<FlowTable>,
    owners: HashMap<FlowName, FlowOwner>,
    /// Those still to be read in this round.
    unread: Vec<FlowName>,
    /// When to read on; only while there are flows.
    read_at: Timestamp,
}

/// What a relayed address spends of its limit, here and in the kernel.
#[derive(Debug)]
struct KernelAccount(Arc<Account>);

impl SharedAccount for KernelAccount {
    fn words(&self) -> [&AtomicU64; 2] {
        self.0.words()
    }
}

impl KernelFlows {
    pub(crate) fn new(table: Option<FlowTable>) -> Self {
        KernelFlows { table, ..KernelFlows::default() }
    }

    /// Lets the kernel relay a flow, or for longer. One that finds no room is relayed here, and so is one behind a
    /// proxy: its client is not who sends its packets.
    pub(crate) fn up(&mut self, now: Timestamp, flow: &Flow, server: &mut Server) {
        if !is_listener(flow.link) {
            return;
        }
        let Some(table) = &mut self.table else { return };
        let name = name_of(flow.id);
        if self.owners.is_empty() {
            self.read_at = now + PERIOD;
        }
        let kernels = turnpike_xdp::Flow {
            client: flow.client,
            server: flow.server,
            relayed: flow.relayed,
            peer: flow.peer,
            own_peer: flow.own_peer,
            channel: flow.id.channel,
            deadline: flow.deadline.0,
            rate: flow.rate,
        };
        if flow.rate.is_some()
            && let Some(account) = table.account(name.relay)
        {
            server.share_account(flow.id.relay, Arc::new(KernelAccount(account)));
        }
        match table.set(name, kernels) {
            Ok(()) => drop(self.owners.insert(name, flow.owner)),
            Err(usage) => {
                self.owners.remove(&name);
                server.handle_flow_usage(flow.owner, usage_of(usage));
            }
        }
    }

    /// Takes a flow back, and tells what it relayed last.
    pub(crate) fn down(&mut self, flow: FlowId, owner: FlowOwner, server: &mut Server) {
        let name = name_of(flow);
        self.owners.remove(&name);
        if let Some(usage) = self.table.as_mut().and_then(|table| table.remove(name)) {
            server.handle_flow_usage(owner, usage_of(usage));
        }
    }

    /// Whether the kernel may join datagrams for this worker's sockets. It does so before tc looks at them, and what is
    /// joined goes past the flows.
    pub(crate) fn allow_joining(&self) -> bool {
        self.table.as_ref().is_none_or(|table| table.point() != Point::Tc)
    }

    /// When to read what the flows relayed.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        (!self.owners.is_empty()).then_some(self.read_at)
    }

    /// Tells what the flows relayed, some of them at a time: two system calls each.
    pub(crate) fn read(&mut self, now: Timestamp, server: &mut Server) {
        if self.next_due().is_none_or(|due| due > now) {
            return;
        }
        if self.unread.is_empty() {
            self.unread.extend(self.owners.keys());
        }
        let rest = self.unread.len().saturating_sub(AT_A_TIME);
        for name in self.unread.drain(rest..) {
            let usage = self.table.as_mut().and_then(|table| table.read(name));
            if let (Some(usage), Some(owner)) = (usage, self.owners.get(&name)) {
                server.handle_flow_usage(*owner, usage_of(usage));
            }
        }
        self.read_at = now + if self.unread.is_empty() { PERIOD } else { PAUSE };
    }
}

fn name_of(flow: FlowId) -> FlowName {
    FlowName { relay: flow.relay.to_bits(), channel: flow.channel }
}

fn usage_of(usage: FlowUsage) -> Usage {
    Usage {
        client_packets: usage.to_peer.packets,
        client_bytes: usage.to_peer.bytes,
        peer_packets: usage.to_client.packets,
        peer_bytes: usage.to_client.bytes,
        ..Usage::default()
    }
}

/// How old what is counted may be.
const PERIOD: Duration = Duration::from_secs(1);
/// Flows read in one turn: about a tenth of a millisecond.
const AT_A_TIME: usize = 128;
/// Between two such turns: however many flows there are, reading them is about a hundredth of a core's work.
const PAUSE: Duration = Duration::from_millis(20);
