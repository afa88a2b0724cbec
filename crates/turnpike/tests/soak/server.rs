//! The server's process, and what the kernel says of it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::harness::local_address;
use crate::wire;

/// A running server; it ends with its owner at the latest.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

/// What a process takes up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    /// Resident memory in KiB.
    pub(crate) memory: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Server {
    /// Starts it on a free port of its own, and returns when it answers.
    pub(crate) fn start() -> Self {
        Server::start_with(|_| Vec::new())
    }

    /// Likewise, with more arguments; `more` is told of a folder for files.
    pub(crate) fn start_with(more: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let address = local_address();
        let name = format!("turnpike-soak-{}-{}", std::process::id(), address.port());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_turnserver"))
            .args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers"])
            .args(["--lt-cred-mech", "--user=soak:secret", "--realm=example.org", "--log-file=stdout"])
            .arg(format!("--listening-port={}", address.port()))
            .arg(format!("--pidfile={}", folder.join("pid").display()))
            .args(more(&folder))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Server { child, address, folder };
        let started = Instant::now();
        while !wire::is_answered(address, Duration::from_millis(100)) {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < Duration::from_secs(10), "{}", server.log());
        }
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn vitals(&self) -> Vitals {
        let status = fs::read_to_string(self.proc("status")).expect("the server lives");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let count = |what| fs::read_dir(self.proc(what)).expect("the server lives").count();
        Vitals { memory: field("VmRSS:"), descriptors: count("fd"), threads: count("task") }
    }

    /// Its vitals once it has as few descriptors as before, or when no reserved port can be held any longer.
    pub(crate) fn settled(&self, before: &Vitals) -> Vitals {
        let started = Instant::now();
        loop {
            let vitals = self.vitals();
            if vitals.descriptors <= before.descriptors || started.elapsed() > LONGEST_HELD {
                return vitals;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Datagrams that the kernel has dropped in front of its sockets, and bytes that wait in them.
    pub(crate) fn dropped_and_waiting(&self) -> (u64, u64) {
        let inodes = self.socket_inodes();
        let tables = ["net/udp", "net/udp6"].map(|table| fs::read_to_string(self.proc(table)).unwrap());
        let (mut dropped, mut waiting) = (0, 0);
        for line in tables.iter().flat_map(|table| table.lines().skip(1)) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if inodes.contains(fields[9]) {
                dropped += fields[12].parse::<u64>().unwrap();
                let queue = fields[4].split_once(':').unwrap().1;
                waiting += u64::from_str_radix(queue, 16).unwrap();
            }
        }
        (dropped, waiting)
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        fs::metadata(self.folder.join("log")).unwrap().len()
    }

    /// SIGTERM, and its exit status.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The end of its log.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        text.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    fn socket_inodes(&self) -> HashSet<String> {
        let descriptors = fs::read_dir(self.proc("fd")).expect("the server lives");
        let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let inode =
            |link: PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
        links.filter_map(inode).collect()
    }

    fn proc(&self, what: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{what}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log ends, last line first:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A reserved port is held for 30 s.
const LONGEST_HELD: Duration = Duration::from_secs(35);
