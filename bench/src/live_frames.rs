//! Frames as a driver delivers them: made in the kernel by `BPF_PROG_TEST_RUN` with live frames, and counted where they
//! come out (`bench/bpf/frames.c`). No socket, and no copy, is between them and the server's interface.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use aya::maps::{Array, Map, MapData, PerCpuArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};

use crate::lab::{Lab, devices};
use crate::rows::NotMeasured;
use crate::syscalls;

/// The two programs and their tables.
pub(crate) struct LiveFrames {
    ebpf: Ebpf,
    frame: Vec<u8>,
}

/// How fast frames are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Groups of so many, one every so often.
    Groups { group: u32, period: Duration },
    /// As fast as the core can.
    FlatOut,
}

/// Frames that came out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    /// As long as they have to be, with the right beginning and end.
    pub(crate) whole: u64,
    pub(crate) other: u64,
}

impl LiveFrames {
    /// Loads the programs, for frames of these flows: alike but for their headers.
    pub(crate) fn load(lab: &Lab, frames: &[Vec<u8>]) -> Result<Self> {
        // A table has a place for each flow, and a frame is taken from the first one.
        let frame = frames.first().context("there are no flows")?.clone();
        let ebpf = EbpfLoader::new().load(OBJECT).map_err(|error| refused("loading programs", &error))?;
        let mut live = LiveFrames { ebpf, frame };
        for name in ["inject", "receive"] {
            live.program(name)?.load().map_err(|error| refused("loading an XDP program", &error))?;
        }
        let mut headers: Array<_, [u8; HEADERS_ROOM]> = live.table("headers")?;
        for (flow, frame) in (0..).zip(frames) {
            let mut value = [0; HEADERS_ROOM];
            value[..HEADERS].copy_from_slice(frame.get(..HEADERS).context("a frame is too short")?);
            headers.set(flow, value, 0)?;
        }
        let payload = live.frame[HEADERS..].to_vec();
        let ends = [payload.first_chunk::<8>(), payload.last_chunk::<8>()];
        let [begin, end] = ends.map(|part| part.copied().unwrap_or_default());
        let mut expected: Array<_, [[u8; 8]; 2]> = live.table("expected")?;
        expected.set(0, [begin, end], 0)?;
        let device = lab.client.index(&devices()[0])?;
        live.set_pace(device, frames.len() as u32, Pace::FlatOut)?;
        Ok(live)
    }

    /// From now on frames that reach the peers' interface are counted there and go no further. Ends with this value.
    pub(crate) fn count_at_peers(&mut self, lab: &Lab) -> Result<()> {
        let device = lab.peer.index(&devices()[3])?;
        let receive = self.program("receive")?;
        lab.peer.inside(|| {
            let attached = receive.attach_to_if_index(device, XdpMode::Driver);
            attached.map(drop).map_err(|error| refused("attaching an XDP program", &error))
        })?;
        lab.pin_peer_receive_thread().map(drop)
    }

    /// Makes `count` frames, one flow after the other, and returns when the last has left.
    pub(crate) fn inject(&mut self, lab: &Lab, flows: u32, count: u32, pace: Pace) -> Result<()> {
        self.set_pace(lab.client.index(&devices()[0])?, flows, pace)?;
        let frame = self.frame.clone();
        let batch = match pace {
            Pace::Groups { group, .. } => group.clamp(1, LARGEST_BATCH),
            Pace::FlatOut => FLAT_OUT_BATCH,
        };
        let inject = self.program("inject")?;
        lab.client.inside(|| {
            // Whoever receives on this core comes first, or what the server sends would be lost here.
            syscalls::run_when_idle().context("lower the priority of making frames")?;
            let options = TestRunOptions {
                data_in: Some(&frame),
                repeat: count,
                attrs: TestRunAttrs::new().xdp_live_frames(batch),
                ..TestRunOptions::new()
            };
            inject.test_run(options).map(drop).map_err(|error| refused("making live frames", &error))
        })
    }

    /// What came out so far, since the programs were loaded.
    pub(crate) fn received(&self) -> Result<Received> {
        let map = self.ebpf.map("received").context("a table is missing")?;
        let counters: PerCpuArray<&MapData, [u64; 2]> = PerCpuArray::try_from(map)?;
        let mut received = Received::default();
        for [whole, other] in counters.get(&0, 0)?.iter() {
            received.whole += whole;
            received.other += other;
        }
        Ok(received)
    }

    /// Bytes as `struct pace` of `frames.c` has them.
    fn set_pace(&mut self, device: u32, flows: u32, pace: Pace) -> Result<()> {
        let (group, period) = match pace {
            Pace::Groups { group, period } => (group, period.as_nanos() as u64),
            Pace::FlatOut => (0, 0),
        };
        let mut value = [0; PACE];
        for (word, bytes) in [device, flows, 0, group, 0, 0].into_iter().zip(value.chunks_mut(4)) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        value[24..32].copy_from_slice(&period.to_ne_bytes());
        let mut table: Array<_, [u8; PACE]> = self.table("pace")?;
        table.set(0, value, 0).context("set the pace")
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        Ok(self.ebpf.program_mut(name).with_context(|| format!("program {name} is missing"))?.try_into()?)
    }

    fn table<'p, T>(&'p mut self, name: &str) -> Result<T>
    where
        T: TryFrom<&'p mut Map, Error = aya::maps::MapError>,
    {
        let map = self.ebpf.map_mut(name).with_context(|| format!("table {name} is missing"))?;
        Ok(T::try_from(map)?)
    }
}

/// The kernel says no: then there is nothing to measure with.
fn refused(what: &str, error: &dyn std::error::Error) -> anyhow::Error {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        why.push_str(&format!(": {error}"));
        source = error.source();
    }
    // The verifier's log is for whoever changes the program.
    let why = why.lines().next().unwrap_or_default();
    anyhow!(NotMeasured(format!("{what} in the kernel failed: {why}")))
}

/// The programs as they were built from `bench/bpf/frames.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/frames.o");
/// Bytes of a frame that differ between flows: up to the channel's header.
const HEADERS: usize = 46;
const HEADERS_ROOM: usize = 48;
const PACE: usize = 40;
/// Frames the kernel makes at once, at most.
const LARGEST_BATCH: u32 = 256;
const FLAT_OUT_BATCH: u32 = 64;
