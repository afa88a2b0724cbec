//! The server, its worker, its callers and the clock.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use turnpike_turn::{
    AlternateAddress, Alternates, ChannelRange, Client, Config, Credentials, Effect, FiveTuple, FlowId,
    IcmpError, Init, Link, NonceKey, Now, OAuthKey, OAuthKeys, PeerRules, PeerTransport, Ports, Quotas,
    RelayAddress, RelayError, RelayId, RelayedPort, Reserve, Server, Timestamp, TokenCipher, TokenKey,
    Transport, UnixTime, Usage, WaitId,
};

use super::check;
use super::connections::Connections;
use super::messages;
use crate::input::Input;

pub(super) struct World {
    pub(super) server: Server,
    config: Config,
    pub(super) now: Now,
    ports: Arc<Ports>,
    quotas: Arc<Quotas>,
    pub(super) callers: Vec<Caller>,
    pub(super) open: Vec<OpenRelay>,
    pub(super) connections: Connections,
    /// Relay sockets asked for and not answered yet.
    asked: VecDeque<Asked>,
    /// Sockets of reserved ports, by token.
    held: HashMap<[u8; 8], SocketAddr>,
    /// Ports of closed sockets that have not been given back yet.
    closing: Vec<RelayedPort>,
    /// Flows that were offered to be relayed elsewhere and not taken back.
    flows: HashSet<FlowId>,
    last_packet: Vec<u8>,
    /// The newest reservation.
    pub(super) token: [u8; 8],
    /// The newest ticket.
    pub(super) ticket: Vec<u8>,
    /// Whether relay sockets open at once.
    at_once: bool,
    checks: u32,
}

pub(super) struct OpenRelay {
    pub(super) relay: RelayId,
    pub(super) local: SocketAddr,
    pub(super) transport: PeerTransport,
}

/// A relay socket the server wants.
struct Asked {
    wait: WaitId,
    relay: RelayId,
    local: SocketAddr,
    transport: PeerTransport,
    reserve: Reserve,
}

/// A client with its credentials.
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) username: &'static str,
    pub(super) password: &'static str,
    pub(super) nonce: Vec<u8>,
    pub(super) sha256: bool,
    /// Whether it takes up all that RFC 8489 §9.2 has to offer.
    pub(super) modern: bool,
    pub(super) fingerprint: bool,
}

impl World {
    pub(super) fn from_input(input: &mut Input<'_>) -> Self {
        let flags = input.number_u16();
        let config = config(flags);
        let ports = ports(&config);
        let quotas = if flags & 1 == 0 { Quotas::new(0, 0) } else { Quotas::new(2, 5) };
        let server = Server::new(Init {
            config: Arc::new(config.clone()),
            worker: WORKER,
            workers: WORKERS,
            ports: ports.clone(),
            quotas: quotas.clone(),
            nonce_key: NonceKey::new([9; 16]),
            seed: [7; 32],
        });
        World {
            server,
            config,
            now: Now { monotonic: Timestamp(3_600_000_000_000), unix: UnixTime(1_800_000_000) },
            ports,
            quotas,
            callers: (0..CALLERS).map(Caller::new).collect(),
            open: Vec::new(),
            connections: Connections::default(),
            asked: VecDeque::new(),
            held: HashMap::new(),
            closing: Vec::new(),
            flows: HashSet::new(),
            last_packet: Vec::new(),
            token: [0; 8],
            ticket: Vec::new(),
            at_once: flags & 2 == 0,
            checks: 0,
        }
    }

    pub(super) fn client_packet(&mut self, caller: usize, packet: &[u8]) {
        let Caller { client, nonce, .. } = &mut self.callers[caller];
        let verdict = self.server.handle_client_packet(self.now, *client, packet);
        let open = |relay| self.open.iter().any(|open| open.relay == relay);
        let learnt = check::verdict(&verdict, *client, packet, open);
        if let Some(fresh) = learnt.nonce {
            *nonce = fresh;
        }
        self.token = learnt.token.unwrap_or(self.token);
        self.ticket = learnt.ticket.unwrap_or(std::mem::take(&mut self.ticket));
        self.last_packet = packet.to_vec();
        self.carry_out();
    }

    /// The last packet anybody sent, from here.
    pub(super) fn repeat_last_packet(&mut self, caller: usize) {
        let packet = std::mem::take(&mut self.last_packet);
        self.client_packet(caller, &packet);
    }

