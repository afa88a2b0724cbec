//! What Redis is told of sessions as they live (`redis-statsdb`): coturn's keys and messages.
//!
//! A thread of its own hears of sessions by a bounded queue, and from time to time looks what they have relayed. Redis is
//! never waited for by anybody else. While it is away, messages are lost; when it is back, its keys are made those of the
//! sessions that live.

mod session;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, MissedTickBehavior, interval};
use turnpike_store::{RedisStatus, StatusCommand, StoreError};
use turnpike_turn::{Event, SessionId};

use crate::log::Log;
use crate::records::runtime;
use crate::reports::Watcher;
use session::Session;

/// A connection to Redis that is being made.
pub struct Statsdb {
    redis: RedisStatus,
    runtime: tokio::runtime::Runtime,
    queue: Sender<Told>,
    told: Receiver<Told>,
    counters: Arc<StatsdbCounters>,
    log: Arc<Log>,
}

/// Hears what workers report, and passes it on.
#[derive(Debug)]
pub struct StatsdbWatcher {
    queue: Sender<Told>,
    counters: Arc<StatsdbCounters>,
}

/// Where workers say what their sessions have relayed.
#[derive(Clone, Debug)]
pub struct UsageSender(Sender<Told>);

/// One page of what a worker's sessions have relayed.
#[derive(Clone, Debug)]
pub struct UsagePage {
    /// The worker's number.
    pub worker: u16,
    /// Some of its sessions.
    pub sessions: Vec<turnpike_turn::Session>,
    /// Where the next page begins, if there is one.
    pub next: Option<u32>,
}

/// What a [`Statsdb`] needs of the server.
pub struct Server {
    /// How many workers there are.
    pub workers: u16,
    /// Asks a worker for a page that begins here; the answer comes by [`UsageSender`].
    pub ask: Box<dyn Fn(u16, u32) + Send>,
    /// Whether a client's side of a session, as coturn writes it, is this very server's.
    pub is_ours: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Whether it goes on with the sessions of a process before it, whose keys are there.
    pub has_taken_over: bool,
}

/// What became of the messages.
#[derive(Debug, Default)]
pub struct StatsdbCounters {
    told: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug)]
enum Told {
    Event(Box<Event>),
    Usage(UsagePage),
    /// Say when everything before this was told.
    Flush(SyncSender<()>),
}

struct Work {
    redis: RedisStatus,
    server: Server,
    counters: Arc<StatsdbCounters>,
    log: Arc<Log>,
    sessions: HashMap<SessionId, Session>,
    /// Workers that have not said all in this round.
    asked: Vec<bool>,
    round: u64,
    round_began: Instant,
    is_down: bool,
    /// Messages lost since it is down.
    lost: u64,
}

impl Statsdb {
    /// A connection string as coturn takes it; the server need not be reachable.
    ///
    /// # Errors
    /// The string makes no sense, or the system lacks something.
    pub fn open(connection: &str, log: Arc<Log>) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let redis = {
            let _inside = runtime.enter();
            RedisStatus::connect(connection)?
        };
        let (queue, told) = channel(QUEUE);
        Ok(Statsdb { redis, runtime, queue, told, counters: Arc::default(), log })
    }

    /// What is to hear of the workers' reports.
    pub fn watcher(&self) -> StatsdbWatcher {
        StatsdbWatcher { queue: self.queue.clone(), counters: self.counters.clone() }
    }

    /// The way back for what is asked of workers.
    pub fn usage_sender(&self) -> UsageSender {
        UsageSender(self.queue.clone())
    }

    /// What became of the messages.
    pub fn counters(&self) -> Arc<StatsdbCounters> {
        self.counters.clone()
    }

    /// The hosts that it connects to.
    pub fn hosts(&self) -> &[String] {
        self.redis.hosts()
    }

    /// Which Redis it is; never a password.
    pub fn name(&self) -> String {
        format!("Redis {}", self.redis.address())
    }

    /// Tells it of sessions until the process ends.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, server: Server) -> io::Result<()> {
        let Statsdb { redis, runtime, queue, told, counters, log } = self;
        drop(queue);
        let work = Work {
            redis,
            asked: vec![false; server.workers.into()],
            server,
            counters,
            log,
            sessions: HashMap::new(),
            round: 0,
            round_began: Instant::now(),
            is_down: false,
            lost: 0,
        };
        thread::Builder::new().name("statsdb".into()).spawn(move || runtime.block_on(work.run(told)))?;
        Ok(())
    }
}

