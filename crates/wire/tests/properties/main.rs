//! Properties of the message layer: what is written is read, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attributes;
mod framing;
mod messages;
