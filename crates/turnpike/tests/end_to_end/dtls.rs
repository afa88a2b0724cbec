//! Clients that come by DTLS (RFC 7350), and those who only pretend to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, SignatureAlgorithm,
};
use turnpike_dtls::{ClientFiles, DtlsConnector, Exchange, Session, Unsealed};
use turnpike_wire::attributes::{
    ChannelNumber, Lifetime, RequestedTransport, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId, channel_data_header};

use crate::client::{binding_request, exchange};
use crate::harness::{Directory, PATIENCE, Server, UCLIENT, loopback_address, run};

#[test]
fn a_dtls_client_is_served_on_both_ports_and_told_which_protocol_is_spoken() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let server = files.server(&[]);
    for port in [3478, 5349] {
        let mut client = Client::connect(SocketAddr::new(server.address.ip(), port), b"\x09stun.turn");
        assert_eq!(client.session.protocol(), Some(&b"stun.turn"[..]));
        assert_eq!(client.session.security().0, "DTLSv1.2");
        let peer = peer();
        let relayed = client.allocate();
        client.bind_channel(peer.local_addr().unwrap());
        for length in [0, 1, 2, 3, 4, 5, 160, 1200, 9000] {
            let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
            // RFC 7350 leaves ChannelData as it is over UDP: not padded.
            client.send(&channel_data(&data));
            let mut buffer = vec![0; 65_536];
            let (received, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..received], from), (data.as_slice(), relayed), "{length}");
            peer.send_to(&data, relayed).unwrap();
            assert_eq!(client.receive(), channel_data(&data), "{length}");
        }
        // Enough to be taken for a busy client, in bursts that fit a socket's buffer.
        for _ in 0..10 {
            (0..20).for_each(|_| assert_eq!(peer.send_to(&[5; 1001], relayed).unwrap(), 1001));
            (0..20).for_each(|_| assert_eq!(client.receive(), channel_data(&[5; 1001])));
        }
    }
    assert!(Client::try_connect(server.address, b"\x02h2").is_none(), "a foreign protocol alone");
}

#[test]
fn chains_of_rsa_and_ecdsa_are_shown_whole() {
    for algorithm in [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256] {
        let files = Files::of(algorithm);
        let server = files.server(&[]);
        let ip = server.address.ip().to_string();
        // Who trusts the root alone needs the one between from the server.
        let root = files.directory.file("root.pem");
        let finished = run(UCLIENT, &["-S", "-y", "-c", "-n", "3", "-E", &root, &ip]);
        assert_eq!(finished.code, Some(0), "{}", finished.stdout);
        assert!(finished.stdout.contains("Total lost packets 0 (0.000000%)"), "{}", finished.stdout);
        let other = Files::of(algorithm);
        let refused = run(UCLIENT, &["-S", "-y", "-c", "-E", &other.directory.file("root.pem"), &ip]);
        assert_eq!(refused.code, Some(255));
        assert!(refused.stdout.contains("DTLS: invalid peer certificate"), "{}", refused.stdout);
    }
}

#[test]
fn dtls_is_off_unless_it_is_asked_for() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let (cert, key) = files.names();
    let server = Server::start(&["--cert", &cert, "--pkey", &key, "--no-dtls"]);
    let said = server.program.so_far();
    assert!(said.contains("DTLS clients: off (set dtls to serve them)"), "{said}");
    // For coturn's scripts, which look for these words.
    assert!(said.contains("DTLS listeners are not started") && said.contains("no-dtls is deprecated"), "{said}");
    let stranger = stranger(server.address, 1);
    stranger.send(&hello(DTLS_1_2, 1, &[])).unwrap();
    let answer = exchange(&stranger, &binding_request()).unwrap();
    assert_eq!(answer[..2], [1, 1], "the hello is not answered");
}