    /// A datagram for a relay that is open, if one is.
    pub(super) fn peer_packet(&mut self, input: &mut Input<'_>) {
        let choice = usize::from(input.byte());
        let peer = messages::peer(input);
        let Some(relay) = self.open.get(choice % self.open.len().max(1)).map(|open| open.relay) else {
            return;
        };
        if choice < 240 {
            return self.packet_to(relay, peer, input.blob());
        }
        if choice < 250 {
            return self.icmp_to(relay, peer, input);
        }
        let large = vec![0x55; 65_000 + usize::from(input.byte()) * 4];
        self.packet_to(relay, peer, &large[..large.len().min(65_507)]);
    }

    pub(super) fn packet_to(&mut self, relay: RelayId, peer: SocketAddr, packet: &[u8]) {
        let verdict = self.server.handle_peer_packet(self.now, relay, peer, packet);
        let known = |client: Client| self.callers.iter().any(|caller| caller.client == client);
        check::peer_verdict(&verdict, peer, packet, known);
        assert!(
            self.open.iter().any(|open| open.relay == relay)
                || matches!(verdict, turnpike_turn::Verdict::Drop(_)),
            "nothing comes through a relay that is not open"
        );
        self.carry_out();
    }

    fn icmp_to(&mut self, relay: RelayId, peer: SocketAddr, input: &mut Input<'_>) {
        let error = IcmpError { kind: input.byte() % 16, code: input.byte(), mtu: input.number_u32() };
        let verdict = self.server.handle_peer_icmp(self.now, relay, peer, error);
        let known = |client: Client| self.callers.iter().any(|caller| caller.client == client);
        check::icmp_verdict(&verdict, peer, known);
        self.carry_out();
    }

    /// Time passes, and the server is told of it, or is busy with packets first.
    pub(super) fn pass(&mut self, duration: Duration, told: bool) {
        self.now.monotonic = self.now.monotonic + duration;
        self.now.unix.0 += duration.as_secs();
        if told {
            self.tell_time();
        }
    }

    pub(super) fn answer_oldest(&mut self, opened: Result<(), RelayError>) {
        if let Some(asked) = self.asked.pop_front() {
            self.answer(asked, opened);
            self.carry_out();
        }
    }

    /// An answer under a name that nobody waits under.
    pub(super) fn stray_answer(&mut self, wait: WaitId) {
        if self.asked.iter().any(|asked| asked.wait == wait) {
            return;
        }
        let verdict = self.server.handle_relay_opened(self.now, wait, Ok(()));
        assert!(matches!(verdict, turnpike_turn::Verdict::Drop(_)), "nobody waits under {wait:?}");
        self.carry_out();
    }

    /// The operator changes the rules, ports of closed sockets come back, sockets take longer to open, or a connection
    /// ends.
    pub(super) fn change(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        match choice % 5 {
            0 => {
                self.config = config(input.number_u16());
                self.server.handle_config(Arc::new(self.config.clone()));
            }
            1 => self.closing.clear(),
            2 => self.at_once = !self.at_once,
            3 => self.disconnect(usize::from(choice / 5) % self.callers.len()),
            _ => {
                self.server.handle_shutdown(self.now);
                self.carry_out();
                assert_eq!(self.server.stats().allocations(), 0, "a server that stopped holds nothing");
            }
        }
    }

    /// The caller's connection ends, and the next one begins from the same address.
    fn disconnect(&mut self, caller: usize) {
        let client = &mut self.callers[caller].client;
        let tuple = client.tuple;
        if tuple.transport.is_stream() {
            self.server.handle_link_closed(self.now, *client);
            client.link.0 += u64::from(CALLERS);
            assert!(!self.server.is_allocated(&tuple), "an allocation ends with its connection");
            self.carry_out();
        }
    }

    /// What must hold at any time; all of it once in sixteen times, because counting the ports takes long.
    pub(super) fn check(&mut self) {
        self.checks += 1;
        if self.checks.is_multiple_of(16) {
            self.check_ports();
        }
        self.server.check_invariants();
        let allocations = self.server.stats().allocations() as usize;
        assert!(allocations <= self.open.len(), "an open relay for each");
        let most = 2 * allocations + self.asked.len();
        assert!(self.open.len() <= most, "no more than two for each, and one that waits for its other half");
        // A reserved port may keep the place of the allocation that it came with.
        let places = allocations + self.asked.len();
        let taken = self.quotas.taken() as usize;
        assert!((places..=places + self.held.len()).contains(&taken), "{taken} quota places for {places}");
    }

    fn check_ports(&self) {
        let taken = self.ports.taken() as usize;
        assert!(taken >= self.open.len() + self.asked.len(), "every relay has its port");
    }

