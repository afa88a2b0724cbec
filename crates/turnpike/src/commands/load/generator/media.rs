//! Calls that stay up and carry packets both ways: an allocation each, a channel to a peer of our own, and streams that
//! leave both ends at an even pace.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, anyhow};
use turnpike_client::{Client, Event};

use super::{Account, CATCH_UP, Control, DRAIN, GOODBYE, HOPELESS, TIMER_TICK, TURN, Task, failure_text};
use crate::commands::load::arrivals::{Arrival, Arrivals};
use crate::commands::load::carrier::{Carrier, Source};
use crate::commands::load::recorder::Recorder;
use crate::commands::load::stamp::{Direction, Filler, LONGEST_PAYLOAD, Stamp};
use crate::randomness;

/// Runs one thread's share until it is told to stop.
pub(super) fn run(task: &Task, control: &Control, account: &Account, number: usize) -> Result<()> {
    let carrier = Carrier::new(&task.target, task.local)?;
    let mut media = Media {
        task,
        control,
        account,
        number,
        carrier,
        calls: Vec::new(),
        peers: Vec::new(),
        schedule: BinaryHeap::new(),
        filler: Filler::new(),
        events: Vec::new(),
        output: vec![0; OUTPUT].into(),
        next_timers: 0,
        round: 0,
        retries: Vec::new(),
    };
    while !control.is_stopping() {
        media.turn(true)?;
    }
    media.drain()?;
    media.say_goodbye()
}

struct Media<'t> {
    task: &'t Task,
    control: &'t Control,
    account: &'t Account,
    number: usize,
    carrier: Carrier,
    calls: Vec<Call>,
    /// The peers' addresses; calls that follow each other share one.
    peers: Vec<SocketAddr>,
    /// When each stream of each call has its next burst, each way.
    schedule: BinaryHeap<Reverse<(u64, Slot)>>,
    filler: Filler,
    /// What arrived besides media.
    events: Vec<(usize, Option<Event>)>,
    output: Box<[u8]>,
    next_timers: u64,
    round: u32,
    /// Calls that failed and are to be tried again.
    retries: Vec<usize>,
}

/// One stream of one call, one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    call: u32,
    stream: u8,
    to_client: bool,
}

struct Call {
    client: Client,
    stage: Stage,
    /// When its first request was made.
    begun: u64,
    relayed: Option<SocketAddr>,
    peer: usize,
    /// By direction.
    sent: [u32; 2],
    arrivals: [Arrivals; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    SettingUp,
    Open,
    Failed,
    Deleting,
    Ended,
}

impl Media<'_> {
    /// Sends what is due, waits for what arrives, and handles it.
    fn turn(&mut self, sending: bool) -> Result<()> {
        if sending {
            self.begin_calls()?;
            self.send_due();
        }
        self.carrier.flush();
        self.carrier.wait(self.patience(sending))?;
        self.receive()?;
        let now = self.control.now();
        if now >= self.next_timers {
            self.next_timers = now + TIMER_TICK;
            self.handle_timers(now);
        }
        Ok(())
    }

    /// How many calls this thread is to have.
    fn wanted(&self) -> usize {
        self.task.share(self.control.level(), self.number) as usize
    }

    /// Begins calls that are wanted, few at a time.
    fn begin_calls(&mut self) -> Result<()> {
        let (wanted, round) = (self.wanted(), self.control.round());
        if round != std::mem::replace(&mut self.round, round) {
            let failed = |call: &usize| self.calls[*call].stage == Stage::Failed;
            self.retries = (0..wanted.min(self.calls.len())).rev().filter(failed).collect();
        }
        if self.calls.len() >= wanted && self.retries.is_empty() {
            return Ok(());
        }
        let under_way = self.calls.iter().filter(|call| call.stage == Stage::SettingUp).count();
        for _ in under_way..MOST_UNDER_WAY {
            let number = match self.retries.pop() {
                Some(call) => call,
                None if self.calls.len() < wanted => self.calls.len(),
                None => break,
            };
            self.begin_call(number)?;
        }
        Ok(())
    }

