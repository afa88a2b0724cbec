//! Leads a run: says how much load there is when, watches what comes of it, and decides when it is over.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};

use super::generator::{Generator, Task};
use super::live::{Glance, Live};
use super::machine::{Server, own_losses};
use super::ramp::{Knee, LATE, Ramp, Step};
use super::recorder::{MOST_INTERVALS, Recorder};

/// How the load goes over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Up to `level` within `warm_up`, and then for `hold`.
    Hold { level: u32, warm_up: Duration, hold: Duration },
    /// From `first` upwards, `step` at each level, to the knee or to `most`.
    Ramp { first: u32, most: u32, step: Duration },
}

/// What a run has brought.
pub(super) struct Run {
    pub(super) recorder: Recorder,
    /// The intervals the results are about.
    pub(super) measured: Range<usize>,
    /// The load during these.
    pub(super) level: u32,
    pub(super) samples: Vec<Sample>,
    pub(super) steps: Vec<Step>,
    pub(super) knee: Option<Knee>,
    /// Calls that were up at the end, and those that failed.
    pub(super) established: u32,
    pub(super) failed: u32,
    /// Datagrams this process had no room for, going out and coming in.
    pub(super) dropped: u64,
    pub(super) overrun: u64,
    /// Bytes of the server's memory, at the most.
    pub(super) memory: Option<u64>,
    pub(super) interrupted: bool,
}

/// What was so at the beginning of an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) established: u32,
    /// Processor time so far.
    pub(super) server: Option<Duration>,
    pub(super) generator: Duration,
    /// Time the generator's threads could have run and no processor was free.
    pub(super) waited: Duration,
}

/// Performs the script.
///
/// # Errors
/// The load could not be made: no call came about, or the system refused.
pub(super) fn perform(
    task: &Arc<Task>,
    script: Script,
    server: Option<&Server>,
    live: &mut Live,
    interrupted: &Arc<AtomicBool>,
) -> Result<Run> {
    let mut conductor = Conductor {
        task,
        server,
        live,
        interrupted,
        generator: Generator::start(task)?,
        level: 0,
        samples: Vec::new(),
        memory: None,
        shown: Duration::ZERO,
    };
    let outcome = match script {
        Script::Hold { level, warm_up, hold } => conductor.hold(level, warm_up, hold),
        Script::Ramp { first, most, step } => conductor.search(first, most, step),
    };
    conductor.finish(outcome)
}

struct Conductor<'r> {
    task: &'r Task,
    server: Option<&'r Server>,
    live: &'r mut Live,
    interrupted: &'r AtomicBool,
    generator: Generator,
    level: u32,
    samples: Vec<Sample>,
    memory: Option<u64>,
    /// When the live view was last drawn.
    shown: Duration,
}

/// What a script ends with.
struct Outcome {
    measured: Range<usize>,
    level: u32,
    /// Calls that were up.
    established: u32,
    steps: Vec<Step>,
    knee: Option<Knee>,
}

