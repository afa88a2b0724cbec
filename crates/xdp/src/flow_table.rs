//! One worker's flows in the kernel's tables.
//!
//! Invariants: a flow is in both tables or in none; what a flow relayed is told once; a place among the counters is used
//! again only when all others were, so that a packet that was under way while its flow ended is counted nowhere wrong.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use aya::maps::{HashMap as KernelMap, MapData, MapError, PerCpuArray};

use crate::accounts::{Account, Accounts};
use crate::error::Unavailable;
use crate::layout::{FlowKey, FlowValue, Rewrite, UsageValue, flow_key, flow_value};
use crate::mode::Point;

/// What a flow is known by: its relayed address's name and its channel number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowName {
    /// The relayed address.
    pub relay: u64,
    /// The channel.
    pub channel: u16,
}

/// A bound channel: what to relay, both ways, until when. Addresses are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The client.
    pub client: SocketAddr,
    /// The address of the server that the client sends to.
    pub server: SocketAddr,
    /// The relayed address, local form.
    pub relayed: SocketAddr,
    /// The peer, local form if it is a relayed address of this server.
    pub peer: SocketAddr,
    /// Whether it is.
    pub own_peer: bool,
    /// The channel number.
    pub channel: u16,
    /// Until when, in nanoseconds of CLOCK_MONOTONIC.
    pub deadline: u64,
    /// Bytes of application data a second, each way, for all flows of the relayed address: what is spent of them is in its
    /// [account](FlowTable::account). Not zero.
    pub rate: Option<u32>,
}

/// What was relayed one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Datagrams.
    pub packets: u64,
    /// Bytes of application data.
    pub bytes: u64,
}

/// What was relayed both ways since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowUsage {
    /// From the client to the peer.
    pub to_peer: Usage,
    /// From the peer to the client.
    pub to_client: Usage,
}

/// A worker's flows.
pub struct FlowTable {
    up: KernelMap<MapData, FlowKey, FlowValue>,
    down: KernelMap<MapData, FlowKey, FlowValue>,
    usage: PerCpuArray<MapData, UsageValue>,
    flows: HashMap<FlowName, Entry>,
    accounts: Accounts,
    point: Point,
    /// Pairs of counters that no flow uses.
    free: VecDeque<u32>,
    /// Of what is written next.
    edition: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    flow: Flow,
    /// Where its relayed address's limit is spent, if it has one.
    account: Option<Arc<Account>>,
    /// Its counters: this one and the next.
    counter: u32,
    /// What of them was told already, or counted for a flow before.
    told: [Usage; 2],
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FlowTable").field("flows", &self.flows).finish_non_exhaustive()
    }
}

impl FlowTable {
    pub(crate) fn new(
        [up, down, usage]: [MapData; 3],
        accounts: Accounts,
        point: Point,
        pairs: impl Iterator<Item = u32>,
    ) -> Result<Self, Unavailable> {
        let wrong = |error: MapError| Unavailable::refused("opening the flow tables", &error);
        Ok(FlowTable {
            up: KernelMap::try_from(aya::maps::Map::HashMap(up)).map_err(wrong)?,
            down: KernelMap::try_from(aya::maps::Map::HashMap(down)).map_err(wrong)?,
            usage: PerCpuArray::try_from(aya::maps::Map::PerCpuArray(usage)).map_err(wrong)?,
            flows: HashMap::new(),
            accounts,
            point,
            free: pairs.map(|pair| pair * 2).collect(),
            // Unlike that of another process with the same tables.
            edition: std::process::id().wrapping_mul(0x9E37_79B9),
        })
    }

