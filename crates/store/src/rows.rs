//! What a store keeps, as values.

use std::fmt;

/// The keys a user's requests are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredUser {
    /// MD5 of `name:realm:password`.
    pub hmackey: [u8; 16],
    /// SHA-256 of `name:realm:password` (RFC 8489 §9.2.2), where it is kept and belongs to the same password.
    pub sha256: Option<[u8; 32]>,
}

/// The kinds of rows, each a table, a collection or a pattern of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Long-term users.
    User,
    /// REST secrets.
    Secret,
    /// Ranges of peers that are allowed.
    AllowedPeer,
    /// Ranges of peers that are denied.
    DeniedPeer,
    /// Which realm an ORIGIN belongs to.
    Origin,
    /// A realm's limits.
    RealmLimit,
    /// Keys that access tokens are sealed with.
    OAuthKey,
    /// Users of the console.
    AdminUser,
}

/// One row of any kind.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the columns, and each variant says what it is")]
pub enum Row {
    /// A long-term user with his keys.
    User { realm: String, name: String, user: StoredUser },
    /// A REST secret of a realm.
    Secret { realm: String, value: String },
    /// A range of peers that users of this realm may reach.
    AllowedPeer { realm: String, range: String },
    /// A range of peers that users of this realm may not reach.
    DeniedPeer { realm: String, range: String },
    /// The realm of requests with this ORIGIN.
    Origin { origin: String, realm: String },
    /// A limit of a realm; zero limits nothing.
    RealmLimit { realm: String, option: RealmOption, value: u64 },
    /// A key that access tokens are sealed with.
    OAuthKey(OAuthKey),
    /// A user of the console.
    AdminUser(AdminUser),
}

/// What names a row, or several.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the columns, and each variant says what it is")]
pub enum Key {
    /// One long-term user.
    User { realm: String, name: String },
    /// One REST secret.
    Secret { realm: String, value: String },
    /// All REST secrets of a realm.
    SecretsOf { realm: String },
    /// One range of allowed peers.
    AllowedPeer { realm: String, range: String },
    /// One range of denied peers.
    DeniedPeer { realm: String, range: String },
    /// One ORIGIN.
    Origin { origin: String },
    /// One limit of a realm.
    RealmLimit { realm: String, option: RealmOption },
    /// One key of access tokens.
    OAuthKey { kid: String },
    /// One user of the console.
    AdminUser { name: String },
}

/// What may be limited for a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RealmOption {
    /// Bytes a second of one allocation.
    MaxBps,
    /// Allocations of all users of the realm together.
    TotalQuota,
    /// Allocations of one user.
    UserQuota,
}

/// A key that access tokens (RFC 7635) are sealed with.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthKey {
    /// The key id, which clients send as USERNAME.
    pub kid: String,
    /// The raw key (`ikm_key` is its base64 form).
    pub key: Vec<u8>,
    /// From when on it is valid, in seconds of unix time; zero for ever.
    pub timestamp: u64,
    /// For how many seconds from then it is valid; zero for ever.
    pub lifetime: u32,
    /// `A256GCM` or `A128GCM`.
    pub as_rs_alg: String,
    /// The realm that such a session has; empty leaves the realm that was.
    pub realm: String,
}

/// Somebody who may log in to the console.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminUser {
    /// The name to log in with.
    pub name: String,
    /// The realm that he may see; empty for all.
    pub realm: String,
    /// In clear, or `$5$`, salt and digest.
    pub password: String,
}

impl Kind {
    /// All kinds there are.
    pub const ALL: [Kind; 8] = [
        Kind::User,
        Kind::Secret,
        Kind::AllowedPeer,
        Kind::DeniedPeer,
        Kind::Origin,
        Kind::RealmLimit,
        Kind::OAuthKey,
        Kind::AdminUser,
    ];

    /// The name of its SQL table.
    pub fn table(self) -> &'static str {
        match self {
            Kind::User => "turnusers_lt",
            Kind::Secret => "turn_secret",
            Kind::AllowedPeer => "allowed_peer_ip",
            Kind::DeniedPeer => "denied_peer_ip",
            Kind::Origin => "turn_origin_to_realm",
            Kind::RealmLimit => "turn_realm_option",
            Kind::OAuthKey => "oauth_key",
            Kind::AdminUser => "admin_user",
        }
    }
}

impl RealmOption {
    /// All limits there are.
    pub const ALL: [RealmOption; 3] = [RealmOption::MaxBps, RealmOption::TotalQuota, RealmOption::UserQuota];

    /// As it is written in every store.
    pub fn name(self) -> &'static str {
        match self {
            RealmOption::MaxBps => "max-bps",
            RealmOption::TotalQuota => "total-quota",
            RealmOption::UserQuota => "user-quota",
        }
    }

    /// The limit of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        RealmOption::ALL.into_iter().find(|option| option.name() == name)
    }
}

