//! Who is told of sessions, as the configuration says: keepers of records, and Redis.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use turnpike_config::Config;
use turnpike_control::{
    DatabaseKeeper, FileKeeper, Keeper, KeeperCounters, Log, Records, Statsdb, StatsdbCounters,
    StatsdbServer, UsagePage, UsageSender, Watcher, WebhookKeeper,
};
use turnpike_store::ConnectOptions;
use turnpike_turn::SessionFilter;
use turnpike_worker::{Command, Mailbox, Visit};

use crate::database::{password_key, store_kind};
use crate::helper_hosts;
use crate::randomness::random;
use crate::rulebook::Rulebook;

/// Everybody who is told, before there are workers to tell of.
pub(crate) struct Recording {
    statsdb: Option<Statsdb>,
    /// Filled in once there are workers.
    mailboxes: Arc<OnceLock<Vec<Mailbox>>>,
    /// The hosts of everybody who is told.
    hosts: Vec<String>,
    tellings: Tellings,
}

/// What becomes of all that is told.
#[derive(Debug, Default)]
pub(crate) struct Tellings {
    /// By each keeper of records.
    pub(crate) records: Vec<Arc<KeeperCounters>>,
    /// By Redis, where it is told.
    pub(crate) statsdb: Option<Arc<StatsdbCounters>>,
}

/// Opens everything that is to keep records or to be told.
///
/// # Errors
/// Something of the configuration makes no sense. What cannot be reached is no error.
pub(crate) fn open(config: &Config, log: &Arc<Log>) -> anyhow::Result<(Recording, Vec<Box<dyn Watcher>>)> {
    let mut watchers: Vec<Box<dyn Watcher>> = Vec::new();
    let mut tellings = Tellings::default();
    let keepers = keepers(config)?;
    let mut hosts: Vec<String> = keepers.iter().flat_map(|keeper| keeper.hosts()).collect();
    if !keepers.is_empty() {
        for keeper in &keepers {
            log.info(&format!("Session records: to {}", keeper.name()));
        }
        let records = Records::start((host(), instance()?), keepers, log)?;
        tellings.records = records.counters();
        watchers.push(Box::new(records));
    }
    let statsdb = match &config.records.statsdb {
        None => None,
        Some(connection) => {
            let statsdb =
                Statsdb::open(connection.expose(), log.clone()).context("redis-statsdb is of no use")?;
            log.info(&format!("Status of sessions: to {}", statsdb.name()));
            hosts.extend_from_slice(statsdb.hosts());
            tellings.statsdb = Some(statsdb.counters());
            watchers.push(Box::new(statsdb.watcher()));
            Some(statsdb)
        }
    };
    Ok((Recording { statsdb, mailboxes: Arc::default(), hosts, tellings }, watchers))
}

impl Recording {
    /// Begins to tell of the workers' sessions, whose numbers then begin anywhere: two servers with one Redis and the
    /// same user must not have the same keys. From now on nobody relays to whoever is told.
    ///
    /// # Errors
    /// The system gives no thread, or no random bytes.
    pub(crate) fn start(
        self,
        workers: Vec<Mailbox>,
        rulebook: &Arc<Rulebook>,
        has_taken_over: bool,
    ) -> std::io::Result<Tellings> {
        let Recording { statsdb, mailboxes, hosts, tellings } = self;
        helper_hosts::refuse(hosts, rulebook.clone())?;
        let Some(statsdb) = statsdb else { return Ok(tellings) };
        let count = workers.len() as u16;
        let begin = u64::from_ne_bytes(random()?) % SESSION_NUMBERS * u64::from(u16::MAX);
        for worker in &workers {
            let visit = Visit::new(move |server, _| server.count_sessions_from(begin));
            worker.send(Command::Visit(visit));
        }
        let _ = mailboxes.set(workers);
        let answers = statsdb.usage_sender();
        let listening = rulebook.read(|parts| parts.addresses.listening.clone());
        statsdb.start(StatsdbServer {
            workers: count,
            ask: Box::new(move |worker, first| ask(mailboxes.get(), worker, first, &answers)),
            is_ours: Box::new(move |local| is_ours(local, &listening)),
            has_taken_over,
        })?;
        Ok(tellings)
    }
}

fn keepers(config: &Config) -> anyhow::Result<Vec<Box<dyn Keeper>>> {
    let records = &config.records;
    let mut keepers: Vec<Box<dyn Keeper>> = Vec::new();
    if let Some(path) = &records.file {
        let keeper = FileKeeper::open(path)
            .with_context(|| format!("session-record-file: cannot open {}", path.display()))?;
        keepers.push(Box::new(keeper));
    }
    if let Some(database) = &records.database {
        let options = ConnectOptions { password_key: password_key(config)? };
        let open =
            || turnpike_store::connect_with(store_kind(database), database.connection.expose(), &options);
        let keeper = DatabaseKeeper::open(open).context("session-record-database is of no use")?;
        keepers.push(Box::new(keeper));
    }
    if let Some(url) = &records.webhook {
        let keeper = WebhookKeeper::new(url.expose(), records.webhook_token_file.clone())
            .context("session-record-webhook is of no use")?;
        keepers.push(Box::new(keeper));
    }
    Ok(keepers)
}

/// Has a worker say what some of its sessions have relayed.
fn ask(workers: Option<&Vec<Mailbox>>, worker: u16, first: u32, answers: &UsageSender) {
    let Some(mailbox) = workers.and_then(|workers| workers.get(usize::from(worker))) else { return };
    let answers = answers.clone();
    mailbox.send(Command::Visit(Visit::new(move |server, now| {
        let page = server.sessions(now, &SessionFilter::default(), first);
        answers.send(UsagePage { worker, sessions: page.sessions, next: page.next });
    })));
}

/// Whether this address is one that this server listens on.
fn is_ours(local: &str, listening: &[SocketAddr]) -> bool {
    let Ok(address) = local.parse::<SocketAddr>() else { return false };
    listening.iter().any(|listener| {
        listener.port() == address.port()
            && (listener.ip() == address.ip()
                || listener.ip().is_unspecified() && is_of_this_machine(address.ip()))
    })
}

fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn instance() -> anyhow::Result<String> {
    Ok(format!("{:016x}", u64::from_ne_bytes(random()?)))
}

/// Where numbers may begin, in steps: with what follows they stay below the 15 digits that a worker's have.
const SESSION_NUMBERS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_server_of_the_same_redis_serves_is_not_ours() {
        let listening = ["192.0.2.1:3478".parse().unwrap(), "0.0.0.0:5349".parse().unwrap()];
        assert!(is_ours("192.0.2.1:3478", &listening));
        assert!(is_ours("127.0.0.1:5349", &listening), "of this machine, which listens everywhere");
        for other in ["203.0.113.250:3478", "192.0.2.1:3479", "203.0.113.250:5349", "nonsense"] {
            assert!(!is_ours(other, &listening), "{other}");
        }
    }
}
