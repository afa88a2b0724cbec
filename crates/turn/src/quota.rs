//! How many allocations a user and a realm may have at once (`user-quota`, `total-quota`), and what bandwidth each is
//! granted of the whole (`max-bps`, `bps-capacity`), counted over all workers and exact under concurrency.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::credentials::User;
use crate::reason::Reason;

/// Counts of live allocations. Zero limits nothing.
#[derive(Debug, Default)]
pub struct Quotas {
    per_user: u32,
    total: u32,
    /// Bytes a second of each allocation, and of all together.
    rate: u64,
    capacity: u64,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    /// Bytes a second that are granted.
    granted: u64,
    users: HashMap<Box<str>, u32>,
}

/// One allocation's place in the counts; dropping it gives the place back, however the allocation ends.
#[derive(Debug)]
pub(crate) struct QuotaPlace {
    quotas: Arc<Quotas>,
    user: Arc<User>,
    rate: u64,
}

impl Quotas {
    /// At most `per_user` allocations a user and `total` in all; zero for no limit.
    pub fn new(per_user: u32, total: u32) -> Arc<Self> {
        Quotas::with_bandwidth(per_user, total, 0, 0)
    }

    /// Likewise, with at most `rate` bytes a second and direction for each allocation, and `capacity` for all of them
    /// together; zero for no limit. Whoever comes last gets what is left of the capacity, then nobody gets in.
    pub fn with_bandwidth(per_user: u32, total: u32, rate: u64, capacity: u64) -> Arc<Self> {
        Arc::new(Quotas { per_user, total, rate, capacity, counts: Mutex::default() })
    }

    /// Places taken by all users together.
    pub fn taken(&self) -> u32 {
        self.counts().total
    }

    pub(crate) fn take(self: &Arc<Self>, user: &Arc<User>) -> Result<QuotaPlace, Reason> {
        let mut counts = self.counts();
        if self.total != 0 && counts.total >= self.total {
            return Err(Reason::TotalQuota);
        }
        let rate = match self.capacity {
            0 => self.rate,
            capacity => self.rate.min(capacity.saturating_sub(counts.granted)),
        };
        if rate == 0 && self.rate != 0 {
            return Err(Reason::NoBandwidth);
        }
        if self.per_user != 0 {
            let count = match counts.users.get_mut(user.account()) {
                Some(count) => count,
                None => counts.users.entry(user.account().into()).or_default(),
            };
            if *count >= self.per_user {
                return Err(Reason::UserQuota);
            }
            *count += 1;
        }
        counts.total += 1;
        counts.granted += rate;
        Ok(QuotaPlace { quotas: self.clone(), user: user.clone(), rate })
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QuotaPlace {
    /// Whether it counts as this user's.
    pub(crate) fn belongs_to(&self, user: &User) -> bool {
        self.user.account() == user.account()
    }

    /// Bytes a second and direction that go with it; zero for no limit.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }
}

impl Drop for QuotaPlace {
    fn drop(&mut self) {
        let mut counts = self.quotas.counts();
        counts.total -= 1;
        counts.granted -= self.rate;
        if let Some(count) = counts.users.get_mut(self.user.account()) {
            *count -= 1;
            if *count == 0 {
                counts.users.remove(self.user.account());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;

    #[test]
    fn places_are_limited_and_come_back_when_dropped() {
        let nobody = Credentials::anonymous("realm").nobody();
        let quotas = Quotas::new(2, 0);
        let first = quotas.take(&nobody).expect("first");
        let _second = quotas.take(&nobody).expect("second");
        assert_eq!(quotas.take(&nobody).map(|_| ()), Err(Reason::UserQuota));
        drop(first);
        let _third = quotas.take(&nobody).expect("a place came back");
        let shared = Quotas::with_bandwidth(0, 0, 100, 250);
        let places: Vec<_> = (0..3).map_while(|_| shared.take(&nobody).ok()).collect();
        assert_eq!(places.iter().map(QuotaPlace::rate).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(shared.take(&nobody).map(|_| ()), Err(Reason::NoBandwidth));
        drop(places);
        assert_eq!(shared.take(&nobody).map(|place| place.rate()), Ok(100));
        let total = Quotas::new(0, 1);
        let _only = total.take(&nobody).expect("first");
        assert_eq!(total.take(&nobody).map(|_| ()), Err(Reason::TotalQuota));
    }
}
