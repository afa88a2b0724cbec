//! What the results depend on besides the server: this machine, the processor time of a server that runs on it, and
//! what this very process lost. All from `/proc`; what cannot be read is left out.

use std::fs;
use std::path::Path;
use std::time::Duration;

use turnpike_net::{holder_of_tcp_address, holder_of_udp_address};

use super::target::{Locality, Target};

/// The machine a run was made on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
}

/// The server's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) process: u32,
    pub(super) name: String,
}

impl Machine {
    pub(super) fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            processor: processor_name(&cpuinfo).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("Linux {}", kernel.trim()),
        }
    }
}

impl Server {
    /// The process given, or the one that holds the target's address on this machine; `None` if there is none or it
    /// cannot be seen by this user.
    pub(super) fn find(target: &Target, given: Option<u32>) -> Option<Self> {
        if let Some(process) = given {
            let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
            return Some(Server { process, name: name.trim().to_owned() });
        }
        if target.locality != Locality::ThisMachine {
            return None;
        }
        let holder = match target.transport.is_stream() {
            true => holder_of_tcp_address(target.address),
            false => holder_of_udp_address(target.address),
        }?;
        Some(Server { process: holder.process, name: holder.name })
    }

    /// Processor time of all its threads so far; `None` once it has ended.
    pub(super) fn busy(&self) -> Option<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process)).ok()?;
        let mut total = 0;
        for task in tasks.flatten() {
            total += run_time(&task.path())?;
        }
        Some(Duration::from_nanos(total))
    }

    /// Bytes of memory in use.
    pub(super) fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    }
}

/// Datagrams that arrived for this process and were thrown away because it did not read fast enough.
pub(super) fn own_losses() -> u64 {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return 0 };
    let links = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let ours: std::collections::HashSet<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().map(|table| losses(table, |inode| ours.contains(inode))).sum()
}

/// The sum of the last column over the sockets that are ours.
fn losses(table: &str, is_ours: impl Fn(&str) -> bool) -> u64 {
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|columns| columns.get(9).is_some_and(|inode| is_ours(inode)))
        .filter_map(|columns| columns.get(12)?.parse::<u64>().ok())
        .sum()
}

fn processor_name(cpuinfo: &str) -> Option<String> {
    let (_, name) = cpuinfo.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Nanoseconds a thread has run: the first number of its schedstat.
fn run_time(task: &Path) -> Option<u64> {
    match fs::read_to_string(task.join("schedstat")) {
        Ok(schedstat) => schedstat.split_whitespace().next()?.parse().ok(),
        // It ended while we looked.
        Err(_) => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_this_process_are_described() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.kernel.len() > 6 && !machine.processor.is_empty());
        let this = Server { process: std::process::id(), name: String::new() };
        assert!(this.busy().unwrap() > Duration::ZERO);
        assert!(this.memory().unwrap() > 1 << 20);
        let nobody = Server { process: u32::MAX, name: String::new() };
        assert_eq!((nobody.busy(), nobody.memory()), (None, None));
    }

    #[test]
    fn losses_are_those_of_our_own_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                     1: 3500007F:0D96 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 77 2 0000000000000000 5\n\
                     2: 00000000:0D97 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 78 2 0000000000000000 9\n";
        assert_eq!(losses(table, |inode| inode == "77"), 5);
        assert_eq!(losses(table, |_| true), 14);
    }

    #[test]
    fn the_processor_is_named_where_the_kernel_names_it() {
        assert_eq!(
            processor_name("processor\t: 0\nmodel name\t: Some  CPU @ 2 GHz\n").as_deref(),
            Some("Some CPU @ 2 GHz")
        );
        assert_eq!(processor_name("processor : 0\n"), None);
    }
}
