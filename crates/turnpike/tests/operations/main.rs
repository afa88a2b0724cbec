//! A running server as those who look after it meet it: real programs, real signals, real neighbours.
//!
//! The harness is that of the end-to-end tests: every test has a loopback address of its own, and every wait has an end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other operations use the rest")]
mod call;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../end_to_end/client.rs"]
mod client;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../databases/mod.rs"]
mod databases;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../end_to_end/harness.rs"]
mod harness;
#[path = "../outages/mod.rs"]
mod outages;

mod database_outages;
mod call;
mod console;
mod control;
mod controlled;
mod draining;
mod fail2ban;
mod fleet;
mod haproxy;
mod health;
mod http;
mod log_destinations;
mod log_formats;
mod metrics;
mod monitoring;
mod redis_status;
mod server_names;
mod reload;
mod session_records;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "../end_to_end/network.rs"]
mod network;

mod doctor;
mod external_address;
mod metadata_imitation;
mod newcomer;
mod one_to_one_nat;
mod health;
mod http;
mod metrics;
mod monitoring;
mod packaging;
mod signals;
mod stored_keys;
mod upgrade;
