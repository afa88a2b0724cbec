//! Clients that move (RFC 8016), with four workers: the kernel brings most new 5-tuples to another than the old one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, RootCertStore, StreamOwned};
use turnpike_client::{
    AllocateOptions, Client, ClientConfig, Credentials, Event, Failure, FrameBuffer, RequestError, RequestId,
    Transport,
};
use turnpike_wire::Family;

use crate::harness::{Directory, PATIENCE, Server, UCLIENT, run};

/// How a phone is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Udp,
    Tcp,
    Tls,
}

#[test]
fn a_client_moves_between_all_transports_and_its_peer_notices_nothing() {
    let world = World::new(&[]);
    for first in [By::Udp, By::Tcp, By::Tls] {
        for then in [By::Udp, By::Tcp, By::Tls] {
            // Often enough that workers change: one of four times they do not.
            for _ in 0..6 {
                let mut phone = world.phone(first);
                let relayed = phone.allocate();
                phone.bind(world.peer_address());
                phone.exchange(&world.peer, relayed);
                let old = phone.move_to(world.connect(then));
                phone.exchange(&world.peer, relayed);
                drop(old);
                phone.exchange(&world.peer, relayed);
                phone.delete();
            }
        }
    }
    world.expect_nothing_wrong();
}

#[test]
fn the_old_5_tuple_works_until_data_comes_by_the_new_one() {
    let world = World::new(&[]);
    for first in [By::Udp, By::Tcp, By::Tls] {
        for _ in 0..6 {
            let mut phone = world.phone(first);
            let relayed = phone.allocate();
            phone.bind(world.peer_address());
            phone.exchange(&world.peer, relayed);
            let new = world.connect(By::Udp);
            let old = phone.move_to(new);
            // Both ways by the old one, larger than a datagram of the network as well.
            let new = std::mem::replace(&mut phone.socket, old);
            for length in [1, 171, 1200, 9000] {
                phone.exchange_of(&world.peer, relayed, length);
            }
            let old = std::mem::replace(&mut phone.socket, new);
            phone.exchange(&world.peer, relayed);
            // Confirmed: nothing that comes by the old one is relayed any more.
            let new = std::mem::replace(&mut phone.socket, old);
            phone.send(b"too late");
            phone.socket = new;
            phone.exchange(&world.peer, relayed);
            phone.delete();
        }
    }
    world.expect_nothing_wrong();
}

#[test]
fn a_client_whose_connection_breaks_comes_back_with_its_ticket() {
    let mut world = World::new(&["--user-quota=1"]);
    for (first, then) in [(By::Tcp, By::Tls), (By::Tls, By::Udp), (By::Tcp, By::Tcp)] {
        let mut phone = world.phone(first);
        let relayed = phone.allocate();
        phone.bind(world.peer_address());
        phone.break_off();
        world.server.expect("kept for its mobility ticket");
        // Its place in the quotas is taken as long as it may come back.
        let refused = world.phone(By::Udp).try_allocate(true).unwrap_err();
        assert!(matches!(&refused, Failure::Refused { number, .. } if number.number() == 486), "{refused}");
        phone.move_to(world.connect(then));
        phone.exchange(&world.peer, relayed);
        phone.delete();
    }
    world.expect_nothing_wrong();
}

#[test]
fn a_chain_of_moves_through_all_workers_is_one_session() {
    // What coturn's own test demands: fifty moves with a quota of one, and none of them is a session of its own. So it
    // counts them.
    let mut world = World::new(&["--user-quota=1", "--total-quota=1"]);
    let mut phone = world.phone(By::Udp);
    let relayed = phone.allocate();
    phone.bind(world.peer_address());
    let mut left = Vec::new();
    for number in 0..51 {
        left.push(phone.move_to(world.connect([By::Udp, By::Tcp, By::Tls][number % 3])));
    }
    phone.exchange(&world.peer, relayed);
    phone.delete();
    let log = world.server.program.so_far().to_owned();
    world.server.expect("closed (2nd stage)");
    let log = log + world.server.program.so_far();
    assert_eq!(log.matches("mobility handoff completed").count(), 51);
    assert!(log.matches("superseded by newer mobility resume").count() >= 49);
    world.expect_nothing_wrong();
}

#[test]
fn both_relayed_addresses_of_an_allocation_move() {
    let world = World::new(&["-E", "127.0.0.1", "-E", "::1"]);
    let six = UdpSocket::bind("[::1]:0").unwrap();
    six.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..6 {
        let mut phone = world.phone(By::Udp);
        let options = AllocateOptions {
            mobility: true,
            additional_family: Some(Family::Ipv6),
            ..AllocateOptions::default()
        };
        let Ok(Event::Allocated(allocated)) = phone.ask(|client, now| client.allocate(now, options)) else {
            panic!("no allocation");
        };
        let second = allocated.relayed_additional.expect("an IPv6 one");
        phone.bind(six.local_addr().unwrap());
        phone.move_to(world.connect(By::Tcp));
        phone.exchange(&six, second);
        phone.delete();
    }
    world.expect_nothing_wrong();
}

