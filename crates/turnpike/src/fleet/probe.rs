//! Whether a server answers a Binding request (RFC 8489 §2.2) by UDP, TCP or TLS. Whatever it answers is an answer, be it
//! that it wants credentials first. Whom a certificate is for is not looked at: that is for clients to judge.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};

use super::{Target, Way};
use crate::randomness::random;
use crate::tools::uclient::transport::verification::AnyCertificate;

/// Asks servers.
pub(super) struct Prober {
    tls: Arc<ClientConfig>,
}

impl Prober {
    pub(super) fn new() -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let anybody = AnyCertificate::new(provider.signature_verification_algorithms);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("TLS cannot be used to ask other servers")?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(anybody))
            .with_no_client_auth();
        Ok(Prober { tls: Arc::new(config) })
    }

    /// Asks all of them at once, and says who answers.
    pub(super) fn ask_all(&self, targets: &[Target]) -> Vec<(Target, bool)> {
        let mut answers = Vec::new();
        for some in targets.chunks(AT_ONCE) {
            thread::scope(|scope| {
                let asked: Vec<_> =
                    some.iter().map(|target| (*target, scope.spawn(|| self.ask(*target).is_ok()))).collect();
                answers.extend(asked.into_iter().map(|(it, asked)| (it, asked.join().unwrap_or_default())));
            });
        }
        answers
    }

    fn ask(&self, Target { way, address }: Target) -> io::Result<()> {
        match way {
            Way::Udp => by_udp(address),
            Way::Tcp => by_stream(&mut connect(address)?),
            Way::Tls => {
                let name = ServerName::IpAddress(address.ip().into());
                let session = ClientConnection::new(self.tls.clone(), name).map_err(io::Error::other)?;
                by_stream(&mut StreamOwned::new(session, connect(address)?))
            }
        }
    }
}

/// Sends the request several times, since one may be lost.
fn by_udp(address: SocketAddr) -> io::Result<()> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    let (id, request) = request()?;
    let mut buffer = [0; 1500];
    for _ in 0..SENT {
        socket.send(&request)?;
        let until = Instant::now() + BETWEEN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(length) if answers(&buffer[..length], id) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => break,
                // Such as an ICMP error: nobody is there.
                Err(error) => return Err(error),
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

fn by_stream(connection: &mut (impl Read + Write)) -> io::Result<()> {
    let (id, request) = request()?;
    connection.write_all(&request)?;
    connection.flush()?;
    let mut answer = vec![0; HEADER];
    connection.read_exact(&mut answer)?;
    let length = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
    answer.resize(HEADER + length.min(LONGEST), 0);
    connection.read_exact(&mut answer[HEADER..])?;
    if answers(&answer, id) { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn request() -> io::Result<(TransactionId, Vec<u8>)> {
    let mut id = TransactionId([0; 12]);
    id.0 = random()?;
    let mut buffer = [0; 64];
    let writer = MessageWriter::new(&mut buffer, Class::Request, Method::BINDING, id);
    let request = writer.finish().map_err(|_| io::ErrorKind::InvalidData)?.to_vec();
    Ok((id, request))
}

fn answers(bytes: &[u8], id: TransactionId) -> bool {
    let Ok(message) = Message::parse(bytes) else { return false };
    let is_response = matches!(message.class(), Class::Success | Class::Error);
    is_response && message.transaction_id() == id && message.method() == Method::BINDING
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Requests by UDP, and how long each is waited for.
const SENT: usize = 3;
const BETWEEN: Duration = Duration::from_millis(500);
/// For each step of a connection.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Servers that are asked at once.
const AT_ONCE: usize = 16;
/// Of a STUN message.
const HEADER: usize = 20;
/// What may follow it.
const LONGEST: usize = 1480;
