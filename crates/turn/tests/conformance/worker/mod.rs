//! The contract between the core and its worker.

mod answers;
mod directory;
mod events;
mod flows;
mod revocation;
mod tenants;
mod usage;
