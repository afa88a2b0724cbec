//! Starting and stopping the server: the only place that introduces all parts to each other.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use anyhow::{Context, bail};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGURG, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use turnpike_config::{Config, Loaded};
use turnpike_control::http::HttpServer;
use turnpike_control::{Inquirer, Log};
use turnpike_net::{DescriptorLimit, raise_descriptor_limit};
use turnpike_worker::{Command, Siblings, StreamLimits};
use turnpike_xdp::FastPath;

use crate::addresses::Addresses;
use crate::certificates::Certificates;
use crate::commands::doctor;
use crate::console::ConsoleHandle;
use crate::control::ControlHandle;
use crate::crew::{self, Crew, Hired, Started, stream_limits};
use crate::database;
use crate::drain::{Draining, Order};
use crate::external_address::{self, Survey};
use crate::fast_path;
use crate::fleet::{self, Availability, Fleet};
use crate::hearing::{Heard, Hearing};
use crate::listeners::Listeners;
use crate::logging::log_options;
use crate::monitoring::Monitoring;
use crate::operations::{Operations, Request, Requests, Serving, Stage};
use crate::pidfile::PidFile;
use crate::privileges;
use crate::proxies::tell_proxies;
use crate::redirection::Redirection;
use crate::reload::{self, Reloads};
use crate::rulebook::{Parts, Rulebook, Said};
use crate::shared_ports;
use crate::startup_lines::{tell_discovery, tell_notices, tell_ready, tell_rules, tell_transports};
use crate::upgrade::{self, Inherited, Listening, Predecessor, Program, Upgrades, refuse_over};
use crate::watchdog;

/// A server whose sockets are bound and whose threads run.
pub struct Running {
    operations: Arc<Operations>,
    addresses: Addresses,
    /// How the Internet calls them, where that was to be found out.
    survey: Survey,
    threads: Vec<JoinHandle<io::Result<()>>>,
    reports: JoinHandle<()>,
    /// What is asked of the main loop, by signals and by others.
    requests: Receiver<Request>,
    /// Whether standard output was a terminal at start; of one that is gone it cannot be asked any more.
    on_terminal: bool,
    /// Removed at the end.
    pidfile: Option<PidFile>,
    /// The program in the kernel, taken off with this.
    fast_path: Option<FastPath>,
    /// Where it is spoken with, taken away with this.
    control: ControlHandle,
    /// The telnet console, closed with this.
    console: ConsoleHandle,
    /// Where metrics are, until this is gone.
    monitoring: Option<HttpServer>,
}

/// What a server has before its first thread runs: all that takes the rights of root, and all that may be taken.
struct Prepared {
    signals: Signals,
    limit: Option<DescriptorLimit>,
    survey: Survey,
    addresses: Addresses,
    threads: u16,
    certificates: Option<Arc<Certificates>>,
    monitoring: Monitoring,
    listeners: Listeners,
    listening: Listening,
    fast_path: Option<FastPath>,
    pidfile: Option<PidFile>,
}

/// Everything that a server is made of, before its threads run.
struct Ready {
    prepared: Prepared,
    hearing: Hearing,
    rulebook: Arc<Rulebook>,
    crew: Crew,
    hired: Hired,
}

impl Running {
    /// Binds everything and starts the threads.
    ///
    /// # Errors
    /// Something the configuration asks for cannot be had; nothing is left half-started.
    pub fn start(loaded: &Loaded) -> anyhow::Result<Self> {
        let log = Arc::new(Log::open(log_options(&loaded.config)).with_context(|| {
            let path = loaded.config.log.file.as_deref().unwrap_or_default();
            format!("cannot open the log file {path}: choose another with log-file, or log-file=stdout")
        })?);
        let (predecessor, inherited) = Predecessor::find()?.unzip();
        let line = predecessor.as_ref().map(Predecessor::line).transpose()?;
        let running = Running::start_with(log.clone(), loaded, (predecessor, inherited.unwrap_or_default()));
        if let Err(error) = &running {
            line.iter().for_each(|line| refuse_over(line, &format!("{error:#}")));
            if log.is_in_file() {
                log.error(&format!("{error:#}"));
            }
        }
        if running.is_err() {
            log.flush();
        }
        running
    }

    fn start_with(
        log: Arc<Log>,
        loaded: &Loaded,
        (predecessor, inherited): (Option<Predecessor>, Inherited),
    ) -> anyhow::Result<Self> {
        let ready = Ready::new(&log, loaded, (predecessor.as_ref(), inherited))?;
        ready.begin(&log, loaded, predecessor)
    }

