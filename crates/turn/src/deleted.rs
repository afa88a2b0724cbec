//! A short memory of deleted allocations, so that a retransmitted delete is answered with success
//! (RFC 8489 §6.3.1). Bounded; entries live as long as a client retransmits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::TransactionId;

use crate::credentials::User;
use crate::requests::Request;
use crate::time::Timestamp;
use crate::timers::{Timer, Timers};
use crate::tuple::FiveTuple;

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
    pub(crate) fn remember(&mut self, request: &Request<'_>, user: &Arc<User>, timers: &mut Timers) {
        if self.by_tuple.len() < MOST {
            let tuple = request.client.tuple;
            let forgotten = request.now.monotonic + LIFETIME;
            let transaction = request.message.transaction_id();
            let deletion = Deletion { transaction, owner: user.clone(), forgotten };
            // One deadline for each 5-tuple, however often something is deleted on it.
            if self.by_tuple.insert(tuple, deletion).is_none() {
                timers.set(forgotten, Timer::Deleted(tuple));
            }
        }
    }

    /// Whether this very request, of this user, has deleted an allocation.
    pub(crate) fn remembers(&self, request: &Request<'_>, user: &User) -> bool {
        let known = self.by_tuple.get(&request.client.tuple);
        known.is_some_and(|deletion| {
            deletion.transaction == request.message.transaction_id() && deletion.owner.name() == user.name()
        })
    }

    /// Forgets a deletion whose time is up, or comes back for a later one on the same 5-tuple.
    pub(crate) fn forget(&mut self, now: Timestamp, tuple: &FiveTuple, timers: &mut Timers) {
        match self.by_tuple.get(tuple).map(|deletion| deletion.forgotten) {
            Some(forgotten) if forgotten > now => timers.set(forgotten, Timer::Deleted(*tuple)),
            _ => drop(self.by_tuple.remove(tuple)),
        }
    }
}

const MOST: usize = 4096;
/// How long a client may retransmit (RFC 8489 §6.2.1).
const LIFETIME: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use turnpike_wire::Message;

    use super::*;
    use crate::credentials::Credentials;
    use crate::time::{Now, UnixTime};
    use crate::tuple::{Client, Link, Transport};

    #[test]
    fn a_5_tuple_has_one_deadline_and_its_last_deletion_is_remembered_to_the_end() {
        let bytes = [0, 4, 0, 0, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let message = Message::parse(&bytes).expect("a Refresh");
        let [server, client] = [3478, 4000].map(|port| ([192, 0, 2, 1], port).into());
        let tuple = FiveTuple { transport: Transport::Udp, server, client };
        let client = Client { link: Link(0), tuple };
        let at = |second| Timestamp(0) + Duration::from_secs(second);
        let request =
            |second| Request { now: Now { monotonic: at(second), unix: UnixTime(0) }, client, message };
        let user = Credentials::anonymous("realm").nobody();
        let (mut deleted, mut timers) = (Deleted::default(), Timers::default());
        for second in 0..30 {
            deleted.remember(&request(second), &user, &mut timers);
        }
        assert_eq!(timers.pop_due(at(40)), Some(Timer::Deleted(tuple)));
        assert_eq!(timers.next_due(), None, "one deadline");
        deleted.forget(at(40), &tuple, &mut timers);
        assert!(deleted.remembers(&request(40), &user));
        assert_eq!(timers.pop_due(at(69)), Some(Timer::Deleted(tuple)));
        deleted.forget(at(69), &tuple, &mut timers);
        assert!(!deleted.remembers(&request(69), &user));
        assert_eq!(timers.next_due(), None);
    }
}
