//! Relayed traffic at a steady pace, both ways, each packet checked where it arrives.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use turnpike_wire::{CHANNEL_HEADER, ChannelData, channel_data_header};

use crate::calls::{CHANNEL, Calls};
use crate::payload::{Direction, LONGEST_PAYLOAD, Pattern, Stamp};
use crate::stop::Stop;
use crate::syscalls::{BATCH, Epoll, Inbox, segment_sends, send_to_each};

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Bytes of each payload.
    pub(crate) payload: usize,
    /// Packets of one call sent back to back; 1 for an even stream.
    pub(crate) burst: usize,
    /// Over all calls and both directions.
    pub(crate) packets_per_second: f64,
    /// Packets leave in groups, one every tick, as a network card that moderates its interrupts hands them on.
    pub(crate) tick: Duration,
    pub(crate) duration: Duration,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) sent: u64,
    /// Whole packets that arrived where they belong.
    pub(crate) delivered: u64,
    /// Packets that arrived damaged or in the wrong place.
    pub(crate) bad: u64,
    /// Whole packets that arrived after a later one of the same call, or twice.
    pub(crate) out_of_order: u64,
    /// Packets the generator's own sockets had no room for.
    pub(crate) refused: u64,
    /// How long sending took; longer than asked when the generator did not keep up.
    pub(crate) sending: Duration,
    /// One-way times in nanoseconds, of a sample of the packets.
    pub(crate) one_way: Vec<u64>,
}

impl Delivery {
    /// Share of the packets sent that never arrived whole, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 1.0 - self.delivered.min(self.sent) as f64 / self.sent as f64 }
    }

    /// Packets a second that were really sent.
    pub(crate) fn offered_rate(&self) -> f64 {
        self.sent as f64 / self.sending.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Sends and checks packets of established calls.
pub(crate) struct Generator<'c> {
    calls: &'c Calls,
    pattern: Pattern,
    epoll: Epoll,
    inbox: Inbox,
    /// For each call, to the peer and to the client: the number last sent and the number last received.
    sent: Vec<[u32; 2]>,
    received: Vec<[u32; 2]>,
    run: u32,
    next_slot: usize,
    segments: bool,
    buffer: Vec<u8>,
    outbox: Outbox,
    relayed: Vec<SocketAddrV4>,
}

/// What one peer's socket will send at once.
#[derive(Default)]
struct Outbox {
    peer: usize,
    bytes: Vec<u8>,
    addresses: Vec<SocketAddrV4>,
}

impl<'c> Generator<'c> {
    /// A generator for calls that are established. A payload size fits one generator only: bursts are cut by
    /// the sockets, which are told the size here.
    pub(crate) fn new(calls: &'c Calls, payload: usize, burst: usize) -> Result<Self> {
        ensure!(calls.relayed.len() == calls.count(), "the calls are not established");
        let relayed = calls.relayed.iter().map(|address| match address {
            SocketAddr::V4(address) => Ok(*address),
            SocketAddr::V6(address) => bail!("{address} is no IPv4 address"),
        });
        let relayed = relayed.collect::<Result<Vec<_>>>()?;
        let epoll = Epoll::new()?;
        for (call, socket) in calls.clients.iter().enumerate() {
            epoll.add(socket, call as u64)?;
        }
        for (peer, socket) in calls.peers.iter().enumerate() {
            epoll.add(socket, PEER | peer as u64)?;
        }
        if burst > 1 {
            for socket in &calls.clients {
                segment_sends(socket, CHANNEL_HEADER + payload).context("UDP_SEGMENT")?;
            }
            for socket in &calls.peers {
                segment_sends(socket, payload).context("UDP_SEGMENT")?;
            }
        }
        Ok(Generator {
            calls,
            pattern: Pattern::new(),
            epoll,
            inbox: Inbox::new(),
            sent: vec![[0; 2]; calls.count()],
            received: vec![[0; 2]; calls.count()],
            run: 0,
            next_slot: 0,
            segments: burst > 1,
            buffer: Vec::new(),
            outbox: Outbox::default(),
            relayed,
        })
    }

