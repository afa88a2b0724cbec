//! The pages: what each says, and who may read it.
//!
//! The first word of each health page is the state, so that a plain search for it is enough.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use serde_json::json;
use turnpike_control::http::{Answer, Asked, BasicAuthorization, Page, Site};
use turnpike_control::metrics::{Format, TopUsers};
use turnpike_turn::SelfTest;

use super::collect;
use super::heartbeat::Heartbeat;
use super::readings::{Pace, Readings};
use super::self_test::{SelfTests, Tried};
use crate::operations::{Operations, Serving};

/// The pages of one listener.
pub(super) struct MonitoringSite {
    pub(super) looks: Arc<Looks>,
    /// Where metrics are, if they are here.
    pub(super) metrics_path: Option<String>,
    /// Who may read them and how much there is to do.
    pub(super) authorization: Option<BasicAuthorization>,
}

/// Looks at the server, each of them good for a moment, so that it costs nothing to ask often.
pub(super) struct Looks {
    operations: Arc<Operations>,
    lost: Arc<AtomicU64>,
    users: Option<TopUsers>,
    heartbeat: Heartbeat,
    tests: Arc<SelfTests>,
    kept: Mutex<Kept>,
}

/// The last look.
#[derive(Default)]
struct Kept {
    pace: Pace,
    last: Option<Look>,
}

/// One look, and what was written of it.
struct Look {
    at: Instant,
    readings: Readings,
    metrics: [Option<String>; 2],
    capacity: String,
}

impl Site for MonitoringSite {
    fn page<'s>(&'s self, asked: Asked<'s>) -> Answer<'s> {
        let page = match asked.path {
            "/" => ok(),
            "/livez" => self.looks.alive(),
            "/readyz" => self.looks.ready(),
            "/healthz" => return Box::pin(self.looks.healthy()),
            "/capacity" => self.guarded(&asked, |looks| looks.capacity()),
            path if self.metrics_path.as_deref() == Some(path) => self.guarded(&asked, |looks| {
                let format = Format::preferred(asked.accept);
                Page { content_type: format.content_type(), ..Page::text(200, looks.metrics(format)) }
            }),
            _ => Page::text(404, "there is no such page\n"),
        };
        Box::pin(std::future::ready(page))
    }
}

impl MonitoringSite {
    /// A page that is not for everybody.
    fn guarded(&self, asked: &Asked<'_>, page: impl FnOnce(&Looks) -> Page) -> Page {
        match &self.authorization {
            Some(authorization) if !authorization.admits(asked.authorization) => Page {
                authenticate: Some("Basic realm=\"Turnpike\", charset=\"UTF-8\""),
                ..Page::text(401, "a name and a password are asked for\n")
            },
            _ => page(&self.looks),
        }
    }
}

impl Looks {
    pub(super) fn new(
        operations: Arc<Operations>,
        self_test: Arc<SelfTest>,
        (lost, users): (Arc<AtomicU64>, Option<TopUsers>),
    ) -> Self {
        Looks {
            heartbeat: Heartbeat::new(operations.workers.len()),
            tests: Arc::new(SelfTests::new(operations.clone(), self_test)),
            operations,
            lost,
            users,
            kept: Mutex::default(),
        }
    }

    /// Whether the process does anything at all: every worker's loop turns.
    fn alive(&self) -> Page {
        match &self.heartbeat.stuck(&self.operations.workers)[..] {
            [] => ok(),
            stuck => Page::text(503, format!("stuck: no sign of life from workers {stuck:?}\n")),
        }
    }

    /// Whether new clients are welcome.
    fn ready(&self) -> Page {
        match self.operations.stage.now() {
            Serving::Draining => Page::text(503, "draining: no new allocations\n"),
            Serving::Stopping => Page::text(503, "stopping\n"),
            Serving::Fully if self.look(|look| look.readings.is_full()) => {
                Page::text(503, "full: no relayed port is free\n")
            }
            Serving::Fully => Page::text(200, "ready\n"),
        }
    }

    /// Whether clients are served indeed.
    async fn healthy(&self) -> Page {
        match self.tests.outcome().await {
            Some(tried) => Page::text(if tried.succeeded() { 200 } else { 503 }, told(&tried)),
            None => Page::text(503, "failing: the self-test does not end\n"),
        }
    }

    fn capacity(&self) -> Page {
        let text = self.look(|look| look.capacity.clone());
        Page { content_type: "application/json", ..Page::text(200, text) }
    }

    fn metrics(&self, format: Format) -> String {
        self.look(|look| {
            let Look { readings, metrics, .. } = look;
            let place = usize::from(format == Format::OpenMetrics);
            metrics[place].get_or_insert_with(|| collect::write(readings, format)).clone()
        })
    }

    /// Looks at the server, or at what was seen just now.
    fn look<R>(&self, use_it: impl FnOnce(&mut Look) -> R) -> R {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { pace, last } = &mut *kept;
        let fresh = last.take().filter(|look| look.at.elapsed() < FRESH);
        use_it(last.insert(fresh.unwrap_or_else(|| self.look_again(pace))))
    }

    fn look_again(&self, pace: &mut Pace) -> Look {
        let others = (&self.lost, self.users.as_ref(), self.tests.last());
        let readings = Readings::take(&self.operations, others);
        let capacity = capacity(&readings, pace);
        Look { at: Instant::now(), readings, metrics: [None, None], capacity }
    }
}

fn ok() -> Page {
    Page::text(200, "ok\n")
}

fn told(tried: &Tried) -> String {
    let mut text = String::new();
    match &tried.failure {
        None => text.push_str("ok\n"),
        Some(failure) => _ = writeln!(text, "failing: {failure}"),
    }
    for step in &tried.steps {
        let _ = writeln!(text, "{step}");
    }
    text
}

/// What whoever spreads clients over servers has to know.
fn capacity(readings: &Readings, pace: &mut Pace) -> String {
    let rates = pace.note(readings);
    let processors = available_parallelism().map_or(1, usize::from);
    let state = match readings.serving {
        Serving::Fully if readings.is_full() => "full",
        Serving::Fully => "ready",
        Serving::Draining => "draining",
        Serving::Stopping => "stopping",
    };
    let ports: u32 = readings.ports.iter().map(|(_, all)| all).sum();
    let quota = Some(readings.quota).filter(|quota| *quota != 0);
    let value = json!({
        "state": state,
        "draining": readings.serving != Serving::Fully,
        "load": (readings.load(&rates, processors) * 1000.0).round() / 1000.0,
        "allocations": readings.counters.stats.allocations(),
        "allocationQuota": quota,
        "ports": ports,
        "portsFree": readings.free_ports(),
        "descriptors": readings.process.descriptors,
        "descriptorLimit": readings.process.descriptor_limit,
        "processors": processors,
        "processorsUsed": (rates.processors * 1000.0).round() / 1000.0,
        "bytesPerSecond": rates.bytes.round() as u64,
        "bytesPerSecondLimit": Some(readings.bandwidth).filter(|limit| *limit != 0),
    });
    format!("{value}\n")
}

/// For how long a look is good. The workers publish once a second.
const FRESH: Duration = Duration::from_millis(200);
