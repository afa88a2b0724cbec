//! The kernel program beside the user-space engine: for every packet, both say the same, or the program leaves the
//! packet to user space as it is.
//!
//! Needs root, since programs are loaded into the kernel; without, each test says that it was skipped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod frame;
mod hostile;
mod lifetimes;
mod limits;
mod random;
mod routes;
mod shapes;
mod speed;
mod vlan;
mod watching;
mod world;
