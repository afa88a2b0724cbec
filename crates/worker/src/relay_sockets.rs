//! How a relayed transport address is realised: a UDP socket of its own, which reserves the port, is watched under
//! the relay's name, and keeps the kernel's routing, firewall and fragmentation.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use turnpike_net::{GroPolicy, Poller, SocketId, Sockets, UdpOptions, UdpSocket};
use turnpike_turn::{RelayError, RelayId, Reserve};

/// A worker's relay sockets, by the slot of their relay's name.
#[derive(Debug)]
pub(crate) struct RelaySockets {
    open: Vec<Option<RelaySocket>>,
    options: UdpOptions,
    held: HeldPorts,
}

#[derive(Debug)]
pub(crate) struct RelaySocket {
    pub(crate) socket: SocketId,
    pub(crate) gro: GroPolicy,
    generation: u32,
}

/// The sockets of reserved ports by token, for all workers: a client may come back by any of them. Looked at only by
/// an Allocate that reserves or claims. There are never more than there are ports.
#[derive(Clone, Debug, Default)]
pub struct HeldPorts {
    sockets: Arc<Mutex<HashMap<[u8; 8], UdpSocket>>>,
}

impl HeldPorts {
    fn sockets(&self) -> MutexGuard<'_, HashMap<[u8; 8], UdpSocket>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RelaySockets {
    pub(crate) fn new(options: UdpOptions, held: HeldPorts) -> Self {
        RelaySockets { open: Vec::new(), options, held }
    }

    /// Opens and watches the socket of a relayed address, and holds that of the next port if it is to be reserved.
    pub(crate) fn open(
        &mut self,
        relay: RelayId,
        address: SocketAddr,
        reserve: Reserve,
        sockets: &mut Sockets,
        poller: &Poller,
    ) -> Result<(), RelayError> {
        let claimed = match reserve {
            Reserve::Held { token } => self.held.sockets().remove(&token),
            _ => None,
        };
        let socket = claimed.map_or_else(|| self.bind(address), Ok)?;
        let next = match reserve {
            Reserve::Next { token, address } => Some((token, self.bind(address)?)),
            _ => None,
        };
        poller.add(&socket, relay.to_bits()).map_err(|_| RelayError::Other)?;
        if let Some((token, socket)) = next {
            self.held.sockets().insert(token, socket);
        }
        let slot = relay.slot as usize;
        if self.open.len() <= slot {
            self.open.resize_with(slot + 1, || None);
        }
        let socket = sockets.insert(socket);
        self.open[slot] =
            Some(RelaySocket { socket, gro: GroPolicy::default(), generation: relay.generation });
        Ok(())
    }

    fn bind(&self, address: SocketAddr) -> Result<UdpSocket, RelayError> {
        UdpSocket::bind(address, &self.options).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => RelayError::AddressInUse,
            _ => RelayError::Other,
        })
    }

    /// Closes the socket of a reserved port that nobody has claimed in time.
    pub(crate) fn drop_held(&self, token: [u8; 8]) {
        self.held.sockets().remove(&token);
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
