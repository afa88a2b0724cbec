//! A short memory of deleted allocations, so that a retransmitted delete is answered with success
//! (RFC 8489 §6.3.1). Bounded; entries live as long as a client retransmits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::TransactionId;

use crate::handover::DeletionValue;
use crate::handover::values::People;
use crate::requests::Request;
use crate::time::Timestamp;
use crate::tuple::{FiveTuple, Transport};
use crate::user::User;

#[derive(Debug, Default)]
pub(crate) struct Deleted {
    by_tuple: HashMap<FiveTuple, Deletion>,
}

#[derive(Debug)]
struct Deletion {
    transaction: TransactionId,
    owner: Arc<User>,
    forgotten: Timestamp,
}

impl Deleted {
    /// Remembers a deletion; says when it is to be forgotten.
    pub(crate) fn remember(
        &mut self,
        now: Timestamp,
        tuple: FiveTuple,
        (transaction, user): (TransactionId, &Arc<User>),
    ) -> Option<Timestamp> {
        if self.by_tuple.len() >= MOST && !self.by_tuple.contains_key(&tuple) {
            return None;
        }
        let forgotten = now + LIFETIME;
        self.by_tuple.insert(tuple, Deletion { transaction, owner: user.clone(), forgotten });
        Some(forgotten)
    }

    /// What is remembered, for another process.
    pub(crate) fn written(&self, people: &mut People) -> Vec<(DeletionValue, u32)> {
        let of_datagrams = self.by_tuple.iter().filter(|(tuple, _)| tuple.transport == Transport::Udp);
        let mut written: Vec<_> = of_datagrams
            .map(|(tuple, deletion)| {
                let Deletion { transaction, forgotten, .. } = *deletion;
                (DeletionValue { tuple: *tuple, transaction, forgotten }, people.number(&deletion.owner))
            })
            .collect();
        written.sort_unstable_by_key(|(deletion, _)| (deletion.forgotten, deletion.transaction.0));
        written
    }

    /// Remembers what another process did.
    pub(crate) fn resume(&mut self, deletion: DeletionValue, owner: Arc<User>) {
        let DeletionValue { tuple, transaction, forgotten } = deletion;
        if self.by_tuple.len() < MOST {
            self.by_tuple.insert(tuple, Deletion { transaction, owner, forgotten });
        }
    }

    /// When the deletion on this 5-tuple is forgotten.
    pub(crate) fn expiry(&self, tuple: &FiveTuple) -> Option<Timestamp> {
        self.by_tuple.get(tuple).map(|deletion| deletion.forgotten)
    }

    /// Whether this very request, of this user, has deleted an allocation.
    pub(crate) fn remembers(&self, request: &Request<'_>, user: &User) -> bool {
        let known = self.by_tuple.get(&request.client.tuple);
        known.is_some_and(|deletion| {
            deletion.transaction == request.message.transaction_id() && deletion.owner.is_same(user)
        })
    }

    /// Forgets a deletion whose time is up; a later one on the same 5-tuple has a timer of its own.
    pub(crate) fn forget(&mut self, now: Timestamp, tuple: &FiveTuple) {
        if self.by_tuple.get(tuple).is_some_and(|deletion| deletion.forgotten <= now) {
            self.by_tuple.remove(tuple);
        }
    }
}

const MOST: usize = 4096;
/// How long a client may retransmit (RFC 8489 §6.2.1).
const LIFETIME: Duration = Duration::from_secs(40);
