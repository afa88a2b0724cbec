//! What is known of the place a connection string names: how it is called in messages, and what must not be in them.

use std::fmt;
use std::time::Duration;

use crate::connect::StoreKind;
use crate::error::{ErrorKind, StoreError};

/// The place that is connected to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) store: StoreKind,
    /// Host, database and user; or the file.
    pub(crate) address: String,
    pub(crate) hosts: Vec<String>,
    /// What may take how long.
    pub(crate) limits: Limits,
    /// Passwords, which are cut out of whatever a driver says.
    secrets: Vec<String>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Making one connection.
    pub(crate) connect: Duration,
    /// One question on a connection.
    pub(crate) operation: Duration,
}

impl Target {
    pub(crate) fn new(store: StoreKind, address: String, hosts: Vec<String>, limits: Limits) -> Self {
        Target { store, address, hosts, limits, secrets: Vec::new() }
    }

    /// Likewise, with something that must never be printed.
    pub(crate) fn with_secret(mut self, secret: Option<&str>) -> Self {
        self.secrets.extend(secret.filter(|secret| !secret.is_empty()).map(str::to_owned));
        self
    }

    /// An error of this place, without its secrets.
    pub(crate) fn error(&self, kind: ErrorKind, what: impl fmt::Display) -> StoreError {
        let mut what = format!("{}: {what}", self.address);
        for secret in &self.secrets {
            what = what.replace(secret.as_str(), "***");
        }
        what.truncate(what.floor_char_boundary(MESSAGE_BYTES));
        StoreError::new(self.store, kind, what)
    }

    /// The operation took too long.
    pub(crate) fn too_late(&self) -> StoreError {
        let seconds = self.limits.operation.as_secs_f32();
        self.error(
            ErrorKind::Unavailable,
            format_args!(
                "no answer within {seconds} s; is it overloaded, or does a firewall swallow packets?"
            ),
        )
    }

    /// A value in this row makes no sense.
    pub(crate) fn corrupt(&self, row: impl fmt::Debug, what: &str) -> StoreError {
        self.error(ErrorKind::Corrupt, format_args!("{row:?}: {what}; store it anew"))
    }

    /// The table of this name is missing.
    pub(crate) fn missing_table(&self, table: &str) -> StoreError {
        self.error(
            ErrorKind::Missing,
            format_args!(
                "there is no table {table}; create the tables with deploy/turndb/{}, or check the database's name",
                self.store.schema_file()
            ),
        )
    }

    /// A table is not as coturn's schema has it.
    pub(crate) fn wrong_schema(&self, table: &str, what: impl fmt::Display) -> StoreError {
        self.error(
            ErrorKind::Schema,
            format_args!(
                "the table {table} is not as expected ({what}); compare it with deploy/turndb/{}",
                self.store.schema_file()
            ),
        )
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.store).field(&self.address).finish()
    }
}

impl Limits {
    /// One operation with everything that it needs.
    pub(crate) fn longest(&self) -> Duration {
        self.operation.max(self.connect + Duration::from_secs(1))
    }
}

impl Default for Limits {
    /// Making a connection takes less, so that whoever waits learns that it was this that took too long.
    fn default() -> Self {
        Limits { connect: Duration::from_secs(4), operation: Duration::from_secs(5) }
    }
}

/// What a driver says may quote what it was given: this much of it helps, more does not.
const MESSAGE_BYTES: usize = 1000;
