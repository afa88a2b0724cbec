//! Loading and attaching the program.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use crate::error::Unavailable;
use crate::flow_table::FlowTable;
use crate::inheritance::{Attachment, Heirloom};
use crate::layout::UsageValue;
use crate::links::{Link, Links};
use crate::mode::{Mode, Point};
use crate::netlink;
use crate::program::{Program, program_digest};
use crate::surroundings::{Carried, Surroundings};
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
    attachments: Vec<Attachment>,
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
    /// Left to user space, which drops it: `max-bps` is spent.
    pub over_limit: u64,
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

    /// Goes on with a program that another process has attached: it runs all the time, and so this needs no rights. The
    /// ports stay the other's until [`FastPath::settle`].
    ///
    /// # Errors
    /// It is another program, or runs elsewhere than is wanted now.
    pub fn inherit(options: &Options, heirloom: Heirloom) -> Result<Self, Unavailable> {
        let refused = |why: &str| Unavailable::Refused {
            what: "taking over the program in the kernel".to_owned(),
            why: why.to_owned(),
        };
        let Heirloom { program, point, flows, names, chosen, places, descriptors } = heirloom;
        if program != program_digest() {
            return Err(refused("this version has another one"));
        }
        let is_wanted = match options.mode {
            Mode::Auto => true,
            Mode::Xdp => point == Point::Xdp,
            Mode::Tc => point == Point::Tc,
            Mode::Off => return Err(Unavailable::Off),
        };
        if !is_wanted || names != options.interfaces {
            return Err(refused("fast-path or fast-path-interface is another now"));
        }
        let mut descriptors = descriptors.into_iter();
        let mut program = Program::inherit(descriptors.by_ref())?;
        let attachments: Vec<Attachment> = descriptors.map(Attachment::Inherited).collect();
        if attachments.is_empty() {
            return Err(refused("it is attached to nothing"));
        }
        let links =
            Links::read().map_err(|error| Unavailable::refused("reading the list of interfaces", &error))?;
        let among = |indexes: &[u32]| -> Vec<&Link> {
            links.iter().filter(|link| indexes.contains(&link.index)).collect()
        };
        let families = program.set_routes(&links, &among(&chosen))?;
        let description = describe(point, &among(&places), families);
        let surroundings = Surroundings { names, chosen, places, point };
        Ok(FastPath { program, point, description, flows, surroundings, attachments })
    }

    /// Looks at the ports of these options from here on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn settle(&mut self, options: &Options) -> Result<(), Unavailable> {
        self.program.set_ports(&options.listeners, &options.relayed_ports)
    }

    /// What another process needs to go on with it.
    ///
    /// # Errors
    /// The kernel is too old to tell, or no descriptors are left.
    pub fn heirloom(&self) -> Result<Heirloom, Unavailable> {
        let mut descriptors = self.program.descriptors()?;
        for attachment in &self.attachments {
            descriptors.push(attachment.descriptor()?);
        }
        let Surroundings { names, chosen, places, point } = self.surroundings.clone();
        Ok(Heirloom {
            program: program_digest(),
            point,
            flows: self.flows,
            names,
            chosen,
            places,
            descriptors,
        })
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
        let places = (0..self.flows).filter(|place| place % workers.max(1) == worker);
        self.program.flow_table(self.point, self.flows, places)
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
        let needed = point.oldest_kernel();
        if !system::kernel_is_at_least(needed.0, needed.1) {
            return Err(Unavailable::OldKernel { point, needed });
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
        let mut attachments = Vec::new();
        for link in places {
            attachments.push(Attachment::Made(program.attach(link, point)?));
        }
        if let (Point::Xdp, Some(deaf)) = (point, places.iter().find(|link| !sends_for_programs(link))) {
            return Err(Unavailable::SendsNothing(deaf.name.clone()));
        }
        let description = describe(point, places, families);
        Ok(FastPath { program, point, description, flows, surroundings, attachments })
    }
}

fn describe(point: Point, places: &[&Link], families: &str) -> String {
    let names: Vec<&str> = places.iter().map(|link| link.name.as_str()).collect();
    format!("{point} on {}, {families}", names.join(", "))
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

/// Memory for counters, at most.
const COUNTER_BYTES: usize = 256 << 20;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_otherwise_now_is_not_taken_over() {
        let heirloom = |program| Heirloom {
            program,
            point: Point::Tc,
            flows: 8,
            names: vec!["eth0".into()],
            chosen: vec![2],
            places: vec![2],
            descriptors: Vec::new(),
        };
        let refusal = |mode, interface: &str, program| {
            let interfaces = vec![interface.into()];
            let options =
                Options { mode, interfaces, listeners: Vec::new(), relayed_ports: 49_152..=65_535, flows: 8 };
            FastPath::inherit(&options, heirloom(program)).expect_err("it has no descriptors").to_string()
        };
        assert!(refusal(Mode::Tc, "eth0", 0).contains("another one"));
        let program = program_digest();
        assert!(refusal(Mode::Xdp, "eth0", program).contains("is another now"));
        assert!(refusal(Mode::Auto, "eth1", program).contains("is another now"));
        assert!(refusal(Mode::Off, "eth0", program).contains("not asked for"));
        assert!(refusal(Mode::Tc, "eth0", program).contains("attached to nothing"));
    }

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
