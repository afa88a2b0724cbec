//! The flood, and how much of it the server has read.
//!
//! Each window of packets ends in a Binding request. Its answer says that everything before it in the same socket's
//! queue has been read, and the next window but one waits for it: so little is dropped, and the server is never idle.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use turnpike_net::FlushReport;
use turnpike_wire::attributes::{Lifetime, Nonce, RequestedTransport, XorRelayedAddress};
use turnpike_wire::{Class, Message, Method};

use crate::attackers::Attackers;
use crate::hostile::Hostile;
use crate::server::Server;
use crate::wire::{message, signed};

pub(crate) struct Flood<'s> {
    server: &'s Server,
    attackers: Attackers,
    hostile: Hostile,
    /// Relayed addresses to send junk to: the innocent client's and the attacker's own.
    relayed: [SocketAddr; 2],
    report: FlushReport,
    /// Packets to the attacker's own relayed address. Its socket comes and goes, and the count of what was dropped
    /// there with it, so none of them counts as read.
    uncounted: u64,
    windows: u64,
    /// Probes not answered yet: the socket and the transaction.
    probes: VecDeque<(usize, [u8; 12])>,
    unanswered: u64,
    began: Instant,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flooded {
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) uncounted: u64,
    pub(crate) processed: u64,
    /// Of those sent, how many were joined by the kernel.
    joined: u64,
    unanswered: u64,
}

impl<'s> Flood<'s> {
    pub(crate) fn start(server: &'s Server, seed: u64, innocent: SocketAddr) -> Self {
        let addresses: Vec<SocketAddr> =
            (0..=STRANGERS).map(|host| SocketAddr::from(([127, 7, 0, host as u8 + 1], 0))).collect();
        let mut flood = Flood {
            server,
            attackers: Attackers::new(&addresses),
            hostile: Hostile::new(seed),
            relayed: [innocent; 2],
            report: FlushReport::default(),
            uncounted: 0,
            windows: 0,
            probes: VecDeque::new(),
            unanswered: 0,
            began: Instant::now(),
        };
        flood.allocate();
        flood
    }

    /// Floods until the server has read so many packets in all.
    pub(crate) fn run_until(&mut self, packets: u64) {
        loop {
            let short = packets.saturating_sub(self.processed());
            if short == 0 {
                return;
            }
            assert!(self.began.elapsed() < MOST_TIME, "{} packets took too long", self.processed());
            for _ in 0..short.div_ceil(WINDOW).min(WINDOWS_BETWEEN_LOOKS) {
                self.window();
            }
            while let Some(probe) = self.probes.pop_front() {
                self.await_probe(probe);
            }
            self.allocate();
        }
    }

    /// How many of the packets to come are large: one in so many.
    pub(crate) fn large_one_in(&mut self, times: usize) {
        self.hostile.large_one_in = times;
    }

    /// Gives the attacker's allocation back.
    pub(crate) fn stop(mut self) -> Flooded {
        let processed = self.processed();
        let (dropped, _) = self.server.dropped_and_waiting();
        let id = self.hostile.id();
        let delete = signed(Method::REFRESH, id, &self.hostile.nonce, |writer| {
            writer.add(&Lifetime(0));
        });
        self.ask(CLIENT, id, &delete);
        Flooded {
            sent: self.report.sent,
            dropped,
            uncounted: self.uncounted,
            processed,
            joined: self.report.segmented,
            unanswered: self.unanswered,
        }
    }

    /// Packets the server has read.
    fn processed(&self) -> u64 {
        let began = Instant::now();
        loop {
            let (dropped, waiting) = self.server.dropped_and_waiting();
            if waiting == 0 || began.elapsed() > Duration::from_secs(2) {
                // A drop may be a whole train, and a byte that waits a packet.
                let unread = dropped * LONGEST_TRAIN + waiting;
                return self.report.sent.saturating_sub(unread + self.uncounted);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn window(&mut self) {
        let from = (self.windows % (STRANGERS as u64 + 1)) as usize;
        self.windows += 1;
        let server = self.server.address();
        // Packets of one length arrive as a train, which the server has to take apart.
        let length = self.windows.is_multiple_of(9).then_some((self.windows / 9 % 1400) as usize);
        for turn in 0..WINDOW - 1 {
            let (from, to, mut packet) = match (turn % 8, from) {
                (7, _) => {
                    let own = turn % 64 == 63;
                    self.uncounted += u64::from(own);
                    (PEER, self.relayed[usize::from(own)], self.hostile.packet_of_a_peer())
                }
                (_, CLIENT) => (CLIENT, server, self.hostile.packet_of_a_client()),
                _ => (from, server, self.hostile.packet_of_a_stranger()),
            };
            if let Some(length) = length {
                packet.resize(length, 0);
            }
            let report = self.attackers.push(from, to, &packet);
            self.report.add(&report);
        }
        let id = self.hostile.id();
        let probe = message(Class::Request, Method::BINDING, id, |_| {});
        let report = self.attackers.push(from, server, &probe);
        self.report.add(&report);
        let report = self.attackers.flush();
        self.report.add(&report);
        self.probes.push_back((from, id));
        if self.probes.len() > 1
            && let Some(probe) = self.probes.pop_front()
        {
            self.await_probe(probe);
        }
    }

    fn await_probe(&mut self, (from, id): (usize, [u8; 12])) {
        let answered = self.attackers.wait(from, id, Duration::from_millis(50)).is_some();
        self.unanswered += u64::from(!answered);
    }

    /// Sees to it that the attacker has an allocation, which its own messages may have ended.
    fn allocate(&mut self) {
        for _ in 0..3 {
            let id = self.hostile.id();
            let request = signed(Method::ALLOCATE, id, &self.hostile.nonce, |writer| {
                writer.add(&RequestedTransport::UDP);
            });
            let answer = self.ask(CLIENT, id, &request);
            let answer = Message::parse(&answer).unwrap();
            if let Ok(Some(XorRelayedAddress(relayed))) = answer.get() {
                self.relayed[1] = relayed;
            }
            match answer.get::<Nonce<'_>>() {
                Ok(Some(nonce)) => self.hostile.nonce = nonce.0.to_vec(),
                _ => return,
            }
        }
    }

    fn ask(&mut self, from: usize, id: [u8; 12], request: &[u8]) -> Vec<u8> {
        self.attackers.ask(from, self.server.address(), id, request)
    }
}

impl fmt::Display for Flooded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flooded { sent, dropped, uncounted, processed, joined, unanswered } = self;
        write!(
            formatter,
            "{sent} sent ({joined} in trains), {dropped} dropped by the kernel, {uncounted} to a socket that comes and goes, \
             {processed} processed, {unanswered} probes unanswered"
        )
    }
}

/// The socket of the attacker with an allocation.
const CLIENT: usize = 0;
/// The socket that sends to relayed addresses.
const PEER: usize = STRANGERS;
const STRANGERS: usize = 7;
/// Datagrams that the kernel may drop as one.
const LONGEST_TRAIN: u64 = 128;
/// Packets in a window, its probe included: two windows fit a socket's buffer.
const WINDOW: u64 = 128;
const WINDOWS_BETWEEN_LOOKS: u64 = 1000;
const MOST_TIME: Duration = Duration::from_secs(600);
