//! Control messages: what the kernel tells about a received datagram, and what it is told about one to send.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// Room for control messages, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlBuffer([u8; ControlBuffer::SIZE]);

impl ControlBuffer {
    pub(crate) const SIZE: usize = 96;

    pub(crate) const fn empty() -> Self {
        ControlBuffer([0; ControlBuffer::SIZE])
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// What came with a received message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReceivedControl {
    /// Bytes of each datagram of a train.
    pub(crate) segment: Option<u32>,
    /// The address it was sent to.
    pub(crate) local: Option<IpAddr>,
}

/// Reads the control messages of `header`.
///
/// # Safety
/// `header` was filled in by a successful `recvmsg`-like call, and its control buffer is still alive.
pub(crate) unsafe fn read(header: &libc::msghdr) -> ReceivedControl {
    let mut control = ReceivedControl::default();
    // SAFETY: the caller vouches for the header; CMSG_NXTHDR stays within msg_controllen, and values are read
    // unaligned and only of the type that their level and type announce.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = ptr::read_unaligned(data.cast::<libc::c_int>());
                    control.segment = u32::try_from(size).ok().filter(|size| *size > 0);
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = ptr::read_unaligned(data.cast::<libc::in_pktinfo>());
                    control.local = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = ptr::read_unaligned(data.cast::<libc::in6_pktinfo>());
                    control.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    control
}

/// Writes control messages for sending into `buffer`: the size to cut a train into, and the source address.
/// Returns how many bytes of the buffer count.
pub(crate) fn write(buffer: &mut ControlBuffer, segment: Option<u16>, source: Option<IpAddr>) -> usize {
    let mut used = 0;
    if let Some(segment) = segment {
        used += append(buffer, used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    match source {
        Some(IpAddr::V4(ip)) => {
            let spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: spec_dst,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            used += append(buffer, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(ip)) => {
            let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
            let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
            used += append(buffer, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    used
}

fn append<T>(buffer: &mut ControlBuffer, used: usize, level: i32, kind: i32, value: T) -> usize {
    let length = size_of::<T>() as u32;
    // SAFETY: CMSG_SPACE and CMSG_LEN are arithmetic.
    let (space, announced) = unsafe { (libc::CMSG_SPACE(length) as usize, libc::CMSG_LEN(length) as usize) };
    assert!(used + space <= ControlBuffer::SIZE, "the buffer is sized for every message written here");
    let header = libc::cmsghdr { cmsg_len: announced as _, cmsg_level: level, cmsg_type: kind };
    // SAFETY: the assertion keeps both writes inside the buffer; they are unaligned writes of plain values, the
    // value right behind its header as CMSG_DATA has it.
    unsafe {
        let at = buffer.0.as_mut_ptr().add(used).cast::<libc::cmsghdr>();
        ptr::write_unaligned(at, header);
        ptr::write_unaligned(at.add(1).cast::<T>(), value);
    }
    space
}
