//! A client that waits for its answers, over UDP or TCP.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnpike_client::{
    AllocateOptions, BindingOptions, Client, ClientConfig, Credentials, Event, FrameBuffer, RequestError,
    RequestId, Retransmission, Transport,
};
use turnpike_wire::Family;

use super::Trouble;

/// How it comes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Datagrams,
    Stream,
}

pub(super) struct Caller {
    socket: Socket,
    client: Client,
    started: Instant,
    deadline: Instant,
    input: Box<[u8]>,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream, FrameBuffer),
}

impl Caller {
    pub(super) fn connect(
        server: SocketAddr,
        wire: Wire,
        (username, password): (String, String),
        deadline: Instant,
    ) -> Result<Self, Trouble> {
        let (socket, transport) = match wire {
            Wire::Datagrams => {
                // The system chooses an address of this host; from another one nobody would believe the credential.
                let socket = UdpSocket::bind((unspecified(server), 0)).map_err(Trouble::Socket)?;
                socket.connect(server).map_err(Trouble::Socket)?;
                (Socket::Udp(socket), Transport::Datagram)
            }
            Wire::Stream => {
                let stream = TcpStream::connect_timeout(&server, CONNECTING).map_err(Trouble::Socket)?;
                (Socket::Tcp(stream, FrameBuffer::new()), Transport::Stream)
            }
        };
        let config = ClientConfig {
            transport,
            credentials: Some(Credentials { username, password }),
            retransmission: Retransmission { initial_timeout: FIRST_WAIT, ..Retransmission::default() },
            keep_alive: false,
            // A hash of a name that no list holds would mean nothing to the server.
            password_algorithms: false,
            accept_unprotected_errors: true,
            ..ClientConfig::default()
        };
        let seed = crate::randomness::random().map_err(Trouble::Socket)?;
        Ok(Caller {
            socket,
            client: Client::new(Arc::new(config), seed),
            started: Instant::now(),
            deadline,
            input: vec![0; LARGEST].into(),
        })
    }

    pub(super) fn bind(&mut self) -> Result<(), Trouble> {
        self.ask(|client, now| client.binding(now, BindingOptions::default())).map(|_| ())
    }

    /// The relayed address.
    pub(super) fn allocate(&mut self, ipv6: bool) -> Result<SocketAddr, Trouble> {
        let family = ipv6.then_some(Family::Ipv6);
        let options = AllocateOptions { family, ..AllocateOptions::default() };
        match self.ask(|client, now| client.allocate(now, options))? {
            Event::Allocated(allocated) => Ok(allocated.relayed),
            _ => Err(Trouble::Nothing),
        }
    }

    pub(super) fn permit(&mut self, peer: IpAddr) -> Result<(), Trouble> {
        self.ask(|client, now| client.create_permission(now, &[peer])).map(|_| ())
    }

    pub(super) fn delete(&mut self) -> Result<(), Trouble> {
        self.ask(Client::delete).map(|_| ())
    }

    pub(super) fn send(&mut self, peer: SocketAddr, data: &[u8]) -> Result<(), Trouble> {
        let mut output = [0; 256];
        let length =
            self.client.write_send_indication(peer, data, &mut output).map_err(|_| Trouble::Nothing)?;
        self.socket.send(&output[..length]).map_err(Trouble::Socket)
    }

    /// Whether this data comes from this peer in time.
    pub(super) fn receive(
        &mut self,
        wanted: SocketAddr,
        data: &[u8],
        patience: Duration,
    ) -> Result<bool, Trouble> {
        let deadline = self.deadline.min(Instant::now() + patience);
        while let Some(event) = self.next_event(deadline)? {
            if let Event::Data { peer, span, .. } = event
                && peer == wanted
                && self.input[span] == *data
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ask(
        &mut self,
        start: impl FnOnce(&mut Client, Duration) -> Result<RequestId, RequestError>,
    ) -> Result<Event, Trouble> {
        start(&mut self.client, self.started.elapsed()).map_err(|_| Trouble::Nothing)?;
        while let Some(event) = self.next_event(self.deadline)? {
            match event {
                Event::Failed { failure, .. } => return Err(Trouble::Failed(failure)),
                Event::Data { .. } | Event::PeerUnreachable { .. } | Event::Discarded(_) => {}
                event => return Ok(event),
            }
        }
        Err(Trouble::Nothing)
    }

    fn next_event(&mut self, deadline: Instant) -> Result<Option<Event>, Trouble> {
        let mut output = [0; 4096];
        loop {
            while let Some(length) = self.client.poll_transmit(&mut output) {
                self.socket.send(&output[..length]).map_err(Trouble::Socket)?;
            }
            if let Some(event) = self.client.poll_event() {
                return Ok(Some(event));
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return Ok(None);
            };
            let due = self.client.poll_timeout().map(|due| due.saturating_sub(self.started.elapsed()));
            let wait = due.unwrap_or(left).min(left).max(Duration::from_millis(1));
            let received = self.socket.receive(wait, &mut self.input).map_err(Trouble::Socket)?;
            let now = self.started.elapsed();
            match received {
                Some(length) => {
                    if let Some(event) = self.client.handle_input(now, &self.input[..length]) {
                        return Ok(Some(event));
                    }
                }
                None => self.client.handle_timeout(now),
            }
        }
    }
}

impl Drop for Caller {
    /// Gives back what a test that failed has opened.
    fn drop(&mut self) {
        let mut output = [0; 4096];
        if self.client.relayed().is_some() && self.client.delete(self.started.elapsed()).is_ok() {
            while let Some(length) = self.client.poll_transmit(&mut output) {
                let _ = self.socket.send(&output[..length]);
            }
        }
    }
}

impl Socket {
    fn send(&mut self, message: &[u8]) -> std::io::Result<()> {
        match self {
            Socket::Udp(socket) => socket.send(message).map(|_| ()),
            Socket::Tcp(stream, _) => stream.write_all(message),
        }
    }

    /// The next message, or nothing if none comes in time.
    fn receive(&mut self, wait: Duration, input: &mut [u8]) -> std::io::Result<Option<usize>> {
        let (stream, frames) = match self {
            Socket::Udp(socket) => {
                socket.set_read_timeout(Some(wait))?;
                return in_time(socket.recv(input));
            }
            Socket::Tcp(stream, frames) => (stream, frames),
        };
        if !frames.holds_message() {
            stream.set_read_timeout(Some(wait))?;
            match in_time(stream.read(input))? {
                None => return Ok(None),
                Some(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Some(length) => frames.push(&input[..length]),
            }
        }
        let message = frames.next_message().map_err(std::io::Error::other)?;
        Ok(message.map(|message| {
            input[..message.len()].copy_from_slice(message);
            message.len()
        }))
    }
}

fn in_time(received: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match received {
        Ok(length) => Ok(Some(length)),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn unspecified(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0; 16]),
    }
}

/// Of a request's first transmission: the server is on this host.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const CONNECTING: Duration = Duration::from_secs(2);
const LARGEST: usize = 65_536;