    /// Runs one load to its end and waits for the last packets.
    pub(crate) fn run(&mut self, load: &Load, stop: &Stop) -> Result<Delivery> {
        ensure!(self.segments == (load.burst > 1), "the sockets were prepared for another burst");
        self.run += 1;
        self.sent.fill([0; 2]);
        self.received.fill([0; 2]);
        let mut delivery = Delivery::default();
        let bursts_per_second = load.packets_per_second / load.burst as f64;
        let bursts = (bursts_per_second * load.duration.as_secs_f64()) as u64;
        let tick = load.tick.as_secs_f64();
        let begun = Instant::now();
        let (mut done, mut turns) = (0u64, 0u32);
        while done < bursts && begun.elapsed() < load.duration * 2 {
            let elapsed = (begun.elapsed().as_secs_f64() / tick).floor() * tick;
            let due = ((elapsed * bursts_per_second) as u64 + 1).min(bursts);
            let now = due.min(done + CATCH_UP / load.burst as u64);
            while done < now {
                self.send_burst(load, begun, &mut delivery)?;
                done += 1;
            }
            self.flush(load, &mut delivery)?;
            let next = ((done as f64 / bursts_per_second / tick).ceil() * tick
                - begun.elapsed().as_secs_f64())
            .max(0.0);
            self.receive(load, begun, Duration::from_secs_f64(next), &mut delivery)?;
            turns = turns.wrapping_add(1);
            if turns % 1024 == 0 {
                stop.check()?;
            }
        }
        delivery.sending = begun.elapsed();
        self.wait_for_the_last(load, begun, &mut delivery)?;
        Ok(delivery)
    }

    fn wait_for_the_last(&mut self, load: &Load, begun: Instant, delivery: &mut Delivery) -> Result<()> {
        let mut quiet_since = Instant::now();
        while delivery.delivered < delivery.sent && quiet_since.elapsed() < DRAIN {
            let before = delivery.delivered;
            self.receive(load, begun, DRAIN / 4, delivery)?;
            if delivery.delivered > before {
                quiet_since = Instant::now();
            }
        }
        Ok(())
    }

