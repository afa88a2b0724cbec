//! How many allocations a user and a realm may have at once (`user-quota`, `total-quota`), counted over all
//! workers and exact under concurrency.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::credentials::User;
use crate::reason::Reason;

/// Counts of live allocations. Zero limits nothing.
#[derive(Debug, Default)]
pub struct Quotas {
    per_user: u32,
    total: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    users: HashMap<Box<str>, u32>,
}

/// One allocation's place in the counts; dropping it gives the place back, however the allocation ends.
#[derive(Debug)]
pub(crate) struct QuotaPlace {
    quotas: Arc<Quotas>,
    user: Arc<User>,
}

impl Quotas {
    /// At most `per_user` allocations a user and `total` in all; zero for no limit.
    pub fn new(per_user: u32, total: u32) -> Arc<Self> {
        Arc::new(Quotas { per_user, total, counts: Mutex::default() })
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
        Ok(QuotaPlace { quotas: self.clone(), user: user.clone() })
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QuotaPlace {
    fn drop(&mut self) {
        let mut counts = self.quotas.counts();
        counts.total -= 1;
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
        let total = Quotas::new(0, 1);
        let _only = total.take(&nobody).expect("first");
        assert_eq!(total.take(&nobody).map(|_| ()), Err(Reason::TotalQuota));
    }
}
