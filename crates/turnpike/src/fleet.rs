//! The servers that clients are sent to (ALTERNATE-SERVER, RFC 8489 §10): which of them answer, and how much each has
//! to do.
//!
//! coturn hands out its list whatever has become of the servers in it. Here each is asked again and again, by a Binding
//! request over the transport its list is for, and one that does not answer is left out until it does. Where all of a
//! list are left out, clients are treated as if there were no such list: by the next one, or served here. With
//! `alternate-selection=least-loaded` each is also asked for its `/capacity`, and clients are dealt out accordingly.
//!
//! One thread does this, and sleeps where there is nobody to ask. The workers see nothing but lists.

mod availability;
mod capacity;
mod dealing;
mod probe;
mod standing;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use turnpike_config::{AlternateSelection, Balancing, Config};
use turnpike_control::Level;

use crate::operations::Operations;
use crate::redirection::Redirection;
use crate::rulebook::Parts;

pub(crate) use availability::Availability;
use availability::Way;
use capacity::Load;
use probe::Prober;
use standing::Standing;

/// Wakes the thread, to look at a list that has changed.
#[derive(Debug)]
pub(crate) struct Fleet(SyncSender<()>);

impl Fleet {
    /// And the end for [`start`].
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (sender, receiver) = sync_channel(1);
        (Fleet(sender), receiver)
    }

    /// The configuration is another one.
    pub(crate) fn look_again(&self) {
        let _ = self.0.try_send(());
    }
}

/// Starts the thread; it goes on until the process ends.
///
/// # Errors
/// The system gives no thread, or no TLS can be had to ask by.
pub(crate) fn start(operations: Arc<Operations>, woken: Receiver<()>) -> anyhow::Result<()> {
    let watch =
        Watch { operations, prober: Prober::new()?, servers: HashMap::new(), loads: Loads::default() };
    spawn(watch, woken)?;
    Ok(())
}

fn spawn(mut watch: Watch, woken: Receiver<()>) -> io::Result<()> {
    thread::Builder::new().name("fleet".into()).spawn(move || {
        loop {
            let pause = watch.look(Instant::now());
            if let Err(RecvTimeoutError::Disconnected) = woken.recv_timeout(pause) {
                return;
            }
        }
    })?;
    Ok(())
}

/// A server of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Target {
    way: Way,
    address: SocketAddr,
}

/// What the thread knows.
struct Watch {
    operations: Arc<Operations>,
    prober: Prober,
    servers: HashMap<Target, Standing>,
    loads: Loads,
}

/// How much the servers said that they have to do, and when to ask again.
#[derive(Default)]
struct Loads {
    known: HashMap<SocketAddr, Load>,
    due: Option<Instant>,
}

