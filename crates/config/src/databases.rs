//! What is kept outside the configuration file, and several realms.

use std::net::IpAddr;

use crate::values::Secret;

/// Where users, secrets and realms are kept, and what is read of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// The database; `None` for none.
    pub database: Option<Database>,
    /// The file with the key of the password of a MySQL connection.
    pub secret_key_file: Option<String>,
    /// Whether realms, their origins and limits are read.
    pub realms: bool,
    /// Whether peer ranges are read.
    pub peers: bool,
    /// Realms by listening address.
    pub realm_of_address: Vec<(IpAddr, String)>,
    /// Realms by the server's name in TLS and DTLS, in lower case.
    pub realm_of_server_name: Vec<(String, String)>,
    /// What stands before the realm in a username; `None` where names say nothing of it.
    pub realm_in_username: Option<char>,
    /// Whether sessions end with their REST credentials.
    pub strict_expiry: bool,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The option that named it.
    pub option: &'static str,
    /// What it is.
    pub kind: DatabaseKind,
    /// How to connect to it; may hold a password.
    pub connection: Secret,
}

/// The kinds of databases there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// A file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    Mysql,
    /// MongoDB.
    Mongo,
    /// Redis.
    Redis,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        DatabaseSettings {
            database: None,
            secret_key_file: None,
            realms: true,
            peers: true,
            realm_of_address: Vec::new(),
            realm_of_server_name: Vec::new(),
            realm_in_username: None,
            strict_expiry: false,
        }
    }
}
