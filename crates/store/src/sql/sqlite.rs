//! SQLite: a file, with the library built in.

use std::env;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::config::DbConfig;
use rusqlite::ffi::ErrorCode;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{OpenFlags, ToSql, params_from_iter};
use tokio::task::spawn_blocking;

use super::pool::{Connection, Driver, Fault};
use super::statements::Dialect;
use super::{Query, SqlStore, Value};
use crate::target::{Limits, Target};
use crate::{ErrorKind, Store, StoreError, StoreKind};

/// A store in this file, which is made with its tables when it is first needed. A leading `~` is the home directory.
pub(crate) fn connect(path: &str) -> Result<Arc<dyn Store>, StoreError> {
    let path = path.trim();
    let target = Target::new(StoreKind::Sqlite, path.to_owned(), Vec::new(), Limits::default());
    if path.is_empty() || path.contains('\0') {
        return Err(target.error(ErrorKind::ConnectionString, "name the file of the database"));
    }
    let path = match path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => {
            let home = env::home_dir().ok_or_else(|| {
                target.error(ErrorKind::ConnectionString, "HOME is not set; write the whole path")
            })?;
            home.join(rest.trim_start_matches('/'))
        }
        None => PathBuf::from(path),
    };
    Ok(Arc::new(SqlStore::new(Sqlite { target, path }, CONNECTIONS)))
}

#[derive(Debug)]
struct Sqlite {
    target: Target,
    path: PathBuf,
}

struct SqliteConnection {
    /// Absent while an operation has it, and for good if that was abandoned.
    connection: Option<rusqlite::Connection>,
    target: Target,
    path: PathBuf,
    /// Device and number of the file: another one may have been put in its place.
    file: Option<(u64, u64)>,
}

#[async_trait]
impl Driver for Sqlite {
    type Connection = SqliteConnection;

    fn target(&self) -> &Target {
        &self.target
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn connect(&self) -> Result<SqliteConnection, StoreError> {
        let (target, path) = (self.target.clone(), self.path.clone());
        let opened = spawn_blocking(move || open(&target, &path)).await;
        let connection = opened.map_err(|panic| self.target.error(ErrorKind::Unavailable, panic))??;
        Ok(SqliteConnection {
            connection: Some(connection),
            target: self.target.clone(),
            path: self.path.clone(),
            file: identity(&self.path),
        })
    }
}

#[async_trait]
impl Connection for SqliteConnection {
    fn is_usable(&self) -> bool {
        self.connection.is_some()
    }

    fn abandon(&mut self) {
        self.connection = None;
    }

    async fn rows(&mut self, query: &Query) -> Result<Vec<Vec<Value>>, Fault> {
        let query = query.clone();
        self.run(move |connection| read(connection, &query)).await
    }

    async fn batch(&mut self, queries: &[Query]) -> Result<Vec<u64>, Fault> {
        let queries = queries.to_vec();
        self.run(move |connection| write(connection, &queries)).await
    }
}

impl SqliteConnection {
    /// Runs something on a thread that may wait.
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let gone =
            |target: &Target| Fault::Lost(target.error(ErrorKind::Unavailable, "the file was replaced"));
        if identity(&self.path) != self.file {
            self.connection = None;
        }
        let mut connection = self.connection.take().ok_or_else(|| gone(&self.target))?;
        let done = spawn_blocking(move || (work(&mut connection), connection)).await;
        let (answer, connection) =
            done.map_err(|panic| Fault::Lost(self.target.error(ErrorKind::Unavailable, panic)))?;
        self.connection = Some(connection);
        answer.map_err(|error| explain(&self.target, &error))
    }
}

fn read(connection: &mut rusqlite::Connection, query: &Query) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare_cached(&query.sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map(params_from_iter(&query.values), |row| {
        (0..columns).map(|column| row.get_ref(column).map(Value::from)).collect()
    })?;
    rows.collect()
}