#[test]
fn an_older_version_is_refused() {
    let files = Files::of(&PKCS_RSA_SHA256);
    let server = files.server(&[]);
    let begun = |version, number| {
        let socket = stranger(server.address, 1);
        let cookie = cookie(&socket, version, number);
        exchange(&socket, &hello(version, number, &cookie)).unwrap()
    };
    // RFC 8996: an alert, fatal, protocol_version.
    let refusal = begun(DTLS_1_0, 1);
    assert_eq!((refusal[0], &refusal[13..]), (21, &[2, 70][..]));
    let flight = begun(DTLS_1_2, 2);
    assert_eq!((flight[0], flight[13]), (22, 2), "a ServerHello");
}

#[test]
fn hellos_from_nowhere_leave_nothing_behind() {
    let files = Files::of(&PKCS_RSA_SHA256);
    let server = files.server(&[]);
    let sockets: Vec<UdpSocket> = (1..=100).map(|host| stranger(server.address, host)).collect();
    let ask = |number: u32| {
        let socket = &sockets[number as usize % sockets.len()];
        let hello = hello(DTLS_1_2, number, &[]);
        let answer = exchange(socket, &hello).unwrap();
        assert!(answer[0] == 22 && answer[13] == 3, "a HelloVerifyRequest");
        assert!(answer.len() < hello.len(), "{} for {}", answer.len(), hello.len());
    };
    (0..1000).for_each(ask);
    let before = memory(&server);
    (1000..21_000).for_each(ask);
    let after = memory(&server);
    assert!(after < before + 512, "{before} KiB before, {after} KiB after");
    // A cookie of one is none for another.
    let stolen = cookie(&sockets[0], DTLS_1_2, 7);
    let answer = exchange(&sockets[1], &hello(DTLS_1_2, 7, &stolen)).unwrap();
    assert_eq!(answer[13], 3);
    Client::connect(server.address, b"");
}

#[test]
fn a_thousand_handshakes_that_are_not_ended_cost_bounded_memory_and_harm_nobody() {
    let files = Files::of(&PKCS_RSA_SHA256);
    let server = files.server(&[]);
    let mut innocent = Client::connect(server.address, b"");
    let peer = peer();
    let relayed = innocent.allocate();
    innocent.bind_channel(peer.local_addr().unwrap());
    let before = memory(&server);
    let attackers: Vec<UdpSocket> =
        (0..1000).map(|number| stranger(server.address, 10 + (number % 50) as u8)).collect();
    for (number, socket) in attackers.iter().enumerate() {
        let number = number as u32;
        let cookie = cookie(socket, DTLS_1_2, number);
        socket.send(&hello(DTLS_1_2, number, &cookie)).unwrap();
        // Records that cannot be read yet.
        for sequence in 0..40 {
            socket.send(&record(23, 1, sequence, &[9; 600])).unwrap();
        }
        if number.is_multiple_of(10) {
            innocent.send(&channel_data(&number.to_be_bytes()));
            let mut buffer = [0; 64];
            assert_eq!(peer.recv_from(&mut buffer).unwrap(), (4, relayed), "{number}");
        }
    }
    Client::connect(server.address, b"").allocate();
    let after = memory(&server);
    assert!(after < before + 60_000, "{before} KiB before, {after} KiB after");
}