    /// Lets the kernel relay a flow, or gives one that it relays another deadline or other addresses.
    ///
    /// # Errors
    /// The tables are full, or there is no account for its limit. User space relays the flow from here on; what the kernel relayed and was not told is told.
    pub fn set(&mut self, name: FlowName, flow: Flow) -> Result<(), FlowUsage> {
        let account = match flow.rate.map(|_| self.account(name.relay)) {
            Some(None) => return Err(self.remove(name).unwrap_or_default()),
            account => account.flatten(),
        };
        let entry = match self.flows.get(&name).cloned() {
            Some(entry) => {
                if entry.flow.is_other_than(&flow) {
                    self.erase(&entry.flow);
                }
                Entry { flow, account, ..entry }
            }
            None => {
                let Some(counter) = self.free.pop_front() else { return Err(FlowUsage::default()) };
                let told = [counter, counter + 1].map(|index| self.counted(index));
                Entry { flow, account, counter, told }
            }
        };
        self.flows.insert(name, entry.clone());
        match self.write(&entry) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.remove(name).unwrap_or_default()),
        }
    }

    /// Where it is written what a relayed address spends of its limit; the same as long as anybody has a hold of it. `None` if
    /// there is no room for another one.
    pub fn account(&mut self, relay: u64) -> Option<Arc<Account>> {
        self.accounts.of(relay)
    }

    /// Takes a flow out of the kernel's tables, and tells what it relayed since it was last asked for.
    pub fn remove(&mut self, name: FlowName) -> Option<FlowUsage> {
        let Entry { flow, .. } = *self.flows.get(&name)?;
        self.erase(&flow);
        let usage = self.read(name);
        if let Some(entry) = self.flows.remove(&name) {
            self.free.push_back(entry.counter);
        }
        usage
    }

    /// What a flow relayed since it was last asked for.
    pub fn read(&mut self, name: FlowName) -> Option<FlowUsage> {
        let counter = self.flows.get(&name)?.counter;
        let counted = [counter, counter + 1].map(|index| self.counted(index));
        let entry = self.flows.get_mut(&name)?;
        let told = std::mem::replace(&mut entry.told, counted);
        let since = |way: usize| Usage {
            packets: counted[way].packets.saturating_sub(told[way].packets),
            bytes: counted[way].bytes.saturating_sub(told[way].bytes),
        };
        Some(FlowUsage { to_peer: since(0), to_client: since(1) })
    }

    /// Where the program runs that looks into it.
    pub fn point(&self) -> Point {
        self.point
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    fn write(&mut self, entry: &Entry) -> Result<(), MapError> {
        let Entry { flow, counter, account, .. } = entry;
        let Flow { client, server, relayed, peer, own_peer, channel, deadline, rate } = *flow;
        let limits =
            account.as_ref().zip(rate).map(|(account, rate)| account.indexes().map(|index| (rate, index)));
        let [limit_up, limit_down] = limits.map_or([None; 2], |limits| limits.map(Some));
        let deadline = deadline.saturating_sub(CLOCK_LAG);
        self.edition = self.edition.wrapping_add(1);
        let edition = self.edition;
        let way = |source, destination, channel, counter, limit| {
            flow_value(&Rewrite { deadline, source, destination, channel, own_peer, counter, edition, limit })
        };
        self.up.insert(flow.up_key(), way(relayed, peer, None, *counter, limit_up), 0)?;
        self.down.insert(flow.down_key(), way(server, client, Some(channel), counter + 1, limit_down), 0)
    }

    /// What cannot be found is gone, which is what was wanted.
    fn erase(&mut self, flow: &Flow) {
        let _ = self.up.remove(&flow.up_key());
        let _ = self.down.remove(&flow.down_key());
    }

    /// What one counter holds, over all processors. One that cannot be read counts nothing.
    fn counted(&self, index: u32) -> Usage {
        let mut usage = Usage::default();
        if let Ok(values) = self.usage.get(&index, 0) {
            for [packets, bytes, ..] in values.iter() {
                usage.packets += packets;
                usage.bytes += bytes;
            }
        }
        usage
    }
}

impl Flow {
    fn up_key(&self) -> FlowKey {
        flow_key(self.client, self.server, Some(self.channel))
    }

    fn down_key(&self) -> FlowKey {
        flow_key(self.peer, self.relayed, None)
    }

    /// Whether more than the deadline differs.
    fn is_other_than(&self, other: &Flow) -> bool {
        Flow { deadline: 0, ..*self } != Flow { deadline: 0, ..*other }
    }
}

/// By how much the clock that the program reads is behind: that of the kernel's last tick, a hundredth of a second ago at
/// most. A flow ends so much earlier there rather than too late.
const CLOCK_LAG: u64 = 10_000_000;
