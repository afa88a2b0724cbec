//! Which peers may be reached.
//!
//! Every address is judged in its canonical form, whatever IPv6 form hides it. Refused unless the operator
//! opens them: all that is not the public Internet. Addresses of this server itself (relay and external form)
//! can be reached only where a relayed port is open, so that two clients can always talk and nothing else of
//! the host is exposed. The external form becomes the relay form on the way out and back on the way in, so
//! no hairpin NAT is needed.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address range, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    /// Its lowest address.
    pub first: IpAddr,
    /// Its highest address, of the same family.
    pub last: IpAddr,
}

impl IpRange {
    /// Whether `ip` lies in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.first.is_ipv4() && self.first <= ip && ip <= self.last
    }

    const fn v4(first: [u8; 4], prefix: u32) -> Self {
        let first = u32::from_be_bytes(first);
        let last = first | if prefix == 32 { 0 } else { u32::MAX >> prefix };
        IpRange { first: IpAddr::V4(Ipv4Addr::from_bits(first)), last: IpAddr::V4(Ipv4Addr::from_bits(last)) }
    }

    const fn v6(first: [u16; 8], prefix: u32) -> Self {
        let [a, b, c, d, e, f, g, h] = first;
        let first = Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits();
        let last = first | if prefix == 128 { 0 } else { u128::MAX >> prefix };
        IpRange { first: IpAddr::V6(Ipv6Addr::from_bits(first)), last: IpAddr::V6(Ipv6Addr::from_bits(last)) }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

/// A local address that relayed transport addresses are opened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// The address sockets bind.
    pub address: IpAddr,
    /// The address clients are told, behind a one-to-one NAT; `None` when it is the same.
    pub external: Option<IpAddr>,
}

impl RelayAddress {
    /// The address clients are told.
    pub fn advertised(&self) -> IpAddr {
        self.external.unwrap_or(self.address)
    }
}

/// The operator's rules and the addresses of this server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerRules {
    /// Opened ranges; they win over everything but the server's own listeners and the unspecified address.
    pub allowed: Vec<IpRange>,
    /// Refused ranges besides the default ones.
    pub denied: Vec<IpRange>,
    /// Whether loopback addresses may be reached.
    pub allow_loopback: bool,
    /// Whether multicast addresses are refused even where a range opens them.
    pub refuse_multicast: bool,
    /// Every address of this host, loopback excluded.
    pub own_addresses: Vec<IpAddr>,
    /// Where relayed addresses are opened.
    pub relays: Vec<RelayAddress>,
    /// The same with what clients were told before: whoever was told it goes on with it.
    pub former: Vec<RelayAddress>,
    /// Ports this server listens on; never reachable on an own address.
    pub listening_ports: Vec<u16>,
}

/// How a peer may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAccess {
    /// A peer somewhere else.
    Anywhere,
    /// An address of this server: only at live relayed ports.
    LiveRelays,
    /// An address of this server that the operator opened: anywhere but at the server's listeners.
    NotListeners,
}

