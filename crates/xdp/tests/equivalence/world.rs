//! A network namespace with two interfaces, the kernel program on its bench, and the user-space engine.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use turnpike_net::Clock;
use turnpike_turn::{
    Client, Config, Credentials, Effect, Egress, FiveTuple, Forward, Init, IpRange, Link, NonceKey, Now,
    PeerRules, Ports, Quotas, RelayAddress, RelayId, Server, SharedAccount, Timestamp, Transport, UnixTime,
    Verdict,
};
use turnpike_wire::attributes::{
    ChannelNumber, RequestedAddressFamily, RequestedTransport, XorPeerAddress, XorRelayedAddress,
};
use turnpike_wire::{Class, Family, Message, MessageWriter, Method, TransactionId};
use turnpike_xdp::{Account, Bench, Flow, FlowName, FlowTable, Outcomes, Point};

use crate::frame::{Frame, Read, read};

pub(crate) const POINTS: [Point; 2] = [Point::Xdp, Point::Tc];
/// Hardware addresses of our interfaces.
pub(crate) const CLIENTS_SIDE: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub(crate) const PEERS_SIDE: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// The neighbours, and the router behind which all other peers are.
const CLIENT: [u8; 6] = [2, 0, 0, 0, 1, 2];
const PEER: [u8; 6] = [2, 0, 0, 0, 2, 2];
pub(crate) const ROUTER: [u8; 6] = [2, 0, 0, 0, 2, 0xFE];
pub(crate) const RELAYED_PORTS: std::ops::RangeInclusive<u16> = 50_000..=50_999;

pub(crate) struct World {
    pub(crate) bench: Bench,
    pub(crate) flows: FlowTable,
    pub(crate) clients_interface: u32,
    pub(crate) peers_interface: u32,
    server: Server,
    rate: Option<u32>,
    open: Vec<(RelayId, RelayedAt)>,
    transactions: u64,
}

#[derive(Debug)]
struct RelayedAt {
    local: SocketAddr,
}

/// What a relayed address spends, in the engine and in the kernel.
#[derive(Debug)]
struct OneAccount(Arc<Account>);

impl SharedAccount for OneAccount {
    fn words(&self) -> [&AtomicU64; 2] {
        self.0.words()
    }
}

/// A bound channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) flow: Flow,
    pub(crate) name: FlowName,
}

/// What the kernel program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Forwarded(Box<Read>),
    PassedUp,
}

impl World {
    pub(crate) fn new() -> Self {
        stay_on_one_processor();
        NETWORK.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(ip);
        for family in ["ipv4", "ipv6"] {
            let switch = format!("/proc/sys/net/{family}/conf/lo/forwarding");
            std::fs::write(switch, "1").expect("the namespace is ours");
        }
        let mut bench = Bench::load(4096).expect("the kernel takes the program");
        let listeners: Vec<SocketAddr> = ["10.1.0.1:3478", "[fd01::1]:3478", "10.1.0.1:5000"]
            .map(|listener| listener.parse().unwrap())
            .into();
        bench.set_ports(&listeners, RELAYED_PORTS).unwrap();
        let [clients_interface, peers_interface] = ["clients", "peers"].map(index_of);
        bench.set_routes([1, 1], [64, 63], Duration::ZERO).unwrap();
        bench.keep_routes_for(Duration::from_secs(3600)).unwrap();
        bench.set_interface(clients_interface, clients_interface, CLIENTS_SIDE, &[]).unwrap();
        bench.set_interface(peers_interface, peers_interface, PEERS_SIDE, &[]).unwrap();
        let flows = bench.flow_table().unwrap();
        let server = Server::new(init(Quotas::new(0, 0)));
        World {
            bench,
            flows,
            clients_interface,
            peers_interface,
            server,
            rate: None,
            open: Vec::new(),
            transactions: 0,
        }
    }

    /// From here on, which is the beginning, relayed addresses have a limit, in bytes a second.
    pub(crate) fn limit(&mut self, rate: u64) {
        assert!(self.open.is_empty());
        self.server = Server::new(init(Quotas::with_bandwidth(0, 0, rate, 0)));
        self.rate = rate.try_into().ok();
    }

    /// A client that allocates an address of this family by the given listener.
    pub(crate) fn allocate(&mut self, client: &str, server: &str, family: Family) -> SocketAddr {
        let tuple = tuple(client, server);
        let mut buffer = [0; 200];
        let id = self.transaction();
        let mut writer = MessageWriter::new(&mut buffer, Class::Request, Method::ALLOCATE, id);
        writer.add(&RequestedTransport::UDP).add(&RequestedAddressFamily(family));
        let request = writer.finish().unwrap();
        let answer = self.ask(tuple, request);
        let answer = Message::parse(&answer).unwrap();
        answer.get::<XorRelayedAddress>().unwrap().expect("an address was relayed").0
    }

