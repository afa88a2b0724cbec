//! The thread that talks to the database: it answers the workers' questions, and reads again and again what holds for
//! all: secrets, realms and their limits, peer ranges, keys of access tokens.
//!
//! Invariants: one question at a time for each user, however many ask; at most [`AT_ONCE`] questions; none without an
//! answer after [`PATIENCE`], be it that there is none. Nothing here is ever waited for by a packet.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use turnpike_store::{Kind, OAuthKey, PAGE_ROWS, Row, Settings, Store, StoreError, StoredUser};

use crate::log::Log;
use crate::stored_users::{Asker, Askers, Question, StoredUsers};

/// What a database says that holds for all requests.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Realms, origins, limits and peer ranges.
    pub settings: Settings,
    /// REST secrets with their realms.
    pub secrets: Vec<(String, String)>,
    /// Keys of access tokens.
    pub oauth_keys: Vec<OAuthKey>,
}

/// Who is told.
pub struct Listeners {
    /// That an answer is there.
    pub answer: Box<dyn Fn(Asker) + Send>,
    /// That something has changed.
    pub changed: Box<dyn Fn(&Outside) + Send>,
}

/// A connection to a database that is being made.
pub struct Inquirer {
    store: Arc<dyn Store>,
    users: Arc<StoredUsers>,
    questions: UnboundedReceiver<Question>,
    runtime: tokio::runtime::Runtime,
    outside: Outside,
    log: Arc<Log>,
}

impl Inquirer {
    /// Connects, and reads once what holds for all. A database that does not answer is no error: the log says so, and it
    /// is asked again.
    ///
    /// # Errors
    /// The connection string makes no sense, or the system gives no thread.
    pub fn open(
        connect: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>,
        log: Arc<Log>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = {
            let _inside = runtime.enter();
            connect()?
        };
        let (sender, questions) = unbounded_channel();
        let users = Arc::new(StoredUsers::new(sender));
        let mut inquirer = Inquirer { store, users, questions, runtime, outside: Outside::default(), log };
        let Inquirer { store, runtime, .. } = &inquirer;
        // A timeout is to be made where time is kept.
        let read = runtime.block_on(async { timeout(AT_START, read_outside(&**store)).await });
        match read.unwrap_or_else(|_| Err(no_answer(&**store))) {
            Ok(outside) => inquirer.outside = outside,
            Err(trouble) => inquirer.tell_down(&trouble),
        }
        Ok(inquirer)
    }

    /// The users, for the workers to look at and ask.
    pub fn users(&self) -> Arc<StoredUsers> {
        self.users.clone()
    }

    /// What holds for all, as it was read last.
    pub fn outside(&self) -> &Outside {
        &self.outside
    }

    /// The hosts that are connected to.
    pub fn hosts(&self) -> Vec<String> {
        self.store.hosts().to_vec()
    }

    /// Which database it is; never a password.
    pub fn name(&self) -> String {
        format!("{} {}", self.store.kind().name(), self.store.address())
    }

    /// Answers questions until the process ends.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, listeners: Listeners) -> std::io::Result<JoinHandle<()>> {
        thread::Builder::new().name("database".into()).spawn(move || self.run(&listeners))
    }

    fn run(self, listeners: &Listeners) {
        let Inquirer { store, users, mut questions, runtime, mut outside, log } = self;
        runtime.block_on(async {
            let mut askers = Askers::new();
            let mut asking = FuturesUnordered::new();
            let mut reading = Box::pin(read_again(store.clone(), SOON));
            loop {
                tokio::select! {
                    question = questions.recv(), if asking.len() < AT_ONCE => {
                        let Some(Question { realm, name, asker }) = question else { return };
                        let waiting = askers.entry((realm.clone(), name.clone())).or_default();
                        waiting.push(asker);
                        if waiting.len() == 1 {
                            asking.push(ask(&*store, realm, name));
                        }
                    }
                    Some((realm, name, answer)) = asking.next() => {
                        match &answer {
                            Ok(user) => users.note(&realm, &name, user.as_ref()),
                            Err(trouble) => note(&users, &log, &*store, Some(trouble)),
                        }
                        let waiting = askers.remove(&(realm, name)).unwrap_or_default();
                        waiting.into_iter().for_each(|asker| (listeners.answer)(asker));
                    }
                    read = &mut reading => {
                        let pause = if read.is_ok() { AGAIN } else { SOON };
                        reading = Box::pin(read_again(store.clone(), pause));
                        note(&users, &log, &*store, read.as_ref().err());
                        if let Ok(read) = read && read != outside {
                            outside = read;
                            (listeners.changed)(&outside);
                        }
                    }
                }
            }
        });
    }

    fn tell_down(&self, trouble: &Trouble) {
        note(&self.users, &self.log, &*self.store, Some(trouble));
    }
}

