//! A session as Redis knows it: coturn's key names and the words of its messages.

use std::time::{Duration, Instant};

use turnpike_store::StatusCommand;
use turnpike_turn::{FiveTuple, Security, SessionId, Transport, Usage, User};

#[derive(Debug)]
pub(super) struct Session {
    /// What all its keys and channels begin with.
    prefix: String,
    transport: Transport,
    security: Option<Security>,
    local: String,
    remote: String,
    /// What its key holds, and until when.
    status: Option<(String, Instant)>,
    /// What was told of.
    reported: Usage,
    /// What it has relayed, as far as this round says.
    counted: Usage,
    /// The round in which it was seen last.
    seen: u64,
}

impl Session {
    pub(super) fn new(session: SessionId, user: &User, tuple: &FiveTuple, round: u64) -> Self {
        let (realm, name) = (user.realm(), user.name());
        let prefix = if realm.is_empty() {
            format!("turn/user/{name}/allocation/{session}")
        } else {
            format!("turn/realm/{realm}/user/{name}/allocation/{session}")
        };
        Session {
            prefix,
            transport: tuple.transport,
            security: None,
            local: tuple.server.to_string(),
            remote: tuple.client.to_string(),
            status: None,
            reported: Usage::default(),
            counted: Usage::default(),
            // It may have missed the page that it would have been on.
            seen: round + 1,
        }
    }

    pub(super) fn secured(mut self, security: Option<Security>) -> Self {
        self.security = security;
        self
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn move_to(&mut self, tuple: &FiveTuple) {
        if self.transport != tuple.transport || self.remote != tuple.client.to_string() {
            self.security = None;
        }
        self.transport = tuple.transport;
        self.local = tuple.server.to_string();
        self.remote = tuple.client.to_string();
    }

    pub(super) fn tell_status(&mut self, word: &str, lifetime: Duration, commands: &mut Vec<StatusCommand>) {
        let value = self.note_status(word, lifetime);
        let (key, seconds) = (self.key(), (lifetime + GRACE).as_secs());
        commands.push(StatusCommand::Set { key: key.clone(), value: value.clone(), seconds });
        commands.push(StatusCommand::Publish { channel: key, message: value });
    }

    /// Makes its status what will be kept, and returns it.
    pub(super) fn note_status(&mut self, word: &str, lifetime: Duration) -> String {
        let (kind, otherwise) = match self.transport {
            Transport::Udp => ("UDP", "NONE"),
            Transport::Tcp => ("TCP", "NONE"),
            Transport::Tls => ("TLS/TCP", "UNKNOWN"),
            Transport::Dtls => ("DTLS", "UNKNOWN"),
        };
        let Security { version, cipher } =
            self.security.unwrap_or(Security { version: otherwise, cipher: otherwise });
        let value = format!(
            "{word} lifetime={}, type={kind}, local={}, remote={}, ssl={version}, cipher={cipher}",
            lifetime.as_secs(),
            self.local,
            self.remote,
        );
        self.status = Some((value.clone(), Instant::now() + lifetime + GRACE));
        value
    }

    /// The key as it should be, for a Redis that has lost it.
    pub(super) fn kept(&self) -> Option<StatusCommand> {
        let (value, until) = self.status.as_ref()?;
        let seconds = until.saturating_duration_since(Instant::now()).as_secs();
        let set = || StatusCommand::Set { key: self.key(), value: value.clone(), seconds };
        (seconds > 0).then(set)
    }

    /// Notes what it has relayed.
    pub(super) fn count(&mut self, usage: Usage, round: u64) {
        self.seen = round;
        self.counted = usage;
    }

    /// What it has relayed so far was told by another process, as far as anybody did.
    pub(super) fn take_as_told(&mut self) {
        self.reported = self.counted;
    }

    /// Tells of what was relayed since it was last told of, if it is as much as coturn thinks worth telling.
    pub(super) fn tell_traffic(&mut self, commands: &mut Vec<StatusCommand>) {
        let new = combined(&self.counted, &self.reported, u64::saturating_sub);
        if new.client_packets + new.peer_packets >= WORTH_TELLING {
            self.publish_traffic("traffic", &new, commands);
            self.reported = self.counted;
        }
    }

    /// Tells of its end and everything it relayed.
    pub(super) fn tell_end(&self, usage: &Usage, commands: &mut Vec<StatusCommand>) {
        self.publish_traffic("traffic", &combined(usage, &self.reported, u64::saturating_sub), commands);
        commands.push(StatusCommand::Delete { key: self.key() });
        commands.push(StatusCommand::Publish { channel: self.key(), message: "deleted".into() });
        self.publish_traffic("total_traffic", usage, commands);
    }

    fn publish_traffic(&self, what: &str, usage: &Usage, commands: &mut Vec<StatusCommand>) {
        let Usage { client_packets, client_bytes, peer_packets, peer_bytes, .. } = usage;
        let channel = format!("{}/{what}", self.prefix);
        let of_client =
            format!("rcvp={client_packets}, rcvb={client_bytes}, sentp={peer_packets}, sentb={peer_bytes}");
        let of_peers =
            format!("rcvp={peer_packets}, rcvb={peer_bytes}, sentp={client_packets}, sentb={client_bytes}");
        commands.push(StatusCommand::Publish { channel: channel.clone(), message: of_client });
        commands.push(StatusCommand::Publish { channel: format!("{channel}/peer"), message: of_peers });
    }

    fn key(&self) -> String {
        format!("{}/status", self.prefix)
    }
}

/// The client's side of a session in the value of its key: `local=192.0.2.1:3478`.
pub(super) fn local_of(value: &str) -> Option<&str> {
    value.split(", ").find_map(|pair| pair.strip_prefix("local="))
}

fn combined(one: &Usage, other: &Usage, with: impl Fn(u64, u64) -> u64) -> Usage {
    Usage {
        client_packets: with(one.client_packets, other.client_packets),
        client_bytes: with(one.client_bytes, other.client_bytes),
        peer_packets: with(one.peer_packets, other.peer_packets),
        peer_bytes: with(one.peer_bytes, other.peer_bytes),
        flow_packets: with(one.flow_packets, other.flow_packets),
        flow_bytes: with(one.flow_bytes, other.flow_bytes),
    }
}

/// So many packets are told of at once, as by coturn.
const WORTH_TELLING: u64 = 4096;
/// How long a key outlives its session's lifetime where nobody has removed it, as when this server was killed.
const GRACE: Duration = Duration::from_secs(60);
