//! One data-plane thread: it moves packets between sockets and the rules of `turn`, and shares nothing with its
//! siblings per packet.
//!
//! A turn of the loop: wait for sockets, read the clock once, take in a batch from each ready socket, ask the
//! server about each packet, send everything out at once, then do what is due.

mod datapath;
mod egress;
mod http;
mod kernel_flows;
mod links;
mod mailbox;
mod relay_sockets;
mod stream;
mod stream_output;
mod streams;
mod tls;
mod worker;

pub use http::HttpAnswers;
pub use links::Listener;
pub use mailbox::{Command, Mailbox};
pub use relay_sockets::HeldPorts;
pub use streams::{StreamCounters, StreamLimits};
pub use tls::TlsAcceptor;
pub use worker::{Counters, Snapshot, Worker, WorkerInit};