    /// Everybody gets an answer, everything expires, and nothing is left.
    pub(super) fn end(mut self) {
        self.at_once = true;
        while !self.asked.is_empty() {
            self.answer_oldest(Err(RelayError::Other));
        }
        for _ in 0..MOST_TIMERS {
            let Some(due) = self.server.poll_timeout() else { break };
            self.pass(due.since(self.now.monotonic), true);
        }
        assert_eq!(self.server.poll_timeout(), None, "timers come to an end");
        self.check();
        self.closing.clear();
        let left = (self.open.len(), self.held.len(), self.quotas.taken(), self.ports.taken());
        assert_eq!(left, (0, 0, 0, 0), "nothing is left");
        assert!(self.connections.is_empty(), "no connection is left");
    }

    fn tell_time(&mut self) {
        self.server.handle_timeout(self.now);
        let due = self.server.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now.monotonic), "what is due has been done");
        self.carry_out();
    }

    fn answer(&mut self, asked: Asked, opened: Result<(), RelayError>) {
        let Asked { wait, relay, local, transport, reserve } = asked;
        let opened = opened.and_then(|()| self.bind(local, reserve));
        if opened.is_ok() {
            assert!(self.open.iter().all(|open| open.relay != relay), "{relay:?} twice");
            self.open.push(OpenRelay { relay, local, transport });
        }
        let verdict = self.server.handle_relay_opened(self.now, wait, opened);
        let known = |client: Client| self.callers.iter().any(|caller| caller.client == client);
        let learnt = check::answer(&verdict, known);
        self.token = learnt.token.unwrap_or(self.token);
        self.ticket = learnt.ticket.unwrap_or(std::mem::take(&mut self.ticket));
    }

    /// Binds as the system does: not what is held for a reservation that the server has let go, but has had no time
    /// to say so.
    fn bind(&mut self, local: SocketAddr, reserve: Reserve) -> Result<(), RelayError> {
        let next = match reserve {
            Reserve::Next { token, address } => Some((token, address)),
            _ => None,
        };
        for address in [Some(local), next.map(|(_, address)| address)].into_iter().flatten() {
            assert!(self.open.iter().all(|open| open.local != address), "{address} twice");
            if self.held.values().any(|held| *held == address) {
                return Err(RelayError::AddressInUse);
            }
        }
        self.held.extend(next);
        Ok(())
    }

    /// Does what the server asks of its worker.
    pub(super) fn carry_out(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::OpenRelay { wait, relay, address, transport, reserve } => {
                    // Even if the answer takes its time: whoever claims has it from now on.
                    if let Reserve::Held { token } = reserve {
                        assert_eq!(self.held.remove(&token), Some(address), "what was reserved is held");
                    }
                    let asked = Asked { wait, relay, local: address, transport, reserve };
                    if self.at_once {
                        self.answer(asked, Ok(()));
                    } else {
                        self.asked.push_back(asked);
                    }
                }
                Effect::FindCredential { .. } => unreachable!("all users are static here"),
                Effect::DropReserved { token } => drop(self.held.remove(&token)),
                Effect::FlowUp(flow) => drop(self.flows.insert(flow.id)),
                Effect::FlowDown { flow, owner } => {
                    assert!(self.flows.remove(&flow), "{flow:?} was offered before it is taken back");
                    self.server.handle_flow_usage(owner, Usage { client_packets: 1, ..Usage::default() });
                }
                Effect::CloseRelay { relay, port } => {
                    let at = self.open.iter().position(|open| open.relay == relay);
                    let at = at.unwrap_or_else(|| panic!("{relay:?} is not open"));
                    assert!(
                        self.flows.iter().all(|flow| flow.relay != relay),
                        "{relay:?} takes its flows along"
                    );
                    assert_eq!(self.open.swap_remove(at).local, port.local());
                    assert!(!self.connections.come_from(port.local()), "it takes its connections along");
                    self.closing.push(port);
                }
                Effect::ConnectPeer { connection, from, peer, deadline } => {
                    assert!(deadline > self.now.monotonic);
                    assert!(self.open.iter().any(|open| open.local == from), "{from} is not open");
                    self.connections.connect(connection, from, peer);
                }
                Effect::Splice { client, connection } => {
                    self.connections.splice(client, connection);
                    self.reconnect(client);
                }
                Effect::ClosePeer { connection } => self.connections.close(connection),
                // There is no other worker.
                Effect::Post { to, letter } => panic!("{letter:?} to worker {to}"),
                Effect::Report(event) => assert!(!format!("{event:?}").is_empty()),
            }
        }
        if self.closing.len() > 2 {
            self.closing.clear();
        }
    }
}

