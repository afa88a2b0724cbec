//! Users, secrets, realms and permissions, where coturn keeps them: in SQLite, PostgreSQL, MySQL or MariaDB, Redis or
//! MongoDB, with coturn's tables, keys and connection strings, so that both servers may use one database.
//!
//! [`connect`] makes a [`Store`] of a connection string without needing the server to be up. Reads are what a TURN
//! server asks for each request; administration is what `turnadmin` and a console do. Everything is bounded: the width
//! of a value, the rows of a page, the connections, the time an operation may take.
//!
//! This crate knows nothing of TURN: peer ranges stay text, keys stay bytes, and nobody here caches anything.

mod appended;
mod backoff;
mod connect;
mod error;
pub mod hex;
mod key_values;
pub mod memory;
mod mongo;
mod page;
pub mod password_cipher;
mod redis;
mod rows;
mod settings;
mod sql;
mod target;
mod tls;
mod validate;

use std::fmt;

use async_trait::async_trait;

pub use self::redis::{RedisStatus, StatusCommand};
pub use appended::{Appended, Datum, Schemas};
pub use connect::{ConnectOptions, StoreKind, connect, connect_with};
pub use error::{ErrorKind, StoreError};
pub use memory::MemoryStore;
pub use page::{Counts, Cursor, Page};
pub use rows::{AdminUser, Key, Kind, OAuthKey, RealmOption, Row, StoredUser};
pub use settings::{RealmSettings, Settings};

/// What every operation of a store returns.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A place that keeps users, secrets, realms and permissions. Operations run inside a tokio runtime with time enabled;
/// dropping one is safe at any moment, and each gives up by itself after a while with [`ErrorKind::Unavailable`].
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Which kind of store this is.
    fn kind(&self) -> StoreKind;

    /// Host, database and user, for people; never a password.
    fn address(&self) -> &str;

    /// The hosts that are connected to, as written in the connection string, so that a server can refuse to relay to
    /// them; empty for files.
    fn hosts(&self) -> &[String];

    /// The row that a key names.
    async fn one(&self, key: &Key) -> Result<Option<Row>>;

    /// The keys of a long-term user.
    async fn user(&self, realm: &str, name: &str) -> Result<Option<StoredUser>> {
        match self.one(&Key::User { realm: realm.into(), name: name.into() }).await? {
            Some(Row::User { user, .. }) => Ok(Some(user)),
            _ => Ok(None),
        }
    }

    /// The REST secrets of a realm, each of them valid.
    async fn secrets(&self, realm: &str) -> Result<Vec<String>>;

    /// The key that access tokens with this key id are sealed with.
    async fn oauth_key(&self, kid: &str) -> Result<Option<OAuthKey>> {
        match self.one(&Key::OAuthKey { kid: kid.into() }).await? {
            Some(Row::OAuthKey(key)) => Ok(Some(key)),
            _ => Ok(None),
        }
    }

    /// Somebody who may log in to the console.
    async fn admin_user(&self, name: &str) -> Result<Option<AdminUser>> {
        match self.one(&Key::AdminUser { name: name.into() }).await? {
            Some(Row::AdminUser(admin)) => Ok(Some(admin)),
            _ => Ok(None),
        }
    }

    /// All realms' origins, limits and peer ranges, as one value to compare with the one before.
    async fn settings(&self) -> Result<Settings>;

    /// Asks whether the store answers at all.
    async fn ping(&self) -> Result<()>;

    /// Adds rows or replaces those with the same [`Key`]: all or none of them where the store has transactions, in
    /// their order elsewhere (MongoDB). At most [`PAGE_ROWS`] rows. A realm's limit of zero removes the limit.
    async fn put(&self, rows: &[Row]) -> Result<()>;

    /// Removes what the key names, and says how many rows went; none is not an error.
    async fn remove(&self, key: &Key) -> Result<u64>;

    /// One page of rows, of one realm or of all; `after` is the cursor that came with the page before. A store that is
    /// changed in the meantime shows what was there all along exactly once, except Redis, which may repeat a row.
    async fn list(
        &self,
        kind: Kind,
        realm: Option<&str>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page>;

    /// How many rows there are of each kind.
    async fn counts(&self) -> Result<Counts>;

    /// Whether [`Row::User`]'s SHA-256 keys are kept. They live in a table of our own, which a database that coturn's
    /// schema files set up lacks; such a store keeps the other key and goes on.
    async fn keeps_sha256_keys(&self) -> Result<bool>;

    /// Adds rows to a table of ours, which is made if it is missing. Only SQL stores have such tables.
    async fn append(&self, _rows: &Appended<'_>) -> Result<()> {
        let what = format!("{}: records are kept in SQL databases alone", self.address());
        Err(StoreError::new(self.kind(), ErrorKind::ConnectionString, what))
    }
}

/// The most rows one page may have, and one call of [`Store::put`] take.
pub const PAGE_ROWS: usize = 1000;
