//! What can be asked for on the control socket, and what is answered.
//!
//! A question is `{"version": 1, "verb": "sessions", …}`; an answer is `{"version": 1, "answer": …}` or
//! `{"version": 1, "error": {"code": …, "text": …}}`. Fields that a version does not know are ignored, so that what is
//! added later harms nobody.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use turnpike_control::Level;
use turnpike_turn::SessionFilter;

use super::rows::{bad, cursor, filter, number, row, shown, text};
use super::top::Sampler;
use super::{VERSION, rows};
use crate::drain::Order;
use crate::operations::{Operations, Request, Serving};
use crate::visits::Unanswered;

/// Somebody who asks, by one connection.
pub(super) struct Guest {
    operations: Arc<Operations>,
    /// Who it is, for the log.
    who: String,
    /// What it was told last of how much is relayed.
    sampler: Sampler,
}

/// Why a question is not answered.
#[derive(Debug)]
pub(super) struct Problem {
    /// A word for programs.
    pub(super) code: &'static str,
    /// A sentence for people.
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Problem { code, text: text.into() }
    }
}

impl From<Unanswered> for Problem {
    fn from(error: Unanswered) -> Self {
        Problem::new("busy", error.to_string())
    }
}

impl Guest {
    pub(super) fn new(operations: Arc<Operations>, who: String) -> Self {
        Guest { operations, who, sampler: Sampler::default() }
    }

    pub(super) fn answer(&mut self, question: &Value) -> Result<Value, Problem> {
        match number(question, "version")? {
            Some(VERSION) => {}
            Some(other) => {
                let text =
                    format!("this server speaks version {VERSION}, not {other}: use its own `turnpike`");
                return Err(Problem::new("version", text));
            }
            None => return Err(bad("a question begins with its version".to_owned())),
        }
        match text(question, "verb")?.unwrap_or_default() {
            "status" => self.status(),
            "sessions" => self.sessions(question),
            "kill" => self.kill(question),
            "drain" => self.drain(question),
            "undrain" => self.undrain(),
            "reload" => self.reload(question),
            "upgrade" => self.upgrade(question),
            "log-level" => self.log_level(question),
            "top" => self.sampler.look(&self.operations, number(question, "most")?),
            other => {
                let text = format!(
                    "{other:?} is none of status, sessions, kill, drain, undrain, reload, upgrade, log-level, top"
                );
                Err(Problem::new("unknown_verb", text))
            }
        }
    }

    fn status(&self) -> Result<Value, Problem> {
        let operations = &self.operations;
        let started = operations.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let (listening, relays, ports, least) = operations.rulebook.read(|parts| {
            let addresses = &parts.addresses;
            let listening = addresses.listening.iter().map(ToString::to_string).collect::<Vec<_>>();
            let relays = addresses.relays.iter().map(|relay| {
                json!({ "address": relay.address.to_string(), "external": relay.advertised().to_string() })
            });
            let ports = [parts.settings.min_port, parts.settings.max_port];
            (
                listening,
                relays.collect::<Vec<_>>(),
                ports,
                parts.settings.administration.drain.least_allocations,
            )
        });
        let drain = operations.draining.progress().map(|progress| {
            json!({
                "left": progress.left().map(|left| left.as_secs_f64().ceil()),
                "allocations": progress.allocations,
                "atFirst": progress.at_first,
                "least": least,
            })
        });
        Ok(json!({
            "program": concat!("Turnpike ", env!("CARGO_PKG_VERSION")),
            "process": std::process::id(),
            "started": started,
            "uptime": operations.started.elapsed().unwrap_or_default().as_secs(),
            "stage": word_of(operations.stage.now()),
            "drain": drain,
            "workers": operations.workers.len(),
            "allocations": operations.allocations()?,
            "portsTaken": operations.ports.taken(),
            "relayPorts": ports,
            "listening": listening,
            "relays": relays,
            "logLevel": operations.log.min_level().word().to_ascii_lowercase(),
        }))
    }

    fn sessions(&self, question: &Value) -> Result<Value, Problem> {
        let page = self.operations.sessions(&filter(question)?, cursor(question)?)?;
        Ok(json!({
            "sessions": page.sessions.iter().map(|(worker, session)| row(*worker, session)).collect::<Vec<_>>(),
            "next": page.next.map(shown),
        }))
    }

