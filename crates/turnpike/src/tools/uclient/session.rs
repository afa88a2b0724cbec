//! One client of many: its socket, its protocol state and what it has counted.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use turnpike_client::{Client, RequestId};
use turnpike_wire::attributes::ReservationToken;

use super::settings::Settings;
use super::tcp_relay::DataConnection;
use super::transport::{Interest, Transport};
use crate::randomness;
use crate::tools::output::{family, info};

/// One client on its own socket.
pub(super) struct Session {
    pub(super) transport: Transport,
    /// The socket it is about to leave.
    pub(super) left: Option<Transport>,
    /// What the poller watches its socket for.
    pub(super) watched: Interest,
    pub(super) server: SocketAddr,
    /// The name it bears, if another server has sent us here and told it.
    pub(super) domain: Option<Box<str>>,
    pub(super) client: Client,
    pub(super) stage: Stage,
    /// The relayed transport address, and the second one of a dual allocation.
    pub(super) relayed: Option<SocketAddr>,
    pub(super) relayed_additional: Option<SocketAddr>,
    /// Its own address as the server sees it.
    pub(super) mapped: Option<SocketAddr>,
    /// The next port, kept for the other half of the pair.
    pub(super) reservation: Option<ReservationToken>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) channel: u16,
    /// What its data goes over, where TCP is relayed.
    pub(super) data: Vec<DataConnection>,
    /// Requests the run depends on.
    pub(super) essential: Vec<RequestId>,
    /// How often this session began again on another socket.
    pub(super) restarts: u8,
    /// Messages that will not come back, as far as pacing is concerned.
    pub(super) written_off: u64,
    pub(super) counts: Counts,
    pub(super) delays: Delays,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not started.
    Idle,
    /// Waits for the answer to its Allocate request.
    Allocating,
    /// Has an allocation and takes it along to another socket.
    Moving,
    /// Has an allocation but no way to its peer.
    Allocated,
    /// Waits for its permission or channel.
    Opening,
    /// Waits for connections that carry its data.
    Joining,
    /// May send.
    Open,
    /// Waits for its allocation to be deleted.
    Deleting,
    /// Done.
    Closed,
}

/// What one session sent and received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    /// Messages the system would not take.
    pub(super) send_dropped: u64,
}

/// How long messages took and how unevenly they came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delays {
    pub(super) delay: Spread,
    pub(super) jitter: Spread,
    last: Option<Duration>,
}

/// Smallest, largest and sum of some durations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    pub(super) count: u64,
    pub(super) total: Duration,
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Session {
    /// A session with a server that bears the name `domain`, or else the one that was typed.
    pub(super) fn open(
        settings: &Settings,
        server: SocketAddr,
        domain: Option<&str>,
        number: usize,
    ) -> Result<Self> {
        let transport = Transport::open(settings, server, domain)?;
        if settings.verbose {
            let local = transport.local_address()?;
            info!("{}. Connected from: {local}", family(&local));
            info!("{}. Connected to: {server}", family(&server));
        }
        Ok(Session {
            transport,
            left: None,
            watched: Interest::Input,
            server,
            domain: domain.map(Box::from),
            client: Client::new(settings.client.clone(), randomness::random()?),
            stage: Stage::Idle,
            relayed: None,
            relayed_additional: None,
            mapped: None,
            reservation: None,
            peer: None,
            channel: FIRST_CHANNEL + (number % CHANNELS) as u16,
            data: Vec::new(),
            essential: Vec::new(),
            restarts: 0,
            written_off: 0,
            counts: Counts::default(),
            delays: Delays::default(),
        })
    }

    /// Messages sent and neither received nor written off.
    pub(super) fn outstanding(&self) -> u64 {
        self.counts.sent.saturating_sub(self.counts.received).saturating_sub(self.written_off)
    }

    /// Sends what the protocol has to send. What is lost on the way is retransmitted later.
    pub(super) fn transmit(&mut self, buffer: &mut [u8]) {
        while let Some(length) = self.client.poll_transmit(buffer) {
            self.transport.send(&buffer[..length]);
        }
    }
}

impl Delays {
    /// Notes a message that took `delay`.
    pub(super) fn note(&mut self, delay: Duration) {
        self.delay.note(delay);
        if let Some(last) = self.last.replace(delay) {
            self.jitter.note(delay.abs_diff(last));
        }
    }
}

impl Spread {
    pub(super) fn note(&mut self, value: Duration) {
        self.merge(Spread { count: 1, total: value, min: value, max: value });
    }

    pub(super) fn merge(&mut self, other: Spread) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.total += other.total;
    }

    pub(super) fn average_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.total.as_secs_f64() * 1e3 / self.count as f64 }
    }
}

/// Channels RFC 8656 §12 allows: 0x4000 to 0x4FFF.
const FIRST_CHANNEL: u16 = 0x4000;
const CHANNELS: usize = 0x1000;
