//! The contract between the core and its worker.

mod answers;
mod directory;
mod events;
mod flows;
mod tenants;
mod usage;
