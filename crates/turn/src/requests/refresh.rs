//! Refresh (RFC 8656 §8): a new lifetime for an allocation, or its end.

use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::attributes::{Lifetime, RequestedAddressFamily};
use turnpike_wire::{AttributeError, ErrorNumber, Family};

use super::{Answer, Refused, Request, refused};
use crate::credentials::User;
use crate::effect::{EndCause, Event};
use crate::reason::Reason;
use crate::server::Server;
use crate::timers::Timer;
use crate::tuple::RelayId;

impl Server {
    pub(super) fn refresh(&mut self, request: &Request<'_>, user: &Arc<User>) -> Result<Answer, Refused> {
        let bad = refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest);
        // A late copy of a delete must not end what the client has allocated since.
        if self.deleted.remembers(request, user) {
            return Ok(Answer::Lifetime(0));
        }
        let relay = self.own_allocation(request, user)?;
        let asked = request.message.get::<Lifetime>().map_err(|_| bad)?.map(|lifetime| lifetime.0);
        let other_family = refused(ErrorNumber::PEER_ADDRESS_FAMILY_MISMATCH, Reason::WrongFamily);
        // A family nobody knows differs from the allocation's as well.
        let family = request.message.get::<RequestedAddressFamily>().map_err(|error| match error {
            AttributeError::Family => other_family,
            _ => bad,
        })?;
        let granted = if asked == Some(0) { 0 } else { self.granted_lifetime(asked) };
        let lifetime = Duration::from_secs(granted.into());
        // RFC 8656 §8.2: a family selects one of two relayed addresses; without one both are meant.
        let fits = |server: &Self, relay: RelayId| {
            let allocation = server.allocations.get(relay);
            let own = allocation.map(|allocation| Family::of(&allocation.port.local().ip()));
            family.is_none_or(|family| own == Some(family.0))
        };
        let meant = [Some(relay), self.allocations.get(relay).and_then(|it| it.sibling)];
        let meant = meant.map(|relay| relay.filter(|relay| fits(self, *relay)));
        let mut session = None;
        for relay in meant.into_iter().flatten() {
            let allocation = self.allocations.get_mut(relay).ok_or(bad)?;
            allocation.expires = request.now.monotonic + lifetime;
            session = Some(allocation.session);
        }
        let session = session.ok_or(other_family)?;
        if self.config.verbose {
            self.report(Event::Refreshed { session, user: user.clone(), lifetime });
        }
        if granted == 0 {
            if let Some(forgotten) = self.deleted.remember(request, user) {
                self.set_timer(forgotten, Timer::Deleted(request.client.tuple));
            }
            for relay in meant.into_iter().flatten() {
                self.end_relay(request.now.monotonic, relay, EndCause::Deleted);
            }
        } else {
            for relay in meant.into_iter().flatten() {
                self.wake_by(relay, request.now.monotonic + lifetime);
                self.announce_flows(relay, None);
            }
        }
        Ok(Answer::Lifetime(granted))
    }
}
