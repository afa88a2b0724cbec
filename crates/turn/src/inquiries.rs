//! Requests whose sender's key somebody has to ask a database for.
//!
//! The request's bytes are kept, and worked on from the start once the answer is there; nothing of it was done before.
//! Invariants: only requests with a nonce that was issued to their very address are kept; at most [`MOST`] of at most
//! [`MOST_BYTES`] together, none for longer than [`PATIENCE`], and at most one of each 5-tuple. Whoever is dropped is
//! left to his own retransmission (RFC 8489 §6.2.1).

use std::collections::HashMap;
use std::time::Duration;

use turnpike_wire::{Message, TransactionId};

use crate::effect::Effect;
use crate::reason::Reason;
use crate::requests::Request;
use crate::server::Server;
use crate::time::{Now, Timestamp};
use crate::timers::Timer;
use crate::tuple::{Client, FiveTuple, InquiryId, Link};
use crate::verdict::Verdict;

/// A request that waits.
#[derive(Debug)]
struct Parked {
    client: Client,
    transaction: TransactionId,
    packet: Box<[u8]>,
    until: Timestamp,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    slots: Vec<(u32, Option<Parked>)>,
    free: Vec<u32>,
    by_tuple: HashMap<FiveTuple, InquiryId>,
    bytes: usize,
}

impl Inquiries {
    /// Keeps a request, unless too many wait.
    fn park(&mut self, request: &Request<'_>) -> Result<(InquiryId, Timestamp), Reason> {
        let (client, packet) = (request.client, request.message.bytes());
        let is_full = self.slots.len() - self.free.len() >= MOST || self.bytes + packet.len() > MOST_BYTES;
        if is_full || self.by_tuple.contains_key(&client.tuple) {
            return Err(if is_full { Reason::TooManyWaiting } else { Reason::InProgress });
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (generation, place) = &mut self.slots[slot as usize];
        let (inquiry, until) =
            (InquiryId { slot, generation: *generation }, request.now.monotonic + PATIENCE);
        let transaction = request.message.transaction_id();
        *place = Some(Parked { client, transaction, packet: packet.into(), until });
        self.bytes += packet.len();
        self.by_tuple.insert(client.tuple, inquiry);
        Ok((inquiry, until))
    }

    fn take(&mut self, inquiry: InquiryId) -> Option<Parked> {
        let (generation, place) = self.slots.get_mut(inquiry.slot as usize)?;
        if *generation != inquiry.generation {
            return None;
        }
        let parked = place.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(inquiry.slot);
        self.bytes -= parked.packet.len();
        self.by_tuple.remove(&parked.client.tuple);
        Some(parked)
    }

    fn on(&self, tuple: &FiveTuple) -> Option<(InquiryId, &Parked)> {
        let inquiry = *self.by_tuple.get(tuple)?;
        Some((inquiry, self.slots[inquiry.slot as usize].1.as_ref()?))
    }

    /// Forgets what this client waits for.
    pub(crate) fn abandon(&mut self, client: &Client) {
        let found = self.on(&client.tuple).filter(|(_, parked)| parked.client.link == client.link);
        if let Some((inquiry, _)) = found {
            self.take(inquiry);
        }
    }

    /// Forgets what clients wait for who come by these links.
    pub(crate) fn abandon_all(&mut self, by: &dyn Fn(Link) -> bool) {
        let parked = self.slots.iter().filter_map(|(_, parked)| parked.as_ref());
        let clients: Vec<Client> = parked.map(|parked| parked.client).filter(|it| by(it.link)).collect();
        clients.iter().for_each(|client| self.abandon(client));
    }

    /// Until when it is waited for.
    pub(crate) fn deadline(&self, inquiry: InquiryId) -> Option<Timestamp> {
        let (generation, place) = self.slots.get(inquiry.slot as usize)?;
        place.as_ref().filter(|_| *generation == inquiry.generation).map(|parked| parked.until)
    }

    pub(crate) fn check_invariants(&self) {
        let parked = || self.slots.iter().filter_map(|(_, parked)| parked.as_ref());
        assert_eq!(
            parked().map(|parked| parked.packet.len()).sum::<usize>(),
            self.bytes,
            "bytes counted right"
        );
        assert_eq!(parked().count(), self.by_tuple.len(), "each is found by its 5-tuple");
    }
}

impl Server {
    /// The answer to [`Effect::FindCredential`] is in the directory now, or will not come.
    pub fn handle_credential(&mut self, now: Now, inquiry: InquiryId) -> Verdict<'_> {
        let Some(Parked { client, packet, until, .. }) = self.inquiries.take(inquiry) else {
            return self.drop_packet(Reason::StoreUnavailable);
        };
        if until <= now.monotonic {
            return self.drop_packet(Reason::StoreUnavailable);
        }
        let waited = PATIENCE.saturating_sub(until.since(now.monotonic));
        self.stats.database_waits.note(waited);
        // What was sound when it was parked still is.
        match Message::parse(&packet) {
            Ok(message) => self.work_on(&Request { now, client, message, asked: true }),
            Err(_) => self.drop_packet(Reason::Malformed),
        }
    }

    /// Whether another copy of this request waits for its sender's key.
    pub(crate) fn is_parked(&self, request: &Request<'_>) -> bool {
        let parked = self.inquiries.on(&request.client.tuple);
        parked.is_some_and(|(_, parked)| parked.transaction == request.message.transaction_id())
    }

    /// Keeps a request until the directory knows this user. A second one on its 5-tuple is left to be sent again.
    pub(crate) fn inquire(
        &mut self,
        request: &Request<'_>,
        realm: &str,
        name: &str,
    ) -> Result<InquiryId, Reason> {
        // Asked already, and forgotten since: there is no use in asking for ever.
        if request.asked {
            return Err(Reason::StoreUnavailable);
        }
        let (inquiry, until) = self.inquiries.park(request)?;
        self.set_timer(until, Timer::Inquiry(inquiry));
        self.effects.push_back(Effect::FindCredential { inquiry, realm: realm.into(), name: name.into() });
        Ok(inquiry)
    }

    /// Nobody has answered in time.
    pub(crate) fn end_inquiry(&mut self, now: Timestamp, inquiry: InquiryId) {
        if self.inquiries.deadline(inquiry).is_some_and(|until| until <= now) {
            self.inquiries.take(inquiry);
            self.stats.count(Reason::StoreUnavailable);
        }
    }
}

/// Requests of a worker that may wait at once.
const MOST: usize = 4096;
/// Bytes of all of them.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// A client has sent its request five times by then (RFC 8489 §6.2.1), and the next copy asks anew.
const PATIENCE: Duration = Duration::from_secs(10);
