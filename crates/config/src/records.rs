//! What is kept of sessions that ended, and told of those that live.

use std::path::PathBuf;

use crate::databases::Database;
use crate::values::Secret;

/// Where a record of each session that ended goes, and who is told of sessions as they live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordSettings {
    /// A file of JSON lines.
    pub file: Option<PathBuf>,
    /// A table in a database.
    pub database: Option<Database>,
    /// A URL that they are posted to.
    pub webhook: Option<Secret>,
    /// The file that holds what the receiver knows this server by.
    pub webhook_token_file: Option<PathBuf>,
    /// Redis, which is told of sessions and their traffic as they go.
    pub statsdb: Option<Secret>,
}
