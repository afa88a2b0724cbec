//! A client's connection, by TCP or TLS, that authenticates as `hello` and whose bytes can be had as they are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use turnpike_wire::attributes::{
    ConnectionId, ErrorCode, Nonce, Realm, RequestedTransport, Username, XorPeerAddress, XorRelayedAddress,
};
use turnpike_wire::framing::{Frame, next_frame};
use turnpike_wire::{Class, LongTermKey, Message, MessageWriter, Method, PasswordDigest, TransactionId};

use crate::harness::{Directory, PATIENCE};

pub(super) type Authority = CertificateDer<'static>;

pub(super) struct Connection {
    stream: Stream,
    input: Vec<u8>,
    username: String,
    password: String,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    requests: u8,
    server: SocketAddr,
    /// The address of its allocation.
    pub(super) relayed: SocketAddr,
    /// ConnectionAttempts that came between answers.
    attempts: Vec<(SocketAddr, u32)>,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A success response.
pub(super) struct Answer(Vec<u8>);

impl Answer {
    pub(super) fn connection(&self) -> u32 {
        Message::parse(&self.0).unwrap().get::<ConnectionId>().unwrap().unwrap().0
    }

    fn relayed(&self) -> SocketAddr {
        Message::parse(&self.0).unwrap().get::<XorRelayedAddress>().unwrap().unwrap().0
    }
}

impl Connection {
    pub(super) fn tcp(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection::over(Stream::Tcp(stream), server)
    }

    pub(super) fn tls(server: SocketAddr, authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection::over(Stream::Tls(Box::new(StreamOwned::new(session, socket))), server)
    }

    fn over(stream: Stream, server: SocketAddr) -> Self {
        Connection {
            stream,
            input: Vec::new(),
            username: "hello".into(),
            password: "world".into(),
            realm: Vec::new(),
            nonce: Vec::new(),
            requests: 0,
            server,
            relayed: server,
            attempts: Vec::new(),
        }
    }

    pub(super) fn named(mut self, username: &str, password: &str) -> Self {
        (self.username, self.password) = (username.into(), password.into());
        self
    }

    /// A control connection with a TCP allocation.
    pub(super) fn control(server: SocketAddr) -> Self {
        Connection::control_over(Connection::tcp(server))
    }

    pub(super) fn control_over(mut connection: Connection) -> Self {
        connection.allocate();
        connection
    }

    pub(super) fn allocate(&mut self) {
        self.try_allocate().unwrap();
    }

