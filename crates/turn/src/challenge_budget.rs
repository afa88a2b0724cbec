//! How many answers a source gets before it has proved its address.
//!
//! Every answer to an unauthenticated request takes a token from its source's bucket, and every valid nonce
//! that comes back returns one: whoever receives our answers never runs out, whoever forges a source does.
//! Invariant: memory is fixed; a stranger costs no state. Sources that share a bucket share its budget, and
//! which ones do is unpredictable.

use core::hash::{BuildHasher, Hasher};
use core::net::IpAddr;
use core::time::Duration;

use foldhash::quality::FixedState;

use crate::time::Timestamp;

/// Buckets of tokens by source address, IPv6 sources by their /64.
#[derive(Debug)]
pub(crate) struct ChallengeBudget {
    buckets: Box<[Bucket]>,
    hash: FixedState,
    /// Tokens a second.
    rate: u32,
    /// Tokens a bucket holds.
    burst: u32,
    /// How many buckets of each part were not full when that was looked at last.
    occupied: [u16; PARTS],
    /// The part that is looked at next.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    /// Whether somebody has been told that this bucket is empty.
    reported: bool,
    refilled: Timestamp,
}

/// Whether an answer may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    Granted,
    /// The first refusal since the bucket last had a token.
    RefusedFirst,
    Refused,
}

impl ChallengeBudget {
    pub(crate) fn new(rate: u32, burst: u32, seed: u64) -> Self {
        let full = Bucket { tokens: burst, reported: false, refilled: Timestamp(0) };
        ChallengeBudget {
            buckets: vec![full; BUCKETS].into(),
            hash: FixedState::with_seed(seed),
            rate,
            burst,
            occupied: [0; PARTS],
            next: 0,
        }
    }

    /// Sets what a source may have from now on; what it has left stays, as far as it fits.
    pub(crate) fn set_limits(&mut self, rate: u32, burst: u32) {
        (self.rate, self.burst) = (rate, burst);
        for bucket in &mut self.buckets {
            bucket.tokens = bucket.tokens.min(burst);
        }
    }

    /// Takes a token for an answer to `source`.
    pub(crate) fn take(&mut self, now: Timestamp, source: IpAddr) -> Allowance {
        let (rate, burst) = (self.rate, self.burst);
        let bucket = self.bucket(source);
        bucket.refill(now, rate, burst);
        if bucket.tokens > 0 {
            bucket.tokens -= 1;
            bucket.reported = false;
            return Allowance::Granted;
        }
        let first = !bucket.reported;
        bucket.reported = true;
        if first { Allowance::RefusedFirst } else { Allowance::Refused }
    }

    /// Gives a token back: `source` has returned a nonce.
    pub(crate) fn refund(&mut self, source: IpAddr) {
        let burst = self.burst;
        let bucket = self.bucket(source);
        bucket.tokens = burst.min(bucket.tokens.saturating_add(1));
    }

    /// Looks at one part of the buckets, and says how many of all are not full, as far as was seen. All of them at once
    /// would push out of the cache what packets need.
    pub(crate) fn survey(&mut self, now: Timestamp) -> (u64, u64) {
        let (rate, burst, part) = (self.rate, self.burst, self.next);
        let buckets = &mut self.buckets[part * (BUCKETS / PARTS)..][..BUCKETS / PARTS];
        buckets.iter_mut().for_each(|bucket| bucket.refill(now, rate, burst));
        self.occupied[part] = buckets.iter().filter(|bucket| bucket.tokens < burst).count() as u16;
        self.next = (part + 1) % PARTS;
        (self.occupied.iter().map(|count| u64::from(*count)).sum(), BUCKETS as u64)
    }

    fn bucket(&mut self, source: IpAddr) -> &mut Bucket {
        let mut hasher = self.hash.build_hasher();
        match source {
            IpAddr::V4(ip) => hasher.write_u32(ip.to_bits()),
            IpAddr::V6(ip) => hasher.write_u64((ip.to_bits() >> 64) as u64),
        }
        &mut self.buckets[hasher.finish() as usize % BUCKETS]
    }
}

