//! Who holds a port: from `/proc`, for a message that helps.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A process that has a port open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub process: u32,
    /// Its name.
    pub name: String,
}

/// The first process found whose UDP socket keeps `address` from being bound; `None` if there is none, or it
/// cannot be seen by this user.
pub fn holder_of_udp_address(address: SocketAddr) -> Option<Holder> {
    holder(["/proc/net/udp", "/proc/net/udp6"], address, None)
}

/// Likewise for a TCP listener.
pub fn holder_of_tcp_address(address: SocketAddr) -> Option<Holder> {
    holder(["/proc/net/tcp", "/proc/net/tcp6"], address, Some(LISTENING))
}

fn holder(tables: [&str; 2], address: SocketAddr, state: Option<&str>) -> Option<Holder> {
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes_in_the_way(&table, address, state))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbered = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbered.find(|process| has_socket(*process, &inodes)).map(|process| Holder {
        process,
        name: fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned(),
    })
}

/// The inodes of sockets (in this state, if one matters) that are bound to `wanted` or, wholly or in part, to all addresses of its port; from a
/// table of the kernel's.
fn inodes_in_the_way(table: &str, wanted: SocketAddr, state: Option<&str>) -> Vec<String> {
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter_map(|columns| {
        let (ip, port) = columns.get(1)?.rsplit_once(':')?;
        let ip = kernel_address(ip)?.to_canonical();
        let same_port = u16::from_str_radix(port, 16).ok()? == wanted.port();
        let overlaps =
            ip == wanted.ip().to_canonical() || ip.is_unspecified() || wanted.ip().is_unspecified();
        let in_state = state.is_none_or(|state| columns.get(3) == Some(&state));
        (same_port && overlaps && in_state).then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    })
    .collect()
}

/// Reads an address as the kernel prints it: words of 32 bits in the machine's own byte order.
fn kernel_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

fn has_socket(process: u32, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(Path::new("/proc").join(process.to_string()).join("fd")) else {
        return false;
    };
    descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| {
        let link = link.to_string_lossy();
        let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.iter().any(|known| known == inode))
    })
}

/// How the kernel writes that a TCP socket listens.
const LISTENING: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_process_is_found_by_its_address_and_by_the_wildcard() {
        for ip in ["127.0.0.1", "127.7.7.7", "::1"] {
            let socket = std::net::UdpSocket::bind((ip, 0)).unwrap();
            let address = socket.local_addr().unwrap();
            assert_eq!(holder_of_udp_address(address).unwrap().process, std::process::id(), "{ip}");
            let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            assert_eq!(holder_of_udp_address(wildcard).unwrap().process, std::process::id(), "{ip}");
        }
    }

    #[test]
    fn a_socket_of_the_same_port_on_another_address_is_not_in_the_way() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     1: 3500007F:0D96 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 77 2\n\
                     2: 00000000:0D97 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 78 2\n";
        let found = |address: &str| inodes_in_the_way(table, address.parse().unwrap(), None);
        assert_eq!(found("127.0.0.1:3478"), [""; 0]);
        assert_eq!(found("0.0.0.0:3478"), ["77"]);
        if cfg!(target_endian = "little") {
            assert_eq!(found("127.0.0.53:3478"), ["77"]);
        }
        assert_eq!(found("127.0.0.1:3479"), ["78"]);
    }
}
