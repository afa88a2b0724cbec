//! The ways back to clients. A link names the listener a client came by.

use std::io;
use std::net::{IpAddr, SocketAddr};

use turnpike_net::{GroPolicy, Poller, Received, SocketId, Sockets, UdpSocket};
use turnpike_turn::{Client, FiveTuple, Link, Transport};

use crate::migration::Abroad;

/// A bound listening socket, one of several that share an address.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: UdpSocket,
}

/// A worker's listeners.
#[derive(Debug)]
pub(crate) struct Links {
    listeners: Vec<Open>,
    /// And the connections that other workers have.
    pub(crate) abroad: Abroad,
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) socket: SocketId,
    pub(crate) gro: GroPolicy,
    local: SocketAddr,
}

impl Links {
    /// Takes over listeners and watches them; their tokens count down from `first_token`.
    pub(crate) fn open(
        listeners: Vec<Listener>,
        sockets: &mut Sockets,
        poller: &Poller,
        first_token: u64,
        abroad: Abroad,
    ) -> io::Result<Self> {
        let mut links = Links { listeners: Vec::new(), abroad };
        for (index, Listener { socket }) in listeners.into_iter().enumerate() {
            poller.add(&socket, first_token - index as u64)?;
            let local = socket.local_address();
            let socket = sockets.insert(socket);
            links.listeners.push(Open { socket, gro: GroPolicy::default(), local });
        }
        Ok(links)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Open> {
        self.listeners.get_mut(index)
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

    /// The socket that leads to a client, and the address to send from where the socket has none of its own.
    #[inline]
    pub(crate) fn way_to(&self, client: &Client) -> Option<(SocketId, Option<IpAddr>)> {
        let listener = self.listeners.get(client.link.0 as usize)?;
        let source = listener.local.ip().is_unspecified().then_some(client.tuple.server.ip());
        Some((listener.socket, source))
    }
}
