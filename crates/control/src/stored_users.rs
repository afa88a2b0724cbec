//! Users of a database, as far as they were asked for lately: what all workers look at when somebody wants to allocate.
//!
//! Invariants: never more than [`MOST`] users; nothing older than [`FRESH`] is believed while the database answers, so
//! that whoever is added, removed or has a new password is seen within that time; while it does not answer, what was
//! known of a user goes on being good, and of anybody else nothing is claimed. A realm is among those where everybody has
//! a SHA-256 key only until somebody is seen there who has none.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use turnpike_store::StoredUser;
use turnpike_turn::{Directory, Found, InquiryId, StoredKeys};

/// The users who were asked for lately, and where to ask for others.
#[derive(Debug)]
pub struct StoredUsers {
    cache: Mutex<Generations>,
    is_down: AtomicBool,
    sha256: RwLock<Sha256Realms>,
    questions: UnboundedSender<Question>,
}

/// Somebody who is asked for.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) realm: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) asker: Asker,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The worker's number.
    pub worker: u16,
    /// Its name for the request that waits.
    pub inquiry: InquiryId,
}

/// What is known of who has a SHA-256 key.
#[derive(Debug, Default)]
struct Sha256Realms {
    /// Realms where everybody has one.
    complete: HashSet<Box<str>>,
    /// Realms where somebody without one was seen since the survey under way began; only of realms that are served.
    contradicted: HashSet<Box<str>>,
}

/// Two halves of a cache: what is used moves to the young one, and when that is full the old one is let go.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<String, Entry>,
    old: HashMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    keys: Option<StoredKeys>,
    read: Instant,
}

impl StoredUsers {
    pub(crate) fn new(questions: UnboundedSender<Question>) -> Self {
        StoredUsers {
            cache: Mutex::default(),
            is_down: AtomicBool::new(false),
            sha256: RwLock::default(),
            questions,
        }
    }

    /// Asks the database for a user. The answer is noted here, then whoever asks is told that it is.
    pub fn ask(&self, asker: Asker, realm: Box<str>, name: Box<str>) {
        // At the end of the process nobody answers, and nobody waits.
        let _ = self.questions.send(Question { realm, name, asker });
    }

    /// Notes what the database has said of a user.
    pub(crate) fn note(&self, realm: &str, name: &str, user: Option<&StoredUser>) {
        let keys = user.map(|user| StoredKeys::new(user.hmackey, user.sha256));
        if user.is_some_and(|user| user.sha256.is_none()) {
            self.contradict(realm);
        }
        self.cache().insert(key(realm, name), Entry { keys, read: Instant::now() });
    }

    /// Notes whether the database answers; tells what was noted before.
    pub(crate) fn note_down(&self, is_down: bool) -> bool {
        self.is_down.swap(is_down, Ordering::Relaxed)
    }

    /// Whether the database has left its last question without an answer.
    pub fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// A survey begins of who has a SHA-256 key.
    pub(crate) fn begin_survey(&self) {
        self.sha256_mut().contradicted.clear();
    }

    /// Notes the realms where it has found nobody without one. Where somebody was seen since it began, it is wrong.
    pub(crate) fn note_survey(&self, realms: HashSet<Box<str>>) {
        let mut sha256 = self.sha256_mut();
        sha256.complete = realms.difference(&sha256.contradicted).cloned().collect();
    }

    /// Somebody in this realm has no SHA-256 key: from now on nobody is offered it there. A nonce is good only for the
    /// offer it came with, so that whoever has taken it up is challenged anew.
    fn contradict(&self, realm: &str) {
        if !self.sha256().contradicted.contains(realm) {
            let mut sha256 = self.sha256_mut();
            sha256.complete.remove(realm);
            sha256.contradicted.insert(realm.into());
        }
    }