#[test]
fn without_the_option_mobility_is_forbidden_and_nothing_else_is() {
    let world = World::with(&[], false);
    let mut phone = world.phone(By::Udp);
    let refused = phone.try_allocate(true).unwrap_err();
    assert!(matches!(&refused, Failure::Refused { number, .. } if number.number() == 405), "{refused}");
    phone.try_allocate(false).unwrap();
    assert_eq!(phone.client.resume(Duration::ZERO, Transport::Datagram), Err(RequestError::NoTicket));
}

#[test]
fn the_client_tool_moves_before_it_sends_and_loses_nothing() {
    let world = World::new(&[]);
    let ip = world.server.address.ip().to_string();
    for transport in [&[][..], &["-t"], &["-t", "-S", "-p", "3478"]] {
        let mut arguments = vec!["-M", "-y", "-m", "8", "-u", "hello", "-w", "world"];
        arguments.extend(transport);
        arguments.push(&ip);
        let finished = run(UCLIENT, &arguments);
        let lossless = "Total lost packets 0 (0.000000%), total send dropped 0 (0.000000%)";
        assert!(finished.code == Some(0) && finished.stdout.contains(lossless), "{}", finished.stdout);
    }
    world.expect_nothing_wrong();
    let forbidding = World::with(&[], false);
    let ip = forbidding.server.address.ip().to_string();
    let finished = run(UCLIENT, &["-M", "-y", "-u", "hello", "-w", "world", &ip]);
    assert_eq!(finished.code, Some(255));
    assert!(finished.stdout.contains("error 405"), "{}", finished.stdout);
}

struct World {
    server: Server,
    peer: UdpSocket,
    authority: CertificateDer<'static>,
    _directory: Directory,
}

impl World {
    fn new(more: &[&str]) -> Self {
        World::with(more, true)
    }

    fn with(more: &[&str], mobility: bool) -> Self {
        let directory = Directory::new();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let cert = directory.write("cert.pem", &made.cert.pem());
        let key = directory.write("key.pem", &made.signing_key.serialize_pem());
        let mut arguments = vec!["-m", "4", "--cert", &cert, "--pkey", &key];
        if mobility {
            arguments.push("--mobility");
        }
        arguments.extend(more);
        let server = Server::start(&arguments);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        World { server, peer, authority: made.cert.der().clone(), _directory: directory }
    }

    fn peer_address(&self) -> SocketAddr {
        self.peer.local_addr().unwrap()
    }

    fn connect(&self, by: By) -> Socket {
        let address = self.server.address;
        match by {
            By::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.connect(address).unwrap();
                Socket::Udp(socket)
            }
            By::Tcp => Socket::tcp(address),
            By::Tls => Socket::tls(address, &self.authority),
        }
    }

    fn phone(&self, by: By) -> Phone {
        let socket = self.connect(by);
        let credentials = Credentials { username: "hello".into(), password: "world".into() };
        let config = ClientConfig {
            transport: socket.transport(),
            credentials: Some(credentials),
            keep_alive: false,
            ..ClientConfig::default()
        };
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&socket.local().port().to_be_bytes().repeat(4));
        let client = Client::new(Arc::new(config), seed);
        Phone { socket, client, started: Instant::now(), input: vec![0; 70_000] }
    }

    /// The server has neither panicked nor lost count of what it holds.
    fn expect_nothing_wrong(mut self) {
        self.server.program.signal("TERM");
        self.server.expect("Terminating on signal 15");
        let finished = self.server.program.finish();
        assert_eq!(finished.code, Some(0));
        assert!(!finished.stdout.contains("panicked") && finished.stderr.is_empty(), "{}", finished.stderr);
        let count = |what: &str| finished.stdout.matches(what).count();
        assert_eq!(count(": new, "), count("closed (2nd stage)"), "every session ends once");
        assert_eq!(count("Forceful shutdown"), 0, "all were given back before");
    }
}

/// A client that can change its socket.
struct Phone {
    socket: Socket,
    client: Client,
    started: Instant,
    input: Vec<u8>,
}

impl Phone {
    fn try_allocate(&mut self, mobility: bool) -> Result<SocketAddr, Failure> {
        let options = AllocateOptions { mobility, ..AllocateOptions::default() };
        match self.ask(|client, now| client.allocate(now, options))? {
            Event::Allocated(allocated) => {
                assert_eq!(allocated.mobile, mobility);
                Ok(allocated.relayed)
            }
            other => panic!("{other:?}"),
        }
    }

    fn allocate(&mut self) -> SocketAddr {
        self.try_allocate(true).unwrap()
    }

    fn bind(&mut self, peer: SocketAddr) {
        self.ask(|client, now| client.bind_channel(now, CHANNEL, peer)).unwrap();
    }

    fn delete(&mut self) {
        assert!(matches!(self.ask(Client::delete), Ok(Event::Deleted { .. })));
    }

