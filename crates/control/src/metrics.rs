//! Metrics: which there are, and how they are written for whoever collects them.

mod exposition;
pub mod families;
mod reference;
mod top_users;

pub use exposition::{Exposition, Format};
pub use families::{Family, Kind};
pub use reference::reference;
pub use top_users::{TopUsers, UserTraffic};
