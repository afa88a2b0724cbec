//! The few system calls the standard library does not offer: the only file here that may be unsafe.
//!
//! The generator keeps its own instead of using `turnpike-net`, so that it does not lean on what it measures.
#![allow(unsafe_code, reason = "system calls the standard library does not offer")]

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Pins a thread or process to one core; process id 0 is the calling thread.
pub(crate) fn pin(process: u32, core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: all zeroes is a valid empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE, so the bit lies within the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is valid for the size given, and the kernel only reads it.
    let result =
        unsafe { libc::sched_setaffinity(process as libc::pid_t, size_of::<libc::cpu_set_t>(), &set) };
    succeeded(result).map(drop)
}

/// From now on the calling thread runs only while nobody else wants its core.
pub(crate) fn run_when_idle() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters are valid and only read; 0 is the calling thread.
    succeeded(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) }).map(drop)
}

/// Moves the calling thread into a network namespace; sockets it opens from now on live there.
pub(crate) fn enter_network_namespace(namespace: &File) -> io::Result<()> {
    // SAFETY: setns takes plain numbers, and the descriptor is open as long as `namespace` is borrowed.
    succeeded(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Lets the calling thread's timers fire to the nanosecond instead of up to 50 µs late.
pub(crate) fn sharpen_timers() -> io::Result<()> {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory of ours.
    succeeded(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) }).map(drop)
}

/// Raises the soft limit on open descriptors to the hard one and returns it. Children inherit it.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the kernel to fill.
    succeeded(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid rlimit, only read.
    succeeded(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur)
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// From now on a longer send on this socket leaves as datagrams of `size` bytes each (UDP_SEGMENT).
pub(crate) fn segment_sends(socket: &UdpSocket, size: usize) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, size as libc::c_int)
}

/// Sets the receive buffer beyond the system's maximum, which root may do.
pub(crate) fn force_receive_buffer(socket: &UdpSocket, bytes: usize) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes as libc::c_int)
}

/// Sends `bytes` on a connected socket as datagrams of `each` bytes in as few system calls as possible, and
/// returns how many datagrams the kernel took.
pub(crate) fn send_batch(socket: &UdpSocket, bytes: &[u8], each: usize) -> io::Result<usize> {
    let mut sent = 0;
    for part in bytes.chunks(each * BATCH) {
        let mut vectors: [libc::iovec; BATCH] = [EMPTY_VECTOR; BATCH];
        let mut count = 0;
        for (vector, datagram) in vectors.iter_mut().zip(part.chunks(each)) {
            *vector = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
            count += 1;
        }
        let mut headers = headers_over(&mut vectors);
        // SAFETY: the first `count` headers each point at one iovec of `vectors`, which points into `bytes`;
        // both outlive the call, and sendmmsg only reads what the iovecs point at.
        let result = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _)
        };
        match succeeded(result) {
            Ok(taken) => sent += taken as usize,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Sends the `each`-byte parts of `bytes` to `addresses` in turn, at most [`BATCH`] of them, in one system call,
/// and returns how many the kernel took.
pub(crate) fn send_to_each(
    socket: &UdpSocket,
    bytes: &[u8],
    each: usize,
    addresses: &[SocketAddrV4],
) -> io::Result<usize> {
    let mut vectors: [libc::iovec; BATCH] = [EMPTY_VECTOR; BATCH];
    // SAFETY: all zeroes is a valid sockaddr_in.
    let mut names: [libc::sockaddr_in; BATCH] = unsafe { std::mem::zeroed() };
    let mut count = 0;
    let parts = bytes.chunks(each).zip(addresses);
    for ((vector, name), (part, address)) in vectors.iter_mut().zip(&mut names).zip(parts) {
        *vector = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        name.sin_family = libc::AF_INET as libc::sa_family_t;
        name.sin_port = address.port().to_be();
        name.sin_addr.s_addr = address.ip().to_bits().to_be();
        count += 1;
    }
    let mut headers = headers_over(&mut vectors);
    for (header, name) in headers.iter_mut().zip(&mut names) {
        header.msg_hdr.msg_name = (&raw mut *name).cast();
        header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    }
    // SAFETY: the first `count` headers each point at one iovec of `vectors`, which points into `bytes`, and at one
    // entry of `names` with its size; all outlive the call, and sendmmsg only reads what they point at.
    let result =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _) };
    match succeeded(result) {
        Ok(taken) => Ok(taken as usize),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}

