//! The contract between the core and its worker.

mod answers;
mod counters;
mod directory;
mod events;
mod flows;
mod handover;
mod revocation;
mod sessions;
mod tenants;
mod usage;
