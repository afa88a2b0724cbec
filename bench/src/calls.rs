//! Calls through a server: a client socket with its own 5-tuple each, an allocation, and a channel to a peer.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use turnpike_client::{AllocateOptions, Client, ClientConfig, Credentials, Event};

use crate::lab::{Lab, PEER_ADDRESS};
use crate::server::{PASSWORD, USERNAME};
use crate::stop::Stop;
use crate::syscalls::{Epoll, force_receive_buffer};

/// The sockets of a number of calls, and what the server granted them.
pub(crate) struct Calls {
    /// One socket a call, connected to the server.
    pub(crate) clients: Vec<UdpSocket>,
    /// The peers' sockets; calls share them evenly.
    pub(crate) peers: Vec<UdpSocket>,
    /// Each call's relayed transport address, once established.
    pub(crate) relayed: Vec<SocketAddr>,
    /// One for all of them, or one each.
    configs: Vec<Arc<ClientConfig>>,
}

/// How establishing went.
#[derive(Clone, Debug)]
pub(crate) struct Establishment {
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Requests sent more than once: answers lost or late.
    pub(crate) retransmitted: u64,
    /// Nanoseconds from each call's first request to the answer that granted its allocation.
    pub(crate) allocated_after: Vec<u64>,
}

impl Calls {
    /// Opens the sockets of `count` calls to `server`; sends nothing yet.
    pub(crate) fn open(lab: &Lab, server: SocketAddr, count: usize, peers: usize) -> Result<Self> {
        let clients = lab.client.inside(|| {
            (0..count)
                .map(|_| {
                    let socket = UdpSocket::bind("0.0.0.0:0")?;
                    socket.connect(server)?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                })
                .collect::<Result<Vec<_>>>()
        });
        let peers = lab.peer.inside(|| {
            (0..peers.min(count))
                .map(|_| {
                    let socket = UdpSocket::bind((PEER_ADDRESS, 0))?;
                    socket.set_nonblocking(true)?;
                    force_receive_buffer(&socket, RECEIVE_BUFFER)?;
                    Ok(socket)
                })
                .collect::<Result<Vec<_>>>()
        });
        let credentials = Credentials { username: USERNAME.to_owned(), password: PASSWORD.to_owned() };
        Ok(Calls {
            clients: clients.context("open the clients' sockets")?,
            peers: peers.context("open the peers' sockets")?,
            relayed: Vec::new(),
            configs: vec![config(credentials)],
        })
    }

    /// The same calls, each of a user of its own.
    pub(crate) fn of_users(mut self, user: impl Fn(usize) -> Credentials) -> Self {
        self.configs = (0..self.count()).map(|call| config(user(call))).collect();
        self
    }

    /// How many calls there are.
    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// The index of a call's peer socket. Calls that follow each other share one.
    pub(crate) fn peer_of(&self, call: usize) -> usize {
        call * self.peers.len() / self.clients.len()
    }

    /// Allocates and binds a channel for every call, `at_once` of them under way at any time: a first request
    /// that is challenged, Allocate, ChannelBind.
    pub(crate) fn establish(&mut self, at_once: usize, stop: &Stop) -> Result<Establishment> {
        self.perform(false, at_once, stop)
    }

    /// Lets every call live through all of it, `at_once` at any time: what [`Calls::establish`] does, then Refresh, and
    /// Refresh with a lifetime of zero, which deletes the allocation.
    pub(crate) fn come_and_go(&mut self, at_once: usize, stop: &Stop) -> Result<Establishment> {
        self.perform(true, at_once, stop)
    }

    fn perform(&mut self, and_go: bool, at_once: usize, stop: &Stop) -> Result<Establishment> {
        let peer_addresses =
            self.peers.iter().map(UdpSocket::local_addr).collect::<std::io::Result<Vec<_>>>()?;
        let mut dialogues = Dialogues {
            begun: Instant::now(),
            under_way: (0..self.count()).map(|_| None).collect(),
            relayed: vec![None; self.count()],
            begun_after: vec![Duration::ZERO; self.count()],
            allocated_after: Vec::with_capacity(self.count()),
            transmitted: 0,
            finished: 0,
            and_go,
        };
        let mut epoll = Epoll::new()?;
        for (call, socket) in self.clients.iter().enumerate() {
            epoll.add(socket, call as u64)?;
        }
        let mut begun = 0;
        let mut swept = Instant::now();
        while dialogues.finished < self.count() {
            stop.check()?;
            ensure!(dialogues.begun.elapsed() < ESTABLISH_LIMIT, "establishing calls takes too long");
            while begun < self.count() && begun - dialogues.finished < at_once {
                dialogues.begin(self, begun)?;
                begun += 1;
            }
            let readable: Vec<u64> = epoll.wait(SWEEP)?.collect();
            for call in readable {
                let call = call as usize;
                dialogues.advance(self, call, peer_addresses[self.peer_of(call)])?;
            }
            if swept.elapsed() >= SWEEP {
                dialogues.retransmit(self)?;
                swept = Instant::now();
            }
        }
        let elapsed = dialogues.begun.elapsed();
        let each = REQUESTS_TO_COME + if and_go { REQUESTS_TO_GO } else { 0 };
        let needed = (each * self.count()) as u64;
        self.relayed = dialogues.relayed.iter().copied().flatten().collect();
        ensure!(self.relayed.len() == self.count(), "a call has no relayed address");
        let retransmitted = dialogues.transmitted.saturating_sub(needed);
        Ok(Establishment { elapsed, retransmitted, allocated_after: dialogues.allocated_after })
    }
}

