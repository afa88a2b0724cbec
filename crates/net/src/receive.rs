//! Receiving batches: `recvmmsg`, with trains of datagrams that the kernel has joined (UDP_GRO).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::address::RawAddress;
use crate::control_message::{self, ControlBuffer};
use crate::packet_pool::{PacketPool, Span};
use crate::udp::{UdpSocket, is_pending_error};

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
    /// The number of the interface it came in by, where the socket asks for that; otherwise 0.
    pub interface: u32,
    /// The TOS or traffic class octet, where the socket asks for that; otherwise 0.
    pub tos: u8,
    /// Time to live or hop limit as it arrived, where the socket asks for that; otherwise 0.
    pub ttl: u8,
}

impl Received {
    /// The datagrams, one span each. An empty datagram is one empty span.
    #[inline]
    pub fn datagrams(&self) -> impl Iterator<Item = Span> + use<> {
        let Received { span, segment, .. } = *self;
        let segment = segment.max(1);
        let count = (span.len() as u32).div_ceil(segment).max(1);
        (0..count).map(move |index| {
            let start = span.start + index * segment;
            Span { buffer: span.buffer, start, end: span.end.min(start + segment) }
        })
    }

    /// Whether the kernel joined several datagrams.
    #[inline]
    pub fn is_train(&self) -> bool {
        (self.segment as usize) < self.span.len()
    }
}

/// Receives batches, with headers that are made once.
pub struct Receiver {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[RawAddress]>,
    controls: Box<[ControlBuffer]>,
    pending_errors: u64,
    report: ReceiveReport,
}

/// What came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveReport {
    /// System calls that brought something.
    pub calls: u64,
    /// Messages that they brought: datagrams, and trains of them that the kernel has joined.
    pub messages: u64,
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
            pending_errors: 0,
            report: ReceiveReport::default(),
        }
    }

    /// How often an ICMP error stood in the way of receiving. The errors themselves come by
    /// [`Receiver::receive_errors`].
    pub fn pending_errors(&self) -> u64 {
        self.pending_errors
    }

    /// What has come in so far.
    pub fn report(&self) -> ReceiveReport {
        self.report
    }

    /// Receives up to `limit` messages into free buffers of the pool and appends them to `out`. Returns how
    /// many; zero when nothing waits or no buffer is free. There may be more than it returns, even if it returns fewer
    /// than asked for: on a socket where seldom more than one waits it reads one at a time. A [`Poller`](crate::Poller)
    /// reports the socket until all is read.
    ///
    /// # Errors
    /// As the system says. An ICMP error that some earlier datagram brought upon the socket is none: it is counted
    /// and the call repeated; under a flood of them nothing is received until the next call.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        limit: usize,
        pool: &mut PacketPool,
        out: &mut Vec<Received>,
    ) -> io::Result<usize> {
        let limit = limit.min(self.headers.len());
        let single = limit == 1 || socket.pace().reads_one();
        if single && socket.is_plain() {
            return self.receive_plain(socket, pool, out);
        }
        let (first, prepared) = self.prepare(if single { 1 } else { limit }, pool);
        if prepared == 0 {
            return Ok(0);
        }
        let Some(received) = self.repeat(|receiver| receiver.call(socket, prepared))? else { return Ok(0) };
        if !single {
            socket.pace().note_batch(received);
        }
        self.count(received);
        pool.take(received);
        out.extend((0..received).filter_map(|index| self.received(index, first + index)));
        Ok(received)
    }

    #[inline]
    fn count(&mut self, messages: usize) {
        self.report.calls += 1;
        self.report.messages += messages as u64;
    }

    /// Receives one datagram of which there is nothing to know but its sender, by the plainest call.
    fn receive_plain(
        &mut self,
        socket: &UdpSocket,
        pool: &mut PacketPool,
        out: &mut Vec<Received>,
    ) -> io::Result<usize> {
        let (first, mut buffers) = pool.offer(1);
        let Some(buffer) = buffers.next() else { return Ok(0) };
        let mut address = RawAddress::empty();
        let length = self.repeat(|_| {
            let mut address_length = RawAddress::SIZE;
            // SAFETY: the buffer and the address are ours alone during the call, and their sizes are passed.
            let length = unsafe {
                libc::recvfrom(
                    socket.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                    (&raw mut address).cast(),
                    &mut address_length,
                )
            };
            usize::try_from(length).map_err(|_| io::Error::last_os_error())
        })?;
        let Some(length) = length else { return Ok(0) };
        drop(buffers);
        self.count(1);
        pool.take(1);
        let span = Span { buffer: first as u32, start: 0, end: length as u32 };
        out.extend(address.get().map(|from| Received {
            span,
            segment: span.end,
            from,
            local: None,
            interface: 0,
            tos: 0,
            ttl: 0,
        }));
        Ok(1)
    }

    /// Calls in spite of what is no error of the socket; `None` when nothing waits.
    #[inline]
    fn repeat(&mut self, mut call: impl FnMut(&mut Self) -> io::Result<usize>) -> io::Result<Option<usize>> {
        let mut attempts = 0;
        loop {
            match call(self) {
                Ok(result) => return Ok(Some(result)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_pending_error(&error) => {
                    self.pending_errors += 1;
                    attempts += 1;
                    if attempts == MOST_ATTEMPTS {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives into the first `prepared` headers.
    #[inline]
    fn call(&mut self, socket: &UdpSocket, prepared: usize) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT;
        if let [header] = &mut self.headers[..prepared] {
            // SAFETY: as below.
            let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header.msg_hdr, flags) };
            header.msg_len = u32::try_from(length).map_err(|_| io::Error::last_os_error())?;
            return Ok(1);
        }
        // SAFETY: the first `prepared` headers point at live buffers, addresses and control space, each of the
        // size its header announces, and nothing else touches them during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                prepared as u32,
                flags as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
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
            interface: control.interface,
            tos: control.tos,
            ttl: control.ttl,
        })
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Receiver({} messages)", self.headers.len())
    }
}

/// Times that receiving is tried in spite of ICMP errors.
const MOST_ATTEMPTS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn received(start: u32, end: u32, segment: u32) -> Received {
        let span = Span { buffer: 3, start, end };
        let from = ([198, 51, 100, 7], 1).into();
        Received { span, segment, from, local: None, interface: 0, tos: 0, ttl: 0 }
    }

    fn lengths(received: &Received) -> Vec<usize> {
        received.datagrams().map(|span| span.len()).collect()
    }

    #[test]
    fn a_train_is_split_into_its_datagrams_and_only_the_last_is_shorter() {
        let train = received(0, 2500, 1000);
        assert_eq!(lengths(&train), [1000, 1000, 500]);
        assert_eq!(train.datagrams().last(), Some(Span { buffer: 3, start: 2000, end: 2500 }));
        assert_eq!(lengths(&received(0, 2000, 1000)), [1000, 1000]);
        assert!(train.is_train() && !received(0, 1000, 1000).is_train());
    }

    #[test]
    fn an_empty_datagram_is_one_datagram() {
        assert_eq!(lengths(&received(0, 0, 0)), [0]);
    }
}
