//! The thread that talks to the database: it answers the workers' questions, and reads again and again what holds for
//! all: secrets, realms and their limits, peer ranges, keys of access tokens, and where the database is.
//!
//! Invariants: one question at a time for each user, however many ask; at most [`AT_ONCE`] questions; none without an
//! answer after [`PATIENCE`], be it that there is none, and none to a database that is known not to answer. Nothing here
//! is ever waited for by a packet.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use turnpike_store::{Store, StoreError, StoredUser};

use crate::key_survey::{pause_after, survey};
use crate::log::Log;
use crate::outside::{Outside, addresses_of};
use crate::stored_users::{Asker, Askers, Question, StoredUsers};

/// Who is told, and about what.
pub struct Listeners {
    /// Which realms there are besides those that the database names.
    pub realms: Box<dyn Fn() -> Vec<Box<str>> + Send>,
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
        let hosts = runtime.block_on(async {
            let found = timeout(AT_START, addresses_of(store.hosts(), &BTreeSet::new())).await;
            found.map(|(hosts, _)| hosts).unwrap_or_default()
        });
        let read = runtime.block_on(async { timeout(AT_START, Outside::read(&**store, &hosts)).await });
        match in_words(&**store, read) {
            Ok(outside) => inquirer.outside = outside,
            Err(trouble) => {
                inquirer.outside.hosts = hosts;
                inquirer.contact().failed(Instant::now(), &trouble);
            }
        }
        tell_unreadable(&inquirer.log, &[], &inquirer.outside);
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
        let store = &*store;
        let mut contact = Contact { users: &users, log: &log, store, answered: None };
        runtime.block_on(async {
            let mut askers = Askers::new();
            let mut asking = FuturesUnordered::new();
            let mut reading = Box::pin(read_again(store, outside.hosts.clone(), SOON));
            let mut finding = Box::pin(find_again(store, outside.hosts.clone(), FIND_AGAIN));
            let mut surveying = Box::pin(survey(store, realms(listeners, &outside), Duration::ZERO));
            users.begin_survey();
            let mut corruption_told = None;
            loop {
                tokio::select! {
                    question = questions.recv(), if asking.len() < AT_ONCE => {
                        let Some(Question { realm, name, asker }) = question else { return };
                        if users.is_down() {
                            // Whoever is known is let in by what is known of him; nobody else is kept waiting.
                            (listeners.answer)(asker);
                            continue;
                        }
                        let waiting = askers.entry((realm.clone(), name.clone())).or_default();
                        waiting.push(asker);
                        if waiting.len() == 1 {
                            asking.push(ask(store, realm, name));
                        }
                    }
                    Some(asked) = asking.next() => {
                        contact.note(&asked, &mut corruption_told);
                        let waiting = askers.remove(&(asked.realm, asked.name)).unwrap_or_default();
                        waiting.into_iter().for_each(|asker| (listeners.answer)(asker));
                    }
                    read = &mut reading => {
                        let pause = read.as_ref().map_or(SOON, |(_, took)| AGAIN.max(*took));
                        reading = Box::pin(read_again(store, outside.hosts.clone(), pause));
                        match read {
                            Ok((read, _)) => {
                                contact.answered();
                                // They may have been found anew while this was read.
                                let read = Outside { hosts: outside.hosts.clone(), ..read };
                                if read != outside {
                                    tell_unreadable(&log, &outside.unreadable, &read);
                                    outside = read;
                                    (listeners.changed)(&outside);
                                }
                            }
                            Err(Failure { begun, trouble }) => contact.failed(begun, &trouble),
                        }
                    }
                    (hosts, all) = &mut finding => {
                        if hosts != outside.hosts {
                            outside.hosts = hosts;
                            (listeners.changed)(&outside);
                        }
                        let pause = if all { FIND_AGAIN } else { AGAIN };
                        finding = Box::pin(find_again(store, outside.hosts.clone(), pause));
                    }
                    surveyed = &mut surveying => {
                        let took = surveyed.as_ref().map_or(Duration::ZERO, |surveyed| surveyed.took);
                        if let Ok(surveyed) = surveyed {
                            users.note_survey(surveyed.realms);
                        }
                        users.begin_survey();
                        surveying = Box::pin(survey(store, realms(listeners, &outside), pause_after(took)));
                    }
                }
            }
        });
    }

    fn contact(&self) -> Contact<'_> {
        Contact { users: &self.users, log: &self.log, store: &*self.store, answered: None }
    }
}

