//! Allocations (RFC 8656 §3.2): what each holds, and the table that finds them by 5-tuple and by relayed
//! address.
//!
//! An allocation with a relayed address of each family (RFC 8656 §7.2) is two entries, each with its own lifetime,
//! permissions and channels, that know of each other. The 5-tuple leads to the first of them, so that an allocation
//! with one relayed address pays nothing for there being others with two.
//!
//! Invariants: every 5-tuple with an allocation is in the index exactly once, and none whose client is away; siblings
//! name each other, share their 5-tuple and session, and have different families; a slot's generation changes each
//! time it is freed, so an old [`RelayId`] never reaches its successor.

mod channels;
mod permissions;

use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use turnpike_wire::{ErrorNumber, Family, TransactionId};

pub(crate) use channels::{Binding, Channels};
pub(crate) use permissions::{Permission, Permissions};

use crate::bandwidth::BandwidthLimit;
use crate::effect::Usage;
use crate::origin::PinnedOrigin;
use crate::ports::RelayedPort;
use crate::quota::QuotaPlace;
use crate::realm_stats::RealmPlace;
use crate::tcp_relay::TcpRelay;
use crate::time::Timestamp;
use crate::tuple::{Client, FiveTuple, Link, RelayId, SessionId};
use crate::user::User;

/// A relayed transport address and everything that goes with it.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) client: Client,
    pub(crate) expires: Timestamp,
    pub(crate) permissions: Permissions,
    pub(crate) channels: Channels,
    pub(crate) usage: Usage,
    /// Where its realm's counters are.
    pub(crate) realm: RealmPlace,
    pub(crate) limit: Option<BandwidthLimit>,
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
    /// The family that was asked for as well and could not be had, and why.
    pub(crate) lacks: Option<(Family, ErrorNumber)>,
    /// Its connections, for a relayed address that speaks TCP (RFC 6062); `None` for UDP.
    pub(crate) tcp: Option<Box<TcpRelay>>,
    /// The relayed address of the other family.
    pub(crate) sibling: Option<RelayId>,
    /// The allocation's place in the quotas, which one of siblings holds.
    pub(crate) place: Option<QuotaPlace>,
    pub(crate) origin: PinnedOrigin,
    /// The peers that are its own on a port it shares; with port 0 all of an address.
    pub(crate) claims: Vec<SocketAddr>,
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

impl Allocation {
    /// Nobody was told that he may relay a channel for longer than it, its permission and the allocation last.
    fn check_flows(&self) {
        for Binding { peer, expires, flow, .. } in self.channels.iter() {
            let Some(told) = flow else { continue };
            let permission = self.permissions.kept(peer.ip()).map_or(*told, |permission| permission.expires);
            assert!(*told <= *expires && *told <= permission && *told <= self.expires, "a flow ends in time");
        }
    }
}

/// All allocations of one worker.
#[derive(Debug)]
pub(crate) struct Allocations {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_tuple: HashTable<u32>,
    /// How many allocations there are besides, whose clients are away (RFC 8016).
    away: usize,
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
            away: 0,
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

    /// Puts the relayed address of the other family beside that of an allocation.
    pub(crate) fn insert_beside(&mut self, first: RelayId, relay: RelayId, mut allocation: Box<Allocation>) {
        allocation.sibling = Some(first);
        self.slots[relay.slot as usize].allocation = Some(allocation);
        if let Some(first) = self.get_mut(first) {
            first.sibling = Some(relay);
        }
    }

    /// An allocation's relayed addresses, the one named first.
    #[inline]
    pub(crate) fn family_of(&self, relay: RelayId) -> impl Iterator<Item = RelayId> + use<> {
        [Some(relay), self.get(relay).and_then(|allocation| allocation.sibling)].into_iter().flatten()
    }

    /// The one of an allocation's relayed addresses that is of the same family as `peer`.
    #[inline]
    pub(crate) fn towards(&self, relay: RelayId, peer: &SocketAddr) -> Option<RelayId> {
        let allocation = self.get(relay)?;
        if allocation.same_family(peer) { Some(relay) } else { allocation.sibling }
    }

    /// Gives back a name that no allocation came to bear.
    pub(crate) fn cancel(&mut self, relay: RelayId) {
        let slot = &mut self.slots[relay.slot as usize];
        slot.generation = (slot.generation + 1) & GENERATIONS;
        self.free.push(relay.slot);
    }

