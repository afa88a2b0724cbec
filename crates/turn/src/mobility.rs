//! Mobility (RFC 8016): an allocation follows its client from one 5-tuple to another.
//!
//! A client that asks for it is given a ticket with its allocation, and shows it in a Refresh from wherever it has
//! moved to. Make before break (§3.2.2): data from peers goes to the old 5-tuple, and what comes from there is
//! served, until the client sends data by the new one or another request, its old connection ends, or [`OVERLAP`] has
//! passed.
//!
//! Invariants: an allocation has at most one 5-tuple besides the one that leads to it, however often it moves; a ticket
//! is good for one move, by the allocation's owner alone, and only the very same Refresh is answered again; what an
//! allocation holds (its place in the quotas, ports, permissions, usage) moves with it and is never counted twice. A
//! connection that ends takes no allocation with a ticket along: that one waits for its client until it expires.

mod claim;
mod handover;
mod ticket;

use std::collections::HashMap;
use std::time::Duration;

use turnpike_wire::{AttributeType, Class, ErrorNumber, Family, Message, Method, TransactionId};

pub use claim::{Claim, ClaimOutcome, ClaimRefusal, Claimed, Letter};
pub(crate) use claim::{Claims, PendingClaim};
pub(crate) use handover::{DepartedValue, MobilityValue};
pub(crate) use ticket::{Serial, TICKET, Ticket, TicketKey};

use crate::effect::{Effect, Event};
use crate::nonce::NonceKey;
use crate::reason::Reason;
use crate::requests::{Refused, refused};
use crate::server::Server;
use crate::time::Timestamp;
use crate::timers::Timer;
use crate::tuple::{Client, FiveTuple, Link, RelayId, SessionId};
use crate::user::User;
use crate::verdict::Verdict;

/// Everything one worker knows of tickets and of those who use them.
#[derive(Debug)]
pub(crate) struct Mobile {
    key: TicketKey,
    sessions: HashMap<SessionId, Mobility>,
    /// 5-tuples that allocations are on their way to.
    arriving: HashMap<FiveTuple, SessionId>,
    /// 5-tuples of allocations that other workers have now. There is one at most for each of those.
    departed: HashMap<FiveTuple, Departed>,
    /// The same by session.
    departed_sessions: HashMap<SessionId, FiveTuple>,
    pub(crate) claims: Claims,
}

/// What goes with an allocation that has a ticket.
#[derive(Debug)]
pub(crate) struct Mobility {
    /// One of its relayed addresses.
    relay: RelayId,
    /// Of the one ticket that is good.
    serial: Serial,
    /// Where the client is about to be, until that is confirmed.
    arriving: Option<Arriving>,
    last: Option<Move>,
    /// Which other worker receives what comes by the 5-tuple that leads to the allocation.
    home: Option<u16>,
    /// Whether a move was not confirmed yet when the next one took it to another worker.
    superseded: bool,
}

#[derive(Clone, Copy, Debug)]
struct Arriving {
    client: Client,
    until: Timestamp,
}

/// The request that moved an allocation last, to know its retransmission by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    transaction: TransactionId,
    serial: Serial,
}

/// An old 5-tuple whose allocation another worker has.
#[derive(Clone, Copy, Debug)]
struct Departed {
    client: Client,
    session: SessionId,
    to: u16,
}

impl Mobile {
    pub(crate) fn new(nonce_key: &NonceKey) -> Self {
        Mobile {
            key: TicketKey::derive(nonce_key),
            sessions: HashMap::new(),
            arriving: HashMap::new(),
            departed: HashMap::new(),
            departed_sessions: HashMap::new(),
            claims: Claims::default(),
        }
    }

    /// Gives an allocation its first ticket.
    pub(crate) fn issue(&mut self, session: SessionId, relay: RelayId, serial: Serial) {
        self.sessions.insert(
            session,
            Mobility { relay, serial, arriving: None, last: None, home: None, superseded: false },
        );
    }

    /// Whether this session has a ticket.
    pub(crate) fn has_ticket(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The ticket that is good for this session, sealed.
    pub(crate) fn ticket(&self, worker: u16, session: SessionId) -> Option<[u8; TICKET]> {
        let serial = self.sessions.get(&session)?.serial;
        Some(self.key.seal(&Ticket { worker, session, serial }))
    }

    /// What a sealed ticket says, if it was sealed here.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Ticket> {
        self.key.open(sealed)
    }

