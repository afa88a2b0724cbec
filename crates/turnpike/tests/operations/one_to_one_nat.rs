//! A one-to-one NAT as a cloud has it, in a namespace of its own between the server and everybody else.
//!
//! Whatever comes in by either cable is delivered to the NAT itself, which reads it from a raw socket and sends it on with
//! one address in place of the other. For UDP, which is all that a call needs.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::{PATIENCE, Program};
use crate::network::run;

pub(crate) const PRIVATE: &str = "10.66.0.5";
pub(crate) const PUBLIC: &str = "52.29.0.10";
/// Addresses outside.
pub(crate) const CLIENT: &str = "93.184.0.2";
pub(crate) const PEER: &str = "93.184.0.3";

/// The host outside, held by a process; the NAT between is held likewise.
pub(crate) struct Internet {
    outside: Child,
    _nat: Hold,
}

struct Hold(Child);

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        let _ = self.outside.kill();
        let _ = self.outside.wait();
    }
}

impl Internet {
    /// Around the server's namespace, which is the one the test runs in.
    pub(crate) fn build() -> Self {
        let (nat, outside) = (hold(), hold());
        run("ip", "link set lo up");
        run("ip", &format!("link add outside type veth peer name inner netns {}", nat.id()));
        run("ip", &format!("address add {PRIVATE}/24 dev outside"));
        run("ip", "link set outside up");
        // Trains of datagrams are for a card to take apart, and this NAT is none.
        run("ethtool", "-K outside tso off gso off tx-udp-segmentation off tx off");
        run("ip", "route add default via 10.66.0.1 dev outside");
        let within = |child: &Child, command: &str| {
            run("nsenter", &format!("--net=/proc/{}/ns/net {command}", child.id()));
        };
        within(&nat, "ip link set lo up");
        within(&nat, "ip address add 10.66.0.1/24 dev inner");
        within(&nat, "ip link set inner up");
        within(&nat, &format!("ip link add outer type veth peer name world netns {}", outside.id()));
        within(&nat, "ip address add 93.184.0.1/24 dev outer");
        within(&nat, "ip link set outer up");
        // Everything that comes in is the NAT's own, and nobody is told that it has no such port.
        within(&nat, "ip route add local 0.0.0.0/0 dev lo table 100");
        within(&nat, "ip rule add iif inner lookup 100 priority 1");
        within(&nat, "ip rule add iif outer lookup 100 priority 2");
        within(&nat, "sysctl -qw net.ipv4.icmp_msgs_per_sec=0");
        within(&nat, "sysctl -qw net.ipv4.conf.all.rp_filter=0");
        within(&outside, "ip link set lo up");
        within(&outside, &format!("ip address add {CLIENT}/24 dev world"));
        within(&outside, &format!("ip address add {PEER}/24 dev world"));
        within(&outside, "ip link set world up");
        within(&outside, "ethtool -K world tso off gso off tx-udp-segmentation off tx off");
        within(&outside, "ip route add default via 93.184.0.1 dev world");
        let namespace = File::open(format!("/proc/{}/ns/net", nat.id())).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            translate().unwrap();
        });
        Internet { outside, _nat: Hold(nat) }
    }

    /// Starts a program outside.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Program {
        let namespace = format!("--net=/proc/{}/ns/net", self.outside.id());
        Program::start("nsenter", &[&[&namespace, program][..], arguments].concat())
    }
}

fn hold() -> Child {
    let ours = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let child = Command::new("unshare").args(["--net", "sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // Nothing tells when a process has changed its namespace.
    while std::fs::read_link(format!("/proc/{}/ns/net", child.id())).is_ok_and(|its| its == ours) {
        assert!(Instant::now() < deadline, "unshare does not come to work");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// Until the namespace is gone.
fn translate() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
    socket.set_header_included_v4(true)?;
    let (private, public): (Ipv4Addr, Ipv4Addr) = (PRIVATE.parse().unwrap(), PUBLIC.parse().unwrap());
    let mut buffer = vec![0; 65_536];
    loop {
        let length = (&socket).read(&mut buffer)?;
        let mut packet = buffer[..length].to_vec();
        let header = usize::from(packet[0] & 0xF) * 4;
        let field =
            |packet: &[u8], at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        let (from, to) = (field(&packet, 12), field(&packet, 16));
        if to == public {
            packet[16..20].copy_from_slice(&private.octets());
        } else if from == private {
            packet[12..16].copy_from_slice(&public.octets());
        } else {
            continue;
        }
        // UDP over IPv4 may go without a checksum; the header's is the kernel's to write.
        packet[header + 6..header + 8].fill(0);
        let to = field(&packet, 16);
        let _ = socket.send_to(&packet, &SocketAddr::V4(SocketAddrV4::new(to, 0)).into());
    }
}
