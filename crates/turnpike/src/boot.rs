//! Starting and stopping the server: the only place that introduces all parts to each other.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use turnpike_config::{Config, Loaded, LogLevel};
use turnpike_control::{Level, Log, LogDestination, LogOptions, ReportSender, Reports};
use turnpike_net::{UdpOptions, UdpSocket, holder_of_udp_address, raise_descriptor_limit};
use turnpike_turn::{Init, NonceKey, Ports, Quotas};
use turnpike_worker::{Command, HeldPorts, Listener, Mailbox, StreamLimits, Worker, WorkerInit};

use crate::addresses::Addresses;
use crate::rules::rules;
use crate::startup_lines::{tell_discovery, tell_notices, tell_ready, tell_rules};

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
}

impl Running {
    /// Binds everything and starts the threads.
    ///
    /// # Errors
    /// Something the configuration asks for cannot be had; nothing is left half-started.
    pub fn start(loaded: &Loaded) -> anyhow::Result<Self> {
        let log = Arc::new(Log::open(log_options(&loaded.config)).with_context(|| {
            let path = loaded.config.log_file.as_deref().unwrap_or_default();
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
        let mut listeners = bind_listeners(config, &addresses.listening, threads)?;
        let buffers = listeners.iter().flatten().map(UdpSocket::buffer_sizes).min().unwrap_or_default();
        tell_rules(&log, config, limit, buffers);
        tell_discovery(&log, config, &addresses);
        let verbose = config.verbose || config.extra_verbose;
        let (sender, reports) = Reports::channel(log.clone(), config.realm.as_str().into(), verbose);
        let shared = Shared::new(config, &addresses)?;
        let mut workers = Vec::new();
        for number in 0..threads {
            let own = listeners.iter_mut().filter_map(Vec::pop).map(|socket| Listener { socket }).collect();
            workers.push(shared.start_worker(number, own, config, sender.clone())?);
        }
        drop(sender);
        let reports = thread::Builder::new().name("reports".into()).spawn(move || reports.run())?;
        let pidfile = config.pidfile.clone().filter(|path| write_pid(path, &log));
        tell_ready(&log, &addresses, threads);
        // For a unit of Type=notify, as Debian's for coturn is; nothing happens where nobody listens.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        let on_terminal = io::stdout().is_terminal();
        Ok(Running { log, addresses, workers, reports, signals, on_terminal, pidfile })
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
                _ => self.log.warning(
                    "SIGUSR2: there are no certificates to read again in this version; nothing is done",
                ),
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
    ports: Arc<Ports>,
    quotas: Arc<Quotas>,
    nonce_key: NonceKey,
    held_ports: HeldPorts,
}

impl Shared {
    fn new(config: &Config, addresses: &Addresses) -> anyhow::Result<Self> {
        let nonce_key = match &config.nonce_secret {
            Some(secret) => NonceKey::from_shared_secret(secret.expose().as_bytes()),
            None => NonceKey::new(random()?),
        };
        Ok(Shared {
            rules: Arc::new(rules(config, addresses)),
            ports: Ports::new(&addresses.relays, config.min_port..=config.max_port),
            quotas: Quotas::new(config.user_quota, config.total_quota),
            nonce_key,
            held_ports: HeldPorts::default(),
        })
    }

    fn start_worker(
        &self,
        number: u16,
        listeners: Vec<Listener>,
        config: &Config,
        sender: ReportSender,
    ) -> anyhow::Result<(Mailbox, JoinHandle<io::Result<()>>)> {
        let worker = Worker::new(WorkerInit {
            server: Init {
                config: self.rules.clone(),
                worker: number,
                ports: self.ports.clone(),
                quotas: self.quotas.clone(),
                nonce_key: self.nonce_key.clone(),
                seed: random()?,
            },
            listeners,
            stream_listeners: Vec::new(),
            tls: None,
            stream_limits: StreamLimits { per_source: 1024, total: 65_536, idle: Duration::from_secs(60) },
            relay_options: UdpOptions {
                device: config.relay_device.clone(),
                receive_buffer: config.socket_buffer,
                send_buffer: config.socket_buffer,
                ..UdpOptions::default()
            },
            held_ports: self.held_ports.clone(),
            report: Box::new(move |event| sender.send(event)),
        })?;
        let mailbox = worker.mailbox();
        let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let _end = EndsProcess;
            worker.run()
        })?;
        Ok((mailbox, thread))
    }
}

/// For each address a socket for each thread. All are bound before any is read, so that a client's 5-tuple never
/// moves from one to another.
fn bind_listeners(
    config: &Config,
    addresses: &[SocketAddr],
    threads: u16,
) -> anyhow::Result<Vec<Vec<UdpSocket>>> {
    addresses
        .iter()
        .map(|address| {
            let options = UdpOptions {
                receive_buffer: config.socket_buffer,
                send_buffer: config.socket_buffer,
                packet_info: address.ip().is_unspecified(),
                device: config.listening_device.clone(),
                ..UdpOptions::default()
            };
            // Sockets that share an address let a second server in unnoticed: look first, sharing nothing.
            let bound = UdpSocket::bind(*address, &options).and_then(|probe| {
                drop(probe);
                UdpSocket::bind_group(*address, threads.into(), &options)
            });
            bound.map_err(|error| explain_bind(error, *address))
        })
        .collect()
}

fn explain_bind(error: io::Error, address: SocketAddr) -> anyhow::Error {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => match holder_of_udp_address(address) {
            Some(holder) => format!(
                "process {} ({}) holds it; stop that or choose another port with listening-port",
                holder.process, holder.name
            ),
            None => "another process holds it; choose another port with listening-port".to_owned(),
        },
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: run as root, or grant CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => "is it an address of this machine?".to_owned(),
    };
    anyhow::Error::new(error).context(format!("cannot listen on UDP {address}: {why}"))
}

fn log_options(config: &Config) -> LogOptions {
    let destination = match config.log_file.as_deref() {
        None | Some("stdout" | "-") => LogDestination::Stdout,
        Some("stderr") => LogDestination::Stderr,
        Some(path) => LogDestination::File {
            path: path.into(),
            dated: !config.simple_log,
            also_stdout: !config.no_stdout_log,
        },
    };
    LogOptions {
        destination,
        min_level: match config.log_min_level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warning => Level::Warning,
            LogLevel::Error => Level::Error,
        },
        timestamp: config.dated_log.then(|| config.log_time_format.clone()),
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
