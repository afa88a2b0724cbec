//! A short memory of deleted allocations, so that a retransmitted delete is answered with success
//! (RFC 8489 §6.3.1). Bounded; entries live as long as a client retransmits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::TransactionId;

use crate::credentials::User;
use crate::requests::Request;
use crate::timers::{Timer, Timers};
use crate::tuple::FiveTuple;

#[derive(Debug, Default)]
pub(crate) struct Deleted {
    by_tuple: HashMap<FiveTuple, (TransactionId, Arc<User>)>,
}

impl Deleted {
    pub(crate) fn remember(&mut self, request: &Request<'_>, user: &Arc<User>, timers: &mut Timers) {
        if self.by_tuple.len() < MOST {
            let tuple = request.client.tuple;
            self.by_tuple.insert(tuple, (request.message.transaction_id(), user.clone()));
            timers.set(request.now.monotonic + LIFETIME, Timer::Deleted(tuple));
        }
    }

    /// Whether this very request, of this user, has deleted an allocation.
    pub(crate) fn remembers(&self, request: &Request<'_>, user: &User) -> bool {
        let known = self.by_tuple.get(&request.client.tuple);
        known.is_some_and(|(transaction, owner)| {
            *transaction == request.message.transaction_id() && owner.name() == user.name()
        })
    }

    pub(crate) fn forget(&mut self, tuple: &FiveTuple) {
        self.by_tuple.remove(tuple);
    }
}

const MOST: usize = 4096;
/// How long a client may retransmit (RFC 8489 §6.2.1).
const LIFETIME: Duration = Duration::from_secs(40);
