//! One suite of assertions against every store, and each store's own ways to fail.
//!
//! Servers are real ones, started by the tests on private ports and directories and stopped after. Where one is not
//! installed, its tests say so and count as skipped; `scripts/install-test-needs` installs all of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod certificates;
mod failures;
mod memory;
mod mongo;
mod mysql;
mod postgres;
mod redis;
mod server;
mod sqlite;
mod suite;
