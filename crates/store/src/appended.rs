//! What is added to a table of ours.

/// Rows for a table that is only ever added to.
#[derive(Clone, Copy, Debug)]
pub struct Appended<'a> {
    /// The table.
    pub table: &'static str,
    /// Its columns; the first is the key, by which a row that is there already is known and left as it is.
    pub columns: &'a [&'static str],
    /// The rows, each with a value for every column.
    pub rows: &'a [Vec<Datum>],
    /// What makes the table.
    pub schemas: &'a Schemas,
}

/// What makes a table, in each dialect.
#[derive(Clone, Copy, Debug)]
pub struct Schemas {
    /// SQLite's.
    pub sqlite: &'static str,
    /// PostgreSQL's.
    pub postgres: &'static str,
    /// MySQL's.
    pub mysql: &'static str,
    /// Where they are in the repository, named as those of the other tables.
    pub directory: &'static str,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datum {
    /// A text.
    Text(String),
    /// A number.
    Integer(i64),
}