impl Row {
    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        self.key().kind()
    }

    /// What names this row among its kind.
    pub fn key(&self) -> Key {
        match self.clone() {
            Row::User { realm, name, .. } => Key::User { realm, name },
            Row::Secret { realm, value } => Key::Secret { realm, value },
            Row::AllowedPeer { realm, range } => Key::AllowedPeer { realm, range },
            Row::DeniedPeer { realm, range } => Key::DeniedPeer { realm, range },
            Row::Origin { origin, .. } => Key::Origin { origin },
            Row::RealmLimit { realm, option, .. } => Key::RealmLimit { realm, option },
            Row::OAuthKey(key) => Key::OAuthKey { kid: key.kid },
            Row::AdminUser(admin) => Key::AdminUser { name: admin.name },
        }
    }

    /// The realm it belongs to.
    pub fn realm(&self) -> &str {
        match self {
            Row::User { realm, .. }
            | Row::Secret { realm, .. }
            | Row::AllowedPeer { realm, .. }
            | Row::DeniedPeer { realm, .. }
            | Row::Origin { realm, .. }
            | Row::RealmLimit { realm, .. } => realm,
            Row::OAuthKey(key) => &key.realm,
            Row::AdminUser(admin) => &admin.realm,
        }
    }
}

impl Key {
    /// Of which kind the rows are that it names.
    pub fn kind(&self) -> Kind {
        match self {
            Key::User { .. } => Kind::User,
            Key::Secret { .. } | Key::SecretsOf { .. } => Kind::Secret,
            Key::AllowedPeer { .. } => Kind::AllowedPeer,
            Key::DeniedPeer { .. } => Kind::DeniedPeer,
            Key::Origin { .. } => Kind::Origin,
            Key::RealmLimit { .. } => Kind::RealmLimit,
            Key::OAuthKey { .. } => Kind::OAuthKey,
            Key::AdminUser { .. } => Kind::AdminUser,
        }
    }

    /// The values of its key columns, in the order of [`Key`]'s fields.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match self {
            Key::User { realm, name: second }
            | Key::Secret { realm, value: second }
            | Key::AllowedPeer { realm, range: second }
            | Key::DeniedPeer { realm, range: second } => vec![realm, second],
            Key::RealmLimit { realm, option } => vec![realm, option.name()],
            Key::SecretsOf { realm: only }
            | Key::Origin { origin: only }
            | Key::OAuthKey { kid: only }
            | Key::AdminUser { name: only } => vec![only],
        }
    }
}

// What is printed of these values goes to logs: names do, secrets do not.

impl fmt::Debug for StoredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredUser").field("sha256", &self.sha256.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for OAuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthKey")
            .field("kid", &self.kid)
            .field("timestamp", &self.timestamp)
            .field("lifetime", &self.lifetime)
            .field("as_rs_alg", &self.as_rs_alg)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AdminUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminUser")
            .field("name", &self.name)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Row::Origin { realm, .. } => write!(f, "{:?} of {realm:?}", self.key()),
            Row::RealmLimit { value, .. } => write!(f, "{:?} = {value}", self.key()),
            Row::OAuthKey(key) => key.fmt(f),
            Row::AdminUser(admin) => admin.fmt(f),
            _ => self.key().fmt(f),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::User { realm, name } => write!(f, "user {name:?} of {realm:?}"),
            Key::Secret { realm, .. } => write!(f, "a secret of {realm:?}"),
            Key::SecretsOf { realm } => write!(f, "all secrets of {realm:?}"),
            Key::AllowedPeer { realm, range } => write!(f, "allowed peers {range:?} of {realm:?}"),
            Key::DeniedPeer { realm, range } => write!(f, "denied peers {range:?} of {realm:?}"),
            Key::Origin { origin } => write!(f, "origin {origin:?}"),
            Key::RealmLimit { realm, option } => write!(f, "{} of {realm:?}", option.name()),
            Key::OAuthKey { kid } => write!(f, "token key {kid:?}"),
            Key::AdminUser { name } => write!(f, "console user {name:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_for_debugging_holds_a_secret() {
        let printed = format!(
            "{:?}",
            [
                Row::User {
                    realm: "r".into(),
                    name: "alice".into(),
                    user: StoredUser { hmackey: [0xAB; 16], sha256: Some([0xCD; 32]) },
                },
                Row::Secret { realm: "r".into(), value: "north".into() },
                Row::OAuthKey(OAuthKey {
                    kid: "k".into(),
                    key: b"north".to_vec(),
                    timestamp: 0,
                    lifetime: 0,
                    as_rs_alg: String::new(),
                    realm: String::new(),
                }),
                Row::AdminUser(AdminUser {
                    name: "root".into(),
                    realm: String::new(),
                    password: "north".into()
                }),
            ]
        );
        assert!(printed.contains("alice") && printed.contains("root"));
        for secret in ["north", "171", "205", "110, 111"] {
            assert!(!printed.contains(secret), "{secret} in {printed}");
        }
    }
}
