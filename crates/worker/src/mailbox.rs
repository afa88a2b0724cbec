//! What other threads tell a worker. Looked at only when the worker is woken for it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use turnpike_net::Waker;
use turnpike_turn::{Config, InquiryId, Now, Server};

use crate::adjustment::{Adjustment, FurtherListeners};
use crate::handover::{Handover, Remains};
use crate::migration::Mail;
use crate::streams::MovedStream;

/// Something to do between two packets.
#[derive(Debug)]
pub enum Command {
    /// Follow new rules.
    Configure(Arc<Config>),
    /// The answer that this request waits for is there.
    Answered(InquiryId),
    /// Take over a connection from another worker.
    Adopt(MovedStream),
    /// Let somebody look at the allocations, or change them.
    Visit(Visit),
    /// Do otherwise what is not among the server's rules.
    Adjust(Arc<Adjustment>),
    /// Listen at further addresses. Every worker has to get the same in the same order: links are numbered alike.
    Listen(FurtherListeners),
    /// Stop reading and hand over what can go to another process, or go on.
    HandOver(Handover),
    /// Say what there still is.
    Count(Sender<Remains>),
    /// End every allocation and return.
    Stop,
}

/// Something to be done with a worker's server between two packets. It must be short: everybody's packets wait for it.
pub struct Visit(Work);

type Work = Box<dyn FnOnce(&mut Server, Now) + Send>;

impl Visit {
    /// What is to be done.
    pub fn new(work: impl FnOnce(&mut Server, Now) + Send + 'static) -> Self {
        Visit(Box::new(work))
    }

    pub(crate) fn pay(self, server: &mut Server, now: Now) {
        (self.0)(server, now);
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Visit")
    }
}

/// The sending end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    commands: Arc<Mutex<VecDeque<Command>>>,
    mail: Arc<Mutex<MailBag>>,
    waker: Waker,
}

/// What other workers have sent.
#[derive(Debug, Default)]
struct MailBag {
    waiting: VecDeque<Mail>,
    /// How much of it is packets.
    packet_bytes: usize,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Mailbox { commands: Arc::default(), mail: Arc::default(), waker }
    }

    /// Hands in a command and wakes the worker.
    pub fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.waker.wake();
    }

    /// Hands in a command that clients bring about, unless too many commands wait already.
    ///
    /// # Errors
    /// The command.
    pub(crate) fn try_send(&self, command: Command) -> Result<(), Command> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.len() >= MOST_WAITING {
            return Err(command);
        }
        commands.push_back(command);
        drop(commands);
        self.waker.wake();
        Ok(())
    }

    /// Hands in what one worker has for another; a packet is dropped when too many wait.
    pub(crate) fn post(&self, mail: Mail) {
        let bytes = mail.packet_bytes();
        let mut bag = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > 0 && bag.packet_bytes + bytes > MOST_PACKET_BYTES {
            return;
        }
        bag.packet_bytes += bytes;
        bag.waiting.push_back(mail);
        drop(bag);
        self.waker.wake();
    }

    pub(crate) fn take_mail(&self) -> Option<Mail> {
        let mut bag = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        let mail = bag.waiting.pop_front()?;
        bag.packet_bytes -= mail.packet_bytes();
        Some(mail)
    }

    pub(crate) fn acknowledge(&self) {
        self.waker.acknowledge();
    }

    pub(crate) fn take(&self) -> Option<Command> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The mailboxes of all workers, by number, for each of them to reach the others. Told once, when all of them exist.
#[derive(Clone, Debug, Default)]
pub struct Siblings {
    mailboxes: Arc<OnceLock<Vec<Mailbox>>>,
}

impl Siblings {
    /// Says who the workers are. Only the first time counts.
    pub fn introduce(&self, mailboxes: Vec<Mailbox>) {
        let _ = self.mailboxes.set(mailboxes);
    }

    /// Tells a worker that what it has asked for is there.
    pub fn answer(&self, worker: u16, inquiry: InquiryId) {
        if let Some(mailbox) = self.get(worker) {
            mailbox.send(Command::Answered(inquiry));
        }
    }

    /// Hands a command to every worker.
    pub fn tell_all(&self, command: impl Fn() -> Command) {
        self.mailboxes.get().into_iter().flatten().for_each(|mailbox| mailbox.send(command()));
    }

    /// The mailbox of a worker, if there is such a one.
    pub(crate) fn get(&self, worker: u16) -> Option<&Mailbox> {
        self.mailboxes.get()?.get(usize::from(worker))
    }

    /// Hands a command that clients bring about to a worker.
    ///
    /// # Errors
    /// The command: there is no such worker, or too many commands wait for it already.
    pub(crate) fn send(&self, worker: u16, command: Command) -> Result<(), Command> {
        match self.get(worker) {
            Some(mailbox) => mailbox.try_send(command),
            None => Err(command),
        }
    }
}

/// Commands that may wait for a worker before clients may bring about no more.
const MOST_WAITING: usize = 256;
/// Bytes of packets of other workers' clients that may wait: more than a burst of a fast client, far less than memory.
const MOST_PACKET_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use turnpike_net::Poller;
    use turnpike_turn::{Client, FiveTuple, Letter, Link, Transport};

    use super::*;

    #[test]
    fn packets_are_dropped_when_too_many_wait_and_what_must_arrive_is_not() {
        let poller = Poller::new().unwrap();
        let mailbox = Mailbox::new(poller.waker(1).unwrap());
        let address = "127.0.0.1:3478".parse().unwrap();
        let tuple = FiveTuple { transport: Transport::Udp, server: address, client: address };
        let client = Client { link: Link(0), tuple };
        let packet = || Letter::Packet { client, packet: vec![7; 60_000].into() };
        let room = MOST_PACKET_BYTES / Mail::Letter { from: 0, letter: packet() }.packet_bytes();
        for _ in 0..2 {
            for _ in 0..100 {
                mailbox.post(Mail::Letter { from: 0, letter: packet() });
                mailbox.post(Mail::Letter { from: 0, letter: Letter::Leave { client } });
            }
            let (mut packets, mut others) = (0, 0);
            while let Some(mail) = mailbox.take_mail() {
                if mail.packet_bytes() > 0 { packets += 1 } else { others += 1 }
            }
            // As many as there is room for, again once they are taken out.
            assert_eq!((packets, others), (room, 100));
        }
    }
}
