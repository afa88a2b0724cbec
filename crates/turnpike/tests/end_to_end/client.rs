//! A TURN client on a real socket, for tests that look at what comes back.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnpike_client::{
    AllocateOptions, Allocated, Client, ClientConfig, Credentials, Event, Failure, RequestError, RequestId,
};
use turnpike_wire::attributes::{ErrorCode, Nonce, Realm, RequestedTransport, Username};
use turnpike_wire::{
    Class, Family, LongTermKey, Message, MessageWriter, Method, PasswordDigest, TransactionId,
};

use crate::harness::PATIENCE;

pub(crate) struct TurnClient {
    pub(crate) socket: UdpSocket,
    client: Client,
    started: Instant,
    input: Vec<u8>,
}

/// What a peer sent, as it reached the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) peer: SocketAddr,
    pub(crate) channel: Option<u16>,
    pub(crate) data: Vec<u8>,
}

impl TurnClient {
    /// A client of the user every test server knows.
    pub(crate) fn hello(server: SocketAddr) -> Self {
        TurnClient::new(server, "hello", "world")
    }

    pub(crate) fn new(server: SocketAddr, username: &str, password: &str) -> Self {
        TurnClient::with(server, Some((username, password)), true)
    }

    /// As browsers and coturn's tools are: the name in clear, MD5 and SHA-1.
    pub(crate) fn classic(server: SocketAddr, username: &str, password: &str) -> Self {
        TurnClient::with(server, Some((username, password)), false)
    }

    /// A client without credentials.
    pub(crate) fn stranger(server: SocketAddr) -> Self {
        TurnClient::with(server, None, true)
    }

    fn with(server: SocketAddr, credentials: Option<(&str, &str)>, password_algorithms: bool) -> Self {
        let credentials = credentials.map(|(username, password)| Credentials {
            username: username.to_owned(),
            password: password.to_owned(),
        });
        let config =
            ClientConfig { credentials, keep_alive: false, password_algorithms, ..ClientConfig::default() };
        let socket = UdpSocket::bind(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
        socket.connect(server).unwrap();
        TurnClient::over(socket, config)
    }

    /// Likewise with a socket that is connected to the server already, wherever that is.
    pub(crate) fn hello_over(socket: UdpSocket) -> Self {
        let credentials = Some(Credentials { username: "hello".to_owned(), password: "world".to_owned() });
        TurnClient::over(socket, ClientConfig { credentials, keep_alive: false, ..ClientConfig::default() })
    }

    /// As this configuration has it.
    pub(crate) fn over(socket: UdpSocket, config: ClientConfig) -> Self {
        let seed = unique().to_be_bytes();
        TurnClient {
            socket,
            client: Client::new(Arc::new(config), seed),
            started: Instant::now(),
            input: vec![0; 65_536],
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn allocate(&mut self) -> Allocated {
        self.try_allocate(AllocateOptions::default()).unwrap()
    }

    pub(crate) fn try_allocate(&mut self, options: AllocateOptions) -> Result<Allocated, Failure> {
        match self.ask(|client, now| client.allocate(now, options))? {
            Event::Allocated(allocated) => Ok(*allocated),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn permit(&mut self, peer: IpAddr) -> Result<(), Failure> {
        self.ask(|client, now| client.create_permission(now, &[peer])).map(|_| ())
    }

    pub(crate) fn permit_all(&mut self, peers: &[IpAddr]) -> Result<(), Failure> {
        self.ask(|client, now| client.create_permission(now, peers)).map(|_| ())
    }

    pub(crate) fn bind(&mut self, channel: u16, peer: SocketAddr) -> Result<(), Failure> {
        self.ask(|client, now| client.bind_channel(now, channel, peer)).map(|_| ())
    }

    pub(crate) fn refresh(&mut self, lifetime: Option<u32>) -> Result<(), Failure> {
        self.ask(|client, now| client.refresh(now, lifetime, None)).map(|_| ())
    }

    /// Refreshes the relayed address of one family only.
    pub(crate) fn refresh_one(&mut self, family: Family, lifetime: Option<u32>) -> Result<(), Failure> {
        self.ask(|client, now| client.refresh(now, lifetime, Some(family))).map(|_| ())
    }

    /// Sends with a Send indication.
    pub(crate) fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        let mut buffer = vec![0; 65_536];
        let length = self.client.write_send_indication(peer, data, &mut buffer).unwrap();
        self.socket.send(&buffer[..length]).unwrap();
    }

    /// Sends on a channel.
    pub(crate) fn send_on(&mut self, channel: u16, data: &[u8]) {
        let mut buffer = vec![0; 65_536];
        let length = self.client.write_channel_data(channel, data, &mut buffer).unwrap();
        self.socket.send(&buffer[..length]).unwrap();
    }

    /// Likewise to a server that may be gone, which an earlier datagram may have come to know.
    pub(crate) fn send_on_unless_refused(&mut self, channel: u16, data: &[u8]) {
        let mut buffer = vec![0; 65_536];
        let length = self.client.write_channel_data(channel, data, &mut buffer).unwrap();
        let _ = self.socket.send(&buffer[..length]);
    }

    /// The next data from a peer.
    pub(crate) fn receive(&mut self) -> Received {
        self.receive_within(PATIENCE).expect("data from a peer")
    }

    /// The next data from a peer, or nothing if none comes in time.
    pub(crate) fn receive_within(&mut self, patience: Duration) -> Option<Received> {
        let deadline = Instant::now() + patience;
        while let Some(event) = self.next_event(deadline) {
            if let Event::Data { peer, channel, span } = event {
                return Some(Received { peer, channel, data: self.input[span].to_vec() });
            }
        }
        None
    }

    /// The next ICMP error: peer, type and code.
    pub(crate) fn receive_icmp(&mut self) -> (SocketAddr, u8, u8) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Event::PeerUnreachable { peer, kind, code } =
                self.next_event(deadline).expect("an ICMP error")
            {
                return (peer, kind, code);
            }
        }
    }

    fn ask(
        &mut self,
        start: impl FnOnce(&mut Client, Duration) -> Result<RequestId, RequestError>,
    ) -> Result<Event, Failure> {
        start(&mut self.client, self.started.elapsed()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_event(deadline).expect("an answer") {
                Event::Failed { failure, .. } => return Err(failure),
                Event::Data { .. } | Event::PeerUnreachable { .. } | Event::Discarded(_) => {}
                event => return Ok(event),
            }
        }
    }

    fn next_event(&mut self, deadline: Instant) -> Option<Event> {
        let mut output = [0; 4096];
        loop {
            while let Some(length) = self.client.poll_transmit(&mut output) {
                // A server that does not listen yet is asked again in time.
                let _ = self.socket.send(&output[..length]);
            }
            if let Some(event) = self.client.poll_event() {
                return Some(event);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            let due = self.client.poll_timeout().map(|due| due.saturating_sub(self.started.elapsed()));
            let wait = due.unwrap_or(left).min(left).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait)).unwrap();
            match self.socket.recv(&mut self.input) {
                Ok(length) => {
                    let now = self.started.elapsed();
                    if let Some(event) = self.client.handle_input(now, &self.input[..length]) {
                        return Some(event);
                    }
                }
                Err(_) => self.client.handle_timeout(self.started.elapsed()),
            }
        }
    }
}

impl Drop for TurnClient {
    /// Gives its allocation back: the system may hand its port to another client of the same server at once.
    fn drop(&mut self) {
        let mut output = [0; 4096];
        if self.client.relayed().is_some() && self.client.delete(self.started.elapsed()).is_ok() {
            while let Some(length) = self.client.poll_transmit(&mut output) {
                let _ = self.socket.send(&output[..length]);
            }
        }
    }
}

/// A server's answer to a request written by hand.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The error code; `None` for success.
    pub(crate) error: Option<u16>,
    pub(crate) realm: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
}

