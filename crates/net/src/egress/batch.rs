//! One socket's datagrams as messages for the kernel.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use super::{Bytes, FlushReport, Queued};
use crate::address::RawAddress;
use crate::control_message::{self, ControlBuffer};
use crate::udp::UdpSocket;

/// Message headers that are made once and filled again and again.
pub(super) struct Batch {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[RawAddress]>,
    controls: Box<[ControlBuffer]>,
    /// How many datagrams each message holds.
    counts: [u32; MESSAGES],
    /// Cleared for good when the kernel refuses UDP_SEGMENT as such.
    segmentation: bool,
}

// SAFETY: the raw pointers are set anew before each call and point into boxes that move along.
unsafe impl Send for Batch {}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: an all-zero mmsghdr is valid: null pointers with zero lengths.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Batch {
            headers: vec![header; MESSAGES].into(),
            vectors: vec![vector; VECTORS].into(),
            addresses: vec![RawAddress::empty(); MESSAGES].into(),
            controls: vec![ControlBuffer::empty(); MESSAGES].into(),
            counts: [0; MESSAGES],
            segmentation: true,
        }
    }

    /// Sends the datagrams that `run` names, all of one socket, in order.
    pub(super) fn send(
        &mut self,
        socket: &UdpSocket,
        run: &[u32],
        queue: &[Queued],
        bytes: Bytes<'_>,
        report: &mut FlushReport,
    ) {
        let at = |index: u32| &queue[index as usize];
        for part in run.chunk_by(|a, b| at(*a).dont_fragment == at(*b).dont_fragment) {
            let dont_fragment = at(part[0]).dont_fragment;
            // Rare: the option belongs to the socket, so it is set around the few that ask for it.
            if dont_fragment && socket.set_dont_fragment(true).is_err() {
                report.failed += part.len() as u64;
                continue;
            }
            let mut rest = part;
            while !rest.is_empty() {
                let joining = self.segmentation;
                let (messages, taken) = self.fill(rest, queue, bytes, joining);
                self.transmit(socket, messages, &rest[..taken], queue, bytes, report);
                rest = &rest[taken..];
            }
            if dont_fragment {
                let _ = socket.set_dont_fragment(false);
            }
        }
    }

    /// Fills headers from the front of `run`; returns how many messages, and how many datagrams they hold.
    fn fill(&mut self, run: &[u32], queue: &[Queued], bytes: Bytes<'_>, joining: bool) -> (usize, usize) {
        let (mut message, mut taken, mut vector) = (0, 0, 0);
        while message < MESSAGES && taken < run.len() && vector + 3 * SEGMENTS <= VECTORS {
            let first = &queue[run[taken] as usize];
            let count = if joining { train_length(&run[taken..], queue) } else { 1 };
            let first_vector = vector;
            for index in &run[taken..taken + count] {
                for part in bytes.parts(&queue[*index as usize]).iter().filter(|part| !part.is_empty()) {
                    let iov_base = part.as_ptr().cast_mut().cast();
                    self.vectors[vector] = libc::iovec { iov_base, iov_len: part.len() };
                    vector += 1;
                }
            }
            let segment = (count > 1).then_some(first.length() as u16);
            let control = control_message::write(&mut self.controls[message], segment, first.source);
            let (address, address_length) = RawAddress::new(&first.to);
            self.addresses[message] = address;
            let header = &mut self.headers[message].msg_hdr;
            header.msg_name = (&raw mut self.addresses[message]).cast();
            header.msg_namelen = address_length;
            header.msg_iov = &raw mut self.vectors[first_vector];
            header.msg_iovlen = (vector - first_vector) as _;
            header.msg_control =
                if control == 0 { ptr::null_mut() } else { self.controls[message].as_mut_ptr() };
            header.msg_controllen = control as _;
            self.counts[message] = count as u32;
            message += 1;
            taken += count;
        }
        (message, taken)
    }

    /// Hands `messages` filled messages, which hold the datagrams of `run`, to the kernel; goes on after errors.
    fn transmit(
        &mut self,
        socket: &UdpSocket,
        messages: usize,
        run: &[u32],
        queue: &[Queued],
        bytes: Bytes<'_>,
        report: &mut FlushReport,
    ) {
        let (mut next, mut datagram) = (0, 0);
        while next < messages {
            let sent = self.call(socket, next, messages);
            let accepted = *sent.as_ref().unwrap_or(&0);
            for count in &self.counts[next..next + accepted] {
                report.sent += u64::from(*count);
                report.segmented += if *count > 1 { u64::from(*count) } else { 0 };
                datagram += *count as usize;
            }
            next += accepted;
            let Err(error) = sent else { continue };
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            let count = self.counts[next] as usize;
            let failed = &run[datagram..datagram + count];
            let rest = &run[datagram..];
            if count > 1 && is_segmentation_refused(&error) {
                // Too large a segment for the path, or a device that cannot: one by one, then on with the rest.
                self.segmentation &= !is_unsupported(&error);
                self.send_singly(socket, failed, queue, bytes, report);
                let rest = &rest[count..];
                if !rest.is_empty() {
                    let (messages, _) = self.fill(rest, queue, bytes, self.segmentation);
                    self.transmit(socket, messages, rest, queue, bytes, report);
                }
                return;
            }
            tally(&error, count as u64, report);
            next += 1;
            datagram += count;
        }
    }

    fn send_singly(
        &mut self,
        socket: &UdpSocket,
        run: &[u32],
        queue: &[Queued],
        bytes: Bytes<'_>,
        report: &mut FlushReport,
    ) {
        for index in run {
            self.fill(std::slice::from_ref(index), queue, bytes, false);
            match self.call(socket, 0, 1) {
                Ok(_) => report.sent += 1,
                Err(error) => tally(&error, 1, report),
            }
        }
    }

    fn call(&mut self, socket: &UdpSocket, from: usize, to: usize) -> io::Result<usize> {
        let headers = &mut self.headers[from..to];
        // SAFETY: `fill` has pointed these headers at addresses, iovecs and control messages that live in this
        // struct, and the iovecs at bytes of the arena and pool that are borrowed for the whole flush. The kernel
        // only reads them, and writes each header's msg_len.
        let result = unsafe {
            if headers.len() == 1 {
                // One message: the plain call is cheaper. It returns bytes, so success means one message.
                libc::sendmsg(
                    socket.as_raw_fd(),
                    &headers[0].msg_hdr,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            } else {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, flags as _)
                    as isize
            }
        };
        match result {
            -1 => Err(io::Error::last_os_error()),
            // An empty datagram is sent as well, though sendmsg then returns no bytes.
            _ if headers.len() == 1 => Ok(1),
            sent => Ok(sent as usize),
        }
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Batch(segmentation: {})", self.segmentation)
    }
}

