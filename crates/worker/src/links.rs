//! The ways back to clients. A link names the listener a client came by, or its path through a proxy.

use std::io;
use std::net::{IpAddr, SocketAddr};

use turnpike_net::{GroPolicy, Poller, Received, SocketId, Sockets, UdpSocket};
use turnpike_turn::{Client, FiveTuple, Link, Reason, Timestamp, Transport};

use crate::proxied::{Arrival, Origin, Proxied};
use crate::proxies::ProxyRules;

use crate::migration::{Abroad, is_listener};

/// A bound listening socket, one of several that share an address.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: UdpSocket,
    /// Whether clients of plain UDP are served, or those of DTLS alone.
    pub plain: bool,
}

/// A worker's listeners.
#[derive(Debug)]
pub(crate) struct Links {
    listeners: Vec<Open>,
    proxies: ProxyRules,
    proxied: Proxied,
    /// And the connections that other workers have.
    pub(crate) abroad: Abroad,
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) socket: SocketId,
    pub(crate) gro: GroPolicy,
    pub(crate) plain: bool,
    local: SocketAddr,
}

impl Links {
    /// Takes over listeners and watches them; their tokens count down from `first_token`.
    pub(crate) fn open(
        listeners: Vec<Listener>,
        (proxies, abroad): (ProxyRules, Abroad),
        sockets: &mut Sockets,
        poller: &Poller,
        first_token: u64,
    ) -> io::Result<Self> {
        let mut links = Links { listeners: Vec::new(), proxies, proxied: Proxied::default(), abroad };
        for listener in listeners {
            links.add(listener, sockets, poller, first_token)?;
        }
        Ok(links)
    }

    /// Takes over one more listener and watches it. It has the next number whether or not that can be done.
    pub(crate) fn add(
        &mut self,
        Listener { socket, plain }: Listener,
        sockets: &mut Sockets,
        poller: &Poller,
        first_token: u64,
    ) -> io::Result<()> {
        let watched = poller.add(&socket, first_token - self.listeners.len() as u64);
        let local = socket.local_address();
        let socket = sockets.insert(socket);
        self.listeners.push(Open { socket, gro: GroPolicy::default(), plain, local });
        watched
    }

    /// Believes these proxies from here on.
    pub(crate) fn follow(&mut self, proxies: ProxyRules) {
        self.proxies = proxies;
    }

    /// Datagrams that the kernel has dropped in front of the listeners.
    pub(crate) fn dropped_by_kernel(&self, sockets: &Sockets) -> u64 {
        let open = self.listeners.iter().filter_map(|listener| sockets.get(listener.socket));
        open.map(|socket| u64::from(socket.dropped_by_kernel())).sum()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Open> {
        self.listeners.get_mut(index)
    }

    /// Whether what comes by this way is received by whoever takes these listeners over.
    pub(crate) fn go_with(&self, link: Link, taken: &dyn Fn(usize) -> bool) -> bool {
        match is_listener(link) {
            true => taken(link.0 as usize),
            false => self.proxied.way_to(link).is_some_and(|arrival| taken(arrival.listener)),
        }
    }

    /// How a proxy brings this client's datagrams, if one does.
    pub(crate) fn arrival(&self, link: Link) -> Option<Arrival> {
        self.proxied.way_to(link)
    }

    /// A client that came by a proxy to the process before this one.
    pub(crate) fn resume_proxied(
        &mut self,
        tuple: FiveTuple,
        arrival: Arrival,
        now: Timestamp,
    ) -> Option<Link> {
        self.proxied.resume(tuple, arrival, now)
    }

    /// Reads no more of the listeners that another process has taken over. They stay open: what remains here is answered
    /// by them.
    pub(crate) fn leave(&self, taken: &dyn Fn(usize) -> bool, sockets: &Sockets, poller: &Poller) {
        for (_, listener) in self.listeners.iter().enumerate().filter(|(index, _)| taken(*index)) {
            if let Some(socket) = sockets.get(listener.socket) {
                let _ = poller.remove(socket);
            }
        }
    }

    /// Who sent a datagram to a listener.
    #[inline]
    pub(crate) fn client(&self, index: usize, received: &Received) -> Option<Client> {
        let listener = self.listeners.get(index)?;
        let server = match received.local {
            Some(ip) => SocketAddr::new(ip, listener.local.port()),
            None => listener.local,
        };
        let tuple = FiveTuple { transport: Transport::Udp, server, client: received.from };
        Some(Client { link: Link(index as u64), tuple })
    }

    /// Whether what comes from there is somebody else's.
    #[inline]
    pub(crate) fn is_proxy(&self, source: IpAddr) -> bool {
        !self.proxies.from.is_empty() && self.proxies.includes(source)
    }

    /// Who sent a datagram that came by a proxy, and where it begins behind the proxy's header.
    pub(crate) fn proxied_client(
        &mut self,
        index: usize,
        received: &Received,
        bytes: &[u8],
        now: Timestamp,
        is_used: impl Fn(&FiveTuple) -> bool,
    ) -> Result<(Client, usize), Reason> {
        let arrival = Arrival { from: received.from, listener: index, local: received.local };
        match self.proxied.receive(arrival, bytes, now, is_used)? {
            Origin::Client { client, start } => Ok((client, start)),
            Origin::Proxy { start } => {
                Ok((self.client(index, received).ok_or(Reason::NoProxyHeader)?, start))
            }
        }
    }

    /// Where datagrams for a client go: to which address, from which socket, and from which address of it where it has
    /// none of its own.
    #[inline]
    pub(crate) fn route_to(&self, client: &Client) -> Option<(SocketAddr, SocketId, Option<IpAddr>)> {
        match self.way_to(client) {
            Some((socket, source)) => Some((client.tuple.client, socket, source)),
            None => self.route_by_proxy(client.link),
        }
    }

    #[cold]
    fn route_by_proxy(&self, link: Link) -> Option<(SocketAddr, SocketId, Option<IpAddr>)> {
        let Arrival { from, listener, local } = self.proxied.way_to(link)?;
        Some((from, self.listeners.get(listener)?.socket, local))
    }

    /// The socket that leads to a client, and the address to send from where the socket has none of its own.
    #[inline]
    fn way_to(&self, client: &Client) -> Option<(SocketId, Option<IpAddr>)> {
        let listener = self.listeners.get(client.link.0 as usize)?;
        let source = listener.local.ip().is_unspecified().then_some(client.tuple.server.ip());
        Some((listener.socket, source))
    }
}
