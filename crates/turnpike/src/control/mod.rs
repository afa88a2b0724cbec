//! The control socket: a Unix socket where `turnpike sessions` and its like speak with a running server, and whoever
//! else wants to: one line of JSON for each question and one for its answer ([`answers`]). How people read the answers is
//! the matter of `commands::control`.
//!
//! Invariants: only root and the server's own user are heard; a question has a bounded length, and so has an answer; whoever
//! does not read his answers is cut off; no worker waits for any of this.

mod answers;
mod place;
mod rows;
mod socket;
mod top;

pub(crate) use place::{NAME, places_to_look, usual_place};
pub(crate) use socket::ControlHandle;

/// The version of the questions and answers.
pub(crate) const VERSION: u64 = 1;
