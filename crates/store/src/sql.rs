//! The three SQL stores: one implementation over three drivers.
//!
//! [`statements`] says what is asked, a driver asks it, [`columns`] reads the answer.

mod appending;
mod columns;
mod conninfo;
pub(crate) mod mysql;
mod pool;
pub(crate) mod postgres;
pub(crate) mod sqlite;
mod statements;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use crate::page::Place;
use crate::rows::{Key, Kind, Row, StoredUser};
use crate::settings::{SETTINGS_ROWS, Settings};
use crate::target::Target;
use crate::{Appended, Counts, Cursor, PAGE_ROWS, Page, Result, Store, StoreError, StoreKind};

pub(crate) use columns::{accompanying, hmackey, oauth_key, realm_limit};
use pool::{Driver, Fault, Pool};
use statements::{Dialect, Query, Statements};

/// A store in an SQL database.
#[derive(Debug)]
pub(crate) struct SqlStore<D: Driver> {
    pool: Pool<D>,
    statements: Statements,
    /// Whether our own table is there: looked for again with every reading of the settings, and before every write.
    has_user_keys: AtomicBool,
}

/// A value of a column or a parameter.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(String),
    Integer(i64),
}

impl<D: Driver> SqlStore<D> {
    pub(crate) fn new(driver: D, connections: usize) -> Self {
        let statements = Statements::new(driver.dialect());
        SqlStore { pool: Pool::new(driver, connections), statements, has_user_keys: AtomicBool::new(true) }
    }

    fn target(&self) -> &Target {
        self.pool.target()
    }

    /// Asks one table.
    async fn rows(&self, table: &str, query: &Query) -> Result<Vec<Vec<Value>>> {
        self.pool.rows(query).await.map_err(|fault| self.explain(table, fault))
    }

    fn explain(&self, table: &str, fault: Fault) -> StoreError {
        match fault {
            Fault::MissingTable => self.target().missing_table(table),
            Fault::Schema(what) => self.target().wrong_schema(table, what),
            Fault::Lost(error) | Fault::Other(error) => error,
        }
    }

    /// Looks whether our own table is there.
    async fn look_for_user_keys(&self) -> Result<bool> {
        let found = match self.pool.rows(&self.statements.probe_user_keys()).await {
            Ok(_) => true,
            // A table of that name which is not ours is none.
            Err(Fault::MissingTable | Fault::Schema(_)) => false,
            Err(Fault::Lost(error) | Fault::Other(error)) => return Err(error),
        };
        self.has_user_keys.store(found, Ordering::Relaxed);
        Ok(found)
    }

    async fn settings_of(&self, kind: Kind, settings: &mut Settings) -> Result<()> {
        let limit = SETTINGS_ROWS + 1;
        let table = kind.table();
        let rows = match self.pool.rows(&self.statements.all(kind, limit)).await {
            // coturn's schema before realms: these ranges are everybody's.
            Err(Fault::Schema(_)) if matches!(kind, Kind::AllowedPeer | Kind::DeniedPeer) => {
                let ranges = self.rows(table, &self.statements.all_without_realm(kind, limit)).await?;
                ranges.into_iter().map(|row| [vec![Value::Text(String::new())], row].concat()).collect()
            }
            answer => answer.map_err(|fault| self.explain(table, fault))?,
        };
        if rows.len() >= limit {
            return Err(self.target().wrong_schema(table, format_args!("more than {SETTINGS_ROWS} rows")));
        }
        for row in rows {
            // What another version has added to the limits, or somebody has mistyped, is not worth losing the rest.
            if let Ok(row) = columns::read(self.target(), kind, row) {
                settings.add(row);
            }
        }
        Ok(())
    }

    /// Adds their SHA-256 keys to users.
    async fn add_sha256_keys(&self, rows: &mut [Row]) -> Result<()> {
        if !self.has_user_keys.load(Ordering::Relaxed) {
            return Ok(());
        }
        for chunk in rows.chunks_mut(self.statements.user_keys_at_once()) {
            let keys: Vec<Key> = chunk.iter().map(Row::key).collect();
            let found = match self.pool.rows(&self.statements.user_keys(&keys)).await {
                Ok(found) => found,
                Err(Fault::MissingTable | Fault::Schema(_)) => return Ok(()),
                Err(Fault::Lost(error) | Fault::Other(error)) => return Err(error),
            };
            columns::add_sha256_keys(chunk, found);
        }
        Ok(())
    }

    /// Rows of a list, and the cursor behind them.
    fn page(&self, kind: Kind, rows: Vec<Vec<Value>>, limit: usize) -> Page {
        let full = rows.len() == limit;
        let next = rows.last().filter(|_| full).map(|row| Cursor(Place::After(columns::key_of(kind, row))));
        let mut page = Page { next, ..Page::default() };
        for row in rows {
            match columns::read(self.target(), kind, row) {
                Ok(row) => page.rows.push(row),
                Err(error) => page.corrupt.push(error),
            }
        }
        page
    }
}

