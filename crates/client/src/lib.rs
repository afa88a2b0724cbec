//! A STUN and TURN client that does no I/O (RFC 8489, RFC 8656).
//!
//! One [`Client`] stands for one 5-tuple. It reads no clock, opens no socket and has no randomness of its own:
//! the caller hands in the time, the bytes that arrived and a secret seed, and takes away the bytes to send.
//!
//! ```text
//!   handle_input(now, bytes)  -> Option<Event>      what arrived, and where in `bytes` its data lies
//!   poll_transmit(buffer)     -> Option<usize>      requests and retransmissions to send
//!   poll_timeout()            -> Option<Duration>   when to call handle_timeout
//!   handle_timeout(now)                             retransmits, refreshes, gives up
//!   poll_event()              -> Option<Event>      what handle_timeout had to say
//! ```
//!
//! After starting a request and after any `handle_` call, drain `poll_event` and `poll_transmit`, then read
//! `poll_timeout` again. An [`Event::Data`] changes none of them, so the data path may skip all three.
//!
//! Times are [`Duration`](core::time::Duration)s since an epoch of the caller's choosing; it must not change
//! during a client's life.
#![no_std]

extern crate alloc;

mod allocation;
mod answers;
mod authentication;
mod client;
mod config;
mod event;
mod frames;
mod request;
mod transaction;
mod transaction_ids;

pub use client::Client;
pub use config::{
    AllocateOptions, ClientConfig, Credentials, Grant, Port, Retransmission, TokenSource, Transport,
};
pub use event::{Allocated, BindingAnswer, DiscardReason, Event, Failure};
pub use frames::{FrameBuffer, NotFramed};
pub use request::{BindingOptions, MAX_PEERS_PER_REQUEST, RequestError, RequestId};
pub use transaction_ids::TransactionIds;