impl Watcher for StatsdbWatcher {
    fn see(&mut self, event: &Event) {
        if !is_told(event) {
            return;
        }
        if self.queue.try_send(Told::Event(Box::new(event.clone()))).is_err() {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for StatsdbWatcher {
    /// The ends of sessions that end with the server are told too, if that can be done soon.
    fn drop(&mut self) {
        let (done, waited) = sync_channel(1);
        if self.queue.try_send(Told::Flush(done)).is_ok() {
            let _ = waited.recv_timeout(LAST_CHANCE);
        }
    }
}

impl UsageSender {
    /// Never waits: what does not fit is asked for again in the next round.
    pub fn send(&self, page: UsagePage) {
        let _ = self.0.try_send(Told::Usage(page));
    }
}

impl StatsdbCounters {
    /// Keys and messages that Redis took.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Those it did not.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Work {
    async fn run(mut self, mut told: Receiver<Told>) {
        if !self.server.has_taken_over {
            self.begin().await;
        }
        let mut round = interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = Vec::with_capacity(AT_ONCE);
        loop {
            tokio::select! {
                count = told.recv_many(&mut news, AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    let (mut commands, mut flushed) = (Vec::with_capacity(count * 4), Vec::new());
                    for news in news.drain(..) {
                        match news {
                            Told::Event(event) => self.hear(&event, &mut commands),
                            Told::Usage(page) => self.take(page, &mut commands),
                            Told::Flush(done) => flushed.push(done),
                        }
                    }
                    self.tell(commands).await;
                    for done in flushed {
                        let _ = done.send(());
                    }
                }
                _ = round.tick() => {
                    self.look_around();
                    if self.is_down {
                        self.tell(Vec::new()).await;
                    }
                }
            }
        }
    }

    /// What an earlier run of this server has left is taken away; others' keys stay.
    async fn begin(&mut self) {
        match self.remove_ours().await {
            Ok(0) => {}
            Ok(count) => {
                self.log.info(&format!("redis-statsdb: {count} keys of an earlier run were removed"))
            }
            Err(error) => self.note_down(&error, 0),
        }
    }

    async fn remove_ours(&self) -> Result<u64, StoreError> {
        let is_ours = &self.server.is_ours;
        self.redis.remove(KEYS, |value| session::local_of(value).is_some_and(is_ours)).await
    }

    fn hear(&mut self, event: &Event, commands: &mut Vec<StatusCommand>) {
        match event {
            Event::Allocated { session, user, tuple, lifetime, security, .. } => {
                let mut made = Session::new(*session, user, tuple, self.round).secured(*security);
                made.tell_status("new", *lifetime, commands);
                self.sessions.insert(*session, made);
            }
            Event::Refreshed { session, lifetime, .. } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.tell_status("refreshed", *lifetime, commands);
                }
            }
            Event::Moved { session, to, .. } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.move_to(to);
                }
            }
            Event::Ended { session, user, tuple, usage, .. } => {
                let ended = self.sessions.remove(session);
                // Whoever was missed at the beginning is told of at the end, with all of it.
                let ended = ended.unwrap_or_else(|| Session::new(*session, user, tuple, self.round));
                ended.tell_end(usage, commands);
            }
            _ => {}
        }
    }

    /// Begins to ask all workers, unless some have not answered yet.
    fn look_around(&mut self) {
        let is_over = self.asked.iter().all(|asked| !asked);
        if !is_over && self.round_began.elapsed() < GIVEN_UP {
            return;
        }
        if is_over && self.round > 0 {
            // An end that was lost on its way here. Whoever moves between two workers may be missed by one round.
            let round = self.round;
            self.sessions.retain(|_, session| session.seen() + 1 >= round);
        }
        self.round += 1;
        self.round_began = Instant::now();
        for worker in 0..self.server.workers {
            self.asked[usize::from(worker)] = true;
            (self.server.ask)(worker, 0);
        }
    }

    fn take(&mut self, page: UsagePage, commands: &mut Vec<StatusCommand>) {
        let UsagePage { worker, sessions, next } = page;
        for told in sessions {
            if let Some(session) = self.sessions.get_mut(&told.id) {
                session.count(told.usage, self.round);
            } else if told.age >= MISSED {
                let mut session = Session::new(told.id, &told.user, &told.tuple, self.round);
                session.note_status("refreshed", told.left);
                commands.extend(session.kept());
                session.count(told.usage, self.round);
                session.take_as_told();
                self.sessions.insert(told.id, session);
            }
        }
        match next {
            Some(next) => (self.server.ask)(worker, next),
            None => {
                self.asked.get_mut(usize::from(worker)).into_iter().for_each(|asked| *asked = false);
                if self.asked.iter().all(|asked| !asked) {
                    self.sessions.values_mut().for_each(|session| session.tell_traffic(commands));
                }
            }
        }
    }

    async fn tell(&mut self, commands: Vec<StatusCommand>) {
        if self.is_down && !self.come_back().await {
            return self.count_lost(commands.len());
        }
        for chunk in commands.chunks(AT_ONCE) {
            match self.redis.tell(chunk).await {
                Ok(()) => {
                    self.counters.told.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                }
                Err(error) => self.note_down(&error, chunk.len()),
            }
        }
    }

    /// Makes its keys those of the sessions that live; says whether it is there again.
    async fn come_back(&mut self) -> bool {
        if self.remove_ours().await.is_err() {
            return false;
        }
        let kept: Vec<StatusCommand> = self.sessions.values().filter_map(Session::kept).collect();
        for chunk in kept.chunks(AT_ONCE) {
            if self.redis.tell(chunk).await.is_err() {
                return false;
            }
        }
        self.is_down = false;
        let (lost, name) = (std::mem::take(&mut self.lost), self.redis.address());
        self.log.info(&format!("redis-statsdb: {name} answers again; {lost} messages were lost"));
        true
    }

    fn note_down(&mut self, error: &StoreError, lost: usize) {
        if !std::mem::replace(&mut self.is_down, true) {
            self.log.error(&format!("redis-statsdb: calls go on, and messages are lost: {error}"));
        }
        self.count_lost(lost);
    }

    fn count_lost(&mut self, count: usize) {
        self.lost += count as u64;
        self.counters.lost.fetch_add(count as u64, Ordering::Relaxed);
    }
}

fn is_told(event: &Event) -> bool {
    matches!(
        event,
        Event::Allocated { .. } | Event::Refreshed { .. } | Event::Moved { .. } | Event::Ended { .. }
    )
}

/// The keys of sessions, ours and others'.
const KEYS: &str = "turn/*/allocation/*/status";
/// Reports that may wait.
const QUEUE: usize = 16_384;
/// Commands that Redis is given at once.
const AT_ONCE: usize = 1000;
/// How often it is looked what sessions have relayed.
const ROUND: Duration = Duration::from_secs(5);
/// Who has lived this long and is unknown has come from another process, or his beginning was lost.
const MISSED: Duration = Duration::from_secs(10);
/// How long the end of the process waits for Redis.
const LAST_CHANCE: Duration = Duration::from_secs(2);
/// After this long an answer that is missing is not waited for.
const GIVEN_UP: Duration = Duration::from_secs(60);