impl PeerRules {
    /// The one form of `address` that rules and tables use: IPv4 that was mapped into IPv6 becomes IPv4,
    /// and the relay form of an own address becomes its external form.
    pub fn canonical(&self, address: SocketAddr) -> SocketAddr {
        let ip = match address.ip() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => unmapped(ip),
        };
        let ip = if self.was_told(ip) { ip } else { self.external_form(ip) };
        SocketAddr::new(ip, address.port())
    }

    /// What clients are told of a relay address now.
    pub(crate) fn advertised(&self, address: IpAddr) -> IpAddr {
        self.external_form(address)
    }

    /// The relay form of an address of this server that clients are told, or were told before.
    #[inline]
    pub(crate) fn relay_form(&self, ip: IpAddr) -> Option<IpAddr> {
        let now = self.relays.iter().find(|relay| relay.address == ip || relay.external == Some(ip));
        let before = || self.former.iter().find(|relay| relay.advertised() == ip);
        now.or_else(before).map(|relay| relay.address)
    }

    /// Whether `ip` is this relay address, or what clients are told of it, or were told before.
    #[inline]
    pub(crate) fn is_form_of(&self, relay: IpAddr, ip: IpAddr) -> bool {
        let is_told = |known: &RelayAddress| known.address == relay && known.advertised() == ip;
        relay == ip || self.relays.iter().any(is_told) || self.former.iter().any(is_told)
    }

    /// What clients were told before of a relay address.
    pub(crate) fn former_forms(&self, relay: IpAddr) -> impl Iterator<Item = IpAddr> + '_ {
        let of_relay = self.former.iter().filter(move |former| former.address == relay);
        of_relay.map(RelayAddress::advertised)
    }

    fn was_told(&self, ip: IpAddr) -> bool {
        self.former.iter().any(|former| former.advertised() == ip)
    }

    /// The external form of a relay address; any other address as it is.
    #[inline]
    pub(crate) fn external_form(&self, ip: IpAddr) -> IpAddr {
        for relay in &self.relays {
            if let (Some(external), true) = (relay.external, relay.address == ip) {
                return external;
            }
        }
        ip
    }

    /// Judges a canonical address: how it may be reached, or the name of the rule that refuses it.
    pub fn judge(&self, ip: IpAddr) -> Result<PeerAccess, &'static str> {
        self.judge_for(None, ip)
    }

    /// Likewise, for somebody whose realm opens the address by a range of its own, or refuses it.
    pub(crate) fn judge_for(&self, realm: Option<bool>, ip: IpAddr) -> Result<PeerAccess, &'static str> {
        if let Some(embedded) = embedded_ipv4(ip) {
            let access = self.judge_for(realm, IpAddr::V4(embedded))?;
            // A translator would lead back to any port of this host.
            if access != PeerAccess::Anywhere {
                return Err("this server's own");
            }
        }
        if ALWAYS_REFUSED.iter().any(|range| range.contains(ip)) {
            return Err(peer_rule::UNSPECIFIED);
        }
        if self.refuse_multicast && ip.is_multicast() {
            return Err(peer_rule::NO_MULTICAST);
        }
        let opened = realm == Some(true) || self.is_opened(ip);
        if self.is_own(ip) {
            let relayed = self.relay_form(ip).is_some();
            return match (opened, relayed) {
                (true, _) => Ok(PeerAccess::NotListeners),
                (false, true) => Ok(PeerAccess::LiveRelays),
                (false, false) => Err("this server's own"),
            };
        }
        if opened {
            return Ok(PeerAccess::Anywhere);
        }
        if realm == Some(false) || self.denied.iter().any(|range| range.contains(ip)) {
            return Err("denied-peer-ip");
        }
        match DEFAULT_REFUSED.iter().find(|(range, _)| range.contains(ip)) {
            Some((_, name)) => Err(name),
            None => Ok(PeerAccess::Anywhere),
        }
    }

    /// Whether the server listens at this port of an own address.
    pub(crate) fn is_listener(&self, peer: &SocketAddr) -> bool {
        self.listening_ports.contains(&peer.port())
    }

    fn is_opened(&self, ip: IpAddr) -> bool {
        (self.allow_loopback && ip.is_loopback()) || self.allowed.iter().any(|range| range.contains(ip))
    }

    /// Whether it is an address of this host.
    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.relay_form(ip).is_some() || self.own_addresses.contains(&ip)
    }
}

/// Names of rules that no range opens.
pub mod peer_rule {
    /// Unspecified addresses and the broadcast address.
    pub const UNSPECIFIED: &str = "unspecified or broadcast";
    /// Multicast, where the operator refuses it for good.
    pub const NO_MULTICAST: &str = "no-multicast-peers";
}

/// The ranges refused by default, with their names, for the line at start.
pub fn refused_by_default() -> impl Iterator<Item = (IpRange, &'static str)> {
    DEFAULT_REFUSED.iter().copied()
}

/// IPv4 that an operating system would take an IPv6 address for: IPv4-mapped and -compatible.
fn unmapped(ip: Ipv6Addr) -> IpAddr {
    let bits = ip.to_bits();
    let low = bits as u32;
    // ::, ::1 and the rest of ::/120 are IPv6 addresses of their own.
    let compatible = bits >> 32 == 0 && low > 0xFF;
    if bits >> 32 == 0xFFFF || compatible { IpAddr::V4(Ipv4Addr::from_bits(low)) } else { IpAddr::V6(ip) }
}

