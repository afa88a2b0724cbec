//! The two clocks a server needs, as values: nothing in this crate reads a clock.

use core::ops::Add;
use core::time::Duration;

/// Nanoseconds on a clock that never jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Seconds since 1970-01-01 00:00 UTC: what REST credentials and nonces carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(pub u64);

/// One reading of both clocks, taken once per turn of a worker's loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// For lifetimes.
    pub monotonic: Timestamp,
    /// For what was agreed with others.
    pub unix: UnixTime,
}