#[async_trait]
impl<D: Driver> Store for SqlStore<D> {
    fn kind(&self) -> StoreKind {
        self.target().store
    }

    fn address(&self) -> &str {
        &self.target().address
    }

    fn hosts(&self) -> &[String] {
        &self.target().hosts
    }

    async fn one(&self, key: &Key) -> Result<Option<Row>> {
        self.target().check_key(key)?;
        let kind = key.kind();
        let rows = self.rows(kind.table(), &self.statements.one(key)).await?;
        // MySQL may compare without case: what was not asked for is not there.
        let exact = rows.into_iter().find(|row| columns::key_of(kind, row) == key.columns());
        exact.map(|row| columns::read(self.target(), kind, row)).transpose()
    }

    async fn user(&self, realm: &str, name: &str) -> Result<Option<StoredUser>> {
        self.target().check_user(realm, name)?;
        if self.has_user_keys.load(Ordering::Relaxed) {
            match self.pool.rows(&self.statements.user(realm, name)).await {
                Ok(rows) => return columns::read_user(self.target(), realm, name, rows),
                Err(Fault::MissingTable | Fault::Schema(_)) => {
                    self.has_user_keys.store(false, Ordering::Relaxed);
                }
                Err(Fault::Lost(error) | Fault::Other(error)) => return Err(error),
            }
        }
        let key = Key::User { realm: realm.into(), name: name.into() };
        match self.one(&key).await? {
            Some(Row::User { user, .. }) => Ok(Some(user)),
            _ => Ok(None),
        }
    }

    async fn secrets(&self, realm: &str) -> Result<Vec<String>> {
        self.target().check_realm(realm)?;
        let query = self.statements.list(Kind::Secret, Some(realm), None, PAGE_ROWS);
        let page = self.page(Kind::Secret, self.rows(Kind::Secret.table(), &query).await?, PAGE_ROWS);
        if let Some(error) = page.corrupt.into_iter().next() {
            return Err(error);
        }
        let exact = page.rows.into_iter().filter_map(|row| match row {
            Row::Secret { realm: found, value } if found == realm => Some(value),
            _ => None,
        });
        Ok(exact.collect())
    }

    async fn settings(&self) -> Result<Settings> {
        self.look_for_user_keys().await?;
        let mut settings = Settings::default();
        for kind in [Kind::Origin, Kind::RealmLimit, Kind::AllowedPeer, Kind::DeniedPeer] {
            self.settings_of(kind, &mut settings).await?;
        }
        Ok(settings)
    }

    async fn ping(&self) -> Result<()> {
        self.rows("", &self.statements.ping()).await.map(drop)
    }

    async fn put(&self, rows: &[Row]) -> Result<()> {
        self.target().check_rows(rows)?;
        let users = rows.iter().any(|row| row.kind() == Kind::User);
        let has_user_keys = users && self.look_for_user_keys().await?;
        let queries = self.statements.put(rows, has_user_keys);
        let table = rows.first().map_or("", |row| row.kind().table());
        self.pool.batch(&queries).await.map_err(|fault| self.explain(table, fault))?;
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<u64> {
        self.target().check_key(key)?;
        let has_user_keys = key.kind() == Kind::User && self.look_for_user_keys().await?;
        let queries = self.statements.remove(key, has_user_keys);
        let table = key.kind().table();
        let counts = self.pool.batch(&queries).await.map_err(|fault| self.explain(table, fault))?;
        Ok(counts.first().copied().unwrap_or(0))
    }

    async fn list(
        &self,
        kind: Kind,
        realm: Option<&str>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let limit = limit.clamp(1, PAGE_ROWS);
        if let Some(realm) = realm {
            self.target().check_realm(realm)?;
        }
        let after = match after {
            Some(Cursor(Place::After(columns))) => Some(columns.as_slice()),
            _ => None,
        };
        let query = self.statements.list(kind, realm, after, limit);
        let mut page = self.page(kind, self.rows(kind.table(), &query).await?, limit);
        if kind == Kind::User {
            self.add_sha256_keys(&mut page.rows).await?;
        }
        if let Some(realm) = realm {
            page.rows.retain(|row| row.realm() == realm);
        }
        Ok(page)
    }

    async fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for kind in Kind::ALL {
            let rows = self.rows(kind.table(), &self.statements.count(kind)).await?;
            let count = match rows.first().and_then(|row| row.first()) {
                Some(Value::Integer(count)) => u64::try_from(*count).unwrap_or(0),
                _ => 0,
            };
            *counts.slot(kind) = count;
        }
        Ok(counts)
    }

    async fn keeps_sha256_keys(&self) -> Result<bool> {
        self.look_for_user_keys().await
    }

    async fn append(&self, rows: &Appended<'_>) -> Result<()> {
        self.add(rows).await
    }
}

impl fmt::Debug for Value {
    /// Values are secrets as often as not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Value::Null => "null",
            Value::Text(_) => "text",
            Value::Integer(_) => "integer",
        })
    }
}
