//! The world: virtual clocks, a queue of what happens next, the workers under test, their sockets, and the
//! network between them and everybody else.
//!
//! Each input goes to a worker's core and to the model; [`World`] compares what they say at once.

mod carrying_out;
mod peer_connections;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_turn::{
    Client, ConnectError, IcmpError, Init, Link, NonceKey, Now, PeerConnectionId, PeerTransport, Ports,
    Quotas, RelayError, RelayId, RelayedPort, Server, Timestamp, UnixTime, WaitId,
};

pub(crate) use peer_connections::FIRST_STREAM;
use peer_connections::PeerConnection;

use crate::connections::{Connections, transport_of};
use crate::kernel::{Kernel, Relayed};
use crate::letters::Consequences;
use crate::model::{Expected, Model, Source};
use crate::network::{Datagram, Faults, SECOND};
use crate::observed::{Action, Observed};
use crate::random::Random;
use crate::settings::{Settings, ip};
use crate::sources::seed;
use crate::tally::features_used;
use crate::trace::Trace;

/// Servers, model, network and clock.
#[derive(Debug)]
pub(crate) struct World {
    /// The randomness of the network and the operating system.
    pub(crate) random: Random,
    /// The rules in force.
    pub(crate) settings: Settings,
    /// How bad the network is.
    pub(crate) faults: Faults,
    /// Nanoseconds since the beginning.
    pub(crate) now: u64,
    /// What was recorded.
    pub(crate) trace: Trace,
    /// Inputs handed to a core so far.
    pub(crate) inputs: u64,
    /// How the core reacted, for the tally.
    pub(crate) actions: BTreeMap<String, u64>,
    pub(crate) model: Model,
    pub(crate) servers: Vec<Server>,
    pub(crate) connections: Connections,
    ports: Arc<Ports>,
    quotas: Arc<Quotas>,
    pub(crate) sockets: Vec<Socket>,
    peer_connections: Vec<PeerConnection>,
    /// Clients that have come by TCP.
    stream_clients: Vec<Client>,
    /// Connections that are at another worker than the kernel gave them to.
    moved: BTreeMap<SocketAddr, u16>,
    /// The name of a connection that a peer has just made.
    accepted: Option<PeerConnectionId>,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    unix_offset: i64,
    /// Who relays flows in the place of the workers.
    pub(crate) kernel: Kernel,
    /// By how many nanoseconds each worker wakes too late.
    lateness: Vec<u64>,
    /// Permille of relay sockets that cannot be opened, and of answers that come twice.
    socket_failures: u64,
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A datagram arrives.
    Arrival(Datagram),
    /// Bytes of a connection arrive at the server.
    Segment(Link, Vec<u8>),
    /// A message from the server arrives at a connection's client.
    Delivery(Link, Datagram),
    /// A connection ends.
    Break(Link),
    /// An actor does something.
    Wake(usize),
    /// A worker is told how opening a socket went.
    RelayOpened(u16, WaitId, Result<(), RelayError>),
    /// A socket has been closed and its port is dropped.
    Release(RelayedPort),
    /// A worker is told how connecting to a peer went.
    PeerConnected(u16, PeerConnectionId, Result<(), ConnectError>),
    /// Something happens to a connection.
    Connection,
    /// Some router or host sends an ICMP error.
    IcmpError,
    /// The operator changes the rules.
    Reload,
    /// Somebody sets the clock.
    ClockStep,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) worker: u16,
    pub(crate) relay: RelayId,
    pub(crate) local: SocketAddr,
    pub(crate) transport: PeerTransport,
}

impl World {
    /// The world before anything has happened.
    pub(crate) fn new(mut random: Random, trace: Trace) -> Self {
        let settings = Settings::random(&mut random);
        let faults = Faults::random(&mut random);
        let ports = Ports::new(&settings.relays, settings.first_port..=settings.last_port);
        let quotas = Quotas::new(settings.user_quota, settings.total_quota);
        let nonce_key = NonceKey::new(random.bytes());
        let mut servers = Vec::new();
        for worker in 0..settings.workers {
            servers.push(Server::new(Init {
                config: settings.config(),
                worker,
                workers: settings.workers,
                ports: ports.clone(),
                quotas: quotas.clone(),
                nonce_key: nonce_key.clone(),
                seed: seed(random.bytes()),
            }));
        }
        World {
            socket_failures: *random.pick(&[0, 50, 300]),
            lateness: vec![0; servers.len()],
            model: Model::new(settings.clone()),
            random,
            settings,
            faults,
            now: SECOND,
            trace,
            inputs: 0,
            actions: BTreeMap::new(),
            servers,
            connections: Connections::default(),
            ports,
            quotas,
            sockets: Vec::new(),
            peer_connections: Vec::new(),
            stream_clients: Vec::new(),
            moved: BTreeMap::new(),
            accepted: None,
            queue: BTreeMap::new(),
            sequence: 0,
            unix_offset: 0,
            kernel: Kernel::default(),
        }
    }

