//! Mobility, the plain way (RFC 8016).
//!
//! Here a move between workers is one step: the letters it takes are delivered before anything else happens.

use std::time::Duration;

use turnpike_turn::{Client, Now, Reason, RelayId, SessionId, Timestamp};

use super::credentials::Identity;
use super::message::{Parsed, number};
use super::requests::{REQUESTED_ADDRESS_FAMILY, of_length, read_lifetime};
use super::response::ensure;
use super::{Allocation, Model, Source};
use crate::observed::Report;

/// What goes with a session that has a ticket.
#[derive(Clone, Debug)]
pub(super) struct Mobile {
    pub(super) session: SessionId,
    /// The one that is good.
    pub(super) ticket: Vec<u8>,
    /// The transaction that moved it last, and the ticket that it showed.
    used: Option<([u8; 12], Vec<u8>)>,
    /// Where its client is about to be, and until when that needs no confirmation.
    arriving: Option<(Client, Timestamp)>,
}

impl Mobile {
    /// Its ticket is learned from the answer.
    pub(super) fn new(session: SessionId) -> Self {
        Mobile { session, ticket: Vec::new(), used: None, arriving: None }
    }
}

/// A session that a Refresh with a ticket means.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) session: SessionId,
    /// The ticket it is answered with, if that was given out before.
    pub(super) known: Option<Vec<u8>>,
}

impl Model {
    /// Whether tickets are given and taken: where nobody proves his address they are not.
    pub(super) fn offers_mobility(&self) -> bool {
        self.settings.mobility && !self.settings.anonymous
    }

    /// Whether this relayed address is on the 5-tuple, as far as the worker that has received something by it knows.
    pub(super) fn is_on(&self, it: &Allocation, source: &Source) -> bool {
        let tuple = source.client.tuple;
        let arriving = || {
            let mobile = self.mobiles.iter().find(|mobile| mobile.session == it.session);
            mobile.and_then(|mobile| mobile.arriving).is_some_and(|(client, _)| client.tuple == tuple)
        };
        it.worker == source.worker && (it.client.tuple == tuple || arriving())
    }

    /// Who deals with a packet: the worker that has the allocation of its 5-tuple.
    pub(super) fn passed_on(&mut self, source: Source, packet: &[u8]) -> Source {
        let elsewhere =
            |it: &&Allocation| it.worker != source.worker && it.client.tuple == source.client.tuple;
        let Some(owner) = self.allocations.iter().find(elsewhere).map(|it| it.worker) else { return source };
        let passes = match packet.first() {
            Some(64..=127) => packet.len() >= 4 && packet.len() - 4 >= usize::from(number(&packet[2..])),
            Some(0..=3) => Parsed::read(packet).is_ok_and(|message| self.passes(&message)),
            _ => false,
        };
        if !passes {
            return source;
        }
        self.count(source.worker, Reason::PassedOn);
        Source { worker: owner, ..source }
    }

    /// Send indications, and requests of allocations but for those that bring them back.
    fn passes(&self, message: &Parsed) -> bool {
        let comes_back = message.method == REFRESH && message.value(MOBILITY_TICKET).is_some();
        let belongs = match message.class {
            0 => message.method != BINDING && !comes_back,
            1 => message.method == SEND && self.settings.relaying,
            _ => false,
        };
        belongs && message.fingerprint_fits()
    }

    /// Something has come by a 5-tuple that an allocation was on its way to.
    pub(super) fn arrived(&mut self, source: &Source) {
        let tuple = source.client.tuple;
        let arrives = |it: &&Mobile| it.arriving.is_some_and(|(client, _)| client.tuple == tuple);
        if let Some(session) = self.mobiles.iter().find(arrives).map(|it| it.session) {
            self.confirm(session);
        }
    }

    /// Nobody has confirmed for half a minute.
    pub(super) fn end_overlaps(&mut self, now: Timestamp, worker: u16) {
        let due = |it: &Mobile| it.arriving.is_some_and(|(_, until)| until <= now);
        let sessions: Vec<_> = self.mobiles.iter().filter(|it| due(it)).map(|it| it.session).collect();
        for session in sessions {
            if self.allocations.iter().any(|it| it.session == session && it.worker == worker) {
                self.confirm(session);
            }
        }
    }

    /// RFC 8016 §3.2.2: the new 5-tuple takes the place of the old one.
    fn confirm(&mut self, session: SessionId) {
        let mobile = self.mobiles.iter_mut().find(|it| it.session == session);
        let Some((client, _)) = mobile.and_then(|it| it.arriving.take()) else { return };
        self.allocations.iter_mut().filter(|it| it.session == session).for_each(|it| it.client = client);
    }

