//! What the system is set to: forwarding, the TTL of new packets, the kernel's version, drivers.

use std::fs;
use std::path::Path;

/// Whether the kernel answers look-ups of routes from this interface.
pub(crate) fn forwards(family: &str, interface: &str) -> bool {
    number(&format!("/proc/sys/net/{family}/conf/{interface}/forwarding")) == Some(1)
}

/// The TTL of new IPv4 packets and the hop limit of new IPv6 ones.
pub(crate) fn hops() -> [u32; 2] {
    ["/proc/sys/net/ipv4/ip_default_ttl", "/proc/sys/net/ipv6/conf/default/hop_limit"]
        .map(|path| number(path).filter(|hops| (1..=255).contains(hops)).unwrap_or(DEFAULT_HOPS))
}

/// Whether the kernel is of this version or later.
pub(crate) fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    version_of(&release) >= Some((major, minor))
}

/// Whether there is hardware behind an interface, so that a driver may run programs with more gain than the kernel's
/// own receive path. Veth has a mode for it too, which copies every packet.
pub(crate) fn is_hardware(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).join("device").exists()
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

const DEFAULT_HOPS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version_of("6.10.3-amd64\n"), Some((6, 10)));
        assert!(version_of("6.10.3") > Some((6, 6)) && version_of("5.15.0") < Some((6, 6)));
        assert_eq!(version_of("unknown"), None);
    }
}