/// How many datagrams at the front of `run` can leave as one train: same destination and source, same size, only
/// the last one shorter.
fn train_length(run: &[u32], queue: &[Queued]) -> usize {
    let first = &queue[run[0] as usize];
    let size = first.length();
    if size == 0 || size > LARGEST_SEGMENT {
        return 1;
    }
    let (mut count, mut total) = (1, size);
    for index in run[1..].iter().take(SEGMENTS - 1) {
        let next = &queue[*index as usize];
        let length = next.length();
        let fits = next.to == first.to && next.source == first.source && length <= size && length > 0;
        if !fits || total + length > LARGEST_TRAIN {
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

/// Errors that a train can meet where its datagrams, one by one, need not.
fn is_segmentation_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP))
}

/// Errors that say that trains are not to be had at all.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EOPNOTSUPP))
}

fn tally(error: &io::Error, datagrams: u64, report: &mut FlushReport) {
    let counter = match error.raw_os_error().unwrap_or_default() {
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => &mut report.buffer_full,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EPERM | libc::EACCES | libc::ECONNREFUSED => {
            &mut report.unreachable
        }
        libc::EMSGSIZE => &mut report.too_large,
        _ => &mut report.failed,
    };
    *counter += datagrams;
}

/// Messages in one call.
const MESSAGES: usize = 64;
/// Datagrams in one train: the kernel's limit.
const SEGMENTS: usize = 64;
/// iovecs in one call: room for several trains of three parts each.
const VECTORS: usize = 1024;
/// Bytes of a train's datagram; larger ones cannot be segments on an Ethernet and go alone.
const LARGEST_SEGMENT: usize = 1472;
/// Bytes in one train: the largest UDP payload of an IPv4 packet.
const LARGEST_TRAIN: usize = 65_507;
