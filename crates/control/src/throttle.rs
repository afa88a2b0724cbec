//! Keeps a flood of refusals from flooding the log: so many lines a second, then only a count.

use std::time::{Duration, Instant};

/// A limit on lines about refusals.
#[derive(Debug)]
pub(crate) struct Throttle {
    second: Instant,
    written: u32,
    withheld: u64,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Write,
    /// Write, and say before it how many lines were left out.
    WriteAfter(u64),
    Withhold,
}

impl Throttle {
    pub(crate) fn new(now: Instant) -> Self {
        Throttle { second: now, written: 0, withheld: 0 }
    }

    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.written = 0;
        }
        if self.written >= LINES_A_SECOND {
            self.withheld += 1;
            return Admission::Withhold;
        }
        self.written += 1;
        match std::mem::take(&mut self.withheld) {
            0 => Admission::Write,
            withheld => Admission::WriteAfter(withheld),
        }
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
        for _ in 0..LINES_A_SECOND {
            assert_eq!(throttle.admit(start), Admission::Write);
        }
        assert_eq!(throttle.admit(start), Admission::Withhold);
        assert_eq!(throttle.admit(start), Admission::Withhold);
        let later = start + Duration::from_secs(1);
        assert_eq!(throttle.admit(later), Admission::WriteAfter(2));
        assert_eq!(throttle.admit(later), Admission::Write);
    }
}
