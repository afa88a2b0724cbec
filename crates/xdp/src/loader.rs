//! Loading and attaching the program.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::time::Duration;

use aya::maps::{Array, HashMap as KernelMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use crate::error::Unavailable;
use crate::flow_table::FlowTable;
use crate::layout::{PortsValue, Settings, SettingsValue, UsageValue};
use crate::links::{Link, Links};
use crate::mode::{Mode, Point};
use crate::netlink;
use crate::surroundings::{Carried, InterfaceTables, Surroundings};
use crate::system;
use crate::watcher::Watcher;

mod bench;

pub use bench::Bench;

/// What the fast path is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is to run.
    pub mode: Mode,
    /// On which interfaces; empty for all that have Ethernet frames and are up.
    pub interfaces: Vec<String>,
    /// Where the server listens for datagrams.
    pub listeners: Vec<SocketAddr>,
    /// The relayed ports.
    pub relayed_ports: RangeInclusive<u16>,
    /// How many flows there may be; fewer where processors are so many that their counters would fill the memory.
    pub flows: u32,
}

/// The program, attached. It is taken off when this is dropped or the process ends.
#[derive(Debug)]
pub struct FastPath {
    program: Program,
    point: Point,
    description: String,
    flows: u32,
    surroundings: Surroundings,
    /// The attachments; closing them detaches.
    #[expect(dead_code, reason = "held for what dropping it does")]
    links: Vec<FdLink>,
}

/// What became of packets to the server's ports, as far as the kernel program has looked at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Relayed in the kernel.
    pub forwarded: u64,
    /// Dropped, because the kernel could not change them.
    pub lost: u64,
    /// Left to user space: no flow of the kernel's.
    pub no_flow: u64,
    /// Left to user space: the flow's deadline has passed.
    pub expired: u64,
    /// Left to user space: now and then a packet, so that the kernel looks after neighbours and connections.
    pub refresh: u64,
    /// Left to user space: more behind the data than padding.
    pub padded: u64,
    /// Left to user space: the checksum cannot be carried over.
    pub no_checksum: u64,
    /// Left to user space: no route or neighbour known.
    pub no_route: u64,
    /// Left to user space: to be fragmented.
    pub too_large: u64,
    /// Left to user space: no room to make the packet longer.
    pub no_room: u64,
    /// Left to user space: by or to an interface or address that is not the fast path's.
    pub wrong_interface: u64,
}

impl FastPath {
    /// Loads the program and attaches it to all interfaces, or to none.
    ///
    /// # Errors
    /// It cannot be had. Whoever asked for `auto` goes on without it; the error says what is missing.
    pub fn open(options: &Options) -> Result<Self, Unavailable> {
        if options.mode == Mode::Off {
            return Err(Unavailable::Off);
        }
        let links =
            Links::read().map_err(|error| Unavailable::refused("reading the list of interfaces", &error))?;
        let chosen = choose(&links, &options.interfaces)?;
        // A VLAN's frames are met where they come in.
        let places =
            places_for_xdp(links.carriers(&chosen), &options.interfaces, |it| system::is_hardware(&it.name));
        let why_not_xdp = match options.mode {
            Mode::Auto => without_hardware(&places),
            Mode::Tc => Some("not asked for".to_owned()),
            Mode::Xdp | Mode::Off => None,
        };
        let why_not_xdp = match why_not_xdp {
            Some(why) => why,
            None => match FastPath::attach(options, &links, (&chosen, &places), Point::Xdp) {
                Ok(fast_path) => return Ok(fast_path),
                Err(error) if options.mode == Mode::Xdp => return Err(error),
                Err(error) => error.to_string(),
            },
        };
        let mut fast_path = FastPath::attach(options, &links, (&chosen, &chosen), Point::Tc)?;
        if options.mode == Mode::Auto {
            fast_path.description.push_str(&format!("; no XDP: {why_not_xdp}"));
        }
        Ok(fast_path)
    }

    /// Where the program runs.
    pub fn point(&self) -> Point {
        self.point
    }

