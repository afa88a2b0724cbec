//! What a worker counts, for other threads to look at.

use std::time::Duration;

use turnpike_net::{FlushReport, ReceiveReport};
use turnpike_turn::{Histogram, Stats};

use crate::dtls::DtlsCounters;
use crate::stream_limits::StreamCounters;

/// What a worker counts.
#[derive(Clone, Debug)]
pub struct Counters {
    /// What the rules decided.
    pub stats: Stats,
    /// What became of datagrams.
    pub sent: FlushReport,
    /// What became of connections.
    pub streams: StreamCounters,
    /// What became of DTLS clients.
    pub dtls: DtlsCounters,
    /// What came in.
    pub received: ReceiveReport,
    /// Datagrams that the kernel dropped in front of the listeners.
    pub dropped_by_kernel: u64,
    /// How long turns of the loop took, of one turn in 32: no packet waits longer in the server.
    pub turns: TurnDurations,
}

/// How long turns take.
pub type TurnDurations = Histogram<10>;

impl Default for Counters {
    fn default() -> Self {
        Counters {
            stats: Stats::default(),
            sent: FlushReport::default(),
            streams: StreamCounters::default(),
            dtls: DtlsCounters::default(),
            received: ReceiveReport::default(),
            dropped_by_kernel: 0,
            turns: Histogram::new(&TURNS),
        }
    }
}

impl Counters {
    /// Adds what another worker has counted.
    pub fn add(&mut self, other: &Counters) {
        self.stats.add(&other.stats);
        self.sent.add(&other.sent);
        self.streams.add(&other.streams);
        self.dtls.add(&other.dtls);
        self.received.calls += other.received.calls;
        self.received.messages += other.received.messages;
        self.dropped_by_kernel += other.dropped_by_kernel;
        self.turns.add(&other.turns);
    }
}

impl StreamCounters {
    fn add(&mut self, other: &StreamCounters) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.idle += other.idle;
        self.invalid += other.invalid;
        self.stuck += other.stuck;
        self.moved += other.moved;
        self.dropped += other.dropped;
    }
}

impl DtlsCounters {
    fn add(&mut self, other: &DtlsCounters) {
        self.challenged += other.challenged;
        self.begun += other.begun;
        self.established += other.established;
        self.refused += other.refused;
        self.failed += other.failed;
        self.abandoned += other.abandoned;
        self.idle += other.idle;
        self.ignored += other.ignored;
        self.unsent += other.unsent;
    }
}

/// From one packet to what a call would suffer from.
pub(crate) const TURNS: [Duration; 10] = {
    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }
    [
        micros(10),
        micros(25),
        micros(50),
        micros(100),
        micros(250),
        micros(500),
        micros(1000),
        micros(2500),
        micros(10_000),
        micros(100_000),
    ]
};
