//! How many connections there are, in all and of each source.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{MOST_CONNECTIONS, MOST_OF_SOURCE};

/// The counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    sources: HashMap<IpAddr, u32>,
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Connections,
    source: IpAddr,
}

impl Connections {
    /// A place for a connection of this source, if there is one.
    pub(super) fn take(&self, source: IpAddr) -> Option<Place> {
        let mut counts = self.counts();
        let Counts { all, sources } = &mut *counts;
        let of_source = sources.get(&source).copied().unwrap_or_default();
        if *all >= MOST_CONNECTIONS || of_source >= MOST_OF_SOURCE {
            return None;
        }
        *all += 1;
        sources.insert(source, of_source + 1);
        drop(counts);
        Some(Place { connections: self.clone(), source })
    }

    /// Whether there is none.
    pub(super) fn are_over(&self) -> bool {
        self.counts().all == 0
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.connections.counts();
        counts.all -= 1;
        if let Some(count) = counts.sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_every_place_and_places_come_back() {
        let connections = Connections::default();
        let source = |last: u8| IpAddr::from([192, 0, 2, last]);
        let places: Vec<Place> = (0..1000).map_while(|_| connections.take(source(1))).collect();
        assert_eq!(places.len() as u32, MOST_OF_SOURCE);
        let others: Vec<Place> = (2..200).filter_map(|last| connections.take(source(last))).collect();
        assert_eq!(others.len(), 198, "there is room for everybody else");
        drop(places);
        assert!(connections.take(source(1)).is_some());
        drop(others);
        let counts = connections.counts();
        assert_eq!((counts.all, counts.sources.len()), (0, 0));
    }
}