    /// Sends the next call's next burst; calls take turns, and so do directions.
    fn send_burst(&mut self, load: &Load, begun: Instant, delivery: &mut Delivery) -> Result<()> {
        let slot = self.next_slot;
        self.next_slot = (slot + 1) % (2 * self.calls.count());
        let (call, direction) = match slot % 2 {
            0 => (slot / 2, Direction::ToPeer),
            _ => (slot / 2, Direction::ToClient),
        };
        let header = if direction == Direction::ToPeer { CHANNEL_HEADER } else { 0 };
        let each = header + load.payload;
        let sent = begun.elapsed().as_nanos() as u64;
        let buffer = match direction {
            Direction::ToPeer => &mut self.buffer,
            Direction::ToClient => {
                let peer = self.calls.peer_of(call);
                if self.outbox.peer != peer || self.outbox.addresses.len() == BATCH {
                    self.flush(load, delivery)?;
                }
                self.outbox.peer = peer;
                self.outbox.addresses.push(self.relayed[call]);
                &mut self.outbox.bytes
            }
        };
        let start = buffer.len();
        buffer.resize(start + each * load.burst, 0);
        let number = &mut self.sent[call][direction as usize];
        for packet in buffer[start..].chunks_mut(each) {
            *number += 1;
            packet[..header].copy_from_slice(&channel_data_header(CHANNEL, load.payload as u16)[..header]);
            let stamp = Stamp { direction, call: call as u32, number: *number, run: self.run, sent };
            self.pattern.write(&stamp, &mut packet[header..]);
        }
        if direction == Direction::ToPeer {
            match self.calls.clients[call].send(&self.buffer) {
                Ok(_) => delivery.sent += load.burst as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    delivery.refused += load.burst as u64;
                }
                Err(error) => return Err(error).context("send a packet: did the server end?"),
            }
            self.buffer.clear();
        }
        Ok(())
    }

    /// Sends what one peer has to send. Peers stand for many machines, so what they send at the same moment may
    /// leave in one system call.
    fn flush(&mut self, load: &Load, delivery: &mut Delivery) -> Result<()> {
        let Outbox { peer, bytes, addresses } = &mut self.outbox;
        let each = load.payload * load.burst;
        let sent = send_to_each(&self.calls.peers[*peer], bytes, each, addresses)
            .context("send packets from a peer")?;
        delivery.sent += (sent * load.burst) as u64;
        delivery.refused += ((addresses.len() - sent) * load.burst) as u64;
        bytes.clear();
        addresses.clear();
        Ok(())
    }

    /// Waits up to `timeout` for packets and checks those that came.
    fn receive(
        &mut self,
        load: &Load,
        begun: Instant,
        timeout: Duration,
        delivery: &mut Delivery,
    ) -> Result<()> {
        let Generator { calls, pattern, epoll, inbox, received, run, relayed, segments, .. } = self;
        for token in epoll.wait(timeout)? {
            let mut check = |payload: Option<&[u8]>, belongs: &dyn Fn(&Stamp) -> bool| {
                let stamp = payload.and_then(|payload| pattern.read(payload, load.payload));
                match stamp {
                    Some(stamp) if stamp.run != *run => {}
                    Some(stamp) if belongs(&stamp) => note(&stamp, received, begun, delivery),
                    _ => delivery.bad += 1,
                }
            };
            if token & PEER != 0 {
                let peer = (token & !PEER) as usize;
                drain(inbox, &calls.peers[peer], |bytes, source| {
                    check(Some(bytes), &|stamp| {
                        let call = stamp.call as usize;
                        stamp.direction == Direction::ToPeer
                            && calls.peer_of(call) == peer
                            && relayed.get(call) == Some(&source)
                    });
                })?;
            } else {
                let mut take = |bytes: &[u8]| {
                    let message = ChannelData::parse(bytes).ok();
                    let message = message.filter(|message| message.channel == CHANNEL);
                    check(message.map(|message| message.data), &|stamp| {
                        stamp.direction == Direction::ToClient && u64::from(stamp.call) == token
                    });
                };
                let socket = &calls.clients[token as usize];
                if *segments {
                    drain(inbox, socket, |bytes, _| take(bytes))?;
                } else {
                    // A thin stream has one packet waiting: asking for more would cost more than it brings.
                    let mut bytes = [0; CHANNEL_HEADER + LONGEST_PAYLOAD + 1];
                    match socket.recv(&mut bytes) {
                        Ok(length) => take(&bytes[..length]),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error).context("receive a packet: did the server end?"),
                    }
                }
            }
        }
        Ok(())
    }
}

fn note(stamp: &Stamp, received: &mut [[u32; 2]], begun: Instant, delivery: &mut Delivery) {
    let last = &mut received[stamp.call as usize][stamp.direction as usize];
    delivery.delivered += 1;
    if stamp.number <= *last {
        delivery.out_of_order += 1;
    } else {
        *last = stamp.number;
    }
    if delivery.delivered.is_multiple_of(LATENCY_SAMPLE) {
        delivery.one_way.push((begun.elapsed().as_nanos() as u64).saturating_sub(stamp.sent));
    }
}

fn drain(inbox: &mut Inbox, socket: &UdpSocket, each: impl FnMut(&[u8], SocketAddrV4)) -> Result<()> {
    inbox.receive(socket, each).map(drop).context("receive packets: did the server end?")
}

/// Marks the token of a peer's socket.
const PEER: u64 = 1 << 63;
/// Packets sent at most before looking at what arrived.
const CATCH_UP: u64 = 32;
/// Every so many packets one is timed.
const LATENCY_SAMPLE: u64 = 16;
const DRAIN: Duration = Duration::from_millis(200);
