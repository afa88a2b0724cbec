//! Open sockets by name. A name goes stale with its socket, so that a queued datagram never leaves through a
//! descriptor that has come to mean something else.

use crate::udp::UdpSocket;

/// Names an open socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    slot: u32,
    generation: u32,
}

impl SocketId {
    pub(crate) fn slot(self) -> usize {
        self.slot as usize
    }
}

/// A table of open sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    slots: Vec<(u32, Option<UdpSocket>)>,
    free: Vec<u32>,
}

impl Sockets {
    /// Puts in a socket.
    pub fn insert(&mut self, socket: UdpSocket) -> SocketId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(socket);
        SocketId { slot, generation: *generation }
    }

    /// The socket, unless it has been taken out.
    #[inline]
    pub fn get(&self, id: SocketId) -> Option<&UdpSocket> {
        let (generation, socket) = self.slots.get(id.slot as usize)?;
        socket.as_ref().filter(|_| *generation == id.generation)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out a socket; dropping it closes it. Its name means nothing from here on.
    pub fn remove(&mut self, id: SocketId) -> Option<UdpSocket> {
        self.get(id)?;
        let (generation, place) = &mut self.slots[id.slot as usize];
        *generation = generation.wrapping_add(1);
        self.free.push(id.slot);
        place.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::UdpOptions;

    #[test]
    fn a_name_goes_stale_with_its_socket_and_not_with_another() {
        let open = || UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        let mut sockets = Sockets::default();
        let (first, other) = (sockets.insert(open()), sockets.insert(open()));
        assert!(sockets.remove(first).is_some());
        let second = sockets.insert(open());
        assert_eq!(first.slot(), second.slot());
        assert!(sockets.get(first).is_none() && sockets.remove(first).is_none());
        assert!(sockets.get(second).is_some() && sockets.get(other).is_some());
        assert_eq!(sockets.len(), 2);
    }
}