    fn sha256(&self) -> RwLockReadGuard<'_, Sha256Realms> {
        self.sha256.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn sha256_mut(&self) -> RwLockWriteGuard<'_, Sha256Realms> {
        self.sha256.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory for StoredUsers {
    fn find(&self, realm: &str, name: &str, may_wait: bool) -> Found {
        let entry = self.cache().get(&key(realm, name));
        let age = entry.as_ref().map(|entry| entry.read.elapsed());
        let is_down = self.is_down();
        match (entry.map(|entry| entry.keys), age) {
            (Some(Some(keys)), Some(age)) if age < FRESH => Found::Keys(keys.aged(age > SETTLED && !is_down)),
            (Some(None), Some(age)) if age < FRESH => Found::Nobody,
            (Some(Some(keys)), _) if is_down || !may_wait => Found::Keys(keys),
            _ if is_down => Found::Unavailable,
            _ => Found::Ask,
        }
    }

    fn all_have_sha256(&self, realm: &str) -> bool {
        self.sha256().complete.contains(realm)
    }

    fn is_unreachable(&self) -> bool {
        self.is_down()
    }
}

impl Generations {
    fn get(&mut self, key: &str) -> Option<Entry> {
        if let Some(entry) = self.young.get(key) {
            return Some(entry.clone());
        }
        let (key, entry) = self.old.remove_entry(key)?;
        self.insert(key, entry.clone());
        Some(entry)
    }

    fn insert(&mut self, key: String, entry: Entry) {
        if self.young.len() >= MOST / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, entry);
    }
}

fn key(realm: &str, name: &str) -> String {
    // No name has a NUL in it.
    format!("{realm}\0{name}")
}

/// How long what the database said is believed.
const FRESH: Duration = Duration::from_secs(3);
/// From when on a password that does not fit is worth another question.
const SETTLED: Duration = Duration::from_millis(100);
/// Users who are remembered.
const MOST: usize = 200_000;

/// For whom a question is asked, by realm and name.
pub(crate) type Askers = HashMap<(Box<str>, Box<str>), Vec<Asker>>;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn users() -> Arc<StoredUsers> {
        Arc::new(StoredUsers::new(tokio::sync::mpsc::unbounded_channel().0))
    }

    #[test]
    fn nobody_is_claimed_to_be_unknown_while_the_database_is_down() {
        let users = users();
        assert!(matches!(users.find("realm", "alice", true), Found::Ask));
        users.note("realm", "alice", Some(&StoredUser { hmackey: [1; 16], sha256: None }));
        users.note("realm", "bob", None);
        assert!(matches!(users.find("realm", "alice", true), Found::Keys(_)));
        assert!(matches!(users.find("realm", "bob", true), Found::Nobody));
        assert!(matches!(users.find("other", "alice", true), Found::Ask), "another realm's is somebody else");
        users.note_down(true);
        assert!(matches!(users.find("realm", "carol", true), Found::Unavailable));
        assert!(matches!(users.find("realm", "alice", true), Found::Keys(_)));
    }

    #[test]
    fn sha256_is_good_for_a_realm_until_somebody_is_seen_there_who_has_no_such_key() {
        let users = users();
        let realms = || HashSet::from(["north".into(), "south".into()]);
        assert!(!users.all_have_sha256("north"), "nothing is known at first");
        users.note_survey(realms());
        users.note("north", "alice", Some(&StoredUser { hmackey: [1; 16], sha256: Some([2; 32]) }));
        users.note("north", "nobody", None);
        assert!(users.all_have_sha256("north") && users.all_have_sha256("south"));
        users.begin_survey();
        users.note("north", "bob", Some(&StoredUser { hmackey: [1; 16], sha256: None }));
        assert!(!users.all_have_sha256("north") && users.all_have_sha256("south"));
        users.note_survey(realms());
        assert!(!users.all_have_sha256("north"), "he was seen while it was under way");
        users.begin_survey();
        users.note_survey(realms());
        assert!(users.all_have_sha256("north"));
    }

    #[test]
    fn the_cache_stays_within_its_bound_and_keeps_whoever_is_used() {
        let users = users();
        let user = StoredUser { hmackey: [1; 16], sha256: None };
        users.note("realm", "faithful", Some(&user));
        for number in 0..3 * MOST {
            users.note("realm", &number.to_string(), None);
            if number % 1000 == 0 {
                assert!(matches!(users.find("realm", "faithful", true), Found::Keys(_)), "{number}");
            }
        }
        let cache = users.cache();
        assert!(cache.young.len() + cache.old.len() <= MOST);
    }
}
