//! Starting and stopping the server: the only place that introduces all parts to each other.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use turnpike_config::{Config, Loaded, LogLevel};
use turnpike_control::{
    Asker, Inquirer, Level, Log, LogDestination, LogOptions, ReportSender, Reports, StoredUsers,
};
use turnpike_dtls::DtlsAcceptor;
use turnpike_net::{TcpListener, UdpOptions, raise_descriptor_limit};
use turnpike_turn::{Init, NonceKey, Ports, Quotas};
use turnpike_worker::{
    Ask, Command, DtlsInit, DtlsLimits, HeldPorts, HttpAnswers, Listener, Mailbox, Siblings, StreamLimits,
    TlsAcceptor, Worker, WorkerInit,
};
use turnpike_xdp::{FastPath, FlowTable};

use crate::addresses::Addresses;
use crate::certificates::Certificates;
use crate::database;
use crate::fast_path;
use crate::listeners::Listeners;
use crate::proxies::{proxy_rules, tell_proxies};
use crate::redirection::Redirection;
use crate::rules::rules;
use crate::shared_ports;
use crate::startup_lines::{tell_discovery, tell_notices, tell_ready, tell_rules, tell_transports};

/// A server whose sockets are bound and whose threads run.
pub struct Running {
    log: Arc<Log>,
    addresses: Addresses,
    workers: Vec<(Mailbox, JoinHandle<io::Result<()>>)>,
    reports: JoinHandle<()>,
    signals: Signals,
    /// Whether standard output was a terminal at start; of one that is gone it cannot be asked any more.
    on_terminal: bool,
    /// Removed at the end.
    pidfile: Option<PathBuf>,
    certificates: Option<Arc<Certificates>>,
    /// The program in the kernel, taken off with this.
    fast_path: Option<FastPath>,
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
        let running = Running::start_with(log.clone(), loaded);
        if let (Err(error), true) = (&running, log.is_in_file()) {
            log.error(&format!("{error:#}"));
        }
        running
    }

    fn start_with(log: Arc<Log>, loaded: &Loaded) -> anyhow::Result<Self> {
        let config = &loaded.config;
        tell_notices(&log, loaded);
        // From here on a signal waits for `wait` rather than ending the process.
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2])?;
        let limit = raise_descriptor_limit().ok();
        let addresses = Addresses::find(config)?;
        let threads = config.threads.unwrap_or_else(cores);
        let certificates = Certificates::open(config, &log).map(Arc::new);
        let secure = certificates.as_deref().map(Certificates::served).unwrap_or_default();
        let mut listeners = Listeners::bind(config, &addresses.listening, threads, secure)?;
        shared_ports::probe(&log, config, &addresses, threads)?;
        // Before the first thread: they all do without the capabilities it needs.
        let fast_path = fast_path::open(&log, config, &addresses);
        let database = database::open(config, &log)?;
        tell_transports(&log, config, certificates.as_deref());
        tell_rules(&log, config, database.as_ref(), limit, listeners.buffers());
        tell_discovery(&log, config, &addresses);
        Redirection::find(config, &addresses).tell(&log);
        tell_proxies(&log, config);
        let verbose = config.verbose || config.extra_verbose;
        let (sender, reports) = Reports::channel(log.clone(), config.realm.as_str().into(), verbose);
        let descriptors = limit.map_or(1024, |limit| limit.now);
        let limits = stream_limits(descriptors, threads, config.idle_connection);
        let mut shared = Shared::new(config, &addresses, certificates.as_deref(), limits, threads)?;
        shared.offer_flows(fast_path.is_some());
        shared.heed(config, database.as_ref(), &log);
        let mut workers = Vec::new();
        for number in 0..threads {
            let flows =
                fast_path.as_ref().map(|it| it.flow_table(number.into(), threads.into())).transpose()?;
            workers.push(shared.start_worker(number, (listeners.share(), flows), config, sender.clone())?);
        }
        shared.siblings.introduce(workers.iter().map(|(mailbox, _)| mailbox.clone()).collect());
        if let Some(database) = database {
            database::start(database, &shared.siblings, (log.clone(), config, &shared.common))?;
        }
        drop(sender);
        if let Some(certificates) = &certificates {
            certificates.clone().watch(log.clone())?;
        }
        let reports = thread::Builder::new().name("reports".into()).spawn(move || reports.run())?;
        let pidfile = config.pidfile.clone().filter(|path| write_pid(path, &log));
        tell_ready(&log, &addresses, threads);
        // For a unit of Type=notify, as Debian's for coturn is; nothing happens where nobody listens.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let on_terminal = io::stdout().is_terminal();
        Ok(Running {
            log,
            addresses,
            workers,
            reports,
            signals,
            on_terminal,
            pidfile,
            certificates,
            fast_path,
        })
    }

    /// The addresses it works with.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until SIGINT or SIGTERM comes, then ends every session and all threads.
    ///
    /// # Errors
    /// A worker failed.
    pub fn wait(mut self) -> anyhow::Result<()> {
        for signal in self.signals.forever() {
            match signal {
                SIGINT | SIGTERM => {
                    self.log.info(&format!("Terminating on signal {signal}"));
                    break;
                }
                // The terminal is gone, and with it whoever started this there and watched it.
                SIGHUP if self.on_terminal && !self.log.is_in_file() => break,
                SIGHUP => match self.log.reopen() {
                    Ok(()) => self.log.info("The log was reopened (SIGHUP)"),
                    Err(error) => self.log.error(&format!("cannot reopen the log: {error}")),
                },
                SIGUSR1 => self.log.warning("SIGUSR1: draining is not in this version; nothing is done"),
                _ => match &self.certificates {
                    Some(certificates) => certificates.reload(&self.log),
                    None => self.log.warning("SIGUSR2: TLS is off, so there is no certificate to read again"),
                },
            }
        }
        self.stop()
    }

    fn stop(self) -> anyhow::Result<()> {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        self.workers.iter().for_each(|(mailbox, _)| mailbox.send(Command::Stop));
        let mut outcome = Ok(());
        for (_, thread) in self.workers {
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
            fast_path::tell_outcomes(&self.log, &fast_path);
        }
        if let Some(path) = self.pidfile {
            let _ = std::fs::remove_file(path);
        }
        outcome
    }
}