    /// Moves, and returns the socket it has left.
    fn move_to(&mut self, socket: Socket) -> Socket {
        let transport = socket.transport();
        let old = std::mem::replace(&mut self.socket, socket);
        let answer = self.ask(|client, now| client.resume(now, transport)).unwrap();
        assert!(matches!(answer, Event::Refreshed { .. }), "{answer:?}");
        old
    }

    /// Its network is gone.
    fn break_off(&mut self) {
        self.socket = Socket::Udp(UdpSocket::bind("127.0.0.1:0").unwrap());
    }

    /// Sends to the peer, who answers.
    fn exchange(&mut self, peer: &UdpSocket, relayed: SocketAddr) {
        self.exchange_of(peer, relayed, 160);
    }

    fn exchange_of(&mut self, peer: &UdpSocket, relayed: SocketAddr, length: usize) {
        let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
        self.send(&data);
        let mut buffer = vec![0; 65_536];
        let (received, from) = peer.recv_from(&mut buffer).expect("the peer gets it");
        assert_eq!((&buffer[..received], from), (data.as_slice(), relayed));
        peer.send_to(&data, relayed).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Event::Data { span, channel, .. } = self.next_event(deadline).expect("the answer") {
                assert_eq!((channel, &self.input[span]), (Some(CHANNEL), data.as_slice()));
                return;
            }
        }
    }

    fn send(&mut self, data: &[u8]) {
        let mut buffer = vec![0; 65_536];
        let length = match self.socket.transport() {
            Transport::Datagram => 4 + data.len(),
            Transport::Stream => 4 + data.len().next_multiple_of(4),
        };
        buffer[..4].copy_from_slice(&turnpike_wire::channel_data_header(CHANNEL, data.len() as u16));
        buffer[4..4 + data.len()].copy_from_slice(data);
        self.socket.send(&buffer[..length]);
    }

    fn ask(
        &mut self,
        start: impl FnOnce(&mut Client, Duration) -> Result<RequestId, RequestError>,
    ) -> Result<Event, Failure> {
        start(&mut self.client, self.started.elapsed()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_event(deadline).expect("an answer") {
                Event::Failed { failure, .. } => return Err(failure),
                Event::Data { .. } | Event::PeerUnreachable { .. } | Event::Discarded(_) => {}
                event => return Ok(event),
            }
        }
    }

    fn next_event(&mut self, deadline: Instant) -> Option<Event> {
        let mut output = [0; 4096];
        loop {
            while let Some(length) = self.client.poll_transmit(&mut output) {
                self.socket.send(&output[..length]);
            }
            if let Some(event) = self.client.poll_event() {
                return Some(event);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            let due = self.client.poll_timeout().map(|due| due.saturating_sub(self.started.elapsed()));
            let wait = due.unwrap_or(left).min(left).max(Duration::from_millis(1));
            match self.socket.receive(&mut self.input, wait) {
                Some(length) => {
                    let now = self.started.elapsed();
                    if let Some(event) = self.client.handle_input(now, &self.input[..length]) {
                        return Some(event);
                    }
                }
                None => self.client.handle_timeout(self.started.elapsed()),
            }
        }
    }
}

/// The way to the server.
enum Socket {
    Udp(UdpSocket),
    Stream { stream: Box<dyn ReadWrite>, socket: TcpStream, frames: FrameBuffer },
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

impl Socket {
    fn tcp(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let stream = Box::new(socket.try_clone().unwrap());
        Socket::Stream { stream, socket, frames: FrameBuffer::new() }
    }

    fn tls(address: SocketAddr, authority: &CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut stream = StreamOwned::new(session, socket.try_clone().unwrap());
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Socket::Stream { stream: Box::new(stream), socket, frames: FrameBuffer::new() }
    }

    fn local(&self) -> SocketAddr {
        match self {
            Socket::Udp(socket) => socket.local_addr().unwrap(),
            Socket::Stream { socket, .. } => socket.local_addr().unwrap(),
        }
    }

    fn transport(&self) -> Transport {
        match self {
            Socket::Udp(_) => Transport::Datagram,
            Socket::Stream { .. } => Transport::Stream,
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Socket::Udp(socket) => _ = socket.send(bytes).unwrap(),
            Socket::Stream { stream, .. } => stream.write_all(bytes).and_then(|()| stream.flush()).unwrap(),
        }
    }

    /// The next whole message, if one comes in time.
    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> Option<usize> {
        match self {
            Socket::Udp(socket) => {
                socket.set_read_timeout(Some(wait)).unwrap();
                socket.recv(buffer).ok()
            }
            Socket::Stream { stream, socket, frames } => loop {
                if let Some(message) = frames.next_message().unwrap() {
                    buffer[..message.len()].copy_from_slice(message);
                    return Some(message.len());
                }
                socket.set_read_timeout(Some(wait)).unwrap();
                let mut bytes = [0; 16_384];
                match stream.read(&mut bytes).ok()? {
                    0 => panic!("the server has closed the connection"),
                    length => frames.push(&bytes[..length]),
                }
            },
        }
    }
}

const CHANNEL: u16 = 0x4000;
