//! TCP relaying (RFC 6062): connections with peers, spliced with those of clients.

mod connection;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use turnpike_wire::Method;
use turnpike_wire::attributes::{Lifetime, XorPeerAddress};

use connection::{Connection, certificate};

use crate::harness::{PATIENCE, Server};

#[test]
fn megabytes_go_both_ways_at_once_and_arrive_as_they_were_however_slow_the_readers_are() {
    let server = Server::start(&[]);
    let mut control = Connection::control(server.address);
    let (client, peer) = control.spliced();
    let client = client.into_tcp();
    let memory = memory_of(&server);
    let (up, down) = (pattern(1, LARGE), pattern(2, LARGE));
    // Nobody reads: both senders are held up, and what is between them is bounded.
    let stuck_up = send_until_stuck(&client, &up);
    let stuck_down = send_until_stuck(&peer, &down);
    assert!(stuck_up < LARGE && stuck_down < LARGE, "{stuck_up} and {stuck_down} went into nowhere");
    assert!(memory_of(&server) < memory + 20_000, "{memory} KiB before, {} KiB after", memory_of(&server));
    thread::scope(|scope| {
        scope.spawn(|| finish_sending(&client, &up[stuck_up..]));
        scope.spawn(|| finish_sending(&peer, &down[stuck_down..]));
        scope.spawn(|| assert_receives(&peer, &up, 1500));
        assert_receives(&client, &down, 70_000);
    });
}