    /// Puts an allocation under its reserved name.
    pub(crate) fn insert(&mut self, relay: RelayId, allocation: Box<Allocation>) {
        let client = allocation.client;
        self.slots[relay.slot as usize].allocation = Some(allocation);
        self.index(relay, &client);
    }

    /// Leads another 5-tuple to an allocation, in place of the one before; none if the client is away.
    pub(crate) fn relink(&mut self, relay: RelayId, client: Client) {
        let Some(before) = self.get(relay).map(|allocation| allocation.client) else { return };
        let slots = self.family_of(relay).map(|half| half.slot).collect::<Vec<u32>>();
        let entry = self.by_tuple.find_entry(self.hash.hash_one(before.tuple), |slot| slots.contains(slot));
        if before.link == Link::NOWHERE {
            self.away -= 1;
        } else if let Ok(entry) = entry {
            entry.remove();
        }
        for half in self.family_of(relay) {
            if let Some(allocation) = self.get_mut(half) {
                allocation.client = client;
            }
        }
        self.index(relay, &client);
    }

    fn index(&mut self, relay: RelayId, client: &Client) {
        if client.link == Link::NOWHERE {
            self.away += 1;
            return;
        }
        let hash = self.hash.hash_one(client.tuple);
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
        let sibling = allocation.sibling.filter(|sibling| self.get(*sibling).is_some());
        match sibling {
            // The other one is now what the 5-tuple leads to, if it was not before.
            Some(sibling) => {
                if let Some(indexed) = self.by_tuple.find_mut(hash, |slot| *slot == relay.slot) {
                    *indexed = sibling.slot;
                }
                if let Some(other) = self.get_mut(sibling) {
                    other.sibling = None;
                }
            }
            None if allocation.client.link == Link::NOWHERE => self.away -= 1,
            None => {
                if let Ok(entry) = self.by_tuple.find_entry(hash, |slot| *slot == relay.slot) {
                    entry.remove();
                }
            }
        }
        self.cancel(relay);
        Some(allocation)
    }

    /// How many allocations there are; one with two relayed addresses is one.
    pub(crate) fn count(&self) -> usize {
        self.by_tuple.len() + self.away
    }

    /// How many places the table has, taken or not.
    pub(crate) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    /// What is at a place of the table.
    pub(crate) fn at(&self, place: u32) -> Option<(RelayId, &Allocation)> {
        let slot = self.slots.get(place as usize)?;
        let relay = RelayId { slot: place, generation: slot.generation };
        Some((relay, slot.allocation.as_deref()?))
    }

    /// The names of all live relayed addresses.
    pub(crate) fn names(&self) -> Vec<RelayId> {
        let live = self.slots.iter().enumerate().filter(|(_, slot)| slot.allocation.is_some());
        live.map(|(index, slot)| RelayId { slot: index as u32, generation: slot.generation }).collect()
    }

    /// Checks the invariants above.
    pub(crate) fn check_invariants(&self) {
        let live = self.names();
        let (mut indexed, mut away) = (0, 0);
        for relay in &live {
            let Some(allocation) = self.get(*relay) else { continue };
            allocation.check_flows();
            if allocation.client.link == Link::NOWHERE {
                away += usize::from(allocation.place.is_some());
            } else {
                let found = self.find(&allocation.client.tuple);
                indexed += usize::from(found == Some(*relay));
                let leads = found.is_some_and(|found| found == *relay || Some(found) == allocation.sibling);
                assert!(leads, "found by its 5-tuple");
            }
            if let Some(sibling) = allocation.sibling {
                let other = self.get(sibling);
                let mutual = other.is_some_and(|other| {
                    other.sibling == Some(*relay)
                        && other.client.tuple == allocation.client.tuple
                        && other.session == allocation.session
                        && other.port.local().is_ipv4() != allocation.port.local().is_ipv4()
                });
                assert!(mutual, "siblings name each other and differ in family");
                let places =
                    [Some(allocation), other].map(|half| half.is_some_and(|half| half.place.is_some()));
                assert!(places[0] != places[1], "one of siblings holds the place in the quotas");
            } else {
                assert!(allocation.place.is_some(), "a place in the quotas");
            }
        }
        assert_eq!(indexed, self.by_tuple.len(), "one index entry for each allocation");
        assert_eq!(away, self.away, "and none for those whose clients are away");
    }
}

/// As many as leave two bits of a name free, by which a poller tells it from others (see [`RelayId::to_bits`]).
const GENERATIONS: u32 = (1 << 30) - 1;
