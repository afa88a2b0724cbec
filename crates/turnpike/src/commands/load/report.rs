//! Everything there is to say about a run, in one value; table, JSON and HTML are views of it.

use std::sync::Arc;
use std::time::Duration;

use super::conductor::{Run, Sample, Script};
use super::generator::Task;
use super::machine::{Machine, Server};
use super::ramp::{Knee, LATE, Limit, Step};
use super::recorder::{Interval, Recorder, Tally};
use super::target::Locality;
use super::words::{count, duration, percent};

/// A run, and what it means.
pub(super) struct Report {
    /// RFC 3339.
    pub(super) started: String,
    pub(super) task: Arc<Task>,
    pub(super) script: Script,
    pub(super) machine: Machine,
    pub(super) recorder: Recorder,
    /// What was measured: the sum of the intervals the results are about.
    pub(super) sum: Interval,
    /// Seconds since the start.
    pub(super) from: f64,
    pub(super) to: f64,
    /// The load during these.
    pub(super) level: u32,
    pub(super) points: Vec<Point>,
    pub(super) steps: Vec<Step>,
    pub(super) knee: Option<Knee>,
    pub(super) established: u32,
    pub(super) failed: u32,
    pub(super) server: Option<ServerCost>,
    pub(super) generator: GeneratorCost,
    pub(super) interrupted: bool,
    /// What a reader must know before he believes the figures.
    pub(super) warnings: Vec<String>,
}

/// One interval, all series together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    /// Seconds since the start, of its beginning.
    pub(super) at: f64,
    pub(super) established: u32,
    /// A second.
    pub(super) sent: f64,
    pub(super) received: f64,
    /// 0 to 1.
    pub(super) loss: f64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
    /// The p99 of how late the generator was.
    pub(super) late: Option<Duration>,
    pub(super) server_cores: Option<f64>,
    pub(super) generator_cores: Option<f64>,
}

/// What the load cost a server on this machine.
#[derive(Clone, Debug)]
pub(super) struct ServerCost {
    pub(super) server: Server,
    /// On average, while measured.
    pub(super) cores: f64,
    /// Processor time for each packet or request it took in.
    pub(super) each: Option<Duration>,
    /// Bytes, at the most.
    pub(super) memory: Option<u64>,
}

/// How the generator itself fared.
#[derive(Clone, Debug)]
pub(super) struct GeneratorCost {
    pub(super) cores: f64,
    /// Threads that on average were ready to run and had no core.
    pub(super) waiting: f64,
    /// Datagrams the kernel did not take from it, and those it was too slow to read.
    pub(super) dropped: u64,
    pub(super) overrun: u64,
}

impl Report {
    pub(super) fn new(
        started: String,
        task: &Arc<Task>,
        script: Script,
        server: Option<Server>,
        run: Run,
    ) -> Self {
        let interval = task.interval.as_secs_f64();
        let sum = run.recorder.sum(run.measured.clone());
        let points = points(&run.recorder, &run.samples, interval);
        let (from, to) = (run.measured.start as f64 * interval, run.measured.end as f64 * interval);
        let around = |seconds: f64| {
            run.samples.iter().min_by(|one, other| {
                let distance = |sample: &Sample| (sample.at.as_secs_f64() - seconds).abs();
                distance(one).total_cmp(&distance(other))
            })
        };
        let (first, last) =
            (around(from).copied().unwrap_or_default(), around(to).copied().unwrap_or_default());
        let taken = sum.tallies.iter().map(|tally| tally.sent).sum::<u64>();
        let server = server.and_then(|server| {
            let cores = Sample::server_cores(&first, &last)?;
            let each =
                (taken > 0).then(|| Duration::from_secs_f64(cores.max(0.0) * (to - from) / taken as f64));
            Some(ServerCost { server, cores, each, memory: run.memory })
        });
        let generator = GeneratorCost {
            cores: Sample::generator_cores(&first, &last),
            waiting: last.waited.saturating_sub(first.waited).as_secs_f64() / (to - from).max(1e-9),
            dropped: run.dropped,
            overrun: run.overrun,
        };
        let mut report = Report {
            started,
            task: Arc::clone(task),
            script,
            machine: Machine::this(),
            recorder: run.recorder,
            sum,
            from,
            to,
            level: run.level,
            points,
            steps: run.steps,
            knee: run.knee,
            established: run.established,
            failed: run.failed,
            server,
            generator,
            interrupted: run.interrupted,
            warnings: Vec::new(),
        };
        report.warnings = report.find_warnings();
        report
    }

    /// The loss of the series that is worst off, 0 to 1.
    pub(super) fn worst_loss(&self) -> f64 {
        self.sum.tallies.iter().map(Tally::loss).fold(0.0, f64::max)
    }

    /// Seconds that were measured.
    pub(super) fn seconds(&self) -> f64 {
        (self.to - self.from).max(0.0)
    }

    /// Packets or requests a second, all series together.
    pub(super) fn rate(&self) -> f64 {
        self.sum.tallies.iter().map(|tally| tally.sent).sum::<u64>() as f64 / self.seconds().max(1e-9)
    }

    /// Bits of payload a second, both ways.
    pub(super) fn bits_per_second(&self) -> f64 {
        let calls =
            if self.task.profile.has_media() { f64::from(self.level.min(self.established)) } else { 0.0 };
        self.task.bits_per_call() * 2.0 * calls
    }

