//! What is due when: a heap of deadlines. A deadline that was moved later is not searched for; it fires early,
//! its owner sees that nothing is due, and sets the next one.

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
}
