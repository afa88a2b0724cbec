//! Limits of the process, and where its threads run.

use std::io;
use std::mem::size_of;

/// How many descriptors the process may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// Before.
    pub before: u64,
    /// Now.
    pub now: u64,
    /// As far as this process could raise it.
    pub hard: u64,
}

/// Raises the limit of open descriptors as far as it goes.
///
/// # Errors
/// The limit cannot be read.
pub fn raise_descriptor_limit() -> io::Result<DescriptorLimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    // A privileged process may go beyond its hard limit, up to what the kernel allows at all.
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let most = most.and_then(|text| text.trim().parse().ok()).unwrap_or(limit.rlim_max).max(limit.rlim_max);
    for wanted in [most, limit.rlim_max] {
        let raised = libc::rlimit { rlim_cur: wanted, rlim_max: wanted.max(limit.rlim_max) };
        // SAFETY: `raised` is a valid limit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return Ok(DescriptorLimit { before, now: wanted, hard: raised.rlim_max });
        }
    }
    Ok(DescriptorLimit { before, now: before, hard: limit.rlim_max })
}

/// Lets the calling thread run on one core alone.
///
/// # Errors
/// There is no such core, or this process may not use it.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: an all-zero cpu_set_t is the empty set; `core` is within it, as checked above; the set is passed
    // with its size.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_descriptors_is_raised_to_its_end() {
        let limit = raise_descriptor_limit().unwrap();
        assert!(limit.now >= limit.before && limit.now == limit.hard);
        let again = raise_descriptor_limit().unwrap();
        assert_eq!((again.before, again.now), (limit.now, limit.now));
    }

    #[test]
    fn a_thread_can_be_pinned_to_a_core_that_exists() {
        // SAFETY: an all-zero set is valid, and is passed with its size.
        let allowed = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set), 0);
            (0..libc::CPU_SETSIZE as usize).find(|core| libc::CPU_ISSET(*core, &set)).unwrap()
        };
        let pinned = move || {
            pin_to_core(allowed).unwrap();
            // SAFETY: the call takes nothing.
            unsafe { libc::sched_getcpu() }
        };
        assert_eq!(std::thread::spawn(pinned).join().unwrap(), allowed as i32);
        assert!(pin_to_core(1 << 20).is_err());
    }
}