/// Why the database has not answered, in words for a person.
type Trouble = String;

/// Why a question that was `begun` then has no answer.
struct Failure {
    begun: Instant,
    trouble: Trouble,
}

/// Whether the database answers; the log is told whenever that changes.
struct Contact<'a> {
    users: &'a StoredUsers,
    log: &'a Log,
    store: &'a dyn Store,
    /// When it answered last.
    answered: Option<Instant>,
}

impl Contact<'_> {
    fn answered(&mut self) {
        self.answered = Some(Instant::now());
        if self.users.note_down(false) {
            let (kind, address) = (self.store.kind().name(), self.store.address());
            self.log.info(&format!("Database: {kind} {address} answers again"));
        }
    }

    /// A question that is older than the last answer says nothing of the present: the connection that it waited for may
    /// have been begun while the database was away.
    fn failed(&mut self, begun: Instant, trouble: &Trouble) {
        if self.answered.is_some_and(|answered| answered > begun) {
            return;
        }
        if !self.users.note_down(true) {
            self.log.error(&format!(
                "Database: no answer, calls go on, and so do users who are known; others are left to try again: {trouble}"
            ));
        }
    }

    /// Notes what was said of a user, or that nothing was.
    fn note(&mut self, asked: &Asked, corruption_told: &mut Option<Instant>) {
        let (realm, name) = (&asked.realm, &asked.name);
        match &asked.answer {
            Ok(Ok(user)) => {
                self.answered();
                self.users.note(realm, name, user.as_ref());
            }
            // One row that makes no sense is one user's trouble, and nobody else's.
            Ok(Err(error)) if is_of_one_user(error) => {
                self.answered();
                self.users.note(realm, name, None);
                tell_corrupt(self.log, error, corruption_told);
            }
            Ok(Err(error)) => self.failed(asked.begun, &error.to_string()),
            Err(_) => self.failed(asked.begun, &no_answer(self.store)),
        }
    }
}

/// The realms whose users may come here.
fn realms(listeners: &Listeners, outside: &Outside) -> Vec<Box<str>> {
    let Outside { settings, secrets, .. } = outside;
    let named = settings.realms.keys().chain(settings.origins.values());
    let named = named.chain(secrets.iter().map(|(realm, _)| realm)).map(|realm| realm.as_str().into());
    let all: BTreeSet<Box<str>> = (listeners.realms)().into_iter().chain(named).collect();
    all.into_iter().filter(|realm| !realm.is_empty()).collect()
}

/// A question for a user, and what came of it.
struct Asked {
    realm: Box<str>,
    name: Box<str>,
    begun: Instant,
    answer: Result<turnpike_store::Result<Option<StoredUser>>, Elapsed>,
}

async fn ask(store: &dyn Store, realm: Box<str>, name: Box<str>) -> Asked {
    let begun = Instant::now();
    let answer = timeout(PATIENCE, store.user(&realm, &name)).await;
    Asked { realm, name, begun, answer }
}

fn is_of_one_user(error: &StoreError) -> bool {
    use turnpike_store::ErrorKind::{Corrupt, Invalid, TooLong};
    matches!(error.kind(), Corrupt | Invalid | TooLong)
}