    /// When it no longer waits for a confirmation of its new 5-tuple.
    pub(crate) fn overlap_end(&self, session: SessionId) -> Option<Timestamp> {
        self.sessions.get(&session)?.arriving.map(|arriving| arriving.until)
    }

    /// The allocation that is on its way to this 5-tuple.
    fn arriving(&self, tuple: &FiveTuple) -> Option<RelayId> {
        let session = self.arriving.get(tuple)?;
        self.sessions.get(session).map(|mobility| mobility.relay)
    }

    /// Whether another worker has the allocation of this 5-tuple.
    pub(crate) fn has_departed(&self, tuple: &FiveTuple) -> bool {
        self.departed.contains_key(tuple)
    }

    /// Whether this is the old 5-tuple of another session, which another worker has.
    pub(crate) fn is_anothers(&self, tuple: &FiveTuple, session: SessionId) -> bool {
        self.departed.get(tuple).is_some_and(|departed| departed.session != session)
    }

    /// Which worker is to be asked for a session, as far as this one knows; `None` for itself. A ticket of another worker
    /// is younger than what this one remembers: it may not have heard yet of the moves between.
    pub(crate) fn owner(&self, this: u16, ticket: &Ticket) -> Option<u16> {
        if self.sessions.contains_key(&ticket.session) {
            return None;
        }
        let owner = match ticket.worker == this {
            true => self.departed_to(ticket.session)?,
            false => ticket.worker,
        };
        (owner != this).then_some(owner)
    }

    /// Whom this worker has given a session that it does not have.
    pub(crate) fn given_to(&self, session: SessionId) -> Option<u16> {
        self.departed_to(session).filter(|_| !self.sessions.contains_key(&session))
    }

    fn departed_to(&self, session: SessionId) -> Option<u16> {
        let tuple = self.departed_sessions.get(&session)?;
        self.departed.get(tuple).map(|departed| departed.to)
    }

    fn set_departed(&mut self, departed: Departed) {
        self.departed.insert(departed.client.tuple, departed);
        self.departed_sessions.insert(departed.session, departed.client.tuple);
    }

    fn forget_departed(&mut self, tuple: &FiveTuple) -> Option<Departed> {
        let departed = self.departed.remove(tuple)?;
        self.departed_sessions.remove(&departed.session);
        Some(departed)
    }

    /// A session is back: whatever is remembered of where it went is of the past, though the letter that says so may
    /// still be on its way.
    fn forget_where_it_went(&mut self, session: SessionId) {
        if let Some(tuple) = self.departed_sessions.remove(&session) {
            self.departed.remove(&tuple);
        }
    }

    /// Panics if the tables contradict each other.
    pub(crate) fn check_invariants(&self, of: impl Fn(RelayId) -> Option<(SessionId, Client)>) {
        let mut arriving = 0;
        for (session, mobility) in &self.sessions {
            let (named, client) = of(mobility.relay).expect("a ticket's allocation lives");
            assert_eq!(named, *session, "a session's ticket is its own");
            if let Some(Arriving { client: to, .. }) = mobility.arriving {
                assert_eq!(self.arriving.get(&to.tuple), Some(session), "an arriving 5-tuple leads to it");
                assert!(to.tuple != client.tuple && client.link != Link::NOWHERE, "two different 5-tuples");
                arriving += 1;
            }
        }
        assert_eq!(arriving, self.arriving.len(), "no other 5-tuple is arriving");
        assert_eq!(self.departed.len(), self.departed_sessions.len(), "one old 5-tuple for each");
    }
}

impl Server {
    /// Whether tickets are given and taken. Without credentials nobody proves his address, so that whoever has a ticket
    /// could turn his peers' data on any other.
    pub(crate) fn offers_mobility(&self) -> bool {
        self.config.mobility && !self.config.credentials.is_anonymous()
    }

    /// The allocation that a 5-tuple leads to, or is about to.
    pub(crate) fn allocation_on(&self, tuple: &FiveTuple) -> Option<RelayId> {
        self.allocations.find(tuple).or_else(|| self.mobile.arriving(tuple))
    }

    /// Something has come by a 5-tuple without an allocation: if one is on its way there, it has arrived (RFC 8016
    /// §3.2.2).
    #[cold]
    pub(crate) fn arrived(&mut self, tuple: &FiveTuple) -> Option<RelayId> {
        let session = *self.mobile.arriving.get(tuple)?;
        self.confirm(session)
    }

