//! The network that is measured: three namespaces of our own, client — server — peer, joined by veth pairs.
//!
//! Every virtual device has threaded NAPI, pinned: without it a packet's receive work is charged to whoever
//! sent it. Server ends run on the server's core, the others on the generator's, and these look for packets by a
//! timer, so that the server does not pay for waking them. Dropping the [`Lab`] removes
//! everything; what a killed run left behind is removed by the next one.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::namespace::{Namespace, existing, ip};
use crate::syscalls;

/// Which core does what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The server and the receive work of its interfaces.
    pub(crate) server: usize,
    /// The generator, the peers, and the receive work of their interfaces.
    pub(crate) generator: usize,
}

/// What the virtual devices do for the programs, as a network card might.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offloads {
    /// Leave transmitted checksums to be filled in later, which never happens on a veth.
    pub(crate) checksums: bool,
    /// Let the server's devices cut what it sends with UDP_SEGMENT; without, the kernel does on its core.
    pub(crate) segmentation: bool,
}

/// The namespaces, alive.
pub(crate) struct Lab {
    pub(crate) cores: Cores,
    /// Where the generator's clients live.
    pub(crate) client: Namespace,
    /// Where the server lives.
    pub(crate) server: Namespace,
    /// Where the peers live.
    pub(crate) peer: Namespace,
    /// What the devices do when nothing else is asked for.
    offloads: Offloads,
    /// A directory for logs, removed with the lab.
    pub(crate) directory: PathBuf,
}

/// Packets that were lost outside the server's program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drops {
    /// On the way to the server, because its side did not keep up.
    pub(crate) to_server: u64,
    /// On the way to the generator, because the generator did not keep up: not the server's fault.
    pub(crate) to_generator: u64,
}

impl Lab {
    /// Builds the network.
    pub(crate) fn build(cores: Cores, offloads: Offloads) -> Result<Self> {
        remove_leftovers()?;
        let name = |role: &str| Namespace::named(format!("{PREFIX}-{}-{role}", process::id()));
        let lab = Lab {
            cores,
            client: name("client"),
            server: name("server"),
            peer: name("peer"),
            offloads,
            directory: std::env::temp_dir().join(format!("{PREFIX}-{}", process::id())),
        };
        fs::create_dir(&lab.directory).with_context(|| format!("make {}", lab.directory.display()))?;
        for namespace in [&lab.client, &lab.server, &lab.peer] {
            ip(&["netns", "add", namespace.name()])?;
            namespace.ip(&["link", "set", "lo", "up"])?;
        }
        let [client_device, to_client, to_peer, peer_device] = devices();
        join([&lab.client, &lab.server], [&client_device, &to_client], [CLIENT_ADDRESS, SERVER_ADDRESS])?;
        join([&lab.peer, &lab.server], [&peer_device, &to_peer], [PEER_ADDRESS, relay_address(0)])?;
        for number in 1..CLIENT_ADDRESSES {
            let address = format!("{}/24", client_address(number));
            lab.client.ip(&["address", "add", &address, "dev", &client_device])?;
        }
        for number in 1..RELAY_ADDRESSES {
            let address = format!("{}/24", relay_address(number));
            lab.server.ip(&["address", "add", &address, "dev", &to_peer])?;
        }
        for (namespace, device) in [(&lab.client, &client_device), (&lab.peer, &peer_device)] {
            receive_by_thread(namespace, device)?;
            pin_receive_thread(device, cores.generator)?;
            moderate(namespace, device)?;
        }
        for device in [&to_client, &to_peer] {
            receive_by_thread(&lab.server, device)?;
        }
        lab.pin_server_receive_threads()?;
        lab.set_checksums(true)?;
        lab.introduce_neighbours()?;
        // Lets a program in the kernel ask for routes; nothing else changes by it.
        lab.server.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/conf/lo/forwarding"])?;
        Ok(lab)
    }

