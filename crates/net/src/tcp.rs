//! TCP listeners, and connections with clients and peers.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};

/// A bound, non-blocking listener.
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket,
    local: SocketAddr,
}

/// A connection, non-blocking. What is written goes out at once, in as few segments as it fits.
#[derive(Debug)]
pub struct TcpConnection {
    socket: Socket,
    local: SocketAddr,
    peer: SocketAddr,
}

impl TcpListener {
    /// Opens `count` listeners that share one address, among which the kernel spreads connections. A single one
    /// shares it with nobody, so that it fails where somebody else listens.
    ///
    /// # Errors
    /// As the system says, [`io::ErrorKind::AddrInUse`] above all.
    pub fn bind_group(address: SocketAddr, count: usize, device: Option<&str>) -> io::Result<Vec<Self>> {
        let mut group: Vec<TcpListener> = Vec::with_capacity(count);
        for _ in 0..count {
            let address = group.first().map_or(address, TcpListener::local_address);
            group.push(TcpListener::bind(address, count > 1, device)?);
        }
        Ok(group)
    }

    fn bind(address: SocketAddr, shared: bool, device: Option<&str>) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Connections of an earlier run that linger are no reason not to start.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.bind(&address.into())?;
        for_its_connections(&socket)?;
        socket.listen(BACKLOG)?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(TcpListener { socket, local })
    }

    /// Opens a listener that [`TcpConnection::connect_from`] may connect from at the same time. The address must be
    /// nobody else's all the same.
    ///
    /// # Errors
    /// As the system says, [`io::ErrorKind::AddrInUse`] above all.
    pub fn bind_relay(address: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.bind(&address.into())?;
        // Only now: binding has found out that nobody else listens here, and what binds next is our own.
        socket.set_reuse_port(true)?;
        for_its_connections(&socket)?;
        socket.listen(RELAY_BACKLOG)?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(TcpListener { socket, local })
    }

    /// Takes over a listener that another process had, with the connections that wait in it.
    ///
    /// # Errors
    /// It is none.
    pub fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        socket.set_nonblocking(true)?;
        for_its_connections(&socket)?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(TcpListener { socket, local })
    }

    /// The address it is bound to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Bytes that the kernel keeps to be sent, of each connection that comes from here on.
    pub fn set_send_buffer(&self, bytes: usize) {
        let _ = self.socket.set_send_buffer_size(bytes);
    }

    /// The next connection; `None` when none waits.
    ///
    /// # Errors
    /// No descriptor or memory is left. A connection that ended while it waited is none.
    pub fn accept(&self) -> io::Result<Option<TcpConnection>> {
        loop {
            match acceptfrom_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, peer)) => {
                    let connection = self.accepted(socket.into(), peer);
                    if connection.is_some() {
                        return Ok(connection);
                    }
                }
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => {
                    let error = io::Error::from(error);
                    if !is_about_one_connection(&error) {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn accepted(&self, socket: Socket, peer: Option<SocketAddrAny>) -> Option<TcpConnection> {
        let local = match self.local.ip().is_unspecified() {
            true => socket.local_addr().ok()?.as_socket()?,
            false => self.local,
        };
        Some(TcpConnection { socket, local, peer: peer?.try_into().ok()? })
    }
}

impl TcpConnection {
    /// Begins to connect from an address that [`TcpListener::bind_relay`] has.
    ///
    /// # Errors
    /// As the system says, as far as it knows at once.
    pub fn connect_from(local: SocketAddr, peer: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::TCP))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.bind(&local.into())?;
        socket.set_tcp_nodelay(true)?;
        let _ = socket.set_keepalive(true);
        match socket.connect(&peer.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(TcpConnection { socket, local, peer }),
        }
    }

    /// Whether a connection that was begun is there by now.
    ///
    /// # Errors
    /// It will never be.
    pub fn is_connected(&self) -> io::Result<bool> {
        match self.socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(self.socket.peer_addr().is_ok()),
        }
    }

    /// The address the client came to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The client's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Looks at the first bytes that wait, without taking them.
    ///
    /// # Errors
    /// As for reading.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the descriptor is open and the buffer is ours, of the length passed.
        let length =
            unsafe { libc::recv(self.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_PEEK) };
        usize::try_from(length).map_err(|_| io::Error::last_os_error())
    }

    /// Tells the other end that nothing more will be sent.
    pub fn shut_down(&self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }

    /// Has the other end told, when this one is dropped, that something went wrong: it must not take what it got for
    /// everything.
    pub fn abort(&self) {
        let _ = self.socket.set_linger(Some(std::time::Duration::ZERO));
    }

    /// Bounds what the kernel keeps for a client that does not read.
    pub fn set_send_buffer(&self, bytes: usize) {
        let _ = self.socket.set_send_buffer_size(bytes);
    }
}

