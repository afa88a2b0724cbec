//! The rules that the workers follow, made anew from everything that has a say in them whenever one of those changes: the
//! configuration, this machine's addresses, a database.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use turnpike_config as config;
use turnpike_control::{Inquirer, Log, Outside, StoredUsers};
use turnpike_turn::{Config, Drain, IpRange, SelfTest};
use turnpike_worker::{Command, Siblings};

use crate::addresses::Addresses;
use crate::database;
use crate::fleet::Availability;
use crate::redirection::Redirection;
use crate::rules::rules;

/// Everything that has a say, and the workers who are told.
#[derive(Debug)]
pub(crate) struct Rulebook {
    parts: Mutex<Parts>,
    workers: Siblings,
    log: Arc<Log>,
}

/// What rules are made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// The configuration as it was read last.
    pub(crate) settings: Arc<config::Config>,
    /// The addresses the server works with.
    pub(crate) addresses: Addresses,
    /// What a database says, where there is one.
    pub(crate) database: Option<Said>,
    /// Addresses that the server itself writes to.
    pub(crate) helper_hosts: BTreeSet<IpAddr>,
    /// Connections to peers that one worker may have.
    pub(crate) worker_connections: usize,
    /// Whether bound channels are offered to the kernel.
    pub(crate) flows: bool,
    /// Which of the servers that clients are sent to can be.
    pub(crate) availability: Availability,
    /// Whether nobody new is taken in.
    pub(crate) drain: Option<Drain>,
    /// By what the server tries itself, where somebody may ask it to.
    pub(crate) self_test: Option<Arc<SelfTest>>,
}

/// What a database says.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) users: Arc<StoredUsers>,
    pub(crate) outside: Outside,
}

impl Rulebook {
    pub(crate) fn new(parts: Parts, workers: Siblings, log: Arc<Log>) -> Self {
        Rulebook { parts: Mutex::new(parts), workers, log }
    }

    /// The rules as of now.
    pub(crate) fn rules(&self) -> Arc<Config> {
        Arc::new(self.lock().rules(&self.log))
    }

    /// Where it is said what is wrong with them.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// A look at what the rules are made of.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&Parts) -> R) -> R {
        look(&self.lock())
    }

    /// Changes what the rules are made of, makes them anew and tells every worker. One change at a time: the workers get
    /// the last one last.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Parts) -> R) -> R {
        let mut parts = self.lock();
        let outcome = change(&mut parts);
        let rules = Arc::new(parts.rules(&self.log));
        self.workers.tell_all(|| Command::Configure(rules.clone()));
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn rules(&self, log: &Log) -> Config {
        let mut rules = rules(&self.settings, &self.addresses);
        rules.peers.denied.extend(self.helper_hosts.iter().map(|ip| IpRange { first: *ip, last: *ip }));
        rules.worker_connections = self.worker_connections;
        rules.flows = self.flows;
        rules.self_test.clone_from(&self.self_test);
        rules.drain = self.drain;
        if self.drain.is_some() {
            rules.alternate_servers = Redirection::while_draining(&self.settings, &self.addresses);
        }
        self.availability.apply(&mut rules.alternate_servers, self.settings.udp);
        if let Some(Said { users, outside }) = &self.database {
            database::apply(&mut rules, &self.settings, (outside, users.clone()), log);
        }
        rules
    }
}

impl Said {
    /// What it said when it was first asked.
    pub(crate) fn at_first(database: &Inquirer) -> Self {
        Said { users: database.users(), outside: database.outside().clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::log_options;

    #[test]
    fn hosts_that_the_server_writes_to_are_refused_unless_they_are_opened() {
        let helper: IpAddr = "9.9.9.9".parse().expect("an address of the Internet");
        let judged = |opened: &[IpAddr], helper_hosts: &[IpAddr]| {
            let range = |ip: &IpAddr| config::PeerRange { first: *ip, last: *ip };
            let allowed_peers = opened.iter().map(range).collect();
            let settings = config::Config { allowed_peers, ..Default::default() };
            let log = Log::open(log_options(&settings)).expect("a log");
            let parts = Parts {
                addresses: Addresses::find(&settings).expect("addresses"),
                settings: Arc::new(settings),
                database: None,
                worker_connections: 1,
                flows: false,
                availability: Availability::default(),
                drain: None,
                self_test: None,
                helper_hosts: helper_hosts.iter().copied().collect(),
            };
            parts.rules(&log).peers.judge(helper).is_ok()
        };
        assert!(judged(&[], &[]));
        assert!(!judged(&[], &[helper]));
        assert!(judged(&[helper], &[helper]));
    }
}