/// Ends the process when a worker does: whoever supervises it starts it anew, and no client is left to a worker that is
/// not there. When all stop together it changes nothing.
struct EndsProcess;

impl Drop for EndsProcess {
    fn drop(&mut self) {
        let _ = signal_hook::low_level::raise(SIGTERM);
    }
}

/// What all workers hold in common.
struct Shared {
    rules: Arc<turnpike_turn::Config>,
    /// The rules without what a database says.
    common: turnpike_turn::Config,
    /// Users of a database.
    users: Option<Arc<StoredUsers>>,
    ports: Arc<Ports>,
    quotas: Arc<Quotas>,
    nonce_key: NonceKey,
    held_ports: HeldPorts,
    siblings: Siblings,
    threads: u16,
    tls: Option<Arc<TlsAcceptor>>,
    dtls: Option<Arc<DtlsAcceptor>>,
    stream_limits: StreamLimits,
}

impl Shared {
    fn new(
        config: &Config,
        addresses: &Addresses,
        certificates: Option<&Certificates>,
        stream_limits: StreamLimits,
        threads: u16,
    ) -> anyhow::Result<Self> {
        let nonce_key = match &config.nonce_secret {
            Some(secret) => NonceKey::from_shared_secret(secret.expose().as_bytes()),
            None => NonceKey::new(random()?),
        };
        let mut rules = rules(config, addresses);
        // Of the descriptors that are not for clients' connections, half.
        rules.worker_connections = stream_limits.total as usize / 2;
        Ok(Shared {
            common: rules.clone(),
            rules: Arc::new(rules),
            users: None,
            ports: Ports::new(&addresses.relays, config.min_port..=config.max_port),
            quotas: Quotas::with_bandwidth(
                config.user_quota,
                config.total_quota,
                config.max_bps,
                config.bps_capacity,
            ),
            nonce_key,
            held_ports: HeldPorts::default(),
            tls: certificates.and_then(Certificates::tls),
            dtls: certificates.and_then(Certificates::dtls),
            siblings: Siblings::default(),
            threads,
            stream_limits,
        })
    }

    /// Whether bound channels are offered to the kernel.
    fn offer_flows(&mut self, offered: bool) {
        Arc::make_mut(&mut self.rules).flows = offered;
    }

