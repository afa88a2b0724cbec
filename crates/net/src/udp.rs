//! UDP sockets and their options.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

use crate::pace::Pace;

/// A bound, non-blocking UDP socket.
///
/// **Fragments.** Datagrams larger than a link's MTU are fragmented rather than refused, unless one asks otherwise
/// when it is sent. With IPv4 this is a matter of the socket, not of the message: it stands on "ignore what ICMP says
/// of the path" (IP_PMTUDISC_OMIT), under which DF is never set, a stranger cannot shrink the path's MTU by forged
/// ICMP, and "fragmentation needed" is still reported to a socket that hears errors, which it is not under
/// IP_PMTUDISC_DONT. Around the few datagrams that must not be fragmented it is switched to IP_PMTUDISC_PROBE, which
/// sets DF and refuses only what the first link cannot carry: a client that probes the path gets an answer each time.
/// With IPv6 each message can say so (IPV6_DONTFRAG), and the kernel must heed the path's MTU, as routers do not
/// fragment. Trains (UDP_SEGMENT) are refused when a segment is larger than the MTU, under every policy.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    hears_errors: bool,
    /// Whether control messages come with what is received, trains aside.
    tells_more: bool,
    joins: AtomicBool,
    pace: Pace,
}

/// How a socket is set up.
#[derive(Clone, Debug, Default)]
pub struct UdpOptions {
    /// Whether several sockets may share the address, datagrams being spread by 5-tuple.
    pub reuse_port: bool,
    /// Bytes of receive buffer to ask for; zero for the system's default.
    pub receive_buffer: usize,
    /// Bytes of send buffer to ask for; zero for the system's default.
    pub send_buffer: usize,
    /// Whether to learn which address a datagram was sent to, and by which interface it came; needed on a wildcard
    /// address.
    pub packet_info: bool,
    /// Whether to learn the TOS (traffic class) and TTL (hop limit) of what is received.
    pub tos_and_ttl: bool,
    /// Whether to queue ICMP errors about what was sent, for
    /// [`Receiver::receive_errors`](crate::Receiver::receive_errors). They must then be taken out: a poller reports
    /// the socket until they are.
    pub receive_errors: bool,
    /// Whether to let the kernel join received datagrams from the start; see [`UdpSocket::set_gro`]. A kernel that
    /// cannot is none the worse.
    pub gro: bool,
    /// Network interface to bind to.
    pub device: Option<String>,
}

