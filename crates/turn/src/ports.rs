//! Relayed ports, shared by all workers: which are taken, which are live, and which are reserved.
//!
//! One bit a port and relay address. A port is *taken* from the moment it is chosen until its socket is closed,
//! and *live* while a relayed transport address is open on it, for UDP or for TCP: what is open for one says nothing of
//! who may have the same number for the other. Touched only by Allocate and at the end of an
//! allocation, but for [`Ports::live_relay`], which reads one word.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::handover::EstateError;
use crate::handover::values::{People, Reserved};
use crate::peers::{PeerRules, RelayAddress};
use crate::quota::QuotaPlace;
use crate::random::Random;
use crate::tcp_relay::PeerTransport;
use crate::time::Timestamp;
use crate::user::User;

/// The ports of every relay address.
#[derive(Debug)]
pub struct Ports {
    relays: Vec<RelayPorts>,
    reservations: Mutex<HashMap<[u8; 8], Reservation>>,
}

#[derive(Debug)]
struct RelayPorts {
    relay: RelayAddress,
    range: RangeInclusive<u16>,
    taken: Box<[AtomicU64]>,
    live: Box<[AtomicU64]>,
    live_tcp: Box<[AtomicU64]>,
    /// For each port a trace of what its client was told of its address.
    told: Traces,
    /// The words of `taken` in which ports of the range lie.
    words: Range<usize>,
    /// Bits of `taken` that stand for ports outside the range and are never freed.
    out_of_range: u32,
}

#[derive(Debug)]
struct Reservation {
    port: RelayedPort,
    expires: Timestamp,
    /// The place in the quotas of the allocation that it came with, once that has ended.
    place: Option<QuotaPlace>,
}

/// A taken port. Dropping it frees the port.
#[derive(Debug)]
pub struct RelayedPort {
    ports: Arc<Ports>,
    relay: u16,
    port: u16,
    /// What clients are told of its address, for as long as it is taken.
    told: IpAddr,
    /// It is several allocations' at once, and nobody's to free.
    shared: bool,
    /// It lies outside the range, as of an allocation that another process made: nobody's to free either.
    outside: bool,
}

/// Which port an Allocate asks for (RFC 8656 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parity {
    Any,
    Even,
    /// An even one whose successor is free as well.
    EvenPair,
}

impl Ports {
    /// All ports of `range` on each relay address are free.
    pub fn new(relays: &[RelayAddress], range: RangeInclusive<u16>) -> Arc<Self> {
        let relays = relays.iter().map(|relay| RelayPorts::new(*relay, &range)).collect();
        Arc::new(Ports { relays, reservations: Mutex::new(HashMap::new()) })
    }

    /// The relay addresses, in the order ports are asked for by index.
    pub(crate) fn relay(&self, index: u16) -> Option<&RelayAddress> {
        self.relays.get(usize::from(index)).map(|ports| &ports.relay)
    }

