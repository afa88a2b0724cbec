//! Traffic by user, for those few who have most of it: what `prometheus-username-labels` asks for, without a series for
//! everybody who ever came.
//!
//! Invariant: at most [`MOST`] users have counters of their own, however many come and under however many names. Whoever
//! is not among them counts as `other`, and so does all that somebody had who has made room for another. Who stays is
//! decided as by the space-saving algorithm: a newcomer takes the place of the one with the least weight and inherits
//! that, so that somebody who really has much traffic is not driven out by many who have little.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use turnpike_turn::{Event, Usage};

use crate::reports::Watcher;

/// The users with the most traffic, and what they had relayed in sessions that have ended.
#[derive(Clone, Debug, Default)]
pub struct TopUsers {
    table: Arc<Mutex<Table>>,
}

/// A user's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTraffic {
    /// The realm; the same for all whose user is none in particular.
    pub realm: Box<str>,
    /// The account: a REST name without its time. `None` for everybody else.
    pub user: Option<Box<str>>,
    /// What was relayed.
    pub usage: Usage,
}

#[derive(Debug, Default)]
struct Table {
    users: HashMap<(Box<str>, Box<str>), Share>,
    /// Everybody else, by realm.
    others: HashMap<Box<str>, Usage>,
}

#[derive(Debug, Default)]
struct Share {
    usage: Usage,
    /// Bytes, with those of whoever had the place before.
    weight: u64,
}

impl TopUsers {
    /// Everybody who has counters, in no order.
    pub fn read(&self) -> Vec<UserTraffic> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let named = table.users.iter().map(|((realm, user), share)| UserTraffic {
            realm: realm.clone(),
            user: Some(user.clone()),
            usage: share.usage,
        });
        let others = table.others.iter().map(|(realm, usage)| UserTraffic {
            realm: realm.clone(),
            user: None,
            usage: *usage,
        });
        named.chain(others).collect()
    }
}

impl Watcher for TopUsers {
    fn see(&mut self, event: &Event) {
        if let Event::Ended { user, usage, .. } = event
            && !user.is_self_test()
        {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.note(user.realm(), user.account(), usage);
        }
    }
}

impl Table {
    fn note(&mut self, realm: &str, account: &str, usage: &Usage) {
        let bytes = usage.client_bytes + usage.peer_bytes;
        let key = (Box::from(realm), Box::from(cut(account)));
        if let Some(share) = self.users.get_mut(&key) {
            share.usage.add(usage);
            share.weight += bytes;
            return;
        }
        let mut inherited = 0;
        if self.users.len() >= MOST {
            let least = self.users.iter().min_by_key(|(_, share)| share.weight);
            let Some((least, weight)) = least.map(|(key, share)| (key.clone(), share.weight)) else { return };
            if let Some(share) = self.users.remove(&least) {
                self.others_of(&least.0).add(&share.usage);
            }
            inherited = weight;
        }
        self.users.insert(key, Share { usage: *usage, weight: inherited + bytes });
    }

    fn others_of(&mut self, realm: &str) -> &mut Usage {
        // Realms are the operator's, but a database may have any number of them.
        let is_full = self.others.len() >= MOST && !self.others.contains_key(realm);
        self.others.entry(if is_full { "" } else { realm }.into()).or_default()
    }
}

/// A name as far as it goes into a label.
fn cut(account: &str) -> &str {
    let end = (0..=account.len().min(LONGEST)).rev().find(|end| account.is_char_boundary(*end));
    &account[..end.unwrap_or(0)]
}

/// Users with counters of their own.
const MOST: usize = 100;
/// Bytes of a name in a label.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(bytes: u64) -> Usage {
        Usage { client_packets: 1, client_bytes: bytes, ..Usage::default() }
    }

    #[test]
    fn a_hundred_thousand_names_have_a_hundred_series_and_nothing_is_lost() {
        let (top, mut table) = (TopUsers::default(), Table::default());
        for turn in 0..100_000 {
            table.note("realm", &format!("user-{turn}"), &usage(10));
            if turn % 100 == 0 {
                table.note("realm", "heavy", &usage(100_000));
            }
        }
        *top.table.lock().unwrap() = table;
        let read = top.read();
        assert_eq!(read.len(), MOST + 1);
        let bytes: u64 = read.iter().map(|user| user.usage.client_bytes).sum();
        assert_eq!(bytes, 100_000 * 10 + 1000 * 100_000);
        let heavy = read.iter().find(|user| user.user.as_deref() == Some("heavy")).expect("he stays");
        assert_eq!(heavy.usage.client_bytes, 1000 * 100_000);
    }

    #[test]
    fn a_name_of_any_length_and_script_is_cut_between_characters() {
        assert_eq!(cut("alice"), "alice");
        assert_eq!(cut(&"\u{4f8b}".repeat(100)).chars().count(), 21);
    }
}
