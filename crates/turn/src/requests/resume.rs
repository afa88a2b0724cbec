//! Refresh with a ticket (RFC 8016 §3.2): an allocation is taken along to the 5-tuple that the request came by.
//!
//! Everything that can be wrong is found before anything moves. By now the request is known to be its sender's, and its
//! nonce was issued to the very address it came from: a ticket that somebody has overheard takes an allocation nowhere.

use std::sync::Arc;

use turnpike_wire::{ErrorNumber, TransactionId};

use super::{Answer, Refused, Request, refused};
use crate::mobility::{PendingClaim, Ticket};
use crate::reason::Reason;
use crate::server::Server;
use crate::tuple::{FiveTuple, RelayId};
use crate::user::User;

/// Where the allocation is that a ticket is for.
pub(super) enum Resumed {
    /// In this worker, moved.
    Here(RelayId),
    /// In another one, which is asked; or this is a copy of a request for which it has been.
    Later(Answer),
}

impl Server {
    pub(super) fn resume(
        &mut self,
        request: &Request<'_>,
        user: &Arc<User>,
        sealed: &[u8],
    ) -> Result<Resumed, Refused> {
        if !self.offers_mobility() {
            return Err(refused(ErrorNumber::MOBILITY_FORBIDDEN, Reason::MobilityForbidden));
        }
        let renewal = self.read_renewal(request, user)?;
        let bad = refused(ErrorNumber::BAD_REQUEST, Reason::BadTicket);
        let ticket = self.mobile.open(sealed).ok_or(bad)?;
        let tuple = request.client.tuple;
        let transaction = request.message.transaction_id();
        if let Some(relay) = self.allocation_on(&tuple) {
            let own = self.allocations.get(relay).is_some_and(|it| it.user.is_same(user));
            // RFC 8016 §3.2.2: a used ticket is good for a retransmission, and for nothing else.
            if own && self.moved_by(relay, &tuple, (transaction, ticket.serial)) {
                return Ok(Resumed::Here(relay));
            }
            // RFC 8016 §3.2.1: where the client is already, there is nothing to move.
            if !self.comes_back(relay, &tuple, &ticket) {
                return Err(bad);
            }
        } else if self.mobile.is_anothers(&tuple, ticket.session) {
            return Err(bad);
        } else if let Some(answer) = self.waits(&tuple, transaction)? {
            return Ok(Resumed::Later(answer));
        }
        if let Some(owner) = self.mobile.owner(self.worker, &ticket) {
            return self.ask(owner, request, &ticket, user, (renewal.granted, renewal.family));
        }
        self.judge_move((ticket.session, ticket.serial), user, renewal.family)?;
        let moved = self.move_to(request.now.monotonic, ticket.session, request.client, transaction);
        moved.map(Resumed::Here).ok_or(refused(ErrorNumber::ALLOCATION_MISMATCH, Reason::AllocationMismatch))
    }

    /// Whether a request waits on this 5-tuple: an earlier copy of this one, or one that is in its way.
    fn waits(&self, tuple: &FiveTuple, transaction: TransactionId) -> Result<Option<Answer>, Refused> {
        let mismatch = refused(ErrorNumber::ALLOCATION_MISMATCH, Reason::AllocationMismatch);
        match (self.mobile.claims.find(tuple), self.waiting.find(tuple)) {
            (Some(pending), _) if pending.transaction == transaction => Ok(Some(Answer::InProgress)),
            (None, None) => Ok(None),
            _ => Err(mismatch),
        }
    }

    fn ask(
        &mut self,
        owner: u16,
        request: &Request<'_>,
        ticket: &Ticket,
        user: &Arc<User>,
        (granted, family): (u32, Option<turnpike_wire::Family>),
    ) -> Result<Resumed, Refused> {
        let reply = request.reply();
        let pending = PendingClaim {
            client: request.client,
            transaction: request.message.transaction_id(),
            user: user.clone(),
            granted,
            family,
            fingerprint: reply.fingerprint,
            integrity: reply.integrity,
            lost: false,
        };
        let wait = self.claim_session(owner, (ticket.session, ticket.serial), pending)?;
        Ok(Resumed::Later(Answer::Wait(wait)))
    }
}
