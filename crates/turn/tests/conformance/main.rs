//! Protocol tests of the server's rules, in folders that mirror the standards' sections.
//!
//! [`harness`] plays everybody else: the clients, the worker that opens relay sockets, and the clock.

mod coturn;
mod harness;
mod rfc5780;
mod rfc6062;
mod rfc7635;
mod rfc8016;
mod rfc8489;
mod rfc8656;
mod security;
mod worker;