fn write(connection: &mut rusqlite::Connection, queries: &[Query]) -> rusqlite::Result<Vec<u64>> {
    // Taking the lock at once waits for it; going from reading to writing would fail instead.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let execute = |query: &Query| {
        let changed = transaction.prepare_cached(&query.sql)?.execute(params_from_iter(&query.values))?;
        Ok(changed as u64)
    };
    let counts = queries.iter().map(execute).collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(counts)
}

fn open(target: &Target, path: &Path) -> Result<rusqlite::Connection, StoreError> {
    let error = |error: rusqlite::Error| match explain(target, &error) {
        Fault::Other(error) | Fault::Lost(error) => error,
        Fault::MissingTable | Fault::Schema(_) => target.error(ErrorKind::Schema, error),
    };
    let is_new = create(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(error)?;
    connection.busy_timeout(BUSY).map_err(error)?;
    // Otherwise a column that is not there is a text with its name in it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false).map_err(error)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    if is_new {
        // Readers and a writer do not wait for each other then. An existing file stays as its owner has it.
        connection.pragma_update(None, "journal_mode", "WAL").map_err(error)?;
    }
    if !connection.is_readonly(rusqlite::MAIN_DB).map_err(error)?
        && lacks_tables(&connection).map_err(error)?
    {
        let created = connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"));
        match created.map_err(error) {
            // Its directory may be closed to us: what is there can still be read.
            Err(error) if error.kind() == ErrorKind::ReadOnly => {}
            created => created?,
        }
    }
    Ok(connection)
}

/// Makes an empty file, for its owner and group alone since it will hold keys, where there is none.
fn create(path: &Path) -> bool {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
    created.is_ok() || fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
}

fn lacks_tables(connection: &rusqlite::Connection) -> rusqlite::Result<bool> {
    let tables = SCHEMA.matches("CREATE TABLE").count() as i64;
    let ours = "SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view') AND name IN \
        ('turnusers_lt', 'turn_secret', 'allowed_peer_ip', 'denied_peer_ip', 'turn_origin_to_realm', \
        'turn_realm_option', 'oauth_key', 'admin_user', 'turnpike_user_key')";
    connection.query_row(ours, [], |row| row.get::<_, i64>(0)).map(|found| found < tables)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn explain(target: &Target, error: &rusqlite::Error) -> Fault {
    let rusqlite::Error::SqliteFailure(failure, message) = error else {
        return Fault::Other(target.error(ErrorKind::Schema, error));
    };
    let message = message.clone().unwrap_or_else(|| failure.to_string());
    let (kind, what) = match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (ErrorKind::Unavailable, "another process has locked the file; end its transaction, or try again")
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => (
            ErrorKind::ReadOnly,
            "the file, its directory or its file system may not be written by this user",
        ),
        ErrorCode::DiskFull => (ErrorKind::Full, "there is no room left on the file system"),
        ErrorCode::CannotOpen => (
            ErrorKind::Unavailable,
            "the file cannot be opened; does its directory exist, and may this user?",
        ),
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => {
            (ErrorKind::Schema, "the file is not an SQLite database, or is damaged")
        }
        _ if message.starts_with("no such table") => return Fault::MissingTable,
        _ if message.contains("no such column")
            || message.contains("has no column named")
            || message.contains("ON CONFLICT clause") =>
        {
            return Fault::Schema(message);
        }
        ErrorCode::SystemIoFailure => (ErrorKind::Unavailable, "reading or writing the file failed"),
        _ => (ErrorKind::Schema, "the statement failed"),
    };
    Fault::Other(target.error(kind, format_args!("{what} ({message})")))
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(integer) => Value::Integer(integer),
            ValueRef::Real(real) => Value::Text(real.to_string()),
            // What is no text is not what was stored there, and will not be found to be.
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                Value::Text(String::from_utf8_lossy(bytes).into_owned())
            }
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Integer(integer) => ValueRef::Integer(*integer),
        }))
    }
}

const SCHEMA: &str = include_str!("../../../../deploy/turndb/sqlite.sql");
const CONNECTIONS: usize = 4;
const STATEMENTS: usize = 32;
/// A little less than an operation may take, so that the error says what was waited for.
const BUSY: Duration = Duration::from_millis(4500);
