//! How many bytes a second a relayed address may carry each way (`max-bps`). What comes on top is dropped and counted;
//! requests and their answers are outside of it.

use crate::time::Timestamp;

/// One relayed address's limit, and what of it is spent in this second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BandwidthLimit {
    /// Bytes of application data a second, each way.
    rate: u64,
    second: u64,
    spent: [u64; 2],
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToPeer = 0,
    ToClient = 1,
}

impl BandwidthLimit {
    /// `None` for a rate of zero, which is no limit.
    pub(crate) fn new(rate: u64) -> Option<Self> {
        (rate > 0).then_some(BandwidthLimit { rate, second: 0, spent: [0; 2] })
    }

    /// Whether so many bytes may pass now; if so, they are spent.
    pub(crate) fn admits(&mut self, now: Timestamp, way: Way, bytes: u64) -> bool {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            (self.second, self.spent) = (second, [0; 2]);
        }
        let spent = &mut self.spent[way as usize];
        let fits = *spent + bytes <= self.rate;
        if fits {
            *spent += bytes;
        }
        fits
    }
}

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
}
