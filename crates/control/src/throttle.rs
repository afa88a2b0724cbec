//! Keeps a flood of refusals from flooding the log: so many lines a second, then only a count.

use std::time::{Duration, Instant};

/// A limit on lines about refusals.
#[derive(Debug)]
pub(crate) struct Throttle {
    second: Instant,
    written: u32,
    withheld: u64,
}

impl Throttle {
    pub(crate) fn new(now: Instant) -> Self {
        Throttle { second: now, written: 0, withheld: 0 }
    }

    /// Whether a line may be written.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.written = 0;
        }
        let admitted = self.written < LINES_A_SECOND;
        if admitted {
            self.written += 1;
        } else {
            self.withheld += 1;
        }
        admitted
    }

    /// How many lines were withheld since this was last asked.
    pub(crate) fn take_withheld(&mut self) -> u64 {
        std::mem::take(&mut self.withheld)
    }
}

const LINES_A_SECOND: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        let admitted = (0..LINES_A_SECOND + 2).filter(|_| throttle.admit(start)).count();
        assert_eq!(admitted, LINES_A_SECOND as usize);
        assert!(throttle.admit(start + Duration::from_secs(1)));
        assert_eq!((throttle.take_withheld(), throttle.take_withheld()), (2, 0));
    }
}
