//! From a connection string to a store.

use std::sync::Arc;

use crate::error::StoreError;
use crate::{Store, sql};

/// The kinds of stores there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKind {
    /// A file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    /// Redis.
    Redis,
    /// MongoDB.
    Mongo,
    /// Nothing that outlives the process.
    Memory,
}

impl StoreKind {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            StoreKind::Sqlite => "SQLite",
            StoreKind::Postgres => "PostgreSQL",
            StoreKind::Mysql => "MySQL",
            StoreKind::Redis => "Redis",
            StoreKind::Mongo => "MongoDB",
            StoreKind::Memory => "memory",
        }
    }

    /// What makes its tables, in `deploy/turndb`.
    pub fn schema_file(self) -> &'static str {
        match self {
            StoreKind::Sqlite => "sqlite.sql",
            StoreKind::Postgres => "postgresql.sql",
            StoreKind::Mysql => "mysql.sql",
            StoreKind::Mongo => "mongodb.js",
            StoreKind::Redis | StoreKind::Memory => "README.md",
        }
    }
}

/// What is not part of a connection string.
#[derive(Clone, Copy, Default)]
pub struct ConnectOptions {
    /// The key that the password of a MySQL connection string is encrypted with (`secret-key-file`).
    pub password_key: Option<[u8; 16]>,
}

/// A store of this kind, by a connection string as coturn takes it. It need not be reachable yet: only a string that
/// makes no sense is an error here. Call it inside a tokio runtime.
pub fn connect(kind: StoreKind, connection_string: &str) -> Result<Arc<dyn Store>, StoreError> {
    connect_with(kind, connection_string, &ConnectOptions::default())
}

/// Likewise, with more than the string says.
pub fn connect_with(
    kind: StoreKind,
    connection_string: &str,
    options: &ConnectOptions,
) -> Result<Arc<dyn Store>, StoreError> {
    match kind {
        StoreKind::Sqlite => sql::sqlite::connect(connection_string),
        StoreKind::Postgres => sql::postgres::connect(connection_string),
        StoreKind::Mysql => sql::mysql::connect(connection_string, options.password_key.as_ref()),
        StoreKind::Memory => Ok(Arc::new(crate::MemoryStore::new())),
        StoreKind::Redis => crate::redis::connect(connection_string),
        StoreKind::Mongo => crate::mongo::connect(connection_string),
    }
}
