//! The verbs of `turnpike`.

pub mod container;
pub mod control;
pub mod credentials;
pub mod doctor;
pub mod explain;
pub mod firewall;
pub mod load;
pub mod man;
pub mod migrate;
pub mod probe;
pub mod up;
