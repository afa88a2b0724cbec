//! Allocations that come and go: each cycle is a new client that allocates, binds a channel, refreshes and deletes.
//! Cycles begin at an even pace whether the server keeps up or not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use turnpike_client::{Client, Event, RequestError};

use super::{Account, CATCH_UP, Control, HOPELESS, Pace, TIMER_TICK, Task, failure_text};
use crate::commands::load::carrier::{Carrier, Source};
use crate::commands::load::recorder::Recorder;
use crate::randomness;

/// Runs one thread's share until it is told to stop.
pub(super) fn run(task: &Task, control: &Control, account: &Account) -> Result<()> {
    let mut carrier = Carrier::new(&task.target, task.local)?;
    let (_, peer) = carrier.open_peer(task.peer_address)?;
    let most = (task.clients / task.threads).max(1);
    let mut churn = Churn {
        task,
        control,
        account,
        carrier,
        peer,
        cycles: Vec::new(),
        free: (0..most).rev().collect(),
        most,
        pace: Pace::default(),
        events: Vec::new(),
        output: vec![0; 4096].into(),
        next_timers: 0,
    };
    churn.cycles.resize_with(most, || None);
    while !control.is_stopping() {
        churn.begin_due(f64::from(control.level()) / task.threads as f64)?;
        churn.turn()?;
    }
    churn.finish()
}

struct Churn<'t> {
    task: &'t Task,
    control: &'t Control,
    account: &'t Account,
    carrier: Carrier,
    peer: SocketAddr,
    cycles: Vec<Option<Cycle>>,
    /// Places without a cycle.
    free: Vec<usize>,
    most: usize,
    pace: Pace,
    events: Vec<(usize, Option<Event>)>,
    output: Box<[u8]>,
    next_timers: u64,
}

/// One client's life.
struct Cycle {
    client: Client,
    step: Step,
    /// When the step's request was due.
    due: u64,
}

/// The request a cycle waits for: its number among the profile's series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Allocate,
    BindChannel,
    Refresh,
    Delete,
}

impl Churn<'_> {
    fn turn(&mut self) -> Result<()> {
        self.carrier.flush();
        self.carrier.wait(self.pace.patience(self.control.now()))?;
        self.receive()?;
        let now = self.control.now();
        if now >= self.next_timers {
            self.next_timers = now + TIMER_TICK;
            self.handle_timers(now);
        }
        Ok(())
    }

    fn begin_due(&mut self, per_second: f64) -> Result<()> {
        let account = self.account;
        for _ in 0..CATCH_UP {
            let now = self.control.now();
            let Some(due) = self.pace.due(now, per_second) else { break };
            let mut recorder = account.lock();
            let late = now - due;
            if late > HOPELESS {
                recorder.tally(due, Step::Allocate as usize).unsent += 1;
                continue;
            }
            recorder.at(due).lateness.note(late);
            let tally = recorder.tally(due, Step::Allocate as usize);
            tally.sent += 1;
            let Some(place) = self.free.pop() else {
                // All clients still wait for the server.
                tally.no_room += 1;
                continue;
            };
            drop(recorder);
            self.begin(place, due, now)?;
        }
        Ok(())
    }

    fn begin(&mut self, place: usize, due: u64, now: u64) -> Result<()> {
        self.carrier.open(place)?;
        let mut client = Client::new(Arc::clone(&self.task.client), randomness::random()?);
        client.allocate(Duration::from_nanos(now), self.task.allocate_options())?;
        self.cycles[place] = Some(Cycle { client, step: Step::Allocate, due });
        self.transmit(place);
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let account = self.account;
        let mut recorder = account.lock();
        let Churn { control, carrier, cycles, events, .. } = self;
        carrier.receive(|source, bytes| {
            let Source::Server(place) = source else { return };
            let Some(Some(cycle)) = cycles.get_mut(place) else { return };
            events.push((place, cycle.client.handle_input(Duration::from_nanos(control.now()), bytes)));
        })?;
        account.dropped.fetch_add(carrier.take_dropped(), Ordering::Relaxed);
        for (place, event) in std::mem::take(&mut self.events) {
            if let Some(event) = event {
                self.handle_event(place, event, &mut recorder);
            }
            self.transmit(place);
        }
        Ok(())
    }

    fn handle_event(&mut self, place: usize, event: Event, recorder: &mut Recorder) {
        let now = self.control.now();
        let Some(cycle) = &mut self.cycles[place] else { return };
        let next = match (event, cycle.step) {
            (Event::Allocated(_), Step::Allocate) => Some(Step::BindChannel),
            (Event::ChannelBound { .. }, Step::BindChannel) => Some(Step::Refresh),
            (Event::Refreshed { .. }, Step::Refresh) => Some(Step::Delete),
            (Event::Deleted { .. }, Step::Delete) => None,
            (Event::Failed { method, failure, .. }, _) => {
                return self.fail(place, failure_text(method, &failure), recorder);
            }
            _ => return,
        };
        let tally = recorder.tally(cycle.due, cycle.step as usize);
        tally.received += 1;
        tally.latency.note(now.saturating_sub(cycle.due));
        let Some(step) = next else {
            self.account.established.fetch_add(1, Ordering::Relaxed);
            return self.end(place);
        };
        (cycle.step, cycle.due) = (step, now);
        recorder.tally(now, step as usize).sent += 1;
        let at = Duration::from_nanos(now);
        let begun: Result<_, RequestError> = match step {
            Step::BindChannel => cycle.client.bind_channel(at, CHANNEL, self.peer),
            Step::Delete => cycle.client.delete(at),
            Step::Refresh | Step::Allocate => cycle.client.refresh(at, None, None),
        };
        if let Err(error) = begun {
            self.fail(place, error.to_string(), recorder);
        }
    }

    fn fail(&mut self, place: usize, why: String, recorder: &mut Recorder) {
        if let Some(cycle) = &self.cycles[place] {
            recorder.tally(cycle.due, cycle.step as usize).failed += 1;
            recorder.note_failure(why);
            self.account.failed.fetch_add(1, Ordering::Relaxed);
            self.end(place);
        }
    }

    fn end(&mut self, place: usize) {
        self.cycles[place] = None;
        self.carrier.close(place);
        self.free.push(place);
    }

    fn handle_timers(&mut self, now: u64) {
        let account = self.account;
        account.note_busy();
        let mut recorder = account.lock();
        let now = Duration::from_nanos(now);
        for place in 0..self.cycles.len() {
            if self.cycles[place].is_none() {
                continue;
            }
            if let Some(trouble) = self.carrier.trouble(place) {
                self.fail(place, trouble, &mut recorder);
            }
            let Some(cycle) = &mut self.cycles[place] else { continue };
            if cycle.client.poll_timeout().is_none_or(|due| due > now) {
                continue;
            }
            cycle.client.handle_timeout(now);
            while let Some(event) = self.cycles[place].as_mut().and_then(|cycle| cycle.client.poll_event()) {
                self.handle_event(place, event, &mut recorder);
            }
            self.transmit(place);
        }
    }

    fn transmit(&mut self, place: usize) {
        let Some(cycle) = &mut self.cycles[place] else { return };
        while let Some(length) = cycle.client.poll_transmit(&mut self.output) {
            self.carrier.send(place, &self.output[..length]);
        }
    }

    /// Lets the cycles under way come to their end.
    fn finish(&mut self) -> Result<()> {
        self.pace = Pace::default();
        let deadline = self.control.now() + super::GOODBYE;
        while self.free.len() < self.most && self.control.now() < deadline {
            self.turn()?;
        }
        Ok(())
    }
}

const CHANNEL: u16 = 0x4000;
