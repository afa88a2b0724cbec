//! What is due when: a heap of deadlines. A deadline that was moved later is not searched for; it fires early,
//! its owner sees that nothing is due, and sets the next one. Those of ended allocations are thrown out before they
//! become the greater part, so that somebody who allocates and deletes all day cannot fill the memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Timestamp;
use crate::tuple::{FiveTuple, RelayId};

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Something of this allocation may have expired.
    Allocation(RelayId),
    /// A port reservation.
    Reservation([u8; 8]),
    /// The memory of a deleted allocation.
    Deleted(FiveTuple),
}

/// Deadlines in order.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    /// Allocations that ended since the heap was last swept.
    ended: usize,
}

#[derive(Debug)]
struct Entry {
    due: Timestamp,
    /// Keeps the order of equal deadlines, so that a run can be repeated exactly.
    sequence: u64,
    timer: Timer,
}

impl Timers {
    pub(crate) fn set(&mut self, due: Timestamp, timer: Timer) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { due, sequence: self.sequence, timer }));
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(entry)| entry.due)
    }

    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.timer)
    }

    /// An allocation has ended. Its deadlines go when half of the heap may be such: each pays for the sweep of two.
    pub(crate) fn note_ended(&mut self, is_live: impl Fn(RelayId) -> bool) {
        self.ended += 1;
        if self.ended < FEWEST_SWEPT || self.ended < self.heap.len() / 2 {
            return;
        }
        self.ended = 0;
        self.heap.retain(|Reverse(entry)| match entry.timer {
            Timer::Allocation(relay) => is_live(relay),
            Timer::Reservation(_) | Timer::Deleted(_) => true,
        });
        self.heap.shrink_to(2 * self.heap.len());
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.sequence).cmp(&(other.due, other.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// Fewer ended allocations than this are not worth a sweep.
const FEWEST_SWEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_not_before_they_are_due() {
        let mut timers = Timers::default();
        for due in [30, 10, 20] {
            timers.set(Timestamp(due), Timer::Reservation([due as u8; 8]));
        }
        assert_eq!(timers.next_due(), Some(Timestamp(10)));
        assert_eq!(timers.pop_due(Timestamp(9)), None);
        let mut popped = Vec::new();
        while let Some(Timer::Reservation(token)) = timers.pop_due(Timestamp(25)) {
            popped.push(token[0]);
        }
        assert_eq!(popped, [10, 20]);
    }

    #[test]
    fn deadlines_of_ended_allocations_do_not_pile_up() {
        let mut timers = Timers::default();
        let relay = |slot| RelayId { slot, generation: 0 };
        timers.set(Timestamp(5), Timer::Allocation(relay(0)));
        timers.set(Timestamp(6), Timer::Reservation([1; 8]));
        for slot in 1..100_000 {
            timers.set(Timestamp(1000), Timer::Allocation(relay(slot)));
            timers.note_ended(|relay| relay.slot == 0);
            assert!(timers.heap.len() <= 2 + FEWEST_SWEPT, "{} deadlines", timers.heap.len());
        }
        assert_eq!(timers.pop_due(Timestamp(6)), Some(Timer::Allocation(relay(0))));
        assert_eq!(timers.pop_due(Timestamp(6)), Some(Timer::Reservation([1; 8])));
        assert_eq!(timers.pop_due(Timestamp(6)), None);
    }
}
