//! Address attributes' values, plain and xored (RFC 8489 §14.1, §14.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::attributes::AttributeError;
use crate::message::{MAGIC_COOKIE, TransactionId};

/// An address family as the protocol numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 0x01.
    Ipv4,
    /// 0x02.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Family::Ipv4,
            IpAddr::V6(_) => Family::Ipv6,
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Family::Ipv4 => 0x01,
            Family::Ipv6 => 0x02,
        }
    }

    /// The family with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0x01 => Some(Family::Ipv4),
            0x02 => Some(Family::Ipv6),
            _ => None,
        }
    }
}

/// Bytes of an address value.
pub(crate) const fn length(address: &SocketAddr) -> usize {
    if address.is_ipv4() { 8 } else { 20 }
}

/// Reads a plain address value.
pub(crate) fn decode(value: &[u8]) -> Result<SocketAddr, AttributeError> {
    let (&[_, family, high, low], address) = value.split_first_chunk::<4>().ok_or(AttributeError::Length)?;
    let port = u16::from_be_bytes([high, low]);
    let ip = match Family::from_number(family) {
        Some(Family::Ipv4) => IpAddr::V4(Ipv4Addr::from(octets::<4>(address)?)),
        Some(Family::Ipv6) => IpAddr::V6(Ipv6Addr::from(octets::<16>(address)?)),
        None => return Err(AttributeError::Family),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Reads an xored address value.
pub(crate) fn decode_xored(value: &[u8], id: &TransactionId) -> Result<SocketAddr, AttributeError> {
    decode(value).map(|address| xor(address, id))
}

/// Writes a plain address into `value`, which has the right length.
pub(crate) fn encode(address: &SocketAddr, value: &mut [u8]) {
    value[0] = 0;
    value[1] = Family::of(&address.ip()).number();
    value[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => value[4..8].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => value[4..20].copy_from_slice(&ip.octets()),
    }
}

/// Writes an xored address into `value`, which has the right length.
pub(crate) fn encode_xored(address: &SocketAddr, value: &mut [u8], id: &TransactionId) {
    encode(&xor(*address, id), value);
}

/// Its own inverse: the port with the cookie's high half, IPv4 with the cookie, IPv6 with cookie and id.
fn xor(address: SocketAddr, id: &TransactionId) -> SocketAddr {
    let cookie = MAGIC_COOKIE.to_be_bytes();
    let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(ip.to_bits() ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            let mask = cookie.iter().chain(&id.0);
            octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    };
    SocketAddr::new(ip, port)
}

fn octets<const N: usize>(bytes: &[u8]) -> Result<[u8; N], AttributeError> {
    bytes.try_into().map_err(|_| AttributeError::Length)
}
