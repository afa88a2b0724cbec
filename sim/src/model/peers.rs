//! Which peers may be reached, the plain way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::settings::{Settings, ip};

/// How a permitted peer may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is somebody else's.
    Foreign,
    /// It is this server's: only where a relayed port is open.
    LiveOnly,
    /// It is this server's, and the operator opened it: anywhere but at the listeners.
    Opened,
}

/// The one form of a peer's address: IPv4 hidden in IPv6 comes out, relay addresses get their external form.
pub(crate) fn canonical(settings: &Settings, address: SocketAddr) -> SocketAddr {
    let mut plain = address.ip();
    if let IpAddr::V6(six) = plain {
        let octets = six.octets();
        let mapped = octets[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF];
        // ::0 to ::FF are not IPv4-compatible: the unspecified and loopback addresses live there.
        let compatible = octets[..12] == [0; 12] && octets[12..15] != [0; 3];
        if mapped || compatible {
            plain = IpAddr::V4(Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15]));
        }
    }
    SocketAddr::new(external(settings, plain), address.port())
}

/// The external form of a relay address, or the address itself.
pub(crate) fn external(settings: &Settings, plain: IpAddr) -> IpAddr {
    let relay = settings.relays.iter().find(|relay| relay.address == plain);
    relay.and_then(|relay| relay.external).unwrap_or(plain)
}

/// How a canonical address may be reached; `None` if it may not.
pub(crate) fn judge(settings: &Settings, peer: IpAddr) -> Option<Access> {
    if let Some(inner) = embedded(peer) {
        // What a translator or tunnel would deliver there must be reachable anyhow, and not this host.
        if judge(settings, IpAddr::V4(inner)) != Some(Access::Foreign) {
            return None;
        }
    }
    if is_in(peer, "0.0.0.0", 8) || is_in(peer, "255.255.255.255", 32) || is_in(peer, "::", 128) {
        return None;
    }
    let loopback = is_in(peer, "127.0.0.0", 8) || is_in(peer, "::1", 128);
    let opened = settings.allowed.iter().any(|range| range.first <= peer && peer <= range.last)
        || settings.allow_loopback && loopback;
    let denied = settings.denied.iter().any(|range| range.first <= peer && peer <= range.last);
    let relay = settings.relays.iter().any(|it| it.address == peer || it.external == Some(peer));
    let own = relay || loopback || settings.own_addresses.contains(&peer);
    if own {
        return match (opened, relay) {
            (true, _) => Some(Access::Opened),
            (false, true) => Some(Access::LiveOnly),
            (false, false) => None,
        };
    }
    if opened {
        return Some(Access::Foreign);
    }
    let refused = REFUSED.iter().any(|(network, prefix)| is_in(peer, network, *prefix));
    if denied || refused { None } else { Some(Access::Foreign) }
}

/// IPv4 that the address stands for: NAT64, 6to4, Teredo, ISATAP.
fn embedded(peer: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(six) = peer else { return None };
    let octets = six.octets();
    let four = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    if is_in(peer, "64:ff9b::", 96) {
        return Some(four(12));
    }
    if is_in(peer, "2002::", 16) {
        return Some(four(2));
    }
    if is_in(peer, "2001::", 32) {
        return Some(Ipv4Addr::from_bits(!four(12).to_bits()));
    }
    let isatap = matches!(octets[8..12], [0, 0, 0x5E, 0xFE] | [2, 0, 0x5E, 0xFE]);
    isatap.then(|| four(12))
}

fn is_in(peer: IpAddr, network: &str, prefix: u32) -> bool {
    match (peer, ip(network)) {
        (IpAddr::V4(peer), IpAddr::V4(network)) => {
            let shift = 32 - prefix;
            u64::from(Ipv4Addr::to_bits(peer)) >> shift == u64::from(network.to_bits()) >> shift
        }
        (IpAddr::V6(peer), IpAddr::V6(network)) => {
            let shift = 128 - prefix;
            let (peer, network) = (Ipv6Addr::to_bits(peer), network.to_bits());
            shift == 128 || peer >> shift == network >> shift
        }
        _ => false,
    }
}

/// Not the public Internet (IANA's registries of special-purpose addresses).
const REFUSED: &[(&str, u32)] = &[
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("100.64.0.0", 10),
    ("169.254.0.0", 16),
    ("192.0.0.0", 24),
    ("192.0.2.0", 24),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("198.18.0.0", 15),
    ("224.0.0.0", 4),
    ("240.0.0.0", 4),
    ("::", 96),
    ("fe80::", 10),
    ("fc00::", 7),
    ("ff00::", 8),
    ("2001:db8::", 32),
];
