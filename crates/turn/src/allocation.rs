//! Allocations (RFC 8656 §3.2): what each holds, and the table that finds them by 5-tuple and by relayed
//! address.
//!
//! Invariants: every live allocation is in the 5-tuple index exactly once; a slot's generation changes each
//! time it is freed, so an old [`RelayId`] never reaches its successor.

mod channels;
mod permissions;

use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use turnpike_wire::TransactionId;

pub(crate) use channels::{Binding, Channels};
pub(crate) use permissions::{Permission, Permissions};

use crate::credentials::User;
use crate::effect::Usage;
use crate::ports::RelayedPort;
use crate::quota::QuotaPlace;
use crate::time::Timestamp;
use crate::tuple::{Client, FiveTuple, RelayId, SessionId};

/// One client's relayed transport address and everything that goes with it.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) client: Client,
    pub(crate) expires: Timestamp,
    pub(crate) permissions: Permissions,
    pub(crate) channels: Channels,
    pub(crate) usage: Usage,
    /// Whether the client is sent FINGERPRINT, because it sends it.
    pub(crate) fingerprint: bool,
    /// When the timer that is set for this allocation fires.
    pub(crate) wakes: Timestamp,
    pub(crate) created: Timestamp,
    pub(crate) user: Arc<User>,
    pub(crate) session: SessionId,
    pub(crate) port: RelayedPort,
    /// The transaction that made it, to know a retransmission by (RFC 8656 §7.2).
    pub(crate) transaction: TransactionId,
    pub(crate) reservation: Option<[u8; 8]>,
    /// Whether the Allocate asked for a second address family, which it did not get.
    pub(crate) lacks_family: bool,
    pub(crate) _place: QuotaPlace,
}

impl Allocation {
    /// Whether the relayed address is of the same family as `peer`.
    pub(crate) fn same_family(&self, peer: &SocketAddr) -> bool {
        self.port.local().is_ipv4() == peer.is_ipv4()
    }

    /// The earliest moment at which something of it expires.
    pub(crate) fn next_expiry(&self) -> Timestamp {
        let permissions = self.permissions.next_expiry();
        let channels = self.channels.next_expiry();
        [permissions, channels].into_iter().flatten().fold(self.expires, Timestamp::min)
    }
}

/// All allocations of one worker.
#[derive(Debug)]
pub(crate) struct Allocations {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_tuple: HashTable<u32>,
    hash: FixedState,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    allocation: Option<Box<Allocation>>,
}

impl Allocations {
    /// `seed` keeps strangers from choosing 5-tuples that collide.
    pub(crate) fn new(seed: u64) -> Self {
        Allocations {
            slots: Vec::new(),
            free: Vec::new(),
            by_tuple: HashTable::new(),
            hash: FixedState::with_seed(seed),
        }
    }

    /// A name for an allocation that is about to be made.
    pub(crate) fn reserve(&mut self) -> RelayId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, allocation: None });
            (self.slots.len() - 1) as u32
        });
        RelayId { slot, generation: self.slots[slot as usize].generation }
    }

    /// Gives back a name that no allocation came to bear.
    pub(crate) fn cancel(&mut self, relay: RelayId) {
        let slot = &mut self.slots[relay.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(relay.slot);
    }

    /// Puts an allocation under its reserved name.
    pub(crate) fn insert(&mut self, relay: RelayId, allocation: Box<Allocation>) {
        let hash = self.hash.hash_one(allocation.client.tuple);
        self.slots[relay.slot as usize].allocation = Some(allocation);
        let Allocations { slots, by_tuple, hash: state, .. } = self;
        by_tuple.insert_unique(hash, relay.slot, |slot| {
            slots[*slot as usize].allocation.as_ref().map_or(0, |other| state.hash_one(other.client.tuple))
        });
    }

    /// The allocation on a 5-tuple.
    #[inline]
    pub(crate) fn find(&self, tuple: &FiveTuple) -> Option<RelayId> {
        let found = self.by_tuple.find(self.hash.hash_one(tuple), |slot| {
            self.slots[*slot as usize].allocation.as_ref().is_some_and(|other| other.client.tuple == *tuple)
        });
        found.map(|slot| RelayId { slot: *slot, generation: self.slots[*slot as usize].generation })
    }

    /// The allocation that bears this name, unless the name is stale.
    #[inline]
    pub(crate) fn get(&self, relay: RelayId) -> Option<&Allocation> {
        let slot = self.slots.get(relay.slot as usize)?;
        slot.allocation.as_deref().filter(|_| slot.generation == relay.generation)
    }

    /// Likewise, to change it.
    #[inline]
    pub(crate) fn get_mut(&mut self, relay: RelayId) -> Option<&mut Allocation> {
        let slot = self.slots.get_mut(relay.slot as usize)?;
        slot.allocation.as_deref_mut().filter(|_| slot.generation == relay.generation)
    }

    /// Takes an allocation out; its name becomes stale.
    pub(crate) fn remove(&mut self, relay: RelayId) -> Option<Box<Allocation>> {
        self.get(relay)?;
        let allocation = self.slots[relay.slot as usize].allocation.take()?;
        let hash = self.hash.hash_one(allocation.client.tuple);
        if let Ok(entry) = self.by_tuple.find_entry(hash, |slot| *slot == relay.slot) {
            entry.remove();
        }
        self.cancel(relay);
        Some(allocation)
    }

    /// The names of all live allocations.
    pub(crate) fn names(&self) -> Vec<RelayId> {
        let live = self.slots.iter().enumerate().filter(|(_, slot)| slot.allocation.is_some());
        live.map(|(index, slot)| RelayId { slot: index as u32, generation: slot.generation }).collect()
    }

    /// Checks the invariants above.
    pub(crate) fn check_invariants(&self) {
        let live = self.names();
        assert_eq!(live.len(), self.by_tuple.len(), "one index entry for each allocation");
        for relay in live {
            let tuple = self.get(relay).map(|allocation| allocation.client.tuple);
            assert_eq!(tuple.and_then(|tuple| self.find(&tuple)), Some(relay), "found by its 5-tuple");
        }
    }
}