    /// RFC 8016 §3.2.2: everything that can be wrong first, then the move.
    pub(super) fn resume(
        &mut self,
        now: Now,
        source: Source,
        message: &Parsed,
        user: &Identity,
        shown: &[u8],
    ) -> Result<Resumed, (u16, Reason)> {
        if !self.offers_mobility() {
            return Err((405, Reason::MobilityForbidden));
        }
        read_lifetime(message)?;
        let family = match of_length(message, REQUESTED_ADDRESS_FAMILY, 4)? {
            Some([family @ (1 | 2), ..]) => Some(*family),
            Some(_) => return Err((443, Reason::WrongFamily)),
            None => None,
        };
        let given = self.tickets.iter().find(|(ticket, ..)| ticket == shown);
        let (session, giver) =
            given.map(|(_, session, giver)| (*session, *giver)).ok_or((400, Reason::BadTicket))?;
        if let Some(here) = self.allocation(&source) {
            let (own, here) = (here.owner.is_same(user), here.session);
            let mobile = self.mobiles.iter().find(|it| it.session == here);
            let mobile = mobile.ok_or((400, Reason::BadTicket))?;
            let to = mobile.arriving.map(|(client, _)| client.tuple);
            let moved_here = to.is_none_or(|to| to == source.client.tuple);
            if own && moved_here && mobile.used == Some((message.id, shown.to_vec())) {
                return Ok(Resumed { session: here, known: Some(mobile.ticket.clone()) });
            }
            let comes_back = to.is_some_and(|to| to != source.client.tuple);
            if !comes_back || session != here || mobile.ticket != shown {
                return Err((400, Reason::BadTicket));
            }
        }
        // The same where another worker has what is here.
        let elsewhere = |it: &Allocation| {
            it.worker != source.worker && it.client.tuple == source.client.tuple && it.session != session
        };
        if self.allocations.iter().any(elsewhere) {
            return Err((400, Reason::BadTicket));
        }
        let waits = |it: &super::Pending| {
            it.wanted.source.worker == source.worker && it.wanted.source.client.tuple == source.client.tuple
        };
        if self.pending.iter().any(waits) {
            return Err((437, Reason::AllocationMismatch));
        }
        self.judge_ticket((session, &[source.worker, giver]), shown, user, family)?;
        self.carry(now.monotonic, source, session, (message.id, shown));
        Ok(Resumed { session, known: None })
    }

    fn judge_ticket(
        &self,
        (session, asked): (SessionId, &[u16]),
        shown: &[u8],
        user: &Identity,
        family: Option<u8>,
    ) -> Result<(), (u16, Reason)> {
        let halves = || self.allocations.iter().filter(|it| it.session == session);
        let first = halves().next().ok_or((437, Reason::AllocationMismatch))?;
        // An old ticket may name a worker that has long forgotten the session: one knows of it that has it, or that
        // receives what comes by the 5-tuple it is about to leave.
        let receives = first.client.link.0 as u16;
        if !asked.iter().any(|worker| *worker == first.worker || *worker == receives) {
            return Err((437, Reason::AllocationMismatch));
        }
        if !first.owner.is_same(user) {
            return Err((441, Reason::NotTheOwner));
        }
        if !self.mobiles.iter().any(|it| it.session == session && it.ticket == shown) {
            return Err((400, Reason::UsedTicket));
        }
        let number = |it: &Allocation| if it.local.is_ipv4() { 1 } else { 2 };
        if family.is_some_and(|family| !halves().any(|it| number(it) == family)) {
            return Err((443, Reason::WrongFamily));
        }
        Ok(())
    }

    fn carry(&mut self, now: Timestamp, source: Source, session: SessionId, (id, shown): ([u8; 12], &[u8])) {
        // The ticket came by the 5-tuple before this one, so that one is real.
        let unconfirmed = |it: &Mobile| it.session == session && it.arriving.is_some();
        let superseded = self.mobiles.iter().any(unconfirmed);
        self.confirm(session);
        let halves = self.allocations.iter_mut().filter(|it| it.session == session);
        let mut before = None;
        for half in halves {
            before = Some((half.worker, half.client.tuple, half.owner.name.clone()));
            half.worker = source.worker;
        }
        let Some((worker, from, user)) = before else { return };
        if worker != source.worker {
            self.counters[usize::from(worker)].allocations_departed += 1;
            self.counters[usize::from(source.worker)].allocations_arrived += 1;
        }
        if let Some(mobile) = self.mobiles.iter_mut().find(|it| it.session == session) {
            mobile.used = Some((id, shown.to_vec()));
            mobile.arriving = Some((source.client, now + Duration::from_secs(30)));
        }
        let to = source.client.tuple;
        self.reports.push(Report::Moved { session, user, from, to, superseded });
    }

    /// The core has chosen a ticket.
    pub(super) fn learn_ticket(&mut self, session: SessionId, ticket: Vec<u8>) -> Result<(), String> {
        ensure(!self.tickets.iter().any(|(known, ..)| *known == ticket), "a ticket was given out before")?;
        let giver = self.allocations.iter().find(|it| it.session == session).map(|it| it.worker);
        self.tickets.push((ticket.clone(), session, giver.ok_or("a ticket for no allocation")?));
        if let Some(mobile) = self.mobiles.iter_mut().find(|it| it.session == session) {
            mobile.ticket = ticket;
        }
        Ok(())
    }

    /// A relayed address has another name with the worker that it came to.
    pub(crate) fn renamed(&mut self, local: std::net::SocketAddr, relay: RelayId) {
        let live = self.allocations.iter_mut().filter(|it| it.local == local).map(|it| &mut it.relay);
        let ended = self.closings.iter_mut().filter(|(_, closing)| *closing == local).map(|(name, _)| name);
        live.chain(ended).for_each(|name| *name = relay);
    }
}

const BINDING: u16 = 0x001;
const REFRESH: u16 = 0x004;
const SEND: u16 = 0x006;
pub(super) const MOBILITY_TICKET: u16 = 0x8030;