impl Conductor<'_> {
    fn hold(&mut self, level: u32, warm_up: Duration, hold: Duration) -> Result<Outcome> {
        while self.generator.elapsed() < warm_up && self.goes_on() {
            let share = self.generator.elapsed().as_secs_f64() / warm_up.as_secs_f64();
            // At least one from the start: there is nothing to see of none.
            self.set_level(((f64::from(level) * share) as u32).clamp(1, level));
            self.tick("warming up", warm_up.saturating_sub(self.generator.elapsed()))?;
        }
        self.reach(level)?;
        let begin = self.next_interval();
        let end = begin + intervals(hold, self.task.interval);
        self.pass(end, "measuring")?;
        // An interrupted run is judged by what it saw.
        let end = end.min(self.current_interval().max(begin + 1));
        let established = self.generator.progress().established;
        Ok(Outcome { measured: begin..end, level, established, steps: Vec::new(), knee: None })
    }

    fn search(&mut self, first: u32, most: u32, step: Duration) -> Result<Outcome> {
        let mut ramp = Ramp::new(first, most);
        let mut steps = Vec::new();
        let mut best: Option<(u32, Range<usize>, u32)> = None;
        while let Some(level) = ramp.next_level()
            && self.goes_on()
            && self.remembers_another(step)
        {
            self.generator.try_again();
            self.reach(level)?;
            let begin = self.next_interval();
            let end = begin + intervals(step, self.task.interval);
            self.pass(end, "step")?;
            // The load goes on while the last packets come in.
            let settled = self.generator.elapsed() + SETTLE;
            while self.generator.elapsed() < settled && self.goes_on() {
                self.tick("step", Duration::ZERO)?;
            }
            if !self.goes_on() {
                break;
            }
            let refused = self.refused(level);
            let sum = self.generator.look(begin..end).sum(begin..end);
            let (from, to) = (self.seconds(begin), self.seconds(end));
            let mut step = Step { level, refused, sum, from, to, limit: None };
            ramp.judge(&mut step);
            if step.limit.is_none() && best.as_ref().is_none_or(|(best, ..)| level >= *best) {
                best = Some((level, begin..end, step.refused));
            }
            self.live.note_step(&step);
            if step.limit.is_some() {
                self.rest(level / 4)?;
            }
            steps.push(step);
        }
        let last =
            |step: &Step| (step.level, self.interval_at(step.from)..self.interval_at(step.to), step.refused);
        let (level, measured, refused) =
            best.or_else(|| steps.last().map(last)).unwrap_or((self.level, 0..0, 0));
        let established = if self.task.profile.has_media() { level - refused.min(level) } else { 0 };
        Ok(Outcome { measured, level, established, steps, knee: Some(ramp.knee()) })
    }

    /// Whether there is room for the intervals of another step; a search that takes this long has found what it can.
    fn remembers_another(&self, step: Duration) -> bool {
        let most = SET_UP_PATIENCE + step + SETTLE + LONGEST_REST;
        self.next_interval() + intervals(most, self.task.interval) < MOST_INTERVALS
    }

    /// Goes easy for a moment, so that what has piled up is not held against the next step.
    fn rest(&mut self, level: u32) -> Result<()> {
        self.set_level(level);
        let begun = self.generator.elapsed();
        loop {
            self.tick("resting", Duration::ZERO)?;
            let rested = self.generator.elapsed().saturating_sub(begun);
            let last = self.current_interval().saturating_sub(1);
            let late = self.generator.look(last..last + 1).sum(last..last + 1).lateness.quantile(0.5);
            let calm = late.is_none_or(|late| late <= LATE);
            if !self.goes_on() || rested > LONGEST_REST || (rested > REST && calm) {
                return Ok(());
            }
        }
    }

    /// Raises or lowers the load, and waits until the calls are up, or known to fail.
    fn reach(&mut self, level: u32) -> Result<()> {
        self.set_level(level);
        if !self.task.profile.has_media() {
            return Ok(());
        }
        let (told, deadline) = (self.generator.elapsed() + HEARD, self.generator.elapsed() + SET_UP_PATIENCE);
        loop {
            self.tick("setting up", Duration::ZERO)?;
            if self.generator.elapsed() < told && self.goes_on() {
                continue;
            }
            let progress = self.generator.progress();
            let late = self.generator.elapsed() > deadline;
            if progress.established == 0 && (late || progress.failed >= level) && self.is_alone() {
                let failures = self.generator.look(0..0).failures;
                let why = failures.keys().next().map_or("nothing was answered in time", String::as_str);
                bail!("no call came about: {why}");
            }
            if progress.established + progress.failed >= level || late || !self.goes_on() {
                return Ok(());
            }
        }
    }

    /// Calls that the server, or time, denied.
    fn refused(&self, level: u32) -> u32 {
        if self.task.profile.has_media() {
            level.saturating_sub(self.generator.progress().established)
        } else {
            0
        }
    }

    /// Waits for the end of the interval before `end`.
    fn pass(&mut self, end: usize, phase: &'static str) -> Result<()> {
        let end = self.task.interval * u32::try_from(end).unwrap_or(u32::MAX);
        while self.generator.elapsed() < end && self.goes_on() {
            self.tick(phase, end.saturating_sub(self.generator.elapsed()))?;
        }
        Ok(())
    }

    /// A moment passes: samples are taken and the view is drawn.
    fn tick(&mut self, phase: &'static str, left: Duration) -> Result<()> {
        std::thread::park_timeout(TICK);
        if self.generator.has_failed() {
            bail!(GENERATOR_ENDED);
        }
        let now = self.generator.elapsed();
        if self.samples.len() <= self.current_interval() {
            // One for each interval, even for those that passed while nobody could look.
            let sample = self.sample();
            self.samples.resize(self.current_interval() + 1, sample);
            self.memory = self.memory.max(self.server.and_then(Server::memory));
        }
        if now.saturating_sub(self.shown) >= self.live.pause() {
            self.shown = now;
            let glance = self.glance(phase, left);
            self.live.show(&glance);
        }
        Ok(())
    }

    fn sample(&self) -> Sample {
        Sample {
            at: self.generator.elapsed(),
            established: self.generator.progress().established,
            server: self.server.and_then(Server::busy),
            generator: self.generator.busy(),
            waited: self.generator.waited(),
        }
    }

    fn glance(&self, phase: &'static str, left: Duration) -> Glance {
        // Of the interval under way, and of the one before, not all is in.
        let last = self.current_interval().saturating_sub(1 + intervals(SETTLE, self.task.interval));
        let first = last.saturating_sub(intervals(self.live.pause(), self.task.interval).saturating_sub(1));
        let recorder = self.generator.look(first..last + 1);
        let progress = self.generator.progress();
        let mut pairs = self.samples.iter().rev();
        let (newer, older) = (pairs.next().copied(), pairs.nth(1).copied());
        Glance {
            phase,
            left,
            elapsed: self.generator.elapsed(),
            level: self.level,
            established: progress.established,
            failed: progress.failed,
            sum: recorder.sum(first..last + 1),
            span: self.task.interval * (last + 1 - first) as u32,
            server: newer.zip(older).and_then(|(newer, older)| Sample::server_cores(&older, &newer)),
            generator: newer.zip(older).and_then(|(newer, older)| Sample::generator_cores(&older, &newer)),
        }
    }

    fn finish(mut self, outcome: Result<Outcome>) -> Result<Run> {
        let sample = self.sample();
        self.samples.push(sample);
        let progress = self.generator.progress();
        let (dropped, overrun) = (self.generator.dropped(), own_losses());
        let interrupted = !self.goes_on();
        self.live.clear();
        // What a thread has to say comes before what was seen of it from outside.
        let recorder = self.generator.finish()?;
        let Outcome { measured, level, established, steps, knee } = outcome?;
        let Conductor { samples, memory, .. } = self;
        Ok(Run {
            recorder,
            measured,
            level,
            samples,
            steps,
            knee,
            established,
            failed: progress.failed,
            dropped,
            overrun,
            memory,
            interrupted,
        })
    }

    fn set_level(&mut self, level: u32) {
        self.level = level;
        self.generator.set_level(level);
    }

    /// Whether nothing was measured yet, so that there is nothing to report.
    fn is_alone(&self) -> bool {
        self.goes_on() && self.generator.look(0..usize::MAX).sum(0..usize::MAX).total().sent == 0
    }

    fn goes_on(&self) -> bool {
        !self.interrupted.load(Ordering::Relaxed)
    }

    fn current_interval(&self) -> usize {
        intervals(self.generator.elapsed(), self.task.interval)
    }

    fn next_interval(&self) -> usize {
        self.current_interval() + 1
    }

    fn seconds(&self, interval: usize) -> f64 {
        interval as f64 * self.task.interval.as_secs_f64()
    }

    fn interval_at(&self, seconds: f64) -> usize {
        (seconds / self.task.interval.as_secs_f64()).round() as usize
    }
}

