//! The other end of the control socket.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};

use crate::control::{VERSION, places_to_look};

/// A connection with a running server.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
}

/// Why a question was not answered.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The connection is at its end.
    Gone(io::Error),
    /// What came is no answer.
    Strange(String),
    /// The server says why not.
    Refused { code: String, text: String },
}

impl Connection {
    /// Finds the server: at this path, or where servers put their sockets.
    pub(super) fn open(named: Option<&str>) -> anyhow::Result<Self> {
        let places = named.map_or_else(places_to_look, |path| vec![PathBuf::from(path)]);
        let mut tried = Vec::new();
        for place in &places {
            match connect(place) {
                Ok(stream) => return Ok(Connection { stream }),
                Err(error) => tried.push((place, error)),
            }
        }
        // One that is there and refuses says more than those that are not there.
        let there = tried.iter().find(|(_, error)| error.kind() != io::ErrorKind::NotFound);
        match there {
            Some((place, error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                bail!("{}: only root and the server's own user may speak with it; try sudo", place.display())
            }
            Some((place, error)) => bail!("no server answers at {}: {error}", place.display()),
            None => {
                let all: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
                bail!(
                    "no running server is found: there is no {}; name its socket with --control-socket (the server's log \
                     says at start where it is)",
                    all.join(" and no ")
                )
            }
        }
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&mut self, question: &Value) -> anyhow::Result<Value> {
        Ok(self.try_ask(question)?)
    }

    /// How long each answer may take from here on.
    pub(super) fn wait_for(&mut self, patience: Duration) -> anyhow::Result<()> {
        Ok(self.stream.get_ref().set_read_timeout(Some(patience))?)
    }

    pub(super) fn try_ask(&mut self, question: &Value) -> Result<Value, Unanswered> {
        let mut question = question.clone();
        question["version"] = json!(VERSION);
        let line = format!("{question}\n");
        // One that was refused has its answer waiting, though the server reads nothing any more.
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        let mut answer = Vec::new();
        let read = self.stream.by_ref().take(LONGEST_ANSWER).read_until(b'\n', &mut answer);
        match (sent, read) {
            (_, Ok(1..)) => {}
            (Err(error), _) | (_, Err(error)) => return Err(Unanswered::Gone(error)),
            (_, Ok(0)) => return Err(Unanswered::Gone(io::ErrorKind::UnexpectedEof.into())),
        }
        let mut answer: Value =
            serde_json::from_slice(&answer).map_err(|error| Unanswered::Strange(error.to_string()))?;
        if let Some(error) = answer.get("error") {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            return Err(Unanswered::Refused { code: text("code"), text: text("text") });
        }
        Ok(answer["answer"].take())
    }
}

fn connect(path: &Path) -> io::Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(BufReader::new(stream))
}

impl Unanswered {
    /// Whether the server is there no more.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Unanswered::Gone(error) => error.kind() != io::ErrorKind::WouldBlock,
            Unanswered::Refused { .. } | Unanswered::Strange(_) => false,
        }
    }

    /// Whether the next try may be answered.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Unanswered::Refused { code, .. } if code == "busy")
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unanswered::Gone(error) if error.kind() == io::ErrorKind::WouldBlock => {
                write!(formatter, "the server did not answer within {} seconds", PATIENCE.as_secs())
            }
            Unanswered::Gone(error) => write!(formatter, "the server has closed the connection: {error}"),
            Unanswered::Strange(what) => {
                write!(formatter, "what answers there is no Turnpike server: {what}")
            }
            Unanswered::Refused { text, .. } => formatter.write_str(text),
        }
    }
}

impl std::error::Error for Unanswered {}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A page of sessions with all their peers is a quarter of it.
const LONGEST_ANSWER: u64 = 4 << 20;
