//! A running server as those who look after it meet it: real programs, real signals, real neighbours.
//!
//! The harness is that of the end-to-end tests: every test has a loopback address of its own, and every wait has an end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../end_to_end/client.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
mod client;
#[path = "../databases/mod.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
mod databases;
#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
mod harness;
#[path = "../end_to_end/network.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
mod network;
#[path = "../outages/mod.rs"]
mod outages;

mod call;
mod console;
mod control;
mod controlled;
mod database_outages;
mod dns;
mod doctor;
mod draining;
mod external_address;
mod fail2ban;
mod fleet;
mod haproxy;
mod health;
mod http;
mod log_destinations;
mod log_formats;
mod metadata_imitation;
mod metrics;
mod monitoring;
mod newcomer;
mod one_to_one_nat;
mod packaging;
mod redis_status;
mod reload;
mod server_names;
mod session_records;
mod signals;
mod stored_keys;
mod upgrade;
mod upgrade_fast_path;
