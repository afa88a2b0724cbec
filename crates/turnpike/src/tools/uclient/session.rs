//! One client of many: its socket, its protocol state and what it has counted.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use turnpike_client::{Client, RequestId};
use turnpike_wire::attributes::ReservationToken;

use super::settings::Settings;
use crate::tools::output::{family, info};
use crate::tools::randomness;

/// One client on its own socket.
pub(super) struct Session {
    pub(super) socket: UdpSocket,
    pub(super) client: Client,
    pub(super) stage: Stage,
    /// The relayed transport address, and the second one of a dual allocation.
    pub(super) relayed: Option<SocketAddr>,
    pub(super) relayed_additional: Option<SocketAddr>,
    /// The next port, kept for the other half of the pair.
    pub(super) reservation: Option<ReservationToken>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) channel: u16,
    /// Requests the run depends on.
    pub(super) essential: Vec<RequestId>,
    /// How often this session began again on another socket.
    pub(super) restarts: u8,
    /// Messages that will not come back, as far as pacing is concerned.
    pub(super) written_off: u64,
    /// Whether the server's host said that nobody listens there.
    pub(super) refused: bool,
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
    /// Has an allocation but no way to its peer.
    Allocated,
    /// Waits for its permission or channel.
    Opening,
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
    pub(super) fn open(settings: &Settings, server: SocketAddr, number: usize) -> Result<Self> {
        let socket = open_socket(settings, server)?;
        if settings.verbose {
            let local = socket.local_addr()?;
            info!("{}. Connected from: {local}", family(&local));
            info!("{}. Connected to: {server}", family(&server));
        }
        Ok(Session {
            socket,
            client: Client::new(settings.client.clone(), randomness::seed()?),
            stage: Stage::Idle,
            relayed: None,
            relayed_additional: None,
            reservation: None,
            peer: None,
            channel: FIRST_CHANNEL + (number % CHANNELS) as u16,
            essential: Vec::new(),
            restarts: 0,
            written_off: 0,
            refused: false,
            counts: Counts::default(),
            delays: Delays::default(),
        })
    }

    /// Starts again on a new socket, perhaps at another server.
    pub(super) fn restart(&mut self, settings: &Settings, server: SocketAddr, number: usize) -> Result<()> {
        let restarts = self.restarts + 1;
        *self = Session::open(settings, server, number)?;
        self.restarts = restarts;
        Ok(())
    }

    /// Messages sent and neither received nor written off.
    pub(super) fn outstanding(&self) -> u64 {
        self.counts.sent.saturating_sub(self.counts.received).saturating_sub(self.written_off)
    }

    /// Sends what the protocol has to send. What the system does not take now is retransmitted later.
    pub(super) fn transmit(&mut self, buffer: &mut [u8]) {
        while let Some(length) = self.client.poll_transmit(buffer) {
            let _ = self.socket.send(&buffer[..length]);
        }
    }

    /// The next datagram, if one is there. ICMP errors are noted and skipped: requests have their timers.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        for _ in 0..SKIPPED_ERRORS {
            match self.socket.recv(buffer) {
                Ok(length) => return Some(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => self.refused |= error.kind() == io::ErrorKind::ConnectionRefused,
            }
        }
        None
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

fn open_socket(settings: &Settings, server: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, Some(Protocol::UDP))?;
    // Bursts of replies wait here while other sessions are served; a refusal leaves the system's size.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    #[cfg(target_os = "linux")]
    if let Some(device) = &settings.device {
        socket
            .bind_device(Some(device.as_bytes()))
            .with_context(|| format!("cannot use the interface {device}"))?;
    }
    if let Some(local) = settings.local {
        socket
            .bind(&SocketAddr::new(local, 0).into())
            .with_context(|| format!("cannot use the address {local}"))?;
    }
    socket.connect(&server.into()).with_context(|| format!("cannot reach {server}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Channels RFC 8656 §12 allows: 0x4000 to 0x4FFF.
const FIRST_CHANNEL: u16 = 0x4000;
const CHANNELS: usize = 0x1000;
const SOCKET_BUFFER: usize = 1 << 20;
/// Pending ICMP errors read past before giving up until the socket is ready again.
const SKIPPED_ERRORS: usize = 16;