impl World {
    /// What a spliced connection carries are no messages any more: its caller goes on with another one.
    fn reconnect(&mut self, client: Client) {
        for caller in self.callers.iter_mut().filter(|caller| caller.client == client) {
            let port = caller.client.tuple.client.port();
            caller.client.tuple.client.set_port(port.checked_add(16).unwrap_or(4000));
        }
    }
}

impl Caller {
    fn new(number: u8) -> Self {
        let (client, server) = if number < 6 {
            (SocketAddr::from(([198, 18, 0, number / 2], 4000 + u16::from(number))), LISTENER)
        } else {
            let client = SocketAddr::from(([0x2600, 9, 0, 0, 0, 0, 0, u16::from(number)], 4000));
            (client, SocketAddr::new(RELAY_V6, 3478))
        };
        let transport = match number {
            3..=5 => Transport::Tcp,
            7 => Transport::Tls,
            _ => Transport::Udp,
        };
        let (username, password) =
            if number.is_multiple_of(2) { ("alice", "wonderland") } else { ("bob", "builder") };
        Caller {
            client: Client { link: Link(number.into()), tuple: FiveTuple { transport, server, client } },
            username,
            password,
            nonce: Vec::new(),
            sha256: number % 3 == 1,
            modern: number % 3 == 2,
            fingerprint: number % 4 < 2,
        }
    }
}

/// Few ports, so that they run out. They are made once and come back free from every run: making them costs
/// more than a run.
fn ports(config: &Config) -> Arc<Ports> {
    thread_local! {
        static FREE: RefCell<HashMap<Option<IpAddr>, Arc<Ports>>> = RefCell::default();
    }
    let relays = &config.peers.relays;
    let external = relays.first().and_then(|relay| relay.external);
    FREE.with_borrow_mut(|free| {
        free.entry(external).or_insert_with(|| Ports::new(relays, 50_000..=50_007)).clone()
    })
}

/// Rules of many kinds.
fn config(flags: u16) -> Config {
    let mut credentials = Credentials::new("example.org");
    credentials.add_user("alice", "wonderland");
    credentials.add_user("bob", "builder");
    if flags & 0x0C00 == 0x0400 {
        // Nobody here can seal a token: whatever comes as one has to be refused.
        let mut keys = OAuthKeys::new("turn.example.org");
        if let Some(key) = TokenKey::new(TokenCipher::A256Gcm, &[7; 32]) {
            keys.insert("alice", OAuthKey { key, timestamp: 0, lifetime: 0, realm: None });
        }
        credentials.set_oauth(keys);
    }
    if flags & 0x0F00 == 0x0F00 {
        credentials = Credentials::anonymous("example.org");
    }
    let external = (flags & 4 != 0).then(|| IpAddr::from([203, 0, 113, 7]));
    let relays = vec![
        RelayAddress { address: LISTENER.ip(), external },
        RelayAddress { address: RELAY_V6, external: None },
    ];
    let mut config = Config::new(Arc::new(credentials));
    config.peers = PeerRules {
        own_addresses: relays.iter().map(|relay| relay.address).collect(),
        relays,
        listening_ports: vec![3478],
        allow_loopback: flags & 8 != 0,
        ..PeerRules::default()
    };
    config.always_fingerprint = flags & 0x10 != 0;
    config.authenticated_binding = flags & 0x20 != 0;
    config.mapped_address = flags & 0x40 != 0;
    config.verbose = flags & 0x80 != 0;
    config.flows = true;
    config.reason_phrases = flags & 0x1000 != 0;
    config.check_origin = flags & 0x0A00 == 0x0A00;
    config.server_relay = flags & 0x0900 == 0x0900;
    config.relaying = flags & 0xE000 != 0xE000;
    if flags & 0x0100 != 0 {
        let side = |last, first| AlternateAddress {
            bound: IpAddr::from([192, 0, 2, last]),
            told: IpAddr::from([203, 0, 113, last]),
            links: [Link(first), Link(first + 1)],
        };
        let addresses = [side(1, 0), side(2, 2)];
        config.alternates =
            vec![Alternates { addresses, ports: [3478, 3479], datagrams: true, connections: false }];
    }
    config.mobility = flags & 0x0200 == 0;
    config.software = (flags & 0x2000 != 0).then(|| "Turnpike".into());
    config.channels = if flags & 0x4000 != 0 { ChannelRange::Rfc5766 } else { ChannelRange::Rfc8656 };
    config.max_permissions = if flags & 0x8000 != 0 { 2 } else { 1024 };
    config
}

const CALLERS: u8 = 8;
pub(super) const WORKER: u16 = 3;
pub(super) const WORKERS: u16 = 4;
const MOST_TIMERS: usize = 20_000;
const LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 3478);
const RELAY_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2600, 9, 0, 0, 0, 0, 0, 5));
