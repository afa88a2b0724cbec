//! Lists that are read a page at a time.

use crate::error::StoreError;
use crate::rows::{Kind, Row};

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What could be read. A page may be empty and still have another one behind it.
    pub rows: Vec<Row>,
    /// One error for each row whose values make no sense.
    pub corrupt: Vec<StoreError>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// A place in a list; of use only for the store and the list it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(crate) Place);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The key columns of the last row.
    After(Vec<String>),
    /// Where the store goes on, and rows that were read and not shown yet.
    Pending { token: String, rows: Vec<Row> },
}

/// How many rows there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub users: u64,
    pub secrets: u64,
    pub allowed_peers: u64,
    pub denied_peers: u64,
    pub origins: u64,
    pub realm_limits: u64,
    pub oauth_keys: u64,
    pub admin_users: u64,
}

impl Counts {
    /// The count of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        let mut copy = *self;
        *copy.slot(kind)
    }

    pub(crate) fn slot(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::User => &mut self.users,
            Kind::Secret => &mut self.secrets,
            Kind::AllowedPeer => &mut self.allowed_peers,
            Kind::DeniedPeer => &mut self.denied_peers,
            Kind::Origin => &mut self.origins,
            Kind::RealmLimit => &mut self.realm_limits,
            Kind::OAuthKey => &mut self.oauth_keys,
            Kind::AdminUser => &mut self.admin_users,
        }
    }
}
