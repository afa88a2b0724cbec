//! How many connections a worker may have, and what it counts of them.

use std::time::Duration;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Of one source address.
    pub per_source: u32,
    /// In all.
    pub total: u32,
    /// How long one without an allocation may be silent.
    pub idle: Duration,
}

/// What became of connections and of what was to be sent on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused because there are too many.
    pub refused: u64,
    /// Connections closed because they were silent for too long.
    pub idle: u64,
    /// Connections closed because what came is no STUN, no ChannelData or no TLS.
    pub invalid: u64,
    /// Connections closed because the client did not take its answers.
    pub stuck: u64,
    /// Connections that went to the worker they belong to.
    pub moved: u64,
    /// Messages dropped because the client did not take what was sent before.
    pub dropped: u64,
}