    /// Where and on what it runs, and why not elsewhere, in one line.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The flow table of one of `workers` workers: its share of the flows.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn flow_table(&self, worker: u32, workers: u32) -> Result<FlowTable, Unavailable> {
        let pairs = (0..self.flows).filter(|pair| pair % workers.max(1) == worker);
        self.program.flow_table(self.point, pairs)
    }

    /// The counters, over all processors.
    pub fn outcomes(&self) -> Outcomes {
        self.program.outcomes()
    }

    /// What keeps the program up with changes of routes, neighbours and interfaces.
    ///
    /// # Errors
    /// The kernel does not tell of them. Routes are asked for again after a second all the same.
    pub fn watcher(&self) -> Result<Watcher, Unavailable> {
        let tables = (self.program.shared_settings()?, self.program.interface_tables()?);
        Watcher::open(self.surroundings.clone(), self.program.settings, tables)
    }

    /// Attaches to `places`, for the sake of the `chosen` interfaces.
    fn attach(
        options: &Options,
        links: &Links,
        (chosen, places): (&[&Link], &[&Link]),
        point: Point,
    ) -> Result<Self, Unavailable> {
        match point {
            Point::Xdp if !system::kernel_is_at_least(5, 11) => {
                return Err(Unavailable::OldKernel { what: "XDP", needed: "5.11" });
            }
            Point::Tc if !system::kernel_is_at_least(6, 6) => {
                return Err(Unavailable::OldKernel { what: "tc", needed: "6.6" });
            }
            _ => {}
        }
        let flows = options.flows.min(most_flows());
        let mut program = Program::load(flows)?;
        program.set_ports(&options.listeners, &options.relayed_ports)?;
        let families = program.set_routes(links, chosen)?;
        let indexes = |links: &[&Link]| links.iter().map(|link| link.index).collect();
        let surroundings = Surroundings {
            names: options.interfaces.clone(),
            chosen: indexes(chosen),
            places: indexes(places),
            point,
        };
        let (mut interfaces, mut vlans) = program.interface_tables()?;
        surroundings.carried(links).write(&mut Carried::default(), &mut interfaces, &mut vlans)?;
        let mut attached = Vec::new();
        for link in places {
            attached.push(program.attach(link, point)?);
        }
        if let (Point::Xdp, Some(deaf)) = (point, places.iter().find(|link| !sends_for_programs(link))) {
            return Err(Unavailable::SendsNothing(deaf.name.clone()));
        }
        let names: Vec<&str> = places.iter().map(|link| link.name.as_str()).collect();
        let description = format!("{point} on {}, {families}", names.join(", "));
        Ok(FastPath { program, point, description, flows, surroundings, links: attached })
    }
}

/// The program and its tables, loaded and not attached.
#[derive(Debug)]
pub(crate) struct Program {
    ebpf: Ebpf,
    settings: Settings,
}

impl Program {
    pub(crate) fn load(flows: u32) -> Result<Self, Unavailable> {
        let loaded = EbpfLoader::new()
            .map_max_entries("up_flows", flows)
            .map_max_entries("down_flows", flows)
            .map_max_entries("usage", flows.saturating_mul(2))
            .load(OBJECT);
        let ebpf = loaded.map_err(|error| Unavailable::refused("loading the kernel program", &error))?;
        Ok(Program { ebpf, settings: Settings::default() })
    }

    pub(crate) fn flow_table(
        &self,
        point: Point,
        pairs: impl Iterator<Item = u32>,
    ) -> Result<FlowTable, Unavailable> {
        let maps = ["up_flows", "down_flows", "usage"].map(|name| self.shared(name));
        let [up, down, usage] = maps;
        FlowTable::new([up?, down?, usage?], point, pairs)
    }

    /// Says which ports the program looks at.
    pub(crate) fn set_ports(
        &mut self,
        listeners: &[SocketAddr],
        relayed: &RangeInclusive<u16>,
    ) -> Result<(), Unavailable> {
        let mut ports: Array<_, PortsValue> = self.table("ports")?;
        for word in 0..PORT_WORDS {
            let bits = |is: &dyn Fn(u16) -> bool| {
                (0..64).filter(|bit| is((word * 64 + bit) as u16)).fold(0, |bits, bit| bits | 1_u64 << bit)
            };
            let listening = bits(&|port| listeners.iter().any(|listener| listener.port() == port));
            let value = [listening, bits(&|port| relayed.contains(&port))];
            ports.set(word, value, 0).map_err(writing)?;
        }
        Ok(())
    }

