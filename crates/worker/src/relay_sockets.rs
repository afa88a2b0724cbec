//! How a relayed transport address is realised: a UDP socket of its own, which reserves the port, is watched under
//! the relay's name, and keeps the kernel's routing, firewall and fragmentation.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use turnpike_net::{GroPolicy, Poller, SocketId, Sockets, UdpOptions, UdpSocket};
use turnpike_turn::{RelayError, RelayId, Reserve};

/// A worker's relay sockets, by the slot of their relay's name.
#[derive(Debug)]
pub(crate) struct RelaySockets {
    open: Vec<Option<RelaySocket>>,
    options: UdpOptions,
    held: HeldPorts,
    /// The ports that sessions share, by the number of their relay address; they stay open.
    shared: Vec<Option<SharedSocket>>,
}

#[derive(Debug)]
pub(crate) struct RelaySocket {
    pub(crate) socket: SocketId,
    pub(crate) gro: GroPolicy,
    generation: u32,
    /// The socket is not its own.
    shared: bool,
}

/// The socket of a port that sessions share.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    pub(crate) socket: SocketId,
    pub(crate) gro: GroPolicy,
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
        // A worker takes the errors out as they come.
        RelaySockets { open: Vec::new(), options, held, shared: Vec::new() }
    }

    /// Whether sockets that are opened from here on hear of ICMP errors.
    pub(crate) fn set_receive_errors(&mut self, receive: bool) {
        self.options.receive_errors = receive;
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
        if let Reserve::Shared { relay_address } = reserve {
            let socket = self.open_shared(relay_address, address, sockets, poller)?;
            self.note(relay, (socket, GroPolicy::default()), true);
            return Ok(());
        }
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
        self.note(relay, (sockets.insert(socket), GroPolicy::default()), false);
        Ok(())
    }

    /// Takes over and watches the socket that a relayed address had in another process.
    pub(crate) fn resume(
        &mut self,
        relay: RelayId,
        descriptor: OwnedFd,
        sockets: &mut Sockets,
        poller: &Poller,
    ) -> io::Result<()> {
        let socket = UdpSocket::adopt(descriptor, &self.options)?;
        poller.add(&socket, relay.to_bits())?;
        self.note(relay, (sockets.insert(socket), GroPolicy::default()), false);
        Ok(())
    }

    /// Likewise that of a reserved port.
    pub(crate) fn resume_held(&self, token: [u8; 8], descriptor: OwnedFd) -> io::Result<()> {
        let socket = UdpSocket::adopt(descriptor, &self.options)?;
        self.held.sockets().insert(token, socket);
        Ok(())
    }

    /// The sockets of reserved ports, by token.
    pub(crate) fn held(&self) -> MutexGuard<'_, HashMap<[u8; 8], UdpSocket>> {
        self.held.sockets()
    }

    /// Takes in a socket that is open.
    pub(crate) fn adopt(&mut self, relay: RelayId, socket: SocketId, gro: GroPolicy) {
        self.note(relay, (socket, gro), false);
    }

    fn note(&mut self, relay: RelayId, (socket, gro): (SocketId, GroPolicy), shared: bool) {
        let slot = relay.slot as usize;
        if self.open.len() <= slot {
            self.open.resize_with(slot + 1, || None);
        }
        self.open[slot] = Some(RelaySocket { socket, gro, generation: relay.generation, shared });
    }

    /// Takes a relayed address out to be opened elsewhere.
    pub(crate) fn release(&mut self, relay: RelayId) -> Option<(SocketId, GroPolicy)> {
        self.get_mut(relay)?;
        let released = self.open[relay.slot as usize].take()?;
        Some((released.socket, released.gro))
    }

    /// The socket of a port that sessions share: opened for the first of them.
    fn open_shared(
        &mut self,
        relay_address: u16,
        address: SocketAddr,
        sockets: &mut Sockets,
        poller: &Poller,
    ) -> Result<SocketId, RelayError> {
        let index = usize::from(relay_address);
        if let Some(shared) = self.shared(relay_address) {
            return Ok(shared.socket);
        }
        // Another port would do no better: each worker has one.
        let socket = self.bind(address).map_err(|_| RelayError::Other)?;
        poller.add(&socket, shared_token(relay_address)).map_err(|_| RelayError::Other)?;
        if self.shared.len() <= index {
            self.shared.resize_with(index + 1, || None);
        }
        let socket = sockets.insert(socket);
        self.shared[index] = Some(SharedSocket { socket, gro: GroPolicy::default() });
        Ok(socket)
    }

    /// The socket of the port that sessions share on this relay address.
    pub(crate) fn shared(&mut self, relay_address: u16) -> Option<&mut SharedSocket> {
        self.shared.get_mut(usize::from(relay_address))?.as_mut()
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

    /// Takes a relayed address out. Its socket, unless others share it, is the caller's to remove once what it still has to send is sent; by then
    /// the slot may be another's.
    pub(crate) fn take(&mut self, relay: RelayId) -> Option<SocketId> {
        self.get_mut(relay)?;
        let RelaySocket { socket, shared, .. } = self.open[relay.slot as usize].take()?;
        (!shared).then_some(socket)
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

/// The name under which the poller knows the port that sessions share on a relay address. No relay's name is among
/// these: generations do not count that far.
pub(crate) fn shared_token(relay_address: u16) -> u64 {
    FIRST_SHARED - u64::from(relay_address)
}

/// The number of the relay address, if it is such a name.
pub(crate) fn shared_address(token: u64) -> Option<u16> {
    FIRST_SHARED.checked_sub(token).and_then(|number| u16::try_from(number).ok())
}

/// Far from the names that the loop has for others.
const FIRST_SHARED: u64 = u64::MAX - (1 << 24);

#[cfg(test)]
mod tests {
    use super::*;

    /// Binds what a test wants to be free or taken.
    fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind(address, &UdpOptions::default())
    }

    /// A free address whose next port is free as well.
    fn free_pair() -> (SocketAddr, SocketAddr) {
        let pairs = (0..100).filter_map(|_| {
            let first = bind("127.0.0.1:0".parse().unwrap()).ok()?;
            let address = first.local_address();
            let next = SocketAddr::new(address.ip(), address.port().checked_add(1)?);
            bind(next).ok().map(|_| (address, next))
        });
        pairs.into_iter().next().expect("some pair of ports is free")
    }

    fn relay(slot: u32) -> RelayId {
        RelayId { slot, generation: 0 }
    }

    struct Worker {
        relays: RelaySockets,
        sockets: Sockets,
        poller: Poller,
    }

    impl Worker {
        fn new(held: &HeldPorts) -> Self {
            let relays = RelaySockets::new(UdpOptions::default(), held.clone());
            Worker { relays, sockets: Sockets::default(), poller: Poller::new().unwrap() }
        }

        fn open(&mut self, slot: u32, address: SocketAddr, reserve: Reserve) -> Result<(), RelayError> {
            let Worker { relays, sockets, poller } = self;
            relays.open(relay(slot), address, reserve, sockets, poller)
        }
    }

    #[test]
    fn a_reserved_port_is_nobody_elses_until_it_is_claimed_on_any_worker() {
        let held = HeldPorts::default();
        let (mut one, mut other) = (Worker::new(&held), Worker::new(&held));
        let (address, next) = free_pair();
        let token = [7; 8];
        assert_eq!(one.open(0, address, Reserve::Next { token, address: next }), Ok(()));
        assert_eq!(bind(next).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(other.open(0, next, Reserve::Held { token }), Ok(()));
        one.relays.drop_held(token);
        assert_eq!(bind(next).unwrap_err().kind(), io::ErrorKind::AddrInUse, "it is the claimer's now");
        let closed = other.relays.take(relay(0)).expect("it is open");
        other.sockets.remove(closed);
        assert!(bind(next).is_ok());
    }

    #[test]
    fn a_reserved_port_that_nobody_claims_is_closed() {
        let mut worker = Worker::new(&HeldPorts::default());
        let (address, next) = free_pair();
        assert_eq!(worker.open(0, address, Reserve::Next { token: [1; 8], address: next }), Ok(()));
        worker.relays.drop_held([1; 8]);
        assert!(bind(next).is_ok());
    }

    #[test]
    fn of_a_pair_both_ports_are_bound_or_neither() {
        let mut worker = Worker::new(&HeldPorts::default());
        let (address, next) = free_pair();
        let _taken = bind(next).unwrap();
        let reserve = Reserve::Next { token: [1; 8], address: next };
        assert_eq!(worker.open(0, address, reserve), Err(RelayError::AddressInUse));
        assert!(bind(address).is_ok());
    }

    #[test]
    fn a_slot_that_is_used_again_at_once_does_not_keep_its_old_socket_open() {
        let mut worker = Worker::new(&HeldPorts::default());
        let (first, second) = free_pair();
        assert_eq!(worker.open(0, first, Reserve::No), Ok(()));
        let closed = worker.relays.take(relay(0)).expect("it is open");
        let again = RelayId { slot: 0, generation: 1 };
        let Worker { relays, sockets, poller } = &mut worker;
        assert_eq!(relays.open(again, second, Reserve::No, sockets, poller), Ok(()));
        sockets.remove(closed);
        assert!(bind(first).is_ok(), "the old one is closed");
        assert!(bind(second).is_err() && worker.relays.socket(again).is_some(), "the new one is not");
    }
}
