//! What the server holds for this client: the allocation, its permissions and channels, and when each has to
//! be refreshed (RFC 8656 §8, §9, §12).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::request::MAX_PEERS_PER_REQUEST;

/// A granted allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) relayed: SocketAddr,
    pub(crate) expires: Duration,
    /// When to refresh; `None` while a Refresh is under way, or when nobody asked for it.
    refresh_due: Option<Duration>,
    permissions: Vec<Permission>,
    /// Sorted by number.
    channels: Vec<Channel>,
    /// Shown to take the allocation along to another 5-tuple (RFC 8016).
    pub(crate) ticket: Option<Box<[u8]>>,
}

#[derive(Debug)]
struct Permission {
    peer: IpAddr,
    refresh_due: Duration,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    refresh_due: Duration,
}

impl Allocation {
    pub(crate) fn new(relayed: SocketAddr, lifetime: u32, now: Duration, keep_alive: bool) -> Self {
        let mut allocation = Allocation {
            relayed,
            expires: now,
            refresh_due: None,
            permissions: Vec::new(),
            channels: Vec::new(),
            ticket: None,
        };
        allocation.extend(lifetime, now, keep_alive);
        allocation
    }

    /// The server granted `lifetime` seconds from now.
    pub(crate) fn extend(&mut self, lifetime: u32, now: Duration, keep_alive: bool) {
        let lifetime = Duration::from_secs(lifetime.into());
        self.expires = now.saturating_add(lifetime);
        // A minute early leaves room for all retransmissions; a short life is halved (RFC 8656 §8.1).
        let early = (lifetime / 2).min(REFRESH_BEFORE_EXPIRY);
        self.refresh_due = keep_alive.then(|| self.expires.saturating_sub(early));
    }

    pub(crate) fn permit(&mut self, peer: IpAddr, now: Duration) {
        let refresh_due = now.saturating_add(PERMISSION_REFRESH);
        match self.permissions.iter_mut().find(|permission| permission.peer == peer) {
            Some(permission) => permission.refresh_due = refresh_due,
            None => self.permissions.push(Permission { peer, refresh_due }),
        }
    }

    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr, now: Duration) {
        // Binding again refreshes the permission too, so that a bound peer needs no CreatePermission.
        let channel = Channel { number, peer, refresh_due: now.saturating_add(PERMISSION_REFRESH) };
        match self.channels.binary_search_by_key(&number, |channel| channel.number) {
            Ok(at) => self.channels[at] = channel,
            Err(at) => self.channels.insert(at, channel),
        }
    }

    #[inline]
    pub(crate) fn peer_of(&self, number: u16) -> Option<SocketAddr> {
        let at = self.channels.binary_search_by_key(&number, |channel| channel.number).ok()?;
        Some(self.channels[at].peer)
    }

    /// When something has to be refreshed or the allocation ends.
    pub(crate) fn next_due(&self, keep_alive: bool) -> Duration {
        let mut next = self.expires;
        if let Some(due) = self.refresh_due {
            next = next.min(due);
        }
        if keep_alive {
            let permissions = self.permissions.iter().map(|permission| permission.refresh_due);
            let channels = self.channels.iter().map(|channel| channel.refresh_due);
            next = permissions.chain(channels).fold(next, Duration::min);
        }
        next
    }

    /// Whether a Refresh is due; says so once.
    pub(crate) fn take_refresh_due(&mut self, now: Duration) -> bool {
        self.refresh_due.take_if(|due| *due <= now).is_some()
    }

    /// Peers whose permission is due, and those due soon after, at most one request's worth.
    pub(crate) fn take_permissions_due(&mut self, now: Duration) -> Vec<IpAddr> {
        let soon = now.saturating_add(GATHER);
        if !self.permissions.iter().any(|permission| permission.refresh_due <= now) {
            return Vec::new();
        }
        let due = self.permissions.iter_mut().filter(|permission| permission.refresh_due <= soon);
        due.take(MAX_PEERS_PER_REQUEST)
            .map(|permission| {
                permission.refresh_due = now.saturating_add(PERMISSION_REFRESH);
                permission.peer
            })
            .collect()
    }

    /// One channel that is due.
    pub(crate) fn take_channel_due(&mut self, now: Duration) -> Option<(u16, SocketAddr)> {
        let channel = self.channels.iter_mut().find(|channel| channel.refresh_due <= now)?;
        channel.refresh_due = now.saturating_add(PERMISSION_REFRESH);
        Some((channel.number, channel.peer))
    }
}

/// How long before its end an allocation is refreshed.
const REFRESH_BEFORE_EXPIRY: Duration = Duration::from_secs(60);
/// Permissions last 300 s (RFC 8656 §9): refreshed with a minute to spare.
const PERMISSION_REFRESH: Duration = Duration::from_secs(240);
/// Permissions that fall due within this time share one request.
const GATHER: Duration = Duration::from_secs(10);