/// Who a request written by hand says it is from.
pub(crate) struct Identity<'a> {
    pub(crate) username: &'a str,
    pub(crate) realm: &'a str,
    pub(crate) password: &'a str,
    pub(crate) nonce: &'a [u8],
}

/// Sends an Allocate request as it stands, and returns the answer.
pub(crate) fn allocate_by_hand(socket: &UdpSocket, identity: Option<&Identity<'_>>) -> Answer {
    let mut buffer = [0; 1500];
    let mut id = TransactionId([0; 12]);
    id.0.copy_from_slice(&unique().to_be_bytes()[4..]);
    let mut writer = MessageWriter::new(&mut buffer, Class::Request, Method::ALLOCATE, id);
    writer.add(&RequestedTransport::UDP);
    if let Some(Identity { username, realm, password, nonce }) = identity {
        let (name, realm, password) = (username.as_bytes(), realm.as_bytes(), password.as_bytes());
        let key = LongTermKey::derive(PasswordDigest::Md5, name, realm, password);
        writer.add(&Username(name)).add(&Realm(realm)).add(&Nonce(nonce)).integrity_sha1(&key);
    }
    let request = writer.finish().unwrap().to_vec();
    let reply = exchange(socket, &request).expect("an answer");
    let message = Message::parse(&reply).unwrap();
    assert_eq!(message.transaction_id(), id);
    let error = message.get::<ErrorCode<'_>>().unwrap().map(|code| code.number.number());
    let realm = message.get::<Realm<'_>>().unwrap().map_or_else(Vec::new, |realm| realm.0.to_vec());
    let nonce = message.get::<Nonce<'_>>().unwrap().map_or_else(Vec::new, |nonce| nonce.0.to_vec());
    Answer { error, realm, nonce }
}

/// A Binding request with a transaction id of its own.
pub(crate) fn binding_request() -> Vec<u8> {
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend_from_slice(&unique().to_be_bytes()[4..]);
    request
}

/// Sends a datagram and waits for the next that comes, sending again now and then.
pub(crate) fn exchange(socket: &UdpSocket, request: &[u8]) -> Option<Vec<u8>> {
    let mut reply = vec![0; 65_536];
    socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    for _ in 0..5 {
        socket.send(request).unwrap();
        if let Ok(length) = socket.recv(&mut reply) {
            reply.truncate(length);
            return Some(reply);
        }
    }
    None
}

/// Seconds since 1970, as REST names hold them.
pub(crate) fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A number that is never the same twice.
fn unique() -> u128 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    u128::from(std::process::id()) << 64 | u128::from(count)
}
