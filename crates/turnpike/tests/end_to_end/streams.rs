//! Clients that come by TCP and TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};
use turnpike_wire::attributes::{
    ChannelNumber, Lifetime, RequestedTransport, Software, XorMappedAddress, XorPeerAddress,
    XorRelayedAddress,
};
use turnpike_wire::framing::{Frame, next_frame};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId, channel_data_header};

use crate::harness::{Directory, PATIENCE, Server, loopback_address};

#[test]
fn a_tcp_client_allocates_binds_a_channel_and_exchanges_data_padded_to_four() {
    let server = open_server();
    let mut client = Connection::tcp(server.address);
    let peer = peer();
    let relayed = client.allocate();
    client.bind_channel(peer.local_addr().unwrap());
    for length in [0, 1, 2, 3, 4, 5, 160, 1200, 9000] {
        let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
        client.send_channel_data(&data);
        let mut buffer = vec![0; 65_536];
        let (received, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..received], from), (data.as_slice(), relayed), "{length}");
        peer.send_to(&data, relayed).unwrap();
        assert_eq!(client.next_frame(), channel_data(&data), "{length}");
    }
}

#[test]
fn messages_arrive_whole_however_the_stream_is_cut() {
    let server = open_server();
    let mut client = Connection::tcp(server.address);
    let one = binding(1);
    let several: Vec<u8> = (2..40).flat_map(binding).collect();
    for byte in &one {
        client.write(&[*byte]);
    }
    client.write(&several[..several.len() - 7]);
    client.write(&several[several.len() - 7..]);
    for number in 1..40 {
        let answer = client.next_frame();
        let message = Message::parse(&answer).unwrap();
        assert_eq!((message.class(), message.transaction_id()), (Class::Success, id(number)));
        assert_eq!(message.get::<XorMappedAddress>().unwrap().unwrap().0, client.local);
    }
}

#[test]
fn what_is_neither_stun_nor_channel_data_ends_the_connection_and_no_other() {
    let mut server = open_server();
    let mut innocent = Connection::tcp(server.address);
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x00\x01\x00\x00nonsense", &[0xFF; 64]] {
        let mut stranger = Connection::tcp(server.address);
        stranger.write(garbage);
        let started = std::time::Instant::now();
        assert_eq!(stranger.read_to_end(), b"", "{garbage:?}");
        assert!(started.elapsed() < PATIENCE, "{garbage:?}");
    }
    innocent.write(&binding(9));
    assert_eq!(Message::parse(&innocent.next_frame()).unwrap().transaction_id(), id(9));
    assert!(!server.program.so_far().contains("panicked"));
    server.program.signal("TERM");
    server.expect("Terminating on signal 15");
}

#[test]
fn a_stranger_cannot_announce_a_message_larger_than_any_request() {
    let server = open_server();
    let mut header = binding(1);
    header[2..4].copy_from_slice(&20_000_u16.to_be_bytes());
    let mut stranger = Connection::tcp(server.address);
    stranger.write(&header);
    let started = std::time::Instant::now();
    assert_eq!(stranger.read_to_end(), b"");
    assert!(started.elapsed() < PATIENCE, "the connection stays open");
    // Whoever has an allocation may: data can be that large.
    let mut client = Connection::tcp(server.address);
    client.allocate();
    client.write(&header);
    client.write(&vec![0; 20_000]);
    client.next_frame();
    client.write(&binding(3));
    assert_eq!(Message::parse(&client.next_frame()).unwrap().transaction_id(), id(3));
}

