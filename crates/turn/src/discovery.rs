//! NAT behaviour discovery (RFC 5780 §6): the addresses and ports a Binding request can be answered from.

use core::net::{IpAddr, SocketAddr};

use crate::config::Config;
use crate::tuple::{Client, FiveTuple, Link, Transport};

/// Two addresses of one family with the same two ports on each: a request to any of the four can be answered from any
/// of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternates {
    /// The two addresses.
    pub addresses: [AlternateAddress; 2],
    /// The two ports.
    pub ports: [u16; 2],
    /// Whether UDP is served at all four. If not, `links` are none, and a datagram there is nobody's of these.
    pub datagrams: bool,
    /// Whether TCP, TLS and DTLS are served at all four too. If not, nobody who comes by them is told of the others.
    pub connections: bool,
}

/// One of two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlternateAddress {
    /// As the listeners are bound.
    pub bound: IpAddr,
    /// As clients are told: what a one-to-one NAT in front of the server makes of it.
    pub told: IpAddr,
    /// The ways out by its UDP listeners, in the order of the ports. All workers name them alike.
    pub links: [Link; 2],
}

/// One of the four transport addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Corner<'c> {
    alternates: &'c Alternates,
    address: usize,
    port: usize,
}

impl Config {
    /// Where a client came in, if discovery is offered there.
    pub(crate) fn corner(&self, tuple: &FiveTuple) -> Option<Corner<'_>> {
        self.alternates.iter().find_map(|alternates| {
            let served = match tuple.transport {
                Transport::Udp => alternates.datagrams,
                _ => alternates.connections,
            };
            let address = alternates.addresses.iter().position(|it| it.bound == tuple.server.ip())?;
            let port = alternates.ports.iter().position(|port| *port == tuple.server.port())?;
            served.then_some(Corner { alternates, address, port })
        })
    }

    /// Whether a request may ask for another source, another port of its own, or padding. Only datagrams can have
    /// these, and of DTLS another listener knows nothing.
    pub(crate) fn discovers(&self, tuple: &FiveTuple) -> bool {
        tuple.transport == Transport::Udp && self.corner(tuple).is_some()
    }
}

impl Corner<'_> {
    /// The one with the other address, the other port, or both (RFC 5780 §6.1, table 1).
    pub(crate) fn changed(self, ip: bool, port: bool) -> Self {
        Corner { address: self.address ^ usize::from(ip), port: self.port ^ usize::from(port), ..self }
    }

    /// As clients know it.
    pub(crate) fn told(self) -> SocketAddr {
        SocketAddr::new(self.address().told, self.alternates.ports[self.port])
    }

    /// The way from here to a client's address.
    pub(crate) fn way_to(self, client: SocketAddr) -> Client {
        let AlternateAddress { bound, links, .. } = self.address();
        let server = SocketAddr::new(bound, self.alternates.ports[self.port]);
        Client { link: links[self.port], tuple: FiveTuple { transport: Transport::Udp, server, client } }
    }

    fn address(self) -> AlternateAddress {
        self.alternates.addresses[self.address]
    }
}
