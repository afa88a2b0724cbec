//! Sending the messages and waiting for what comes back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use anyhow::Result;

use super::message;
use super::session::Stage;
use super::sessions::{Sessions, TIMER_TICK};
use super::settings::Load;
use super::summary::Totals;
use super::tcp_relay::next_end;
use crate::tools::output::info;

/// Sends all messages and returns when they came back, or when nothing came for a while.
pub(super) fn run(sessions: &mut Sessions) -> Result<()> {
    let mut traffic = Traffic::new(sessions);
    loop {
        let now = sessions.now();
        traffic.write_off(sessions, now);
        traffic.send_due(sessions, now);
        traffic.report(sessions, now);
        if traffic.is_over(sessions, now) {
            return Ok(());
        }
        sessions.turn(traffic.patience(sessions.now()))?;
    }
}

struct Traffic {
    /// When each session sends next; sessions that are done are missing.
    schedule: BinaryHeap<Reverse<(Duration, usize)>>,
    payload: Vec<u8>,
    /// Whether every session waits for answers, or for room.
    held_back: bool,
    last_write_off: Duration,
    /// What each session had received by then.
    received_before: Vec<u64>,
    last_report: Duration,
    reported: Totals,
    /// When the count of received messages last grew, once all is sent.
    last_arrival: Duration,
    received: u64,
}

impl Traffic {
    /// The sessions start evenly spread over one interval.
    fn new(sessions: &Sessions) -> Self {
        let now = sessions.now();
        let count = sessions.all.len();
        let start = |number: usize| now + sessions.settings.interval.mul_f64(number as f64 / count as f64);
        let open = (0..count).filter(|&number| sessions.all[number].stage == Stage::Open);
        Traffic {
            schedule: open.map(|number| Reverse((start(number), number))).collect(),
            held_back: false,
            payload: vec![b'.'; sessions.settings.length],
            last_write_off: now,
            received_before: vec![0; count],
            last_report: now,
            reported: Totals::default(),
            last_arrival: now,
            received: 0,
        }
    }

    /// Sends what is due, at most one message of each session, so that answers are read in between.
    fn send_due(&mut self, sessions: &mut Sessions, now: Duration) {
        self.held_back = Traffic::window(sessions).is_some() && !self.schedule.is_empty();
        for _ in 0..self.schedule.len() {
            match self.schedule.peek() {
                Some(Reverse((due, _))) if *due <= now => {}
                _ => return,
            }
            let Some(Reverse((due, number))) = self.schedule.pop() else { return };
            if self.send(sessions, number) {
                let interval = sessions.settings.interval;
                let next = if interval.is_zero() { now + SHORTEST_INTERVAL } else { due + interval };
                self.schedule.push(Reverse((next, number)));
            }
        }
    }

    /// Without an interval a session waits for answers when this many are missing, so that the run finds the
    /// speed of the server rather than the size of its socket buffers.
    fn window(sessions: &Sessions) -> Option<u64> {
        let open = sessions.all.len() as u64;
        sessions.settings.interval.is_zero().then(|| (MOST_OUTSTANDING / open).max(2))
    }

    /// Sends one message and says whether more are to follow.
    fn send(&mut self, sessions: &mut Sessions, number: usize) -> bool {
        let now = sessions.now();
        let window = Traffic::window(sessions);
        let settings = &sessions.settings;
        let session = &mut sessions.all[number];
        if session.stage != Stage::Open {
            return false;
        }
        // A connection slows its sender down instead of losing what it has no room for.
        let waits = window.is_some_and(|window| session.outstanding() >= window);
        if waits || session.transport.is_congested() {
            return true;
        }
        self.held_back = false;
        let attempts = session.counts.sent + session.counts.send_dropped;
        message::write_head(&mut self.payload, number as u32, attempts as u32, now);
        if settings.tcp_relay.is_some() {
            return self.send_as_it_is(sessions, number, attempts);
        }
        let Some(peer) = session.peer else { return false };
        let written = if settings.send_indications {
            session.client.write_send_indication(peer, &self.payload, &mut sessions.output)
        } else {
            session.client.write_channel_data(session.channel, &self.payload, &mut sessions.output)
        };
        let Ok(mut length) = written else { return false };
        if settings.pad_channel_data && !settings.send_indications {
            let padded = length.next_multiple_of(4);
            sessions.output[length..padded].fill(0);
            length = padded;
        }
        if session.transport.send(&sessions.output[..length]) {
            session.counts.sent += 1;
            session.counts.sent_bytes += self.payload.len() as u64;
        } else {
            session.counts.send_dropped += 1;
        }
        if settings.random_disconnect && attempts + 1 >= DISCONNECT_AFTER && number % 2 == 1 {
            session.stage = Stage::Closed;
            return false;
        }
        settings.messages.is_none_or(|messages| attempts + 1 < messages)
    }