    /// Indices of the relay addresses of one family.
    pub(crate) fn of_family(&self, ipv4: bool) -> impl Iterator<Item = u16> + '_ {
        let fits = move |(_, ports): &(usize, &RelayPorts)| ports.relay.address.is_ipv4() == ipv4;
        self.relays.iter().enumerate().filter(fits).map(|(index, _)| index as u16)
    }

    /// Ports of one family on all relay addresses together: how many are taken, and of how many.
    pub fn usage(&self, ipv4: bool) -> (u32, u32) {
        let of_family = self.relays.iter().filter(|ports| ports.relay.address.is_ipv4() == ipv4);
        of_family.fold((0, 0), |(taken, all), ports| {
            (taken + ports.taken_in_range(), all + 65_536 - ports.out_of_range)
        })
    }

    /// Ports taken on all relay addresses together.
    pub fn taken(&self) -> u32 {
        self.relays.iter().map(RelayPorts::taken_in_range).sum()
    }

    /// Takes a random port (RFC 6056), and its successor if a pair is asked for.
    pub(crate) fn take(
        self: &Arc<Self>,
        relay: u16,
        parity: Parity,
        random: &mut Random,
    ) -> Option<(RelayedPort, Option<RelayedPort>)> {
        let RelayPorts { taken, words, .. } = self.relays.get(usize::from(relay))?;
        let start = random.next_u64();
        let (first, from) = (start as u32 as usize, (start >> 32) as u32 % 64);
        let (port, next) = (0..words.len()).find_map(|step| {
            let index = words.start + (first + step) % words.len();
            let port = (index * 64) as u16 + take_bit(&taken[index], parity, from)? as u16;
            Some((port, (parity == Parity::EvenPair).then(|| port + 1)))
        })?;
        let told = self.told(relay);
        let named =
            |port| RelayedPort { ports: self.clone(), relay, port, told, shared: false, outside: false };
        Some((named(port), next.map(named)))
    }

    /// A port that sessions share. It may lie anywhere, and counts for none of those that are taken.
    pub(crate) fn shared(self: &Arc<Self>, relay: u16, port: u16) -> RelayedPort {
        RelayedPort { ports: self.clone(), relay, port, told: self.told(relay), shared: true, outside: false }
    }

    /// Takes the very port that another process has had until now, given in local form.
    pub(crate) fn resume(self: &Arc<Self>, address: SocketAddr) -> Result<RelayedPort, EstateError> {
        let port = address.port();
        let found = self.relays.iter().position(|ports| ports.relay.address == address.ip());
        let index = found.ok_or(EstateError::NoRelayAddress(address))?;
        let RelayPorts { range, taken, .. } = &self.relays[index];
        let outside = !range.contains(&port);
        let before = taken[usize::from(port / 64)].fetch_or(mask(port), Ordering::AcqRel);
        if before & mask(port) != 0 && !outside {
            return Err(EstateError::PortTaken(address));
        }
        let relay = index as u16;
        Ok(RelayedPort { ports: self.clone(), relay, port, told: self.told(relay), shared: false, outside })
    }

    /// The reserved ports, for another process.
    pub(crate) fn written(&self, people: &mut People) -> Vec<Reserved> {
        let reservations = self.reservations();
        let mut written: Vec<Reserved> = reservations
            .iter()
            .map(|(token, reservation)| Reserved {
                token: *token,
                address: reservation.port.local(),
                expires: reservation.expires,
                place: reservation.place.as_ref().map(|place| (people.number(place.user()), place.rate())),
            })
            .collect();
        written.sort_unstable_by_key(|reserved| reserved.token);
        written
    }

    /// What clients were told of a relay address at start.
    fn told(&self, relay: u16) -> IpAddr {
        self.relays.get(usize::from(relay)).map_or(IpAddr::from([0; 4]), |ports| ports.relay.advertised())
    }

    /// The relay form of an own address, in whichever form, at which a relayed port is open.
    #[inline]
    pub(crate) fn live_relay(&self, peers: &PeerRules, peer: SocketAddr) -> Option<SocketAddr> {
        let (ip, port) = (peer.ip(), peer.port());
        // One external address may stand for several relay addresses.
        let matches = |ports: &&RelayPorts| ports.is_live(port) && peers.is_form_of(ports.relay.address, ip);
        self.relays.iter().find(matches).map(|ports| SocketAddr::new(ports.relay.address, port))
    }

    /// Likewise, for connections (RFC 6062).
    pub(crate) fn live_tcp_relay(&self, peers: &PeerRules, peer: SocketAddr) -> Option<SocketAddr> {
        let (ip, port) = (peer.ip(), peer.port());
        let matches = |ports: &&RelayPorts| {
            ports.live_tcp[usize::from(port / 64)].load(Ordering::Relaxed) & mask(port) != 0
                && peers.is_form_of(ports.relay.address, ip)
        };
        self.relays.iter().find(matches).map(|ports| SocketAddr::new(ports.relay.address, port))
    }

    /// Which of these forms of its address whoever has the relayed port `relay` was told.
    pub(crate) fn told_as(
        &self,
        relay: SocketAddr,
        mut forms: impl Iterator<Item = IpAddr>,
    ) -> Option<IpAddr> {
        let ports = self.relays.iter().find(|ports| ports.relay.address == relay.ip())?;
        let trace = ports.told.0[usize::from(relay.port())].load(Ordering::Relaxed);
        forms.find(|form| trace_of(*form) == trace)
    }

    /// Keeps `port` for whoever shows `token` before `expires`.
    pub(crate) fn reserve(&self, token: [u8; 8], port: RelayedPort, expires: Timestamp) {
        self.reservations().insert(token, Reservation { port, expires, place: None });
    }

    /// Until when `token` is honoured.
    pub(crate) fn expiry(&self, token: [u8; 8]) -> Option<Timestamp> {
        self.reservations().get(&token).map(|reservation| reservation.expires)
    }

    /// Hands out a reserved port; a token works once.
    pub(crate) fn claim(&self, token: [u8; 8], now: Timestamp) -> Option<RelayedPort> {
        let reservation = self.reservations().remove(&token)?;
        (reservation.expires > now).then_some(reservation.port)
    }

    /// Lets a reserved port that outlives its allocation keep that one's place in the quotas: whoever allocates, deletes
    /// and allocates again would otherwise hold more ports than he may.
    pub(crate) fn keep_place(&self, token: [u8; 8], place: QuotaPlace) {
        if let Some(reservation) = self.reservations().get_mut(&token) {
            reservation.place = Some(place);
        }
    }

    /// Takes the place that goes with a reserved port, if it is this user's.
    pub(crate) fn take_place(&self, token: [u8; 8], user: &User) -> Option<QuotaPlace> {
        let mut reservations = self.reservations();
        reservations.get_mut(&token)?.place.take_if(|place| place.belongs_to(user))
    }

    /// Frees a reserved port that was not claimed in time.
    pub(crate) fn expire(&self, token: [u8; 8], now: Timestamp) {
        let mut reservations = self.reservations();
        if reservations.get(&token).is_some_and(|reservation| reservation.expires <= now) {
            reservations.remove(&token);
        }
    }

    fn reservations(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 8], Reservation>> {
        self.reservations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For each port, in one byte, what its client was told.
struct Traces(Box<[AtomicU8]>);

impl fmt::Debug for Traces {
    /// Without all of them: what they were is no state, only what is at live ports.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Traces")
    }
}

