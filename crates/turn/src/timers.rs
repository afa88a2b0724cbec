//! What is due when: a heap of deadlines. A deadline that was moved later is not searched for; it fires early,
//! its owner sees that nothing is due, and sets the next one. Deadlines whose owner is gone are taken out when they
//! are many: else a client that allocates and deletes without end would leave an hour's worth of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::tcp_relay::PeerConnectionId;
use crate::time::Timestamp;
use crate::tuple::{FiveTuple, InquiryId, RelayId, SessionId};

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Something of this allocation may have expired.
    Allocation(RelayId),
    /// A port reservation.
    Reservation([u8; 8]),
    /// The memory of a deleted allocation.
    Deleted(FiveTuple),
    /// A connection with a peer that waits for a ConnectionBind.
    Unbound(PeerConnectionId),
    /// The patience with a database.
    Inquiry(InquiryId),
    /// The time for which a session that moves has two 5-tuples.
    Overlap(SessionId),
}

/// Deadlines in order.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    /// How many deadlines there may be before those that no longer matter are taken out.
    crowded: usize,
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

    /// Whether it is time for [`Timers::retain`].
    pub(crate) fn are_crowded(&self) -> bool {
        self.heap.len() >= self.crowded
    }

    /// Takes out the deadlines that `matters` does not confirm. The next time is when twice as many are there, so
    /// that this costs each deadline a constant.
    pub(crate) fn retain(&mut self, mut matters: impl FnMut(Timestamp, &Timer) -> bool) {
        self.heap.retain(|Reverse(entry)| matters(entry.due, &entry.timer));
        self.crowded = CROWDED.max(2 * self.heap.len());
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

impl Default for Timers {
    fn default() -> Self {
        Timers { heap: BinaryHeap::new(), sequence: 0, crowded: CROWDED }
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

/// Fewer deadlines than this are left alone.
const CROWDED: usize = 1024;

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
    fn what_no_longer_matters_is_taken_out_and_the_rest_keeps_its_order() {
        let mut timers = Timers::default();
        for due in 0..CROWDED as u64 {
            assert!(!timers.are_crowded());
            timers.set(Timestamp(5000 - due), Timer::Reservation([due as u8 % 2; 8]));
        }
        assert!(timers.are_crowded());
        timers.retain(|_, timer| *timer == Timer::Reservation([1; 8]));
        assert!(!timers.are_crowded());
        let mut last = Timestamp(0);
        let mut left = 0;
        while let Some(due) = timers.next_due() {
            assert!(due > last);
            last = due;
            assert_eq!(timers.pop_due(due), Some(Timer::Reservation([1; 8])));
            left += 1;
        }
        assert_eq!(left, CROWDED / 2);
    }
}