#[test]
fn one_way_may_end_long_before_the_other() {
    let server = Server::start(&[]);
    let mut control = Connection::control(server.address);
    for client_first in [true, false] {
        let (client, peer) = control.spliced();
        let client = client.into_tcp();
        let (mut first, mut second) = if client_first { (client, peer) } else { (peer, client) };
        first.write_all(b"a question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let mut question = String::new();
        second.read_to_string(&mut question).unwrap();
        assert_eq!(question, "a question");
        let answer = pattern(3, 3_000_000);
        thread::scope(|scope| {
            scope.spawn(|| finish_sending(&second, &answer));
            assert_receives(&first, &answer, 9000);
        });
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(first.read(&mut [0; 8]).unwrap(), 0, "the end comes through");
    }
    control.refresh(600);
}

#[test]
fn what_a_peer_sends_before_it_is_bound_and_a_client_right_behind_its_bind_is_not_lost() {
    let server = Server::start(&[]);
    let mut control = Connection::control(server.address);
    let listener = listener();
    let connection = control.connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    let early = pattern(4, 400_000);
    // More than one buffer holds; all of it before anybody asks for it, and then the end.
    thread::scope(|scope| {
        scope.spawn(|| {
            finish_sending(&peer, &early);
            peer.shutdown(Shutdown::Write).unwrap();
        });
        let mut data = Connection::tcp(server.address);
        let behind = pattern(5, 40_000);
        data.bind_with(connection, &behind);
        let client = data.into_tcp();
        assert_receives(&client, &early, 4096);
        assert_eq!((&client).read(&mut [0; 8]).unwrap(), 0);
        assert_receives(&peer, &behind, 4096);
    });
}

#[test]
fn connections_come_from_the_relayed_address() {
    let server = Server::start(&[]);
    let mut control = Connection::control(server.address);
    let listener = listener();
    control.connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(listener.accept().unwrap().1, control.relayed);
    let refused = control.connect(listener.local_addr().unwrap());
    assert_eq!(refused, Err(446));
}

#[test]
fn peers_that_refuse_are_447_and_the_servers_own_listeners_403() {
    let server = Server::start(&[]);
    let mut control = Connection::control(server.address);
    let gone = listener().local_addr().unwrap();
    assert_eq!(control.connect(gone), Err(447));
    assert_eq!(control.connect(server.address), Err(403));
    assert_eq!(control.connect(control.relayed), Err(403));
    let closed = Server::start_at(
        SocketAddr::new(crate::harness::loopback_address(), 3478),
        &["--user", "hello:world", "-v"],
    );
    let listener = listener();
    let mut control = Connection::control(closed.address);
    assert_eq!(control.connect(listener.local_addr().unwrap()), Err(403));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nothing was attempted");
}

#[test]
fn a_peer_without_permission_is_closed_at_once_and_one_with_it_is_announced() {
    let server = Server::start(&[]);
    let mut control = Connection::control(server.address);
    let mut stranger = TcpStream::connect(control.relayed).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    // A reset is an end as well; a timeout is neither.
    match stranger.read(&mut [0; 8]) {
        Ok(length) => assert_eq!(length, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    control.permit("127.0.0.1:1".parse().unwrap());
    let mut peer = TcpStream::connect(control.relayed).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(b"hello").unwrap();
    let (from, connection) = control.next_attempt();
    assert_eq!(from, peer.local_addr().unwrap());
    let mut client = control.bind(connection).into_tcp();
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    client.write_all(b"world").unwrap();
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"world");
}

#[test]
fn a_stranger_who_guesses_gets_nothing_and_takes_nothing() {
    let server = Server::start(&["--user", "eve:guess"]);
    let mut control = Connection::control(server.address);
    let listener = listener();
    let connection = control.connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(Connection::tcp(server.address).named("eve", "guess").try_bind(connection), Err(400));
    assert_eq!(Connection::tcp(server.address).named("hello", "wrong").try_bind(connection), Err(401));
    for guess in 0..64 {
        let mut guesser = Connection::tcp(server.address);
        assert_eq!(guesser.try_bind(connection ^ 1 << (7 + guess % 25)), Err(400));
    }
    let mut client = control.bind(connection).into_tcp();
    peer.write_all(b"for you").unwrap();
    let mut bytes = [0; 7];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"for you");
    assert_eq!(Connection::tcp(server.address).try_bind(connection), Err(400), "it is taken");
}

#[test]
fn whichever_worker_a_connection_comes_to_it_gets_to_its_own() {
    let server = Server::start(&["-m", "4"]);
    let mut controls: Vec<Connection> = (0..4).map(|_| Connection::control(server.address)).collect();
    let mut pairs: Vec<(TcpStream, TcpStream)> = Vec::new();
    for number in 0..48_u8 {
        let control = &mut controls[usize::from(number % 4)];
        let listener = listener();
        let connection = control.connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let mut data = Connection::tcp(server.address);
        // Half of them pipeline, and what is not yet looked at moves along.
        let behind = if number % 2 == 0 { vec![number; 10_000] } else { Vec::new() };
        data.bind_with(connection, &behind);
        assert_receives(&peer, &behind, 4096);
        pairs.push((data.into_tcp(), peer));
    }
    let data = pattern(6, 100_000);
    for (client, peer) in &pairs {
        thread::scope(|scope| {
            scope.spawn(|| finish_sending(client, &data));
            scope.spawn(|| finish_sending(peer, &data));
            scope.spawn(|| assert_receives(peer, &data, 4096));
            assert_receives(client, &data, 4096);
        });
    }
}

#[test]
fn over_tls_it_is_the_same() {
    let (directory, authority) = certificate();
    let (cert, key) = (directory.file("cert.pem"), directory.file("key.pem"));
    let server = Server::start(&["-m", "4", "--cert", &cert, "--pkey", &key]);
    let mut control = Connection::control_over(Connection::tls(server.address, &authority));
    for number in 0..12 {
        let listener = listener();
        let connection = control.connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let early = pattern(7, 50_000);
        finish_sending(&peer, &early);
        let mut client = Connection::tls(server.address, &authority);
        let behind = pattern(8, 10_000);
        client.bind_with(connection, &behind);
        assert_eq!(client.read_exactly(early.len()), early, "{number}");
        assert_receives(&peer, &behind, 100);
        // Each way in turn, with a reader that is in no hurry.
        let large = pattern(9, 2_000_000);
        thread::scope(|scope| {
            scope.spawn(|| finish_sending(&peer, &large));
            assert_eq!(client.read_exactly(large.len()), large);
        });
        thread::scope(|scope| {
            scope.spawn(|| assert_receives(&peer, &large, 3000));
            client.write(&large);
        });
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read_to_end().unwrap(), b"", "said as TLS says it");
    }
}

#[test]
fn a_tls_client_that_has_said_everything_still_gets_the_answer() {
    let (directory, authority) = certificate();
    let (cert, key) = (directory.file("cert.pem"), directory.file("key.pem"));
    let server = Server::start(&["--cert", &cert, "--pkey", &key]);
    let mut control = Connection::control_over(Connection::tls(server.address, &authority));
    let listener = listener();
    let connection = control.connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Connection::tls(server.address, &authority);
    client.bind_with(connection, b"a question");
    client.say_goodbye();
    let mut question = String::new();
    peer.read_to_string(&mut question).unwrap();
    assert_eq!(question, "a question");
    let answer = pattern(11, 1_000_000);
    thread::scope(|scope| {
        scope.spawn(|| {
            finish_sending(&peer, &answer);
            peer.shutdown(Shutdown::Write).unwrap();
        });
        assert!(client.read_to_end().unwrap() == answer, "the answer is another");
    });
}