    fn begin_call(&mut self, number: usize) -> Result<()> {
        let now = self.control.now();
        if number / CALLS_A_PEER >= self.peers.len() {
            let (_, address) = self.carrier.open_peer(self.task.peer_address)?;
            self.peers.push(address);
        }
        self.carrier.open(number)?;
        let mut client = Client::new(Arc::clone(&self.task.client), randomness::random()?);
        client.allocate(Duration::from_nanos(now), self.task.allocate_options())?;
        match self.calls.get_mut(number) {
            // Its numbers go on: late packets of its former life are still told apart.
            Some(call) => {
                (call.client, call.begun) = (client, now);
                (call.stage, call.relayed) = (Stage::SettingUp, None);
            }
            None => self.calls.push(Call {
                client,
                stage: Stage::SettingUp,
                begun: now,
                relayed: None,
                peer: number / CALLS_A_PEER,
                sent: [0; 2],
                arrivals: [Arrivals::default(); 2],
            }),
        }
        self.transmit(number);
        Ok(())
    }

    /// Spreads the call's streams over their period, as different callers are.
    fn schedule_call(&mut self, call: usize) {
        let now = self.control.now();
        let place = (call * self.task.threads + self.number) as f64;
        for (stream, kind) in self.task.streams.iter().enumerate() {
            for to_client in [false, true] {
                let phase =
                    (place * GOLDEN + if to_client { 0.5 } else { 0.0 } + stream as f64 * 0.25).fract();
                let due = now + (kind.period() as f64 * phase) as u64;
                let slot = Slot { call: call as u32, stream: stream as u8, to_client };
                self.schedule.push(Reverse((due, slot)));
            }
        }
    }

    fn send_due(&mut self) {
        let account = self.account;
        let mut recorder = account.lock();
        let (mut now, wanted) = (self.control.now(), self.wanted());
        let mut budget = CATCH_UP;
        while budget > 0
            && let Some(Reverse((due, slot))) = self.schedule.peek().copied()
            && due <= now
        {
            self.schedule.pop();
            let call = slot.call as usize;
            if self.calls[call].stage != Stage::Open {
                continue;
            }
            let stream = self.task.streams[usize::from(slot.stream)];
            let late = now - due;
            let period = stream.period();
            let mut next = due + period;
            if call >= wanted {
                // The load went down again: the call is silent until it comes back.
            } else if late > HOPELESS {
                let missed = late / period;
                recorder.tally(due, usize::from(slot.to_client)).unsent += missed * u64::from(stream.burst);
                next = due + missed.max(1) * period;
            } else {
                recorder.at(due).lateness.note(late);
                self.send_burst(slot, due, &mut recorder);
            }
            self.schedule.push(Reverse((next, slot)));
            budget = budget.saturating_sub(stream.burst);
            now = self.control.now();
        }
    }

    fn send_burst(&mut self, slot: Slot, due: u64, recorder: &mut Recorder) {
        let (index, series) = (slot.call as usize, usize::from(slot.to_client));
        let stream = self.task.streams[usize::from(slot.stream)];
        let call = &mut self.calls[index];
        let tally = recorder.tally(due, series);
        let direction = if slot.to_client { Direction::ToClient } else { Direction::ToPeer };
        let mut payload = [0; LONGEST_PAYLOAD];
        let payload = &mut payload[..stream.payload];
        for _ in 0..stream.burst {
            call.sent[series] += 1;
            tally.sent += 1;
            let stamp =
                Stamp { direction, run: self.task.run, call: slot.call, number: call.sent[series], due };
            stamp.write(&self.filler, payload);
            let gone = match direction {
                Direction::ToClient => {
                    let Some(relayed) = call.relayed else { return };
                    self.carrier.send_from_peer(call.peer, relayed, payload);
                    true
                }
                Direction::ToPeer => {
                    !self.carrier.is_congested(index)
                        && call
                            .client
                            .write_channel_data(CHANNEL, payload, &mut self.output)
                            .is_ok_and(|length| self.carrier.send(index, &self.output[..length]))
                }
            };
            tally.no_room += u64::from(!gone);
        }
    }

