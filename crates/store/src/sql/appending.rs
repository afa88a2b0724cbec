//! A table of ours that is only ever added to: records of what happened. Adding the same row twice is adding it once, so
//! that a connection which is lost before the answer came costs nothing.

use super::Value;
use super::pool::{Driver, Fault};
use super::statements::{Dialect, Query};
use super::{SqlStore, StoreError};
use crate::{Appended, Datum, ErrorKind, Result};

impl<D: Driver> SqlStore<D> {
    /// Adds rows, and makes the table if it is missing and this user may.
    pub(super) async fn add(&self, appended: &Appended<'_>) -> Result<()> {
        let queries: Vec<Query> = appended
            .rows
            .chunks(ROWS_OF_A_STATEMENT)
            .map(|rows| self.statements.append(appended, rows))
            .collect();
        match self.pool.batch(&queries).await {
            Ok(_) => return Ok(()),
            Err(Fault::MissingTable) => {}
            Err(fault) => return Err(self.explain_appending(appended, fault)),
        }
        self.make_table(appended).await?;
        let added = self.pool.batch(&queries).await;
        added.map(drop).map_err(|fault| self.explain_appending(appended, fault))
    }

    async fn make_table(&self, appended: &Appended<'_>) -> Result<()> {
        let schema = match self.statements.dialect() {
            Dialect::Sqlite => appended.schemas.sqlite,
            Dialect::Postgres => appended.schemas.postgres,
            Dialect::Mysql => appended.schemas.mysql,
        };
        let statements = schema.split(';').map(str::trim).filter(|statement| !statement.is_empty());
        let queries: Vec<Query> =
            statements.map(|sql| Query { sql: sql.to_owned(), values: Vec::new() }).collect();
        match self.pool.batch(&queries).await {
            Ok(_) => Ok(()),
            Err(fault) => {
                let error = self.explain_appending(appended, fault);
                let what = format_args!(
                    "there is no table {}, and it cannot be made; make it with {}/{} ({error})",
                    appended.table,
                    appended.schemas.directory,
                    self.target().store.schema_file()
                );
                Err(self.target().error(ErrorKind::Missing, what))
            }
        }
    }

    fn explain_appending(&self, appended: &Appended<'_>, fault: Fault) -> StoreError {
        let target = self.target();
        match fault {
            Fault::MissingTable => {
                target.error(ErrorKind::Missing, format_args!("there is no table {}", appended.table))
            }
            Fault::Schema(what) => target.error(
                ErrorKind::Schema,
                format_args!(
                    "the table {} is not as expected ({what}); compare it with {}/{}",
                    appended.table,
                    appended.schemas.directory,
                    target.store.schema_file()
                ),
            ),
            Fault::Lost(error) | Fault::Other(error) => error,
        }
    }
}

impl From<&Datum> for Value {
    fn from(datum: &Datum) -> Self {
        match datum {
            Datum::Text(text) => Value::Text(text.clone()),
            Datum::Integer(integer) => Value::Integer(*integer),
        }
    }
}

/// Some twenty columns each: PostgreSQL and MySQL allow 65,535 parameters, SQLite half of that.
const ROWS_OF_A_STATEMENT: usize = 250;