impl RelayPorts {
    fn new(relay: RelayAddress, range: &RangeInclusive<u16>) -> Self {
        let word = |index: usize| {
            let mut bits = 0;
            for bit in 0..64 {
                let port = (index * 64 + bit) as u16;
                bits |= u64::from(!range.contains(&port)) << bit;
            }
            AtomicU64::new(bits)
        };
        let taken = (0..WORDS).map(word).collect();
        let [live, live_tcp] = [(); 2].map(|()| (0..WORDS).map(|_| AtomicU64::new(0)).collect());
        let told = Traces((0..=u16::MAX).map(|_| AtomicU8::new(0)).collect());
        let words = usize::from(range.start() / 64)..usize::from(range.end() / 64) + 1;
        let in_range = u32::from(*range.end()).saturating_sub(u32::from(*range.start())) + 1;
        RelayPorts {
            relay,
            range: range.clone(),
            taken,
            live,
            live_tcp,
            told,
            words,
            out_of_range: 65_536 - in_range,
        }
    }

    fn is_live(&self, port: u16) -> bool {
        self.live[usize::from(port / 64)].load(Ordering::Relaxed) & mask(port) != 0
    }

    fn taken_in_range(&self) -> u32 {
        let set: u32 = self.taken.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
        set - self.out_of_range
    }
}

