//! ALTERNATE-SERVER (RFC 8489 §10): the servers that clients are sent to instead of being given an allocation.
//!
//! Invariants: nobody is sent to where he asked, nor to the other address family. Whoever signed his request gets a
//! signed answer, and none if he signed it wrongly. Whoever did not is told without a signature, as coturn does it and
//! within his source's budget: Chromium goes to the other server with the nonce it has, and takes the 438 it gets for
//! it as the end; it must be sent there before it has one. No state is made for either.

use core::net::SocketAddr;

use turnpike_wire::attributes::{AlternateDomain, AlternateServer as AlternateServerAttribute};
use turnpike_wire::{Integrity, MessageWriter, Method};

use crate::requests::Request;
use crate::server::Server;
use crate::tuple::{FiveTuple, Transport};

/// Which servers the clients of each transport are sent to. Those that no list is for are served here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlternateServers {
    /// For UDP and DTLS.
    pub udp: Vec<AlternateServer>,
    /// For TCP.
    pub tcp: Vec<AlternateServer>,
    /// For UDP and DTLS: listeners of this very server. Whoever comes to one of these is served.
    pub own: Vec<OwnListener>,
    /// For TLS and DTLS.
    pub tls: Vec<AlternateServer>,
    /// For everybody.
    pub any: Vec<AlternateServer>,
}

/// A server to send clients to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlternateServer {
    /// Where it is.
    pub address: SocketAddr,
    /// The name its certificate is for, where one is known.
    pub domain: Option<Box<str>>,
}

/// A listener of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnListener {
    /// As it is bound.
    pub bound: SocketAddr,
    /// As clients are told.
    pub told: AlternateServer,
}

/// Whose turn it is in each list, apart for the two address families: clients of one do not skip those of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns([[usize; 2]; LISTS]);

impl Turns {
    /// Each worker has turns of its own, so they begin at different places.
    pub(crate) fn new(worker: u16) -> Self {
        Turns([[usize::from(worker); 2]; LISTS])
    }
}

impl AlternateServers {
    /// Whether a client on this 5-tuple is sent elsewhere.
    pub(crate) fn are_for(&self, tuple: &FiveTuple) -> bool {
        self.fitting(tuple).next().is_some()
    }

    /// The next one for a client on this 5-tuple.
    fn next(&self, tuple: &FiveTuple, turns: &mut Turns) -> Option<&AlternateServer> {
        let list = self.fitting(tuple).next()?.0;
        let fitting = || self.fitting(tuple).filter(|(number, _)| *number == list);
        let turn = &mut turns.0[list][usize::from(tuple.server.is_ipv4())];
        let place = turn.checked_rem(fitting().count())?;
        *turn = turn.wrapping_add(1);
        fitting().nth(place).map(|(_, server)| server)
    }

    /// Those a client may be sent to, each with the number of its list: the list to use comes first, in coturn's order.
    fn fitting(&self, tuple: &FiveTuple) -> impl Iterator<Item = (usize, &AlternateServer)> {
        let here = tuple.server;
        let datagrams = matches!(tuple.transport, Transport::Udp | Transport::Dtls);
        let secure = matches!(tuple.transport, Transport::Tls | Transport::Dtls);
        let arrived = datagrams && self.own.iter().any(|own| own.bound == here);
        let lists = [
            (0, datagrams, Listed::Others(&self.udp)),
            (1, tuple.transport == Transport::Tcp, Listed::Others(&self.tcp)),
            (2, datagrams && !arrived, Listed::Own(&self.own)),
            (3, secure && !arrived, Listed::Others(&self.tls)),
            (4, !arrived, Listed::Others(&self.any)),
        ];
        let applying = lists.into_iter().filter(|(_, applies, _)| *applies);
        let servers = applying.flat_map(|(number, _, list)| list.servers().map(move |it| (number, it)));
        // RFC 8489 §10: of the family of the request. And nobody is to go round in a circle.
        servers
            .filter(move |(_, server)| server.address.is_ipv4() == here.is_ipv4() && server.address != here)
    }
}

impl Server {
    /// Whether a request is answered with another server before anything is asked of its sender.
    pub(crate) fn is_sent_elsewhere(&self, request: &Request<'_>) -> bool {
        let Request { client, message, .. } = request;
        message.method() == Method::ALLOCATE
            && message.integrity() == Integrity::None
            && !self.is_allocated(&client.tuple)
            && self.config.alternate_servers.are_for(&client.tuple)
    }

    /// The next server for the client on this 5-tuple.
    pub(crate) fn next_alternate(&mut self, tuple: &FiveTuple) -> Option<AlternateServer> {
        let Server { config, alternate_turns, .. } = self;
        let next = config.alternate_servers.next(tuple, alternate_turns)?.clone();
        // RFC 8489 §14.16: the name is for comparing certificates, so without one to show it has no use.
        let secure = matches!(tuple.transport, Transport::Tls | Transport::Dtls);
        Some(AlternateServer { domain: next.domain.filter(|_| secure), ..next })
    }
}

/// One of the lists.
#[derive(Clone, Copy)]
enum Listed<'l> {
    Others(&'l [AlternateServer]),
    Own(&'l [OwnListener]),
}

impl<'l> Listed<'l> {
    fn servers(self) -> impl Iterator<Item = &'l AlternateServer> {
        let (others, own): (&[AlternateServer], &[OwnListener]) = match self {
            Listed::Others(servers) => (servers, &[]),
            Listed::Own(own) => (&[], own),
        };
        others.iter().chain(own.iter().map(|own| &own.told))
    }
}

impl AlternateServer {
    pub(crate) fn write(&self, writer: &mut MessageWriter<'_>) {
        let domain = self.domain.as_deref().map(|name| AlternateDomain(name.as_bytes()));
        writer.add(&AlternateServerAttribute(self.address)).add_some(domain.as_ref());
    }
}

const LISTS: usize = 5;