    /// Says where routes are looked up from; returns in words for which families.
    ///
    /// Loopback is where the kernel itself looks up routes for packets of this host, so rules and tables apply as they do
    /// to user space's packets. Otherwise an interface that forwards has to do.
    fn set_routes(&mut self, links: &Links, chosen: &[&Link]) -> Result<&'static str, Unavailable> {
        let lo = links.iter().filter(|link| link.name == "lo");
        let candidates: Vec<&Link> = lo.chain(chosen.iter().copied()).collect();
        let from = ["ipv4", "ipv6"].map(|family| {
            let mut forwarding = candidates.iter().filter(|link| system::forwards(family, &link.name));
            forwarding.next().map_or(0, |link| link.index)
        });
        let families = match from {
            [0, 0] => return Err(Unavailable::NoRoutes),
            [0, _] => "to IPv6 addresses only (net.ipv4.conf.lo.forwarding is off)",
            [_, 0] => "to IPv4 addresses only (net.ipv6.conf.lo.forwarding is off)",
            _ => "to IPv4 and IPv6 addresses",
        };
        self.set_settings(Settings {
            routes_from: from,
            hops: system::hops(),
            fresh_for: FRESH_FOR,
            route_for: ROUTE_FOR,
            generation: 0,
        })?;
        Ok(families)
    }

    pub(crate) fn set_settings(&mut self, settings: Settings) -> Result<(), Unavailable> {
        self.settings = settings;
        let mut table: Array<_, SettingsValue> = self.table("settings")?;
        table.set(0, settings.value(), 0).map_err(writing)
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        let counters = self.ebpf.map("outcomes").map(PerCpuArray::<_, u64>::try_from);
        let read = |index: u32| match &counters {
            Some(Ok(counters)) => counters.get(&index, 0).map_or(0, |values| values.iter().sum()),
            _ => 0,
        };
        Outcomes {
            forwarded: read(0),
            lost: read(1),
            no_flow: read(2),
            expired: read(3),
            refresh: read(4),
            padded: read(5),
            no_checksum: read(6),
            no_route: read(7),
            too_large: read(8),
            no_room: read(9),
            wrong_interface: read(10),
        }
    }

    pub(crate) fn load_xdp(&mut self) -> Result<&mut Xdp, Unavailable> {
        let xdp: Result<&mut Xdp, _> = self.ebpf.program_mut("fast_path_xdp").ok_or_else(missing)?.try_into();
        let xdp = xdp.map_err(|error| Unavailable::refused("finding the XDP program", &error))?;
        match xdp.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(xdp),
            Err(error) => Err(Unavailable::refused("loading the XDP program", &error)),
        }
    }

    pub(crate) fn load_tc(&mut self) -> Result<&mut SchedClassifier, Unavailable> {
        let tc: Result<&mut SchedClassifier, _> =
            self.ebpf.program_mut("fast_path_tc").ok_or_else(missing)?.try_into();
        let tc = tc.map_err(|error| Unavailable::refused("finding the tc program", &error))?;
        match tc.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(tc),
            Err(error) => Err(Unavailable::refused("loading the tc program", &error)),
        }
    }

    /// Attaches to an interface by a descriptor and by nothing else: attachments by netlink outlive a killed process.
    fn attach(&mut self, link: &Link, point: Point) -> Result<FdLink, Unavailable> {
        let what = format!("attaching to {} at {point}", link.name);
        let refused = |error: ProgramError| Unavailable::refused(what.as_str(), &error);
        let attached = match point {
            Point::Xdp => {
                let xdp = self.load_xdp()?;
                let attached = xdp.attach_to_if_index(link.index, XdpMode::Driver).map_err(refused)?;
                FdLink::try_from(xdp.take_link(attached).map_err(refused)?)
            }
            Point::Tc => {
                let tc = self.load_tc()?;
                let order = TcAttachOptions::TcxOrder(LinkOrder::default());
                let attached =
                    tc.attach_with_options(&link.name, TcAttachType::Ingress, order).map_err(refused)?;
                FdLink::try_from(tc.take_link(attached).map_err(refused)?)
            }
        };
        // What is not held by a descriptor was detached again by dropping it.
        attached.map_err(|error| Unavailable::refused(what.as_str(), &error))
    }

    pub(crate) fn shared_settings(&self) -> Result<Array<MapData, SettingsValue>, Unavailable> {
        Array::try_from(Map::Array(self.shared("settings")?)).map_err(writing)
    }

    pub(crate) fn interface_tables(&self) -> Result<InterfaceTables, Unavailable> {
        let [interfaces, vlans] = ["interfaces", "vlans"].map(|name| self.shared(name).map(Map::HashMap));
        Ok((
            KernelMap::try_from(interfaces?).map_err(writing)?,
            KernelMap::try_from(vlans?).map_err(writing)?,
        ))
    }

    /// A second descriptor of a table.
    fn shared(&self, name: &'static str) -> Result<MapData, Unavailable> {
        let refused = |error: &(dyn std::error::Error + 'static)| {
            Unavailable::refused(format!("opening table {name}"), error)
        };
        let data = match self.ebpf.map(name) {
            Some(Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data)) => data,
            _ => return Err(missing()),
        };
        let descriptor = data.fd().as_fd().try_clone_to_owned().map_err(|error| refused(&error))?;
        MapData::from_fd(descriptor).map_err(|error| refused(&error))
    }

    fn table<'p, T>(&'p mut self, name: &'static str) -> Result<T, Unavailable>
    where
        T: TryFrom<&'p mut Map, Error = MapError>,
    {
        let map = self.ebpf.map_mut(name).ok_or_else(missing)?;
        T::try_from(map).map_err(|error| Unavailable::refused(format!("opening table {name}"), &error))
    }
}