impl Watch {
    /// Asks those whose turn it is, changes the lists if need be, and says how long there is nothing to do.
    fn look(&mut self, now: Instant) -> Duration {
        let (targets, balancing) = self
            .operations
            .rulebook
            .read(|parts| (targets(&parts.settings, parts), parts.settings.balancing.clone()));
        let Some(interval) = balancing.check_interval else {
            self.forget_all();
            return IDLE;
        };
        self.servers.retain(|target, _| targets.contains(target));
        for target in targets {
            self.servers.entry(target).or_insert_with(|| Standing::new(now));
        }
        let mut news = Vec::new();
        let mut changed = self.probe(now, interval, &mut news);
        changed |= self.ask_for_loads(now, interval, &balancing, &mut news);
        if changed {
            self.tell_workers(balancing.selection);
        }
        // Only now it is so.
        news.iter().for_each(|(level, text)| {
            self.operations.log.write(*level, &format!("ALTERNATE-SERVER: {text}"))
        });
        let due = self.servers.values().map(Standing::due).chain(self.loads.due).min();
        due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()).max(SHORTEST))
    }

    fn forget_all(&mut self) {
        if !self.servers.is_empty() || !self.loads.known.is_empty() {
            self.servers.clear();
            self.loads = Loads::default();
            self.tell_workers(AlternateSelection::RoundRobin);
        }
    }

    /// Whether one of them has come or gone.
    fn probe(&mut self, now: Instant, interval: Duration, news: &mut Vec<News>) -> bool {
        let due = self.servers.iter().filter(|(_, standing)| standing.due() <= now);
        let due: Vec<Target> = due.map(|(target, _)| *target).collect();
        let mut changed = false;
        for (target, answers) in self.prober.ask_all(&due) {
            let Some(standing) = self.servers.get_mut(&target) else { continue };
            let Some(alive) = standing.note(answers, Instant::now(), interval) else { continue };
            changed = true;
            let Target { way, address } = target;
            news.push(match alive {
                true => {
                    (Level::Info, format!("{address} answers by {way} again, and clients are sent there"))
                }
                false => (
                    Level::Warning,
                    format!("{address} does not answer by {way}, and no client is sent there"),
                ),
            });
        }
        changed
    }

    /// Whether somebody has more or less to do.
    fn ask_for_loads(
        &mut self,
        now: Instant,
        interval: Duration,
        balancing: &Balancing,
        news: &mut Vec<News>,
    ) -> bool {
        if balancing.selection != AlternateSelection::LeastLoaded {
            let changed = !self.loads.known.is_empty();
            self.loads = Loads::default();
            return changed;
        }
        if self.loads.due.is_some_and(|due| due > now) {
            return false;
        }
        let alive = self.servers.iter().filter(|(_, standing)| standing.is_alive());
        let mut alive: Vec<SocketAddr> = alive.map(|(target, _)| target.address).collect();
        alive.sort_unstable();
        alive.dedup();
        self.loads.due = (!alive.is_empty()).then(|| Instant::now() + interval);
        let known = capacity::ask_all(&alive, &balancing.capacity);
        for address in &alive {
            let (before, now) = (self.loads.known.get(address), known.get(address));
            news.extend(what_is_new(before, now).map(|(level, text)| (level, format!("{address} {text}"))));
        }
        let changed = known != self.loads.known;
        self.loads.known = known;
        changed
    }

    fn tell_workers(&self, selection: AlternateSelection) {
        let dead = self.servers.iter().filter(|(_, standing)| !standing.is_alive());
        let dead = dead.map(|(target, _)| (target.way, target.address)).collect();
        let loads = (selection == AlternateSelection::LeastLoaded).then(|| self.loads.known.clone());
        self.operations.rulebook.change(|parts| parts.availability = Availability { dead, loads });
    }
}

/// What the log is to say.
type News = (Level, String);

/// What is worth a line of what a server says of itself.
fn what_is_new(before: Option<&Load>, now: Option<&Load>) -> Option<(Level, &'static str)> {
    let drained = before.is_some_and(|load| load.draining);
    match now {
        Some(Load { draining: true, .. }) if !drained => {
            Some((Level::Info, "drains, and no client is sent there"))
        }
        Some(Load { draining: false, .. }) if drained => Some((Level::Info, "takes clients again")),
        None if before.is_some() => Some((
            Level::Warning,
            "does not say any more how much it has to do; it takes its turn as if it had as much as the others",
        )),
        _ => None,
    }
}

/// Everybody that clients are sent to, each by the transport that tells whether he can be.
fn targets(config: &Config, parts: &Parts) -> Vec<Target> {
    let servers = Redirection::find(config, &parts.addresses).servers;
    let lists = [
        (Way::Udp, &servers.udp),
        (Way::Tcp, &servers.tcp),
        (Way::Tls, &servers.tls),
        (Way::of_any(config.udp), &servers.any),
    ];
    let mut targets: Vec<Target> = lists
        .into_iter()
        .flat_map(|(way, list)| list.iter().map(move |server| Target { way, address: server.address }))
        .collect();
    targets.truncate(MOST_SERVERS);
    targets
}

/// How long the thread sleeps when there is nobody to ask.
const IDLE: Duration = Duration::from_secs(3600);
/// It never looks more often.
const SHORTEST: Duration = Duration::from_millis(20);
/// Servers that are asked; further ones are taken to be there, as coturn takes all.
const MOST_SERVERS: usize = 256;