    /// Drops a packet of a 5-tuple without an allocation, or passes it on to the worker that has it.
    #[cold]
    pub(crate) fn drop_without_allocation(&mut self, client: Client, packet: &[u8]) -> Verdict<'_> {
        match self.mobile.departed.get(&client.tuple) {
            Some(Departed { to, .. }) => self.pass_on(*to, client, packet),
            None => self.drop_packet(Reason::NoAllocation),
        }
    }

    /// Which worker is to have a request: none but this one unless its allocation has moved. A Refresh with a ticket
    /// brings it back, and Binding has nothing to do with it.
    pub(crate) fn passed_to(&self, client: &Client, message: &Message<'_>) -> Option<u16> {
        let departed = self.mobile.departed.get(&client.tuple)?;
        let comes_back = message.method() == Method::REFRESH && message.has(AttributeType::MOBILITY_TICKET);
        let belongs = message.class() == Class::Request && message.method() != Method::BINDING;
        (belongs && !comes_back).then_some(departed.to)
    }

    pub(crate) fn pass_on(&mut self, to: u16, client: Client, packet: &[u8]) -> Verdict<'_> {
        let letter = Letter::Packet { client, packet: packet.into() };
        self.effects.push_back(Effect::Post { to, letter });
        self.drop_packet(Reason::PassedOn)
    }

    /// Whether `user` may move this session with this ticket, and its family is there.
    pub(crate) fn judge_move(
        &self,
        (session, serial): (SessionId, Serial),
        user: &User,
        family: Option<Family>,
    ) -> Result<(), Refused> {
        let mismatch = refused(ErrorNumber::ALLOCATION_MISMATCH, Reason::AllocationMismatch);
        let mobility = self.mobile.sessions.get(&session).ok_or(mismatch)?;
        let allocation = self.allocations.get(mobility.relay).ok_or(mismatch)?;
        let owner = &allocation.user;
        if !owner.is_same(user) || owner.name() != user.name() || owner.realm() != user.realm() {
            return Err(refused(ErrorNumber::WRONG_CREDENTIALS, Reason::NotTheOwner));
        }
        if mobility.serial != serial {
            return Err(refused(ErrorNumber::BAD_REQUEST, Reason::UsedTicket));
        }
        let mut halves = self.allocations.family_of(mobility.relay).filter_map(|it| self.allocations.get(it));
        match family {
            Some(family) if !halves.any(|half| Family::of(&half.port.local().ip()) == family) => {
                Err(refused(ErrorNumber::PEER_ADDRESS_FAMILY_MISMATCH, Reason::WrongFamily))
            }
            _ => Ok(()),
        }
    }

    /// Whether this request has moved an allocation to its 5-tuple before.
    pub(crate) fn moved_by(&self, relay: RelayId, tuple: &FiveTuple, by: (TransactionId, Serial)) -> bool {
        let Some(mobility) = self.mobility_of(relay) else { return false };
        let (transaction, serial) = by;
        let here = match mobility.arriving {
            Some(arriving) => arriving.client.tuple == *tuple,
            None => self.allocations.find(tuple).is_some(),
        };
        here && mobility.last == Some(Move { transaction, serial })
    }

    /// Whether the client has come back, with a good ticket, to the 5-tuple it was about to leave.
    pub(crate) fn comes_back(&self, relay: RelayId, tuple: &FiveTuple, ticket: &Ticket) -> bool {
        let session = self.allocations.get(relay).map(|allocation| allocation.session);
        self.mobility_of(relay).is_some_and(|mobility| {
            let leaving = mobility.arriving.is_some_and(|arriving| arriving.client.tuple != *tuple);
            leaving && session == Some(ticket.session) && mobility.serial == ticket.serial
        })
    }

    /// Moves an allocation that [`Server::judge_move`] has found good, and gives it a new ticket.
    pub(crate) fn move_to(
        &mut self,
        now: Timestamp,
        session: SessionId,
        client: Client,
        transaction: TransactionId,
    ) -> Option<RelayId> {
        // Whoever shows the ticket has got the answer that it came with, by the 5-tuple that answer was sent to. So
        // that one is real; and of the older ones none is kept, however long the chain.
        let confirmed = self.confirm(session).is_some();
        let serial = Serial::new(&mut self.random);
        let mobility = self.mobile.sessions.get_mut(&session)?;
        let superseded = std::mem::take(&mut mobility.superseded) || confirmed;
        let used = std::mem::replace(&mut mobility.serial, serial);
        mobility.last = Some(Move { transaction, serial: used });
        let relay = mobility.relay;
        let allocation = self.allocations.get(relay)?;
        let (from, user) = (allocation.client, allocation.user.clone());
        if from.link == Link::NOWHERE {
            self.stats.count_moved(from.tuple.transport, client.tuple.transport);
            self.allocations.relink(relay, client);
        } else if from.tuple != client.tuple {
            let until = now + OVERLAP;
            mobility.arriving = Some(Arriving { client, until });
            self.mobile.arriving.insert(client.tuple, session);
            self.set_timer(until, Timer::Overlap(session));
        }
        self.report(Event::Moved { session, user, from: from.tuple, to: client.tuple, superseded });
        Some(relay)
    }

    /// The old 5-tuple is over, and the new one leads to the allocation.
    fn confirm(&mut self, session: SessionId) -> Option<RelayId> {
        let mobility = self.mobile.sessions.get_mut(&session)?;
        let Arriving { client, .. } = mobility.arriving.take()?;
        let (relay, home) = (mobility.relay, mobility.home.take());
        self.mobile.arriving.remove(&client.tuple);
        let old = self.allocations.get(relay)?.client;
        self.stats.count_moved(old.tuple.transport, client.tuple.transport);
        self.allocations.relink(relay, client);
        self.leave(home, old);
        Some(relay)
    }

    /// The time for which both 5-tuples hold is over.
    pub(crate) fn end_overlap(&mut self, now: Timestamp, session: SessionId) {
        if self.mobile.overlap_end(session).is_some_and(|until| until <= now) {
            self.confirm(session);
        }
    }

    /// A client's connection has ended. Returns whether that was all there is to do: an allocation with a ticket goes
    /// on.
    pub(crate) fn lose_link(&mut self, client: &Client) -> bool {
        if let Some(departed) = self.mobile.forget_departed(&client.tuple) {
            let letter = Letter::LinkClosed { client: *client };
            self.effects.push_back(Effect::Post { to: departed.to, letter });
            return true;
        }
        if self.mobile.claims.lose(&client.tuple) || self.undo_move(&client.tuple) {
            return true;
        }
        let found = self.allocations.find(&client.tuple);
        let Some(allocation) = found.and_then(|relay| self.allocations.get(relay)) else { return false };
        let (session, user) = (allocation.session, allocation.user.clone());
        let (Some(relay), Some(mobility)) = (found, self.mobile.sessions.get_mut(&session)) else {
            return false;
        };
        // RFC 8016 §3.2.2: the end of the old connection is as good as data by the new 5-tuple.
        if mobility.arriving.is_some() {
            mobility.home = None;
            self.confirm(session);
            return true;
        }
        // The client's network is gone and the client is on its way to another: that is what the ticket is for.
        mobility.home = None;
        self.allocations.relink(relay, Client { link: Link::NOWHERE, tuple: client.tuple });
        self.report(Event::Disconnected { session, user, tuple: client.tuple });
        true
    }

    /// A connection that an allocation was on its way to has ended: the client may never have had the new ticket, so
    /// the one before is good again.
    fn undo_move(&mut self, tuple: &FiveTuple) -> bool {
        let Some(session) = self.mobile.arriving.remove(tuple) else { return false };
        if let Some(mobility) = self.mobile.sessions.get_mut(&session) {
            mobility.arriving = None;
            if let Some(last) = mobility.last.take() {
                mobility.serial = last.serial;
            }
        }
        true
    }

    /// A relayed address of this session has ended, and `left` is the one it has left.
    pub(crate) fn forget_mobility(&mut self, session: SessionId, left: Option<RelayId>, client: Client) {
        match (self.mobile.sessions.get_mut(&session), left) {
            (Some(mobility), Some(left)) => mobility.relay = left,
            (Some(_), None) => {
                let Some(mobility) = self.mobile.sessions.remove(&session) else { return };
                if let Some(arriving) = mobility.arriving {
                    self.mobile.arriving.remove(&arriving.client.tuple);
                }
                self.leave(mobility.home, client);
            }
            (None, _) => {}
        }
    }

    /// Tells another worker that it need not watch an old 5-tuple any longer.
    fn leave(&mut self, home: Option<u16>, old: Client) {
        if let Some(to) = home {
            self.effects.push_back(Effect::Post { to, letter: Letter::Leave { client: old } });
        }
    }

    fn mobility_of(&self, relay: RelayId) -> Option<&Mobility> {
        self.mobile.sessions.get(&self.allocations.get(relay)?.session)
    }
}

/// How long both 5-tuples hold if the client sends nothing by the new one; coturn's time.
const OVERLAP: Duration = Duration::from_secs(30);
