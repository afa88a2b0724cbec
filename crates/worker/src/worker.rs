//! The loop.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use turnpike_net::{Clock, Events, Parcel, Poller, Sockets, TcpListener, UdpOptions};
use turnpike_turn::{Event, FiveTuple, Histogram, Init, InquiryId, Link, Reason, RelayId, Server, Timestamp};
use turnpike_xdp::FlowTable;

use crate::counters::{Counters, TURNS, TurnDurations};
use crate::datapath::{Datapath, Parts};
use crate::dtls::{Dtls, DtlsInit};
use crate::handover::{Given, Handover, Inheritance, Step};
use crate::http::HttpAnswers;
use crate::kernel_flows::KernelFlows;
use crate::links::{Links, Listener};
use crate::mailbox::{Command, Mailbox, Siblings};
use crate::migration::Abroad;
use crate::peer_connections::{PeerConnections, is_peer_connection};
use crate::proxies::ProxyRules;
use crate::relay_sockets::{HeldPorts, RelaySockets, shared_address};
use crate::stream_limits::StreamLimits;
use crate::stream_listeners::StreamListeners;
use crate::streams::{Streams, is_stream};
use crate::tls::TlsAcceptor;

/// One data-plane thread's work.
pub struct Worker {
    pub(crate) datapath: Datapath,
    events: Events,
    mailbox: Mailbox,
    snapshot: Snapshot,
    snapshot_due: Timestamp,
    /// Whether something may have happened since the counters were copied.
    unpublished: bool,
    /// Turns so far.
    turns: u64,
    turn_durations: TurnDurations,
    stopping: bool,
    /// Whether what the last wait has found may be another process's by now.
    stale: bool,
}

/// What a worker is born with.
pub struct WorkerInit {
    /// For the server.
    pub server: Init,
    /// Its share of the listening sockets. Their links are numbered from 0 in this order, in every worker alike.
    pub listeners: Vec<Listener>,
    /// Its share of the listeners for connections.
    pub stream_listeners: Vec<TcpListener>,
    /// How TLS is spoken on them; `None` for not at all.
    pub tls: Option<Arc<TlsAcceptor>>,
    /// How DTLS is spoken on the listeners for datagrams; `None` for not at all.
    pub dtls: Option<DtlsInit>,
    /// How many connections it may have.
    pub stream_limits: StreamLimits,
    /// What is said to HTTP clients.
    pub http: HttpAnswers,
    /// Who may speak for others by the PROXY protocol.
    pub proxies: ProxyRules,
    /// How relay sockets are set up.
    pub relay_options: UdpOptions,
    /// Reserved ports, shared with the other workers: any of them may be asked for one.
    pub held_ports: HeldPorts,
    /// The other workers.
    pub siblings: Siblings,
    /// Its flows in the kernel, where there is a fast path.
    pub flows: Option<FlowTable>,
    /// Who hears what happens; must not wait.
    pub report: Box<dyn Fn(Event) + Send>,
    /// Who is shown datagrams of clients that are dropped because they are nothing that is spoken here; must not wait.
    /// `None` where nobody wants to see them.
    pub dropped: Option<Dropped>,
    /// Who is asked for users of a database; must not wait. `None` where there is no database.
    pub ask: Option<Ask>,
}

/// Shows a datagram that is dropped: whose it is, why, and its bytes.
pub type Dropped = Box<dyn Fn(&FiveTuple, Reason, &[u8]) + Send>;

/// Asks a database for a user: of this realm, with this name.
pub type Ask = Box<dyn Fn(InquiryId, Box<str>, Box<str>) + Send>;

/// A worker's counters as of at most a second ago, for other threads to look at.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    counters: Arc<Mutex<Counters>>,
}

