//! Processor time of the server and of the kernel work done for it.
//!
//! Counted is what the scheduler charges, in nanoseconds, to the server's threads, to the receive threads of
//! its interfaces and to the soft-interrupt thread of its core. What runs in interrupts while the core is
//! otherwise idle is charged to nobody.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// What to read.
pub(crate) struct Meter {
    server: u32,
    receive_threads: Vec<u32>,
    soft_interrupt_thread: Option<u32>,
    core: usize,
}

/// Processor time since some moment in the past, or between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessorTime {
    /// Of the server's own threads: its code, and the kernel's work in its system calls.
    pub(crate) threads: Duration,
    /// Of the kernel's receive work on the server's interfaces.
    pub(crate) receive: Duration,
    /// During which the server's core did nothing at all, in steps of 10 ms.
    pub(crate) core_idle: Duration,
}

impl ProcessorTime {
    /// The server's whole cost.
    pub(crate) fn total(&self) -> Duration {
        self.threads + self.receive
    }
}

impl Meter {
    /// A meter of the process `server` and these kernel threads on `core`.
    pub(crate) fn new(server: u32, receive_threads: &[u32], core: usize) -> Result<Self> {
        let soft_interrupt_thread = process_named(&format!("ksoftirqd/{core}"))?;
        Ok(Meter { server, receive_threads: receive_threads.to_vec(), soft_interrupt_thread, core })
    }

    /// The time spent since each thread began.
    pub(crate) fn read(&self) -> Result<ProcessorTime> {
        let mut threads = Duration::ZERO;
        for entry in fs::read_dir(format!("/proc/{}/task", self.server)).context("the server is gone")? {
            threads += run_time(&fs::read_to_string(entry?.path().join("schedstat"))?)?;
        }
        let mut receive = Duration::ZERO;
        for thread in self.receive_threads.iter().chain(&self.soft_interrupt_thread) {
            receive += run_time(&fs::read_to_string(format!("/proc/{thread}/schedstat"))?)?;
        }
        let core_idle = idle_time(&fs::read_to_string("/proc/stat")?, self.core)?;
        Ok(ProcessorTime { threads, receive, core_idle })
    }

    /// The time spent between an earlier reading and now.
    pub(crate) fn since(&self, earlier: ProcessorTime) -> Result<ProcessorTime> {
        let now = self.read()?;
        Ok(ProcessorTime {
            threads: now.threads.saturating_sub(earlier.threads),
            receive: now.receive.saturating_sub(earlier.receive),
            core_idle: now.core_idle.saturating_sub(earlier.core_idle),
        })
    }
}

/// The first number of a schedstat file: nanoseconds on a core.
fn run_time(schedstat: &str) -> Result<Duration> {
    let nanoseconds = schedstat.split_whitespace().next().context("an empty schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// Time `core` was idle, from /proc/stat's hundredths of seconds. Its busy columns would be samples taken at
/// each timer tick; the idle ones are measured.
fn idle_time(stat: &str, core: usize) -> Result<Duration> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find(|line| line.starts_with(&name)).context("/proc/stat lacks the core")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // user, nice, system, idle, waiting, ...
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ok(Duration::from_millis(idle * 10))
}

fn process_named(name: &str) -> Result<Option<u32>> {
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_time_is_the_first_number() {
        assert_eq!(run_time("1500 20 3\n").unwrap(), Duration::from_nanos(1500));
        assert!(run_time("").is_err());
    }

    #[test]
    fn idle_time_includes_waiting_for_disks() {
        let stat = "cpu  1 1 1 1 1 1 1 1\ncpu0 10 1 5 1000 50 2 3 99 0 0\ncpu1 0 0 0 0 0 0 0 0\n";
        assert_eq!(idle_time(stat, 0).unwrap(), Duration::from_millis(10_500));
        assert!(idle_time(stat, 7).is_err());
    }
}