#[test]
fn one_that_breaks_does_not_look_finished_to_the_other() {
    let server = Server::start(&[]);
    let mut control = Connection::control(server.address);
    let (client, peer) = control.spliced();
    let mut client = client.into_tcp();
    break_off(peer);
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (client, mut peer) = control.spliced();
    break_off(client.into_tcp());
    assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    control.refresh(600);
}

#[test]
fn an_allocation_takes_its_connections_along_and_counts_what_they_carried() {
    let mut server = Server::start(&[]);
    let mut control = Connection::control(server.address);
    let (client, mut peer) = control.spliced();
    let mut client = client.into_tcp();
    let waiting = listener();
    control.connect(waiting.local_addr().unwrap()).unwrap();
    let (mut unbound, _) = waiting.accept().unwrap();
    unbound.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&[1; 1000]).unwrap();
    peer.read_exact(&mut [0; 1000]).unwrap();
    peer.write_all(&[2; 300]).unwrap();
    client.read_exact(&mut [0; 300]).unwrap();
    control.refresh(0);
    for stream in [&mut client, &mut peer, &mut unbound] {
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
    let line = server.expect("usage: realm");
    assert!(line.contains("rb=1000") && line.contains("sb=300"), "{line}");
    // The control connection is still good for another one.
    control.allocate();
    let (client, peer) = control.spliced();
    drop(control);
    for mut stream in [client.into_tcp(), peer] {
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "the control connection has ended");
    }
}

#[test]
fn with_no_tcp_relay_there_is_none() {
    let server = Server::start(&["--no-tcp-relay"]);
    assert_eq!(Connection::tcp(server.address).try_allocate(), Err(442));
}

#[test]
fn max_bps_slows_a_splice_down_and_loses_nothing_of_it() {
    let server = Server::start(&["--max-bps", "100000"]);
    let mut control = Connection::control(server.address);
    let (client, peer) = control.spliced();
    let client = client.into_tcp();
    let data = pattern(10, 350_000);
    let started = std::time::Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| finish_sending(&client, &data));
        assert_receives(&peer, &data, 4096);
    });
    // A read takes up to 65,536 bytes, so that what passes in two seconds is not all of it, and between the first second,
    // whatever is left of it, and the third lies a whole one.
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

/// A listening peer.
fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

impl Connection {
    /// A client's connection and a peer's, spliced.
    fn spliced(&mut self) -> (Connection, TcpStream) {
        let listener = listener();
        let connection = self.connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        (self.bind(connection), peer)
    }

    fn connect(&mut self, peer: SocketAddr) -> Result<u32, u16> {
        self.ask(Method::CONNECT, |writer| {
            writer.add(&XorPeerAddress(peer));
        })
        .map(|answer| answer.connection())
    }

    fn refresh(&mut self, seconds: u32) {
        let answer = self.ask(Method::REFRESH, |writer| {
            writer.add(&Lifetime(seconds));
        });
        answer.map(drop).expect("it is refreshed");
    }
}

/// Bytes that repeat themselves only after a long time.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ state >> 31).to_le_bytes()
    });
    words.take(length).collect()
}

/// Sends until nobody takes any more for a while; returns how much that was.
fn send_until_stuck(mut stream: &TcpStream, data: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while sent < data.len() {
        match stream.write(&data[sent..data.len().min(sent + 65_536)]) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

fn finish_sending(mut stream: &TcpStream, data: &[u8]) {
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(data).unwrap();
}

/// Reads in pieces, which must be those of `expected`.
fn assert_receives(mut stream: &TcpStream, expected: &[u8], piece: usize) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = vec![0; piece];
    let mut at = 0;
    while at < expected.len() {
        let room = piece.min(expected.len() - at);
        let length = stream.read(&mut buffer[..room]).unwrap();
        assert!(length > 0, "the end after {at} of {}", expected.len());
        assert!(buffer[..length] == expected[at..at + length], "other bytes from {at} on");
        at += length;
    }
}

/// Ends a connection as a process that dies does.
fn break_off(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// KiB.
fn memory_of(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.program.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// More than all buffers on the way hold together.
const LARGE: usize = 48 * 1024 * 1024;
