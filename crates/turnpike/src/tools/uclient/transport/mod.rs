//! The way to the server: a socket, and what it takes to send and receive whole messages through it. Above this room
//! nobody knows whether messages travel as datagrams or in a stream. Nothing here waits.

mod ciphers;
#[cfg(test)]
mod dribble;
mod dtls;
mod dtls_settings;
mod framed;
mod link;
mod tcp;
mod tls;
mod tls_settings;
mod udp;
pub(crate) mod verification;

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result};
use socket2::Socket;

use self::dtls::Dtls;
pub(super) use self::dtls_settings::DtlsSettings;
use self::framed::Framed;
pub(crate) use self::link::{Link, Linker};
use self::tcp::Tcp;
use self::tls::Tls;
pub(super) use self::tls_settings::{TlsFlags, TlsSettings};
use self::udp::Udp;
pub(crate) use self::verification::AnyCertificate;
use super::settings::Settings;

/// How clients come to the server.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Udp,
    Tcp,
    Tls(TlsSettings),
    Dtls(DtlsSettings),
}

/// One client's socket.
pub(super) enum Transport {
    Udp(Udp),
    Tcp(Tcp),
    Tls(Box<Tls>),
    Dtls(Box<Dtls>),
}

/// What a socket is to be watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Input,
    /// Something waits to be sent.
    InputAndRoom,
    /// The connection has ended.
    Nothing,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server's host says that nobody listens.
    Refused,
    /// The server closed the connection.
    Closed,
    Failed(String),
}

impl Way {
    /// Whether each client is a connection.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Way::Tcp | Way::Tls(_))
    }

    /// Whether it can be known that nothing will ever come any more.
    pub(super) fn can_end(&self) -> bool {
        !matches!(self, Way::Udp)
    }
}

impl Transport {
    /// Opens a socket to the server. A connection may still be under way then.
    pub(super) fn open(settings: &Settings, server: SocketAddr, domain: Option<&str>) -> Result<Self> {
        Ok(match &settings.way {
            Way::Udp => Transport::Udp(udp::open(settings, server)?),
            Way::Tcp => Transport::Tcp(Tcp::new(tcp::connect(settings, server)?)),
            Way::Tls(tls) => {
                let socket = tcp::connect(settings, server)?;
                // RFC 8489 §10: without ALTERNATE-DOMAIN another server bears the same name.
                let named = domain.map(|domain| tls.named(domain)).transpose().map_err(anyhow::Error::msg)?;
                let tls = named.as_ref().unwrap_or(tls);
                Transport::Tls(Box::new(Tls::new(socket, tls, settings.verbose)?))
            }
            Way::Dtls(dtls) => {
                let socket = udp::open(settings, server)?;
                Transport::Dtls(Box::new(Dtls::new(socket, dtls, settings.verbose)))
            }
        })
    }

    /// Opens a plain connection to somebody who is no server.
    pub(super) fn connect_plain(settings: &Settings, peer: SocketAddr) -> Result<Self> {
        Ok(Transport::Tcp(Tcp::new(tcp::connect(settings, peer)?)))
    }

    /// Sends a whole message, or keeps it until the socket has room; `false` when it will not be sent.
    pub(super) fn send(&mut self, message: &[u8]) -> bool {
        match self {
            Transport::Udp(udp) => udp.send(message),
            Transport::Tcp(tcp) => tcp.send(message),
            Transport::Tls(tls) => tls.send(message),
            Transport::Dtls(dtls) => dtls.send(message),
        }
    }

    /// Sends what was kept, as far as there is room.
    pub(super) fn flush(&mut self) {
        match self {
            Transport::Udp(_) | Transport::Dtls(_) => {}
            Transport::Tcp(tcp) => tcp.flush(),
            Transport::Tls(tls) => tls.flush(),
        }
    }

    /// Repeats what the way itself has to repeat; to be called now and then.
    pub(super) fn handle_timeout(&mut self) {
        if let Transport::Dtls(dtls) = self {
            dtls.handle_timeout();
        }
    }

