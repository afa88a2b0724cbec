//! Reload: configuration, certificates and listeners read again while calls go on.
//!
//! Asked for by SIGUSR2, by `turnpike reload`, or by a file that has changed. Everything that can fail is done first:
//! the file is read, certificates and keys are opened, further addresses are bound. Only then anything is changed, so
//! that what is broken changes nothing. Reloads are one at a time: a second one waits and finds what the first has left.
//!
//! No allocation, connection or association is touched. Sessions go on with the key, the bandwidth and the relayed
//! address they were made with; what new rules refuse of their peers ends (`turnpike_turn::Server::handle_revocation`).

mod outcome;
#[cfg(test)]
mod table_tests;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use turnpike_config::{self as config, Config, Loaded, Reloaded, SystemEnvironment};
use turnpike_worker::{Command, FurtherListeners, Visit};

use crate::addresses::Addresses;
use crate::certificates::{Certificates, Fresh, Served};
use crate::crew::adjustment;
use crate::listeners::{Bound, Listeners};
use crate::logging::log_options;
use crate::operations::Operations;
use crate::redirection::Redirection;
use crate::upgrade::Listening;

pub(crate) use outcome::{Outcome, Refused};
pub(crate) use watch::start;

/// What the configuration was read from, and how often it was read again.
#[derive(Debug)]
pub(crate) struct Reloads {
    state: Mutex<State>,
    /// The way to the thread that does it.
    ask: SyncSender<Asked>,
    /// Whether sessions are logged.
    verbose: Arc<AtomicBool>,
}

/// Somebody wants a reload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked;

/// What is in force.
#[derive(Debug)]
struct State {
    loaded: Loaded,
    /// Every address that is listened on.
    bound: Vec<Bound>,
}

impl Reloads {
    /// For a server that was started with this configuration and these listeners. Reloads that are asked for arrive at
    /// the other end.
    pub(crate) fn new(
        loaded: &Loaded,
        bound: Vec<Bound>,
        verbose: Arc<AtomicBool>,
    ) -> (Self, Receiver<Asked>) {
        // One that waits will find whatever the next would find.
        let (ask, asked) = sync_channel(1);
        let state = Mutex::new(State { loaded: loaded.clone(), bound });
        (Reloads { state, ask, verbose }, asked)
    }