#[test]
fn garbage_is_ignored_by_whoever_it_is_meant_for() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let mut server = files.server(&[]);
    let mut client = Client::connect(server.address, b"");
    let peer = peer();
    let relayed = client.allocate();
    client.bind_channel(peer.local_addr().unwrap());
    let (stranger, template) = (stranger(server.address, 1), client.seal(&binding_request()));
    let mut noise = 1_u32;
    for round in 0..3000_usize {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (high, low) = ((noise >> 24) as u8, (noise >> 8) as u8);
        let damaged = match round % 4 {
            0 => vec![20 + high % 44; 1 + usize::from(low)],
            1 => record(
                [20, 21, 22, 23][usize::from(low & 3)],
                u16::from(high & 3),
                noise,
                &vec![low; usize::from(high)],
            ),
            2 => template[..usize::from(low) % template.len()].to_vec(),
            _ => {
                let mut bytes = template.clone();
                let length = bytes.len();
                bytes[noise as usize % length] ^= high | 1;
                bytes
            }
        };
        stranger.send(&damaged).unwrap();
        client.socket.send(&damaged).unwrap();
        if round % 100 == 0 {
            client.send(&channel_data(b"still"));
            let mut buffer = [0; 64];
            assert_eq!(peer.recv_from(&mut buffer).unwrap(), (5, relayed), "{round}");
        }
    }
    assert_eq!(server.program.so_far().matches("closed (2nd stage)").count(), 0);
    let answer = exchange(&stranger, &binding_request()).unwrap();
    assert_eq!(answer[..2], [1, 1]);
    drop(client);
    server.expect("DTLS association closed by client");
    server.program.signal("TERM");
    server.expect("Terminating on signal 15");
    assert!(!server.program.so_far().contains("panicked"));
}

#[test]
fn a_flight_that_is_lost_comes_again() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let server = files.server(&[]);
    let socket = stranger(server.address, 1);
    let cookie = cookie(&socket, DTLS_1_2, 1);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&hello(DTLS_1_2, 1, &cookie)).unwrap();
    let mut flights = 0;
    let mut last = [0; 6];
    let deadline = Instant::now() + PATIENCE;
    while flights < 3 {
        assert!(Instant::now() < deadline);
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).expect("the flight");
        assert!(length <= 1200, "{length} bytes may be more than the path carries");
        if buffer[13] == 2 {
            flights += 1;
            // A repetition is a new record (RFC 6347 §4.2.4).
            assert!(flights == 1 || buffer[5..11] > last[..]);
        }
        last.copy_from_slice(&buffer[5..11]);
    }
}

#[test]
fn a_client_that_begins_anew_from_its_port_takes_its_own_place() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let mut server = files.server(&[]);
    let mut client = Client::connect(server.address, b"");
    let first = client.allocate();
    let socket = client.socket.try_clone().unwrap();
    // It is gone without a word.
    std::mem::forget(client);
    let mut again = Client::on(socket, b"").unwrap();
    server.expect("DTLS association closed by client");
    assert_ne!(again.allocate(), first);
    // Whoever brings no proof of the address leaves it alone.
    again.socket.send(&hello(DTLS_1_2, 5, &[])).unwrap();
    again.send(&binding_request());
    let answer = again.receive();
    let message = Message::parse(&answer).unwrap();
    assert_eq!(message.get::<XorMappedAddress>().unwrap().unwrap().0, again.socket.local_addr().unwrap());
}

#[test]
fn a_new_certificate_is_taken_when_asked() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let mut server = files.server(&[]);
    let mut before = Client::connect(server.address, b"");
    let shown = before.session.peer_chain();
    files.write(&PKCS_RSA_SHA256);
    server.program.signal("USR2");
    server.expect("was read again; new connections get it");
    assert_ne!(Client::connect(server.address, b"").session.peer_chain(), shown);
    before.allocate();
    files.directory.write("cert.pem", "nonsense");
    server.program.signal("USR2");
    server.expect("the old one stays");
    Client::connect(server.address, b"");
}