    /// The addresses it works with.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What was found out about their external forms at start.
    pub(crate) fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Serves until SIGINT or SIGTERM comes, then ends every session and all threads.
    ///
    /// # Errors
    /// A worker failed.
    pub fn wait(mut self) -> anyhow::Result<()> {
        while let Ok(request) = self.requests.recv() {
            match request {
                Request::Signal(SIGTERM) if self.drains_first() => {}
                Request::Stop(why) => {
                    self.operations.log.info(&why);
                    break;
                }
                Request::Signal(signal @ (SIGINT | SIGTERM)) => {
                    self.operations.log.info(&format!("Terminating on signal {signal}"));
                    break;
                }
                // The terminal is gone, and with it whoever started this there and watched it.
                Request::Signal(SIGHUP) if self.on_terminal && !self.operations.log.is_in_file() => break,
                Request::Signal(SIGURG) => self.upgrade(None, |_| ()),
                Request::Signal(signal) => self.heed(signal),
                Request::Upgrade { program, answer } => {
                    self.upgrade(program, move |it| drop(answer.send(it)))
                }
                Request::HandedOver => self.stay_behind(),
                Request::DrainForUpgrade => self.heed(SIGUSR1),
                Request::NothingLeft => break,
            }
        }
        let log = self.operations.log.clone();
        let outcome = self.stop();
        log.flush();
        outcome
    }

    /// Whether SIGTERM is to let sessions end first, which it then begins to: with `drain-timeout`, and only once.
    fn drains_first(&self) -> bool {
        let timeout = self.operations.rulebook.read(|parts| parts.settings.administration.drain.timeout);
        let told_already = self.operations.draining.progress().is_some_and(|progress| progress.ends_process);
        if timeout.is_zero() || told_already {
            return false;
        }
        self.operations.drain(
            Order { timeout: Some(timeout), ends_process: true },
            "SIGTERM; another one ends it at once",
        );
        true
    }

    /// Hands over to a new process; what comes of it is logged, and told to whoever asked.
    fn upgrade(&self, program: Option<PathBuf>, tell: impl FnOnce(Result<String, String>) + Send + 'static) {
        let (operations, log) = (self.operations.clone(), self.operations.log.clone());
        let own = &self.operations.upgrades.program;
        let program = program.map_or_else(|| own.clone(), |path| own.at(&path));
        upgrade::begin(operations, program, move |outcome| {
            match &outcome {
                Ok(done) => log.info(&format!("Upgrade: {done}")),
                Err(why) => log.error(&format!("Upgrade failed: {why}")),
            }
            tell(outcome);
        });
    }

    /// Another process has taken over: what that could not take is served here until it ends.
    fn stay_behind(&mut self) {
        // All these are the other one's now.
        self.pidfile = None;
        self.control = ControlHandle::default();
        self.monitoring = None;
        self.console = ConsoleHandle::default();
        self.operations.upgrades.kernel().take();
        if let Some(fast_path) = self.fast_path.take() {
            fast_path::tell_outcomes(&self.operations.log, &fast_path);
        }
        let limit = self.operations.rulebook.read(|parts| parts.settings.upgrade_timeout);
        upgrade::watch_remains(self.operations.clone(), limit);
    }

    /// A signal that does not end the server.
    fn heed(&self, signal: i32) {
        let Operations { log, reloads, .. } = &*self.operations;
        match signal {
            SIGHUP => log.reopen(),
            SIGUSR1 => self.operations.drain(Order { timeout: None, ends_process: false }, "SIGUSR1"),
            _ => reloads.ask(),
        }
    }

    fn stop(self) -> anyhow::Result<()> {
        if !self.operations.upgrades.is_handed_over() {
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
        }
        self.operations.stage.set(Serving::Stopping);
        drop(self.control);
        self.operations.workers.iter().for_each(|worker| worker.mailbox.send(Command::Stop));
        let mut outcome = Ok(());
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => outcome = Err(anyhow::Error::new(error).context("a worker failed")),
                Err(_) => outcome = Err(anyhow::anyhow!("a worker panicked")),
            }
        }
        // The last sender is gone with the last worker, so the reports end too.
        if self.reports.join().is_err() {
            bail!("the log thread panicked");
        }
        // Only now, when no worker has a flow any more.
        if let Some(fast_path) = self.fast_path {
            fast_path::tell_outcomes(&self.operations.log, &fast_path);
        }
        if let Some(pidfile) = self.pidfile {
            pidfile.remove();
        }
        outcome
    }
}