impl RelayedPort {
    /// The transport address to bind, local form.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.relay_ports().relay.address, self.port)
    }

    /// The transport address clients are told.
    pub fn advertised(&self) -> SocketAddr {
        SocketAddr::new(self.told, self.port)
    }

    /// Likewise, with what clients are told of its address from now on.
    pub(crate) fn told_by(mut self, peers: &PeerRules) -> Self {
        self.told = peers.advertised(self.local().ip());
        self.relay_ports().told.0[usize::from(self.port)].store(trace_of(self.told), Ordering::Relaxed);
        self
    }

    /// Which relay address it belongs to.
    pub(crate) fn relay_index(&self) -> u16 {
        self.relay
    }

    /// The port number.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether other allocations are on it too.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Says whether a relayed transport address is open here. A shared port stays live: whoever is on it knows whose
    /// its packets are.
    pub(crate) fn set_live(&self, transport: PeerTransport, live: bool) {
        if self.shared && !live {
            return;
        }
        let ports = self.relay_ports();
        let words = match transport {
            PeerTransport::Udp => &ports.live,
            PeerTransport::Tcp => &ports.live_tcp,
        };
        let word = &words[usize::from(self.port / 64)];
        if live {
            word.fetch_or(mask(self.port), Ordering::Relaxed);
        } else {
            word.fetch_and(!mask(self.port), Ordering::Relaxed);
        }
    }

    fn relay_ports(&self) -> &RelayPorts {
        &self.ports.relays[usize::from(self.relay)]
    }
}

impl Drop for RelayedPort {
    fn drop(&mut self) {
        if self.shared {
            return;
        }
        self.set_live(PeerTransport::Udp, false);
        self.set_live(PeerTransport::Tcp, false);
        if self.outside {
            return;
        }
        self.relay_ports().taken[usize::from(self.port / 64)].fetch_and(!mask(self.port), Ordering::AcqRel);
    }
}

/// Takes the first free bit of the wanted parity from `from` on, around the end, and the next one for a pair.
fn take_bit(word: &AtomicU64, parity: Parity, from: u32) -> Option<u32> {
    let mut current = word.load(Ordering::Relaxed);
    loop {
        let free = match parity {
            Parity::Any => !current,
            Parity::Even => !current & EVEN_BITS,
            Parity::EvenPair => !current & (!current >> 1) & EVEN_BITS,
        };
        if free == 0 {
            return None;
        }
        let above = free & (u64::MAX << from);
        let bit = if above == 0 { free } else { above }.trailing_zeros();
        let wanted = if parity == Parity::EvenPair { 0b11 << bit } else { 1 << bit };
        match word.compare_exchange_weak(current, current | wanted, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return Some(bit),
            Err(changed) => current = changed,
        }
    }
}

/// Enough to tell a few addresses apart. Two that look alike are told apart by what the other side asked for.
fn trace_of(ip: IpAddr) -> u8 {
    let fold = |octets: &[u8]| octets.iter().fold(0, |sum: u8, octet| sum.rotate_left(3) ^ octet);
    match ip {
        IpAddr::V4(ip) => fold(&ip.octets()),
        IpAddr::V6(ip) => fold(&ip.octets()),
    }
}

fn mask(port: u16) -> u64 {
    1 << (port % 64)
}

