//! Requests that wait for an answer from outside the core, in a bounded slab.

use std::collections::HashMap;
use std::sync::Arc;

use turnpike_wire::{ErrorNumber, Family, Integrity, TransactionId};

use crate::origin::PinnedOrigin;
use crate::ports::{Parity, RelayedPort};
use crate::quota::QuotaPlace;
use crate::tcp_relay::PeerTransport;
use crate::tuple::{Client, FiveTuple, RelayId, WaitId};
use crate::user::User;

/// An Allocate that waits for its relay socket.
#[derive(Debug)]
pub(crate) struct PendingAllocation {
    pub(crate) client: Client,
    pub(crate) transaction: TransactionId,
    pub(crate) user: Arc<User>,
    pub(crate) place: QuotaPlace,
    /// The relayed address that is being opened.
    pub(crate) opening: Half,
    /// The first of two, which is open.
    pub(crate) opened: Option<Half>,
    /// The family of which another one is to be opened after this one.
    pub(crate) then: Option<Family>,
    /// The family that was asked for as well and cannot be had, and why.
    pub(crate) lacks: Option<(Family, ErrorNumber)>,
    /// The reserved successor of an even port, and its token.
    pub(crate) reserved: Option<(RelayedPort, [u8; 8])>,
    pub(crate) choice: PortChoice,
    /// What the relayed addresses are to speak.
    pub(crate) transport: PeerTransport,
    pub(crate) attempts: u8,
    /// Seconds of lifetime to grant.
    pub(crate) lifetime: u32,
    /// Whether it is to have a ticket (RFC 8016).
    pub(crate) mobile: bool,
    pub(crate) fingerprint: bool,
    pub(crate) integrity: Integrity,
    /// Whether the client's connection has ended, so that nobody waits for the answer any more.
    pub(crate) abandoned: bool,
    pub(crate) origin: PinnedOrigin,
}

/// A relayed address to be: its name and its port.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) relay: RelayId,
    pub(crate) port: RelayedPort,
}

/// How the port was chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PortChoice {
    /// Among the free ones; should this one turn out to be in use, another will do.
    Free(Parity),
    /// By the token it was reserved with.
    Reserved([u8; 8]),
}

/// Everything that waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    slots: Vec<(u32, Option<PendingAllocation>)>,
    free: Vec<u32>,
    by_tuple: HashMap<FiveTuple, WaitId>,
}

impl Waiting {
    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() - self.free.len() >= MOST
    }

    pub(crate) fn insert(&mut self, pending: PendingAllocation) -> WaitId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (generation, place) = &mut self.slots[slot as usize];
        let wait = WaitId { slot, generation: *generation };
        self.by_tuple.insert(pending.client.tuple, wait);
        *place = Some(pending);
        wait
    }

    /// The request waiting on this 5-tuple.
    pub(crate) fn find(&self, tuple: &FiveTuple) -> Option<&PendingAllocation> {
        let wait = self.by_tuple.get(tuple)?;
        self.slots[wait.slot as usize].1.as_ref()
    }

    /// Lets go of the request that this client waits for: whatever it has taken is given back once it is answered.
    pub(crate) fn abandon(&mut self, client: &Client) {
        let wait = self.by_tuple.get(&client.tuple);
        let pending = wait.and_then(|wait| self.slots.get_mut(wait.slot as usize)?.1.as_mut());
        if let Some(pending) = pending.filter(|pending| pending.client.link == client.link) {
            pending.abandoned = true;
            self.by_tuple.remove(&client.tuple);
        }
    }

    /// Takes out a request that was answered; `None` for an answer that comes late or twice.
    pub(crate) fn take(&mut self, wait: WaitId) -> Option<PendingAllocation> {
        let (generation, place) = self.slots.get_mut(wait.slot as usize)?;
        if *generation != wait.generation {
            return None;
        }
        let pending = place.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(wait.slot);
        // By now another request may wait on the 5-tuple of an abandoned one.
        if !pending.abandoned {
            self.by_tuple.remove(&pending.client.tuple);
        }
        Some(pending)
    }
}

/// Most requests that may wait at once.
const MOST: usize = 4096;
