//! UDP sockets and their options.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
}

/// How a socket is set up.
#[derive(Clone, Debug)]
pub struct UdpOptions {
    /// Whether several sockets may share the address, datagrams being spread by 5-tuple.
    pub reuse_port: bool,
    /// Bytes of receive buffer to ask for; zero for the system's default.
    pub receive_buffer: usize,
    /// Bytes of send buffer to ask for; zero for the system's default.
    pub send_buffer: usize,
    /// Whether to learn which address a datagram was sent to; needed on a wildcard address.
    pub packet_info: bool,
    /// Network interface to bind to.
    pub device: Option<String>,
}

impl Default for UdpOptions {
    /// The system's buffers, an address of its own.
    fn default() -> Self {
        UdpOptions { reuse_port: false, receive_buffer: 0, send_buffer: 0, packet_info: false, device: None }
    }
}

impl UdpSocket {
    /// Opens and binds a socket. IPv6 sockets take IPv6 alone. Datagrams larger than the path's MTU are
    /// fragmented rather than refused, unless one asks otherwise when it is sent.
    ///
    /// # Errors
    /// As the system says, [`io::ErrorKind::AddrInUse`] above all.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if let Some(device) = &options.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.bind(&address.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = UdpSocket { socket, local };
        socket.set_dont_fragment(false)?;
        socket.size_buffers(options);
        if options.packet_info {
            socket.ask_packet_info()?;
        }
        Ok(socket)
    }

    /// The address it is bound to.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Bytes of receive and send buffer that the system granted.
    pub fn buffer_sizes(&self) -> (usize, usize) {
        // The kernel reports twice what it was asked for, its own bookkeeping included.
        let half = |size: io::Result<usize>| size.unwrap_or_default() / 2;
        (half(self.socket.recv_buffer_size()), half(self.socket.send_buffer_size()))
    }

    /// Lets the kernel join datagrams of one sender into trains, or stops it. Pays with bursts, costs a little
    /// with thin flows.
    ///
    /// # Errors
    /// The kernel does not know the option.
    pub fn set_gro(&self, on: bool) -> io::Result<()> {
        self.set_option(libc::SOL_UDP, libc::UDP_GRO, libc::c_int::from(on))
    }

    /// Sets DF on what is sent from here on, or lets routers and this host fragment.
    pub(crate) fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        if self.local.is_ipv4() {
            let policy = if on { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
            self.set_option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, policy)
        } else {
            self.set_option(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, libc::c_int::from(on))
        }
    }

    fn size_buffers(&self, options: &UdpOptions) {
        // The forced form ignores the system's maximum and needs a privilege; the plain one is the fallback.
        // What was granted is reported by `buffer_sizes`.
        for (size, forced, plain) in [
            (options.receive_buffer, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            (options.send_buffer, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        ] {
            let size = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
            if size > 0 && self.set_option(libc::SOL_SOCKET, forced, size).is_err() {
                let _ = self.set_option(libc::SOL_SOCKET, plain, size);
            }
        }
    }

    fn ask_packet_info(&self) -> io::Result<()> {
        if self.local.is_ipv4() {
            self.set_option(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
        } else {
            self.set_option(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
        }
    }

    fn set_option(&self, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the descriptor is open, and the value is a c_int whose address and size are passed.
        let result = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
