//! Control messages: what the kernel tells about a received datagram, and what it is told about one to send.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

use crate::address::RawAddress;
use crate::egress::IpFields;

/// Room for control messages, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlBuffer([u8; ControlBuffer::SIZE]);

impl ControlBuffer {
    /// Enough for every message that a socket of ours asks for at once, those of the error queue included.
    pub(crate) const SIZE: usize = 192;

    pub(crate) const fn empty() -> Self {
        ControlBuffer([0; ControlBuffer::SIZE])
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// What came with a received message.
#[derive(Clone, Copy, Default)]
pub(crate) struct ReceivedControl {
    /// Bytes of each datagram of a train.
    pub(crate) segment: Option<u32>,
    /// The address it was sent to.
    pub(crate) local: Option<IpAddr>,
    /// The number of the interface it came in by.
    pub(crate) interface: u32,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    /// From the error queue: what happened, and who said so.
    pub(crate) error: Option<(libc::sock_extended_err, RawAddress)>,
}

/// Reads the control messages of `header`.
///
/// # Safety
/// `header` was filled in by a successful `recvmsg`-like call, and its control buffer is still alive.
#[inline]
pub(crate) unsafe fn read(header: &libc::msghdr) -> ReceivedControl {
    let mut control = ReceivedControl::default();
    // SAFETY: the caller vouches for the header; CMSG_NXTHDR stays within msg_controllen.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            control.take(message);
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    control
}

impl ReceivedControl {
    /// # Safety
    /// `message` is a whole control message that the kernel wrote.
    unsafe fn take(&mut self, message: *const libc::cmsghdr) {
        // SAFETY: the message is whole, and its values are read unaligned, each of the type that the kernel writes for
        // its level and type.
        unsafe {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = ptr::read_unaligned(data.cast::<libc::c_int>());
                    self.segment = u32::try_from(size).ok().filter(|size| *size > 0);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = ptr::read_unaligned(data.cast::<libc::in_pktinfo>());
                    self.local = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                    self.interface = info.ipi_ifindex as u32;
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = ptr::read_unaligned(data.cast::<libc::in6_pktinfo>());
                    self.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    self.interface = info.ipi6_ifindex;
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => self.tos = *data,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    self.tos = ptr::read_unaligned(data.cast::<libc::c_int>()) as u8;
                }
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    self.ttl = ptr::read_unaligned(data.cast::<libc::c_int>()) as u8;
                }
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                    self.error = read_error(message);
                }
                _ => {}
            }
        }
    }
}

/// # Safety
/// `message` is a whole control message that the kernel wrote.
#[cold]
unsafe fn read_error(message: *const libc::cmsghdr) -> Option<(libc::sock_extended_err, RawAddress)> {
    // SAFETY: the message is whole: it holds as many bytes as it announces, and no more than these are read.
    unsafe {
        let data = libc::CMSG_DATA(message);
        let whole: usize = (*message).cmsg_len as _;
        let length = whole.checked_sub(libc::CMSG_LEN(0) as usize)?;
        let rest = length.checked_sub(size_of::<libc::sock_extended_err>())?;
        let error = ptr::read_unaligned(data.cast::<libc::sock_extended_err>());
        Some((error, RawAddress::read(data.add(size_of::<libc::sock_extended_err>()), rest)))
    }
}

/// What the kernel is told about a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendControl {
    /// Bytes to cut a train into.
    pub(crate) segment: Option<u16>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) ip: IpFields,
    /// Whether the message goes over IPv4.
    pub(crate) ipv4: bool,
    /// Not to be fragmented; with IPv4 this cannot be said here.
    pub(crate) dont_fragment: bool,
}

impl SendControl {
    /// Writes the control messages into `buffer`. Returns how many of its bytes count.
    #[inline]
    pub(crate) fn write(&self, buffer: &mut ControlBuffer) -> usize {
        let mut used = 0;
        if let Some(segment) = self.segment {
            append(buffer, &mut used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        match self.source {
            Some(IpAddr::V4(ip)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                append(buffer, &mut used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(IpAddr::V6(ip)) => {
                let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
                let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
                append(buffer, &mut used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            None => {}
        }
        if self.ip != IpFields::default() || (self.dont_fragment && !self.ipv4) {
            self.write_ip_fields(buffer, &mut used);
        }
        used
    }

    fn write_ip_fields(&self, buffer: &mut ControlBuffer, used: &mut usize) {
        let (level, tos, ttl) = match self.ipv4 {
            true => (libc::IPPROTO_IP, libc::IP_TOS, libc::IP_TTL),
            false => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, libc::IPV6_HOPLIMIT),
        };
        if let Some(value) = self.ip.tos {
            append(buffer, used, level, tos, libc::c_int::from(value));
        }
        if let Some(value) = self.ip.ttl {
            append(buffer, used, level, ttl, libc::c_int::from(value));
        }
        if self.dont_fragment && !self.ipv4 {
            append(buffer, used, level, libc::IPV6_DONTFRAG, libc::c_int::from(true));
        }
    }
}

#[inline]
fn append<T: Copy>(buffer: &mut ControlBuffer, used: &mut usize, level: i32, kind: i32, value: T) {
    let length = size_of::<T>() as u32;
    // SAFETY: CMSG_SPACE and CMSG_LEN are arithmetic.
    let (space, announced) = unsafe { (libc::CMSG_SPACE(length) as usize, libc::CMSG_LEN(length) as usize) };
    assert!(*used + space <= ControlBuffer::SIZE, "the buffer is sized for every message written here");
    // SAFETY: an all-zero header is valid. Some systems pad it, so it cannot be written as a literal.
    let mut header: libc::cmsghdr = unsafe { zeroed() };
    header.cmsg_len = announced as _;
    header.cmsg_level = level;
    header.cmsg_type = kind;
    // SAFETY: the assertion keeps both writes inside the buffer; they are unaligned writes of plain values, the
    // value right behind its header as CMSG_DATA has it.
    unsafe {
        let at = buffer.0.as_mut_ptr().add(*used).cast::<libc::cmsghdr>();
        ptr::write_unaligned(at, header);
        ptr::write_unaligned(at.add(1).cast::<T>(), value);
    }
    *used += space;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_at_once_fits_the_buffer_and_is_read_back() {
        let ip = IpFields { tos: Some(0xB8), ttl: Some(7) };
        for source in ["127.0.0.2", "::1"] {
            let source: IpAddr = source.parse().unwrap();
            let ipv4 = source.is_ipv4();
            let control =
                SendControl { segment: Some(1200), source: Some(source), ip, ipv4, dont_fragment: true };
            let mut buffer = ControlBuffer::empty();
            let used = control.write(&mut buffer);
            // SAFETY: an all-zero msghdr is valid.
            let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
            header.msg_control = buffer.as_mut_ptr();
            header.msg_controllen = used as _;
            // SAFETY: the header names the control messages just written.
            let read = unsafe { read(&header) };
            if !ipv4 {
                // IPv4's own form puts the source where the kernel does not report it.
                assert_eq!(read.local, Some(source));
                assert_eq!(read.tos, 0xB8);
            }
            assert_eq!(read.ttl, 7);
        }
    }

    #[test]
    fn nothing_asked_for_is_nothing_written() {
        let control = SendControl {
            segment: None,
            source: None,
            ip: IpFields::default(),
            ipv4: true,
            dont_fragment: true,
        };
        assert_eq!(control.write(&mut ControlBuffer::empty()), 0);
    }
}
