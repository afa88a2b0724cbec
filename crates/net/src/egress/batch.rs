//! One socket's datagrams as messages for the kernel.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;

use super::outcome::Refusal;
use super::{Bytes, FlushReport, IpFields, LARGEST_PAYLOAD, Queued};
use crate::address::RawAddress;
use crate::control_message::{ControlBuffer, SendControl};
use crate::udp::{UdpSocket, is_pending_error, knows_segmentation};

/// Message headers that are made once and filled again and again.
pub(super) struct Batch {
    /// The last one is for datagrams that are sent alone while others wait in theirs.
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[RawAddress]>,
    controls: Box<[ControlBuffer]>,
    /// How many datagrams each message holds.
    counts: [u32; MESSAGES],
    /// Where the parts of a small datagram are put together.
    together: Box<[u8; SMALL]>,
    /// Cleared for good when the kernel refuses UDP_SEGMENT as such.
    segmentation: bool,
}

/// A socket and the queue that holds its datagrams.
pub(super) struct Flight<'f> {
    pub(super) socket: &'f UdpSocket,
    pub(super) queue: &'f [Queued],
    pub(super) bytes: Bytes<'f>,
}

// SAFETY: the raw pointers are set anew before each call and point into boxes that move along.
unsafe impl Send for Batch {}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: an all-zero mmsghdr is valid: null pointers with zero lengths.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Batch {
            headers: vec![header; MESSAGES + 1].into(),
            vectors: vec![vector; VECTORS + PARTS].into(),
            addresses: vec![RawAddress::empty(); MESSAGES + 1].into(),
            controls: vec![ControlBuffer::empty(); MESSAGES + 1].into(),
            counts: [0; MESSAGES],
            together: Box::new([0; SMALL]),
            // A kernel that does not know the option would send a train as one large datagram.
            segmentation: knows_segmentation(),
        }
    }

    pub(super) fn segmentation(&self) -> bool {
        self.segmentation
    }

    pub(super) fn disable_segmentation(&mut self) {
        self.segmentation = false;
    }

    /// Sends the datagrams that `run` names, all of one socket, in order.
    #[inline]
    pub(super) fn send(&mut self, flight: &Flight<'_>, run: &[u32], report: &mut FlushReport) {
        if let [index] = run
            && is_plain(&flight.queue[*index as usize])
        {
            return self.send_one(flight, *index, report);
        }
        // IPv6 asks for it in each message; with IPv4 the option belongs to the socket and is set around the few
        // datagrams that want it.
        let asks_socket = |index: &u32| {
            let queued = &flight.queue[*index as usize];
            queued.dont_fragment && queued.to.is_ipv4()
        };
        for part in run.chunk_by(|a, b| asks_socket(a) == asks_socket(b)) {
            let guarded = asks_socket(&part[0]);
            if guarded && let Err(error) = flight.socket.set_dont_fragment(true) {
                report.count_dropped(&error, part.len() as u64);
                continue;
            }
            let mut rest = part;
            while !rest.is_empty() {
                let done = self.send_front(flight, rest, report);
                rest = &rest[done..];
            }
            if guarded {
                // Were this to fail, later datagrams would be refused rather than fragmented: they are counted.
                let _ = flight.socket.set_dont_fragment(false);
            }
        }
    }

    /// Sends as many datagrams from the front of `run` as the headers hold, or drops and counts them; returns how
    /// many these are.
    fn send_front(&mut self, flight: &Flight<'_>, run: &[u32], report: &mut FlushReport) -> usize {
        let (messages, taken) = self.fill(flight, run);
        let (mut next, mut done, mut repeats) = (0, 0, 0);
        while next < messages {
            match self.call(flight.socket, next..messages, report) {
                Ok(accepted) => {
                    for count in &self.counts[next..next + accepted] {
                        report.sent += u64::from(*count);
                        report.segmented += if *count > 1 { u64::from(*count) } else { 0 };
                        done += *count as usize;
                    }
                    next += accepted;
                    repeats = 0;
                }
                Err(error) if repeats < MOST_REPEATS && is_passing(flight.socket, &error) => {
                    repeats += 1;
                    report.repeated += 1;
                }
                Err(error) => {
                    let count = self.counts[next] as usize;
                    let refusal = if count > 1 { Refusal::of(&error) } else { Refusal::Other };
                    if refusal == Refusal::Other {
                        report.count_dropped(&error, count as u64);
                    } else {
                        self.segmentation &= refusal != Refusal::AllTrains;
                        self.send_singly(flight, &run[done..done + count], report);
                    }
                    next += 1;
                    done += count;
                    repeats = 0;
                }
            }
        }
        taken
    }

    /// Sends the datagrams of a train that the kernel has refused, each alone, while the messages behind it stay as
    /// they are.
    #[cold]
    fn send_singly(&mut self, flight: &Flight<'_>, train: &[u32], report: &mut FlushReport) {
        report.split += 1;
        train.iter().for_each(|index| self.send_one(flight, *index, report));
    }

    /// Sends one datagram alone, or drops and counts it.
    #[inline]
    fn send_one(&mut self, flight: &Flight<'_>, index: u32, report: &mut FlushReport) {
        let queued = &flight.queue[index as usize];
        for repeat in 0.. {
            let result = if is_plain(queued) {
                report.calls += 1;
                self.call_plainly(flight, queued)
            } else {
                self.write_message(flight, &[index], MESSAGES, VECTORS);
                self.call(flight.socket, MESSAGES..MESSAGES + 1, report).map(drop)
            };
            match result {
                Ok(()) => report.sent += 1,
                Err(error) if repeat < MOST_REPEATS && is_passing(flight.socket, &error) => {
                    report.repeated += 1;
                    continue;
                }
                Err(error) => report.count_dropped(&error, 1),
            }
            break;
        }
    }

    /// Fills headers from the front of `run`; returns how many messages, and how many datagrams they hold.
    #[inline]
    fn fill(&mut self, flight: &Flight<'_>, run: &[u32]) -> (usize, usize) {
        let (mut message, mut taken, mut vector) = (0, 0, 0);
        while message < MESSAGES && taken < run.len() && vector + PARTS * SEGMENTS <= VECTORS {
            let count = if self.segmentation { train_length(&run[taken..], flight.queue) } else { 1 };
            vector = self.write_message(flight, &run[taken..taken + count], message, vector);
            self.counts[message] = count as u32;
            message += 1;
            taken += count;
        }
        (message, taken)
    }

    /// Makes one message of the datagrams in `train`, with iovecs from `first_vector` on; returns the iovec behind.
    #[inline]
    fn write_message(
        &mut self,
        flight: &Flight<'_>,
        train: &[u32],
        message: usize,
        first_vector: usize,
    ) -> usize {
        let first = &flight.queue[train[0] as usize];
        let mut vector = first_vector;
        for index in train {
            for part in flight.bytes.parts(&flight.queue[*index as usize]) {
                if !part.is_empty() {
                    let iov_base = part.as_ptr().cast_mut().cast();
                    self.vectors[vector] = libc::iovec { iov_base, iov_len: part.len() };
                    vector += 1;
                }
            }
        }
        let control = SendControl {
            segment: (train.len() > 1).then_some(first.length() as u16),
            source: first.source,
            ip: first.ip,
            ipv4: first.to.is_ipv4(),
            dont_fragment: first.dont_fragment,
        };
        let control_length = control.write(&mut self.controls[message]);
        let (address, address_length) = RawAddress::new(&first.to);
        self.addresses[message] = address;
        let header = &mut self.headers[message].msg_hdr;
        header.msg_name = (&raw mut self.addresses[message]).cast();
        header.msg_namelen = address_length;
        header.msg_iov = &raw mut self.vectors[first_vector];
        header.msg_iovlen = (vector - first_vector) as _;
        header.msg_control =
            if control_length == 0 { ptr::null_mut() } else { self.controls[message].as_mut_ptr() };
        header.msg_controllen = control_length as _;
        vector
    }

    /// Hands messages to the kernel; returns how many it took.
    #[inline]
    fn call(
        &mut self,
        socket: &UdpSocket,
        messages: Range<usize>,
        report: &mut FlushReport,
    ) -> io::Result<usize> {
        report.calls += 1;
        let headers = &mut self.headers[messages];
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `write_message` has pointed these headers at addresses, iovecs and control messages that live in
        // this struct, and the iovecs at bytes of the arena and pool that are borrowed for the whole flush. The
        // kernel only reads them, and writes each header's msg_len.
        let result = unsafe {
            if headers.len() == 1 {
                // One message: the plain call is cheaper. It returns bytes, none for an empty datagram.
                libc::sendmsg(socket.as_raw_fd(), &headers[0].msg_hdr, flags).min(0) + 1
            } else {
                libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, flags as _)
                    as isize
            }
        };
        // The plain call's failure has become 0, which sendmmsg never returns.
        if result <= 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
    }

    /// Hands over a datagram by the plainest call, which spares the kernel reading a header and iovecs: some 100 ns,
    /// far more than it takes to copy a small body behind its head.
    #[inline]
    fn call_plainly(&mut self, flight: &Flight<'_>, queued: &Queued) -> io::Result<()> {
        let (address, address_length) = RawAddress::new(&queued.to);
        let parts = flight.bytes.parts(queued);
        let bytes = match parts {
            [[], body, []] => body,
            parts => {
                let mut end = 0;
                for part in parts {
                    self.together[end..end + part.len()].copy_from_slice(part);
                    end += part.len();
                }
                &self.together[..end]
            }
        };
        // SAFETY: the bytes and the address are borrowed, and their lengths are passed; the kernel only reads them.
        let result = unsafe {
            libc::sendto(
                flight.socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                (&raw const address).cast(),
                address_length,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Batch(segmentation: {})", self.segmentation)
    }
}

/// Whether there is nothing to tell the kernel about a datagram, and it is small or in one piece.
#[inline]
fn is_plain(queued: &Queued) -> bool {
    let whole = queued.head == 0 && queued.tail == 0;
    (whole || queued.length() <= SMALL)
        && queued.source.is_none()
        && queued.ip == IpFields::default()
        && !queued.dont_fragment
}

/// How many datagrams at the front of `run` can leave as one train: same destination, source and header fields, same
/// size, only the last one shorter.
#[inline]
fn train_length(run: &[u32], queue: &[Queued]) -> usize {
    let first = &queue[run[0] as usize];
    let size = first.length();
    let largest = if first.to.is_ipv4() { LARGEST_SEGMENT_IPV4 } else { LARGEST_SEGMENT_IPV6 };
    if size == 0 || size > largest {
        return 1;
    }
    let (mut count, mut total) = (1, size);
    for index in run[1..].iter().take(SEGMENTS - 1) {
        let next = &queue[*index as usize];
        let length = next.length();
        let fits = length <= size
            && length > 0
            && next.to == first.to
            && next.source == first.source
            && next.ip == first.ip
            && next.dont_fragment == first.dont_fragment;
        if !fits || total + length > LARGEST_PAYLOAD {
            break;
        }
        count += 1;
        total += length;
        if length < size {
            break;
        }
    }
    count
}

/// An error that is not about the datagram in hand: an interruption, or what an ICMP message about an earlier datagram
/// left on the socket, which reporting it has cleared.
fn is_passing(socket: &UdpSocket, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || (socket.hears_errors() && is_pending_error(error))
}

/// Messages in one call.
const MESSAGES: usize = 64;
/// Datagrams in one train: the limit of the first kernels that knew trains.
const SEGMENTS: usize = 64;
/// Head, body and tail.
const PARTS: usize = 3;
/// iovecs in one call: room for several full trains. A message never has more than a train's 192, far below the
/// kernel's limit of 1024.
const VECTORS: usize = 1024;
/// Bytes of a datagram that is rather copied together than described by iovecs.
const SMALL: usize = 2048;
/// Times that a send is repeated before its error is believed.
const MOST_REPEATS: u32 = 2;
/// Bytes of a train's datagram that fit an Ethernet frame; larger ones would be refused on most paths and go alone.
const LARGEST_SEGMENT_IPV4: usize = 1472;
const LARGEST_SEGMENT_IPV6: usize = 1452;