    /// Lets the devices leave checksums undone, or has the kernel compute every one: what is left to hardware that is not
    /// there cannot be relayed in the kernel.
    pub(crate) fn set_checksums(&self, undone: bool) -> Result<()> {
        let [client_device, to_client, to_peer, peer_device] = devices();
        let offloads = Offloads { checksums: self.offloads.checksums && undone, ..self.offloads };
        for (namespace, device) in [(&self.client, &client_device), (&self.peer, &peer_device)] {
            // Bursts must arrive at the server as separate packets back to back, as from a wire, never as one
            // super-packet: the generator's devices always have the kernel cut them.
            set_offloads(namespace, device, Offloads { segmentation: false, ..offloads })?;
        }
        [&to_client, &to_peer].into_iter().try_for_each(|device| set_offloads(&self.server, device, offloads))
    }

    /// The receive threads of the server's interfaces, pinned to its core.
    pub(crate) fn pin_server_receive_threads(&self) -> Result<Vec<u32>> {
        let [_, to_client, to_peer, _] = devices();
        [&to_client, &to_peer]
            .into_iter()
            .map(|device| pin_receive_thread(device, self.cores.server))
            .collect()
    }

    /// The same of the peers' interface, pinned to the generator's core.
    pub(crate) fn pin_peer_receive_thread(&self) -> Result<u32> {
        let [.., peer_device] = devices();
        pin_receive_thread(&peer_device, self.cores.generator)
    }

    /// Packets lost outside the server's program so far.
    pub(crate) fn drops(&self) -> Result<Drops> {
        let [client_device, to_client, to_peer, peer_device] = devices();
        Ok(Drops {
            to_server: self.client.transmit_drops(&client_device)?
                + self.peer.transmit_drops(&peer_device)?
                + self.server.receive_buffer_errors()?,
            to_generator: self.server.transmit_drops(&to_client)?
                + self.server.transmit_drops(&to_peer)?
                + self.client.receive_buffer_errors()?
                + self.peer.receive_buffer_errors()?,
        })
    }

    /// Writes every neighbour down for good, so that no address resolution falls into a measurement.
    fn introduce_neighbours(&self) -> Result<()> {
        let [client_device, to_client, to_peer, peer_device] = devices();
        let hardware = |namespace: &Namespace, device: &str| namespace.hardware_address(device);
        let know = |namespace: &Namespace, device: &str, neighbour: IpAddr, hardware: &str| {
            let neighbour = neighbour.to_string();
            let entry = ["lladdr", hardware, "dev", device, "nud", "permanent"];
            namespace.ip(&[&["neighbour", "replace", neighbour.as_str()], &entry[..]].concat())
        };
        know(&self.client, &client_device, SERVER_ADDRESS.into(), &hardware(&self.server, &to_client)?)?;
        let client_hardware = hardware(&self.client, &client_device)?;
        for number in 0..CLIENT_ADDRESSES {
            know(&self.server, &to_client, client_address(number).into(), &client_hardware)?;
        }
        know(&self.server, &to_peer, PEER_ADDRESS.into(), &hardware(&self.peer, &peer_device)?)?;
        let server_hardware = hardware(&self.server, &to_peer)?;
        for number in 0..RELAY_ADDRESSES {
            know(&self.peer, &peer_device, relay_address(number).into(), &server_hardware)?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.client, &self.server, &self.peer] {
            if let Err(error) = namespace.remove() {
                eprintln!("turnpike-bench: {error:#}");
            }
        }
        remove_directory(&self.directory);
    }
}

/// The `number`th address the server may relay from.
pub(crate) const fn relay_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 202, 0, 10 + number)
}

/// The `number`th address clients may have; by UDP they all have the first.
pub(crate) const fn client_address(number: u8) -> Ipv4Addr {
    let [first, second, third, fourth] = CLIENT_ADDRESS.octets();
    Ipv4Addr::new(first, second, third, fourth + number)
}

/// Joins two namespaces by one veth pair; the arrays are parallel.
fn join(namespaces: [&Namespace; 2], devices: [&str; 2], addresses: [Ipv4Addr; 2]) -> Result<()> {
    let queues = ["numtxqueues", "1", "numrxqueues", "1"];
    let near = ["link", "add", devices[0], "netns", namespaces[0].name()];
    let far = ["type", "veth", "peer", "name", devices[1], "netns", namespaces[1].name()];
    ip(&[&near[..], &queues[..], &far[..], &queues[..]].concat())?;
    for ((namespace, device), address) in namespaces.into_iter().zip(devices).zip(addresses) {
        namespace.ip(&["address", "add", &format!("{address}/24"), "dev", device])?;
        namespace.ip(&["link", "set", device, "up"])?;
    }
    Ok(())
}

