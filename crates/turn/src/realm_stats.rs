//! What is relayed, by realm: counted where each packet is, and by nothing but the number that its allocation holds.
//!
//! Invariant: a fixed number of places. Realms come from the configuration and the database, never from a client; those
//! that come when all places are taken share the last one.

use std::sync::Arc;

use crate::effect::Usage;

/// The counters of each realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmStats {
    names: Vec<Arc<str>>,
    usage: Box<[Usage; PLACES]>,
    allocations: Box<[u64; PLACES]>,
}

/// The place of a realm among the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RealmPlace(u8);

impl RealmPlace {
    /// That of all realms without one of their own.
    pub(crate) const OTHERS: RealmPlace = RealmPlace(OTHERS as u8);
}

/// What a realm has, and has had relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealmCounters {
    /// Its allocations alive now.
    pub allocations: u64,
    /// What they relayed, and those before them.
    pub usage: Usage,
}

impl RealmStats {
    /// Every realm that ever had an allocation, with its counters. Those without a place of their own come last, under no
    /// name.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, RealmCounters)> + '_ {
        let named = self.names.iter().enumerate().map(|(place, name)| (Some(&**name), self.counters(place)));
        let others = self.counters(OTHERS);
        named.chain((others != RealmCounters::default()).then_some((None, others)))
    }

    /// Adds what another worker has counted.
    pub(crate) fn add(&mut self, other: &RealmStats) {
        for (name, counters) in other.iter() {
            let place = name.map_or(OTHERS, |name| usize::from(self.place(name).0));
            self.usage[place].add(&counters.usage);
            self.allocations[place] += counters.allocations;
        }
    }

    /// Everything that was relayed.
    pub(crate) fn relayed(&self) -> Usage {
        self.usage.iter().fold(Usage::default(), |mut sum, usage| {
            sum.add(usage);
            sum
        })
    }

    /// The place of this realm.
    pub(crate) fn place(&mut self, realm: &str) -> RealmPlace {
        let known = self.names.iter().position(|name| &**name == realm);
        let place = known.unwrap_or_else(|| match self.names.len() {
            OTHERS => OTHERS,
            place => {
                self.names.push(realm.into());
                place
            }
        });
        RealmPlace(place as u8)
    }

    /// What the realm at this place relays.
    #[inline]
    pub(crate) fn usage(&mut self, RealmPlace(place): RealmPlace) -> &mut Usage {
        // The mask spares the packet path the question whether there is such a place.
        &mut self.usage[usize::from(place) % PLACES]
    }

    pub(crate) fn count_allocation(&mut self, RealmPlace(place): RealmPlace) {
        self.allocations[usize::from(place) % PLACES] += 1;
    }

    pub(crate) fn discount_allocation(&mut self, RealmPlace(place): RealmPlace) {
        self.allocations[usize::from(place) % PLACES] -= 1;
    }

    fn counters(&self, place: usize) -> RealmCounters {
        RealmCounters { allocations: self.allocations[place], usage: self.usage[place] }
    }
}

impl Default for RealmStats {
    fn default() -> Self {
        RealmStats {
            names: Vec::new(),
            usage: Box::new([Usage::default(); PLACES]),
            allocations: Box::new([0; PLACES]),
        }
    }
}

/// A power of two.
const PLACES: usize = 64;
/// The place of all realms that have none of their own.
const OTHERS: usize = PLACES - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_beyond_the_places_there_are_share_the_last_one() {
        let mut realms = RealmStats::default();
        for number in 0..100 {
            let place = realms.place(&format!("realm-{number}"));
            realms.usage(place).client_packets += 1;
            realms.count_allocation(place);
            assert_eq!(realms.place(&format!("realm-{number}")), place);
        }
        assert_eq!(realms.iter().count(), 64);
        let (name, others) = realms.iter().last().unwrap();
        assert_eq!((name, others.allocations, others.usage.client_packets), (None, 37, 37));
        assert_eq!(realms.relayed().client_packets, 100);
    }
}