    /// Binds a channel, in the engine and in the kernel.
    pub(crate) fn bind(&mut self, client: &str, server: &str, channel: u16, peer: SocketAddr) -> Call {
        let tuple = tuple(client, server);
        let mut buffer = [0; 200];
        let id = self.transaction();
        let mut writer = MessageWriter::new(&mut buffer, Class::Request, Method::CHANNEL_BIND, id);
        writer.add(&ChannelNumber(channel)).add(&XorPeerAddress(peer));
        let request = writer.finish().unwrap();
        let answer = self.ask(tuple, request);
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
        let (relay, relayed) = self.relay_towards(tuple, channel);
        let own_peer = self.open.iter().any(|(_, open)| open.local == peer);
        let deadline = now().monotonic.0 + Duration::from_secs(300).as_nanos() as u64;
        let FiveTuple { client, server, .. } = tuple;
        let flow = Flow { client, server, relayed, peer, own_peer, channel, deadline, rate: self.rate };
        let name = FlowName { relay: relay.to_bits(), channel };
        if self.rate.is_some() {
            let account = self.flows.account(name.relay).expect("there is room");
            self.server.share_account(relay, Arc::new(OneAccount(account)));
        }
        assert!(self.flows.set(name, flow).is_ok(), "there is room");
        Call { flow, name }
    }

    /// A call of one client with one peer of this family, by a listener of its own family.
    pub(crate) fn call(&mut self, number: u16, client_family: Family, peer_family: Family) -> Call {
        let (client, server) = match client_family {
            Family::Ipv4 => (format!("10.1.0.2:{}", 20_000 + number), "10.1.0.1:3478"),
            Family::Ipv6 => (format!("[fd01::2]:{}", 20_000 + number), "[fd01::1]:3478"),
        };
        let peer = match peer_family {
            Family::Ipv4 => format!("10.2.0.2:{}", 30_000 + number),
            Family::Ipv6 => format!("[fd02::2]:{}", 30_000 + number),
        };
        self.allocate(&client, server, peer_family);
        self.bind(&client, server, 0x4000 + number, peer.parse().unwrap())
    }

    /// What the kernel did with a frame, after the engine was asked and found to agree.
    #[track_caller]
    pub(crate) fn agree(&mut self, point: Point, interface: u32, bytes: &[u8]) -> Did {
        let did = self.run(point, interface, bytes);
        let Did::Forwarded(out) = &did else { return did };
        let incoming = read(bytes).expect("only what a host would accept is forwarded");
        let expected = self.engine(&incoming).expect("what the kernel forwards, user space would have");
        assert_eq!((out.from, out.to), (expected.0, expected.1));
        assert_eq!(out.payload, expected.2);
        assert_eq!(out.check, incoming.check, "a checksum stays as right as it was");
        assert_eq!((out.hops, out.class), (if out.to.is_ipv4() { 64 } else { 63 }, 0));
        assert!(!out.dont_fragment && out.trailer == 0);
        did
    }

    /// Runs the program on a frame; whatever is passed up is untouched, and nothing is dropped.
    #[track_caller]
    pub(crate) fn run(&mut self, point: Point, interface: u32, bytes: &[u8]) -> Did {
        if point == Point::Tc && !has_network_header(bytes) {
            // The kernel refuses to try these out; the XDP program, which reads alike, has seen them.
            return Did::PassedUp;
        }
        let (verdict, out) = self.bench.run(point, interface, 0, bytes).expect("the program runs");
        match (point, verdict) {
            (Point::Xdp, XDP_PASS) | (Point::Tc, TCX_NEXT) => {
                assert_eq!(out, bytes, "what is passed up is untouched");
                Did::PassedUp
            }
            (Point::Xdp, XDP_TX | XDP_REDIRECT) | (Point::Tc, TCX_REDIRECT) => {
                Did::Forwarded(Box::new(read(&out).expect("what is forwarded is sound")))
            }
            _ => panic!("verdict {verdict} at {point}"),
        }
    }

