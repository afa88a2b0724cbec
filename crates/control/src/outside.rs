//! What a database says that holds for all requests: read as a whole, and compared with what it said before.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use tokio::net::lookup_host;
use turnpike_store::{Kind, OAuthKey, PAGE_ROWS, Row, Settings, Store, StoreError};

/// What a database says that holds for all requests.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Realms, origins, limits and peer ranges.
    pub settings: Settings,
    /// REST secrets with their realms.
    pub secrets: Vec<(String, String)>,
    /// Keys of access tokens.
    pub oauth_keys: Vec<OAuthKey>,
    /// The addresses of the hosts that the database is on.
    pub hosts: BTreeSet<IpAddr>,
    /// Of secrets and keys that make no sense, in words for a person: which, and why.
    pub unreadable: Vec<String>,
}

impl Outside {
    /// Reads everything but the hosts, which are as they were.
    pub(crate) async fn read(store: &dyn Store, hosts: &BTreeSet<IpAddr>) -> Result<Self, StoreError> {
        let settings = store.settings().await?;
        let mut outside = Outside { settings, hosts: hosts.clone(), ..Outside::default() };
        for kind in [Kind::Secret, Kind::OAuthKey] {
            outside.read_all(store, kind).await?;
        }
        outside.secrets.sort();
        outside.secrets.dedup();
        outside.oauth_keys.sort_by(|one, other| one.kid.cmp(&other.kid));
        outside.unreadable.sort();
        Ok(outside)
    }

    /// All rows of a kind there are few of; of more than [`MOST_PAGES`] pages the first.
    async fn read_all(&mut self, store: &dyn Store, kind: Kind) -> Result<(), StoreError> {
        let mut after = None;
        for _ in 0..MOST_PAGES {
            let page = store.list(kind, None, after.as_ref(), PAGE_ROWS).await?;
            for row in page.rows {
                match row {
                    Row::Secret { realm, value } => self.secrets.push((realm, value)),
                    Row::OAuthKey(key) => self.oauth_keys.push(key),
                    _ => {}
                }
            }
            let room = MOST_UNREADABLE - self.unreadable.len();
            self.unreadable.extend(page.corrupt.iter().take(room).map(StoreError::to_string));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Outside {
    /// Without the secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outside")
            .field("settings", &self.settings)
            .field("secrets", &self.secrets.len())
            .field("oauth_keys", &self.oauth_keys.len())
            .field("hosts", &self.hosts)
            .field("unreadable", &self.unreadable)
            .finish()
    }
}

/// The addresses of these hosts. Of one whose name nobody knows just now, what was known `before` goes on counting, and
/// the second value says so.
pub(crate) async fn addresses_of(hosts: &[String], before: &BTreeSet<IpAddr>) -> (BTreeSet<IpAddr>, bool) {
    let (mut found, mut all) = (BTreeSet::new(), true);
    for host in hosts {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match lookup_host((bare, 0)).await {
            Ok(addresses) => found.extend(addresses.map(|address| address.ip())),
            Err(_) => all = false,
        }
    }
    if !all {
        found.extend(before);
    }
    (found, all)
}

/// Pages of secrets, and of keys.
const MOST_PAGES: usize = 10;
/// Rows that make no sense, of which people are told.
const MOST_UNREADABLE: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(what: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(what)
    }

    #[test]
    fn hosts_are_found_by_name_and_address_and_what_cannot_be_found_stays_as_it_was() {
        let known = BTreeSet::from(["192.0.2.7".parse().expect("an address")]);
        let hosts = ["localhost", "[::1]", "192.0.2.1"].map(str::to_owned);
        let (found, all) = wait(addresses_of(&hosts, &known));
        assert!(all && found.contains(&IpAddr::from([127, 0, 0, 1])), "{found:?}");
        assert!(found.contains(&"::1".parse::<IpAddr>().expect("an address")), "{found:?}");
        assert!(found.contains(&IpAddr::from([192, 0, 2, 1])), "{found:?}");
        assert!(!found.contains(&IpAddr::from([192, 0, 2, 7])), "it is that no more");
        let (found, all) = wait(addresses_of(&["no such host.invalid".to_owned()], &known));
        assert!(!all);
        assert_eq!(found, known);
    }
}