/// The same dialogue with both servers: MD5 keys, which is all coturn knows.
fn config(credentials: Credentials) -> Arc<ClientConfig> {
    Arc::new(ClientConfig {
        credentials: Some(credentials),
        keep_alive: false,
        fingerprint: false,
        password_algorithms: false,
        ..ClientConfig::default()
    })
}

/// All dialogues of one establishment.
struct Dialogues {
    begun: Instant,
    under_way: Vec<Option<Box<Client>>>,
    relayed: Vec<Option<SocketAddr>>,
    /// When each call's first request went.
    begun_after: Vec<Duration>,
    allocated_after: Vec<u64>,
    transmitted: u64,
    finished: usize,
    /// Whether calls end as soon as they are established.
    and_go: bool,
}

impl Dialogues {
    fn begin(&mut self, calls: &Calls, call: usize) -> Result<()> {
        let mut seed = *b"turnpike-bench..";
        seed[..4].copy_from_slice(&(call as u32).to_be_bytes());
        let config = &calls.configs[call % calls.configs.len()];
        let mut client = Client::new(Arc::clone(config), seed);
        self.begun_after[call] = self.begun.elapsed();
        client.allocate(self.begun_after[call], AllocateOptions::default())?;
        self.transmit(&mut client, &calls.clients[call])?;
        self.under_way[call] = Some(Box::new(client));
        Ok(())
    }

    /// Takes what arrived for a call and sends what follows from it.
    fn advance(&mut self, calls: &Calls, call: usize, peer: SocketAddr) -> Result<()> {
        let socket = &calls.clients[call];
        let mut bytes = [0; 2048];
        let length = match socket.recv(&mut bytes) {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(anyhow!(error).context("the server's socket is gone")),
        };
        let Some(mut client) = self.under_way[call].take() else { return Ok(()) };
        let now = self.begun.elapsed();
        match client.handle_input(now, &bytes[..length]) {
            Some(Event::Allocated(allocated)) => {
                self.relayed[call] = Some(allocated.relayed);
                self.allocated_after.push((now - self.begun_after[call]).as_nanos() as u64);
                client.bind_channel(now, CHANNEL, peer)?;
            }
            Some(Event::ChannelBound { .. }) if self.and_go => {
                client.refresh(now, None, None)?;
            }
            Some(Event::Refreshed { .. }) => {
                client.delete(now)?;
            }
            Some(Event::ChannelBound { .. } | Event::Deleted { .. }) => {
                self.finished += 1;
                return Ok(());
            }
            Some(Event::Failed { method, failure, .. }) => {
                bail!("call {call}: {} failed: {failure}", method.name().unwrap_or("a request"))
            }
            _ => {}
        }
        self.transmit(&mut client, socket)?;
        self.under_way[call] = Some(client);
        Ok(())
    }

    fn retransmit(&mut self, calls: &Calls) -> Result<()> {
        let now = self.begun.elapsed();
        for call in 0..self.under_way.len() {
            let Some(mut client) = self.under_way[call].take() else { continue };
            if client.poll_timeout().is_some_and(|due| due <= now) {
                client.handle_timeout(now);
                if let Some(Event::Failed { failure, .. }) = client.poll_event() {
                    bail!("call {call}: {failure}");
                }
                self.transmit(&mut client, &calls.clients[call])?;
            }
            self.under_way[call] = Some(client);
        }
        Ok(())
    }

    fn transmit(&mut self, client: &mut Client, socket: &UdpSocket) -> Result<()> {
        let mut bytes = [0; 2048];
        while let Some(length) = client.poll_transmit(&mut bytes) {
            socket.send(&bytes[..length]).context("send a request")?;
            self.transmitted += 1;
        }
        Ok(())
    }
}

/// The channel every call binds; channels are counted per 5-tuple.
pub(crate) const CHANNEL: u16 = 0x4000;
/// Allocate, Allocate once more after the challenge, ChannelBind.
const REQUESTS_TO_COME: usize = 3;
/// Refresh, Refresh with a lifetime of zero.
const REQUESTS_TO_GO: usize = 2;
const ESTABLISH_LIMIT: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_millis(100);
const RECEIVE_BUFFER: usize = 8 << 20;
