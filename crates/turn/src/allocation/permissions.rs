//! The permissions of one allocation (RFC 8656 §9): by IP address, with a deadline each.
//!
//! A handful is scanned; from a few dozen on an index is kept, so that lookups stay constant-time.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::peers::PeerAccess;
use crate::time::Timestamp;

/// Leave to exchange data with one peer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) ip: IpAddr,
    pub(crate) access: PeerAccess,
    pub(crate) expires: Timestamp,
    /// Whether a packet to where nothing may be reached has been reported.
    pub(crate) told: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Permissions {
    entries: Vec<Permission>,
    index: Option<Box<HashTable<u32>>>,
}

impl Permissions {
    /// The permission for `ip`, if it still holds.
    #[inline]
    pub(crate) fn get(&self, ip: IpAddr, now: Timestamp) -> Option<&Permission> {
        self.position(ip).map(|at| &self.entries[at]).filter(|permission| permission.expires > now)
    }

    /// The permission for `ip`, even if it has expired since the last sweep.
    pub(crate) fn kept(&self, ip: IpAddr) -> Option<&Permission> {
        self.position(ip).map(|at| &self.entries[at])
    }

    /// Whether packets to this address are refused for the first time since the permission was granted.
    pub(crate) fn is_first_refusal(&mut self, ip: IpAddr) -> bool {
        let permission = self.position(ip).map(|at| &mut self.entries[at]);
        permission.is_some_and(|permission| !std::mem::replace(&mut permission.told, true))
    }

    /// All of them, including those that expired since the last sweep.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Permission> {
        self.entries.iter()
    }

    /// How many there are, including those that expired since the last sweep.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Installs or renews a permission.
    pub(crate) fn grant(&mut self, permission: Permission) {
        match self.position(permission.ip) {
            Some(at) => self.entries[at] = permission,
            None => {
                self.entries.push(permission);
                self.reindex();
            }
        }
    }

    /// Takes out what has expired, and tells of each.
    pub(crate) fn sweep(&mut self, now: Timestamp, mut expired: impl FnMut(&Permission)) {
        let before = self.entries.len();
        self.entries.retain(|permission| {
            let holds = permission.expires > now;
            if !holds {
                expired(permission);
            }
            holds
        });
        if self.entries.len() != before {
            self.index = None;
            self.reindex();
        }
    }

    /// Takes out what new rules refuse, and tells of each; of the others they may have changed the access.
    pub(crate) fn judge_again(
        &mut self,
        judge: impl Fn(IpAddr) -> Result<PeerAccess, &'static str>,
        mut refused: impl FnMut(IpAddr, &'static str),
    ) {
        let before = self.entries.len();
        self.entries.retain_mut(|permission| match judge(permission.ip) {
            Ok(access) => {
                permission.access = access;
                true
            }
            Err(rule) => {
                refused(permission.ip, rule);
                false
            }
        });
        if self.entries.len() != before {
            self.index = None;
            self.reindex();
        }
    }

    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.entries.iter().map(|permission| permission.expires).min()
    }

    #[inline]
    fn position(&self, ip: IpAddr) -> Option<usize> {
        match &self.index {
            None => self.entries.iter().position(|permission| permission.ip == ip),
            Some(index) => {
                let found = index.find(hash(ip), |at| self.entries[*at as usize].ip == ip);
                found.map(|at| *at as usize)
            }
        }
    }

    /// Brings the index up to date after entries were appended, making or leaving it as size demands.
    fn reindex(&mut self) {
        if self.entries.len() <= SCANNED {
            return;
        }
        let Permissions { entries, index } = self;
        let index = index.get_or_insert_default();
        for at in index.len()..entries.len() {
            index.insert_unique(hash(entries[at].ip), at as u32, |at| hash(entries[*at as usize].ip));
        }
    }
}

fn hash(ip: IpAddr) -> u64 {
    // Only the allocation's owner chooses these, and can slow down nobody but himself.
    FixedState::default().hash_one(ip)
}

const SCANNED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(number: u32, expires: u64) -> Permission {
        let ip = IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0808_0000 + number));
        Permission { ip, access: PeerAccess::Anywhere, expires: Timestamp(expires), told: false }
    }

    #[test]
    fn permissions_are_found_renewed_and_swept_at_any_size() {
        for count in [1, SCANNED as u32, SCANNED as u32 + 1, 1024] {
            let mut permissions = Permissions::default();
            (0..count).for_each(|number| permissions.grant(permission(number, 100 + u64::from(number % 2))));
            (0..count).for_each(|number| permissions.grant(permission(number, 200 + u64::from(number % 2))));
            assert_eq!(permissions.len(), count as usize);
            assert_eq!(permissions.next_expiry(), Some(Timestamp(200)));
            let mut expired = 0;
            permissions.sweep(Timestamp(200), |_| expired += 1);
            assert_eq!(expired, count.div_ceil(2));
            for number in 0..count {
                let ip = permission(number, 0).ip;
                assert_eq!(permissions.get(ip, Timestamp(200)).is_some(), number % 2 == 1, "{number}");
                assert!(permissions.get(ip, Timestamp(201)).is_none());
            }
        }
    }
}
