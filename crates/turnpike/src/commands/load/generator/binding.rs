//! A flood of Binding requests (RFC 8489 §2.1) from a number of clients, at an even pace. None is repeated: what is not
//! answered is lost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};

use super::{Account, CATCH_UP, Control, DRAIN, HOPELESS, Pace, TIMER_TICK, TURN, Task};
use crate::commands::load::arrivals::{Arrival, Arrivals};
use crate::commands::load::carrier::{Carrier, Source};

/// Runs one thread's share until it is told to stop.
pub(super) fn run(task: &Task, control: &Control, account: &Account) -> Result<()> {
    let count = (task.clients / task.threads).max(1);
    let mut carrier = Carrier::new(&task.target, task.local)?;
    for client in 0..count {
        carrier.open(client)?;
    }
    let clients = vec![Sender::default(); count];
    let mut binding =
        Binding { control, account, carrier, clients, next: 0, pace: Pace::default(), next_timers: 0 };
    while !control.is_stopping() {
        binding.send_due(f64::from(control.level()) / task.threads as f64);
        binding.turn(binding.pace.patience(control.now()))?;
    }
    binding.drain()
}

struct Binding<'t> {
    control: &'t Control,
    account: &'t Account,
    carrier: Carrier,
    clients: Vec<Sender>,
    /// Whose turn it is.
    next: usize,
    pace: Pace,
    next_timers: u64,
}

#[derive(Clone, Debug, Default)]
struct Sender {
    sent: u32,
    answers: Arrivals,
    /// Its connection has ended, and somebody was told.
    ended: bool,
}

impl Binding<'_> {
    fn turn(&mut self, patience: Duration) -> Result<()> {
        self.carrier.flush();
        self.carrier.wait(patience)?;
        self.receive()?;
        let now = self.control.now();
        if now >= self.next_timers {
            self.next_timers = now + TIMER_TICK;
            self.account.note_busy();
            self.look_for_trouble();
        }
        Ok(())
    }

    fn send_due(&mut self, per_second: f64) {
        let account = self.account;
        let mut recorder = account.lock();
        for _ in 0..CATCH_UP {
            let now = self.control.now();
            let Some(due) = self.pace.due(now, per_second) else { return };
            let late = now - due;
            if late > HOPELESS {
                recorder.tally(due, SERIES).unsent += 1;
                continue;
            }
            recorder.at(due).lateness.note(late);
            let index = self.next;
            self.next = (index + 1) % self.clients.len();
            let client = &mut self.clients[index];
            client.sent += 1;
            let id = transaction_id(client.sent, due);
            let mut room = [0; 64];
            let mut writer = MessageWriter::new(&mut room, Class::Request, Method::BINDING, id);
            writer.fingerprint();
            let tally = recorder.tally(due, SERIES);
            tally.sent += 1;
            let gone = !self.carrier.is_congested(index)
                && writer.finish().is_ok_and(|request| self.carrier.send(index, request));
            tally.no_room += u64::from(!gone);
        }
    }

    fn receive(&mut self) -> Result<()> {
        let account = self.account;
        let mut recorder = account.lock();
        let Binding { control, carrier, clients, .. } = self;
        carrier.receive(|source, bytes| {
            let now = control.now();
            let Source::Server(client) = source else { return };
            let answer = Message::parse(bytes).ok().filter(|message| message.method() == Method::BINDING);
            let Some(answer) = answer else { return recorder.tally(now, SERIES).damaged += 1 };
            let (number, due) = read_transaction_id(answer.transaction_id());
            let tally = recorder.tally(due.min(now), SERIES);
            if answer.class() != Class::Success {
                tally.failed += 1;
                return recorder.note_failure("Binding: the server answers with an error".to_owned());
            }
            let took = now.saturating_sub(due);
            match clients[client].answers.note(number, took) {
                Arrival::Duplicate => return tally.duplicated += 1,
                Arrival::TooLate => return,
                Arrival::Reordered => tally.reordered += 1,
                Arrival::InOrder => {}
            }
            tally.received += 1;
            tally.latency.note(took);
            tally.note_jitter(clients[client].answers.jitter());
        })?;
        account.dropped.fetch_add(carrier.take_dropped(), Ordering::Relaxed);
        Ok(())
    }

    fn look_for_trouble(&mut self) {
        let account = self.account;
        for (index, client) in self.clients.iter_mut().enumerate() {
            if let Some(trouble) = self.carrier.trouble(index)
                && !std::mem::replace(&mut client.ended, true)
            {
                account.failed.fetch_add(1, Ordering::Relaxed);
                account.lock().note_failure(trouble);
            }
        }
    }

    fn drain(&mut self) -> Result<()> {
        let deadline = self.control.now() + DRAIN;
        while self.control.now() < deadline {
            self.turn(TURN)?;
            if self.account.lock().intervals.iter().all(|interval| interval.tallies[SERIES].lost() == 0) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What the answer must repeat: the request's number and when it was due.
fn transaction_id(number: u32, due: u64) -> TransactionId {
    let mut id = [0; 12];
    id[..4].copy_from_slice(&number.to_be_bytes());
    id[4..].copy_from_slice(&due.to_be_bytes());
    TransactionId(id)
}

fn read_transaction_id(TransactionId(id): TransactionId) -> (u32, u64) {
    let word = |at: usize| u32::from_be_bytes([id[at], id[at + 1], id[at + 2], id[at + 3]]);
    (word(0), u64::from(word(4)) << 32 | u64::from(word(8)))
}

const SERIES: usize = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transaction_id_carries_number_and_time_there_and_back() {
        for (number, due) in [(1, 0), (u32::MAX, u64::MAX), (77, 0x0102_0304_0506_0708)] {
            assert_eq!(read_transaction_id(transaction_id(number, due)), (number, due));
        }
    }
}