    /// The next whole message, if one is there.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self {
            Transport::Udp(udp) => udp.receive(buffer),
            Transport::Tcp(tcp) => tcp.receive(buffer),
            Transport::Tls(tls) => tls.receive(buffer),
            Transport::Dtls(dtls) => dtls.receive(buffer),
        }
    }

    /// Bytes as they are, from behind the last message on, if there are any. Of datagrams there are none.
    pub(super) fn receive_bytes(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self {
            Transport::Udp(_) | Transport::Dtls(_) => None,
            Transport::Tcp(tcp) => tcp.receive_bytes(buffer),
            Transport::Tls(tls) => tls.receive_bytes(buffer),
        }
    }

    /// Whether a whole message was read already, so that no poller will tell of it.
    pub(super) fn holds_message(&self) -> bool {
        match self {
            Transport::Udp(_) | Transport::Dtls(_) => false,
            Transport::Tcp(tcp) => tcp.holds_message(),
            Transport::Tls(tls) => tls.holds_message(),
        }
    }

    /// Whether what is sent now has to wait for something. Requests may go after it; data had better wait.
    pub(super) fn is_congested(&self) -> bool {
        match self {
            Transport::Udp(_) => false,
            Transport::Tcp(tcp) => tcp.trouble().is_none() && tcp.wants_room(),
            Transport::Tls(tls) => tls.trouble().is_none() && (tls.wants_room() || tls.is_handshaking()),
            Transport::Dtls(dtls) => dtls.is_handshaking(),
        }
    }

    /// What to watch the socket for.
    pub(super) fn interest(&self) -> Interest {
        match self {
            Transport::Udp(_) => Interest::Input,
            Transport::Tcp(tcp) => interest_of_stream(tcp.trouble(), tcp.wants_room()),
            Transport::Tls(tls) => interest_of_stream(tls.trouble(), tls.wants_room()),
            Transport::Dtls(dtls) if dtls.has_ended() => Interest::Nothing,
            Transport::Dtls(_) => Interest::Input,
        }
    }

    /// What went wrong so far.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        match self {
            Transport::Udp(udp) => udp.trouble(),
            Transport::Tcp(tcp) => tcp.trouble(),
            Transport::Tls(tls) => tls.trouble(),
            Transport::Dtls(dtls) => dtls.trouble(),
        }
    }

    /// Whether nothing will ever come or go again: of datagrams nobody can say so.
    pub(super) fn has_ended(&self) -> bool {
        self.interest() == Interest::Nothing
    }

    /// Where it is bound.
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Transport::Udp(udp) => udp.socket().local_addr(),
            Transport::Tcp(tcp) => tcp.socket().local_addr(),
            Transport::Tls(tls) => tls.socket().local_addr(),
            Transport::Dtls(dtls) => dtls.socket().local_addr(),
        }
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Transport::Udp(udp) => udp.socket().as_raw_fd(),
            Transport::Tcp(tcp) => tcp.socket().as_raw_fd(),
            Transport::Tls(tls) => tls.socket().as_raw_fd(),
            Transport::Dtls(dtls) => dtls.socket().as_raw_fd(),
        }
    }
}

impl Trouble {
    /// The same in a sentence for the user.
    pub(super) fn about(&self, server: SocketAddr) -> String {
        match self {
            Trouble::Refused => format!("nobody listens at {server}: is the server running?"),
            Trouble::Closed => format!("{server} closed the connection"),
            Trouble::Failed(why) => format!("{server}: {why}"),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Trouble::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Trouble::Closed
            }
            _ => Trouble::Failed(error.to_string()),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Transport::Udp(_) => "Udp",
            Transport::Tcp(_) => "Tcp",
            Transport::Tls(_) => "Tls",
            Transport::Dtls(_) => "Dtls",
        })
    }
}

fn interest_of_stream(trouble: Option<&Trouble>, wants_room: bool) -> Interest {
    match (trouble, wants_room) {
        (Some(_), _) => Interest::Nothing,
        (None, true) => Interest::InputAndRoom,
        (None, false) => Interest::Input,
    }
}

/// Binds a socket as the flags say.
fn bind(socket: &Socket, settings: &Settings) -> Result<()> {
    if let Some(device) = &settings.device {
        socket
            .bind_device(Some(device.as_bytes()))
            .with_context(|| format!("cannot use the interface {device}"))?;
    }
    if let Some(local) = settings.local {
        socket
            .bind(&SocketAddr::new(local, 0).into())
            .with_context(|| format!("cannot use the address {local}"))?;
    }
    Ok(())
}

/// Writes as much as there is room for.
fn write_some(socket: &mut impl Write, bytes: &[u8]) -> Result<usize, Trouble> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(Trouble::Closed),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// Bytes taken from a stream by one read.
const READ: usize = 16 * 1024;
