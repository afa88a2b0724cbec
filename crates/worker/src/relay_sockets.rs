//! How a relayed transport address is realised: a UDP socket of its own, which reserves the port, is watched under
//! the relay's name, and keeps the kernel's routing, firewall and fragmentation.

use std::io;
use std::net::SocketAddr;

use turnpike_net::{GroPolicy, Poller, SocketId, Sockets, UdpOptions, UdpSocket};
use turnpike_turn::{RelayError, RelayId};

/// A worker's relay sockets, by the slot of their relay's name.
#[derive(Debug)]
pub(crate) struct RelaySockets {
    open: Vec<Option<RelaySocket>>,
    options: UdpOptions,
}

#[derive(Debug)]
pub(crate) struct RelaySocket {
    pub(crate) socket: SocketId,
    pub(crate) gro: GroPolicy,
    generation: u32,
}

impl RelaySockets {
    pub(crate) fn new(options: UdpOptions) -> Self {
        RelaySockets { open: Vec::new(), options }
    }

    /// Opens and watches the socket of a relayed address.
    pub(crate) fn open(
        &mut self,
        relay: RelayId,
        address: SocketAddr,
        sockets: &mut Sockets,
        poller: &Poller,
    ) -> Result<(), RelayError> {
        let socket = UdpSocket::bind(address, &self.options).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => RelayError::AddressInUse,
            _ => RelayError::Other,
        })?;
        poller.add(&socket, relay.to_bits()).map_err(|_| RelayError::Other)?;
        let slot = relay.slot as usize;
        if self.open.len() <= slot {
            self.open.resize_with(slot + 1, || None);
        }
        let socket = sockets.insert(socket);
        self.open[slot] =
            Some(RelaySocket { socket, gro: GroPolicy::default(), generation: relay.generation });
        Ok(())
    }

    /// Closes the socket of a relayed address.
    pub(crate) fn close(&mut self, relay: RelayId, sockets: &mut Sockets) {
        if self.get_mut(relay).is_some()
            && let Some(closed) = self.open[relay.slot as usize].take()
        {
            sockets.remove(closed.socket);
        }
    }

    /// The socket of a relayed address, unless the name is stale.
    #[inline]
    pub(crate) fn get_mut(&mut self, relay: RelayId) -> Option<&mut RelaySocket> {
        let relay_socket = self.open.get_mut(relay.slot as usize)?.as_mut()?;
        (relay_socket.generation == relay.generation).then_some(relay_socket)
    }

    #[inline]
    pub(crate) fn socket(&self, relay: RelayId) -> Option<SocketId> {
        let relay_socket = self.open.get(relay.slot as usize)?.as_ref()?;
        (relay_socket.generation == relay.generation).then_some(relay_socket.socket)
    }
}
