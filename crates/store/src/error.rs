//! What can go wrong, in words for a person and in kinds for a program.

use crate::connect::StoreKind;

/// Why an operation failed. Its message names the store, says what happened and what to do, and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", .store.name())]
pub struct StoreError {
    kind: ErrorKind,
    store: StoreKind,
    what: String,
}

/// What a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The store cannot be reached, is busy, or took too long: worth trying again.
    Unavailable,
    /// The store refused the user, the password or the certificate.
    Refused,
    /// The connection string makes no sense.
    ConnectionString,
    /// A table is missing.
    Missing,
    /// Tables or keys are there, but not as coturn lays them out.
    Schema,
    /// A value that was read makes no sense.
    Corrupt,
    /// A name or value is longer than the store's columns.
    TooLong,
    /// A name or value holds something that the store cannot.
    Invalid,
    /// The store may be read, not written.
    ReadOnly,
    /// There is no room left.
    Full,
}

impl StoreError {
    pub(crate) fn new(store: StoreKind, kind: ErrorKind, what: impl Into<String>) -> Self {
        StoreError { kind, store, what: what.into() }
    }

    /// What a program may want to tell apart.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Which kind of store it was.
    pub fn store(&self) -> StoreKind {
        self.store
    }

    /// Whether the same operation may succeed a little later, without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }
}