impl Read for &TcpConnection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }
}

impl Write for &TcpConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.socket).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.socket).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsRawFd for TcpConnection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// What accept(2) reports of a connection that is already gone.
fn is_about_one_connection(error: &io::Error) -> bool {
    const PASSING: [i32; 9] = [
        libc::EINTR,
        libc::ECONNABORTED,
        libc::EPROTO,
        libc::ENETDOWN,
        libc::ENOPROTOOPT,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::EOPNOTSUPP,
        libc::ENETUNREACH,
    ];
    PASSING.contains(&error.raw_os_error().unwrap_or_default())
}

/// Connections that may wait to be accepted, as far as the system lets them.
const BACKLOG: i32 = 4096;
/// The same for a relayed address.
const RELAY_BACKLOG: i32 = 64;

/// What connections have from the listener they come by.
fn for_its_connections(listener: &Socket) -> io::Result<()> {
    // Media must not wait for an acknowledgement of what went before.
    listener.set_tcp_nodelay(true)?;
    // A client that vanished without a word is found out by the kernel.
    listener.set_keepalive(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn accept(group: &[TcpListener]) -> TcpConnection {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            if let Some(connection) = group.iter().find_map(|listener| listener.accept().unwrap()) {
                return connection;
            }
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn connections_reach_one_of_the_listeners_that_share_an_address() {
        let group = TcpListener::bind_group("127.0.0.1:0".parse().unwrap(), 4, None).unwrap();
        assert!(group.iter().all(|listener| listener.accept().unwrap().is_none()));
        let mut client = TcpStream::connect(group[0].local_address()).unwrap();
        let connection = accept(&group);
        assert_eq!(connection.peer_address(), client.local_addr().unwrap());
        assert_eq!(connection.local_address(), client.peer_addr().unwrap());
        let mut bytes = [0; 8];
        let nothing = (&connection).read(&mut bytes).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let slices = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
        assert_eq!((&connection).write_vectored(&slices).unwrap(), 4);
        connection.shut_down();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcd");
    }

    #[test]
    fn a_single_listener_finds_the_address_taken() {
        let group = TcpListener::bind_group("127.0.0.1:0".parse().unwrap(), 2, None).unwrap();
        let error = TcpListener::bind_group(group[0].local_address(), 1, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_relay_listener_is_connected_from_while_it_listens_and_shares_with_nobody() {
        let elsewhere = TcpListener::bind_group("127.0.0.1:0".parse().unwrap(), 1, None).unwrap();
        let relay = TcpListener::bind_relay("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let local = relay.local_address();
        let taken = TcpListener::bind_relay(local, None).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let out = TcpConnection::connect_from(local, elsewhere[0].local_address(), None).unwrap();
        let seen = accept(&elsewhere);
        assert_eq!(seen.peer_address(), local, "it comes from the relayed address");
        assert!(out.is_connected().unwrap());
        let other = TcpListener::bind_group("127.0.0.1:0".parse().unwrap(), 1, None).unwrap();
        let second = TcpConnection::connect_from(local, other[0].local_address(), None).unwrap();
        assert_eq!(accept(&other).peer_address(), local, "several at once");
        drop(second);
        // What comes in reaches the listener, not what connects from its address.
        let client = TcpStream::connect(local).unwrap();
        assert_eq!(accept(std::slice::from_ref(&relay)).peer_address(), client.local_addr().unwrap());
    }

    #[test]
    fn a_refused_connection_is_found_out() {
        let relay = TcpListener::bind_relay("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let gone = TcpListener::bind_group("127.0.0.1:0".parse().unwrap(), 1, None).unwrap();
        let nobody = gone[0].local_address();
        drop(gone);
        let refused = TcpConnection::connect_from(relay.local_address(), nobody, None)
            .and_then(|connection| {
                loop {
                    if connection.is_connected()? {
                        return Ok(());
                    }
                    std::thread::yield_now();
                }
            })
            .unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_aborted_connection_does_not_look_finished() {
        let group = TcpListener::bind_group("127.0.0.1:0".parse().unwrap(), 1, None).unwrap();
        let mut client = TcpStream::connect(group[0].local_address()).unwrap();
        let connection = accept(&group);
        connection.abort();
        drop(connection);
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_peek_leaves_the_bytes_where_they_are() {
        let group = TcpListener::bind_group("[::1]:0".parse().unwrap(), 1, None).unwrap();
        let mut client = TcpStream::connect(group[0].local_address()).unwrap();
        let connection = accept(&group);
        client.write_all(b"hello").unwrap();
        let mut bytes = [0; 3];
        while connection.peek(&mut bytes).is_err() {}
        assert_eq!(&bytes, b"hel");
        assert_eq!((&connection).read(&mut bytes).unwrap(), 3);
        assert_eq!(&bytes, b"hel");
    }
}
