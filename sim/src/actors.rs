//! Who lives in the world besides the servers.

mod attacker;
mod chaotic;
mod honest;
mod peers;
mod relaying;

pub(crate) use attacker::Attacker;
pub(crate) use chaotic::Chaotic;
pub(crate) use honest::Honest;
pub(crate) use peers::{Peers, public, public_six};
pub(crate) use relaying::Relaying;

use std::net::{IpAddr, SocketAddr};

use turnpike_wire::attributes::ErrorCode;
use turnpike_wire::{AttributeType, Class, Message};

use crate::network::Datagram;
use crate::random::Random;
use crate::settings::ip;
use crate::world::LISTENERS;

/// Somebody who sends and receives datagrams.
pub(crate) trait Actor {
    /// Does something; returns after how many nanoseconds to be woken again.
    fn wake(&mut self, surroundings: &mut Surroundings<'_>) -> u64;
    /// Gets a datagram, if it is for this actor.
    fn receive(&mut self, surroundings: &mut Surroundings<'_>, datagram: &Datagram) -> bool;
}

/// What an actor sees and may use.
#[derive(Debug)]
pub(crate) struct Surroundings<'w> {
    /// Nanoseconds since the beginning.
    pub(crate) now: u64,
    /// Seconds since 1970.
    pub(crate) unix: u64,
    /// How much time passes, in nanoseconds, between what one actor does.
    pub(crate) pace: u64,
    /// Randomness.
    pub(crate) random: &'w mut Random,
    /// What is known to everybody.
    pub(crate) rumours: &'w mut Rumours,
    /// What is sent.
    pub(crate) outbox: Vec<Datagram>,
    /// Contradictions an actor has noticed.
    pub(crate) complaints: Vec<String>,
}

impl Surroundings<'_> {
    /// Sends a datagram.
    pub(crate) fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.outbox.push(Datagram { from, to, bytes });
    }

    /// Nanoseconds until one does something again.
    pub(crate) fn pause(&mut self) -> u64 {
        match self.random.below(100) {
            0..=59 => self.random.below(self.pace / 10 + 1),
            60..=94 => self.random.below(2 * self.pace + 1),
            _ => self.random.below(30 * self.pace + 1),
        }
    }
}

/// What is known to everybody: attackers listen in on all lines.
#[derive(Debug, Default)]
pub(crate) struct Rumours {
    /// Tokens of reserved ports.
    pub(crate) tokens: Vec<[u8; 8]>,
    /// Mobility tickets that were given out.
    pub(crate) tickets: Vec<Vec<u8>>,
    /// Nonces that were given out.
    pub(crate) nonces: Vec<Vec<u8>>,
    /// Relayed transport addresses that are or were open.
    pub(crate) relayed: Vec<SocketAddr>,
    /// Names of connections with peers.
    pub(crate) connections: Vec<u32>,
    /// What clients have sent.
    pub(crate) overheard: Vec<Datagram>,
    /// Client addresses whose challenge budgets are their own.
    pub(crate) sources: Vec<IpAddr>,
}

impl Rumours {
    /// Keeps what a client sent.
    pub(crate) fn overhear(&mut self, datagram: &Datagram) {
        let ticket = Message::parse(&datagram.bytes).ok().and_then(|message| message.value(TICKET));
        if let Some(ticket) = ticket.filter(|ticket| !ticket.is_empty()) {
            keep(&mut self.tickets, ticket.to_vec(), 16);
        }
        keep(&mut self.overheard, datagram.clone(), 64);
    }
}

/// Puts `item` at the end of a list of at most `most`.
pub(crate) fn keep<T>(items: &mut Vec<T>, item: T, most: usize) {
    if items.len() >= most {
        items.remove(0);
    }
    items.push(item);
}

/// The error of a response, if it is one.
pub(crate) fn error_of(bytes: &[u8]) -> Option<u16> {
    let message = Message::parse(bytes).ok().filter(|message| message.class() == Class::Error)?;
    let error: ErrorCode<'_> = message.get().ok()??;
    Some(error.number.number())
}

/// An address and a listener of its family.
pub(crate) fn endpoints(random: &mut Random, rumours: &Rumours) -> (SocketAddr, SocketAddr) {
    let address = *random.pick(&rumours.sources);
    let port = random.between(40_000, 40_015) as u16;
    let listener = match (address.is_ipv4(), random.chance(700)) {
        (true, true) => LISTENERS[0],
        (true, false) => LISTENERS[1],
        (false, _) => LISTENERS[2],
    };
    (SocketAddr::new(address, port), SocketAddr::new(ip(listener), 3478))
}

/// A peer somebody asks for: mostly a public one.
pub(crate) fn some_peer(random: &mut Random, rumours: &Rumours) -> SocketAddr {
    match random.below(100) {
        0..=64 => *random.pick(&peers::public()),
        65..=74 => *random.pick(&peers::public_six()),
        75..=89 => random.pick_some(&rumours.relayed).copied().unwrap_or(peers::public()[0]),
        _ => SocketAddr::new(ip(random.pick::<&str>(&ODD_PEERS)), *random.pick(&[80, 3478, 49_160])),
    }
}

const TICKET: AttributeType = AttributeType::MOBILITY_TICKET;
/// Client addresses.
pub(crate) const SOURCES: [&str; 12] = [
    "33.0.0.1",
    "33.0.0.2",
    "33.0.0.3",
    "33.0.0.4",
    "33.0.0.5",
    "33.0.0.6",
    "33.0.0.7",
    "33.0.0.8",
    "2600:2:0:1::1",
    "2600:2:0:2::1",
    "2600:2:0:3::1",
    "2600:2:0:4::1",
];

/// Peers that most servers refuse, and other forms of addresses that they do not.
const ODD_PEERS: [&str; 34] = [
    "10.1.2.3",
    "127.0.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "100.64.0.1",
    "192.168.1.1",
    "172.16.0.9",
    "10.0.0.5",
    "203.0.113.20",
    "198.51.100.9",
    "203.0.113.77",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
    "2600:9::5",
    "2600:9::9",
    "::ffff:127.0.0.1",
    "::ffff:44.1.0.1",
    "::44.1.0.1",
    "::ffff:10.0.0.5",
    "64:ff9b::7f00:1",
    "64:ff9b::2c01:1",
    "64:ff9b::cb00:7114",
    "64:ff9b::c633:6409",
    "2002:7f00:1::1",
    "2002:2c01:1::1",
    "2002:cb00:7114::1",
    "2001:0:1::d3fe:fffe",
    "2600:7::5efe:a01:203",
];