impl Snapshot {
    /// The counters.
    pub fn read(&self) -> Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Worker {
    /// Sets up a worker on sockets that are bound already.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new(init: WorkerInit) -> io::Result<Self> {
        let poller = Poller::new()?;
        let mut sockets = Sockets::default();
        let abroad = Abroad::new(init.server.worker, init.siblings.clone());
        let (listeners, proxies) = (init.listeners, init.proxies.clone());
        let links = Links::open(listeners, (proxies, abroad), &mut sockets, &poller, FIRST_LISTENER)?;
        let mailbox = Mailbox::new(poller.waker(WAKER)?);
        let server = Server::new(init.server);
        let peers = PeerConnections::new(init.relay_options.device.clone());
        let siblings = init.siblings;
        let relays = RelaySockets::new(init.relay_options, init.held_ports);
        let WorkerInit { stream_listeners, tls, stream_limits, http, proxies, .. } = init;
        let rules = (stream_limits, http, proxies);
        let listeners = StreamListeners::watch(stream_listeners, FIRST_STREAM_LISTENER, &poller)?;
        let streams = Streams::new(listeners, tls, rules);
        let dtls = init.dtls.map(Dtls::new);
        let (flows, report, ask) = (KernelFlows::new(init.flows), init.report, init.ask);
        let dropped = init.dropped;
        let parts = Parts {
            server,
            links,
            streams,
            dtls,
            sockets,
            poller,
            relays,
            peers,
            siblings,
            flows,
            report,
            dropped,
            ask,
        };
        Ok(Worker {
            datapath: Datapath::new(parts),
            events: Events::with_capacity(EVENTS),
            mailbox,
            snapshot: Snapshot::default(),
            snapshot_due: Timestamp(0),
            unpublished: true,
            turns: 0,
            turn_durations: Histogram::new(&TURNS),
            stopping: false,
            stale: false,
        })
    }

    /// The way to talk to it.
    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    /// Its counters.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// Works until told to stop.
    ///
    /// # Errors
    /// The system refuses to say what is ready.
    pub fn run(mut self) -> io::Result<()> {
        self.datapath.read_clock();
        while !self.stopping {
            let timeout = self.timeout();
            self.datapath.poller().wait(timeout, &mut self.events)?;
            self.datapath.read_clock();
            self.stale = false;
            for index in 0..self.events.len() {
                if self.stale {
                    break;
                }
                if let Some(token) = self.events.token(index) {
                    self.serve(token, index);
                }
            }
            self.datapath.finish_turn();
            self.measure_turn();
            self.publish();
        }
        self.snapshot_due = Timestamp(0);
        self.publish();
        Ok(())
    }

    fn serve(&mut self, token: u64, event: usize) {
        match token {
            WAKER => self.read_mail(),
            SUCCESSOR => self.datapath.receive_from_successor(),
            LAST_LISTENER..=FIRST_LISTENER => {
                self.datapath.receive_from_clients((FIRST_LISTENER - token) as usize);
            }
            LAST_STREAM_LISTENER..=FIRST_STREAM_LISTENER => {
                self.datapath.accept((FIRST_STREAM_LISTENER - token) as usize);
            }
            stream if is_stream(stream) => {
                let Worker { datapath, events, .. } = self;
                let (readable, writable) = (events.has_input(event), events.is_writable(event));
                datapath.serve_stream(Link(stream), readable, writable);
            }
            peer if is_peer_connection(peer) => self.datapath.serve_peer_connection(peer),
            relay => {
                if let Some(relay_address) = shared_address(relay) {
                    if self.events.has_error(event) {
                        self.datapath.receive_shared_icmp_errors(relay_address);
                    }
                    return self.datapath.receive_from_shared(relay_address);
                }
                let relay = RelayId::from_bits(relay);
                if self.events.has_error(event) {
                    self.datapath.receive_icmp_errors(relay);
                }
                // Even when nothing waits to be read: this clears an error that found no room in the queue, which would
                // wake the loop for ever.
                self.datapath.receive_from_peers(relay);
            }
        }
    }

    fn read_mail(&mut self) {
        self.mailbox.acknowledge();
        while let Some(mail) = self.mailbox.take_mail() {
            self.datapath.receive_mail(mail);
        }
        while let Some(command) = self.mailbox.take() {
            match command {
                Command::Configure(config) => {
                    self.datapath.server.handle_config(config);
                    self.datapath.server.handle_revocation();
                }
                Command::Answered(inquiry) => self.datapath.go_on(inquiry),
                Command::Adopt(moved) => self.datapath.adopt(moved),
                Command::Visit(visit) => visit.pay(&mut self.datapath.server, self.datapath.now),
                Command::Adjust(adjustment) => self.adjust(&adjustment),
                Command::Listen(listeners) => self.listen(listeners),
                Command::HandOver(handover) => self.hand_over(&handover),
                Command::Count(asker) => drop(asker.send(self.datapath.remains())),
                Command::Stop => {
                    self.datapath.server.handle_shutdown(self.datapath.now);
                    self.datapath.close_all_streams();
                    self.datapath.close_all_dtls();
                    self.stopping = true;
                }
            }
        }
    }