impl Bucket {
    /// Adds the whole tokens that time has earned; what is left of the time counts next time.
    fn refill(&mut self, now: Timestamp, rate: u32, burst: u32) {
        let rate = u128::from(rate);
        let gained = now.since(self.refilled).as_nanos() * rate / NANOSECONDS;
        let tokens = u32::try_from(u128::from(self.tokens) + gained).unwrap_or(u32::MAX);
        if tokens >= burst {
            self.tokens = burst;
            self.refilled = now;
        } else if gained > 0 {
            self.tokens = tokens;
            let spent = (gained * NANOSECONDS).div_ceil(rate);
            self.refilled = self.refilled + Duration::from_nanos(spent as u64);
        }
    }
}

const BUCKETS: usize = 4096;
/// In which they are surveyed.
const PARTS: usize = 8;
const NANOSECONDS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 7));

    #[test]
    fn a_source_that_never_returns_a_nonce_runs_out_and_recovers_with_time() {
        let mut budget = ChallengeBudget::new(10, 20, 1);
        let now = Timestamp(1_000_000_000_000);
        for _ in 0..20 {
            assert_eq!(budget.take(now, SOURCE), Allowance::Granted);
        }
        assert_eq!(budget.take(now, SOURCE), Allowance::RefusedFirst);
        assert_eq!(budget.take(now, SOURCE), Allowance::Refused);
        let later = Timestamp(now.0 + 500_000_000);
        for _ in 0..5 {
            assert_eq!(budget.take(later, SOURCE), Allowance::Granted);
        }
        assert_eq!(budget.take(later, SOURCE), Allowance::RefusedFirst);
    }

    #[test]
    fn a_survey_of_all_parts_counts_the_buckets_that_are_not_full() {
        let mut budget = ChallengeBudget::new(10, 20, 1);
        let now = Timestamp(1_000_000_000_000);
        let survey = |budget: &mut ChallengeBudget, now| (0..PARTS).map(|_| budget.survey(now)).last();
        assert_eq!(survey(&mut budget, now), Some((0, BUCKETS as u64)));
        assert_eq!(budget.take(now, SOURCE), Allowance::Granted);
        assert_eq!(survey(&mut budget, now), Some((1, BUCKETS as u64)));
        let later = Timestamp(now.0 + 1_000_000_000);
        assert_eq!(survey(&mut budget, later), Some((0, BUCKETS as u64)));
    }

    #[test]
    fn a_full_bucket_of_any_size_takes_no_refund() {
        for burst in [1, u32::MAX] {
            let mut budget = ChallengeBudget::new(10, burst, 1);
            budget.refund(SOURCE);
            assert_eq!(budget.bucket(SOURCE).tokens, burst);
        }
    }

    #[test]
    fn new_limits_apply_at_once() {
        let mut budget = ChallengeBudget::new(10, 20, 1);
        let now = Timestamp(1_000_000_000_000);
        budget.set_limits(1, 2);
        for expected in [Allowance::Granted, Allowance::Granted, Allowance::RefusedFirst] {
            assert_eq!(budget.take(now, SOURCE), expected);
        }
        budget.set_limits(10, 20);
        let later = Timestamp(now.0 + 1_000_000_000);
        assert_eq!((0..11).filter(|_| budget.take(later, SOURCE) == Allowance::Granted).count(), 10);
    }

    #[test]
    fn a_source_that_returns_its_nonces_never_runs_out() {
        let mut budget = ChallengeBudget::new(10, 20, 1);
        let now = Timestamp(1_000_000_000_000);
        for _ in 0..1000 {
            assert_eq!(budget.take(now, SOURCE), Allowance::Granted);
            budget.refund(SOURCE);
        }
    }
}