#[test]
fn who_speaks_http_is_told_so_or_sent_on_where_the_operator_wants_it() {
    let server =
        Server::start(&["--respond-http-unsupported", "--acme-redirect=http://acme.example/.well-known/"]);
    let answer = |request: &[u8]| {
        let mut stranger = Connection::tcp(server.address);
        stranger.write(request);
        String::from_utf8(stranger.read_to_end()).unwrap()
    };
    assert!(answer(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let redirected = answer(b"GET /.well-known/acme-challenge/abc-_1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(redirected.contains("\r\nLocation: http://acme.example/.well-known/abc-_1\r\n"), "{redirected}");
}

#[test]
fn the_end_of_a_connection_is_the_end_of_its_allocation() {
    let mut server = open_server();
    let mut client = Connection::tcp(server.address);
    client.allocate();
    server.expect("transport TCP");
    drop(client);
    let line = server.expect("closed (2nd stage)");
    assert!(line.contains("TCP connection closed by client"), "{line}");
}

#[test]
fn a_client_that_does_not_read_costs_bounded_memory_and_harms_nobody() {
    let server = open_server();
    let mut client = Connection::tcp(server.address);
    let peer = peer();
    let relayed = client.allocate();
    client.bind_channel(peer.local_addr().unwrap());
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.program.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // 60 MB to somebody who takes nothing; an innocent client paces them.
    let mut innocent = Connection::tcp(server.address);
    let before = memory();
    for number in 0..100_u8 {
        (0..500).for_each(|_| drop(peer.send_to(&[7; 1200], relayed)));
        innocent.write(&binding(number));
        assert_eq!(Message::parse(&innocent.next_frame()).unwrap().transaction_id(), id(number));
    }
    assert!(memory() < before + 40_000, "{before} KiB before, {} KiB after", memory());
    // It still gets what it can take, in whole frames.
    let expected = channel_data(&[7; 1200]);
    (0..100).for_each(|_| assert_eq!(client.next_frame(), expected));
}

#[test]
fn a_tls_client_is_served_on_both_ports_and_told_which_protocol_is_spoken() {
    let (directory, authority) = certificate("localhost");
    let server = secure_server(&directory, &[]);
    let tls_port = SocketAddr::new(server.address.ip(), 5349);
    for address in [server.address, tls_port] {
        let mut client = Connection::tls(address, &authority, &[b"stun.turn"]).unwrap();
        assert_eq!(client.protocol.as_deref(), Some(&b"stun.turn"[..]));
        let peer = peer();
        let relayed = client.allocate();
        client.bind_channel(peer.local_addr().unwrap());
        client.send_channel_data(b"ping!");
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"ping!"[..], relayed));
        // Many at once, so that records and frames do not end together.
        (0..200).for_each(|_| assert_eq!(peer.send_to(&[5; 1001], relayed).unwrap(), 1001));
        let expected = channel_data(&[5; 1001]);
        (0..200).for_each(|_| assert_eq!(client.next_frame(), expected));
    }
    assert!(Connection::tls(tls_port, &authority, &[]).is_ok(), "no protocol named");
    assert!(Connection::tls(tls_port, &authority, &[b"h2"]).is_err(), "a foreign protocol alone");
}

#[test]
fn each_message_has_a_tls_record_of_its_own_though_many_are_answered_at_once() {
    let (directory, authority) = certificate("localhost");
    let server = secure_server(&directory, &[]);
    let config = trusting(&authority).with_no_client_auth();
    let mut session =
        ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    let requests: Vec<u8> = (0..50).flat_map(binding).collect();
    session.writer().write_all(&requests).unwrap();
    session.write_tls(&mut socket).unwrap();
    let mut answers = Vec::new();
    while answers.len() < 50 {
        let mut header = [0; 5];
        socket.read_exact(&mut header).unwrap();
        let mut record = header.to_vec();
        record.resize(5 + usize::from(u16::from_be_bytes([header[3], header[4]])), 0);
        socket.read_exact(&mut record[5..]).unwrap();
        assert_eq!(session.read_tls(&mut &record[..]).unwrap(), record.len());
        // Session tickets come in records without plain text.
        let length = session.process_new_packets().unwrap().plaintext_bytes_to_read();
        let mut text = vec![0; length];
        session.reader().read_exact(&mut text).unwrap();
        if length > 0 {
            answers.push(text);
        }
    }
    for (number, answer) in (0..).zip(&answers) {
        assert_eq!(Message::parse(answer).unwrap().transaction_id(), id(number));
    }
}

#[test]
fn a_new_certificate_is_taken_when_asked_and_a_broken_one_is_not() {
    let (directory, old) = certificate("localhost");
    let mut server = secure_server(&directory, &[]);
    assert!(Connection::tls(server.address, &old, &[]).is_ok());
    let new = write_certificate(&directory, "localhost");
    server.program.signal("USR2");
    server.expect("was read again; new connections get it");
    assert!(Connection::tls(server.address, &new, &[]).is_ok());
    assert!(Connection::tls(server.address, &old, &[]).is_err());
    directory.write("cert.pem", "nonsense");
    server.program.signal("USR2");
    let line = server.expect("the old one stays");
    assert!(line.contains("holds no certificate in PEM form"), "{line}");
    assert!(Connection::tls(server.address, &new, &[]).is_ok());
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_tls_off_and_says_why() {
    let directory = Directory::new();
    let (cert, key) = (directory.write("cert.pem", "x"), directory.file("missing.pem"));
    let mut server = Server::start(&["--cert", &cert, "--pkey", &key]);
    let said = server.program.so_far().to_owned();
    assert!(said.contains("TLS is off: ") && said.contains("holds no certificate in PEM form"), "{said}");
    assert!(said.contains("TLS clients: off (see the error above)"), "{said}");
    let mut stranger = Connection::tcp(server.address);
    stranger.write(&[22, 3, 1, 0, 200]);
    assert_eq!(stranger.read_to_end(), b"");
    server.program.signal("USR2");
    server.expect("Reload (SIGUSR2): read again, without a configuration file");
}

#[test]
fn what_is_no_tls_after_all_ends_the_connection() {
    let (directory, authority) = certificate("localhost");
    let server = secure_server(&directory, &[]);
    let mut stranger = Connection::tcp(server.address);
    stranger.write(&[22; 400]);
    // An alert may come first.
    stranger.read_to_end();
    assert!(Connection::tls(server.address, &authority, &[]).is_ok());
}

#[test]
fn without_tcp_nobody_comes_in_by_it() {
    let mut server = Server::start(&["--no-tcp"]);
    assert!(server.program.so_far().contains("TCP clients: off (no-tcp)"));
    assert!(TcpStream::connect(server.address).is_err());
    server.program.signal("TERM");
    server.expect("Terminating on signal 15");
}

/// A client on a connection of either kind.
pub(crate) struct Connection {
    stream: Box<dyn ReadWrite>,
    local: SocketAddr,
    /// What TLS agreed on.
    pub(crate) protocol: Option<Vec<u8>>,
    input: Vec<u8>,
}

pub(crate) trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

impl Connection {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let local = stream.local_addr().unwrap();
        Connection { stream: Box::new(stream), local, protocol: None, input: Vec::new() }
    }

    pub(crate) fn tls(
        address: SocketAddr,
        authority: &CertificateDer<'static>,
        protocols: &[&[u8]],
    ) -> std::io::Result<Self> {
        let mut config = trusting(authority).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Connection::tls_with(address, config)
    }

    pub(crate) fn tls_with(address: SocketAddr, config: ClientConfig) -> std::io::Result<Self> {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let local = socket.local_addr()?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let protocol = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        let mut client = Connection { stream: Box::new(stream), local, protocol, input: Vec::new() };
        // With TLS 1.3 a server's refusal of the handshake comes with the first answer.
        client.write(&binding(200));
        client.try_next_frame()?;
        Ok(client)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // Whoever is refused may find the connection closed.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    /// The next message or ChannelData, padding included.
    fn next_frame(&mut self) -> Vec<u8> {
        self.try_next_frame().unwrap()
    }

    pub(crate) fn try_next_frame(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            if let Frame::Whole { consumed, .. } = next_frame(&self.input) {
                return Ok(self.input.drain(..consumed).collect());
            }
            let mut bytes = [0; 16_384];
            match self.stream.read(&mut bytes)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => self.input.extend_from_slice(&bytes[..length]),
            }
        }
    }

    fn ask(&mut self, method: Method, build: impl FnOnce(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut buffer = [0; 256];
        let mut writer = MessageWriter::new(&mut buffer, Class::Request, method, id(77));
        build(&mut writer);
        let request = writer.finish().unwrap().to_vec();
        self.write(&request);
        let answer = self.next_frame();
        let message = Message::parse(&answer).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Success, method));
        answer
    }

    pub(crate) fn allocate(&mut self) -> SocketAddr {
        let answer = self.ask(Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP).add(&Lifetime(600)).add(&Software(b"test"));
        });
        Message::parse(&answer).unwrap().get::<XorRelayedAddress>().unwrap().unwrap().0
    }

    fn bind_channel(&mut self, peer: SocketAddr) {
        self.ask(Method::CHANNEL_BIND, |writer| {
            writer.add(&ChannelNumber(CHANNEL)).add(&XorPeerAddress(peer));
        });
    }

    fn send_channel_data(&mut self, data: &[u8]) {
        self.write(&channel_data(data));
    }
}

