//! Many rows at once: written to a file and read from one, as JSON lines or CSV, a page at a time.
//!
//! Both forms name a row's values as its SQL columns are called. A JSON line is one row of any kind; a CSV file holds
//! one kind, with a line of names first.

mod export;
mod fields;
mod import;
mod records;

pub(super) use export::export;
pub(super) use fields::kind_of_name;
pub(crate) use fields::{kind_name, values as row_values};
pub(super) use import::import;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    JsonLines,
}