impl UdpSocket {
    /// Opens and binds a socket. IPv6 sockets take IPv6 alone.
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
        let local = match address.port() {
            0 => socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?,
            _ => address,
        };
        let socket = UdpSocket {
            socket,
            local,
            hears_errors: options.receive_errors,
            tells_more: options.packet_info || options.tos_and_ttl,
            joins: AtomicBool::new(false),
            pace: Pace::default(),
        };
        socket.set_dont_fragment(false)?;
        socket.size_buffers(options);
        socket.ask_for_messages(options)?;
        if options.gro {
            let _ = socket.set_gro(true);
        }
        Ok(socket)
    }

    /// Opens `count` sockets that share one address, among which the kernel spreads what comes by 5-tuple. All are to
    /// be open before the first is polled, and to stay open: each that joins or leaves spreads everybody anew. With
    /// port 0 they share the port that the first one got.
    ///
    /// # Errors
    /// As [`UdpSocket::bind`]; then none is left open.
    pub fn bind_group(address: SocketAddr, count: usize, options: &UdpOptions) -> io::Result<Vec<Self>> {
        let options = UdpOptions { reuse_port: true, ..options.clone() };
        let mut group: Vec<UdpSocket> = Vec::with_capacity(count);
        for _ in 0..count {
            let address = group.first().map_or(address, UdpSocket::local_address);
            group.push(UdpSocket::bind(address, &options)?);
        }
        Ok(group)
    }

    /// Takes over a bound socket that another process had, with everything that waits in it. `options` are those it is
    /// to have from here on, as far as they can be changed.
    ///
    /// # Errors
    /// It is no UDP socket.
    pub fn adopt(descriptor: OwnedFd, options: &UdpOptions) -> io::Result<Self> {
        let socket = Socket::from(descriptor);
        if socket.r#type()? != Type::DGRAM {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket {
            socket,
            local,
            hears_errors: options.receive_errors,
            // Whatever it told until now it tells on, and so is asked for.
            tells_more: true,
            // Trains may wait in it.
            joins: AtomicBool::new(true),
            pace: Pace::default(),
        };
        socket.set_dont_fragment(false)?;
        socket.size_buffers(options);
        socket.ask_for_messages(options)?;
        if !options.receive_errors {
            let _ = socket.set_option(
                if local.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 },
                if local.is_ipv4() { libc::IP_RECVERR } else { libc::IPV6_RECVERR },
                0,
            );
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
        self.set_option(libc::SOL_UDP, libc::UDP_GRO, libc::c_int::from(on))?;
        self.joins.store(on, Ordering::Relaxed);
        Ok(())
    }

    /// Whether all there is to know of a received datagram are its sender and its bytes.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !self.tells_more && !self.joins.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether ICMP errors are queued, and may stand in the way of a call about something else.
    #[inline]
    pub(crate) fn hears_errors(&self) -> bool {
        self.hears_errors
    }

    /// Sets DF on what is sent from here on, or lets this host and routers fragment. With IPv6 each message says so.
    pub(crate) fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        if self.local.is_ipv6() {
            return Ok(());
        }
        let set = |policy| self.set_option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, policy);
        match on {
            true => set(libc::IP_PMTUDISC_PROBE),
            false => set(libc::IP_PMTUDISC_OMIT).or_else(|_| set(libc::IP_PMTUDISC_DONT)),
        }
    }

    /// Datagrams for this socket that the kernel has dropped, because its buffer was full or for want of memory; zero
    /// where the kernel does not say.
    pub fn dropped_by_kernel(&self) -> u32 {
        let mut memory = [0u32; libc::SK_MEMINFO_DROPS as usize + 1];
        let mut length = size_of_val(&memory) as libc::socklen_t;
        // SAFETY: the descriptor is open; the array is ours, and its size in bytes is passed.
        let result = unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                (&raw mut memory).cast(),
                &mut length,
            )
        };
        if result == 0 { memory[libc::SK_MEMINFO_DROPS as usize] } else { 0 }
    }

    fn size_buffers(&self, options: &UdpOptions) {
        // The forced form ignores the system's maximum and needs a privilege; the plain one is the fallback.
        // What was granted is reported by `buffer_sizes`.
        for (size, forced, plain) in [
            (options.receive_buffer, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            (options.send_buffer, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        ] {
            if size == 0 {
                continue;
            }
            let size = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
            let refused = FORCE_REFUSED.load(Ordering::Relaxed);
            if refused || self.set_option(libc::SOL_SOCKET, forced, size).is_err() {
                FORCE_REFUSED.store(true, Ordering::Relaxed);
                let _ = self.set_option(libc::SOL_SOCKET, plain, size);
            }
        }
    }

    fn ask_for_messages(&self, options: &UdpOptions) -> io::Result<()> {
        let (level, packet_info, tos, ttl, errors) = match self.local.is_ipv4() {
            true => {
                (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_RECVTOS, libc::IP_RECVTTL, libc::IP_RECVERR)
            }
            false => (
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVPKTINFO,
                libc::IPV6_RECVTCLASS,
                libc::IPV6_RECVHOPLIMIT,
                libc::IPV6_RECVERR,
            ),
        };
        for (wanted, name) in [
            (options.packet_info, packet_info),
            (options.tos_and_ttl, tos),
            (options.tos_and_ttl, ttl),
            (options.receive_errors, errors),
        ] {
            if wanted {
                self.set_option(level, name, 1)?;
            }
        }
        Ok(())
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

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Whether the kernel knows UDP_SEGMENT at all. One that does not ignores the control message.
pub(crate) fn knows_segmentation() -> bool {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), Some(Protocol::UDP));
    let Ok(socket) =
        socket.or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM.cloexec(), Some(Protocol::UDP)))
    else {
        return false;
    };
    let (mut value, mut length): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the descriptor is open; the value is a valid place for a c_int, and its size is passed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut value).cast(),
            &mut length,
        )
    };
    result == 0
}

/// An error that an ICMP message about an earlier datagram may have left on a socket; reporting it has cleared it.
pub(crate) fn is_pending_error(error: &io::Error) -> bool {
    let code = error.raw_os_error().unwrap_or_default();
    PENDING.contains(&code)
}

/// What the kernel makes of ICMP errors.
const PENDING: [i32; 9] = [
    libc::ECONNREFUSED,
    libc::EHOSTUNREACH,
    libc::ENETUNREACH,
    libc::EHOSTDOWN,
    libc::ENONET,
    libc::EPROTO,
    libc::ENOPROTOOPT,
    libc::EMSGSIZE,
    libc::EACCES,
];

/// Set once the system has refused buffers beyond its maximum, so that not every socket asks in vain.
static FORCE_REFUSED: AtomicBool = AtomicBool::new(false);
