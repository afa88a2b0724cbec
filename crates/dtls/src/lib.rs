//! DTLS 1.2 without I/O: datagrams in and out, a cookie before anything is kept of a client, sessions by OpenSSL
//! (RFC 6347, RFC 7350).
//!
//! [`Front`] meets strangers: it answers a ClientHello by a computed cookie and keeps nothing. Only who has brought
//! that cookie back reaches `DtlsAcceptor::begin`. From there on a `Session` turns datagrams into plain text and
//! back; nothing in it opens a socket or waits. All sessions of a thread share one `Exchange` for the bytes that
//! come and go.

mod front;
mod hello;
mod records;

#[cfg(feature = "sessions")]
mod acceptor;
#[cfg(feature = "sessions")]
mod connector;
#[cfg(feature = "sessions")]
mod context;
#[cfg(feature = "sessions")]
mod exchange;
#[cfg(feature = "sessions")]
mod expiry;
#[cfg(feature = "sessions")]
mod ffi;
#[cfg(feature = "sessions")]
mod session;

pub use front::{Cookie, Front, Judged};
pub use records::{first_epoch, later_records};

#[cfg(feature = "sessions")]
pub use self::{
    acceptor::{DtlsAcceptor, Refused, ServerContext, ServerFiles},
    connector::{ClientFiles, DtlsConnector},
    context::{ConfigError, DTLS_CIPHERS, library_version},
    exchange::Exchange,
    expiry::certificate_expiry,
    session::{Session, Unsealed},
};