/// Sets what a device leaves undone.
fn set_offloads(namespace: &Namespace, device: &str, offloads: Offloads) -> Result<()> {
    // A veth hands packets to its other end's receive thread only while TCP segmentation is off.
    let word = |on: bool| if on { "on" } else { "off" };
    namespace.run("ethtool", &["-K", device, "tx", word(offloads.checksums)])?;
    let segmentation = ["tso", "off", "tx-udp-segmentation", word(offloads.segmentation)];
    namespace.run("ethtool", &[&["-K", device], &segmentation[..]].concat()).map(drop)
}

/// Turns threaded NAPI on. A veth uses NAPI only while GRO is on, and turning it on makes the thread anew, so that comes
/// first.
fn receive_by_thread(namespace: &Namespace, device: &str) -> Result<()> {
    namespace.run("ethtool", &["-K", device, "gro", "on"])?;
    let switch = format!("echo 1 > /sys/class/net/{device}/threaded");
    namespace.run("sh", &["-c", &switch]).map(drop)
}

/// Pins a device's receive thread, once it is there, and returns its id.
fn pin_receive_thread(device: &str, core: usize) -> Result<u32> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        if let Some(thread) = receive_thread(device)? {
            syscalls::pin(thread, core).context("pin a receive thread")?;
            return Ok(thread);
        }
        if Instant::now() > deadline {
            bail!("the kernel started no receive thread for {device}: threaded NAPI is needed (Linux 5.12)");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a device look for packets by a timer of its own instead of being woken by the sender: with a network
/// in between, nobody pays for waking the machine at the other end.
fn moderate(namespace: &Namespace, device: &str) -> Result<()> {
    let directory = format!("/sys/class/net/{device}");
    let period = MODERATION.as_nanos();
    let script = format!(
        "echo {period} > {directory}/gro_flush_timeout && echo {EMPTY_LOOKS} > {directory}/napi_defer_hard_irqs"
    );
    namespace.run("sh", &["-c", &script]).map(drop)
}

/// The kernel thread that does a device's receive work.
fn receive_thread(device: &str) -> Result<Option<u32>> {
    let wanted = format!("napi/{device}-");
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while we look.
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with(&wanted)) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Removes what runs left behind whose process no longer exists.
fn remove_leftovers() -> Result<()> {
    let owner_lives = |name: &str| {
        let owner = name.strip_prefix(PREFIX)?.strip_prefix('-')?.split('-').next()?;
        owner.parse::<u32>().ok().map(|owner| Path::new(&format!("/proc/{owner}")).exists())
    };
    for name in existing()?.into_iter().filter(|name| owner_lives(name) == Some(false)) {
        Namespace::named(name).remove()?;
    }
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        if entry.file_name().to_str().and_then(owner_lives) == Some(false) {
            remove_directory(&entry.path());
        }
    }
    Ok(())
}

fn remove_directory(directory: &Path) {
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        eprintln!("turnpike-bench: cannot remove {}: {error}", directory.display());
    }
}

/// The devices' names: client's, server's to the clients, server's to the peers, peer's.
pub(crate) fn devices() -> [String; 4] {
    // A device's name has at most 15 bytes, and its receive thread is found by it, so it must be unique.
    ["c", "sc", "sp", "p"].map(|end| format!("tp{}{end}", process::id()))
}

/// The clients' address.
const CLIENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 2);
/// The address the server listens on.
pub(crate) const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 201, 0, 1);
/// The peers' address.
pub(crate) const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 202, 0, 2);
/// How many addresses the server may relay from.
pub(crate) const RELAY_ADDRESSES: u8 = 4;
/// Addresses of the clients that come by TCP.
pub(crate) const CLIENT_ADDRESSES: u8 = 4;
/// How often a generator's device looks for packets.
const MODERATION: Duration = Duration::from_micros(50);
/// After so many looks in vain it sleeps until it is woken.
const EMPTY_LOOKS: u32 = 1_000;
const PREFIX: &str = "turnpike-bench";
