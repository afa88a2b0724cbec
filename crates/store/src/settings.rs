//! What a store says of all realms at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::{RealmOption, Row};

/// All realms' origins, limits and peer ranges: small, read as a whole, and compared with what was read before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The realm of each ORIGIN.
    pub origins: BTreeMap<String, String>,
    /// What is said of each realm. The empty realm's peer ranges hold for everybody.
    pub realms: BTreeMap<String, RealmSettings>,
}

/// What is said of one realm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RealmSettings {
    /// Limits; one that is absent is the server's own.
    pub limits: BTreeMap<RealmOption, u64>,
    /// Ranges of peers that its users may reach, as they are written.
    pub allowed_peers: BTreeSet<String>,
    /// Ranges of peers that its users may not reach, as they are written.
    pub denied_peers: BTreeSet<String>,
}

impl Settings {
    /// Adds what a row says; rows of users and keys say nothing here.
    pub(crate) fn add(&mut self, row: Row) {
        match row {
            Row::Origin { origin, realm } => {
                self.realms.entry(realm.clone()).or_default();
                self.origins.insert(origin, realm);
            }
            Row::RealmLimit { realm, option, value } => {
                let limits = &mut self.realms.entry(realm).or_default().limits;
                if value > 0 {
                    limits.insert(option, value);
                }
            }
            Row::AllowedPeer { realm, range } => {
                self.realms.entry(realm).or_default().allowed_peers.insert(range);
            }
            Row::DeniedPeer { realm, range } => {
                self.realms.entry(realm).or_default().denied_peers.insert(range);
            }
            Row::User { .. } | Row::Secret { .. } | Row::OAuthKey(_) | Row::AdminUser(_) => {}
        }
    }
}

/// The most rows of settings that are read: beyond, somebody has filled the wrong table.
pub(crate) const SETTINGS_ROWS: usize = 100_000;
