//! The programs as users meet them: real processes, real sockets, their output and their exit status.
//!
//! Every test has a loopback address of its own, so that all may use the usual ports at once, and every wait has an
//! end: see [`harness`].
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
#[path = "../databases/mod.rs"]
mod databases;
mod harness;
mod network;

mod alternate_servers;
mod authentication;
mod checking;
mod credentials;
mod database;
mod discovery_tools;
mod dtls;
mod dtls_strangers;
mod dual;
mod fast_path;
mod first_run;
mod help;
mod hostile;
mod hostile_streams;
mod icmp;
mod load;
mod logging;
mod migrate;
mod mobility;
mod multiplex;
mod nat_discovery;
mod nat_verdicts;
mod oauth;
mod proxy_protocol;
mod refusals;
mod relaying;
mod self_test;
mod sessions;
mod starting;
mod stopping;
mod streams;
mod switches;
mod tcp_relay;
mod tls_options;
mod turnadmin;
mod turnadmin_and_coturn;
mod turnadmin_databases;
mod turnadmin_transfer;
mod uclient;
