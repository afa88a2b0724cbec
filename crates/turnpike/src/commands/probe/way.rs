//! One connection to a server, over whatever carries it. Every call here returns in bounded time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use turnpike_client::FrameBuffer;
use turnpike_dtls::{ClientFiles, DtlsConnector, Exchange, Session, Unsealed};

use super::target::Carrier;
use crate::tools::uclient::AnyCertificate;

/// A way to the server.
pub(crate) struct Way {
    carried: Carried,
    /// The certificates the server has shown, its own first, in DER.
    pub(crate) chain: Vec<Vec<u8>>,
    /// How long TCP and TLS, or DTLS, took to come about.
    pub(crate) set_up: Duration,
    /// What was agreed on.
    pub(crate) security: Option<String>,
}

enum Carried {
    Udp(UdpSocket),
    Tcp(TcpStream, FrameBuffer),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>, FrameBuffer),
    Dtls(Box<Dtls>),
}

struct Dtls {
    socket: UdpSocket,
    session: Session,
    exchange: Exchange,
}

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoWay {
    /// Nobody listens there.
    Refused,
    /// Nothing came back.
    Silent,
    /// A connection is there, and TLS or DTLS is not.
    NotSecure(String),
    Other(String),
}

impl Way {
    /// Opens one. Certificates are taken as they are: they are judged apart, so that the rest can be tried all the same.
    pub(crate) fn open(carrier: Carrier, server: SocketAddr, host: &str) -> Result<Self, NoWay> {
        let began = Instant::now();
        let (carried, chain, security) = match carrier {
            Carrier::Udp => (Carried::Udp(datagrams(server)?), Vec::new(), None),
            Carrier::Tcp => (Carried::Tcp(connect(server)?, FrameBuffer::new()), Vec::new(), None),
            Carrier::Tls => {
                let (stream, chain, security) = secure(connect(server)?, host)?;
                (Carried::Tls(Box::new(stream), FrameBuffer::new()), chain, Some(security))
            }
            Carrier::Dtls => {
                let dtls = Dtls::open(datagrams(server)?)?;
                let (version, cipher) = dtls.session.security();
                let (chain, security) = (dtls.session.peer_chain(), format!("{version}, {cipher}"));
                (Carried::Dtls(Box::new(dtls)), chain, Some(security))
            }
        };
        Ok(Way { carried, chain, set_up: began.elapsed(), security })
    }

    /// Where it leaves from.
    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        match &self.carried {
            Carried::Udp(socket) => socket.local_addr(),
            Carried::Tcp(stream, _) => stream.local_addr(),
            Carried::Tls(stream, _) => stream.sock.local_addr(),
            Carried::Dtls(dtls) => dtls.socket.local_addr(),
        }
    }

    pub(crate) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match &mut self.carried {
            Carried::Udp(socket) => match socket.send(message) {
                // An earlier datagram's: this one is told by the silence that follows.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(error),
                other => other.map(drop),
            },
            Carried::Tcp(stream, _) => stream.write_all(message),
            Carried::Tls(stream, _) => stream.write_all(message).and_then(|()| stream.flush()),
            Carried::Dtls(dtls) => {
                dtls.session.write(&mut dtls.exchange, [message, &[], &[]]);
                dtls.transmit()
            }
        }
    }

    /// The next message, if one comes in this time.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<Option<usize>> {
        let deadline = Instant::now() + patience.max(SHORTEST_WAIT);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = left.max(SHORTEST_WAIT);
            let read = match &mut self.carried {
                Carried::Udp(socket) => {
                    socket.set_read_timeout(Some(left))?;
                    return quiet(socket.recv(buffer));
                }
                Carried::Tcp(stream, frames) => {
                    if let Some(length) = take(frames, buffer)? {
                        return Ok(Some(length));
                    }
                    stream.set_read_timeout(Some(left))?;
                    let mut bytes = [0; 4096];
                    let read = quiet(stream.read(&mut bytes))?;
                    read.inspect(|length| frames.push(&bytes[..*length]))
                }
                Carried::Tls(stream, frames) => {
                    if let Some(length) = take(frames, buffer)? {
                        return Ok(Some(length));
                    }
                    stream.sock.set_read_timeout(Some(left))?;
                    let mut bytes = [0; 4096];
                    let read = quiet(stream.read(&mut bytes))?;
                    read.inspect(|length| frames.push(&bytes[..*length]))
                }
                Carried::Dtls(dtls) => match dtls.receive(buffer, left)? {
                    Some(length) => return Ok(Some(length)),
                    None => continue,
                },
            };
            if read == Some(0) {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }
}