impl fmt::Debug for Outside {
    /// Without the secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outside")
            .field("settings", &self.settings)
            .field("secrets", &self.secrets.len())
            .field("oauth_keys", &self.oauth_keys.len())
            .finish()
    }
}

/// Why the database has not answered, in words for a person.
type Trouble = String;

/// Notes whether the database answers, and says so once whenever that changes.
fn note(users: &StoredUsers, log: &Log, store: &dyn Store, trouble: Option<&Trouble>) {
    let was_down = users.note_down(trouble.is_some());
    match trouble {
        Some(trouble) if !was_down => log.error(&format!(
            "Database: no answer, calls go on, and so do users who are known; others are left to try again: {trouble}"
        )),
        None if was_down => {
            log.info(&format!("Database: {} {} answers again", store.kind().name(), store.address()));
        }
        _ => {}
    }
}

async fn ask(
    store: &dyn Store,
    realm: Box<str>,
    name: Box<str>,
) -> (Box<str>, Box<str>, Result<Option<StoredUser>, Trouble>) {
    let asked = timeout(PATIENCE, store.user(&realm, &name)).await;
    let answer = match asked {
        Ok(Ok(user)) => Ok(user),
        // One row that makes no sense is one user's trouble, and nobody else's.
        Ok(Err(error)) if is_of_one_user(&error) => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(no_answer(store)),
    };
    (realm, name, answer)
}

fn is_of_one_user(error: &StoreError) -> bool {
    use turnpike_store::ErrorKind::{Corrupt, Invalid, TooLong};
    matches!(error.kind(), Corrupt | Invalid | TooLong)
}

async fn read_again(store: Arc<dyn Store>, pause: Duration) -> Result<Outside, Trouble> {
    sleep(pause).await;
    let read = timeout(PATIENCE, read_outside(&*store)).await;
    read.unwrap_or_else(|_| Err(no_answer(&*store)))
}

async fn read_outside(store: &dyn Store) -> Result<Outside, Trouble> {
    let words = |error: StoreError| error.to_string();
    let settings = store.settings().await.map_err(words)?;
    let (mut secrets, mut oauth_keys) = (Vec::new(), Vec::new());
    for row in all(store, Kind::Secret).await.map_err(words)? {
        if let Row::Secret { realm, value } = row {
            secrets.push((realm, value));
        }
    }
    for row in all(store, Kind::OAuthKey).await.map_err(words)? {
        if let Row::OAuthKey(key) = row {
            oauth_keys.push(key);
        }
    }
    secrets.sort();
    secrets.dedup();
    oauth_keys.sort_by(|one, other| one.kid.cmp(&other.kid));
    Ok(Outside { settings, secrets, oauth_keys })
}

/// All rows of a kind there are few of; of more than [`MOST_PAGES`] pages the first.
async fn all(store: &dyn Store, kind: Kind) -> Result<Vec<Row>, StoreError> {
    let (mut rows, mut after) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = store.list(kind, None, after.as_ref(), PAGE_ROWS).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(rows)
}

fn no_answer(store: &dyn Store) -> Trouble {
    format!("{} {} did not answer in time", store.kind().name(), store.address())
}

/// Questions that the database has at once.
const AT_ONCE: usize = 64;
/// How long an answer is waited for: a client has sent its request three times by then.
const PATIENCE: Duration = Duration::from_secs(2);
/// Likewise at start, for what holds for all.
const AT_START: Duration = Duration::from_secs(5);
/// How long after an answer what holds for all is read again.
const AGAIN: Duration = Duration::from_secs(2);
/// Likewise after none, so that new users get in soon after it has come back.
const SOON: Duration = Duration::from_millis(500);
/// Pages of secrets, and of keys.
const MOST_PAGES: usize = 10;