    pub(super) fn try_allocate(&mut self) -> Result<(), u16> {
        let answer = self.ask(Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::TCP);
        })?;
        self.relayed = answer.relayed();
        Ok(())
    }

    pub(super) fn permit(&mut self, peer: SocketAddr) {
        let answer = self.ask(Method::CREATE_PERMISSION, |writer| {
            writer.add(&XorPeerAddress(peer));
        });
        answer.map(drop).unwrap();
    }

    /// The next peer that has connected, and the connection's name.
    pub(super) fn next_attempt(&mut self) -> (SocketAddr, u32) {
        while self.attempts.is_empty() {
            let frame = self.next_frame();
            self.note_attempt(&frame);
        }
        self.attempts.remove(0)
    }

    /// Another connection, bound to one with a peer.
    pub(super) fn bind(&self, connection: u32) -> Connection {
        let mut data = Connection::tcp(self.server);
        data.bind_with(connection, &[]);
        data
    }

    pub(super) fn try_bind(&mut self, connection: u32) -> Result<(), u16> {
        let answer = self.ask(Method::CONNECTION_BIND, |writer| {
            writer.add(&ConnectionId(connection));
        });
        answer.map(drop)
    }

    /// Binds this connection, and sends bytes to the peer without waiting for the answer.
    pub(super) fn bind_with(&mut self, connection: u32, behind: &[u8]) {
        let build = |writer: &mut MessageWriter<'_>| {
            writer.add(&ConnectionId(connection));
        };
        let bare = self.request(Method::CONNECTION_BIND, build);
        self.write(&bare);
        assert_eq!(self.answer(Method::CONNECTION_BIND).map(drop), Err(401));
        let signed = self.request(Method::CONNECTION_BIND, build);
        self.write(&[&signed, behind].concat());
        self.answer(Method::CONNECTION_BIND).map(drop).unwrap();
    }

    /// Sends a request, again with credentials once the nonce is known; the error's number if it is refused for another
    /// reason than that, or again.
    pub(super) fn ask(
        &mut self,
        method: Method,
        build: impl Fn(&mut MessageWriter<'_>),
    ) -> Result<Answer, u16> {
        let challenged = self.nonce.is_empty();
        let request = self.request(method, &build);
        self.write(&request);
        match self.answer(method) {
            Err(401) if challenged => {
                let request = self.request(method, &build);
                self.write(&request);
                self.answer(method)
            }
            answer => answer,
        }
    }

    fn request(&mut self, method: Method, build: impl Fn(&mut MessageWriter<'_>)) -> Vec<u8> {
        self.requests += 1;
        let mut buffer = [0; 512];
        let id = TransactionId([self.requests; 12]);
        let mut writer = MessageWriter::new(&mut buffer, Class::Request, method, id);
        build(&mut writer);
        if !self.nonce.is_empty() {
            let [username, password] = [&self.username, &self.password].map(|text| text.as_bytes());
            writer.add(&Username(username)).add(&Realm(&self.realm)).add(&Nonce(&self.nonce));
            let key = LongTermKey::derive(PasswordDigest::Md5, username, &self.realm, password);
            writer.integrity_sha1(&key);
        }
        writer.finish().unwrap().to_vec()
    }

    fn answer(&mut self, method: Method) -> Result<Answer, u16> {
        loop {
            let frame = self.next_frame();
            if self.note_attempt(&frame) {
                continue;
            }
            let message = Message::parse(&frame).unwrap();
            assert_eq!(
                (message.method(), message.transaction_id()),
                (method, TransactionId([self.requests; 12]))
            );
            if message.class() == Class::Success {
                return Ok(Answer(frame));
            }
            if let (Ok(Some(Realm(realm))), Ok(Some(Nonce(nonce)))) = (message.get(), message.get()) {
                (self.realm, self.nonce) = (realm.to_vec(), nonce.to_vec());
            }
            return Err(message.get::<ErrorCode<'_>>().unwrap().unwrap().number.number());
        }
    }

    fn note_attempt(&mut self, frame: &[u8]) -> bool {
        let message = Message::parse(frame).unwrap();
        let is_attempt = message.method() == Method::CONNECTION_ATTEMPT;
        if is_attempt {
            assert_eq!(message.class(), Class::Indication);
            let XorPeerAddress(peer) = message.get().unwrap().unwrap();
            let ConnectionId(connection) = message.get().unwrap().unwrap();
            self.attempts.push((peer, connection));
        }
        is_attempt
    }

    fn next_frame(&mut self) -> Vec<u8> {
        loop {
            if let Frame::Whole { consumed, .. } = next_frame(&self.input) {
                return self.input.drain(..consumed).collect();
            }
            // One byte more than is needed might be a peer's.
            let mut byte = [0];
            assert_eq!(self.stream.read(&mut byte).unwrap(), 1, "the connection has ended");
            self.input.push(byte[0]);
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).unwrap();
    }

    /// Says by TLS that nothing more will be sent.
    pub(super) fn say_goodbye(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
        }
        self.stream.flush().unwrap();
    }

    pub(super) fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(super) fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// The connection itself, from behind the last message on.
    pub(super) fn into_tcp(self) -> TcpStream {
        assert!(self.input.is_empty());
        match self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(_) => panic!("it is TLS"),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// A directory with a certificate for `localhost`, and who vouches for it.
pub(super) fn certificate() -> (Directory, Authority) {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    directory.write("cert.pem", &made.cert.pem());
    directory.write("key.pem", &made.signing_key.serialize_pem());
    (directory, made.cert.der().clone())
}