    fn receive(&mut self) -> Result<()> {
        let account = self.account;
        let mut recorder = account.lock();
        let Media { task, control, carrier, calls, filler, events, .. } = self;
        carrier.receive(|source, bytes| {
            let now = control.now();
            let (payload, series) = match source {
                Source::Relay(..) => (Some(bytes), 0),
                Source::Server(call) => {
                    let Some(client) = calls.get_mut(call).map(|call| &mut call.client) else { return };
                    match client.handle_input(Duration::from_nanos(now), bytes) {
                        Some(Event::Data { span, .. }) => (bytes.get(span), 1),
                        Some(event) => return events.push((call, Some(event))),
                        // A challenge: there is an answer to send.
                        None => return events.push((call, None)),
                    }
                }
            };
            let whole =
                payload.filter(|payload| task.streams.iter().any(|stream| stream.payload == payload.len()));
            match whole.and_then(|payload| Stamp::read(filler, payload)) {
                Some(stamp) if stamp.run != task.run => {}
                Some(stamp) if belongs(&stamp, source, calls) => {
                    note_arrival(&stamp, series, now, calls, &mut recorder);
                }
                _ => recorder.tally(now, series).damaged += 1,
            }
        })?;
        account.dropped.fetch_add(carrier.take_dropped(), Ordering::Relaxed);
        let events = std::mem::take(&mut self.events);
        for (call, event) in events {
            if let Some(event) = event {
                self.handle_event(call, event, &mut recorder);
            }
            self.transmit(call);
        }
        Ok(())
    }

    fn handle_event(&mut self, index: usize, event: Event, recorder: &mut Recorder) {
        let now = self.control.now();
        let peer = self.peers[self.calls[index].peer];
        let call = &mut self.calls[index];
        match event {
            Event::Allocated(allocated) if call.stage == Stage::SettingUp => {
                call.relayed = Some(allocated.relayed);
                if let Err(error) = call.client.bind_channel(Duration::from_nanos(now), CHANNEL, peer) {
                    self.end_call(index, error.to_string(), recorder);
                }
            }
            Event::ChannelBound { .. } if call.stage == Stage::SettingUp => {
                call.stage = Stage::Open;
                recorder.set_up.note(now - call.begun);
                self.schedule_call(index);
            }
            Event::Deleted { .. } => call.stage = Stage::Ended,
            Event::Failed { method, failure, .. } => {
                self.end_call(index, failure_text(method, &failure), recorder)
            }
            Event::Expired if call.client.relayed().is_none() && call.stage == Stage::Open => {
                self.end_call(index, "the allocation expired before it was refreshed".to_owned(), recorder);
            }
            _ => {}
        }
    }

    /// Counts a call that did not come about, or that ended before its time.
    fn end_call(&mut self, index: usize, why: String, recorder: &mut Recorder) {
        let call = &mut self.calls[index];
        if matches!(call.stage, Stage::Open | Stage::SettingUp) {
            call.stage = Stage::Failed;
            recorder.note_failure(why);
        } else {
            call.stage = Stage::Ended;
        }
    }

    fn handle_timers(&mut self, now: u64) {
        let account = self.account;
        account.note_busy();
        let mut recorder = account.lock();
        let now = Duration::from_nanos(now);
        for index in 0..self.calls.len() {
            if matches!(self.calls[index].stage, Stage::Failed | Stage::Ended) {
                continue;
            }
            if let Some(trouble) = self.carrier.trouble(index) {
                self.end_call(index, trouble, &mut recorder);
                continue;
            }
            let client = &mut self.calls[index].client;
            if client.poll_timeout().is_none_or(|due| due > now) {
                continue;
            }
            client.handle_timeout(now);
            while let Some(event) = self.calls[index].client.poll_event() {
                self.handle_event(index, event, &mut recorder);
            }
            self.transmit(index);
        }
        self.count_calls();
    }

