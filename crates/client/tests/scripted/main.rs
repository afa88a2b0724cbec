//! A client against a server that answers by script, byte for byte: no sockets, a clock made of numbers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authentication;
mod data;
mod lifetime;
mod mobility;
mod requests;
mod tcp_relay;
mod tokens;
mod world;
