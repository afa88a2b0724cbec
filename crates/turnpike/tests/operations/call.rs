//! A live call: a client and its peer send each other fifty packets a second through a server, every one numbered, and
//! whoever hangs up learns of each that was lost.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::TurnClient;
use crate::harness::PATIENCE;

/// A call under way. It is hung up by [`Call::hang_up`], and ends with the value.
pub(crate) struct Call {
    /// Where the peer reaches the client: the relayed transport address.
    pub(crate) relayed: SocketAddr,
    shared: Arc<Shared>,
    client: Option<JoinHandle<Way>>,
    peer: Option<JoinHandle<Way>>,
}

/// What became of a call's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Packets the client sent.
    pub(crate) to_peer: u64,
    /// Those of them that the peer never got.
    pub(crate) lost_to_peer: Vec<u64>,
    /// Packets the peer sent.
    pub(crate) to_client: u64,
    /// Those of them that the client never got.
    pub(crate) lost_to_client: Vec<u64>,
}

impl Call {
    /// Begins a call of the user that every test server knows, and returns when packets have gone both ways.
    pub(crate) fn begin(server: SocketAddr) -> Self {
        Call::of(TurnClient::hello(server))
    }

    /// Likewise with a client that may have an allocation already.
    pub(crate) fn of(mut client: TurnClient) -> Self {
        let relayed = client.allocate().relayed;
        let peer = UdpSocket::bind((relayed.ip(), 0)).expect("a peer's socket");
        Call::between(client, relayed, peer)
    }

    /// Likewise with this peer and a relayed address that the client has.
    pub(crate) fn between(mut client: TurnClient, relayed: SocketAddr, peer: UdpSocket) -> Self {
        client.bind(CHANNEL, peer.local_addr().expect("its address")).expect("a channel to the peer");
        peer.connect(relayed).expect("the peer knows the relayed address");
        let shared = Arc::new(Shared::default());
        let (of_client, of_peer) = (shared.clone(), shared.clone());
        let client = thread::spawn(move || speak(&of_client, &of_client.at_client, ClientEnd(client)));
        let peer = thread::spawn(move || speak(&of_peer, &of_peer.at_peer, PeerEnd(peer)));
        let call = Call { relayed, shared, client: Some(client), peer: Some(peer) };
        call.goes_on(3);
        call
    }

    /// Waits until `packets` more have arrived at each end. Whatever is done to a server, its calls go on.
    #[track_caller]
    pub(crate) fn goes_on(&self, packets: u64) {
        let deadline = Instant::now() + PATIENCE;
        for arrived in [&self.shared.at_client, &self.shared.at_peer] {
            let wanted = arrived.load(Ordering::Relaxed) + packets;
            while arrived.load(Ordering::Relaxed) < wanted {
                assert!(Instant::now() < deadline, "the call goes on");
                thread::park_timeout(PACE);
            }
        }
    }

    /// Stops sending, waits for what is still under way, and counts.
    pub(crate) fn hang_up(mut self) -> Outcome {
        self.shared.ending.store(true, Ordering::Relaxed);
        let join =
            |end: Option<JoinHandle<Way>>| end.expect("an end of the call").join().expect("it ended well");
        let (client, peer) = (join(self.client.take()), join(self.peer.take()));
        Outcome {
            to_peer: client.sent,
            lost_to_peer: missing(client.sent, &peer.got),
            to_client: peer.sent,
            lost_to_client: missing(peer.sent, &client.got),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
    }
}

impl Outcome {
    /// That a call of at least `packets` each way lost none.
    #[track_caller]
    pub(crate) fn assert_lossless(&self, packets: u64) {
        assert!(self.to_peer >= packets && self.to_client >= packets, "too short a call: {self:?}");
        assert!(
            self.lost_to_peer.is_empty() && self.lost_to_client.is_empty(),
            "packets were lost: {self:?}"
        );
    }
}

/// What both ends and whoever watches them know.
#[derive(Default)]
struct Shared {
    at_client: AtomicU64,
    at_peer: AtomicU64,
    /// Nothing more is to be sent.
    ending: AtomicBool,
    /// Ends that have sent their last.
    silent: AtomicU64,
    /// Packets sent by both.
    sent: AtomicU64,
}

/// What an end sent, and what it got.
struct Way {
    sent: u64,
    got: BTreeSet<u64>,
}

/// One end of the call.
trait End {
    fn send(&mut self, packet: &[u8]);

    /// The next packet of the other end, if one comes in time.
    fn receive(&mut self, patience: Duration) -> Option<Vec<u8>>;
}

struct ClientEnd(TurnClient);

struct PeerEnd(UdpSocket);

impl End for ClientEnd {
    fn send(&mut self, packet: &[u8]) {
        self.0.send_on_unless_refused(CHANNEL, packet);
    }

    fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        self.0.receive_within(patience).map(|received| received.data)
    }
}

impl End for PeerEnd {
    fn send(&mut self, packet: &[u8]) {
        // A server that is gone answers by ICMP, which the next call on the socket comes to know.
        let _ = self.0.send(packet);
    }

    fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let mut packet = [0; 2048];
        self.0.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).expect("a timeout can be set");
        let length = self.0.recv(&mut packet).ok()?;
        Some(packet[..length].to_vec())
    }
}

/// Sends at the pace of speech and takes what comes, until the call ends and nothing is left under way.
fn speak(shared: &Shared, arrived: &AtomicU64, mut end: impl End) -> Way {
    let mut way = Way { sent: 0, got: BTreeSet::new() };
    let began = Instant::now();
    while !shared.ending.load(Ordering::Relaxed) {
        let due = began + PACE * u32::try_from(way.sent).expect("a short call");
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let mut packet = [0; 160];
            packet[..8].copy_from_slice(&way.sent.to_be_bytes());
            end.send(&packet);
            way.sent += 1;
            shared.sent.fetch_add(1, Ordering::Relaxed);
        } else {
            note(&mut way, arrived, end.receive(left));
        }
    }
    shared.silent.fetch_add(1, Ordering::Relaxed);
    let last = Instant::now() + LAST_WORDS;
    let all_is_there = || {
        let both = arrived_in_all(shared) == shared.sent.load(Ordering::Relaxed);
        shared.silent.load(Ordering::Relaxed) == 2 && both
    };
    while Instant::now() < last && !all_is_there() {
        note(&mut way, arrived, end.receive(PACE));
    }
    way
}

fn note(way: &mut Way, arrived: &AtomicU64, packet: Option<Vec<u8>>) {
    let Some(number) = packet.and_then(|packet| packet.get(..8).and_then(|it| it.try_into().ok())) else {
        return;
    };
    // One that comes twice is there once.
    if way.got.insert(u64::from_be_bytes(number)) {
        arrived.fetch_add(1, Ordering::Relaxed);
    }
}

fn arrived_in_all(shared: &Shared) -> u64 {
    shared.at_client.load(Ordering::Relaxed) + shared.at_peer.load(Ordering::Relaxed)
}

fn missing(sent: u64, got: &BTreeSet<u64>) -> Vec<u64> {
    (0..sent).filter(|number| !got.contains(number)).collect()
}

const CHANNEL: u16 = 0x4001;
/// Fifty packets a second, as speech has them.
const PACE: Duration = Duration::from_millis(20);
/// How long the last packets of a call may take before they are lost.
const LAST_WORDS: Duration = Duration::from_secs(3);
