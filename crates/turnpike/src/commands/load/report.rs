//! Everything there is to say about a run, in one value; table, JSON and HTML are views of it.

use std::sync::Arc;
use std::time::Duration;

use super::conductor::{Run, Sample, Script};
use super::generator::Task;
use super::machine::{Machine, Server};
use super::ramp::{Knee, LATE, Step};
use super::recorder::{Interval, Recorder, Tally};
use super::target::Locality;
use super::words::{amount, count, duration, percent, were};

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
            cores: Sample::generator_cores(&first, &last).unwrap_or_default(),
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
            Some(knee) => knee.in_words(unit),
            None if self.interrupted => "The run was interrupted; these are its results so far.".to_owned(),
            None => {
                let loss = self.worst_loss();
                let carried = if loss == 0.0 {
                    "without loss".to_owned()
                } else {
                    format!("with {} lost", percent(loss))
                };
                format!("{} {} carried {carried}.", amount(self.carried(), unit), were(self.carried()))
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
            generator_cores: sample
                .zip(next)
                .and_then(|(sample, next)| Sample::generator_cores(sample, next)),
        }
    };
    // The interval in which the run ended is not a whole one.
    let whole = recorder.intervals.len().saturating_sub(1).max(1);
    recorder.intervals.iter().enumerate().take(whole).map(of).collect()
}

/// What stands on every result that no network had a part in.
pub(super) const LOOPBACK: &str = "loopback: says nothing about a network";

#[cfg(test)]
pub(super) mod tests {
    use super::super::ramp::Limit;
    use super::*;
    use crate::commands::load::profile::Profile;
    use crate::commands::load::target::{Target, Transport};
    use crate::commands::load::{html, report_json, table};

    /// Ten intervals of 100 ms: two of warm-up and eight that are measured, of ten calls of voice.
    pub(in crate::commands::load) fn example(change: impl FnOnce(&mut Task, &mut Run)) -> Report {
        let server = Server { process: 42, name: "turnserver".to_owned() };
        let mut task = Task {
            target: Target {
                uri: "turn:127.0.0.1:3478".to_owned(),
                host: "127.0.0.1".to_owned(),
                address: ([127, 0, 0, 1], 3478).into(),
                transport: Transport::Udp,
                locality: Locality::ThisMachine,
                authorities: None,
            },
            profile: Profile::Audio,
            streams: Profile::Audio.streams(),
            client: Arc::default(),
            local: [127, 0, 0, 1].into(),
            peer_address: [127, 0, 0, 1].into(),
            threads: 1,
            clients: 64,
            interval: Duration::from_millis(100),
            run: 7,
        };
        let mut recorder = Recorder::new(2, 100_000_000);
        for index in 0..10 {
            let interval = recorder.at(index * 100_000_000);
            for tally in &mut interval.tallies {
                (tally.sent, tally.received) = (50, 50);
                (0..50).for_each(|number| tally.latency.note(100_000 + 10_000 * number));
                tally.note_jitter(20_000);
            }
            interval.lateness.note(50_000);
        }
        let sample = |index: u32| Sample {
            at: Duration::from_millis(100) * index,
            established: 10,
            server: Some(Duration::from_millis(5) * index),
            generator: Duration::from_millis(10) * index,
            waited: Duration::ZERO,
        };
        let mut run = Run {
            recorder,
            measured: 2..10,
            level: 10,
            samples: (0..11).map(sample).collect(),
            steps: Vec::new(),
            knee: None,
            established: 10,
            failed: 0,
            dropped: 0,
            overrun: 0,
            memory: Some(8 << 20),
            interrupted: false,
        };
        change(&mut task, &mut run);
        let script =
            Script::Hold { level: 10, warm_up: Duration::from_millis(200), hold: Duration::from_millis(800) };
        Report::new("2026-01-01T00:00:00Z".to_owned(), &Arc::new(task), script, Some(server), run)
    }

    /// Everything all views say.
    fn views(report: &Report) -> [String; 3] {
        [table::text(report), report_json::of(report).to_string(), html::page(report)]
    }

