//! The contract between the core and its worker.

mod answers;
mod events;
mod flows;
mod usage;
