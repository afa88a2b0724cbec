//! The server and its tools, as programs. `boot` is the only place that knows every part of the server.

pub mod addresses;
mod alternates;
pub mod boot;
mod certificates;
pub mod cli;
pub mod commands;
mod crew;
mod database;
mod fast_path;
mod listeners;
mod logging;
mod operations;
pub mod passwords;
mod private_key;
mod progress;
mod proxies;
mod recording;
mod redirection;
pub mod rest;
mod rulebook;
mod rules;
mod shared_ports;
mod startup_lines;
pub mod state;
pub mod terminal;
pub mod tools;