    /// What user space would send for a packet: from, to, bytes.
    pub(crate) fn engine(&mut self, packet: &Read) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let relay = self.open.iter().find(|(_, open)| open.local == packet.to).map(|(relay, _)| *relay);
        let verdict = match relay {
            Some(relay) => self.server.handle_peer_packet(now(), relay, packet.from, &packet.payload),
            None => {
                let tuple = FiveTuple { transport: Transport::Udp, server: packet.to, client: packet.from };
                self.server.handle_client_packet(now(), Client { link: Link(1), tuple }, &packet.payload)
            }
        };
        let Verdict::Forward(Forward { to, head, span, tail, .. }) = verdict else { return None };
        let bytes = [head.as_slice(), &packet.payload[span], tail.as_slice()].concat();
        match to {
            Egress::Client(client) => Some((client.tuple.server, client.tuple.client, bytes)),
            Egress::Peer { relay, peer } => {
                let from = self.open.iter().find(|(open, _)| *open == relay).expect("it is open").1.local;
                if self.open.iter().any(|(_, open)| open.local == peer) {
                    return self.engine(&Read { from, to: peer, payload: bytes, ..packet.clone() });
                }
                Some((from, peer, bytes))
            }
        }
    }

    /// Runs `ip`, and tells the program that something has changed, as the server does when it hears so.
    pub(crate) fn change(&mut self, arguments: &str) {
        ip(arguments);
        self.bench.forget_routes().unwrap();
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        self.bench.outcomes()
    }

    /// Which relayed address a bound channel leads from: whatever the engine sends its data by.
    fn relay_towards(&mut self, tuple: FiveTuple, channel: u16) -> (RelayId, SocketAddr) {
        let data = turnpike_wire::channel_data_header(channel, 0);
        let verdict = self.server.handle_client_packet(now(), Client { link: Link(1), tuple }, &data);
        let Verdict::Forward(Forward { to: Egress::Peer { relay, .. }, .. }) = verdict else {
            panic!("the channel is bound: {verdict:?}")
        };
        let (_, open) = self.open.iter().find(|(open, _)| *open == relay).expect("it is open");
        (relay, open.local)
    }

    /// A request's answer; relays that are asked for are opened.
    fn ask(&mut self, tuple: FiveTuple, request: &[u8]) -> Vec<u8> {
        let client = Client { link: Link(1), tuple };
        let verdict = self.server.handle_client_packet(now(), client, request);
        if let Verdict::Reply { bytes, .. } = verdict {
            let bytes = bytes.to_vec();
            while self.server.poll_effect().is_some() {}
            return bytes;
        }
        while let Some(effect) = self.server.poll_effect() {
            if let Effect::OpenRelay { wait, relay, address, .. } = effect {
                self.open.push((relay, RelayedAt { local: address }));
                let verdict = self.server.handle_relay_opened(now(), wait, Ok(()));
                let Verdict::Reply { bytes, .. } = verdict else { panic!("no reply: {verdict:?}") };
                return bytes.to_vec();
            }
        }
        panic!("no answer")
    }

    fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [7; 12];
        id[4..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(id)
    }
}

impl Call {
    /// ChannelData of the client.
    pub(crate) fn client_sends(&self, data: &[u8]) -> Frame {
        Frame::new(CLIENTS_SIDE, self.flow.client, self.flow.server, channel_data(self.flow.channel, data))
    }

    /// A datagram of the peer.
    pub(crate) fn peer_sends(&self, data: &[u8]) -> Frame {
        Frame::new(PEERS_SIDE, self.flow.peer, self.flow.relayed, data.to_vec())
    }
}

impl Did {
    #[track_caller]
    pub(crate) fn forwarded(self) -> Read {
        match self {
            Did::Forwarded(read) => *read,
            Did::PassedUp => panic!("passed up"),
        }
    }
}

/// Whose hardware address a frame to this address bears.
pub(crate) fn neighbour(ip: IpAddr) -> [u8; 6] {
    match ip.to_string().as_str() {
        "10.1.0.2" | "10.1.0.3" | "fd01::2" | "fd01::3" => CLIENT,
        "10.2.0.2" | "fd02::2" => PEER,
        _ => ROUTER,
    }
}

pub(crate) fn channel_data(channel: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = channel.to_be_bytes().to_vec();
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// Bytes that differ everywhere.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

pub(crate) fn now() -> Now {
    let reading = Clock.now();
    Now { monotonic: Timestamp(reading.monotonic), unix: UnixTime(reading.unix) }
}

/// Runs `work` in a namespace of its own: at once if this is one, otherwise by running this very test there.
pub(crate) fn within(test: &str, work: impl FnOnce(&mut World)) {
    if std::env::var_os(INSIDE).is_some() {
        return work(&mut World::new());
    }
    if !may_load_programs() {
        println!("skipped: {test} needs root to load programs into the kernel");
        return;
    }
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .output()
        .expect("the tests need `unshare` of util-linux, and within it `ip` of iproute2");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaints}");
    said.lines().filter(|line| line.starts_with("measured:")).for_each(|line| println!("{line}"));
}

