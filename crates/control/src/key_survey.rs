//! Who of a realm's users in a database has no SHA-256 key. A challenge is made before anybody is known, so that it may
//! offer SHA-256 only where everybody can use it (RFC 8489 §9.2.4).
//!
//! A realm's users are read page by page until one lacks the key. In a database that coturn's tools have filled this is
//! the first one; in one that ours have filled it is nobody, and all are read, which is why that happens seldom. What
//! is found out can be wrong a moment later: whoever then turns out to have no such key is noticed when he comes
//! ([`StoredUsers::note`](crate::stored_users::StoredUsers::note)), and is challenged anew without the offer.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use turnpike_store::{Kind, PAGE_ROWS, Row, Store, StoreError};

/// What a survey has found.
pub(crate) struct Surveyed {
    /// Of the realms it was to look at, those where nobody lacks a SHA-256 key.
    pub(crate) realms: HashSet<Box<str>>,
    /// How long it has taken.
    pub(crate) took: Duration,
}

/// Looks at these realms, after a pause.
pub(crate) async fn survey(
    store: &dyn Store,
    realms: Vec<Box<str>>,
    pause: Duration,
) -> Result<Surveyed, StoreError> {
    sleep(pause).await;
    let begun = Instant::now();
    let mut complete = HashSet::new();
    for realm in realms {
        if everybody_has_sha256(store, &realm).await? {
            complete.insert(realm);
        }
    }
    Ok(Surveyed { realms: complete, took: begun.elapsed() })
}

/// The pause before the next one: long enough that the database hardly notices them.
pub(crate) fn pause_after(took: Duration) -> Duration {
    (took * TIMES_AS_LONG).max(SHORTEST_PAUSE)
}

async fn everybody_has_sha256(store: &dyn Store, realm: &str) -> Result<bool, StoreError> {
    let mut after = None;
    loop {
        // One page at a time, so that whoever waits for a user is not kept waiting by this.
        let page = store.list(Kind::User, Some(realm), after.as_ref(), PAGE_ROWS).await?;
        let lacks = |row: &Row| matches!(row, Row::User { user, .. } if user.sha256.is_none());
        if page.rows.iter().any(lacks) {
            return Ok(false);
        }
        after = page.next;
        if after.is_none() {
            return Ok(true);
        }
    }
}

/// How much longer the pause is than what it follows.
const TIMES_AS_LONG: u32 = 50;
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use turnpike_store::{MemoryStore, StoredUser};

    use super::*;

    async fn put(store: &MemoryStore, realm: &str, number: u32, sha256: Option<[u8; 32]>) {
        let user = StoredUser { hmackey: [1; 16], sha256 };
        store.put(&[Row::User { realm: realm.into(), name: format!("user{number}"), user }]).await.unwrap();
    }

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
    fn one_user_without_the_key_among_thousands_is_found_and_other_realms_do_not_mind() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            for number in 0..2500 {
                put(&store, "north", number, Some([2; 32])).await;
            }
            put(&store, "south", 0, Some([2; 32])).await;
            let realms = || ["north", "south", "empty"].map(Into::into).to_vec();
            let found = survey(&store, realms(), Duration::ZERO).await.unwrap().realms;
            assert_eq!(found.len(), 3, "{found:?}");
            put(&store, "north", 2100, None).await;
            let found = survey(&store, realms(), Duration::ZERO).await.unwrap().realms;
            assert!(!found.contains("north") && found.len() == 2, "{found:?}");
        });
    }

    #[test]
    fn the_longer_it_takes_the_longer_it_rests() {
        assert_eq!(pause_after(Duration::from_millis(1)), SHORTEST_PAUSE);
        assert_eq!(pause_after(Duration::from_secs(10)), Duration::from_secs(500));
    }
}