impl Ready {
    fn new(
        log: &Arc<Log>,
        loaded: &Loaded,
        (predecessor, inherited): (Option<&Predecessor>, Inherited),
    ) -> anyhow::Result<Self> {
        let config = &loaded.config;
        tell_notices(log, loaded);
        let mut prepared = Prepared::new(log, config, (predecessor, inherited))?;
        log.start()?;
        let database = database::open(config, log)?;
        prepared.tell(log, config, database.as_ref());
        let hearing = Hearing::new(log, config, &prepared.monitoring)?;
        let siblings = Siblings::default();
        let limits = prepared.stream_limits(config);
        let rulebook = prepared.rulebook(config, database.as_ref(), (limits, siblings.clone(), log.clone()));
        let common = (&*rulebook, siblings.clone());
        let crew = prepared.crew(config, common, limits, predecessor)?;
        let paid_by = (config, &hearing.sender);
        let hired = crew.hire_all(&mut prepared.listeners, prepared.fast_path.as_ref(), paid_by)?;
        if let Some(database) = database {
            database::start(database, siblings, rulebook.clone(), log.clone())?;
        }
        Ok(Ready { prepared, hearing, rulebook, crew, hired })
    }

    /// Starts all threads; from then on it serves.
    fn begin(
        self,
        log: &Arc<Log>,
        loaded: &Loaded,
        predecessor: Option<Predecessor>,
    ) -> anyhow::Result<Running> {
        let Ready { mut prepared, mut hearing, rulebook, crew, hired } = self;
        let workers = hired.handles();
        let tellings = hearing.record(&workers, &rulebook, predecessor.is_some())?;
        let Heard { reports, lost, verbose, successor } = hearing.begin()?;
        let (requests, asked) = Requests::channel();
        pass_signals_on(prepared.signals, requests.clone())?;
        let Crew { ports, quotas, nonce_key, .. } = crew;
        let (fleet, woken) = Fleet::new();
        let (reloads, asked_to_reload) = Reloads::new(loaded, prepared.listeners.wanted.clone(), verbose);
        let kernel = prepared.fast_path.as_ref().and_then(|it| fast_path::heirloom(log, it));
        let upgrades =
            Upgrades::new(Program::of_this_process(), (prepared.listening, kernel), nonce_key, successor);
        let operations = Arc::new(Operations {
            log: log.clone(),
            rulebook,
            workers,
            ports,
            quotas,
            certificates: prepared.certificates,
            started: SystemTime::now(),
            stage: Stage::new(),
            requests,
            reloads,
            fleet,
            draining: Draining::default(),
            upgrades,
            tellings,
        });
        reload::start(operations.clone(), asked_to_reload)?;
        fleet::start(operations.clone(), woken)?;
        external_address::watch(&operations)?;
        watchdog::start(&operations)?;
        let monitoring = prepared.monitoring.start(&operations, lost)?;
        let has_taken_over = predecessor.is_some();
        let threads = take_over(&operations, hired, predecessor, &prepared.listeners)?;
        if let Some(fast_path) = prepared.fast_path.as_mut().filter(|_| has_taken_over) {
            fast_path::settle(log, fast_path, &loaded.config, &prepared.addresses);
        }
        let control = ControlHandle::open(&operations);
        let console = ConsoleHandle::open(&operations);
        let pidfile = prepared.pidfile.take();
        let pidfile = announce(log, &loaded.config, (&prepared.addresses, prepared.threads), pidfile);
        Ok(Running {
            operations,
            addresses: prepared.addresses,
            survey: prepared.survey,
            threads,
            reports,
            requests: asked,
            on_terminal: io::stdout().is_terminal() && !loaded.config.process.daemon,
            pidfile,
            fast_path: prepared.fast_path,
            control,
            console,
            monitoring,
        })
    }
}