    /// Takes what a worker of another process hands over, before this one begins to work. `listener` gives the number
    /// here of each of the other's listeners.
    ///
    /// # Errors
    /// It cannot be taken; the message says why. This worker is not to be used then.
    pub fn inherit(
        &mut self,
        parcel: Parcel,
        listener: &dyn Fn(usize) -> Option<usize>,
    ) -> Result<Inheritance, String> {
        self.datapath.read_clock();
        self.datapath.inherit(parcel, listener)
    }

    /// Stands still, step by step, until all is handed over or nothing is.
    fn hand_over(&mut self, handover: &Handover) {
        let mut given = None;
        loop {
            match handover.next() {
                Step::Settle => {
                    while let Some(mail) = self.mailbox.take_mail() {
                        self.datapath.receive_mail(mail);
                    }
                    handover.answer(Ok(0));
                }
                Step::Give(gift) => {
                    let outcome = self.datapath.give(gift);
                    handover.answer(outcome.as_ref().map(Given::sessions).map_err(Clone::clone));
                    given = outcome.ok();
                }
                Step::Leave => {
                    if let Some(given) = given {
                        self.datapath.leave(given, SUCCESSOR);
                    }
                    self.stale = true;
                    return handover.answer(Ok(0));
                }
                Step::GoOn => return self.datapath.go_on_relaying(),
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        // What happened last is published as well, though nothing may happen after it.
        let snapshot = self.unpublished.then_some(self.snapshot_due);
        let due = [self.datapath.next_due(), snapshot].into_iter().flatten().min();
        due.map(|due| due.since(self.datapath.now.monotonic))
    }

    /// Looks at the clock once more, but not in every turn: that would be felt where each brings one packet.
    fn measure_turn(&mut self) {
        self.turns += 1;
        if self.turns.is_multiple_of(MEASURED_TURNS) {
            let end = Timestamp(Clock.now().monotonic);
            self.turn_durations.note(end.since(self.datapath.now.monotonic));
        }
    }

    /// Copies the counters once a second, if anything happened. Whoever looks at them just then is not waited for: the
    /// next turn does as well.
    fn publish(&mut self) {
        let now = self.datapath.now.monotonic;
        let is_due = now >= self.snapshot_due;
        self.unpublished = !is_due;
        if is_due {
            self.datapath.server.survey(now);
            let counters = Counters {
                stats: self.datapath.server.stats().clone(),
                sent: self.datapath.sent,
                streams: self.datapath.stream_counters(),
                dtls: self.datapath.dtls_counters(),
                received: self.datapath.receiver.report(),
                dropped_by_kernel: self.datapath.dropped_by_kernel(),
                turns: self.turn_durations.clone(),
            };
            self.snapshot_due = now + Duration::from_secs(1);
            match self.snapshot.counters.try_lock() {
                Ok(mut published) => *published = counters,
                Err(TryLockError::Poisoned(published)) => *published.into_inner() = counters,
                Err(TryLockError::WouldBlock) => {
                    self.snapshot_due = now + Duration::from_millis(10);
                    self.unpublished = true;
                }
            }
        }
    }
}

/// Tokens that no relay's name can be: generations do not count that far.
const WAKER: u64 = u64::MAX;
pub(crate) const FIRST_LISTENER: u64 = u64::MAX - 1;
const LAST_LISTENER: u64 = u64::MAX - 65_536;
const FIRST_STREAM_LISTENER: u64 = LAST_LISTENER - 1;
const LAST_STREAM_LISTENER: u64 = FIRST_STREAM_LISTENER - 65_536;
/// Where the process after this one passes datagrams back that are for those who stayed.
const SUCCESSOR: u64 = LAST_STREAM_LISTENER - 1;
/// Of so many turns one is measured; a power of two.
const MEASURED_TURNS: u64 = 32;
/// Events looked at in one turn.
const EVENTS: usize = 256;
