use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use turnpike_turn::IpRange;

use super::*;

/// Streams behind a listener on loopback, where whoever connects is a proxy.
struct World {
    streams: Streams,
    poller: Poller,
    pool: PacketPool,
    server: SocketAddr,
    now: Timestamp,
}

impl World {
    fn new(per_source: u32) -> Self {
        let listeners = TcpListener::bind_group("127.0.0.1:0".parse().unwrap(), 1, None).unwrap();
        let server = listeners[0].local_address();
        let loopback = IpRange { first: server.ip(), last: server.ip() };
        let proxies = ProxyRules { from: vec![loopback], ..ProxyRules::default() };
        let limits = StreamLimits { per_source, total: 100, idle: Duration::from_secs(60) };
        let poller = Poller::new().unwrap();
        let rules = (limits, HttpAnswers::default(), proxies);
        let listeners = StreamListeners::watch(listeners, u64::MAX, &poller).unwrap();
        let streams = Streams::new(listeners, None, rules);
        World { streams, poller, pool: PacketPool::new(4), server, now: Timestamp(1_000_000_000) }
    }

    /// A new connection on which `bytes` have arrived.
    fn connect(&mut self, bytes: &[u8]) -> (TcpStream, Link) {
        let before = self.streams.links();
        let mut client = TcpStream::connect(self.server).unwrap();
        client.write_all(bytes).unwrap();
        let came = |streams: &Streams| streams.links().into_iter().find(|link| !before.contains(link));
        for _ in 0..ATTEMPTS {
            self.streams.accept(0, self.now, &self.poller, |_| panic!("nobody is refused"));
            if let Some(link) = came(&self.streams) {
                return (client, link);
            }
            std::thread::yield_now();
        }
        panic!("the connection does not come");
    }

    /// Reads a connection until its header is there, or it is to be closed.
    fn read(&mut self, link: Link) -> Option<Closing> {
        for _ in 0..ATTEMPTS {
            if let Fill::Close(closing) = self.streams.fill(link, &mut self.pool, true) {
                return Some(closing);
            }
            if self.streams.get(link).is_some_and(|stream| !stream.awaits_header) {
                return None;
            }
            std::thread::yield_now();
        }
        panic!("the header does not come");
    }

    fn open_of(&self, source: Ipv4Addr) -> u32 {
        self.streams.sources.get(&source.into()).copied().unwrap_or_default()
    }
}

fn header(client: Ipv4Addr) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 4000 3478\r\n").into_bytes()
}

/// How often to look for what has been sent on loopback already.
const ATTEMPTS: u32 = 1_000_000;
const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

#[test]
fn a_connection_counts_as_its_clients_as_soon_as_the_proxy_has_named_him() {
    let mut world = World::new(2);
    let mut kept = Vec::new();
    for number in 1..=2 {
        let (client, link) = world.connect(&header(CLIENT));
        assert_eq!(world.open_of(Ipv4Addr::LOCALHOST), 1);
        assert_eq!(world.read(link), None);
        assert_eq!((world.open_of(Ipv4Addr::LOCALHOST), world.open_of(CLIENT)), (0, number));
        kept.push((client, link));
    }
    // One more than a source may have; another client of the same proxy may.
    let (_client, link) = world.connect(&header(CLIENT));
    assert_eq!(world.read(link), Some(Closing::Ended));
    assert!(world.streams.close(link, Closing::Ended).is_some());
    assert_eq!(world.streams.counters().refused, 1);
    let (_client, link) = world.connect(&header(Ipv4Addr::new(203, 0, 113, 10)));
    assert_eq!(world.read(link), None);
    for (_, link) in kept {
        world.streams.close(link, Closing::Ended);
    }
    assert_eq!((world.open_of(Ipv4Addr::LOCALHOST), world.open_of(CLIENT)), (0, 0));
}

#[test]
fn a_proxy_that_never_ends_its_header_is_closed_like_any_other_that_is_silent() {
    let mut world = World::new(2);
    let (mut client, link) = world.connect(b"PROXY ");
    for byte in b"TCP4 203.0" {
        client.write_all(&[*byte]).unwrap();
        let taken = |world: &World| world.streams.get(link).map(Stream::unread);
        let before = taken(&world);
        let mut attempts = 0..ATTEMPTS;
        while taken(&world) == before {
            assert!(matches!(world.streams.fill(link, &mut world.pool, true), Fill::Dry));
            assert!(attempts.next().is_some(), "the byte does not come");
            std::thread::yield_now();
        }
        // What has come is taken, so that the poller does not report it for ever.
        world.now = world.now + Duration::from_secs(3);
        assert_eq!(world.streams.pop_idle(world.now, |_| false), None);
    }
    world.now = world.now + Duration::from_secs(31);
    assert_eq!(world.streams.pop_idle(world.now, |_| false), Some(link));
}
