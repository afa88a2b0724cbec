//! Draining: a server that is about to end takes nobody in any more and keeps those it has (coturn's SIGUSR1).
//!
//! Invariants: while it drains no Allocate makes an allocation, whatever it asks for; a copy of one that was granted is
//! answered all the same. Nothing else is refused that was granted before: permissions, channels, moves, data and
//! Refresh go on. No lifetime is granted beyond the deadline, so that a client is never promised what it will not get.

use std::time::Duration;

use turnpike_wire::ErrorNumber;

use crate::reason::Reason;
use crate::requests::{Refused, refused};
use crate::server::Server;
use crate::time::Timestamp;

/// That the server drains. Where a sibling is known, the rules name it among the
/// [`AlternateServers`](crate::AlternateServers): these come first, and clients are sent there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// When sessions that are left will be ended; `None` for never.
    pub deadline: Option<Timestamp>,
}

impl Drain {
    /// What of a lifetime is granted, in seconds: little, so that sessions nobody uses leave soon, and no more than
    /// there is left; at least one second, because zero would tell the client that its allocation is gone.
    pub(crate) fn shorten(self, lifetime: u32, now: Timestamp) -> u32 {
        let left = self.deadline.map_or(u64::MAX, |deadline| deadline.since(now).as_secs());
        lifetime.min(LONGEST_LIFETIME.as_secs() as u32).min(u32::try_from(left).unwrap_or(u32::MAX)).max(1)
    }
}

impl Server {
    /// Refuses an Allocate that would make an allocation here. 403, as coturn has it: a client that got 508 would come
    /// back to this server, and one that got 403 tries the next of its list.
    pub(crate) fn refuse_if_draining(&self) -> Result<(), Refused> {
        match self.config.drain {
            None => Ok(()),
            Some(_) => Err(refused(ErrorNumber::FORBIDDEN, Reason::Draining)),
        }
    }
}

/// Clients renew an allocation about a minute before it ends, or at half-time when there is less.
const LONGEST_LIFETIME: Duration = Duration::from_secs(120);
