//! How many bytes a second a relayed address may carry each way (`max-bps`). What comes on top is dropped and counted;
//! requests and their answers are outside of it.

use crate::time::Timestamp;

/// One relayed address's limit, and what of it is spent in this second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BandwidthLimit {
    /// Bytes of application data a second, each way.
    pub(crate) rate: u64,
    pub(crate) second: u64,
    pub(crate) spent: [u64; 2],
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to a peer.
    ToPeer = 0,
    /// From a peer to the client.
    ToClient = 1,
}

impl BandwidthLimit {
    /// `None` for a rate of zero, which is no limit.
    pub(crate) fn new(rate: u64) -> Option<Self> {
        (rate > 0).then_some(BandwidthLimit { rate, second: 0, spent: [0; 2] })
    }

    /// Bytes a second, each way.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// Whether so many bytes may pass now; if so, they are spent.
    pub(crate) fn admits(&mut self, now: Timestamp, way: Way, bytes: u64) -> bool {
        self.begin_second(now);
        let spent = &mut self.spent[way as usize];
        let fits = *spent + bytes <= self.rate;
        if fits {
            *spent += bytes;
        }
        fits
    }

    /// Spends bytes that have passed already. What was too much is taken off the seconds that follow.
    pub(crate) fn spend(&mut self, now: Timestamp, way: Way, bytes: u64) {
        self.begin_second(now);
        self.spent[way as usize] += bytes;
    }

    /// Until when nothing may pass; `None` if something may now.
    pub(crate) fn exhausted_until(&mut self, now: Timestamp, way: Way) -> Option<Timestamp> {
        self.begin_second(now);
        let seconds = self.spent[way as usize] / self.rate;
        (seconds > 0).then(|| Timestamp((self.second + seconds).saturating_mul(SECOND)))
    }

    #[inline]
    fn begin_second(&mut self, now: Timestamp) {
        let second = now.0 / SECOND;
        if second != self.second {
            let paid = self.rate.saturating_mul(second.saturating_sub(self.second));
            (self.second, self.spent) = (second, self.spent.map(|spent| spent.saturating_sub(paid)));
        }
    }
}

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_has_its_own_limit_and_each_second_a_new_one() {
        let mut limit = BandwidthLimit::new(1000).expect("a limit");
        let at = |milliseconds: u64| Timestamp(milliseconds * 1_000_000);
        assert!(limit.admits(at(5000), Way::ToPeer, 600) && limit.admits(at(5999), Way::ToPeer, 400));
        assert!(!limit.admits(at(5999), Way::ToPeer, 1), "spent");
        assert!(limit.admits(at(5999), Way::ToPeer, 0), "nothing costs nothing");
        assert!(limit.admits(at(5999), Way::ToClient, 1000));
        assert!(limit.admits(at(6000), Way::ToPeer, 1000));
        assert!(!limit.admits(at(7000), Way::ToPeer, 1001), "never more than a second's worth");
        assert!(limit.admits(at(7000), Way::ToPeer, 1000), "what was refused is not spent");
        assert_eq!(BandwidthLimit::new(0), None);
    }

    #[test]
    fn what_passed_beyond_the_limit_is_taken_off_the_next_seconds() {
        let mut limit = BandwidthLimit::new(1000).expect("a limit");
        let at = |milliseconds: u64| Timestamp(milliseconds * 1_000_000);
        limit.spend(at(5100), Way::ToPeer, 999);
        assert_eq!(limit.exhausted_until(at(5200), Way::ToPeer), None);
        limit.spend(at(5200), Way::ToPeer, 2500);
        assert_eq!(limit.exhausted_until(at(5300), Way::ToPeer), Some(at(8000)));
        assert_eq!(limit.exhausted_until(at(5300), Way::ToClient), None, "each way for itself");
        assert_eq!(limit.exhausted_until(at(7999), Way::ToPeer), Some(at(8000)));
        assert_eq!(limit.exhausted_until(at(8000), Way::ToPeer), None);
        assert!(limit.admits(at(8000), Way::ToPeer, 501) && !limit.admits(at(8000), Way::ToPeer, 1));
    }
}
