//! The kernel program and its tables.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use aya::maps::{Array, HashMap as KernelMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use crate::accounts::Accounts;
use crate::error::Unavailable;
use crate::flow_table::FlowTable;
use crate::layout::{PortsValue, Settings, SettingsValue};
use crate::links::{Link, Links};
use crate::loader::Outcomes;
use crate::mode::Point;
use crate::surroundings::InterfaceTables;
use crate::system;

/// The program and its tables, loaded and not attached.
#[derive(Debug)]
pub(crate) struct Program {
    tables: Tables,
    pub(crate) settings: Settings,
}

/// Who loaded it.
#[derive(Debug)]
enum Tables {
    /// This process.
    Loaded(Box<Ebpf>),
    /// Another one, which handed over its tables by name; the program goes on running.
    Inherited(BTreeMap<&'static str, Map>),
}

impl Program {
    pub(crate) fn load(flows: u32) -> Result<Self, Unavailable> {
        let loaded = EbpfLoader::new()
            .map_max_entries("up_flows", flows)
            .map_max_entries("down_flows", flows)
            .map_max_entries("usage", flows.saturating_mul(2))
            .map_max_entries("accounts", flows.saturating_mul(2))
            .load(OBJECT);
        let ebpf = loaded.map_err(|error| Unavailable::refused("loading the kernel program", &error))?;
        Ok(Program { tables: Tables::Loaded(Box::new(ebpf)), settings: Settings::default() })
    }

    /// Takes over what another process has loaded: the tables in the order of [`Program::descriptors`].
    pub(crate) fn inherit(descriptors: impl Iterator<Item = OwnedFd>) -> Result<Self, Unavailable> {
        let mut tables = BTreeMap::new();
        for ((name, kind), descriptor) in TABLES.into_iter().zip(descriptors) {
            let data = MapData::from_fd(descriptor)
                .map_err(|error| Unavailable::refused(format!("taking over table {name}"), &error))?;
            tables.insert(name, kind(data));
        }
        Ok(Program { tables: Tables::Inherited(tables), settings: Settings::default() })
    }

    /// A second descriptor of every table, for another process.
    pub(crate) fn descriptors(&self) -> Result<Vec<OwnedFd>, Unavailable> {
        TABLES.iter().map(|(name, _)| self.descriptor(name)).collect()
    }

    /// A flow table with these places, of `flows` in all, for its counters and its accounts.
    pub(crate) fn flow_table(
        &self,
        point: Point,
        flows: u32,
        places: impl Iterator<Item = u32> + Clone,
    ) -> Result<FlowTable, Unavailable> {
        let maps = ["up_flows", "down_flows", "usage"].map(|name| self.shared(name));
        let [up, down, usage] = maps;
        let accounts = Accounts::new(&self.shared("accounts")?, flows, places.clone())?;
        FlowTable::new([up?, down?, usage?], accounts, point, places)
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
    pub(crate) fn set_routes(
        &mut self,
        links: &Links,
        chosen: &[&Link],
    ) -> Result<&'static str, Unavailable> {
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
        let counters = self.map("outcomes").map(PerCpuArray::<_, u64>::try_from);
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
            over_limit: read(11),
        }
    }

    pub(crate) fn load_xdp(&mut self) -> Result<&mut Xdp, Unavailable> {
        let xdp: Result<&mut Xdp, _> =
            self.loaded()?.program_mut("fast_path_xdp").ok_or_else(missing)?.try_into();
        let xdp = xdp.map_err(|error| Unavailable::refused("finding the XDP program", &error))?;
        match xdp.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(xdp),
            Err(error) => Err(Unavailable::refused("loading the XDP program", &error)),
        }
    }

    pub(crate) fn load_tc(&mut self) -> Result<&mut SchedClassifier, Unavailable> {
        let tc: Result<&mut SchedClassifier, _> =
            self.loaded()?.program_mut("fast_path_tc").ok_or_else(missing)?.try_into();
        let tc = tc.map_err(|error| Unavailable::refused("finding the tc program", &error))?;
        match tc.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(tc),
            Err(error) => Err(Unavailable::refused("loading the tc program", &error)),
        }
    }

    /// Attaches to an interface by a descriptor and by nothing else: attachments by netlink outlive a killed process.
    pub(crate) fn attach(&mut self, link: &Link, point: Point) -> Result<FdLink, Unavailable> {
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

    /// A table of its own, which is the same one.
    fn shared(&self, name: &'static str) -> Result<MapData, Unavailable> {
        let data = MapData::from_fd(self.descriptor(name)?);
        data.map_err(|error| Unavailable::refused(format!("opening table {name}"), &error))
    }

    /// A second descriptor of a table.
    fn descriptor(&self, name: &str) -> Result<OwnedFd, Unavailable> {
        let data = match self.map(name) {
            Some(Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data)) => data,
            _ => return Err(missing()),
        };
        let copy = data.fd().as_fd().try_clone_to_owned();
        copy.map_err(|error| Unavailable::refused(format!("opening table {name}"), &error))
    }

    fn map(&self, name: &str) -> Option<&Map> {
        match &self.tables {
            Tables::Loaded(ebpf) => ebpf.map(name),
            Tables::Inherited(tables) => tables.get(name),
        }
    }

    /// What can be attached.
    fn loaded(&mut self) -> Result<&mut Ebpf, Unavailable> {
        match &mut self.tables {
            Tables::Loaded(ebpf) => Ok(ebpf),
            Tables::Inherited(_) => Err(missing()),
        }
    }

    fn table<'p, T>(&'p mut self, name: &'static str) -> Result<T, Unavailable>
    where
        T: TryFrom<&'p mut Map, Error = MapError>,
    {
        let map = match &mut self.tables {
            Tables::Loaded(ebpf) => ebpf.map_mut(name),
            Tables::Inherited(tables) => tables.get_mut(name),
        };
        let map = map.ok_or_else(missing)?;
        T::try_from(map).map_err(|error| Unavailable::refused(format!("opening table {name}"), &error))
    }
}

pub(crate) fn writing(error: MapError) -> Unavailable {
    Unavailable::refused("writing the tables of the kernel program", &error)
}

fn missing() -> Unavailable {
    Unavailable::Refused { what: "the kernel program".to_owned(), why: "a part of it is missing".to_owned() }
}

/// A number that another build of the program has not: both processes must mean the same one.
pub(crate) fn program_digest() -> u64 {
    OBJECT.iter().fold(0xCBF2_9CE4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// The program as it was built from `bpf/fast_path.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/fast_path.o");
type TableKind = fn(MapData) -> Map;

/// Its tables that user space works with, and what they are.
const TABLES: [(&str, TableKind); 9] = [
    ("ports", Map::Array),
    ("settings", Map::Array),
    ("up_flows", Map::HashMap),
    ("down_flows", Map::HashMap),
    ("usage", Map::PerCpuArray),
    ("outcomes", Map::PerCpuArray),
    ("interfaces", Map::HashMap),
    ("vlans", Map::HashMap),
    ("accounts", Map::Array),
];
const PORT_WORDS: u32 = 65_536 / 64;
/// How often a packet of each flow and way goes up: often enough for neighbours and for connection tracking, which forgets
/// a flow after half a minute.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// How long a route is used without asking for it again, if nothing is heard of a change.
pub const ROUTE_FOR: Duration = Duration::from_secs(1);
