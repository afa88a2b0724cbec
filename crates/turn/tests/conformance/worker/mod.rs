//! The contract between the core and its worker.

mod answers;
mod counters;
mod directory;
mod events;
mod flows;
mod revocation;
mod sessions;
mod handover;
mod tenants;
mod usage;