    /// Both clocks.
    pub(crate) fn clocks(&self) -> Now {
        let unix = UNIX_START + (self.now / SECOND) as i64 + self.unix_offset;
        Now { monotonic: Timestamp(self.now), unix: UnixTime(unix as u64) }
    }

    /// Lets something happen after `delay` nanoseconds.
    pub(crate) fn schedule(&mut self, delay: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    /// Puts a datagram on the network, or a client's message on its connection.
    pub(crate) fn send(&mut self, datagram: Datagram) {
        if !self.settings.moving && self.is_listener(datagram.to) && transport_of(datagram.from).is_stream() {
            return self.send_on_stream(datagram);
        }
        for (delay, datagram) in self.faults.transmit(datagram, &mut self.random) {
            self.schedule(delay, Happening::Arrival(datagram));
        }
    }

    /// Moves on to what happens next, workers' timers included; `None` at the end of all things.
    pub(crate) fn next_happening(&mut self) -> Result<Option<Happening>, String> {
        loop {
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let timers = (0..self.settings.workers).filter_map(|worker| {
                let due = self.servers[usize::from(worker)].poll_timeout()?.0;
                Some((due.max(self.now) + self.lateness[usize::from(worker)], worker))
            });
            let timer = timers.min();
            match (next, timer) {
                (None, None) => return Ok(None),
                (Some(at), timer) if timer.is_none_or(|(due, _)| at < due) => {
                    self.now = at;
                    return Ok(self.queue.pop_first().map(|(_, happening)| happening));
                }
                (_, Some((due, worker))) => {
                    self.now = due;
                    self.wake(worker)?;
                }
                (Some(_), None) => unreachable!("without timers the queue is next"),
            }
        }
    }

    /// Hands a client's datagram to the worker it belongs to.
    pub(crate) fn client_packet(&mut self, datagram: &Datagram) -> Result<(), String> {
        let tuple = self.tuple_of(datagram.from, datagram.to);
        let worker = self.worker_of(datagram.from);
        let client = Client { link: Link(worker.into()), tuple };
        self.note_stream_client(tuple, client.link);
        self.packet_of(Source { worker, client }, datagram)
    }

    /// Hands a client's datagram, or a message that came by its connection, to its worker.
    pub(crate) fn packet_of(&mut self, source: Source, datagram: &Datagram) -> Result<(), String> {
        if self.is_splice_of(datagram)? {
            return Ok(());
        }
        let Source { worker, client } = source;
        // Others may have to do with it.
        for worker in 0..self.settings.workers {
            self.wake_if_due(worker)?;
        }
        let now = self.clocks();
        let expected = self.model.client_packet(now, source, &datagram.bytes);
        let relayed = self.kernel.client_packet(self.now, source, &datagram.bytes, &mut self.random);
        if let Some(relayed) = relayed {
            return self.conclude_in_kernel(
                worker,
                ("client packet in the kernel", datagram),
                expected,
                relayed,
            );
        }
        let verdict = self.servers[usize::from(worker)].handle_client_packet(now, client, &datagram.bytes);
        let action = Action::of(verdict, &datagram.bytes);
        for feature in features_used(&datagram.bytes, &action) {
            *self.actions.entry(feature.into()).or_default() += 1;
        }
        let elsewhere = if let Action::HandOver(worker) = action { Some(worker) } else { None };
        self.conclude(worker, ("client packet", datagram), expected, action)?;
        match elsewhere {
            Some(worker) if self.move_connection(client.link, worker) => {
                self.packet_of(Source { worker, client }, datagram)
            }
            Some(worker) => {
                self.hand_over(datagram, worker);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Hands a datagram to the relay socket it is for, if there is one.
    pub(crate) fn peer_packet(&mut self, datagram: &Datagram) -> Result<(), String> {
        let local = self.local_form(datagram.to);
        let udp = self.sockets.iter().filter(|socket| socket.transport == PeerTransport::Udp);
        let Some(socket) = udp.into_iter().find(|socket| socket.local == local) else { return Ok(()) };
        let (worker, relay, peer) = (socket.worker, socket.relay, datagram.from);
        self.wake_if_due(worker)?;
        let now = self.clocks();
        let expected = self.model.peer_packet(now, worker, relay, peer, &datagram.bytes);
        let relayed =
            self.kernel.peer_packet(self.now, (worker, local), peer, &datagram.bytes, &mut self.random);
        if let Some(relayed) = relayed {
            return self.conclude_in_kernel(
                worker,
                ("peer packet in the kernel", datagram),
                expected,
                relayed,
            );
        }
        let server = &mut self.servers[usize::from(worker)];
        let action =
            Action::of(server.handle_peer_packet(now, relay, peer, &datagram.bytes), &datagram.bytes);
        self.conclude(worker, ("peer packet", datagram), expected, action)
    }

    /// What the kernel relayed is what was expected, and counts for its session as relayed there.
    fn conclude_in_kernel(
        &mut self,
        worker: u16,
        input: (&str, &Datagram),
        expected: Expected,
        (action, relay, bytes): Relayed,
    ) -> Result<(), String> {
        self.model.relayed_elsewhere(worker, relay, bytes);
        *self.actions.entry(input.0.into()).or_default() += 1;
        self.conclude(worker, input, expected, action)
    }

    /// Lets some open relay socket, or one that was closed, hear of an ICMP error about somebody.
    pub(crate) fn peer_icmp(&mut self) -> Result<(), String> {
        let Some(socket) = self.random.pick_some(&self.sockets) else { return Ok(()) };
        let (worker, mut relay, ipv4) = (socket.worker, socket.relay, socket.local.is_ipv4());
        if self.random.chance(20) {
            relay.generation = relay.generation.wrapping_sub(1);
        }
        let relayed = self.sockets.iter().map(|socket| socket.local);
        let peers = relayed.chain(crate::actors::public()).chain(crate::actors::public_six());
        let peers: Vec<SocketAddr> = peers.filter(|peer| peer.is_ipv4() == ipv4).collect();
        let peer = *self.random.pick(&peers);
        let kind = *self.random.pick(&[3, 3, 11, 1, 2, 0, 5, 129]);
        let code = self.random.below(16) as u8;
        let error = IcmpError { kind, code, mtu: *self.random.pick(&[0, 1280, 1400]) };
        self.wake_if_due(worker)?;
        let now = self.clocks();
        let expected = self.model.peer_icmp(now, worker, relay, peer, error);
        let action =
            Action::of(self.servers[usize::from(worker)].handle_peer_icmp(now, relay, peer, error), &[]);
        self.conclude(worker, ("ICMP error", &format!("{relay:?} {peer} {error:?}")), expected, action)
    }

    /// Tells a worker how opening a socket went.
    pub(crate) fn relay_opened(
        &mut self,
        worker: u16,
        wait: WaitId,
        opened: Result<(), RelayError>,
    ) -> Result<(), String> {
        self.wake_if_due(worker)?;
        let now = self.clocks();
        let expected = self.model.relay_opened(now, worker, wait, opened);
        let verdict = self.servers[usize::from(worker)].handle_relay_opened(now, wait, opened);
        let action = Action::of(verdict, &[]);
        self.conclude(worker, ("relay opened", &format!("{wait:?} {opened:?}")), expected, action)
    }

    /// Drops the port of a closed socket.
    pub(crate) fn release(&mut self, port: RelayedPort) {
        self.model.port_released(port.local());
    }

    /// Changes the rules of all workers.
    pub(crate) fn reload(&mut self) {
        let mut settings = self.settings.clone();
        settings.change(&mut self.random);
        self.apply(settings);
    }

    /// Sets the wall clock forwards or backwards.
    pub(crate) fn step_clock(&mut self) {
        self.unix_offset += *self.random.pick(&[-3600, -60, -11, -5, 5, 60, 3600, 100_000]);
        self.trace.record(&self.unix_offset, || "the clock is set");
    }

    /// Stops all workers.
    pub(crate) fn shut_down(&mut self) -> Result<(), String> {
        for worker in 0..self.settings.workers {
            self.wake_if_due(worker)?;
            let now = self.clocks();
            let expected = self.model.shutdown(now, worker);
            self.servers[usize::from(worker)].handle_shutdown(now);
            self.conclude(worker, ("shutdown", &0), expected, Action::Nothing)?;
        }
        Ok(())
    }

    /// Whether an address is one of the server's listeners.
    pub(crate) fn is_listener(&self, address: SocketAddr) -> bool {
        LISTENERS.iter().any(|listener| ip(listener) == address.ip())
            && address.port() == self.settings.listening_port
    }

    /// What must hold at any time, and takes a little longer to check.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let taken = self.ports.taken() as usize;
        if taken != self.model.ports_taken() {
            return Err(format!("{taken} ports are taken, expected {}", self.model.ports_taken()));
        }
        let places = self.quotas.taken() as usize;
        if places != self.model.places_taken() {
            return Err(format!("{places} quota places are taken, expected {}", self.model.places_taken()));
        }
        for worker in 0..self.settings.workers {
            self.kernel.tell(worker, &mut self.servers[usize::from(worker)]);
            self.model.check_stats(worker, self.servers[usize::from(worker)].stats())?;
        }
        Ok(())
    }

    /// What must hold when everything has come to its end.
    pub(crate) fn check_end(&mut self) -> Result<(), String> {
        self.check()?;
        let left =
            (self.ports.taken(), self.quotas.taken(), self.sockets.len() + self.peer_connections.len());
        if left != (0, 0, 0) {
            return Err(format!("(ports, quota places, sockets) are left behind: {left:?}"));
        }
        Ok(())
    }

    fn apply(&mut self, settings: Settings) {
        self.trace.record(&format!("{settings:?}"), || format!("reload {settings:?}"));
        self.settings = settings.clone();
        self.model.reload(settings);
        for server in &mut self.servers {
            server.handle_config(self.settings.config());
        }
    }

    /// Wakes a worker whose timer is due, as its loop does before it looks at packets.
    pub(crate) fn wake_if_due(&mut self, worker: u16) -> Result<(), String> {
        let due = self.servers[usize::from(worker)].poll_timeout();
        // Now and then a worker wakes for nothing.
        if due.is_some_and(|due| due.0 <= self.now) || self.random.chance(5) {
            self.wake(worker)?;
        }
        Ok(())
    }

    fn wake(&mut self, worker: u16) -> Result<(), String> {
        let now = self.clocks();
        let expected = self.model.timeout(now, worker);
        self.servers[usize::from(worker)].handle_timeout(now);
        // About as often as a worker reads what its flows relayed.
        if self.random.chance(300) {
            self.kernel.tell(worker, &mut self.servers[usize::from(worker)]);
        }
        let late = self.random.chance(100);
        self.lateness[usize::from(worker)] = if late { self.random.below(SECOND / 5) } else { 0 };
        self.conclude(worker, ("timeout", &0), expected, Action::Nothing)?;
        match self.servers[usize::from(worker)].poll_timeout() {
            Some(due) if due.0 <= self.now => Err("a timer is still due after handle_timeout".into()),
            _ => Ok(()),
        }
    }

    /// Drains the effects of an input, compares it with the model, and carries out what the core wants.
    pub(crate) fn conclude<T: std::hash::Hash + std::fmt::Debug>(
        &mut self,
        worker: u16,
        (kind, input): (&str, &T),
        expected: Expected,
        action: Action,
    ) -> Result<(), String> {
        self.inputs += 1;
        let (last, action, consequences) = self.follow(worker, action);
        let Consequences { openings, closings, reports, ports, connects, splices, closed, .. } = consequences;
        let accepted = self.accepted.take();
        let observed = Observed { action, openings, closings, connects, splices, closed, accepted, reports };
        let now = self.clocks();
        let text = || format!("{} worker {worker} {kind} {input:?}\n    -> {observed:?}", self.now);
        self.trace.record(&(self.now, worker, kind, input, observed.action.essence()), text);
        self.model.settle(now, expected, &observed).map_err(|difference| {
            format!(
                "at {} ns, worker {worker}, {kind} {input:?}\n{difference}\nobserved: {observed:?}",
                self.now
            )
        })?;
        for worker in [worker, last] {
            let server = &self.servers[usize::from(worker)];
            server.check_invariants();
            let (due, expiry) = (server.poll_timeout(), self.model.next_expiry(worker));
            if expiry.is_some_and(|expiry| due.is_none_or(|due| due > expiry)) {
                return Err(format!("the next timer is at {due:?}, an allocation expires at {expiry:?}"));
            }
        }
        self.carry_out(last, observed, ports);
        Ok(())
    }

    /// The kernel keeps a 5-tuple on one worker.
    pub(crate) fn worker_of(&self, client: SocketAddr) -> u16 {
        self.moved.get(&client).copied().unwrap_or(client.port() % self.settings.workers)
    }

    fn outer_form(&self, local: SocketAddr) -> SocketAddr {
        let relay = self.settings.relays.iter().find(|relay| relay.address == local.ip());
        relay.map_or(local, |relay| SocketAddr::new(relay.advertised(), local.port()))
    }

    fn local_form(&self, outer: SocketAddr) -> SocketAddr {
        let relay = self.settings.relays.iter().find(|relay| relay.external == Some(outer.ip()));
        relay.map_or(outer, |relay| SocketAddr::new(relay.address, outer.port()))
    }
}

/// Where the server listens.
pub(crate) const LISTENERS: [&str; 3] = ["192.0.2.1", "203.0.113.20", "2600:9::5"];
/// 2026-01-01, as good a day as any.
const UNIX_START: i64 = 1_767_225_600;