    /// Asks for a reload, and does not wait for it.
    pub(crate) fn ask(&self) {
        let _ = self.ask.try_send(Asked);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operations {
    /// Reads everything again and returns when every worker works by it. The log says what has changed; `by` is who
    /// asked for it.
    ///
    /// # Errors
    /// What is wrong; nothing has changed then.
    pub(crate) fn reload(&self, by: &str) -> Result<Outcome, Refused> {
        let mut state = self.reloads.state();
        let mut word = vec![NotifyState::Reloading];
        word.extend(NotifyState::monotonic_usec_now().ok());
        let _ = sd_notify::notify(&word);
        let outcome = self.prepare(&state).map(|plan| self.carry_out(plan, &mut state));
        drop(state);
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        match &outcome {
            Ok(outcome) => {
                outcome.tell(&self.log, by);
            }
            Err(refused) => {
                refused.tell(&self.log, by);
            }
        }
        outcome
    }

    /// What a reload would change, without changing anything.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn preview_reload(&self) -> Result<Outcome, Refused> {
        let state = self.reloads.state();
        self.prepare(&state).map(|plan| Outcome { applied: false, ..plan.outcome })
    }

    /// Everything that can fail.
    fn prepare(&self, state: &State) -> Result<Plan, Refused> {
        let Reloaded { loaded, differences } = match state.loaded.command_line {
            Some(_) => config::reload(&state.loaded, &SystemEnvironment)
                .map_err(|error| Refused::of("", &error.to_string()))?,
            // `turnpike up` has made it.
            None => Reloaded { loaded: state.loaded.clone(), differences: Vec::new() },
        };
        let mut remarks = Vec::new();
        let fresh = match &self.certificates {
            Some(certificates) => Some(read(certificates, &loaded.config, &mut remarks)?),
            None => None,
        };
        let new_certificate = differences.iter().any(|it| matches!(it.option, "cert" | "pkey"));
        if self.certificates.is_none() && new_certificate && loaded.config.serves_tls() {
            remarks.push("TLS and DTLS were off at start, so they need a restart".to_owned());
        }
        let known = self.rulebook.read(|parts| parts.addresses.found.clone());
        let found = Addresses::find_with(&loaded.config, known)
            .map_err(|error| Refused::of("", &format!("{error:#}")))?;
        let (addresses, cannot) =
            self.rulebook.read(|parts| parts.addresses.followed_by(&parts.settings, &loaded.config, found));
        remarks.extend(cannot);
        let served = self.certificates.as_deref().map(Certificates::served).unwrap_or_default();
        let wanted = |config: &Config| config.discovery.wanted;
        if wanted(&loaded.config) != wanted(&state.loaded.config) {
            remarks.push("external-ip=auto is switched on and off by a restart".to_owned());
        }
        let listeners = self.bind(&loaded.config, &addresses, state, (served, &mut remarks))?;
        let noted = listeners.noted().map_err(|error| Refused::of("", &format!("{error:#}")))?;
        let outcome = Outcome {
            applied: true,
            file: loaded.file.clone(),
            differences,
            remarks,
            notices: loaded.notices.clone(),
        };
        Ok(Plan { loaded, fresh, addresses, listeners, noted, outcome })
    }

    /// Binds what is to be listened on besides. What need not be any more stays: whoever came by it is still there.
    fn bind(
        &self,
        config: &Config,
        addresses: &Addresses,
        state: &State,
        (served, remarks): (Served, &mut Vec<String>),
    ) -> Result<Listeners, Refused> {
        // The process that has taken over listens from here on.
        if self.upgrades.is_handed_over() {
            return Ok(Listeners::as_before(state.bound.clone()));
        }
        let threads = u16::try_from(self.workers.len()).unwrap_or(u16::MAX);
        let before = state.bound.clone();
        let listeners = Listeners::bind_beside(before, config, &addresses.listening, (threads, served))
            .map_err(|error| Refused::of("", &format!("{error:#}")))?;
        for Bound { transport, address } in listeners.wanted.iter().filter(|it| !state.bound.contains(it)) {
            remarks.push(format!("{transport} {address} is listened on from here on"));
        }
        for Bound { transport, address } in state.bound.iter().filter(|it| !listeners.wanted.contains(it)) {
            remarks.push(format!("{transport} {address} goes on being served until a restart"));
        }
        Ok(listeners)
    }

    /// Everything that cannot fail. Who comes with the listeners finds the rules made for them.
    fn carry_out(&self, plan: Plan, state: &mut State) -> Outcome {
        let Plan { loaded, fresh, addresses, mut listeners, noted, outcome } = plan;
        let config = Arc::new(loaded.config.clone());
        self.log.set_min_level(log_options(&config).min_level);
        self.reloads.verbose.store(config.verbose || config.extra_verbose, Ordering::Relaxed);
        self.quotas.set_limits(config.user_quota, config.total_quota, config.max_bps, config.bps_capacity);
        if let (Some(certificates), Some(fresh)) = (&self.certificates, fresh) {
            certificates.take(fresh);
        }
        let redirects = outcome.concerns("alternate-server") || outcome.concerns("udp-self-balance");
        if redirects {
            Redirection::find(&config, &addresses).tell(&self.log);
        }
        self.rulebook.change(|parts| {
            parts.settings = config.clone();
            parts.addresses = addresses;
        });
        self.fleet.look_again();
        let adjustment = Arc::new(adjustment(&config));
        let listens = !listeners.is_empty();
        self.upgrades.listen_also(noted);
        for worker in &self.workers {
            worker.mailbox.send(Command::Adjust(adjustment.clone()));
            if listens {
                let (datagrams, streams) = listeners.share();
                worker.mailbox.send(Command::Listen(FurtherListeners { datagrams, streams }));
            }
        }
        self.await_workers();
        let further =
            listeners.wanted.iter().filter(|it| !state.bound.contains(it)).copied().collect::<Vec<_>>();
        state.bound.extend(further);
        state.loaded = loaded;
        outcome
    }

    /// Returns when every worker has done what it was told, or is too busy to say so in time.
    fn await_workers(&self) {
        let (done, waiting) = sync_channel(self.workers.len());
        for worker in &self.workers {
            let done = done.clone();
            worker.mailbox.send(Command::Visit(Visit::new(move |_, _| {
                let _ = done.try_send(());
            })));
        }
        let deadline = Instant::now() + PATIENCE;
        for _ in &self.workers {
            let _ = waiting.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// The files whose change matters: the configuration's, and those it names.
    fn watched_files(&self) -> (Option<PathBuf>, Vec<PathBuf>) {
        let certificates = self.certificates.as_deref().map(Certificates::paths).unwrap_or_default();
        (self.reloads.state().loaded.file.clone(), certificates)
    }
}

/// What is going to be changed.
struct Plan {
    loaded: Loaded,
    fresh: Option<Fresh>,
    addresses: Addresses,
    listeners: Listeners,
    /// The same, for a process to come.
    noted: Listening,
    outcome: Outcome,
}

fn read(certificates: &Certificates, config: &Config, remarks: &mut Vec<String>) -> Result<Fresh, Refused> {
    let fresh = certificates.read(config).map_err(|error| {
        Refused::of("the certificate was not read again, the old one stays: ", &format!("{error:#}"))
    })?;
    let chain = match config.certificate.is_some() && config.private_key.is_some() {
        true => fresh.chain().display().to_string(),
        false => {
            let text = "cert and pkey are named no more; TLS and DTLS go on with the certificate they have";
            remarks.push(text.to_owned());
            return Ok(fresh);
        }
    };
    remarks.push(format!("the certificate {chain} was read again; new connections get it"));
    Ok(fresh)
}

/// How long workers may take to follow: each looks at what it is told between two packets.
const PATIENCE: Duration = Duration::from_secs(2);
