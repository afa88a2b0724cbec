//! What the kernel program and its loader share, as bytes: `bpf/fast_path.h` has the same in C.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A key of the flow tables: source, destination, ports, channel number (zero for packets of peers).
pub(crate) type FlowKey = [u8; 40];
/// What becomes of a flow's packets.
pub(crate) type FlowValue = [u8; 80];
/// Packets and bytes; behind them the program keeps what it knows of the route.
pub(crate) type UsageValue = [u64; 8];
/// Which of 64 ports are listened at, and which may be relayed ports.
pub(crate) type PortsValue = [u64; 2];
/// How frames with an interface's hardware address come and go.
pub(crate) type InterfaceValue = [u8; 24];
/// A device and the tags of its frames.
pub(crate) type VlanKey = [u8; 12];
/// [`Settings`].
pub(crate) type SettingsValue = [u8; 40];

/// A VLAN tag without priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) kind: u16,
    pub(crate) number: u16,
}

/// The rewriting of one flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewrite {
    pub(crate) deadline: u64,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// What to put in front of the data.
    pub(crate) channel: Option<u16>,
    pub(crate) own_peer: bool,
    pub(crate) counter: u32,
    /// Differs from one writing to the next.
    pub(crate) edition: u32,
    /// Bytes a second, and where it is written what of them is spent.
    pub(crate) limit: Option<(u32, u32)>,
}

/// What the program is told about everything but flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// From which interface routes are looked up, for IPv4 and IPv6; 0 for none.
    pub(crate) routes_from: [u32; 2],
    /// The TTL and the hop limit.
    pub(crate) hops: [u32; 2],
    /// How often a packet of each flow goes up.
    pub(crate) fresh_for: Duration,
    /// How long a route may be used without asking for it again.
    pub(crate) route_for: Duration,
    /// Counted on when a route, a neighbour or an interface has changed: nothing kept from before is used after.
    pub(crate) generation: u32,
}

/// How an interface's frames come and go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier<'t> {
    /// What carries them: the interface itself, or what a VLAN interface is made on.
    pub(crate) device: u32,
    pub(crate) address: [u8; 6],
    /// The outer one first.
    pub(crate) tags: &'t [Tag],
    /// Whether the device sends by XDP_TX what came by it.
    pub(crate) turns_back: bool,
}

impl Settings {
    pub(crate) fn value(&self) -> SettingsValue {
        let mut value = [0; 40];
        for (place, number) in value.chunks_exact_mut(4).zip([self.routes_from, self.hops].concat()) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        value[16..24].copy_from_slice(&(self.fresh_for.as_nanos() as u64).to_ne_bytes());
        value[24..32].copy_from_slice(&(self.route_for.as_nanos() as u64).to_ne_bytes());
        value[32..36].copy_from_slice(&self.generation.to_ne_bytes());
        value
    }
}

pub(crate) fn flow_key(source: SocketAddr, destination: SocketAddr, channel: Option<u16>) -> FlowKey {
    let mut key = [0; 40];
    key[..16].copy_from_slice(&octets(source.ip()));
    key[16..32].copy_from_slice(&octets(destination.ip()));
    key[32..34].copy_from_slice(&source.port().to_be_bytes());
    key[34..36].copy_from_slice(&destination.port().to_be_bytes());
    key[36..38].copy_from_slice(&channel.unwrap_or_default().to_be_bytes());
    key
}

pub(crate) fn flow_value(rewrite: &Rewrite) -> FlowValue {
    let Rewrite { deadline, source, destination, channel, own_peer, counter, edition, limit } = *rewrite;
    let (rate, account) = limit.unwrap_or_default();
    let ipv6 = if destination.is_ipv6() { FLOW_IPV6 } else { 0 };
    let flags = if own_peer { ipv6 | FLOW_OWN_PEER } else { ipv6 };
    let key = flow_key(source, destination, channel);
    let mut value = [0; 80];
    value[..8].copy_from_slice(&deadline.to_ne_bytes());
    value[8..46].copy_from_slice(&key[..38]);
    value[46..48].copy_from_slice(&flags.to_ne_bytes());
    value[48..52].copy_from_slice(&sum(&key[..36]).to_ne_bytes());
    value[52..56].copy_from_slice(&counter.to_ne_bytes());
    value[56..60].copy_from_slice(&edition.to_ne_bytes());
    value[60..64].copy_from_slice(&rate.to_ne_bytes());
    value[72..76].copy_from_slice(&account.to_ne_bytes());
    value
}

pub(crate) fn interface_value(carrier: &Carrier<'_>) -> InterfaceValue {
    let Carrier { device, address, tags, turns_back } = *carrier;
    let mut value = [0; 24];
    value[..4].copy_from_slice(&device.to_ne_bytes());
    value[4..10].copy_from_slice(&address);
    value[10..12].copy_from_slice(&(tags.len().min(2) as u16).to_ne_bytes());
    value[12..20].copy_from_slice(&tag_bytes(tags));
    value[20..].copy_from_slice(&u32::from(turns_back).to_ne_bytes());
    value
}

pub(crate) fn vlan_key(device: u32, tags: &[Tag]) -> VlanKey {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&device.to_ne_bytes());
    key[4..].copy_from_slice(&tag_bytes(tags));
    key
}

fn tag_bytes(tags: &[Tag]) -> [u8; 8] {
    let mut bytes = [0; 8];
    for (place, tag) in bytes.chunks_exact_mut(4).zip(tags) {
        place[..2].copy_from_slice(&tag.kind.to_be_bytes());
        place[2..].copy_from_slice(&tag.number.to_ne_bytes());
    }
    bytes
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Ones' complement sum of 16-bit words as they lie in memory, folded.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_ne_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum
}

const FLOW_IPV6: u16 = 1;
const FLOW_OWN_PEER: u16 = 2;