/// Says which user's row makes no sense; once a minute at most, since he may try often. What is wrong with a name that
/// somebody has come with is nobody's trouble.
fn tell_corrupt(log: &Log, error: &StoreError, told: &mut Option<Instant>) {
    let is_due = told.is_none_or(|told| told.elapsed() >= TOLD_AGAIN);
    if error.kind() == turnpike_store::ErrorKind::Corrupt && is_due {
        *told = Some(Instant::now());
        log.error(&format!("Database: a user cannot come in: {error}"));
    }
}

/// Says which rows that hold for all make no sense, of those that were not among the ones `before`.
fn tell_unreadable(log: &Log, before: &[String], outside: &Outside) {
    for row in outside.unreadable.iter().filter(|row| !before.contains(row)) {
        log.error(&format!("Database: not heeded: {row}"));
    }
}

/// What holds for all, and how long it has taken to read it. That may be long where there is much of it, and says nothing
/// of whether the database answers.
async fn read_again(
    store: &dyn Store,
    hosts: BTreeSet<IpAddr>,
    pause: Duration,
) -> Result<(Outside, Duration), Failure> {
    sleep(pause).await;
    let begun = Instant::now();
    let failure = |trouble| Failure { begun, trouble };
    in_words(store, timeout(PATIENCE, store.ping()).await).map_err(failure)?;
    let begun = Instant::now();
    let read = timeout(MOST_READING, Outside::read(store, &hosts)).await;
    let outside = in_words(store, read).map_err(|trouble| Failure { begun, trouble })?;
    Ok((outside, begun.elapsed()))
}

async fn find_again(
    store: &dyn Store,
    before: BTreeSet<IpAddr>,
    pause: Duration,
) -> (BTreeSet<IpAddr>, bool) {
    sleep(pause).await;
    addresses_of(store.hosts(), &before).await
}

fn in_words<T>(store: &dyn Store, answer: Result<turnpike_store::Result<T>, Elapsed>) -> Result<T, Trouble> {
    answer.map_err(|_| no_answer(store))?.map_err(|error| error.to_string())
}

fn no_answer(store: &dyn Store) -> Trouble {
    format!("{} {} did not answer in time", store.kind().name(), store.address())
}

/// Questions that the database has at once.
const AT_ONCE: usize = 64;
/// How long an answer is waited for: a client has sent its request three times by then.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long reading what holds for all may take.
const MOST_READING: Duration = Duration::from_secs(30);
/// Likewise at start, when the server waits for it.
const AT_START: Duration = Duration::from_secs(5);
/// How long after an answer what holds for all is read again.
const AGAIN: Duration = Duration::from_secs(2);
/// Likewise after none, so that new users get in soon after it has come back.
const SOON: Duration = Duration::from_millis(500);
/// How often the database's hosts are looked up: their names may move.
const FIND_AGAIN: Duration = Duration::from_secs(30);
/// How often it is said that some user's row makes no sense.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use turnpike_store::MemoryStore;

    use super::*;
    use crate::log::{Level, LogDestination, LogFormat, LogOptions};

    #[test]
    fn a_question_older_than_the_last_answer_says_nothing_of_the_present() {
        let (destination, format) = (LogDestination::Stderr, LogFormat::Coturn);
        let log = Log::open(LogOptions { destination, format, min_level: Level::Error, timestamp: None });
        let (users, store) = (StoredUsers::new(unbounded_channel().0), MemoryStore::new());
        let mut contact = Contact { users: &users, log: &log.unwrap(), store: &store, answered: None };
        let trouble = "connection refused".to_owned();
        let in_the_outage = Instant::now();
        contact.failed(in_the_outage, &trouble);
        assert!(users.is_down());
        contact.answered();
        assert!(!users.is_down());
        contact.failed(in_the_outage, &trouble);
        assert!(!users.is_down(), "it has answered since");
        contact.failed(Instant::now(), &trouble);
        assert!(users.is_down(), "this is a new one");
    }
}
