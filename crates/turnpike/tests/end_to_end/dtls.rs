//! Clients that come by DTLS (RFC 7350).

use std::net::{SocketAddr, UdpSocket};
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
use crate::dtls_strangers::{DTLS_1_2, hello, stranger};
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
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    session: Session,
    exchange: Exchange,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, protocols: &[u8]) -> Self {
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

    pub(crate) fn send(&mut self, message: &[u8]) {
        assert!(self.session.write(&mut self.exchange, [message, &[], &[]]));
        assert_eq!(self.exchange.datagrams().count(), 1, "a message is a datagram");
        self.transmit();
    }

    /// A record that is not sent.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
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

    pub(crate) fn allocate(&mut self) -> SocketAddr {
        let answer = self.ask(Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP).add(&Lifetime(600));
        });
        Message::parse(&answer).unwrap().get::<XorRelayedAddress>().unwrap().unwrap().0
    }

    pub(crate) fn bind_channel(&mut self, peer: SocketAddr) {
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
pub(crate) struct Files {
    directory: Directory,
}

impl Files {
    pub(crate) fn of(algorithm: &'static SignatureAlgorithm) -> Self {
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

    pub(crate) fn names(&self) -> (String, String) {
        (self.directory.file("cert.pem"), self.directory.file("key.pem"))
    }

    /// Everybody may relay.
    pub(crate) fn server(&self, more: &[&str]) -> Server {
        let (cert, key) = self.names();
        let address = SocketAddr::new(loopback_address(), 3478);
        let mut arguments =
            vec!["--no-auth", "--allow-loopback-peers", "-v", "--dtls", "--cert", &cert, "--pkey", &key];
        arguments.extend(more);
        Server::start_at(address, &arguments)
    }
}

pub(crate) fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn channel_data(data: &[u8]) -> Vec<u8> {
    let mut bytes = channel_data_header(CHANNEL, data.len() as u16).to_vec();
    bytes.extend_from_slice(data);
    bytes
}

const CHANNEL: u16 = 0x4000;
