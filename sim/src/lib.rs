//! A world in a box: Turnpike's core among clients, attackers and peers, on a network with faults, under a
//! virtual clock. Everything follows from one seed.
//!
//! After each input the core's verdict is compared with that of a naive `model` that was written from the
//! RFCs. Start reading at [`simulation::run`].

mod actors;
mod connections;
mod kernel;
mod letters;
mod model;
mod network;
mod observed;
mod random;
mod settings;
pub mod simulation;
mod sources;
mod tally;
mod trace;
mod world;
