//! Whether to look for one message or for many: what last arrived on a socket decides.
//!
//! Asking for a batch where one datagram waits costs a third of a microsecond more than asking for one: the kernel reads
//! a header and looks a second time. Most relay sockets carry thin flows and have just one.

use std::sync::atomic::{AtomicU8, Ordering};

/// One socket's pace. Kept by its reader alone; atomic only so that sockets can be shared between threads.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Reads of a single message before a batch is tried again; zero while batches are worth it.
    singles: AtomicU8,
    /// Batches in a row that brought no more than one message.
    vain: AtomicU8,
}

impl Pace {
    /// Whether to read a single message now. Whoever watches the socket sees it again if more is waiting.
    #[inline]
    pub(crate) fn reads_one(&self) -> bool {
        let singles = self.singles.load(Ordering::Relaxed);
        self.singles.store(singles.saturating_sub(1), Ordering::Relaxed);
        singles > 0
    }

    /// Takes note of how many messages a batch brought.
    #[inline]
    pub(crate) fn note_batch(&self, messages: usize) {
        let vain = if messages > 1 { 0 } else { self.vain.load(Ordering::Relaxed).wrapping_add(1) };
        self.vain.store(vain, Ordering::Relaxed);
        if vain >= PATIENCE {
            // Never the same number twice in a row: bursts must not keep in step with it.
            self.singles.store(FEWEST_SINGLES + vain % 8, Ordering::Relaxed);
        }
    }
}

/// Batches of one message before single reads begin.
const PATIENCE: u8 = 2;
/// Single reads before a batch is tried again; up to seven more.
const FEWEST_SINGLES: u8 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thin_flows_are_mostly_read_one_by_one() {
        let pace = Pace::default();
        let mut singles = 0;
        for _ in 0..1000 {
            if pace.reads_one() { singles += 1 } else { pace.note_batch(1) }
        }
        assert!(singles > 900, "{singles}");
    }

    #[test]
    fn bursts_are_noticed_soon_whatever_their_length() {
        for burst in 2..40 {
            let pace = Pace::default();
            (0..3).for_each(|_| pace.note_batch(1));
            // Each burst is read one by one until a batch is tried, which brings the rest of it.
            let batched = (0..1000).find(|_| {
                let mut waiting = burst;
                while waiting > 0 && pace.reads_one() {
                    waiting -= 1;
                }
                if waiting > 0 {
                    pace.note_batch(waiting);
                }
                waiting > 1
            });
            assert!(batched.is_some_and(|bursts| bursts < 30), "bursts of {burst}: {batched:?}");
            assert!(!pace.reads_one());
        }
    }
}
