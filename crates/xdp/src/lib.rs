//! The kernel fast path: a program inside the kernel (`bpf/fast_path.c`) that relays ChannelData and peers' datagrams
//! of the flows it is told of, and leaves everything else to user space.
//!
//! [`FastPath::open`] chooses where the program runs (XDP in the driver, else tc), loads and attaches it, and says in a
//! line why. Each worker keeps its flows in a [`FlowTable`] of its own. The program is attached by descriptors of this
//! process and pinned nowhere: however the process ends, nothing is left behind.
#![forbid(unsafe_code)]

mod accounts;
mod capabilities;
mod changes;
mod error;
mod flow_table;
mod inheritance;
mod layout;
mod links;
mod loader;
mod mode;
mod netlink;
mod program;
mod surroundings;
mod system;
mod watcher;

pub use accounts::Account;
pub use capabilities::{give_up_capabilities, needed_capabilities};
pub use error::Unavailable;
pub use flow_table::{Flow, FlowName, FlowTable, FlowUsage, Usage};
pub use inheritance::Heirloom;
pub use loader::{FastPath, Options, Outcomes};
pub use mode::{Mode, Point};
pub use program::ROUTE_FOR;
pub use watcher::Watcher;

/// For this crate's tests: the program itself, run on packets without being attached.
#[doc(hidden)]
pub use loader::Bench;