impl Dtls {
    fn open(socket: UdpSocket) -> Result<Self, NoWay> {
        let files = ClientFiles { protocols: b"\x09stun.turn", ..ClientFiles::default() };
        let broken = |error: String| NoWay::Other(format!("DTLS cannot be used: {error}"));
        let connector = DtlsConnector::new(&files).map_err(|error| broken(error.to_string()))?;
        let mut exchange = Exchange::default();
        let session = connector.begin(&mut exchange).map_err(|error| broken(error.to_string()))?;
        let mut dtls = Dtls { socket, session, exchange };
        dtls.transmit().map_err(|error| NoWay::of(&error))?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = vec![0; 1 << 16];
        let mut heard = false;
        while Instant::now() < deadline {
            match dtls.session.read(&mut dtls.exchange, &mut buffer) {
                Unsealed::Established => {
                    dtls.transmit().map_err(|error| NoWay::of(&error))?;
                    return Ok(dtls);
                }
                Unsealed::Closed | Unsealed::Failed => {
                    return Err(NoWay::NotSecure("the server ended the DTLS handshake".to_owned()));
                }
                _ => {}
            }
            dtls.transmit().map_err(|error| NoWay::of(&error))?;
            let wait =
                dtls.session.timeout().unwrap_or(PATIENCE).clamp(SHORTEST_WAIT, Duration::from_secs(1));
            dtls.socket.set_read_timeout(Some(wait)).map_err(|error| NoWay::of(&error))?;
            match quiet(dtls.socket.recv(&mut buffer)) {
                Ok(Some(length)) => {
                    heard = true;
                    dtls.session.handle_datagram(&mut dtls.exchange, &buffer[..length]);
                }
                Ok(None) => {
                    if dtls.session.timeout().is_some_and(|left| left.is_zero())
                        && !dtls.session.handle_timeout(&mut dtls.exchange)
                    {
                        break;
                    }
                }
                Err(error) => return Err(NoWay::of(&error)),
            }
        }
        Err(match heard {
            true => NoWay::NotSecure("the DTLS handshake did not end".to_owned()),
            false => NoWay::Silent,
        })
    }

    fn transmit(&mut self) -> io::Result<()> {
        let mut sent = Ok(());
        for datagram in self.exchange.datagrams() {
            sent = sent.and(self.socket.send(datagram).map(drop));
        }
        self.exchange.clear();
        sent
    }

    /// One datagram's worth of messages; `None` where it held none, or none came.
    fn receive(&mut self, buffer: &mut [u8], patience: Duration) -> io::Result<Option<usize>> {
        if let Unsealed::Message(length) = self.session.read(&mut self.exchange, buffer) {
            return Ok(Some(length));
        }
        self.socket.set_read_timeout(Some(patience))?;
        let Some(length) = quiet(self.socket.recv(buffer))? else { return Ok(None) };
        let datagram = buffer[..length].to_vec();
        self.session.handle_datagram(&mut self.exchange, &datagram);
        match self.session.read(&mut self.exchange, buffer) {
            Unsealed::Message(length) => Ok(Some(length)),
            Unsealed::Closed | Unsealed::Failed => {
                Err(io::Error::new(ErrorKind::UnexpectedEof, "the server ended the DTLS session"))
            }
            _ => Ok(None),
        }
    }
}

impl NoWay {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => NoWay::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => NoWay::Silent,
            _ => NoWay::Other(error.to_string()),
        }
    }
}

fn datagrams(server: SocketAddr) -> Result<UdpSocket, NoWay> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(server).map(|()| socket));
    socket.map_err(|error| NoWay::of(&error))
}

fn connect(server: SocketAddr) -> Result<TcpStream, NoWay> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE).map_err(|error| NoWay::of(&error))?;
    let settings = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    settings.and_then(|()| stream.set_read_timeout(Some(PATIENCE))).map_err(|error| NoWay::of(&error))?;
    Ok(stream)
}

type Secured = (StreamOwned<ClientConnection, TcpStream>, Vec<Vec<u8>>, String);

fn secure(mut stream: TcpStream, host: &str) -> Result<Secured, NoWay> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = AnyCertificate::new(provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| NoWay::Other(error.to_string()))?;
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.alpn_protocols = vec![b"stun.turn".to_vec()];
    let name = match host.parse::<IpAddr>() {
        Ok(ip) => ServerName::IpAddress(ip.into()),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|error| NoWay::Other(error.to_string()))?,
    };
    let mut session =
        ClientConnection::new(Arc::new(config), name).map_err(|error| NoWay::Other(error.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    while session.is_handshaking() {
        if Instant::now() > deadline {
            return Err(NoWay::NotSecure("the TLS handshake did not end".to_owned()));
        }
        match session.complete_io(&mut stream) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(NoWay::NotSecure("no answer to the TLS handshake".to_owned()));
            }
            Err(error) => return Err(NoWay::NotSecure(error.to_string())),
        }
    }
    let chain = session.peer_certificates().into_iter().flatten().map(|der| der.to_vec()).collect();
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    let suite = session.negotiated_cipher_suite().map_or("", |suite| suite.suite().as_str().unwrap_or(""));
    let security = format!("{version}, {suite}");
    Ok((StreamOwned::new(session, stream), chain, security))
}

/// The next whole message that was read already.
fn take(frames: &mut FrameBuffer, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match frames.next_message() {
        Ok(Some(message)) => {
            let length = message.len().min(buffer.len());
            buffer[..length].copy_from_slice(&message[..length]);
            Ok(Some(length))
        }
        Ok(None) => Ok(None),
        Err(_) => Err(io::Error::new(ErrorKind::InvalidData, "what answers there does not speak STUN")),
    }
}

/// That nothing came is no error.
fn quiet(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(length) => Ok(Some(length)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// For a connection or a handshake.
const PATIENCE: Duration = Duration::from_secs(5);
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