    fn kill(&self, question: &Value) -> Result<Value, Problem> {
        let filter = rows::filter(question)?;
        if filter == (SessionFilter { with_peers: filter.with_peers, ..SessionFilter::default() }) {
            return Err(bad("say whose: a session, a user, a realm, an address or a transport".to_owned()));
        }
        let ended = self.operations.end_sessions(&filter)?;
        self.operations.log.info(&format!(
            "{} session(s) ended ({}, {})",
            ended.len(),
            self.who,
            in_words(&filter)
        ));
        let ids: Vec<String> = ended.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        Ok(json!({ "ended": ended.len(), "sessions": ids }))
    }

    fn drain(&self, question: &Value) -> Result<Value, Problem> {
        let timeout = number(question, "timeout")?.map(Duration::from_secs);
        self.operations.drain(Order { timeout, ends_process: false }, &self.who);
        self.status()
    }

    fn undrain(&self) -> Result<Value, Problem> {
        let ends = self.operations.draining.progress().is_some_and(|progress| progress.ends_process);
        if ends || self.operations.stage.now() == Serving::Stopping {
            let text = "the process was told to end (SIGTERM), and whoever told it waits for that";
            return Err(Problem::new("ending", text));
        }
        Ok(json!({ "wasDraining": self.operations.call_drain_off(&self.who) }))
    }

    /// What a reload came to, or would with `preview`.
    fn reload(&self, question: &Value) -> Result<Value, Problem> {
        let preview = question.get("preview").and_then(Value::as_bool).unwrap_or_default();
        let outcome =
            if preview { self.operations.preview_reload() } else { self.operations.reload(&self.who) };
        match outcome {
            Ok(outcome) => Ok(json!({ "text": outcome.to_string(), "outcome": outcome.json() })),
            Err(refused) => Err(Problem::new("reload", refused.problems.join("\n"))),
        }
    }

    /// Answers when another process has taken over, or when it is known why none does.
    fn upgrade(&self, question: &Value) -> Result<Value, Problem> {
        let program = text(question, "program")?.map(PathBuf::from);
        let (answer, outcome) = channel();
        let busy = || Problem::new("busy", "too much is asked of the server already, or it is ending");
        self.operations.requests.send(Request::Upgrade { program, answer }).map_err(|_| busy())?;
        match outcome.recv() {
            Ok(Ok(done)) => Ok(json!({ "upgraded": done })),
            Ok(Err(why)) => Err(Problem::new("upgrade", why)),
            Err(_) => Err(busy()),
        }
    }

    fn log_level(&self, question: &Value) -> Result<Value, Problem> {
        let log = &self.operations.log;
        let before = log.min_level();
        if let Some(wanted) = text(question, "level")? {
            let all = [Level::Debug, Level::Info, Level::Warning, Level::Error];
            let level = all.into_iter().find(|level| level.word().eq_ignore_ascii_case(wanted));
            let level =
                level.ok_or_else(|| bad(format!("{wanted:?} is none of debug, info, warning, error")))?;
            log.set_min_level(level);
            // Told at whichever of the two levels is written.
            let text = format!("log-min-level is {} now ({})", level.word().to_ascii_lowercase(), self.who);
            log.write(level.max(Level::Info), &text);
        }
        let word = |level: Level| level.word().to_ascii_lowercase();
        Ok(json!({ "level": word(log.min_level()), "before": word(before) }))
    }
}

fn word_of(serving: Serving) -> &'static str {
    match serving {
        Serving::Fully => "serving",
        Serving::Draining => "draining",
        Serving::Stopping => "stopping",
    }
}

/// Whose sessions were meant, for the log.
fn in_words(filter: &SessionFilter) -> String {
    let SessionFilter { id, user, user_prefix, realm, address, client_transport, with_peers: _ } = filter;
    let parts = [
        id.map(|id| format!("session {id}")),
        user.as_ref().map(|user| format!("user <{user}>")),
        user_prefix.as_ref().map(|prefix| format!("users <{prefix}…>")),
        realm.as_ref().map(|realm| format!("realm <{realm}>")),
        address.map(|address| format!("address {address}")),
        client_transport.map(|transport| format!("by {transport}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Sessions that were ended and are named in the answer.
const MOST_NAMED: usize = 256;
