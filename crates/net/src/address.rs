//! Socket addresses as the kernel lays them out.

use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// Room for an IPv4 or IPv6 socket address.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    pub(crate) const SIZE: u32 = size_of::<libc::sockaddr_in6>() as u32;

    /// All zero: no address.
    pub(crate) const fn empty() -> Self {
        // SAFETY: both variants are plain integers, for which all-zero bytes are valid.
        unsafe { std::mem::zeroed() }
    }

    /// The address in kernel form, and how many bytes of it count.
    #[inline]
    pub(crate) fn new(address: &SocketAddr) -> (Self, u32) {
        let mut raw = RawAddress::empty();
        match address {
            SocketAddr::V4(address) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as u16,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (raw, size_of::<libc::sockaddr_in>() as u32)
            }
            SocketAddr::V6(address) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as u16,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                (raw, RawAddress::SIZE)
            }
        }
    }

    /// Copies an address that lies among other bytes; what is missing stays zero.
    ///
    /// # Safety
    /// `length` bytes at `from` can be read.
    pub(crate) unsafe fn read(from: *const u8, length: usize) -> Self {
        let mut raw = RawAddress::empty();
        // SAFETY: the source is as the caller says, and no more than the whole of `raw` is written.
        unsafe { ptr::copy_nonoverlapping(from, (&raw mut raw).cast(), length.min(size_of::<RawAddress>())) };
        raw
    }

    /// The address, if the kernel wrote one of the two families.
    #[inline]
    pub(crate) fn get(&self) -> Option<SocketAddr> {
        // SAFETY: the family is the first field of both variants, and every variant is plain integers that
        // were initialised by `empty` and possibly overwritten by the kernel: any bytes are valid.
        unsafe {
            match i32::from(self.v4.sin_family) {
                libc::AF_INET => {
                    let ip = Ipv4Addr::from(self.v4.sin_addr.s_addr.to_ne_bytes());
                    Some(SocketAddrV4::new(ip, u16::from_be(self.v4.sin_port)).into())
                }
                libc::AF_INET6 => {
                    let ip = Ipv6Addr::from(self.v6.sin6_addr.s6_addr);
                    let port = u16::from_be(self.v6.sin6_port);
                    // Only link-local addresses have a scope; leaving it out elsewhere keeps addresses equal.
                    Some(SocketAddrV6::new(ip, port, 0, self.v6.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["198.51.100.7:5000", "[2001:db8::1]:65535", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::new(&address).0.get(), Some(address));
        }
        assert_eq!(RawAddress::empty().get(), None);
    }
}
