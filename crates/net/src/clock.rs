//! The two clocks, read in one place.

/// Reads the clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Nanoseconds on the clock that never jumps: the one a kernel program compares deadlines with.
    pub monotonic: u64,
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix: u64,
    /// Nanoseconds since the beginning of that second.
    pub unix_nanoseconds: u32,
}

impl Clock {
    /// Both clocks, now.
    pub fn now(self) -> Reading {
        let monotonic = read(libc::CLOCK_MONOTONIC);
        let unix = read(libc::CLOCK_REALTIME);
        Reading {
            monotonic: monotonic.tv_sec as u64 * 1_000_000_000 + monotonic.tv_nsec as u64,
            unix: u64::try_from(unix.tv_sec).unwrap_or_default(),
            unix_nanoseconds: unix.tv_nsec as u32,
        }
    }
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec. The call cannot fail for these two clocks; were it to,
    // the time would be zero.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_are_read_and_the_first_never_goes_back() {
        let (first, second) = (Clock.now(), Clock.now());
        assert!(first.monotonic > 0 && second.monotonic >= first.monotonic);
        // The year 2001.
        assert!(first.unix > 1_000_000_000 && first.unix_nanoseconds < 1_000_000_000);
    }
}
