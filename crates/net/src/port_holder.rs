//! Who holds a UDP port: from `/proc`, for a message that helps.

use std::fs;
use std::path::Path;

/// A process that has a port open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub process: u32,
    /// Its name.
    pub name: String,
}

/// The first process found that has UDP port `port` open on any address; `None` if there is none, or it cannot
/// be seen by this user.
pub fn holder_of_udp_port(port: u16) -> Option<Holder> {
    let inodes: Vec<String> = ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes_of_port(&table, port))
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

/// The inodes of sockets bound to `port`, from a table of the kernel's.
fn inodes_of_port(table: &str, port: u16) -> Vec<String> {
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter_map(|columns| {
        let local = columns.get(1)?.rsplit_once(':')?.1;
        (u16::from_str_radix(local, 16).ok()? == port)
            .then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    })
    .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_process_is_found_by_its_port() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let holder = holder_of_udp_port(socket.local_addr().unwrap().port()).unwrap();
        assert_eq!(holder.process, std::process::id());
    }
}
