//! One suite of assertions against every store, and each store's own ways to fail.
//!
//! Servers are real ones, started by the tests on private ports and directories and stopped after. Where one is not
//! installed, its tests say so and count as skipped; `scripts/install-test-needs` installs all of them.

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
