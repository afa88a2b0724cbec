//! A connection to a server for other rooms of this program: whole messages by TCP or TLS, without this tool's flags.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result, anyhow};
use socket2::{Domain, Protocol, Socket, Type};

use super::framed::Framed;
use super::{Interest, Tcp, Tls, TlsFlags, TlsSettings, Trouble, interest_of_stream};

/// How links are made; all links of a run share it.
#[derive(Clone, Debug)]
pub(crate) struct Linker {
    server: SocketAddr,
    local: Option<IpAddr>,
    tls: Option<TlsSettings>,
}

/// One connection. Nothing here waits.
pub(crate) struct Link(Stream);

enum Stream {
    Tcp(Tcp),
    Tls(Box<Tls<TcpStream>>),
}

impl Linker {
    /// Links by TCP, from `local` if that matters.
    pub(crate) fn tcp(server: SocketAddr, local: Option<IpAddr>) -> Self {
        Linker { server, local, tls: None }
    }

    /// Links by TLS to the server of this name. One of the `authorities` in that file must vouch for its certificate, and
    /// for this name; without, nothing is checked.
    pub(crate) fn tls(
        server: SocketAddr,
        local: Option<IpAddr>,
        host: &str,
        authorities: Option<&str>,
    ) -> Result<Self> {
        let flags = TlsFlags {
            authorities: authorities.map(str::to_owned),
            names_count: true,
            ..TlsFlags::default()
        };
        let tls = TlsSettings::new(host, &flags).map_err(|problem| anyhow!(problem))?;
        Ok(Linker { server, local, tls: Some(tls) })
    }

    /// Begins a connection. Whether it comes about is learnt from [`Link::trouble`].
    pub(crate) fn open(&self) -> Result<Link> {
        let socket = Socket::new(Domain::for_address(self.server), Type::STREAM, Some(Protocol::TCP))
            .context("cannot open a socket")?;
        if let Some(local) = self.local {
            socket
                .bind(&SocketAddr::new(local, 0).into())
                .with_context(|| format!("cannot use the address {local}"))?;
        }
        socket.set_nonblocking(true)?;
        // A message must not wait for the acknowledgement of the one before.
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                return Err(anyhow!(Trouble::from(error).about(self.server)));
            }
            _ => {}
        }
        let stream = match &self.tls {
            None => Stream::Tcp(Tcp::new(socket.into())),
            Some(tls) => Stream::Tls(Box::new(Tls::new(socket.into(), tls, false)?)),
        };
        Ok(Link(stream))
    }
}

impl Link {
    /// Sends a whole message, or keeps it until there is room; `false` when it will not be sent.
    pub(crate) fn send(&mut self, message: &[u8]) -> bool {
        match &mut self.0 {
            Stream::Tcp(tcp) => tcp.send(message),
            Stream::Tls(tls) => tls.send(message),
        }
    }

    /// Sends what was kept, as far as there is room.
    pub(crate) fn flush(&mut self) {
        match &mut self.0 {
            Stream::Tcp(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }

    /// The next whole message, if one is there.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match &mut self.0 {
            Stream::Tcp(tcp) => tcp.receive(buffer),
            Stream::Tls(tls) => tls.receive(buffer),
        }
    }

    /// Whether a whole message was read already, so that no poller will tell of it.
    pub(crate) fn holds_message(&self) -> bool {
        match &self.0 {
            Stream::Tcp(tcp) => tcp.holds_message(),
            Stream::Tls(tls) => tls.holds_message(),
        }
    }

    /// Whether what is sent now has to wait for something.
    pub(crate) fn is_congested(&self) -> bool {
        match &self.0 {
            Stream::Tcp(tcp) => tcp.trouble().is_none() && tcp.wants_room(),
            Stream::Tls(tls) => tls.trouble().is_none() && (tls.wants_room() || tls.is_handshaking()),
        }
    }

    /// Whether to watch the socket for room to write, too; `None` once the connection has ended.
    pub(crate) fn wants_room(&self) -> Option<bool> {
        let interest = match &self.0 {
            Stream::Tcp(tcp) => interest_of_stream(tcp.trouble(), tcp.wants_room()),
            Stream::Tls(tls) => interest_of_stream(tls.trouble(), tls.wants_room()),
        };
        match interest {
            Interest::Nothing => None,
            interest => Some(interest == Interest::InputAndRoom),
        }
    }

    /// What went wrong, in a sentence for the user.
    pub(crate) fn trouble(&self, server: SocketAddr) -> Option<String> {
        let trouble = match &self.0 {
            Stream::Tcp(tcp) => tcp.trouble(),
            Stream::Tls(tls) => tls.trouble(),
        };
        trouble.map(|trouble| trouble.about(server))
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        match &self.0 {
            Stream::Tcp(tcp) => tcp.socket().as_raw_fd(),
            Stream::Tls(tls) => tls.socket().as_raw_fd(),
        }
    }
}
