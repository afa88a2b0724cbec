//! A database as the command line names it.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use turnpike_store::{ConnectOptions, Store, StoreKind, connect_with};

/// A kind of database and how to connect to it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) kind: StoreKind,
    /// May hold a password.
    pub(super) connection: String,
    /// Decrypts the password in it, if it is encrypted.
    pub(super) password_key: Option<[u8; 16]>,
}

impl Endpoint {
    /// Reads `KIND:CONNECTION`, a URI, or `@FILE` with one of these in it.
    pub(super) fn read(text: &str) -> Result<Self> {
        match text.strip_prefix('@') {
            Some(path) => {
                let inside = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
                Endpoint::parse(inside.trim())
            }
            None => Endpoint::parse(text.trim()),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        let kind = match scheme {
            "sqlite" => StoreKind::Sqlite,
            "postgresql" | "postgres" | "psql" => StoreKind::Postgres,
            "mysql" | "mariadb" => StoreKind::Mysql,
            "redis" => StoreKind::Redis,
            "mongodb" | "mongodb+srv" | "mongo" => StoreKind::Mongo,
            // What stands there may be a password.
            _ => bail!(
                "a database is named as sqlite:FILE, postgresql:CONNECTION, mysql:CONNECTION, redis:CONNECTION or \
                 mongodb://…"
            ),
        };
        // A URI is its own connection string where the database has URIs.
        let is_uri = rest.starts_with("//") && matches!(kind, StoreKind::Postgres | StoreKind::Mongo);
        let connection = if is_uri { text } else { rest };
        if connection.is_empty() {
            bail!("{scheme}: says which kind of database, but not which one");
        }
        Ok(Endpoint { kind, connection: connection.to_owned(), password_key: None })
    }

    pub(super) fn open(&self) -> Result<Arc<dyn Store>> {
        let options = ConnectOptions { password_key: self.password_key };
        Ok(connect_with(self.kind, &self.connection, &options)?)
    }

    /// Likewise, where nothing may be made: a file that is not there is a typing error.
    pub(super) fn open_existing(&self) -> Result<Arc<dyn Store>> {
        let path = &self.connection;
        if self.kind == StoreKind::Sqlite && !path.starts_with('~') {
            let file = std::fs::metadata(path).with_context(|| format!("cannot find the database {path}"))?;
            if file.len() == 0 {
                bail!("{path} is empty: it holds no database");
            }
        }
        self.open()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_named_by_their_kind() {
        for (text, kind, connection) in [
            ("sqlite:/var/db/turndb", StoreKind::Sqlite, "/var/db/turndb"),
            ("postgresql:host=a dbname=b", StoreKind::Postgres, "host=a dbname=b"),
            ("postgresql://u:p@h/d", StoreKind::Postgres, "postgresql://u:p@h/d"),
            ("mysql:host=a port=1", StoreKind::Mysql, "host=a port=1"),
            ("redis:ip=127.0.0.1 dbname=2", StoreKind::Redis, "ip=127.0.0.1 dbname=2"),
            ("mongodb://h/turn", StoreKind::Mongo, "mongodb://h/turn"),
            ("mongodb+srv://h/turn", StoreKind::Mongo, "mongodb+srv://h/turn"),
        ] {
            let expected = Endpoint { kind, connection: connection.to_owned(), password_key: None };
            assert_eq!(Endpoint::read(text).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_database_is_refused_without_repeating_it() {
        for text in ["host=a password=geheim", "oracle:geheim", "sqlite:", "", "@/no/such/file"] {
            let error = format!("{:#}", Endpoint::read(text).unwrap_err());
            assert!(!error.contains("geheim"), "{error}");
        }
        assert!(!format!("{:?}", Endpoint::read("mysql:password=geheim").unwrap()).contains("geheim"));
    }

    #[test]
    fn a_file_may_hold_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("from");
        std::fs::write(&path, "mysql:password=geheim\n").unwrap();
        let read = Endpoint::read(&format!("@{}", path.display())).unwrap();
        assert_eq!((read.kind, read.connection.as_str()), (StoreKind::Mysql, "password=geheim"));
    }
}
