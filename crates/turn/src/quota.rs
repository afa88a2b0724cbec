//! How many allocations a user and a realm may have at once (`user-quota`, `total-quota`), and what bandwidth each is
//! granted of the whole (`max-bps`, `bps-capacity`), counted over all workers and exact under concurrency.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::reason::Reason;
use crate::tenants::Limits;
use crate::user::User;

/// Counts of live allocations. Zero limits nothing.
#[derive(Debug, Default)]
pub struct Quotas {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    defaults: Defaults,
    /// Allocations in all.
    total: u32,
    /// Bytes a second that are granted.
    granted: u64,
    realms: HashMap<Arc<str>, RealmCounts>,
}

/// What holds where a realm has nothing of its own.
#[derive(Clone, Copy, Debug, Default)]
struct Defaults {
    per_user: u32,
    total: u32,
    /// Bytes a second of each allocation, and of all together.
    rate: u64,
    capacity: u64,
}

#[derive(Debug, Default)]
struct RealmCounts {
    total: u32,
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
    /// At most `per_user` allocations a user and `total` in a realm; zero for no limit.
    pub fn new(per_user: u32, total: u32) -> Arc<Self> {
        Quotas::with_bandwidth(per_user, total, 0, 0)
    }

    /// Likewise, with at most `rate` bytes a second and direction for each allocation, and `capacity` for all of them
    /// together; zero for no limit. Whoever comes last gets what is left of the capacity, then nobody gets in.
    pub fn with_bandwidth(per_user: u32, total: u32, rate: u64, capacity: u64) -> Arc<Self> {
        let quotas = Quotas::default();
        quotas.counts().defaults = Defaults { per_user, total, rate, capacity };
        Arc::new(quotas)
    }

    /// Other limits from here on. Allocations that exist stay, and count.
    pub fn set_limits(&self, per_user: u32, total: u32, rate: u64, capacity: u64) {
        self.counts().defaults = Defaults { per_user, total, rate, capacity };
    }

    /// Places taken by all users together.
    pub fn taken(&self) -> u32 {
        self.counts().total
    }

    /// A place for this user, whose realm has these limits of its own.
    pub(crate) fn take(self: &Arc<Self>, user: &Arc<User>, limits: &Limits) -> Result<QuotaPlace, Reason> {
        let mut counts = self.counts();
        let Counts { defaults, total, granted, realms } = &mut *counts;
        let (per_user, most) =
            (limits.user_quota.unwrap_or(defaults.per_user), limits.total_quota.unwrap_or(defaults.total));
        let wanted = limits.rate.unwrap_or(defaults.rate);
        let rate = match defaults.capacity {
            0 => wanted,
            capacity => wanted.min(capacity.saturating_sub(*granted)),
        };
        let realm = match realms.get_mut(user.realm()) {
            Some(realm) => realm,
            None => realms.entry(user.realm().into()).or_default(),
        };
        let refusal = if most != 0 && realm.total >= most {
            Some(Reason::TotalQuota)
        } else if rate == 0 && wanted != 0 {
            Some(Reason::NoBandwidth)
        } else if per_user != 0 && realm.users.get(user.account()).is_some_and(|count| *count >= per_user) {
            Some(Reason::UserQuota)
        } else {
            None
        };
        if let Some(reason) = refusal {
            if realm.total == 0 {
                realms.remove(user.realm());
            }
            return Err(reason);
        }
        // Counted even where nothing limits them: a limit may be set while they are there.
        match realm.users.get_mut(user.account()) {
            Some(count) => *count += 1,
            None => {
                realm.users.insert(user.account().into(), 1);
            }
        }
        realm.total += 1;
        *total += 1;
        *granted += rate;
        Ok(QuotaPlace { quotas: self.clone(), user: user.clone(), rate })
    }

    /// The place that an allocation has which was made by another process: it counts, whatever the limits are now.
    pub(crate) fn resume(self: &Arc<Self>, user: &Arc<User>, rate: u64) -> QuotaPlace {
        let mut counts = self.counts();
        let Counts { total, granted, realms, .. } = &mut *counts;
        let realm = realms.entry(user.realm().into()).or_default();
        *realm.users.entry(user.account().into()).or_default() += 1;
        realm.total += 1;
        *total += 1;
        *granted = granted.saturating_add(rate);
        QuotaPlace { quotas: self.clone(), user: user.clone(), rate }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QuotaPlace {
    /// Whether it counts as this user's.
    pub(crate) fn belongs_to(&self, user: &User) -> bool {
        self.user.account() == user.account() && self.user.realm() == user.realm()
    }

    /// Whose it is.
    pub(crate) fn user(&self) -> &Arc<User> {
        &self.user
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
        counts.granted = counts.granted.saturating_sub(self.rate);
        let Some(realm) = counts.realms.get_mut(self.user.realm()) else { return };
        realm.total -= 1;
        if let Some(count) = realm.users.get_mut(self.user.account()) {
            *count -= 1;
            if *count == 0 {
                realm.users.remove(self.user.account());
            }
        }
        if realm.total == 0 {
            counts.realms.remove(self.user.realm());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;

    const NONE: Limits = Limits { user_quota: None, total_quota: None, rate: None };

    #[test]
    fn places_are_limited_and_come_back_when_dropped() {
        let nobody = Credentials::anonymous("realm").nobody();
        let quotas = Quotas::new(2, 0);
        let first = quotas.take(&nobody, &NONE).expect("first");
        let _second = quotas.take(&nobody, &NONE).expect("second");
        assert_eq!(quotas.take(&nobody, &NONE).map(|_| ()), Err(Reason::UserQuota));
        drop(first);
        let _third = quotas.take(&nobody, &NONE).expect("a place came back");
        let shared = Quotas::with_bandwidth(0, 0, 100, 250);
        let places: Vec<_> = (0..3).map_while(|_| shared.take(&nobody, &NONE).ok()).collect();
        assert_eq!(places.iter().map(QuotaPlace::rate).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(shared.take(&nobody, &NONE).map(|_| ()), Err(Reason::NoBandwidth));
        drop(places);
        assert_eq!(shared.take(&nobody, &NONE).map(|place| place.rate()), Ok(100));
        let total = Quotas::new(0, 1);
        let _only = total.take(&nobody, &NONE).expect("first");
        assert_eq!(total.take(&nobody, &NONE).map(|_| ()), Err(Reason::TotalQuota));
    }

    #[test]
    fn each_realm_has_counts_of_its_own_and_its_limits_come_before_the_common_ones() {
        let [north, south] = ["north", "south"].map(|realm| Credentials::anonymous(realm).nobody());
        let quotas = Quotas::new(0, 1);
        let _northern = quotas.take(&north, &NONE).expect("the first of its realm");
        assert_eq!(quotas.take(&north, &NONE).map(|_| ()), Err(Reason::TotalQuota));
        let southern = quotas.take(&south, &NONE).expect("the first of another realm");
        let two = Limits { total_quota: Some(2), user_quota: Some(1), rate: None };
        assert_eq!(quotas.take(&south, &two).map(|_| ()), Err(Reason::UserQuota));
        let two = Limits { user_quota: Some(0), rate: Some(7), ..two };
        assert_eq!(quotas.take(&south, &two).map(|place| place.rate()), Ok(7));
        quotas.set_limits(0, 0, 0, 0);
        let _more = quotas.take(&north, &NONE).expect("the limit was taken away");
        drop(southern);
        assert_eq!(quotas.taken(), 2);
    }
}