const WORDS: usize = 65_536 / 64;
const EVEN_BITS: u64 = 0x5555_5555_5555_5555;

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(range: RangeInclusive<u16>) -> (Arc<Ports>, Random) {
        (Ports::new(&[RELAY], range), Random::new([3; 16]))
    }

    const RELAY: RelayAddress = RelayAddress {
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        external: Some(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1))),
    };

    #[test]
    fn every_port_of_the_range_is_given_once_and_again_after_release() {
        let (ports, mut random) = ports(50_000..=50_999);
        for _ in 0..2 {
            let mut held = Vec::new();
            while let Some((port, None)) = ports.take(0, Parity::Any, &mut random) {
                held.push(port);
            }
            let mut numbers: Vec<u16> = held.iter().map(RelayedPort::port).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (50_000..=50_999).collect::<Vec<u16>>());
            assert_eq!(ports.taken(), 1000);
            drop(held);
            assert_eq!(ports.taken(), 0);
        }
    }

    #[test]
    fn ports_are_spread_over_the_whole_range_from_the_first_on() {
        let (ports, mut random) = ports(49_152..=65_535);
        let held: Vec<_> = (0..1024).map_while(|_| ports.take(0, Parity::Any, &mut random)).collect();
        let mut quarters = [0; 4];
        held.iter().for_each(|(port, _)| quarters[usize::from(port.port() - 49_152) / 4096] += 1);
        assert!(quarters.iter().all(|count| (180..330).contains(count)), "{quarters:?}");
        let neighbours =
            held.windows(2).filter(|pair| pair[1].0.port().abs_diff(pair[0].0.port()) < 64).count();
        assert!(neighbours < 30, "{neighbours} of 1023 next to the one before");
    }

    #[test]
    fn the_last_port_of_all_is_given_like_any_other() {
        // Its successor was reckoned even where no pair is asked for, and overflowed.
        let (ports, mut random) = ports(65_535..=65_535);
        let (port, next) = ports.take(0, Parity::Any, &mut random).expect("a port");
        assert_eq!((port.port(), next.is_none()), (65_535, true));
        assert!(ports.take(0, Parity::EvenPair, &mut random).is_none());
    }

    #[test]
    fn even_ports_are_even_and_pairs_take_both() {
        let (ports, mut random) = ports(50_001..=50_100);
        let mut held = Vec::new();
        while let Some((port, next)) = ports.take(0, Parity::EvenPair, &mut random) {
            let next = next.expect("a pair has a second port");
            assert_eq!((port.port() % 2, next.port()), (0, port.port() + 1));
            held.push((port, next));
        }
        assert_eq!(held.len(), 49, "50002/3 to 50098/9");
        let (even, _) = ports.take(0, Parity::Even, &mut random).expect("50100 is left");
        assert_eq!(even.port(), 50_100);
    }

    #[test]
    fn only_live_ports_of_own_addresses_are_found_in_either_form() {
        let (ports, mut random) = ports(50_000..=50_999);
        let peers = PeerRules { relays: vec![RELAY], ..PeerRules::default() };
        let (port, _) = ports.take(0, Parity::Any, &mut random).expect("a port");
        let external = SocketAddr::new([203, 0, 113, 1].into(), port.port());
        assert_eq!(ports.live_relay(&peers, external), None);
        port.set_live(PeerTransport::Tcp, true);
        assert_eq!(ports.live_relay(&peers, external), None, "for TCP only");
        assert_eq!(ports.live_tcp_relay(&peers, external), Some(port.local()));
        port.set_live(PeerTransport::Udp, true);
        assert_eq!(ports.live_relay(&peers, external), Some(port.local()));
        assert_eq!(ports.live_relay(&peers, port.local()), Some(port.local()));
        assert_eq!(ports.live_relay(&peers, SocketAddr::new([198, 51, 100, 9].into(), port.port())), None);
        drop(port);
        assert_eq!(ports.live_relay(&peers, external), None);
        assert_eq!(ports.live_tcp_relay(&peers, external), None);
    }

    #[test]
    fn a_reservation_is_claimed_once_and_before_it_expires() {
        let (ports, mut random) = ports(50_000..=50_001);
        let token = [1; 8];
        let take = |random: &mut Random| ports.take(0, Parity::EvenPair, random).and_then(|pair| pair.1);
        ports.reserve(token, take(&mut random).expect("a pair"), Timestamp(100));
        assert!(take(&mut random).is_none(), "the reserved port is withheld");
        assert_eq!(ports.claim(token, Timestamp(99)).expect("reserved").port(), 50_001);
        assert!(ports.claim(token, Timestamp(99)).is_none());
        ports.reserve(token, take(&mut random).expect("free again"), Timestamp(100));
        ports.expire(token, Timestamp(99));
        assert_eq!(ports.taken(), 1);
        ports.expire(token, Timestamp(100));
        assert_eq!(ports.taken(), 0);
    }
}