    /// Sends a message over one of a session's own connections.
    fn send_as_it_is(&mut self, sessions: &mut Sessions, number: usize, attempts: u64) -> bool {
        let session = &mut sessions.all[number];
        let Some(end) = next_end(session, attempts) else { return false };
        if end.transport.is_congested() {
            return true;
        }
        if end.transport.send(&self.payload) {
            session.counts.sent += 1;
            session.counts.sent_bytes += self.payload.len() as u64;
        } else {
            session.counts.send_dropped += 1;
        }
        let settings = &sessions.settings;
        settings.messages.is_none_or(|messages| attempts + 1 < messages * settings.ends() as u64)
    }

    /// Messages that did not come back for a while hold nobody up any longer.
    fn write_off(&mut self, sessions: &mut Sessions, now: Duration) {
        if now.saturating_sub(self.last_write_off) < WRITE_OFF_AFTER {
            return;
        }
        self.last_write_off = now;
        for (session, before) in sessions.all.iter_mut().zip(&mut self.received_before) {
            if session.counts.received == *before {
                session.written_off += session.outstanding();
            }
            *before = session.counts.received;
        }
    }

    /// Once a second.
    fn report(&mut self, sessions: &Sessions, now: Duration) {
        let elapsed = now.saturating_sub(self.last_report);
        if elapsed < Duration::from_secs(1) {
            return;
        }
        let totals = Totals::of(&sessions.all);
        if sessions.settings.load == Some(Load::Packet) {
            let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / elapsed.as_secs_f64();
            info!(
                "start_mclient: send_pps={:.6}, recv_pps={:.6}, total_sent={}, total_recv={}",
                per_second(totals.counts.sent, self.reported.counts.sent),
                per_second(totals.counts.received, self.reported.counts.received),
                totals.counts.sent,
                totals.counts.received,
            );
        } else {
            totals.print_progress(sessions.all.len());
        }
        self.last_report = now;
        self.reported = totals;
    }

    fn is_over(&mut self, sessions: &Sessions, now: Duration) -> bool {
        if !self.schedule.is_empty() || sessions.settings.hang {
            self.last_arrival = now;
            return false;
        }
        let sent = sessions.all.iter().map(|session| session.counts.sent).sum::<u64>();
        let received = sessions.all.iter().map(|session| session.counts.received).sum::<u64>();
        if received != self.received {
            self.received = received;
            self.last_arrival = now;
        }
        received >= sent || now.saturating_sub(self.last_arrival) >= PATIENCE
    }

    /// How long there is nothing to send. When all sessions wait for answers, those wake the loop.
    fn patience(&self, now: Duration) -> Duration {
        if self.held_back {
            return HELD_BACK;
        }
        match self.schedule.peek() {
            Some(Reverse((due, _))) => due.saturating_sub(now).min(TIMER_TICK),
            None => TIMER_TICK,
        }
    }
}

/// Unanswered messages of all sessions together when there is no interval: about what a default socket buffer
/// holds.
const MOST_OUTSTANDING: u64 = 128;
const HELD_BACK: Duration = Duration::from_millis(1);
const WRITE_OFF_AFTER: Duration = Duration::from_millis(200);
/// Without an interval a session's turn comes again after this.
const SHORTEST_INTERVAL: Duration = Duration::from_nanos(1);
/// How long to wait for messages that did not come back.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages before a session chosen by `-B` falls silent.
const DISCONNECT_AFTER: u64 = 3;
