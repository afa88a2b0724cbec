//! Ethernet frames with a UDP datagram over IPv4 in them, checksums and all.

use std::net::SocketAddrV4;

/// From one interface to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) from_hardware: [u8; 6],
    pub(crate) to_hardware: [u8; 6],
    pub(crate) from: SocketAddrV4,
    pub(crate) to: SocketAddrV4,
}

/// One whole frame.
pub(crate) fn frame(route: &Route, payload: &[u8]) -> Vec<u8> {
    let Route { from_hardware, to_hardware, from, to } = route;
    let mut bytes = [&to_hardware[..], from_hardware, &[0x08, 0x00]].concat();
    let udp_length = (UDP + payload.len()) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, PROTOCOL_UDP as u8, 0, 0];
    ip[2..4].copy_from_slice(&(IPV4 as u16 + udp_length).to_be_bytes());
    ip.extend(from.ip().octets());
    ip.extend(to.ip().octets());
    let check = !sum(&ip);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let mut udp = [from.port(), to.port(), udp_length, 0].map(u16::to_be_bytes).concat();
    udp.extend(payload);
    let pseudo = [&ip[12..20], &PROTOCOL_UDP.to_be_bytes(), &udp_length.to_be_bytes()].concat();
    // Zero would mean that there is none (RFC 768).
    let check = match !sum(&[&pseudo[..], &udp].concat()) {
        0 => 0xFFFF,
        check => check,
    };
    udp[6..8].copy_from_slice(&check.to_be_bytes());
    bytes.extend(ip);
    bytes.extend(udp);
    bytes
}

/// A hardware address as `ip` prints it.
pub(crate) fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect::<Option<_>>()?;
    octets.try_into().ok()
}

/// The ones' complement sum of 16-bit words.
fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// Bytes of an IPv4 header.
const IPV4: usize = 20;
/// Bytes of a UDP header.
const UDP: usize = 8;
const PROTOCOL_UDP: u16 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    const ETHERNET: usize = 14;

    #[test]
    fn a_frame_has_the_checksums_a_receiver_wants() {
        let route = Route {
            from_hardware: [2, 0, 0, 0, 0, 1],
            to_hardware: [2, 0, 0, 0, 0, 2],
            from: "10.0.0.1:4000".parse().unwrap(),
            to: "10.0.0.2:3478".parse().unwrap(),
        };
        let frame = frame(&route, b"odd");
        assert_eq!(frame.len(), ETHERNET + IPV4 + UDP + 3);
        assert_eq!(&frame[..ETHERNET], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        let (ip, udp) = frame[ETHERNET..].split_at(IPV4);
        assert_eq!(sum(ip), 0xFFFF);
        assert_eq!(sum(&[&ip[12..], &[0, 17, 0, 11], udp].concat()), 0xFFFF);
    }

    #[test]
    fn hardware_addresses_are_read() {
        assert_eq!(hardware_address("02:00:00:aB:01:ff"), Some([2, 0, 0, 0xAB, 1, 0xFF]));
        assert_eq!(hardware_address("02:00:00"), None);
        assert_eq!(hardware_address("xx:00:00:00:00:00"), None);
    }
}