#[test]
fn without_udp_only_dtls_is_served_on_its_port() {
    let files = Files::of(&PKCS_ECDSA_P256_SHA256);
    let server = files.server(&["--no-udp"]);
    let address = SocketAddr::new(server.address.ip(), 5349);
    let said = server.program.so_far();
    assert!(
        said.contains("UDP clients: off (no-udp)") && said.contains("DTLS clients: on, port 5349,"),
        "{said}"
    );
    let stranger = stranger(address, 1);
    stranger.send(&binding_request()).unwrap();
    let answer = exchange(&stranger, &hello(DTLS_1_2, 1, &[])).unwrap();
    assert_eq!(answer[0], 22, "the Binding request is not answered");
    Client::connect(address, b"").allocate();
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_dtls_off_and_says_why() {
    let directory = Directory::new();
    let (cert, key) = (directory.write("cert.pem", "x"), directory.file("missing.pem"));
    let server = Server::start(&["--no-tls", "--dtls", "--cert", &cert, "--pkey", &key]);
    let said = server.program.so_far();
    assert!(said.contains("DTLS is off: ") && said.contains("holds no certificate in PEM form"), "{said}");
    assert!(said.contains("DTLS clients: off (see the error above)"), "{said}");
    assert!(exchange(&stranger(server.address, 1), &binding_request()).is_some());
}

/// A client with a session.
struct Client {
    socket: UdpSocket,
    session: Session,
    exchange: Exchange,
}

impl Client {
    fn connect(address: SocketAddr, protocols: &[u8]) -> Self {
        Client::try_connect(address, protocols).expect("hands are shaken")
    }

    fn try_connect(address: SocketAddr, protocols: &[u8]) -> Option<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        Client::on(socket, protocols)
    }

    /// `None` if the server refuses.
    fn on(socket: UdpSocket, protocols: &[u8]) -> Option<Self> {
        let files = ClientFiles { protocols, ..ClientFiles::default() };
        let mut exchange = Exchange::default();
        let session = DtlsConnector::new(&files).unwrap().begin(&mut exchange).unwrap();
        let mut client = Client { socket, session, exchange };
        client.transmit();
        let deadline = Instant::now() + PATIENCE;
        while !client.session.is_established() {
            assert!(Instant::now() < deadline, "the handshake does not end");
            client.next()?;
        }
        Some(client)
    }

    fn transmit(&mut self) {
        for datagram in self.exchange.datagrams() {
            self.socket.send(datagram).unwrap();
        }
        self.exchange.clear();
    }

    /// Waits for a datagram; what is in it, or nothing. `None` at the end.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let wait = self.session.timeout().unwrap_or(PATIENCE).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(wait)).unwrap();
        match self.socket.recv(&mut buffer) {
            Ok(length) => self.session.handle_datagram(&mut self.exchange, &buffer[..length]),
            Err(_) => assert!(self.session.handle_timeout(&mut self.exchange)),
        }
        let mut message = Vec::new();
        loop {
            let unsealed = self.session.read(&mut self.exchange, &mut buffer);
            self.transmit();
            match unsealed {
                Unsealed::Message(length) => message = buffer[..length].to_vec(),
                Unsealed::Established => {}
                Unsealed::Nothing => return Some(message),
                Unsealed::Closed | Unsealed::Failed => return None,
            }
        }
    }

    fn receive(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.next().expect("the association lives");
            if !message.is_empty() {
                return message;
            }
            assert!(Instant::now() < deadline, "no message");
        }
    }

    fn send(&mut self, message: &[u8]) {
        assert!(self.session.write(&mut self.exchange, [message, &[], &[]]));
        assert_eq!(self.exchange.datagrams().count(), 1, "a message is a datagram");
        self.transmit();
    }

    /// A record that is not sent.
    fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        assert!(self.session.write(&mut self.exchange, [message, &[], &[]]));
        let sealed = self.exchange.datagrams().next().unwrap().to_vec();
        self.exchange.clear();
        sealed
    }

    fn ask(&mut self, method: Method, build: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut buffer = [0; 256];
        let mut writer = MessageWriter::new(&mut buffer, Class::Request, method, TransactionId([7; 12]));
        build(&mut writer);
        let request = writer.finish().unwrap().to_vec();
        self.send(&request);
        let answer = self.receive();
        let message = Message::parse(&answer).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Success, method));
        answer
    }

    fn allocate(&mut self) -> SocketAddr {
        let answer = self.ask(Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP).add(&Lifetime(600));
        });
        Message::parse(&answer).unwrap().get::<XorRelayedAddress>().unwrap().unwrap().0
    }

    fn bind_channel(&mut self, peer: SocketAddr) {
        self.ask(Method::CHANNEL_BIND, |writer| {
            writer.add(&ChannelNumber(CHANNEL)).add(&XorPeerAddress(peer));
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.session.close(&mut self.exchange);
        for datagram in self.exchange.datagrams() {
            let _ = self.socket.send(datagram);
        }
    }
}

/// A server's certificate, signed by one that a root has signed.
struct Files {
    directory: Directory,
}

impl Files {
    fn of(algorithm: &'static SignatureAlgorithm) -> Self {
        let files = Files { directory: Directory::new() };
        files.write(algorithm);
        files
    }

    fn write(&self, algorithm: &'static SignatureAlgorithm) {
        let key = || KeyPair::generate_for(algorithm).unwrap();
        let named = |name: &str| {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let authority = |name| {
            let mut params = named(name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let root = CertifiedIssuer::self_signed(authority("root"), key()).unwrap();
        let between = CertifiedIssuer::signed_by(authority("between"), key(), &root).unwrap();
        let own = key();
        let leaf = named("localhost").signed_by(&own, &between).unwrap();
        self.directory.write("root.pem", &root.pem());
        self.directory.write("key.pem", &own.serialize_pem());
        self.directory.write("cert.pem", &(leaf.pem() + &between.pem()));
    }

    fn names(&self) -> (String, String) {
        (self.directory.file("cert.pem"), self.directory.file("key.pem"))
    }

    /// Everybody may relay.
    fn server(&self, more: &[&str]) -> Server {
        let (cert, key) = self.names();
        let address = SocketAddr::new(loopback_address(), 3478);
        let mut arguments =
            vec!["--no-auth", "--allow-loopback-peers", "-v", "--dtls", "--cert", &cert, "--pkey", &key];
        arguments.extend(more);
        Server::start_at(address, &arguments)
    }
}

/// A socket of a source of its own.
fn stranger(server: SocketAddr, host: u8) -> UdpSocket {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 9, host));
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.connect(server).unwrap();
    socket
}

/// The cookie a server asks this hello for.
fn cookie(socket: &UdpSocket, version: [u8; 2], number: u32) -> Vec<u8> {
    let answer = exchange(socket, &hello(version, number, &[])).unwrap();
    assert_eq!((answer[0], answer[13]), (22, 3), "a HelloVerifyRequest");
    answer[28..].to_vec()
}

/// A ClientHello by hand, with suites of this version and the older one.
fn hello(version: [u8; 2], number: u32, cookie: &[u8]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([number.to_be_bytes(); 8].concat());
    body.extend([0, cookie.len() as u8]);
    body.extend(cookie);
    body.extend([0, 8, 0xC0, 0x2F, 0xC0, 0x2B, 0xC0, 0x13, 0xC0, 0x09, 1, 0]);
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1];
    body.extend([0, (groups.len() + signatures.len()) as u8]);
    body.extend(groups.iter().chain(&signatures));
    let length = [0, 0, body.len() as u8];
    let message_number = [0, u8::from(!cookie.is_empty())];
    let message = [&[1][..], &length, &message_number, &[0, 0, 0], &length, &body].concat();
    record(22, 0, number, &message)
}

fn record(kind: u8, epoch: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0xFE, 0xFD];
    bytes.extend(epoch.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Resident KiB.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.program.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn channel_data(data: &[u8]) -> Vec<u8> {
    let mut bytes = channel_data_header(CHANNEL, data.len() as u16).to_vec();
    bytes.extend_from_slice(data);
    bytes
}

const CHANNEL: u16 = 0x4000;
const DTLS_1_0: [u8; 2] = [0xFE, 0xFF];
const DTLS_1_2: [u8; 2] = [0xFE, 0xFD];
