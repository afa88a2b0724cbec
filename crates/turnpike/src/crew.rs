//! The workers: what they hold in common, and how each is started.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use signal_hook::consts::SIGINT;
use turnpike_config::Config;
use turnpike_control::{Asker, Log, ReportSender, StoredUsers, dropped_lines};
use turnpike_dtls::DtlsAcceptor;
use turnpike_net::{TcpListener, UdpOptions};
use turnpike_turn::{Init, NonceKey, Ports, Quotas};
use turnpike_worker::{
    Adjustment, Ask, DtlsInit, DtlsLimits, HeldPorts, HttpAnswers, Listener, Siblings, StreamLimits,
    TlsAcceptor, Worker, WorkerInit,
};
use turnpike_xdp::{FastPath, FlowTable};

use crate::addresses::Addresses;
use crate::certificates::Certificates;
use crate::listeners::Listeners;
use crate::operations::WorkerHandle;
use crate::proxies::proxy_rules;
use crate::randomness::random;
use crate::rulebook::Rulebook;
use crate::upgrade::{Inherited, Predecessor, Took, Upgrades};

/// Ends the process when a worker does: whoever supervises it starts it anew, and no client is left to a worker that is
/// not there. When all stop together it changes nothing. SIGTERM might let the other workers' sessions end first.
struct EndsProcess;

impl Drop for EndsProcess {
    fn drop(&mut self) {
        let _ = signal_hook::low_level::raise(SIGINT);
    }
}

/// What all workers hold in common.
pub(crate) struct Crew {
    /// The rules that they are born with.
    rules: Arc<turnpike_turn::Config>,
    /// Users of a database.
    users: Option<Arc<StoredUsers>>,
    pub(crate) ports: Arc<Ports>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) nonce_key: NonceKey,
    held_ports: HeldPorts,
    siblings: Siblings,
    threads: u16,
    tls: Option<Arc<TlsAcceptor>>,
    dtls: Option<Arc<DtlsAcceptor>>,
    stream_limits: StreamLimits,
    log: Arc<Log>,
}

impl Crew {
    pub(crate) fn new(
        config: &Config,
        addresses: &Addresses,
        certificates: Option<&Certificates>,
        (rulebook, siblings): (&Rulebook, Siblings),
        (stream_limits, threads): (StreamLimits, u16),
        inherited_key: Option<NonceKey>,
    ) -> anyhow::Result<Self> {
        let nonce_key = match (&config.nonce_secret, inherited_key) {
            (Some(secret), _) => NonceKey::from_shared_secret(secret.expose().as_bytes()),
            (None, Some(key)) => key,
            (None, None) => NonceKey::new(random()?),
        };
        Ok(Crew {
            rules: rulebook.rules(),
            users: rulebook.read(|parts| parts.database.as_ref().map(|said| said.users.clone())),
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
            siblings,
            threads,
            stream_limits,
            log: rulebook.log().clone(),
        })
    }

    /// How a worker asks for users of a database.
    fn ask(&self, worker: u16) -> Option<Ask> {
        let users = self.users.clone()?;
        Some(Box::new(move |inquiry, realm, name| users.ask(Asker { worker, inquiry }, realm, name)))
    }

    /// All workers, known to each other, who do nothing yet: what is sent to them waits.
    pub(crate) fn hire_all(
        &self,
        listeners: &mut Listeners,
        fast_path: Option<&FastPath>,
        (config, sender): (&Config, &ReportSender),
    ) -> anyhow::Result<Hired> {
        let mut workers = Vec::new();
        for number in 0..self.threads {
            let flows = fast_path.map(|it| it.flow_table(number.into(), self.threads.into())).transpose()?;
            workers.push(self.hire(number, (listeners.share(), flows), config, sender.clone())?);
        }
        let mailboxes = workers.iter().map(Worker::mailbox);
        self.siblings.introduce(mailboxes.collect());
        Ok(Hired { workers })
    }

    /// A worker that is still to be started.
    fn hire(
        &self,
        number: u16,
        ((listeners, stream_listeners), flows): ((Vec<Listener>, Vec<TcpListener>), Option<FlowTable>),
        config: &Config,
        sender: ReportSender,
    ) -> anyhow::Result<Worker> {
        let dtls = self.dtls.clone().map(|acceptor| {
            Ok::<_, anyhow::Error>(DtlsInit { acceptor, cookie_secret: random()?, limits: DTLS_LIMITS })
        });
        Ok(Worker::new(WorkerInit {
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
            http: adjustment(config).http,
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
            dropped: config.log.dropped.then(|| Box::new(dropped_lines(self.log.clone())) as _),
            ask: self.ask(number),
        })?)
    }
}

/// What a worker does by the configuration beside its server's rules, and may do otherwise while it runs.
pub(crate) fn adjustment(config: &Config) -> Adjustment {
    Adjustment {
        idle: config.idle_connection,
        http: HttpAnswers {
            acme_redirect: config.acme_redirect.as_deref().map(Into::into),
            say_unsupported: config.say_http_unsupported,
        },
        proxies: proxy_rules(config),
        receive_errors: config.icmp_errors,
    }
}

/// Workers that do not work yet.
pub(crate) struct Hired {
    workers: Vec<Worker>,
}

impl Hired {
    /// How others know them.
    pub(crate) fn handles(&self) -> Vec<WorkerHandle> {
        let handle =
            |worker: &Worker| WorkerHandle { mailbox: worker.mailbox(), snapshot: worker.snapshot() };
        self.workers.iter().map(handle).collect()
    }

    /// Has them begin: as soon as what the process before this one hands over is theirs, if there is such a one. From here
    /// on they read what that one would have read, so nothing that can fail is to come after it.
    pub(crate) fn begin(
        mut self,
        predecessor: Option<(&Predecessor, &Inherited, &Upgrades)>,
    ) -> anyhow::Result<Started> {
        let took = match predecessor {
            Some((predecessor, inherited, upgrades)) => {
                predecessor.take_over(&mut self.workers, (inherited, &upgrades.listening()))?
            }
            None => Took::default(),
        };
        let begun = self.workers.into_iter().enumerate().map(|(number, worker)| start_thread(number, worker));
        Ok(Started { threads: begun.collect::<io::Result<_>>()?, took })
    }
}

/// Workers that work.
pub(crate) struct Started {
    pub(crate) threads: Vec<JoinHandle<io::Result<()>>>,
    pub(crate) took: Took,
}

fn start_thread(number: usize, worker: Worker) -> io::Result<JoinHandle<io::Result<()>>> {
    thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let _end = EndsProcess;
        worker.run()
    })
}

/// How many workers there are to be: as many as the process had that hands over to this one.
pub(crate) fn threads(config: &Config, predecessor: Option<&Predecessor>, log: &Log) -> u16 {
    let wanted = config.threads.unwrap_or_else(cores);
    let threads = predecessor.map_or(wanted, |it| it.threads);
    if threads != wanted {
        log.warning(&format!(
            "Upgrade: there are {threads} relay threads, as before; {wanted} will be there after a restart, for each \
             client belongs to one"
        ));
    }
    threads
}

/// How many processors this process may use.
pub(crate) fn cores() -> u16 {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(128) as u16)
}

/// For each worker. Three of four descriptors may be connections, so that some are always left for allocations' sockets;
/// a connection without an allocation is closed once it has been silent for too long.
pub(crate) fn stream_limits(descriptors: u64, threads: u16, idle: Duration) -> StreamLimits {
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