    /// Tells how many of the calls wanted are up, and how many are not and will not be.
    fn count_calls(&self) {
        let wanted = &self.calls[..self.wanted().min(self.calls.len())];
        let count = |stage| wanted.iter().filter(|call| call.stage == stage).count() as u32;
        self.account.established.store(count(Stage::Open), Ordering::Relaxed);
        self.account.failed.store(count(Stage::Failed), Ordering::Relaxed);
    }

    fn transmit(&mut self, call: usize) {
        while let Some(length) = self.calls[call].client.poll_transmit(&mut self.output) {
            self.carrier.send(call, &self.output[..length]);
        }
    }

    fn patience(&self, sending: bool) -> Duration {
        match self.schedule.peek() {
            Some(Reverse((due, _))) if sending => {
                Duration::from_nanos(due.saturating_sub(self.control.now())).min(TURN)
            }
            _ => TURN,
        }
    }

    /// Waits for the last packets.
    fn drain(&mut self) -> Result<()> {
        let deadline = self.control.now() + DRAIN;
        while self.control.now() < deadline {
            self.turn(false)?;
            let recorder = self.account.lock();
            let mut tallies = recorder.intervals.iter().flat_map(|interval| &interval.tallies);
            if tallies.all(|tally| tally.lost() == 0) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the allocations back; what is not answered in time is left to expire.
    fn say_goodbye(&mut self) -> Result<()> {
        let deadline = self.control.now() + GOODBYE;
        let mut next = 0;
        loop {
            let mut under_way = self.calls.iter().filter(|call| call.stage == Stage::Deleting).count();
            while under_way < MOST_UNDER_WAY && next < self.calls.len() {
                let now = Duration::from_nanos(self.control.now());
                let call = &mut self.calls[next];
                if call.stage == Stage::Open {
                    call.client.delete(now).map_err(|error| anyhow!(error))?;
                    call.stage = Stage::Deleting;
                    under_way += 1;
                    self.transmit(next);
                }
                next += 1;
            }
            if (under_way == 0 && next >= self.calls.len()) || self.control.now() >= deadline {
                return Ok(());
            }
            self.turn(false)?;
        }
    }
}

/// Whether a packet came the way it was sent.
fn belongs(stamp: &Stamp, source: Source, calls: &[Call]) -> bool {
    match (source, calls.get(stamp.call as usize)) {
        (Source::Server(call), Some(_)) => {
            stamp.direction == Direction::ToClient && stamp.call as usize == call
        }
        (Source::Relay(peer, from), Some(call)) => {
            stamp.direction == Direction::ToPeer && call.peer == peer && call.relayed == Some(from)
        }
        (_, None) => false,
    }
}

fn note_arrival(stamp: &Stamp, series: usize, now: u64, calls: &mut [Call], recorder: &mut Recorder) {
    let Some(call) = calls.get_mut(stamp.call as usize) else { return };
    let took = now.saturating_sub(stamp.due);
    let arrival = call.arrivals[series].note(stamp.number, took);
    let tally = recorder.tally(stamp.due, series);
    match arrival {
        Arrival::Duplicate => {
            tally.duplicated += 1;
            return;
        }
        // It stays counted as lost.
        Arrival::TooLate => return,
        Arrival::Reordered => tally.reordered += 1,
        Arrival::InOrder => {}
    }
    tally.received += 1;
    tally.latency.note(took);
    tally.note_jitter(call.arrivals[series].jitter());
}

/// The channel every call binds; channels are counted per 5-tuple.
const CHANNEL: u16 = 0x4000;
/// Calls with requests under way at once, so that setting up thousands does not flood the server's buffer.
const MOST_UNDER_WAY: usize = 64;
/// Calls that share a peer's socket: a peer here stands for many.
pub(in crate::commands::load) const CALLS_A_PEER: usize = 8;
/// The largest request; ChannelData is shorter.
const OUTPUT: usize = 4096;
/// Steps of this share of a period never bunch up.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