    /// Follows what a database says.
    fn heed(&mut self, config: &Config, database: Option<&Inquirer>, log: &Log) {
        let Some(database) = database else { return };
        let rules = Arc::make_mut(&mut self.rules);
        rules.peers.denied.extend(database::hosts(database));
        self.common = rules.clone();
        let users = database.users();
        database::apply(rules, config, (database.outside(), users.clone()), log);
        self.users = Some(users);
    }

    /// How a worker asks for users of a database.
    fn ask(&self, worker: u16) -> Option<Ask> {
        let users = self.users.clone()?;
        Some(Box::new(move |inquiry, realm, name| users.ask(Asker { worker, inquiry }, realm, name)))
    }

    fn start_worker(
        &self,
        number: u16,
        ((listeners, stream_listeners), flows): ((Vec<Listener>, Vec<TcpListener>), Option<FlowTable>),
        config: &Config,
        sender: ReportSender,
    ) -> anyhow::Result<(Mailbox, JoinHandle<io::Result<()>>)> {
        let dtls = self.dtls.clone().map(|acceptor| {
            Ok::<_, anyhow::Error>(DtlsInit { acceptor, cookie_secret: random()?, limits: DTLS_LIMITS })
        });
        let worker = Worker::new(WorkerInit {
            server: Init {
                config: self.rules.clone(),
                worker: number,
                workers: self.threads,
                ports: self.ports.clone(),
                quotas: self.quotas.clone(),
                nonce_key: self.nonce_key.clone(),
                seed: random()?,
            },
            listeners,
            stream_listeners,
            tls: self.tls.clone(),
            dtls: dtls.transpose()?,
            stream_limits: self.stream_limits,
            http: HttpAnswers {
                acme_redirect: config.acme_redirect.as_deref().map(Into::into),
                say_unsupported: config.say_http_unsupported,
            },
            proxies: proxy_rules(config),
            relay_options: UdpOptions {
                device: config.relay_device.clone(),
                receive_buffer: config.socket_buffer,
                send_buffer: config.socket_buffer,
                receive_errors: config.icmp_errors,
                ..UdpOptions::default()
            },
            held_ports: self.held_ports.clone(),
            siblings: self.siblings.clone(),
            flows,
            report: Box::new(move |event| sender.send(event)),
            ask: self.ask(number),
        })?;
        let mailbox = worker.mailbox();
        let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let _end = EndsProcess;
            worker.run()
        })?;
        Ok((mailbox, thread))
    }
}

fn log_options(config: &Config) -> LogOptions {
    let destination = match config.log.file.as_deref() {
        None | Some("stdout" | "-") => LogDestination::Stdout,
        Some("stderr") => LogDestination::Stderr,
        Some(path) => LogDestination::File {
            path: path.into(),
            dated: !config.log.simple,
            also_stdout: !config.log.no_stdout,
        },
    };
    LogOptions {
        destination,
        min_level: match config.log.min_level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warning => Level::Warning,
            LogLevel::Error => Level::Error,
        },
        timestamp: config.log.dated.then(|| config.log.time_format.clone()),
    }
}

/// Writes the process id; says whether that went well.
fn write_pid(path: &Path, log: &Log) -> bool {
    let written = std::fs::write(path, format!("{}\n", std::process::id()));
    if let Err(error) = &written {
        log.warning(&format!("cannot write the process id to {}: {error}", path.display()));
    }
    written.is_ok()
}

fn cores() -> u16 {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(128) as u16)
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::from).context("the system gives no random bytes")?;
    Ok(bytes)
}

/// For each worker. Three of four descriptors may be connections, so that some are always left for allocations' sockets;
/// a connection without an allocation is closed once it has been silent for too long.
fn stream_limits(descriptors: u64, threads: u16, idle: Duration) -> StreamLimits {
    let total = u32::try_from(descriptors / 4 * 3 / u64::from(threads.max(1))).unwrap_or(u32::MAX);
    StreamLimits { per_source: 4096, total, idle }
}

/// For each worker. A client that shook hands takes some 40 KiB, and a handshake under way at most a few times as much:
/// OpenSSL keeps messages that come out of order.
const DTLS_LIMITS: DtlsLimits = DtlsLimits {
    per_source: 4096,
    total: 32_768,
    half_open_per_source: 96,
    half_open: 256,
    begun_in_a_turn: 4,
    waiting: 512,
    handshake: Duration::from_secs(30),
    idle: Duration::from_secs(60),
};