/// Whether this is root with every capability that counts here.
fn may_load_programs() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default();
    let held = u64::from_str_radix(line.trim(), 16).unwrap_or_default();
    [CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF].iter().all(|capability| held & 1 << capability != 0)
}

fn has_network_header(bytes: &[u8]) -> bool {
    match bytes.get(12..14) {
        Some([0x08, 0x00]) => bytes.len() >= 34,
        Some([0x86, 0xDD]) => bytes.len() >= 54,
        _ => true,
    }
}

/// The program keeps routes for each processor apart: moved to another one in the middle, a test would be told of a new
/// route though nothing has changed.
fn stay_on_one_processor() {
    let allowed = sched_getaffinity(None).expect("a thread may know its processors");
    let first = (0..CpuSet::MAX_CPU).find(|processor| allowed.is_set(*processor)).expect("it runs on one");
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).expect("one of those that are allowed");
}

pub(crate) fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().expect("ip of iproute2");
    assert!(done.success(), "ip {arguments}");
}

fn index_of(interface: &str) -> u32 {
    let output = Command::new("ip").args(["-o", "link", "show", interface]).output().expect("ip of iproute2");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split(':').next().and_then(|index| index.parse().ok()).expect("the interface has an index")
}

fn tuple(client: &str, server: &str) -> FiveTuple {
    let [client, server] = [client, server].map(|address| address.parse().expect("an address"));
    FiveTuple { transport: Transport::Udp, server, client }
}

/// Everybody may allocate and every peer may be reached.
fn init(quotas: Arc<Quotas>) -> Init {
    let relays =
        ["10.2.0.1", "fd02::1"].map(|ip| RelayAddress { address: ip.parse().unwrap(), external: None });
    let range =
        |first: &str, last: &str| IpRange { first: first.parse().unwrap(), last: last.parse().unwrap() };
    let mut config = Config::new(Arc::new(Credentials::anonymous("example.org")));
    config.channels = turnpike_turn::ChannelRange::Rfc5766;
    config.peers = PeerRules {
        allowed: vec![
            range("0.0.0.0", "255.255.255.255"),
            range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ],
        own_addresses: ["10.1.0.1", "fd01::1", "10.2.0.1", "fd02::1"].map(|ip| ip.parse().unwrap()).into(),
        relays: relays.to_vec(),
        listening_ports: vec![3478, 5000],
        ..PeerRules::default()
    };
    Init {
        config: Arc::new(config),
        worker: 0,
        workers: 1,
        ports: Ports::new(&relays, RELAYED_PORTS),
        quotas,
        nonce_key: NonceKey::new([9; 16]),
        seed: [5; 32],
    }
}

/// Two links whose far ends are nobody's, with neighbours that are known for good.
const NETWORK: &str = "
    link set lo up
    link add clients address 02:00:00:00:01:01 type veth peer name clients-end
    link add peers address 02:00:00:00:02:01 type veth peer name peers-end
    link set clients-end up
    link set peers-end up
    link set clients up
    link set peers up
    address add 10.1.0.1/24 dev clients
    address add fd01::1/64 dev clients nodad
    address add 10.2.0.1/24 dev peers
    address add fd02::1/64 dev peers nodad
    neighbour add 10.1.0.2 lladdr 02:00:00:00:01:02 dev clients nud permanent
    neighbour add 10.1.0.3 lladdr 02:00:00:00:01:02 dev clients nud permanent
    neighbour add fd01::2 lladdr 02:00:00:00:01:02 dev clients nud permanent
    neighbour add fd01::3 lladdr 02:00:00:00:01:02 dev clients nud permanent
    neighbour add 10.2.0.2 lladdr 02:00:00:00:02:02 dev peers nud permanent
    neighbour add fd02::2 lladdr 02:00:00:00:02:02 dev peers nud permanent
    neighbour add 10.2.0.254 lladdr 02:00:00:00:02:fe dev peers nud permanent
    neighbour add fd02::fe lladdr 02:00:00:00:02:fe dev peers nud permanent
    route add default via 10.2.0.254
    -6 route add default via fd02::fe
";
const INSIDE: &str = "TURNPIKE_XDP_INSIDE_NAMESPACE";
const XDP_PASS: i32 = 2;
const XDP_TX: i32 = 3;
const XDP_REDIRECT: i32 = 4;
const TCX_NEXT: i32 = -1;
const TCX_REDIRECT: i32 = 7;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;
