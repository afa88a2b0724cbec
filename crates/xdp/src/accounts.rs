//! What relayed addresses spend of their limits, in words that the program in the kernel spends of as well
//! (`bpf/limits.h`).
//!
//! Invariants: an account is one relayed address's, until nobody has a hold of it any more; and it is used again only when
//! all others of its worker were, so that a packet that was under way is paid for by nobody wrong.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aya::maps::MapData;
use turnpike_net::SharedWords;

use crate::error::Unavailable;

/// One worker's accounts.
pub(crate) struct Accounts {
    words: Arc<SharedWords>,
    /// Places of accounts that nobody has.
    free: Arc<Mutex<VecDeque<u32>>>,
    /// By the names of relayed addresses.
    given: HashMap<u64, Weak<Account>>,
    /// With so many given out, those that nobody has any more are forgotten.
    tidy_at: usize,
}

/// What one relayed address spends, each way.
pub struct Account {
    words: Arc<SharedWords>,
    free: Arc<Mutex<VecDeque<u32>>>,
    place: u32,
}

impl Accounts {
    pub(crate) fn new(
        table: &MapData,
        most: u32,
        places: impl Iterator<Item = u32>,
    ) -> Result<Self, Unavailable> {
        let words = SharedWords::map(table.fd(), most as usize * 2)
            .map_err(|error| Unavailable::refused("mapping the accounts of limits", &error))?;
        let free = Arc::new(Mutex::new(places.collect()));
        Ok(Accounts { words: Arc::new(words), free, given: HashMap::new(), tidy_at: TIDY_FROM })
    }

    /// The account of a relayed address; `None` if there are no more.
    pub(crate) fn of(&mut self, relay: u64) -> Option<Arc<Account>> {
        if let Some(account) = self.given.get(&relay).and_then(Weak::upgrade) {
            return Some(account);
        }
        let place = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        let account = Arc::new(Account { words: self.words.clone(), free: self.free.clone(), place });
        if self.given.len() >= self.tidy_at {
            self.given.retain(|_, account| account.strong_count() > 0);
            self.tidy_at = TIDY_FROM.max(self.given.len() * 2);
        }
        self.given.insert(relay, Arc::downgrade(&account));
        Some(account)
    }
}

impl Account {
    /// A word for each way, to peers and to the client: the second of the monotonic clock in its upper half, the bytes spent
    /// in that second in its lower one.
    pub fn words(&self) -> [&AtomicU64; 2] {
        let words = self.words.as_slice();
        self.indexes().map(|index| &words[index as usize])
    }

    /// Where the words are in the kernel's table.
    pub(crate) fn indexes(&self) -> [u32; 2] {
        [self.place * 2, self.place * 2 + 1]
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.place);
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Account").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Accounts that are remembered without looking whether anybody still has them.
const TIDY_FROM: usize = 64;
