//! The addresses of this machine.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::ptr;

/// One address of one network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

impl InterfaceAddress {
    /// Whether it is a loopback address.
    pub fn is_loopback(&self) -> bool {
        self.address.is_loopback()
    }

    /// Whether it means something on its own link alone.
    pub fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }
}

/// The addresses of all interfaces that are up, in the system's order.
///
/// # Errors
/// The system does not tell.
pub fn local_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut list = ptr::null_mut();
    // SAFETY: `list` is a valid place for the answer.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut entry = list;
    // SAFETY: the list is valid until freeifaddrs, which is called exactly once after the last look at it. An
    // address that is not null has the layout that its family announces; names end with NUL.
    unsafe {
        while !entry.is_null() {
            let up = (*entry).ifa_flags & libc::IFF_UP as u32 != 0;
            if up && let Some(address) = ip_of((*entry).ifa_addr) {
                let interface = CStr::from_ptr((*entry).ifa_name).to_string_lossy().into_owned();
                found.push(InterfaceAddress { interface, address });
            }
            entry = (*entry).ifa_next;
        }
        libc::freeifaddrs(list);
    }
    Ok(found)
}

/// The address that packets to the Internet would leave from. No packet is sent to find out.
pub fn default_route_source(ipv4: bool) -> Option<IpAddr> {
    // Connecting a UDP socket only looks up the route.
    let (any, far): (IpAddr, IpAddr) = if ipv4 {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(8, 8, 8, 8).into())
    } else {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888).into())
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((far, 53)).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}

/// # Safety
/// `address` is null or points at a socket address with the layout that its family announces.
unsafe fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: as the caller says.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = ptr::read_unaligned(address.cast::<libc::sockaddr_in>());
                Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                let v6 = ptr::read_unaligned(address.cast::<libc::sockaddr_in6>());
                Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_found() {
        let addresses = local_addresses().unwrap();
        assert!(addresses.iter().any(|found| found.address == IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