    #[test]
    fn the_warm_up_is_no_part_of_the_results() {
        let report = example(|_, run| run.recorder.tally(0, 0).received = 0);
        assert_eq!(report.sum.tallies[0].sent, 400);
        assert!(report.worst_loss() == 0.0 && report.warnings.is_empty(), "{:?}", report.warnings);
        assert!((report.rate() - 1000.0).abs() < 1e-6, "{}", report.rate());
        assert_eq!(report.verdict(), "10 calls were carried without loss.");
        let server = report.server.unwrap();
        // 5 ms of every 100, and a thousand packets a second.
        assert!((server.cores - 0.05).abs() < 1e-6, "{}", server.cores);
        assert_eq!(server.each, Some(Duration::from_micros(50)));
    }

    #[test]
    fn every_view_says_that_loopback_is_no_network_and_only_then() {
        for view in views(&example(|_, _| {})) {
            assert!(view.contains(LOOPBACK), "{view}");
        }
        for view in views(&example(|task, _| task.target.locality = Locality::Private)) {
            assert!(!view.contains(LOOPBACK), "{view}");
        }
    }

    #[test]
    fn whatever_makes_the_figures_less_than_the_servers_is_in_every_view() {
        let report = example(|_, run| {
            let interval = run.recorder.at(500_000_000);
            (0..100).for_each(|_| interval.lateness.note(9_000_000));
            interval.tallies[1].unsent = 3;
            run.overrun = 1234;
            run.recorder.note_failure("ALLOCATE: error 486 (Allocation Quota Reached)".to_owned());
        });
        assert!(!report.generator_kept_up());
        for view in views(&report) {
            for part in
                ["the generator itself was late", "gave up 3 packets", "1,234 datagrams", "raise user-quota"]
            {
                assert!(view.contains(part), "{part} in {view}");
            }
        }
    }

    #[test]
    fn the_table_fits_eighty_columns_whatever_is_measured() {
        for (_, profile) in Profile::ALL {
            let report = example(|task, run| {
                task.profile = profile;
                task.streams = profile.streams();
                let mut recorder = Recorder::new(profile.series().len(), 100_000_000);
                recorder.at(999_999_999);
                run.recorder = recorder;
            });
            let text = table::text(&report);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= 80), "{text}");
            assert!(profile.series().iter().all(|name| text.contains(name)), "{text}");
            // Nothing was measured, and nothing breaks.
            assert!(html::page(&report).ends_with("</html>\n"));
        }
    }

    #[test]
    fn a_search_is_told_with_its_steps_and_its_knee_in_every_view() {
        let report = example(|_, run| {
            let step = |level, limit| Step {
                level,
                refused: 0,
                sum: run.recorder.sum(2..4),
                from: 0.2,
                to: 0.4,
                limit,
            };
            run.steps = vec![step(10, None), step(20, Some(Limit::Loss)), step(20, Some(Limit::Loss))];
            run.knee = Some(Knee { level: Some(10), beyond: Some((20, Limit::Loss)) });
        });
        assert_eq!(report.verdict(), "The knee: 10 calls were carried; at 20 more than 1 % was lost.");
        for view in views(&report) {
            assert!(view.contains("The knee: 10 calls") && view.contains("loss"), "{view}");
        }
        let page = html::page(&report);
        assert!(
            page.contains("Latency by load") && page.contains("Every step") && page.contains("10 carried")
        );
        let json = report_json::of(&report);
        assert_eq!(json["knee"], serde_json::json!({ "carried": 10, "notCarried": 20, "limit": "loss" }));
        assert_eq!(json["steps"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn a_knee_of_the_generator_is_not_called_the_servers() {
        let knee = |level, limit| Knee { level, beyond: Some((20, limit)) }.in_words("calls");
        assert!(
            knee(Some(10), Limit::Generator)
                .starts_with("At least 10 calls were carried: at 20 the generator")
        );
        assert!(knee(None, Limit::Loss).starts_with("The knee: no calls were carried"));
        let none = Knee { level: Some(500), beyond: None }.in_words("calls");
        assert!(none.starts_with("No knee: 500 calls"), "{none}");
    }

    #[test]
    fn the_page_shows_what_there_is_over_time_and_by_duration() {
        let page = html::page(&example(|_, _| {}));
        for part in [
            "<h1>10 calls were carried without loss.</h1>",
            "How long: client to peer",
            "How long: peer to client",
            "<span>Calls</span>",
            "<span>Packets a second</span>",
            "<span>Loss</span>",
            "<span>Latency</span>",
            "<span>Cores kept busy</span>",
            "prefers-color-scheme: dark",
            "turnserver",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<figure>").count(), page.matches("</figure>").count());
        assert!(page.matches("<svg").count() >= 8, "{}", page.matches("<svg").count());
    }
}
