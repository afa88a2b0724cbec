//! DTLS associations do not move between processes, and their datagrams come to the sockets that did. For as long as
//! they last, the process that receives them passes them back to the one that has the keys; answers leave directly, by
//! the listeners that both have open.
//!
//! What waits to be passed on is bounded by the socket between the two; what finds no room is lost, as datagrams are.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;

use turnpike_net::Span;
use turnpike_turn::codec::{Reader, Value};
use turnpike_turn::{Client, FiveTuple, Link, Transport};

use crate::datapath::Datapath;
use crate::migration::is_listener;

/// The way to the clients whom the process before this one has kept.
#[derive(Debug)]
pub(crate) struct Predecessor {
    socket: UnixDatagram,
    /// The clients: which address of ours each sends to, and from where.
    clients: HashSet<(SocketAddr, SocketAddr)>,
    /// The numbers that its listeners have there.
    listeners: Vec<Option<usize>>,
    /// Where a message is put together.
    message: Vec<u8>,
}

/// The way by which the process after this one passes datagrams back.
#[derive(Debug)]
pub(crate) struct Successor {
    socket: UnixDatagram,
    message: Box<[u8]>,
}

impl Predecessor {
    /// `listeners` gives its number of each of this worker's listeners.
    pub(crate) fn new(
        socket: UnixDatagram,
        clients: impl IntoIterator<Item = (SocketAddr, SocketAddr)>,
        listeners: Vec<Option<usize>>,
    ) -> Self {
        Predecessor { socket, clients: clients.into_iter().collect(), listeners, message: Vec::new() }
    }

    fn has(&self, client: &Client) -> bool {
        is_listener(client.link) && self.clients.contains(&(client.tuple.server, client.tuple.client))
    }

    fn pass(&mut self, client: &Client, datagram: &[u8]) -> io::Result<()> {
        let listener = self.listeners.get(client.link.0 as usize).copied().flatten();
        let Some(listener) = listener else { return Ok(()) };
        self.message.clear();
        (listener as u64).write(&mut self.message);
        (client.tuple.server, client.tuple.client).write(&mut self.message);
        self.message.extend_from_slice(datagram);
        match self.socket.send(&self.message) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

impl Successor {
    /// Both ends of the way.
    pub(crate) fn pair() -> io::Result<(Self, UnixDatagram)> {
        let (here, there) = UnixDatagram::pair()?;
        here.set_nonblocking(true)?;
        there.set_nonblocking(true)?;
        Ok((Successor { socket: here, message: vec![0; LARGEST_MESSAGE].into() }, there))
    }

    pub(crate) fn socket(&self) -> &UnixDatagram {
        &self.socket
    }

    /// The next datagram, and who sent it.
    fn receive(&mut self) -> io::Result<Option<(Client, &[u8])>> {
        let length = self.socket.recv(&mut self.message)?;
        let mut reader = Reader::new(self.message.get(..length).unwrap_or_default());
        let Some((listener, (server, client))) = <(u64, (SocketAddr, SocketAddr))>::read(&mut reader) else {
            return Ok(None);
        };
        let tuple = FiveTuple { transport: Transport::Udp, server, client };
        Ok(Some((Client { link: Link(listener), tuple }, reader.rest())))
    }
}

impl Datapath {
    /// Passes a DTLS record on to the process that has its association. Returns whether there is such a one.
    #[cold]
    pub(crate) fn pass_to_predecessor(&mut self, carrier: &Client, span: Span) -> bool {
        let Some(predecessor) = self.predecessor.as_mut().filter(|it| it.has(carrier)) else { return false };
        if predecessor.pass(carrier, self.pool.bytes(span)).is_err() {
            // It has ended, and with it all associations: whoever comes now begins anew.
            self.predecessor = None;
            return false;
        }
        true
    }

    /// Takes in what the process after this one passes back.
    #[cold]
    pub(crate) fn receive_from_successor(&mut self) {
        let Some(mut successor) = self.successor.take() else { return };
        for _ in 0..AT_ONCE {
            self.make_room(1);
            match successor.receive() {
                Ok(Some((client, datagram))) if is_listener(client.link) => {
                    let copied = self.pool.fill_one(|buffer| {
                        let room = buffer.get_mut(..datagram.len()).ok_or(io::ErrorKind::InvalidInput)?;
                        room.copy_from_slice(datagram);
                        Ok(datagram.len())
                    });
                    if let Ok(span) = copied {
                        self.dtls_datagram(client, span);
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // It has ended: nothing more can come.
                    let _ = self.poller.remove(successor.socket());
                    return;
                }
            }
        }
        self.successor = Some(successor);
    }
}

/// Datagrams taken in one turn of the loop.
const AT_ONCE: usize = 64;
/// A datagram of any size, and who sent it.
const LARGEST_MESSAGE: usize = 1 << 17;
