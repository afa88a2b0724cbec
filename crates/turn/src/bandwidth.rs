//! How many bytes a second a relayed address may carry each way (`max-bps`). What comes on top is dropped and counted;
//! requests and their answers are outside of it.
//!
//! Whoever else relays for a relayed address spends of the same limit: then the account is in words that both change by
//! compare-and-swap (`bpf/limits.h` has the same in C).

use std::fmt::Debug;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Timestamp;

/// One relayed address's limit, and what of it is spent in this second.
#[derive(Clone, Debug)]
pub(crate) struct BandwidthLimit {
    /// Bytes of application data a second, each way.
    rate: u64,
    account: Account,
}

#[derive(Clone, Debug)]
enum Account {
    Own(Spending),
    Shared(Arc<dyn SharedAccount>),
}

/// What was spent in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spending {
    pub(crate) second: u64,
    pub(crate) spent: [u64; 2],
}

/// An account that others spend of as well.
pub trait SharedAccount: Debug + Send + Sync {
    /// A word for each [`Way`]: the second of the monotonic clock in its upper half, the bytes spent in that second in its
    /// lower one.
    fn words(&self) -> [&AtomicU64; 2];
}

impl SharedAccount for [AtomicU64; 2] {
    fn words(&self) -> [&AtomicU64; 2] {
        self.each_ref()
    }
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
        BandwidthLimit::with(rate, Spending::default())
    }

    /// Likewise, with something spent already.
    pub(crate) fn with(rate: u64, spending: Spending) -> Option<Self> {
        (rate > 0).then_some(BandwidthLimit { rate, account: Account::Own(spending) })
    }

    /// Bytes a second, each way.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// Likewise, if others may spend of them: their words hold no more.
    pub(crate) fn shareable_rate(&self) -> Option<u32> {
        self.rate.try_into().ok()
    }

    /// From here on others may spend as well.
    pub(crate) fn share(&mut self, account: Arc<dyn SharedAccount>) {
        if let Account::Shared(shared) = &self.account
            && ptr::eq(shared.words()[0], account.words()[0])
        {
            // Others spend of it already.
            return;
        }
        let Spending { second, spent } = self.spending();
        for (word, spent) in account.words().into_iter().zip(spent) {
            word.store(word_of(second, spent), Ordering::Relaxed);
        }
        self.account = Account::Shared(account);
    }

    /// What is spent, and in which second.
    pub(crate) fn spending(&self) -> Spending {
        match &self.account {
            Account::Own(spending) => *spending,
            Account::Shared(account) => {
                let [one, other] = account.words().map(|word| parts_of(word.load(Ordering::Relaxed)));
                let second = one.0.max(other.0);
                let spent = [one, other].map(|(begun, spent)| if begun < second { 0 } else { spent });
                Spending { second, spent }
            }
        }
    }

    /// Whether so many bytes may pass now; if so, they are spent. Most have no limit, and their road stays short.
    #[inline(never)]
    pub(crate) fn admits(&mut self, now: Timestamp, way: Way, bytes: u64) -> bool {
        match &mut self.account {
            Account::Own(spending) => {
                spending.begin_second(now, self.rate);
                let spent = &mut spending.spent[way as usize];
                let fits = *spent + bytes <= self.rate;
                if fits {
                    *spent += bytes;
                }
                fits
            }
            Account::Shared(account) => {
                let word = account.words()[way as usize];
                let spend = |before| spend_of(before, now, bytes, self.rate);
                word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
            }
        }
    }

    /// Spends bytes that have passed already. What was too much is taken off the seconds that follow, if nobody else spends
    /// as well.
    pub(crate) fn spend(&mut self, now: Timestamp, way: Way, bytes: u64) {
        let mut spending = self.spending();
        spending.begin_second(now, self.rate);
        spending.spent[way as usize] += bytes;
        self.account = Account::Own(spending);
    }

    /// Until when nothing may pass; `None` if something may now.
    pub(crate) fn exhausted_until(&mut self, now: Timestamp, way: Way) -> Option<Timestamp> {
        let mut spending = self.spending();
        spending.begin_second(now, self.rate);
        let seconds = spending.spent[way as usize] / self.rate;
        (seconds > 0).then(|| Timestamp((spending.second + seconds).saturating_mul(SECOND)))
    }
}

impl Spending {
    #[inline]
    fn begin_second(&mut self, now: Timestamp, rate: u64) {
        let second = now.0 / SECOND;
        if second > self.second {
            let paid = rate.saturating_mul(second - self.second);
            (self.second, self.spent) = (second, self.spent.map(|spent| spent.saturating_sub(paid)));
        }
    }
}

/// The word after so many bytes have passed; `None` if they do not fit. A second that has begun for others has begun.
fn spend_of(before: u64, now: Timestamp, bytes: u64, rate: u64) -> Option<u64> {
    let second = now.0 / SECOND;
    let (begun, spent) = parts_of(before);
    let spent = bytes + if begun < second { 0 } else { spent };
    (spent <= rate).then(|| word_of(begun.max(second), spent))
}

fn word_of(second: u64, spent: u64) -> u64 {
    second << 32 | spent.min(u32::MAX.into())
}

/// The second, and the bytes.
fn parts_of(word: u64) -> (u64, u64) {
    (word >> 32, word & u64::from(u32::MAX))
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
        assert!(BandwidthLimit::new(0).is_none());
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

    #[test]
    fn two_who_share_an_account_spend_one_limit() {
        let words: Arc<dyn SharedAccount> = Arc::new(<[AtomicU64; 2]>::default());
        let mut one = BandwidthLimit::new(1000).expect("a limit");
        let at = |milliseconds: u64| Timestamp(milliseconds * 1_000_000);
        assert!(one.admits(at(5000), Way::ToPeer, 300));
        one.share(words.clone());
        let mut other = BandwidthLimit { account: Account::Shared(words), ..one.clone() };
        assert!(other.admits(at(5000), Way::ToPeer, 300), "what was spent before is spent");
        assert!(!one.admits(at(5999), Way::ToPeer, 401) && one.admits(at(5999), Way::ToPeer, 400));
        assert!(!other.admits(at(5999), Way::ToPeer, 1) && other.admits(at(5999), Way::ToClient, 1000));
        assert!(one.admits(at(6000), Way::ToPeer, 999), "a new second");
        assert!(!other.admits(at(5990), Way::ToPeer, 2), "also for whose clock is behind");
        assert_eq!(one.exhausted_until(at(6000), Way::ToPeer), None);
        assert!(other.admits(at(6000), Way::ToPeer, 1));
        assert_eq!(one.exhausted_until(at(6000), Way::ToPeer), Some(at(7000)));
        assert_eq!(one.spending(), Spending { second: 6, spent: [1000, 0] });
    }

    #[test]
    fn many_threads_do_not_spend_more_than_there_is() {
        let mut limit = BandwidthLimit::new(100_000).expect("a limit");
        limit.share(Arc::new(<[AtomicU64; 2]>::default()));
        let spenders = (0..4).map(|_| {
            let mut limit = limit.clone();
            std::thread::spawn(move || {
                let spends = |_: &u32| limit.admits(Timestamp(SECOND), Way::ToClient, 7);
                (0..10_000).filter(spends).count() as u64
            })
        });
        let spenders: Vec<_> = spenders.collect();
        let passed: u64 = spenders.into_iter().map(|spender| spender.join().expect("it ends")).sum();
        assert_eq!(passed, 100_000 / 7);
        assert!(limit.shareable_rate().is_some());
        assert_eq!(BandwidthLimit::new(1 << 32).expect("a limit").shareable_rate(), None);
    }
}
