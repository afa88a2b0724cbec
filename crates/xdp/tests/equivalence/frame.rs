//! Ethernet frames, made and read as plainly as can be: nothing is shared with what is tested.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A frame to be made.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) to_hardware: [u8; 6],
    /// Type and control word.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
    pub(crate) checksum: Checksum,
    /// Bytes after the IP packet.
    pub(crate) trailer: usize,
}

/// What stands in the UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    Right,
    /// Off by this much.
    Wrong(u16),
    /// None.
    Zero,
    /// The sum of the pseudo header, for the hardware to go on with.
    Partial,
}

impl Frame {
    pub(crate) fn new(to_hardware: [u8; 6], from: SocketAddr, to: SocketAddr, payload: Vec<u8>) -> Self {
        Frame { to_hardware, tags: Vec::new(), from, to, payload, checksum: Checksum::Right, trailer: 0 }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.to_hardware.to_vec();
        bytes.extend([2, 0, 0, 0, 0xFF, 0xFF]);
        for (kind, control) in &self.tags {
            bytes.extend(kind.to_be_bytes());
            bytes.extend(control.to_be_bytes());
        }
        let udp = self.udp();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend([0x08, 0x00]);
                bytes.extend(ipv4_header(from, to, udp.len()));
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                bytes.extend([0x86, 0xDD, 0x6B, 0xC1, 0x23, 0x45]);
                bytes.extend((udp.len() as u16).to_be_bytes());
                bytes.extend([17, 3]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            _ => panic!("addresses of two families"),
        }
        bytes.extend(udp);
        bytes.resize(bytes.len() + self.trailer, 0xA5);
        bytes
    }

    fn udp(&self) -> Vec<u8> {
        let mut udp = Vec::new();
        udp.extend(self.from.port().to_be_bytes());
        udp.extend(self.to.port().to_be_bytes());
        let length = (8 + self.payload.len()) as u16;
        udp.extend(length.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let pseudo = pseudo_header(self.from.ip(), self.to.ip(), length);
        let right = !sum(&[&pseudo[..], &udp[..]].concat());
        let right = if right == 0 { 0xFFFF } else { right };
        let check = match self.checksum {
            Checksum::Right => right,
            Checksum::Wrong(by) => match right.wrapping_add(by) {
                0 => 1,
                check => check,
            },
            Checksum::Zero => 0,
            Checksum::Partial => sum(&pseudo),
        };
        udp[6..8].copy_from_slice(&check.to_be_bytes());
        udp
    }
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) to_hardware: [u8; 6],
    pub(crate) from_hardware: [u8; 6],
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) hops: u8,
    pub(crate) class: u8,
    /// Whether IPv4 may not be fragmented.
    pub(crate) dont_fragment: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) check: Verified,
    /// Bytes after the IP packet.
    pub(crate) trailer: usize,
}

/// What a receiver would say of a UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verified {
    Right,
    Wrong,
    Zero,
}

/// Reads a whole plain UDP packet; `None` for anything that a receiving host would refuse or put together first.
pub(crate) fn read(frame: &[u8]) -> Option<Read> {
    let (to_hardware, from_hardware) = (frame.get(..6)?.try_into().ok()?, frame.get(6..12)?.try_into().ok()?);
    let (mut at, mut tags) = (12, Vec::new());
    while matches!(word(frame, at)?, 0x8100 | 0x88A8) {
        tags.push((word(frame, at)?, word(frame, at + 2)?));
        at += 4;
    }
    let kind = word(frame, at)?;
    let packet = frame.get(at + 2..)?;
    let (from, to, hops, class, dont_fragment, header, total) = match kind {
        0x0800 => {
            let (header, total) = (packet.get(..20)?, usize::from(word(packet, 2)?));
            let flags = word(packet, 6)?;
            if header[0] != 0x45 || sum(header) != 0xFFFF || flags & 0xBFFF != 0 || header[9] != 17 {
                return None;
            }
            let ip = |at: usize| {
                let octets: [u8; 4] = header[at..at + 4].try_into().expect("four bytes");
                IpAddr::V4(Ipv4Addr::from(octets))
            };
            (ip(12), ip(16), header[8], header[1], flags & 0x4000 != 0, 20, total)
        }
        0x86DD => {
            let header = packet.get(..40)?;
            if header[0] >> 4 != 6 || header[6] != 17 {
                return None;
            }
            let ip = |at: usize| {
                let octets: [u8; 16] = header[at..at + 16].try_into().expect("sixteen bytes");
                IpAddr::V6(Ipv6Addr::from(octets))
            };
            let class = header[0] << 4 | header[1] >> 4;
            (ip(8), ip(24), header[7], class, false, 40, 40 + usize::from(word(packet, 4)?))
        }
        _ => return None,
    };
    let udp = packet.get(header..total)?;
    let length = word(udp, 4)?;
    if usize::from(length) != udp.len() || udp.len() < 8 {
        return None;
    }
    let check = match word(udp, 6)? {
        0 => Verified::Zero,
        _ if sum(&[&pseudo_header(from, to, length), udp].concat()) == 0xFFFF => Verified::Right,
        _ => Verified::Wrong,
    };
    if check == Verified::Zero && to.is_ipv6() {
        return None;
    }
    let (from, to) = (SocketAddr::new(from, word(udp, 0)?), SocketAddr::new(to, word(udp, 2)?));
    let (payload, trailer) = (udp[8..].to_vec(), packet.len() - total);
    Some(Read {
        to_hardware,
        from_hardware,
        tags,
        from,
        to,
        hops,
        class,
        dont_fragment,
        payload,
        check,
        trailer,
    })
}

fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> [u8; 20] {
    let mut header = [0x45, 0x2E, 0, 0, 0x12, 0x34, 0x40, 0, 9, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&((20 + length) as u16).to_be_bytes());
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    correct(&mut header);
    header
}

/// Puts the right sum into an IPv4 header.
pub(crate) fn correct(header: &mut [u8]) {
    header[10..12].copy_from_slice(&[0, 0]);
    let check = !sum(header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
}

fn pseudo_header(from: IpAddr, to: IpAddr, length: u16) -> Vec<u8> {
    let mut bytes = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => panic!("addresses of two families"),
    };
    bytes.extend([0, 17]);
    bytes.extend(length.to_be_bytes());
    bytes
}

/// Ones' complement sum (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    sum as u16
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
