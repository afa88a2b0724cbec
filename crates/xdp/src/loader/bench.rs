//! The program on a test bench: run on single packets (`BPF_PROG_TEST_RUN`), attached to nothing.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};

use super::Outcomes;
use crate::error::Unavailable;
use crate::flow_table::FlowTable;
use crate::layout::{Carrier, Settings, Tag};
use crate::mode::Point;
use crate::program::Program;
use crate::surroundings::{Carried, Surroundings};
use crate::watcher::Watcher;

/// The program with its tables, for tests and measurements.
#[derive(Debug)]
pub struct Bench {
    program: Program,
    flows: u32,
}

impl Bench {
    /// Loads both programs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn load(flows: u32) -> Result<Self, Unavailable> {
        let mut program = Program::load(flows)?;
        program.load_xdp()?;
        program.load_tc()?;
        Ok(Bench { program, flows })
    }

    /// Says which ports are the server's.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_ports(
        &mut self,
        listeners: &[SocketAddr],
        relayed: RangeInclusive<u16>,
    ) -> Result<(), Unavailable> {
        self.program.set_ports(listeners, &relayed)
    }

    /// Says from which interface routes are looked up for each family, with what TTL packets go, and how often one of each
    /// flow goes up.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_routes(
        &mut self,
        from: [u32; 2],
        hops: [u32; 2],
        fresh_for: Duration,
    ) -> Result<(), Unavailable> {
        let before = self.program.settings;
        let generation = before.generation.wrapping_add(1);
        self.program.set_settings(Settings { routes_from: from, hops, fresh_for, generation, ..before })
    }

    /// Says how long a route may be used without asking for it again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn keep_routes_for(&mut self, route_for: Duration) -> Result<(), Unavailable> {
        self.program.set_settings(Settings { route_for, ..self.program.settings })
    }

    /// Says that something has changed, so that every route is asked for again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_routes(&mut self) -> Result<(), Unavailable> {
        let generation = self.program.settings.generation.wrapping_add(1);
        self.program.set_settings(Settings { generation, ..self.program.settings })
    }

    /// Tells of an interface, the device that carries its frames, and their VLAN tags (type and number). Every second
    /// interface turns frames back by itself.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_interface(
        &mut self,
        interface: u32,
        device: u32,
        address: [u8; 6],
        tags: &[(u16, u16)],
    ) -> Result<(), Unavailable> {
        let tags: Vec<Tag> = tags.iter().map(|(kind, number)| Tag { kind: *kind, number: *number }).collect();
        let carrier = Carrier { device, address, tags: &tags, turns_back: interface.is_multiple_of(2) };
        let (mut interfaces, mut vlans) = self.program.interface_tables()?;
        let mut carried = Carried::default();
        carried.add(interface, &carrier);
        carried.write(&mut Carried::default(), &mut interfaces, &mut vlans)?;
        self.forget_routes()
    }

    /// What keeps the program up with changes, as if it was attached to these interfaces there, which were named or not.
    ///
    /// # Errors
    /// The kernel does not tell of changes.
    pub fn watcher(&self, point: Point, places: &[u32], names: &[&str]) -> Result<Watcher, Unavailable> {
        let surroundings = Surroundings {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            chosen: places.to_vec(),
            places: places.to_vec(),
            point,
        };
        let tables = (self.program.shared_settings()?, self.program.interface_tables()?);
        Watcher::open(surroundings, self.program.settings, tables)
    }

    /// One worker's flows.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn flow_table(&self) -> Result<FlowTable, Unavailable> {
        self.program.flow_table(Point::Xdp, self.flows, 0..self.flows)
    }

    /// The counters.
    pub fn outcomes(&self) -> Outcomes {
        self.program.outcomes()
    }

    /// Runs the program on one frame that came by `interface`. Returns the verdict and what became of the frame.
    ///
    /// # Errors
    /// The kernel refuses to run it on such a frame.
    pub fn run(
        &mut self,
        point: Point,
        interface: u32,
        segment_size: u32,
        frame: &[u8],
    ) -> Result<(i32, Vec<u8>), Unavailable> {
        let mut out = vec![0; frame.len() + ROOM];
        let (verdict, length, _) = self.run_repeatedly(point, interface, segment_size, frame, &mut out, 1)?;
        out.truncate(length);
        Ok((verdict, out))
    }

    /// How long one run on a frame takes, on average.
    ///
    /// # Errors
    /// The kernel refuses to run it on such a frame.
    pub fn time(
        &mut self,
        point: Point,
        interface: u32,
        frame: &[u8],
        runs: u32,
    ) -> Result<Duration, Unavailable> {
        let mut out = vec![0; frame.len() + ROOM];
        self.run_repeatedly(point, interface, 0, frame, &mut out, runs).map(|(_, _, each)| each)
    }

    fn run_repeatedly(
        &mut self,
        point: Point,
        interface: u32,
        segment_size: u32,
        frame: &[u8],
        out: &mut [u8],
        repeat: u32,
    ) -> Result<(i32, usize, Duration), Unavailable> {
        let refused = |error: &(dyn std::error::Error + 'static)| {
            Unavailable::refused("running the kernel program", error)
        };
        let context = context(point, interface, segment_size, frame.len());
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(out),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::new()
        };
        let result = match point {
            Point::Xdp => self.program.load_xdp()?.test_run(options),
            Point::Tc => self.program.load_tc()?.test_run(options),
        };
        let result = result.map_err(|error| refused(&error))?;
        Ok((result.return_value as i32, result.data_size_out as usize, result.duration))
    }
}

/// An `xdp_md` or `__sk_buff` of a packet that came by this interface.
fn context(point: Point, interface: u32, segment_size: u32, length: usize) -> Vec<u8> {
    let mut context = vec![0; if point == Point::Xdp { XDP_MD } else { SK_BUFF }];
    let mut put = |at: usize, value: u32| context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    match point {
        Point::Xdp => {
            put(XDP_DATA_END, length as u32);
            put(XDP_INGRESS_IFINDEX, interface);
        }
        Point::Tc => {
            put(SK_BUFF_IFINDEX, interface);
            put(SK_BUFF_GSO_SIZE, segment_size);
        }
    }
    context
}

/// By how much a packet may grow.
const ROOM: usize = 256;
const XDP_MD: usize = 24;
const XDP_DATA_END: usize = 4;
const XDP_INGRESS_IFINDEX: usize = 12;
const SK_BUFF: usize = 184;
const SK_BUFF_IFINDEX: usize = 40;
const SK_BUFF_GSO_SIZE: usize = 176;
