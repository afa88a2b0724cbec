//! Clients that mean no harm.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use turnpike_client::{
    AllocateOptions, BindingOptions, Client, ClientConfig, Credentials, Event, Retransmission,
};

use crate::wire::{PASSWORD, USER};

/// A client that talks with an echoing peer for as long as it is let.
pub(crate) struct Innocent {
    relayed: SocketAddr,
    over: Arc<AtomicBool>,
    talk: JoinHandle<Served>,
    echo: JoinHandle<()>,
}

/// How it was served.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    pub(crate) round_trips: u64,
    /// Messages that had to be sent again.
    pub(crate) repeated: u64,
    /// The longest time a message and its repetitions needed.
    pub(crate) longest: Duration,
}

impl Innocent {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let peer = UdpSocket::bind("127.0.0.2:0").unwrap();
        let peer_address = peer.local_addr().unwrap();
        let (sender, receiver) = mpsc::channel();
        let heard = over.clone();
        let echo = thread::spawn(move || echo(&peer, &heard));
        let heard = over.clone();
        let talk = thread::spawn(move || {
            let mut caller = Caller::new(server, "127.0.0.1:0");
            sender.send(caller.allocate()).unwrap();
            caller.bind(peer_address);
            let served = caller.talk(&heard);
            caller.delete();
            served
        });
        let relayed = receiver.recv().expect("the innocent client has an allocation");
        Innocent { relayed, over, talk, echo }
    }

    pub(crate) fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    pub(crate) fn stop(self) -> Served {
        self.over.store(true, Ordering::Relaxed);
        let served = self.talk.join().expect("the innocent client was served to the end");
        self.echo.join().unwrap();
        served
    }
}

impl fmt::Display for Served {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Served { round_trips, repeated, longest } = self;
        write!(
            formatter,
            "innocent client: {round_trips} round trips, {repeated} repeated, longest {longest:?}"
        )
    }
}

/// Somebody new gets an address, an allocation, and rid of it again.
pub(crate) fn newcomer_is_served(server: SocketAddr) {
    let mut caller = Caller::new(server, "127.0.0.3:0");
    let now = caller.now();
    caller.client.binding(now, BindingOptions::default()).unwrap();
    let Event::Binding(answer) = caller.wait_for(|event| matches!(event, Event::Binding(_))) else { return };
    assert_eq!(answer.mapped, caller.socket.local_addr().unwrap());
    caller.allocate();
    caller.delete();
}

fn echo(peer: &UdpSocket, over: &AtomicBool) {
    peer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut room = [0; 2048];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, from)) = peer.recv_from(&mut room) {
            let _ = peer.send_to(&room[..length], from);
        }
    }
}

struct Caller {
    client: Client,
    socket: UdpSocket,
    started: Instant,
}

impl Caller {
    fn new(server: SocketAddr, from: &str) -> Self {
        let socket = UdpSocket::bind(from).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let credentials = Credentials { username: USER.into(), password: PASSWORD.into() };
        // A full socket buffer is no congestion: the next try need not wait long.
        let retransmission =
            Retransmission { initial_timeout: Duration::from_millis(100), ..Default::default() };
        let config =
            ClientConfig { credentials: Some(credentials), retransmission, ..ClientConfig::default() };
        Caller { client: Client::new(Arc::new(config), [5; 16]), socket, started: Instant::now() }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn allocate(&mut self) -> SocketAddr {
        let now = self.now();
        self.client.allocate(now, AllocateOptions::default()).unwrap();
        self.wait_for(|event| matches!(event, Event::Allocated(_)));
        self.client.relayed().unwrap()
    }

    fn bind(&mut self, peer: SocketAddr) {
        let now = self.now();
        self.client.bind_channel(now, CHANNEL, peer).unwrap();
        self.wait_for(|event| matches!(event, Event::ChannelBound { .. }));
    }

    fn delete(&mut self) {
        let now = self.now();
        self.client.delete(now).unwrap();
        self.wait_for(|event| matches!(event, Event::Deleted { .. }));
    }

    fn talk(&mut self, over: &AtomicBool) -> Served {
        let mut served = Served::default();
        while !over.load(Ordering::Relaxed) {
            let (text, began) = (served.round_trips.to_be_bytes(), Instant::now());
            while !self.exchange(&text) {
                served.repeated += 1;
                assert!(
                    began.elapsed() < Duration::from_secs(20),
                    "the innocent client hears nothing for 20 s"
                );
            }
            served.round_trips += 1;
            served.longest = served.longest.max(began.elapsed());
            thread::sleep(Duration::from_millis(2));
        }
        served
    }

    /// Sends `text` and says whether it came back in time.
    fn exchange(&mut self, text: &[u8]) -> bool {
        let mut room = [0; 64];
        let length = self.client.write_channel_data(CHANNEL, text, &mut room).unwrap();
        let _ = self.socket.send(&room[..length]);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(100) {
            if self.turn().iter().any(|(_, data)| data == text) {
                return true;
            }
        }
        false
    }

    fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let began = Instant::now();
        loop {
            for (event, _) in self.turn() {
                assert!(!matches!(event, Event::Failed { .. } | Event::Expired), "{event:?}");
                if wanted(&event) {
                    return event;
                }
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no answer");
        }
    }

    /// Sends what is to be sent, and returns what happened, with the data that came.
    fn turn(&mut self) -> Vec<(Event, Vec<u8>)> {
        let mut room = [0; 4096];
        let now = self.now();
        self.client.handle_timeout(now);
        while let Some(length) = self.client.poll_transmit(&mut room) {
            let _ = self.socket.send(&room[..length]);
        }
        let mut events = Vec::new();
        if let Ok(length) = self.socket.recv(&mut room) {
            let event = self.client.handle_input(self.started.elapsed(), &room[..length]);
            events.extend(event.map(|event| match event {
                Event::Data { ref span, .. } => (event.clone(), room[span.clone()].to_vec()),
                event => (event, Vec::new()),
            }));
        }
        events.extend(std::iter::from_fn(|| self.client.poll_event()).map(|event| (event, Vec::new())));
        events
    }
}

const CHANNEL: u16 = 0x4000;
