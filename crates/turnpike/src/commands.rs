//! The verbs of `turnpike`.

pub mod credentials;
pub mod explain;
pub mod load;
pub mod migrate;
pub mod up;