    /// What the figures do not say, if anything.
    pub(super) fn locality_note(&self) -> Option<&'static str> {
        (self.task.target.locality == Locality::ThisMachine).then_some(LOOPBACK)
    }

    /// Whether the generator kept its own times.
    pub(super) fn generator_kept_up(&self) -> bool {
        let late = self.sum.lateness.quantile(0.99).is_some_and(|late| late > LATE);
        !late && self.sum.total().unsent == 0
    }

    /// The result in one sentence.
    pub(super) fn verdict(&self) -> String {
        let unit = self.task.profile.unit();
        match &self.knee {
            Some(knee) => knee_in_words(knee, unit),
            None if self.interrupted => "The run was interrupted; these are its results so far.".to_owned(),
            None => {
                let loss = self.worst_loss();
                let carried = if loss == 0.0 {
                    "without loss".to_owned()
                } else {
                    format!("with {} lost", percent(loss))
                };
                format!("{} {unit} were carried {carried}.", count(u64::from(self.carried())))
            }
        }
    }

    /// The load that there really was.
    fn carried(&self) -> u32 {
        if self.task.profile.has_media() { self.level.min(self.established) } else { self.level }
    }

    fn find_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let total = self.sum.total();
        let late = self.sum.lateness.quantile(0.99).filter(|late| *late > LATE);
        if let Some(late) = late {
            warnings.push(format!(
                "the generator itself was late: 1 % of what it sent left {} or more after its time, which is part of \
                 the latencies above; {}",
                duration(Some(late)),
                self.why_late()
            ));
        }
        if total.unsent > 0 {
            let unsent = count(total.unsent);
            warnings.push(format!(
                "the generator fell so far behind that it gave up {unsent} {}: it is the bottleneck",
                self.task.profile.items()
            ));
        }
        let GeneratorCost { dropped, overrun, .. } = self.generator;
        if overrun > 0 {
            warnings.push(format!(
                "{} datagrams reached the generator and were lost in its own sockets: they count as lost, but the \
                 server relayed them",
                count(overrun)
            ));
        }
        if dropped > 0 {
            warnings.push(format!(
                "the system took {} datagrams less from the generator than it sent",
                count(dropped)
            ));
        }
        if total.damaged > 0 {
            warnings.push(format!("{} packets arrived damaged or in the wrong place", count(total.damaged)));
        }
        for (why, times) in &self.recorder.failures {
            warnings.push(format!("{} × {why}{}", count(*times), advice(why)));
        }
        warnings
    }

    fn why_late(&self) -> &'static str {
        let threads = self.task.threads as f64;
        let server = self.server.as_ref().map_or(0.0, |cost| cost.cores);
        if self.generator.cores > 0.8 * threads {
            "its threads were busy all the time: use fewer calls, more --threads, or another machine"
        } else if self.generator.cores + server < 0.8 * self.machine.cores as f64
            && self.generator.waiting > 0.01
        {
            "its threads waited for a free core, and neither they nor the server kept them all busy: something else \
             runs on this machine"
        } else if self.server.is_some() {
            "server and generator share the cores of this machine: use fewer calls, or load it from another"
        } else {
            "use fewer calls, more --threads, or another machine"
        }
    }
}

fn knee_in_words(knee: &Knee, unit: &str) -> String {
    let carried = match knee.level {
        Some(level) => format!("{} {unit}", count(u64::from(level))),
        None => format!("no {unit}"),
    };
    match knee.beyond {
        Some((level, Limit::Generator)) => {
            format!(
                "At least {carried} were carried: at {} the generator itself could not keep up, so the server's knee was not found.",
                count(u64::from(level))
            )
        }
        Some((level, limit)) => {
            format!("The knee: {carried} were carried; at {} {}.", count(u64::from(level)), limit.meaning())
        }
        None => format!("No knee: {carried} were carried, the most this search was to try."),
    }
}

/// What to do about a failure that has a number.
fn advice(why: &str) -> &'static str {
    if why.contains("error 486") {
        ": raise user-quota or total-quota for the test"
    } else if why.contains("error 508") {
        ": widen min-port to max-port"
    } else {
        ""
    }
}

fn points(recorder: &Recorder, samples: &[Sample], interval: f64) -> Vec<Point> {
    let of = |(index, counted): (usize, &Interval)| {
        let total = counted.total();
        let (sample, next) = (samples.get(index), samples.get(index + 1));
        Point {
            at: index as f64 * interval,
            established: sample.map_or(0, |sample| sample.established),
            sent: total.sent as f64 / interval,
            received: total.received as f64 / interval,
            loss: total.loss(),
            p50: total.latency.quantile(0.5),
            p99: total.latency.quantile(0.99),
            late: counted.lateness.quantile(0.99),
            server_cores: sample.zip(next).and_then(|(sample, next)| Sample::server_cores(sample, next)),
            generator_cores: sample.zip(next).map(|(sample, next)| Sample::generator_cores(sample, next)),
        }
    };
    // The interval in which the run ended is not a whole one.
    let whole = recorder.intervals.len().saturating_sub(1).max(1);
    recorder.intervals.iter().enumerate().take(whole).map(of).collect()
}

/// What stands on every result that no network had a part in.
pub(super) const LOOPBACK: &str = "loopback: says nothing about a network";
