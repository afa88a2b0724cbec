//! One data-plane thread: it moves packets between sockets and the rules of `turn`, and shares nothing with its
//! siblings per packet.
//!
//! A turn of the loop: wait for sockets, read the clock once, take in a batch from each ready socket, ask the
//! server about each packet, send everything out at once, then do what is due.

mod adjustment;
mod associations;
mod counters;
mod datapath;
mod dtls;
mod egress;
mod handover;
mod http;
mod kernel_flows;
mod links;
mod mailbox;
mod migration;
mod peer_connections;
mod proxied;
mod proxies;
mod relay_sockets;
mod security;
mod stream;
mod stream_limits;
mod stream_listeners;
mod stream_output;
mod streams;
mod stub;
mod tls;
mod worker;

pub use adjustment::{Adjustment, FurtherListeners};
pub use counters::{Counters, TurnDurations};
pub use dtls::{DtlsCounters, DtlsInit, DtlsLimits};
pub use handover::{Gift, Handover, Inheritance, Remains, Step, Taken};
pub use http::HttpAnswers;
pub use links::Listener;
pub use mailbox::{Command, Mailbox, Siblings, Visit};
pub use proxies::ProxyRules;
pub use relay_sockets::HeldPorts;
pub use stream_limits::{StreamCounters, StreamLimits};
pub use streams::MovedStream;
pub use tls::TlsAcceptor;
pub use worker::{Ask, Dropped, Snapshot, Worker, WorkerInit};