/// The interfaces that were named, or all that may be chosen.
fn choose<'l>(links: &'l Links, names: &[String]) -> Result<Vec<&'l Link>, Unavailable> {
    if !names.is_empty() {
        return names
            .iter()
            .map(|name| {
                let link = links.named(name).ok_or_else(|| Unavailable::NoInterface(name.clone()))?;
                if link.ethernet { Ok(link) } else { Err(Unavailable::NotEthernet(name.clone())) }
            })
            .collect();
    }
    let chosen: Vec<&Link> = links.iter().filter(|link| link.may_be_chosen()).collect();
    if chosen.is_empty() { Err(Unavailable::NoInterfaces) } else { Ok(chosen) }
}

/// Where XDP is worth trying: at everything that was named, else at all hardware there is. Bridges and cables of containers
/// beside it are left to the server.
fn places_for_xdp<'l>(
    carriers: Vec<&'l Link>,
    named: &[String],
    is_hardware: impl Fn(&Link) -> bool,
) -> Vec<&'l Link> {
    let hardware: Vec<&Link> = carriers.iter().copied().filter(|link| is_hardware(link)).collect();
    if named.is_empty() && !hardware.is_empty() { hardware } else { carriers }
}

/// Why XDP is not worth trying: an interface without hardware.
fn without_hardware(chosen: &[&Link]) -> Option<String> {
    let virtual_one = chosen.iter().find(|link| !system::is_hardware(&link.name))?;
    Some(format!("there is no hardware behind {}", virtual_one.name))
}

/// How many flows' counters fit into what is meant for them: two for each flow and processor.
fn most_flows() -> u32 {
    let processors = aya::util::nr_cpus().unwrap_or(1).max(1);
    (COUNTER_BYTES / (2 * size_of::<UsageValue>() * processors)) as u32
}

/// Whether an interface sends what the program hands to it; asked only now, because drivers prepare for it when a program
/// is attached. Where the kernel does not tell, hardware is believed to.
fn sends_for_programs(link: &Link) -> bool {
    netlink::takes_redirected_frames(link.index).unwrap_or_else(|| system::is_hardware(&link.name))
}

pub(crate) fn writing(error: MapError) -> Unavailable {
    Unavailable::refused("writing the tables of the kernel program", &error)
}

fn missing() -> Unavailable {
    Unavailable::Refused { what: "the kernel program".to_owned(), why: "a part of it is missing".to_owned() }
}

/// The program as it was built from `bpf/fast_path.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/fast_path.o");
/// Memory for counters, at most.
const COUNTER_BYTES: usize = 256 << 20;
const PORT_WORDS: u32 = 65_536 / 64;
/// How often a packet of each flow and way goes up: often enough for neighbours and for connection tracking, which forgets
/// a flow after half a minute.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// How long a route is used without asking for it again, if nothing is heard of a change.
pub const ROUTE_FOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xdp_goes_to_hardware_alone_unless_interfaces_are_named() {
        let links: Vec<Link> = ["eth0", "docker0", "eth1"].map(Link::named_for_a_test).into();
        let places = |carriers: &[usize], named: &[&str]| {
            let carriers = carriers.iter().map(|index| &links[*index]).collect();
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            let places = places_for_xdp(carriers, &named, |link| link.name.starts_with("eth"));
            places.iter().map(|link| link.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(places(&[0, 1, 2], &[]), ["eth0", "eth1"]);
        assert_eq!(places(&[1], &[]), ["docker0"], "there is nothing better");
        assert_eq!(places(&[0, 1], &["eth0", "docker0"]), ["eth0", "docker0"]);
        assert_eq!(places(&[], &[]), Vec::<String>::new());
    }
}