/// IPv4 that a packet to this IPv6 address would end at: NAT64, 6to4, Teredo.
fn embedded_ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let bits = ip.to_bits();
    let words = ip.segments();
    if bits >> 32 == u128::from_be_bytes(NAT64_PREFIX) >> 32 {
        return Some(Ipv4Addr::from_bits(bits as u32));
    }
    match words {
        [0x2002, ..] => Some(Ipv4Addr::from_bits((bits >> 80) as u32)),
        [0x2001, 0, ..] => Some(Ipv4Addr::from_bits(!(bits as u32))),
        // ISATAP: the interface identifier says so.
        [.., 0x0000 | 0x0200, 0x5EFE, _, _] => Some(Ipv4Addr::from_bits(bits as u32)),
        _ => None,
    }
}

const NAT64_PREFIX: [u8; 16] = [0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const ALWAYS_REFUSED: &[IpRange] = &[
    IpRange::v4([0, 0, 0, 0], 8),
    IpRange::v4([255, 255, 255, 255], 32),
    IpRange::v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
];

/// From IANA's registries of special-purpose addresses.
const DEFAULT_REFUSED: &[(IpRange, &str)] = &[
    (IpRange::v4([127, 0, 0, 0], 8), "loopback"),
    (IpRange::v4([10, 0, 0, 0], 8), "private"),
    (IpRange::v4([172, 16, 0, 0], 12), "private"),
    (IpRange::v4([192, 168, 0, 0], 16), "private"),
    (IpRange::v4([100, 64, 0, 0], 10), "carrier-grade NAT"),
    (IpRange::v4([169, 254, 0, 0], 16), "link-local"),
    (IpRange::v4([192, 0, 0, 0], 24), "reserved"),
    (IpRange::v4([192, 0, 2, 0], 24), "documentation"),
    (IpRange::v4([198, 51, 100, 0], 24), "documentation"),
    (IpRange::v4([203, 0, 113, 0], 24), "documentation"),
    (IpRange::v4([192, 88, 99, 0], 24), "reserved"),
    (IpRange::v4([198, 18, 0, 0], 15), "reserved"),
    (IpRange::v4([224, 0, 0, 0], 4), "multicast"),
    (IpRange::v4([240, 0, 0, 0], 4), "reserved"),
    (IpRange::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (IpRange::v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "reserved"),
    (IpRange::v6([0, 0, 0, 0, 0, 0xFFFF, 0, 0], 96), "reserved"),
    (IpRange::v6([0x64, 0xFF9B, 1, 0, 0, 0, 0, 0], 48), "private"),
    (IpRange::v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "reserved"),
    (IpRange::v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "reserved"),
    (IpRange::v6([0x2001, 0xDB8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (IpRange::v6([0x3FFF, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (IpRange::v6([0x5F00, 0, 0, 0, 0, 0, 0, 0], 16), "reserved"),
    (IpRange::v6([0xFC00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
    (IpRange::v6([0xFE80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (IpRange::v6([0xFEC0, 0, 0, 0, 0, 0, 0, 0], 10), "private"),
    (IpRange::v6([0xFF00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rules: &PeerRules, ip: &str) -> Result<PeerAccess, &'static str> {
        rules.judge(rules.canonical(SocketAddr::new(ip.parse().unwrap(), 1)).ip())
    }

    fn range(first: &str, last: &str) -> IpRange {
        IpRange { first: first.parse().unwrap(), last: last.parse().unwrap() }
    }

    #[test]
    fn public_addresses_are_reachable_by_default() {
        for ip in ["8.8.8.8", "2606:4700::1111", "172.32.0.1", "100.63.255.255", "2001:4860:4860::8888"] {
            assert_eq!(judge(&PeerRules::default(), ip), Ok(PeerAccess::Anywhere), "{ip}");
        }
    }

    #[test]
    fn multicast_stays_refused_where_the_operator_says_so_whatever_is_opened() {
        let allowed = vec![range("224.0.0.0", "239.255.255.255"), range("ff00::", "ffff::")];
        let open = PeerRules { allowed, ..PeerRules::default() };
        let shut = PeerRules { refuse_multicast: true, ..open.clone() };
        for ip in ["224.0.0.1", "239.1.2.3", "ff02::1"] {
            assert_eq!(judge(&open, ip), Ok(PeerAccess::Anywhere), "{ip}");
            assert_eq!(judge(&shut, ip), Err("no-multicast-peers"), "{ip}");
        }
    }

    #[test]
    fn everything_that_is_not_the_public_internet_is_refused_by_default() {
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "192.0.0.192",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.19.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "5f00::1",
        ];
        for ip in refused {
            assert!(judge(&PeerRules::default(), ip).is_err(), "{ip}");
        }
    }

    #[test]
    fn refused_ipv4_is_refused_in_every_ipv6_disguise() {
        let disguises = [
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2001:0:53aa:64c:0:0:80ff:fffe",
            "2606::5efe:a00:1",
            "64:ff9b:1::1",
            "::ffff:0.0.0.0",
        ];
        for ip in disguises {
            assert!(judge(&PeerRules::default(), ip).is_err(), "{ip}");
        }
        assert_eq!(judge(&PeerRules::default(), "64:ff9b::808:808"), Ok(PeerAccess::Anywhere));
    }

    #[test]
    fn the_operator_opens_and_closes_ranges() {
        let mut rules =
            PeerRules { allowed: vec![range("10.1.0.0", "10.1.255.255")], ..PeerRules::default() };
        assert_eq!(judge(&rules, "10.1.2.3"), Ok(PeerAccess::Anywhere));
        assert_eq!(judge(&rules, "::ffff:10.1.2.3"), Ok(PeerAccess::Anywhere));
        assert_eq!(judge(&rules, "10.2.0.1"), Err("private"));
        rules.denied = vec![range("8.8.0.0", "8.8.255.255"), range("10.1.0.0", "10.1.0.255")];
        assert_eq!(judge(&rules, "8.8.8.8"), Err("denied-peer-ip"));
        assert_eq!(
            judge(&rules, "10.1.0.1"),
            Ok(PeerAccess::Anywhere),
            "an allowed range beats a denied one"
        );
    }

    #[test]
    fn the_unspecified_and_the_broadcast_address_cannot_be_opened() {
        let everything = vec![range("0.0.0.0", "255.255.255.255"), range("::", "ffff::ffff")];
        let rules = PeerRules { allowed: everything, ..PeerRules::default() };
        for ip in ["0.0.0.0", "::", "255.255.255.255", "::ffff:0.0.0.0"] {
            assert!(judge(&rules, ip).is_err(), "{ip}");
        }
    }

    #[test]
    fn own_addresses_are_reachable_only_at_live_relays_unless_opened() {
        let relay = RelayAddress {
            address: "10.0.0.5".parse().unwrap(),
            external: Some("203.0.113.7".parse().unwrap()),
        };
        let mut rules = PeerRules {
            relays: vec![relay],
            own_addresses: vec!["10.0.0.5".parse().unwrap(), "10.0.0.6".parse().unwrap()],
            ..PeerRules::default()
        };
        assert_eq!(judge(&rules, "203.0.113.7"), Ok(PeerAccess::LiveRelays));
        assert_eq!(judge(&rules, "10.0.0.5"), Ok(PeerAccess::LiveRelays));
        assert_eq!(judge(&rules, "10.0.0.6"), Err("this server's own"));
        assert_eq!(judge(&rules, "127.0.0.1"), Err("this server's own"));
        rules.allow_loopback = true;
        rules.allowed = vec![range("10.0.0.0", "10.0.0.255"), range("203.0.113.7", "203.0.113.7")];
        assert_eq!(judge(&rules, "127.0.0.1"), Ok(PeerAccess::NotListeners));
        assert_eq!(judge(&rules, "10.0.0.6"), Ok(PeerAccess::NotListeners));
        assert_eq!(judge(&rules, "203.0.113.7"), Ok(PeerAccess::NotListeners));
    }

    #[test]
    fn the_relay_form_becomes_the_external_form() {
        let relay = RelayAddress {
            address: "10.0.0.5".parse().unwrap(),
            external: Some("203.0.113.7".parse().unwrap()),
        };
        let rules = PeerRules { relays: vec![relay], ..PeerRules::default() };
        let canonical = rules.canonical("10.0.0.5:50000".parse().unwrap());
        assert_eq!(canonical, "203.0.113.7:50000".parse().unwrap());
    }
}
