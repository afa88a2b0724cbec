//! Real sockets on the loopback interface.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod batches;
mod grouping;
mod icmp_errors;
mod random_traffic;
mod small_mtu;
mod station;
