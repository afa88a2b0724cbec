//! A network of three hosts: clients, server, peers, each in a network namespace of its own, joined by two cables.
//!
//! The server's is the one the test runs in; the others live as long as a process that does nothing there.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::harness::{PATIENCE, Program};

pub(crate) struct Network {
    clients: Host,
    peers: Host,
}

/// A namespace, held by a process.
struct Host(Child);

/// Which host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Clients,
    Peers,
}

impl Network {
    /// `checksums` says who computes them: the hosts themselves, or nobody, as hardware would that is not there.
    pub(crate) fn build(checksums: bool) -> Self {
        let network = Network { clients: Host::start(), peers: Host::start() };
        ip("link set lo up");
        for family in ["ipv4", "ipv6"] {
            std::fs::write(format!("/proc/sys/net/{family}/conf/lo/forwarding"), "1").unwrap();
        }
        for (host, device, number) in [(&network.clients, "clients", 1), (&network.peers, "peers", 2)] {
            ip(&format!("link add {device} type veth peer name far netns {}", host.0.id()));
            ip(&format!("address add 10.{number}.0.1/24 dev {device}"));
            ip(&format!("address add fd0{number}::1/64 dev {device} nodad"));
            ip(&format!("link set {device} up"));
            host.ip("link set lo up");
            host.ip(&format!("address add 10.{number}.0.2/24 dev far"));
            host.ip(&format!("address add fd0{number}::2/64 dev far nodad"));
            host.ip("link set far up");
            // A driver of a cable sends and receives single packets; these need GRO for it, and join packets no more than
            // one that has no segmentation to undo.
            host.run("ethtool", "-K far gro on tso off tx-udp-segmentation off");
            if checksums {
                host.run("ethtool", "-K far tx off");
            }
            run("ethtool", &format!("-K {device} gro on"));
        }
        network
    }

    /// A socket of a host, connected to an address or not.
    pub(crate) fn socket(&self, side: Side, address: &str, to: Option<SocketAddr>) -> UdpSocket {
        let namespace = File::open(format!("/proc/{}/ns/net", self.host(side).0.id())).unwrap();
        let address = address.to_owned();
        // A thread that is there makes the socket, which stays there.
        let socket = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let socket = UdpSocket::bind(address).unwrap();
            to.iter().for_each(|to| socket.connect(to).unwrap());
            socket
        });
        let socket = socket.join().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Datagrams that were dropped on a host because their checksum was wrong.
    pub(crate) fn wrong_checksums(&self, side: Side) -> u64 {
        let process = self.host(side).0.id();
        let old = std::fs::read_to_string(format!("/proc/{process}/net/snmp")).unwrap();
        let new = std::fs::read_to_string(format!("/proc/{process}/net/snmp6")).unwrap();
        counter(&old, "InCsumErrors") + counter6(&new, "Udp6InCsumErrors")
    }

    /// Runs a program on a host.
    pub(crate) fn run(&self, side: Side, program: &str, arguments: &str) {
        self.host(side).run(program, arguments);
    }

    /// Starts a program on a host.
    pub(crate) fn start(&self, side: Side, program: &str, arguments: &[&str]) -> Program {
        let namespace = format!("--net=/proc/{}/ns/net", self.host(side).0.id());
        Program::start("nsenter", &[&[&namespace, program][..], arguments].concat())
    }

    fn host(&self, side: Side) -> &Host {
        match side {
            Side::Clients => &self.clients,
            Side::Peers => &self.peers,
        }
    }
}

impl Host {
    fn start() -> Self {
        let ours = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let child =
            Command::new("unshare").args(["--net", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        // Nothing tells when a process has changed its namespace.
        while std::fs::read_link(format!("/proc/{}/ns/net", child.id())).is_ok_and(|its| its == ours) {
            assert!(Instant::now() < deadline, "unshare does not come to work");
            std::thread::sleep(Duration::from_millis(1));
        }
        Host(child)
    }

    fn ip(&self, arguments: &str) {
        self.run("ip", arguments);
    }

    fn run(&self, program: &str, arguments: &str) {
        run("nsenter", &format!("--net=/proc/{}/ns/net {program} {arguments}", self.0.id()));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Datagrams that the server's host has handed to sockets.
pub(crate) fn received_by_sockets() -> u64 {
    let old = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let new = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
    counter(&old, "InDatagrams") + counter6(&new, "Udp6InDatagrams")
}

/// Runs `work` in a namespace of its own: at once if this is one, otherwise by running this very test there. Without root
/// it says that it was skipped.
pub(crate) fn within_a_server(test: &str, work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return work();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let held = u64::from_str_radix(held.trim(), 16).unwrap();
    if [CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF].iter().any(|capability| held & 1 << capability == 0) {
        println!("skipped: {test} needs root to load programs into the kernel");
        return;
    }
    let output = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        // These tests say themselves what they want of it.
        .env_remove("TURNPIKE_TEST_FAST_PATH")
        .output()
        .expect("the tests need `unshare` and `nsenter` of util-linux, `ip` of iproute2, and `ethtool`");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaints}");
    said.lines().filter(|line| line.starts_with("counted:")).for_each(|line| println!("{line}"));
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

pub(crate) fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A counter of the pair of lines that begin with "Udp:", first the names, then the numbers.
fn counter(table: &str, name: &str) -> u64 {
    let mut lines = table.lines().filter(|line| line.starts_with("Udp:"));
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let column = names.split_whitespace().position(|column| column == name).unwrap();
    numbers.split_whitespace().nth(column).unwrap().parse().unwrap()
}

/// A counter of the table with a name and a number in each line.
fn counter6(table: &str, name: &str) -> u64 {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const INSIDE: &str = "TURNPIKE_TEST_INSIDE_SERVER";
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;
