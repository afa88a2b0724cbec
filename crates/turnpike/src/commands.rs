//! The verbs of `turnpike`.

pub mod control;
pub mod credentials;
pub mod doctor;
pub mod explain;
pub mod firewall;
pub mod load;
pub mod migrate;
pub mod probe;
pub mod up;
