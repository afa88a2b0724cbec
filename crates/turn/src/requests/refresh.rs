//! Refresh (RFC 8656 §8): a new lifetime for an allocation, or its end. With a ticket it moves the allocation first
//! (`resume.rs`).

use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::attributes::{Lifetime, RequestedAddressFamily};
use turnpike_wire::{AttributeError, AttributeType, ErrorNumber, Family, TransactionId};

use super::resume::Resumed;
use super::{Answer, Refused, Request, refused};
use crate::effect::{EndCause, Event};
use crate::reason::Reason;
use crate::server::Server;
use crate::time::Now;
use crate::timers::Timer;
use crate::tuple::{FiveTuple, RelayId};
use crate::user::User;

/// What is to become of the lifetime of an allocation that is found.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) now: Now,
    pub(crate) tuple: FiveTuple,
    pub(crate) transaction: TransactionId,
    pub(crate) user: Arc<User>,
    /// Seconds; zero to delete.
    pub(crate) granted: u32,
    /// Which of two relayed addresses is meant.
    pub(crate) family: Option<Family>,
}

impl Server {
    pub(super) fn refresh(&mut self, request: &Request<'_>, user: &Arc<User>) -> Result<Answer, Refused> {
        // A late copy of a delete must not end what the client has allocated since.
        if self.deleted.remembers(request, user) {
            return Ok(Answer::Lifetime(0));
        }
        let ticket = request.message.value(AttributeType::MOBILITY_TICKET);
        let relay = match ticket {
            None => self.own_allocation(request, user)?,
            Some(ticket) => match self.resume(request, user, ticket)? {
                Resumed::Here(relay) => relay,
                Resumed::Later(answer) => return Ok(answer),
            },
        };
        let renewal = self.read_renewal(request, user)?;
        match self.renew(&renewal, relay)? {
            Answer::Moved(granted, _) if ticket.is_none() => Ok(Answer::Lifetime(granted)),
            answer => Ok(answer),
        }
    }

    /// What the request wants done, or why that makes no sense.
    pub(super) fn read_renewal(&self, request: &Request<'_>, user: &Arc<User>) -> Result<Renewal, Refused> {
        let bad = refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest);
        let asked = request.message.get::<Lifetime>().map_err(|_| bad)?.map(|lifetime| lifetime.0);
        // A family nobody knows differs from the allocation's as well.
        let family = request.message.get::<RequestedAddressFamily>().map_err(|error| match error {
            AttributeError::Family => OTHER_FAMILY,
            _ => bad,
        })?;
        Ok(Renewal {
            now: request.now,
            tuple: request.client.tuple,
            transaction: request.message.transaction_id(),
            user: user.clone(),
            granted: if asked == Some(0) { 0 } else { self.granted_lifetime(asked, request.now, user) },
            family: family.map(|family| family.0),
        })
    }

    /// Renews an allocation, or ends it. The answer has the ticket that is good from here on, if it has one.
    pub(crate) fn renew(&mut self, renewal: &Renewal, relay: RelayId) -> Result<Answer, Refused> {
        let Renewal { now, tuple, transaction, ref user, granted, family } = *renewal;
        let now = now.monotonic;
        let lifetime = Duration::from_secs(granted.into());
        // RFC 8656 §8.2: a family selects one of two relayed addresses; without one both are meant.
        let fits = |server: &Self, relay: RelayId| {
            let allocation = server.allocations.get(relay);
            let own = allocation.map(|allocation| Family::of(&allocation.port.local().ip()));
            family.is_none_or(|family| own == Some(family))
        };
        let meant = [Some(relay), self.allocations.get(relay).and_then(|it| it.sibling)];
        let meant = meant.map(|relay| relay.filter(|relay| fits(self, *relay)));
        let mut session = None;
        for relay in meant.into_iter().flatten() {
            let Some(allocation) = self.allocations.get_mut(relay) else { continue };
            allocation.expires = now + lifetime;
            session = Some(allocation.session);
        }
        let session = session.ok_or(OTHER_FAMILY)?;
        self.adopt(relay, user);
        if self.config.verbose {
            self.report(Event::Refreshed { session, user: user.clone(), lifetime });
        }
        if granted == 0 {
            if let Some(forgotten) = self.deleted.remember(now, tuple, (transaction, user)) {
                self.set_timer(forgotten, Timer::Deleted(tuple));
            }
            for relay in meant.into_iter().flatten() {
                self.end_relay(now, relay, EndCause::Deleted);
            }
        } else {
            for relay in meant.into_iter().flatten() {
                self.wake_by(relay, now + lifetime);
                self.announce_flows(relay, None);
            }
        }
        Ok(Answer::Moved(granted, session))
    }
}

const OTHER_FAMILY: Refused =
    Refused { number: ErrorNumber::PEER_ADDRESS_FAMILY_MISMATCH, reason: Reason::WrongFamily };