/// Room for one batch of received datagrams.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
}

impl Inbox {
    /// An empty inbox.
    pub(crate) fn new() -> Self {
        Inbox { bytes: vec![0; BATCH * ROOM] }
    }

    /// Takes up to one batch of datagrams that already arrived, hands each to `each` with the IPv4 address it
    /// came from, and returns how many there were. A datagram longer than 2,048 bytes arrives cut off.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(&[u8], SocketAddrV4),
    ) -> io::Result<usize> {
        let mut vectors: [libc::iovec; BATCH] = [EMPTY_VECTOR; BATCH];
        for (vector, room) in vectors.iter_mut().zip(self.bytes.chunks_mut(ROOM)) {
            *vector = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        }
        // SAFETY: all zeroes is a valid sockaddr_in.
        let mut sources: [libc::sockaddr_in; BATCH] = unsafe { std::mem::zeroed() };
        let mut headers = headers_over(&mut vectors);
        for (header, source) in headers.iter_mut().zip(&mut sources) {
            header.msg_hdr.msg_name = (&raw mut *source).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        // SAFETY: each header points at one iovec of `vectors`, each of which points at its own ROOM bytes of
        // `self.bytes`, borrowed mutably here, and at its own entry of `sources` with that entry's size; all
        // outlive the call. No timeout is passed.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let count = match succeeded(result) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        for ((header, room), source) in headers.iter().zip(self.bytes.chunks(ROOM)).zip(&sources).take(count)
        {
            let ip = Ipv4Addr::from_bits(u32::from_be(source.sin_addr.s_addr));
            let source = SocketAddrV4::new(ip, u16::from_be(source.sin_port));
            each(&room[..(header.msg_len as usize).min(ROOM)], source);
        }
        Ok(count)
    }
}

/// Waits for sockets to become readable.
pub(crate) struct Epoll {
    descriptor: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An instance that watches nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes a flag and touches no memory.
        let descriptor = succeeded(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was just made and nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Epoll { descriptor, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS] })
    }

    /// Watches `socket` under the name `token`.
    pub(crate) fn add(&self, socket: &UdpSocket, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        let epoll = self.descriptor.as_raw_fd();
        // SAFETY: both descriptors are open and `event` is valid; the kernel copies it.
        let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event) };
        succeeded(result).map(drop)
    }

    /// Waits up to `timeout` and yields the tokens of readable sockets.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<impl Iterator<Item = u64> + '_> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        };
        // SAFETY: `events` has room for EVENTS entries, the timespec is valid, and no signal mask is passed.
        let result = unsafe {
            libc::epoll_pwait2(
                self.descriptor.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                &timeout,
                ptr::null(),
            )
        };
        let count = match succeeded(result) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        Ok(self.events[..count].iter().map(|event| event.u64))
    }
}

fn set_option(
    socket: &UdpSocket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the option's value is one c_int, alive during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    succeeded(result).map(drop)
}

/// One message header for each iovec, without an address and without control data.
fn headers_over(vectors: &mut [libc::iovec; BATCH]) -> [libc::mmsghdr; BATCH] {
    // SAFETY: all zeroes is a valid mmsghdr: null pointers and zero lengths.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (header, vector) in headers.iter_mut().zip(vectors) {
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
    }
    headers
}

fn succeeded(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Datagrams in one system call.
pub(crate) const BATCH: usize = 32;
/// Bytes of room for one received datagram.
const ROOM: usize = 2048;
/// Sockets reported by one wait.
const EVENTS: usize = 256;
const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