impl Sample {
    /// Cores the server kept busy between two samples.
    pub(super) fn server_cores(earlier: &Sample, later: &Sample) -> Option<f64> {
        let busy = later.server?.saturating_sub(earlier.server?);
        Sample::share(earlier, later, busy)
    }

    /// Likewise the generator.
    pub(super) fn generator_cores(earlier: &Sample, later: &Sample) -> Option<f64> {
        let busy = later.generator.saturating_sub(earlier.generator);
        Sample::share(earlier, later, busy)
    }

    fn share(earlier: &Sample, later: &Sample, busy: Duration) -> Option<f64> {
        let passed = later.at.saturating_sub(earlier.at);
        (!passed.is_zero()).then(|| busy.as_secs_f64() / passed.as_secs_f64())
    }
}

fn intervals(time: Duration, interval: Duration) -> usize {
    usize::try_from(time.as_nanos() / interval.as_nanos().max(1)).unwrap_or(usize::MAX)
}

const TICK: Duration = Duration::from_millis(20);
/// After this nothing more is expected of an interval.
const SETTLE: Duration = Duration::from_millis(300);
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(5);
/// How long the threads may take to hear of a new level and to tell what came of it.
const HEARD: Duration = Duration::from_millis(150);
/// How long calls may take to come about.
const SET_UP_PATIENCE: Duration = Duration::from_secs(10);
const GENERATOR_ENDED: &str = "the generator ended before its time";