/// What a client needs to trust the server.
pub(crate) fn trusting(authority: &CertificateDer<'static>) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots)
}

fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn id(number: u8) -> TransactionId {
    TransactionId([number; 12])
}

pub(crate) fn binding(number: u8) -> Vec<u8> {
    let mut buffer = [0; 64];
    let writer = MessageWriter::new(&mut buffer, Class::Request, Method::BINDING, id(number));
    writer.finish().unwrap().to_vec()
}

/// As it goes over a stream: padded (RFC 8656 §12.5).
fn channel_data(data: &[u8]) -> Vec<u8> {
    let mut bytes = channel_data_header(CHANNEL, data.len() as u16).to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(4 + data.len().next_multiple_of(4), 0);
    bytes
}

/// A directory with a certificate for this name, and who vouches for it.
pub(crate) fn certificate(name: &str) -> (Directory, CertificateDer<'static>) {
    let directory = Directory::new();
    let authority = write_certificate(&directory, name);
    (directory, authority)
}

pub(crate) fn write_certificate(directory: &Directory, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    directory.write("cert.pem", &made.cert.pem());
    directory.write("key.pem", &made.signing_key.serialize_pem());
    made.cert.der().clone()
}

/// Everybody may relay.
pub(crate) fn open_server() -> Server {
    let address = SocketAddr::new(loopback_address(), 3478);
    Server::start_at(address, &["--no-auth", "--allow-loopback-peers", "-v"])
}

pub(crate) fn secure_server(directory: &Directory, more: &[&str]) -> Server {
    let (cert, key) = (directory.file("cert.pem"), directory.file("key.pem"));
    let address = SocketAddr::new(loopback_address(), 3478);
    let mut arguments = vec!["--no-auth", "--allow-loopback-peers", "-v", "--cert", &cert, "--pkey", &key];
    arguments.extend(more);
    Server::start_at(address, &arguments)
}

const CHANNEL: u16 = 0x4000;
