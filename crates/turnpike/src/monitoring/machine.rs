//! What the system says of this process and of the network it is in.

use std::fs;
use std::time::Duration;

/// What this process takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Resident memory in bytes.
    pub(super) memory: u64,
    /// Processor time, in the kernel and out of it.
    pub(super) processor: Duration,
    /// Open descriptors.
    pub(super) descriptors: u64,
    /// How many there may be.
    pub(super) descriptor_limit: u64,
}

/// Datagrams that the kernel has dropped at sockets of this network namespace, by family: IPv4, then IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UdpDrops {
    /// Because what receives is too slow.
    pub(super) received: [u64; 2],
    /// Because what sends is too fast.
    pub(super) sent: [u64; 2],
}

impl Process {
    /// As it is now; what the system does not say is zero.
    pub(super) fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Process {
            memory: memory_in(&status),
            processor: processor_time(),
            descriptors: open_descriptors(),
            descriptor_limit: descriptor_limit_in(&limits),
        }
    }
}

impl UdpDrops {
    pub(super) fn look() -> Self {
        let ipv4 = fs::read_to_string("/proc/self/net/snmp").unwrap_or_default();
        let ipv6 = fs::read_to_string("/proc/self/net/snmp6").unwrap_or_default();
        let [received, sent] = ["RcvbufErrors", "SndbufErrors"]
            .map(|name| [column_of_udp(&ipv4, name), line_of_udp6(&ipv6, name)]);
        UdpDrops { received, sent }
    }
}

fn memory_in(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Newer kernels say so at once; counting many takes long.
fn open_descriptors() -> u64 {
    let said = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    match said {
        0 => fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        said => said,
    }
}

fn descriptor_limit_in(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Two lines of which the first names the columns of the second.
fn column_of_udp(snmp: &str, name: &str) -> u64 {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let found = names.split_whitespace().zip(values.split_whitespace()).find(|(column, _)| *column == name);
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or_default()
}

/// A line for each value.
fn line_of_udp6(snmp6: &str, name: &str) -> u64 {
    let line = snmp6.lines().find_map(|line| line.strip_prefix("Udp6")?.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let snmp = "Ip: Forwarding\nIp: 1\n\
                    Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors\n\
                    Udp: 100 1 7 90 7 3 0\nUdpLite: InDatagrams RcvbufErrors\nUdpLite: 0 9\n";
        assert_eq!((column_of_udp(snmp, "RcvbufErrors"), column_of_udp(snmp, "SndbufErrors")), (7, 3));
        assert_eq!(column_of_udp("Udp: RcvbufErrors\n", "RcvbufErrors"), 0);
        let snmp6 = "Udp6InErrors   \t5\nUdp6RcvbufErrors                \t4\nUdpLite6RcvbufErrors 9\n";
        assert_eq!((line_of_udp6(snmp6, "RcvbufErrors"), line_of_udp6(snmp6, "SndbufErrors")), (4, 0));
        assert_eq!(memory_in("Name:\tx\nVmRSS:\t    2048 kB\n"), 2 * 1024 * 1024);
        assert_eq!(descriptor_limit_in("Max open files            1024     524288     files\n"), 1024);
        let process = Process::look();
        assert!(process.memory > 0 && process.descriptors >= 3 && process.descriptor_limit >= 3);
    }
}