impl Prepared {
    fn new(
        log: &Arc<Log>,
        config: &Config,
        (predecessor, mut inherited): (Option<&Predecessor>, Inherited),
    ) -> anyhow::Result<Self> {
        let kernel = inherited.kernel.take();
        let identity = privileges::find(&config.process)?;
        // From here on a signal waits for `wait` rather than ending the process.
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGURG])?;
        let limit = raise_descriptor_limit().ok();
        let survey = external_address::survey_at_start(config, log)?;
        let addresses = Addresses::find_with(config, survey.found())?;
        let threads = crew::threads(config, predecessor, log);
        let certificates = Certificates::open(config, log).map(Arc::new);
        let secure = certificates.as_deref().map(Certificates::served).unwrap_or_default();
        let monitoring = Monitoring::bind(config, log)?;
        let listeners = Listeners::bind(config, &addresses.listening, threads, (secure, inherited))?;
        let listening = listeners.noted()?;
        shared_ports::probe(log, config, &addresses, threads)?;
        let fast_path = fast_path::open(log, config, &addresses, kernel);
        // That of the process before this one stays as it is until this one serves.
        let early = config.pidfile.as_deref().filter(|_| predecessor.is_none());
        let pidfile = early.and_then(|path| PidFile::create(path, log));
        privileges::give_up(log, &config.process, identity.as_ref(), certificates.as_deref())?;
        Ok(Prepared {
            signals,
            limit,
            survey,
            addresses,
            threads,
            certificates,
            monitoring,
            listeners,
            listening,
            fast_path,
            pidfile,
        })
    }

    fn tell(&self, log: &Log, config: &Config, database: Option<&Inquirer>) {
        tell_transports(log, config, self.certificates.as_deref());
        tell_rules(log, config, database, self.limit, self.listeners.buffers());
        tell_discovery(log, config, &self.addresses);
        doctor::tell_at_start(log, config, &self.addresses, &self.survey);
        Redirection::find(config, &self.addresses).tell(log);
        tell_proxies(log, config);
    }

    fn stream_limits(&self, config: &Config) -> StreamLimits {
        let descriptors = self.limit.map_or(1024, |limit| limit.now);
        stream_limits(descriptors, self.threads, config.idle_connection)
    }

    fn crew(
        &self,
        config: &Config,
        common: (&Rulebook, Siblings),
        limits: StreamLimits,
        predecessor: Option<&Predecessor>,
    ) -> anyhow::Result<Crew> {
        let key = predecessor.map(|it| it.nonce_key.clone());
        let certificates = self.certificates.as_deref();
        Crew::new(config, &self.addresses, certificates, common, (limits, self.threads), key)
    }

    fn rulebook(
        &self,
        config: &Config,
        database: Option<&Inquirer>,
        (limits, siblings, log): (StreamLimits, Siblings, Arc<Log>),
    ) -> Arc<Rulebook> {
        let parts = Parts {
            settings: Arc::new(config.clone()),
            addresses: self.addresses.clone(),
            database: database.map(Said::at_first),
            // Of the descriptors that are not for clients' connections, half.
            worker_connections: limits.total as usize / 2,
            flows: self.fast_path.is_some(),
            availability: Availability::default(),
            drain: None,
            self_test: self.monitoring.self_test.clone(),
            helper_hosts: BTreeSet::new(),
        };
        Arc::new(Rulebook::new(parts, siblings, log))
    }
}

/// Starts the workers. Behind everything that can fail: only now the process before this one stands still and gives what
/// it has, and then forgets it.
fn take_over(
    operations: &Operations,
    hired: Hired,
    predecessor: Option<Predecessor>,
    listeners: &Listeners,
) -> anyhow::Result<Vec<JoinHandle<io::Result<()>>>> {
    let from = predecessor.as_ref().map(|it| (it, &listeners.inherited, &operations.upgrades));
    let Started { threads, took } = hired.begin(from)?;
    if let Some(predecessor) = predecessor {
        predecessor.serving(took, operations.log.clone(), operations.upgrades.elsewhere.clone());
    }
    Ok(threads)
}

/// Says that the server serves: in the log, to systemd, and in the file for its process id, which may have been made
/// before, while there was the right to.
fn announce(
    log: &Log,
    config: &Config,
    (addresses, threads): (&Addresses, u16),
    made: Option<PidFile>,
) -> Option<PidFile> {
    let mut pidfile = made.or_else(|| PidFile::create(config.pidfile.as_deref()?, log));
    if let Some(pidfile) = &mut pidfile {
        pidfile.write(log);
    }
    tell_ready(log, addresses, threads);
    // For a unit of Type=notify, as Debian's for coturn is; nothing happens where nobody listens.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    pidfile
}

/// Hands signals in to the main loop.
///
/// # Errors
/// The system gives no thread.
fn pass_signals_on(mut signals: Signals, requests: Requests) -> io::Result<()> {
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            // Refused where as many wait already: whoever sends that many means the same by each.
            let _ = requests.send(Request::Signal(signal));
        }
    })?;
    Ok(())
}
