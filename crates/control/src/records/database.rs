//! A table of an SQL database.

use std::io;
use std::sync::Arc;

use turnpike_store::{Appended, Datum, Schemas, Store, StoreError};

use super::{Failure, Keeper, RecordField, SessionRecord};
use crate::log::Value;

/// Adds records to a table.
#[derive(Debug)]
pub struct DatabaseKeeper {
    store: Arc<dyn Store>,
    runtime: tokio::runtime::Runtime,
}

impl DatabaseKeeper {
    /// Makes a connection when it is first needed.
    ///
    /// # Errors
    /// The connection string makes no sense, or the system lacks something.
    pub fn open(connect: impl FnOnce() -> Result<Arc<dyn Store>, StoreError>) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let store = {
            let _inside = runtime.enter();
            connect()?
        };
        Ok(DatabaseKeeper { store, runtime })
    }
}

impl Keeper for DatabaseKeeper {
    fn name(&self) -> String {
        format!("{} {}", self.store.kind().name(), self.store.address())
    }

    fn kind(&self) -> &'static str {
        "database"
    }

    fn hosts(&self) -> Vec<String> {
        self.store.hosts().to_vec()
    }

    fn keep(&mut self, records: &[Arc<SessionRecord>]) -> Result<(), Failure> {
        let columns: Vec<&'static str> = RecordField::ALL.iter().map(|field| field.word()).collect();
        let rows: Vec<Vec<Datum>> = records.iter().map(|record| row(record)).collect();
        let appended = Appended { table: TABLE, columns: &columns, rows: &rows, schemas: &SCHEMAS };
        // Whatever is wrong with a table or a server can be set right.
        self.runtime.block_on(self.store.append(&appended)).map_err(|error| Failure::Later(error.to_string()))
    }
}

pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Values that every database takes: none wider than its column, and no zero byte, which a REST username may hold.
fn row(record: &SessionRecord) -> Vec<Datum> {
    let datum = |(field, value): (&RecordField, &Value)| match value {
        Value::Number(number) => Datum::Integer(i64::try_from(*number).unwrap_or(i64::MAX)),
        Value::Text(text) => {
            let text = text.chars().take(width(*field));
            Datum::Text(
                text.map(|character| if character == '\0' { '\u{fffd}' } else { character }).collect(),
            )
        }
    };
    RecordField::ALL.iter().zip(record.values()).map(datum).collect()
}

/// Of the columns that hold what others have chosen.
fn width(field: RecordField) -> usize {
    match field {
        RecordField::Host => 255,
        RecordField::Realm => 128,
        RecordField::Username | RecordField::Account => 512,
        _ => 64,
    }
}

const TABLE: &str = "turnpike_session_record";
const SCHEMAS: Schemas = Schemas {
    sqlite: include_str!("../../../../deploy/session-records/sqlite.sql"),
    postgres: include_str!("../../../../deploy/session-records/postgresql.sql"),
    mysql: include_str!("../../../../deploy/session-records/mysql.sql"),
    directory: "deploy/session-records",
};
