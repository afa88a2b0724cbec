//! Receiving batches: `recvmmsg`, with trains of datagrams that the kernel has joined (UDP_GRO).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::address::RawAddress;
use crate::control_message::{self, ControlBuffer};
use crate::packet_pool::{PacketPool, Span};
use crate::udp::UdpSocket;

/// One datagram, or several of one sender joined by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// All its bytes.
    pub span: Span,
    /// Bytes of each datagram of a train; the last may be shorter. As large as the whole for a single one.
    pub segment: u32,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address it was sent to, where the socket asks for that.
    pub local: Option<IpAddr>,
}

impl Received {
    /// The datagrams, one span each. An empty datagram is one empty span.
    #[inline]
    pub fn datagrams(&self) -> impl Iterator<Item = Span> + use<> {
        let Received { span, segment, .. } = *self;
        let segment = segment.max(1);
        let count = (span.end - span.start).div_ceil(segment).max(1);
        (0..count).map(move |index| {
            let start = span.start + index * segment;
            Span { buffer: span.buffer, start, end: span.end.min(start + segment) }
        })
    }

    /// Whether the kernel joined several datagrams.
    pub fn is_train(&self) -> bool {
        self.segment < self.span.end - self.span.start
    }
}

/// Receives batches, with headers that are made once.
pub struct Receiver {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[RawAddress]>,
    controls: Box<[ControlBuffer]>,
}

// SAFETY: the raw pointers in the headers are set anew at each call, before the kernel reads them, and point
// into boxes that move along with the receiver.
unsafe impl Send for Receiver {}

impl Receiver {
    /// A receiver of up to `batch` messages at a time.
    pub fn new(batch: usize) -> Self {
        // SAFETY: an all-zero mmsghdr is valid: null pointers with zero lengths.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Receiver {
            headers: vec![header; batch].into(),
            vectors: vec![vector; batch].into(),
            addresses: vec![RawAddress::empty(); batch].into(),
            controls: vec![ControlBuffer::empty(); batch].into(),
        }
    }

    /// Receives up to `limit` messages into free buffers of the pool and appends them to `out`. Returns how
    /// many; zero when nothing waits or no buffer is free.
    ///
    /// # Errors
    /// As the system says. An ICMP error that some earlier datagram brought upon the socket is none: the call is
    /// repeated.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        limit: usize,
        pool: &mut PacketPool,
        out: &mut Vec<Received>,
    ) -> io::Result<usize> {
        let limit = limit.min(self.headers.len());
        let (first, prepared) = self.prepare(limit, pool);
        if prepared == 0 {
            return Ok(0);
        }
        let mut attempts = 0;
        let received = loop {
            // SAFETY: the first `prepared` headers point at live buffers, addresses and control space, each of the
            // size its header announces, and nothing else touches them during the call.
            let result = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    prepared as u32,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            };
            match usize::try_from(result) {
                Ok(received) => break received,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                    error if attempts < PENDING_ERRORS && is_pending(&error) => attempts += 1,
                    error => return Err(error),
                },
            }
        };
        pool.take(received);
        out.extend((0..received).filter_map(|index| self.received(index, first + index)));
        Ok(received)
    }

    /// Points the headers at free buffers; returns the first buffer's number and how many there are.
    fn prepare(&mut self, limit: usize, pool: &mut PacketPool) -> (usize, usize) {
        let (first, buffers) = pool.offer(limit);
        let mut prepared = 0;
        for (index, buffer) in buffers.enumerate() {
            self.vectors[index] = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.addresses[index]).cast();
            header.msg_namelen = RawAddress::SIZE;
            header.msg_control = self.controls[index].as_mut_ptr();
            header.msg_controllen = ControlBuffer::SIZE as _;
            header.msg_flags = 0;
            prepared = index + 1;
        }
        (first, prepared)
    }

    fn received(&self, index: usize, buffer: usize) -> Option<Received> {
        let header = &self.headers[index];
        let length = header.msg_len;
        // SAFETY: the kernel has just filled in this header, and its control buffer is ours.
        let control = unsafe { control_message::read(&header.msg_hdr) };
        Some(Received {
            span: Span { buffer: buffer as u32, start: 0, end: length },
            segment: control.segment.unwrap_or(length),
            from: self.addresses[index].get()?,
            local: control.local,
        })
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Receiver({} messages)", self.headers.len())
    }
}

/// An error that an ICMP message left on the socket; reading it has cleared it.
fn is_pending(error: &io::Error) -> bool {
    let code = error.raw_os_error().unwrap_or_default();
    [
        libc::ECONNREFUSED,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EPROTO,
        libc::EMSGSIZE,
        libc::EINTR,
    ]
    .contains(&code)
}

const PENDING_ERRORS: u32 = 8;
