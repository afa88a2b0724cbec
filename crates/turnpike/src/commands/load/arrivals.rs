//! One flow as its receiver sees it: what is new, what came twice, what came late, and how unevenly (RFC 3550 §6.4.1).

/// The packets of one call in one direction that have arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    /// The highest number so far.
    highest: u32,
    /// Which of the numbers up to the highest have come; the lowest bit is the highest number.
    seen: u128,
    transit: Option<i64>,
    /// RFC 3550's interarrival jitter in nanoseconds.
    jitter: f64,
}

/// What an arriving packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next one, or one behind a gap.
    InOrder,
    /// Behind one that was sent after it.
    Reordered,
    /// Here before.
    Duplicate,
    /// So late that nobody remembers whether it is new: counted as lost.
    TooLate,
}

impl Arrivals {
    /// Takes note of the packet of this number, and of how long it took.
    pub(super) fn note(&mut self, number: u32, nanoseconds: u64) -> Arrival {
        let arrival = self.place(number);
        if matches!(arrival, Arrival::InOrder | Arrival::Reordered) {
            self.note_transit(nanoseconds);
        }
        arrival
    }

    /// The interarrival jitter so far, in nanoseconds.
    pub(super) fn jitter(&self) -> u64 {
        self.jitter as u64
    }

    fn place(&mut self, number: u32) -> Arrival {
        if number > self.highest {
            let step = number - self.highest;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.highest = number;
            return Arrival::InOrder;
        }
        let Some(bit) = 1_u128.checked_shl(self.highest - number) else { return Arrival::TooLate };
        if self.seen & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen |= bit;
        Arrival::Reordered
    }

    /// J += (|D| - J) / 16, RFC 3550 §6.4.1.
    fn note_transit(&mut self, nanoseconds: u64) {
        let transit = i64::try_from(nanoseconds).unwrap_or(i64::MAX);
        if let Some(before) = self.transit.replace(transit) {
            self.jitter += (transit.abs_diff(before) as f64 - self.jitter) / 16.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_late_and_repeated_packets_are_told_apart() {
        let mut arrivals = Arrivals::default();
        let expected = [
            (1, Arrival::InOrder),
            (1, Arrival::Duplicate),
            (4, Arrival::InOrder),
            (2, Arrival::Reordered),
            (2, Arrival::Duplicate),
            (5, Arrival::InOrder),
            (3, Arrival::Reordered),
            (4, Arrival::Duplicate),
            (1000, Arrival::InOrder),
            (873, Arrival::Reordered),
            (872, Arrival::TooLate),
            (5, Arrival::TooLate),
            (1001, Arrival::InOrder),
            (1000, Arrival::Duplicate),
        ];
        for (number, arrival) in expected {
            assert_eq!(arrivals.note(number, 0), arrival, "{number}");
        }
    }

    #[test]
    fn even_transit_has_no_jitter_and_uneven_transit_approaches_its_mean_difference() {
        let mut even = Arrivals::default();
        (1..=100).for_each(|number| _ = even.note(number, 5_000_000));
        assert_eq!(even.jitter(), 0);
        let mut uneven = Arrivals::default();
        for number in 1..=400 {
            uneven.note(number, if number % 2 == 0 { 1_000_000 } else { 3_000_000 });
        }
        assert!(uneven.jitter().abs_diff(2_000_000) < 1000, "{}", uneven.jitter());
    }

    #[test]
    fn duplicates_do_not_count_for_jitter() {
        let mut arrivals = Arrivals::default();
        arrivals.note(1, 1000);
        arrivals.note(1, 900_000_000);
        arrivals.note(2, 1000);
        assert_eq!(arrivals.jitter(), 0);
    }
}
