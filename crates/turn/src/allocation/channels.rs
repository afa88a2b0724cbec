//! The channels of one allocation (RFC 8656 §12): number to peer and peer to number, with a deadline each.
//!
//! Invariant: no two live bindings share a number or a peer.

use std::hash::BuildHasher;
use std::net::SocketAddr;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::time::Timestamp;

/// One channel bound to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) number: u16,
    pub(crate) peer: SocketAddr,
    pub(crate) expires: Timestamp,
    /// Until when somebody else was told that they may relay it.
    pub(crate) flow: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(crate) struct Channels {
    bindings: Vec<Binding>,
    index: Option<Box<Index>>,
}

#[derive(Debug, Default)]
struct Index {
    by_number: HashTable<u32>,
    by_peer: HashTable<u32>,
}

/// The channel is bound to another peer, or the peer to another channel (RFC 8656 §12.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict;

impl Channels {
    /// The peer a channel is bound to.
    #[inline]
    pub(crate) fn peer(&self, number: u16, now: Timestamp) -> Option<SocketAddr> {
        let binding = self.bindings[self.by_number(number)?];
        (binding.expires > now).then_some(binding.peer)
    }

    /// The channel bound to a peer.
    #[inline]
    pub(crate) fn number(&self, peer: &SocketAddr, now: Timestamp) -> Option<u16> {
        let binding = self.bindings[self.by_peer(peer)?];
        (binding.expires > now).then_some(binding.number)
    }

    /// Binds a channel or renews its binding. Expired bindings are to be swept before.
    pub(crate) fn bind(&mut self, binding: Binding) -> Result<(), Conflict> {
        match (self.by_number(binding.number), self.by_peer(&binding.peer)) {
            (None, None) => {
                self.bindings.push(binding);
                self.reindex();
            }
            (Some(number), Some(peer)) if number == peer => self.bindings[number].expires = binding.expires,
            _ => return Err(Conflict),
        }
        Ok(())
    }

    /// Whether [`Channels::bind`] would refuse.
    pub(crate) fn conflicts(&self, number: u16, peer: &SocketAddr) -> bool {
        self.by_number(number) != self.by_peer(peer)
    }

    /// Whether the number is bound to any peer, or was since the last sweep.
    pub(crate) fn has(&self, number: u16) -> bool {
        self.by_number(number).is_some()
    }

    /// All bindings, expired ones among them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.iter()
    }

    /// Likewise, to change them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Binding> {
        self.bindings.iter_mut()
    }

    /// How many of them are relayed elsewhere.
    pub(crate) fn flows(&self) -> usize {
        self.bindings.iter().filter(|binding| binding.flow.is_some()).count()
    }

    /// Takes out what has expired, and tells of each.
    pub(crate) fn sweep(&mut self, now: Timestamp, mut expired: impl FnMut(&mut Binding)) {
        let before = self.bindings.len();
        self.bindings.retain_mut(|binding| {
            let holds = binding.expires > now;
            if !holds {
                expired(binding);
            }
            holds
        });
        if self.bindings.len() != before {
            self.index = None;
            self.reindex();
        }
    }

    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.bindings.iter().map(|binding| binding.expires).min()
    }

    #[inline]
    fn by_number(&self, number: u16) -> Option<usize> {
        let Some(index) = &self.index else {
            return self.bindings.iter().position(|binding| binding.number == number);
        };
        let fits = |at: &u32| self.bindings[*at as usize].number == number;
        index.by_number.find(hash_number(number), fits).map(|at| *at as usize)
    }

    #[inline]
    fn by_peer(&self, peer: &SocketAddr) -> Option<usize> {
        let Some(index) = &self.index else {
            return self.bindings.iter().position(|binding| binding.peer == *peer);
        };
        let fits = |at: &u32| self.bindings[*at as usize].peer == *peer;
        index.by_peer.find(hash_peer(peer), fits).map(|at| *at as usize)
    }

    fn reindex(&mut self) {
        if self.bindings.len() <= SCANNED {
            return;
        }
        let Channels { bindings, index } = self;
        let Index { by_number, by_peer } = &mut **index.get_or_insert_default();
        for at in by_number.len()..bindings.len() {
            let Binding { number, peer, .. } = bindings[at];
            by_number.insert_unique(hash_number(number), at as u32, |at| {
                hash_number(bindings[*at as usize].number)
            });
            by_peer.insert_unique(hash_peer(&peer), at as u32, |at| hash_peer(&bindings[*at as usize].peer));
        }
    }
}

// Only the allocation's owner chooses what is hashed here, and can slow down nobody but himself.
fn hash_number(number: u16) -> u64 {
    FixedState::default().hash_one(number)
}

fn hash_peer(peer: &SocketAddr) -> u64 {
    FixedState::default().hash_one(peer)
}

const SCANNED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(number: u16, port: u16, expires: u64) -> Binding {
        Binding {
            number,
            peer: SocketAddr::from(([8, 8, 8, 8], port)),
            expires: Timestamp(expires),
            flow: None,
        }
    }

    #[test]
    fn channels_are_found_both_ways_at_any_size() {
        for count in [1, SCANNED as u16, SCANNED as u16 + 1, 4096] {
            let mut channels = Channels::default();
            for number in 0..count {
                assert_eq!(channels.bind(binding(0x4000 + number, number, 100)), Ok(()));
            }
            for number in 0..count {
                let Binding { peer, .. } = binding(0, number, 0);
                assert_eq!(channels.peer(0x4000 + number, Timestamp(99)), Some(peer));
                assert_eq!(channels.number(&peer, Timestamp(99)), Some(0x4000 + number));
                assert_eq!(channels.number(&peer, Timestamp(100)), None, "expired");
            }
            channels.sweep(Timestamp(100), |_| ());
            assert_eq!(channels.bindings.len(), 0);
            assert_eq!(channels.bind(binding(0x4000, 77, 200)), Ok(()), "the number is free again");
        }
    }

    #[test]
    fn a_number_or_peer_that_is_bound_otherwise_is_a_conflict_and_the_same_pair_is_not() {
        let mut channels = Channels::default();
        assert_eq!(channels.bind(binding(0x4000, 1, 100)), Ok(()));
        assert_eq!(channels.bind(binding(0x4000, 2, 100)), Err(Conflict));
        assert_eq!(channels.bind(binding(0x4001, 1, 100)), Err(Conflict));
        assert!(channels.conflicts(0x4001, &binding(0, 1, 0).peer));
        assert_eq!(channels.bind(binding(0x4000, 1, 200)), Ok(()));
        assert_eq!((channels.bindings.len(), channels.next_expiry()), (1, Some(Timestamp(200))));
    }
}
