//! Records of sessions: one for each allocation that ended, for billing and statistics, to whoever keeps them.
//!
//! Invariants: nobody waits for a keeper. Each has a bounded queue and a thread of its own; what does not fit is lost,
//! counted, and said when the keeper takes records again. A record may come twice where an answer was lost, always with
//! the same id.

mod database;
mod file;
mod keeper;
mod webhook;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use turnpike_turn::{EndCause, Event, FiveTuple, SessionId, Usage};

pub use database::DatabaseKeeper;
pub(crate) use database::runtime;
pub use file::FileKeeper;
use keeper::KeeperThread;
pub use keeper::{Failure, Keeper, KeeperCounters};
pub use webhook::WebhookKeeper;

use crate::log::{Log, Value, quoted};
use crate::reports::Watcher;
use crate::session_entries::path;
use crate::vocabulary::vocabulary;

vocabulary! {
    /// What a record says, in this order; the same names in JSON and as columns.
    RecordField {
        Id = "id", "the record's name, unlike any other's: add it once, however often it comes";
        Host = "host", "the name of the server's host";
        Session = "session", "the session's number in the log, 18 digits";
        Realm = "realm", "the realm";
        Username = "username", "the username, whole; of a session by access token its kid";
        Account = "account", "the part of a REST username that stays the same from one credential to the next; else the username";
        Client = "client", "the client's address and port, as the server saw it last";
        Server = "server", "the address and port it sent to";
        Transport = "transport", "what it came by: UDP, TCP, TLS or DTLS";
        Relayed = "relayed", "the relayed transport address, as the client was told it; of two the one that ended last";
        Started = "started", "when the allocation was made: UTC, such as 2026-11-24T10:20:30.500Z";
        Ended = "ended", "when it ended, likewise";
        Duration = "duration", "seconds between the two";
        Reason = "reason", "why it ended: `deleted` by its client, `expired`, `disconnected` (its TCP or TLS connection ended), `dissociated` (its DTLS association ended), `shutdown` (the server ended), `killed` by an operator, or `lost` (its socket could not be taken over)";
        Path = "path", "who relayed: `server`, `kernel`, or `both`";
        ClientPackets = "client_packets", "packets from the client that were relayed to peers";
        ClientBytes = "client_bytes", "their bytes: application data, headers of TURN excluded";
        PeerPackets = "peer_packets", "packets from peers that were relayed to the client";
        PeerBytes = "peer_bytes", "their bytes, likewise";
        KernelPackets = "kernel_packets", "of all these packets, those that the kernel relayed";
        KernelBytes = "kernel_bytes", "their bytes";
    }
}

/// What is kept of a session that ended: a value for each [`RecordField`], in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord(Vec<Value>);

/// Makes records of reports and hands them to those who keep them.
#[derive(Debug)]
pub struct Records {
    host: String,
    /// What tells this process's sessions from those of others with the same numbers.
    instance: String,
    keepers: Vec<KeeperThread>,
    log: Arc<Log>,
}

impl Records {
    /// Starts a thread for each keeper. `instance` is unlike that of any other process.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        (host, instance): (String, String),
        keepers: Vec<Box<dyn Keeper>>,
        log: &Arc<Log>,
    ) -> std::io::Result<Self> {
        let start = |keeper| KeeperThread::start(keeper, log.clone());
        let keepers = keepers.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Records { host, instance, keepers, log: log.clone() })
    }

    /// What became of the records of each keeper.
    pub fn counters(&self) -> Vec<Arc<KeeperCounters>> {
        self.keepers.iter().map(KeeperThread::counters).collect()
    }
}

impl Watcher for Records {
    fn see(&mut self, event: &Event) {
        let Event::Ended { session, user, tuple, relayed, cause, duration, usage } = event else { return };
        let end = Ending {
            session: *session,
            who: (user.realm(), user.name(), user.account()),
            tuple,
            relayed: relayed.to_string(),
            cause: *cause,
            ended: SystemTime::now(),
            duration: *duration,
            usage,
        };
        let record = Arc::new(end.record(&self.host, &self.instance));
        self.keepers.iter().for_each(|keeper| keeper.hand_over(record.clone()));
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        keeper::close(&mut self.keepers, &self.log);
    }
}

impl SessionRecord {
    /// As a JSON object.
    pub fn write_json(&self, out: &mut String) {
        for (number, (field, value)) in RecordField::ALL.iter().zip(&self.0).enumerate() {
            out.push_str(if number == 0 { "{\"" } else { ",\"" });
            out.push_str(field.word());
            out.push_str("\":");
            match value {
                Value::Text(text) => quoted(text, out),
                Value::Number(number) => out.push_str(&number.to_string()),
            }
        }
        out.push('}');
    }

    /// Its values, in the order of [`RecordField::ALL`].
    pub(crate) fn values(&self) -> &[Value] {
        &self.0
    }
}

/// How a session ended.
struct Ending<'e> {
    session: SessionId,
    /// Realm, name and account.
    who: (&'e str, &'e str, &'e str),
    tuple: &'e FiveTuple,
    relayed: String,
    cause: EndCause,
    ended: SystemTime,
    duration: Duration,
    usage: &'e Usage,
}

impl Ending<'_> {
    fn record(&self, host: &str, instance: &str) -> SessionRecord {
        let Ending { session, who: (realm, name, account), tuple, cause, ended, duration, usage, .. } = self;
        let value = |field: RecordField| -> Value {
            match field {
                RecordField::Id => format!("{instance}-{session}").into(),
                RecordField::Host => host.into(),
                RecordField::Session => session.to_string().into(),
                RecordField::Realm => (*realm).into(),
                RecordField::Username => (*name).into(),
                RecordField::Account => (*account).into(),
                RecordField::Client => tuple.client.into(),
                RecordField::Server => tuple.server.into(),
                RecordField::Transport => tuple.transport.to_string().into(),
                RecordField::Relayed => self.relayed.as_str().into(),
                RecordField::Started => time(ended.checked_sub(*duration).unwrap_or(*ended)).into(),
                RecordField::Ended => time(*ended).into(),
                RecordField::Duration => duration.as_secs().into(),
                RecordField::Reason => cause.code().into(),
                RecordField::Path => path(usage).into(),
                RecordField::ClientPackets => usage.client_packets.into(),
                RecordField::ClientBytes => usage.client_bytes.into(),
                RecordField::PeerPackets => usage.peer_packets.into(),
                RecordField::PeerBytes => usage.peer_bytes.into(),
                RecordField::KernelPackets => usage.flow_packets.into(),
                RecordField::KernelBytes => usage.flow_bytes.into(),
            }
        };
        SessionRecord(RecordField::ALL.iter().map(|field| value(*field)).collect())
    }
}

fn time(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%FT%T%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::documented;
    use std::time::UNIX_EPOCH;
    use turnpike_turn::Transport;

    #[test]
    fn the_documentation_has_exactly_these_fields() {
        let page = include_str!("../../../docs/session-records.md");
        let fields: Vec<_> = RecordField::ALL.iter().map(|it| (it.word(), it.meaning())).collect();
        assert_eq!(documented(page, "Fields"), fields);
    }

    #[test]
    fn every_schema_has_exactly_these_columns_in_this_order() {
        let words: Vec<&str> = RecordField::ALL.iter().map(|field| field.word()).collect();
        for schema in [
            include_str!("../../../deploy/session-records/sqlite.sql"),
            include_str!("../../../deploy/session-records/postgresql.sql"),
            include_str!("../../../deploy/session-records/mysql.sql"),
        ] {
            let columns: Vec<&str> = schema
                .lines()
                .filter(|line| line.starts_with("    ") && !line.contains("INDEX"))
                .filter_map(|line| line.split_whitespace().next())
                .collect();
            assert_eq!(columns, words);
        }
    }

    #[test]
    fn a_record_says_who_when_and_how_much() {
        let tuple = FiveTuple {
            transport: Transport::Tls,
            server: "192.0.2.1:5349".parse().unwrap(),
            client: "[2001:db8::7]:5000".parse().unwrap(),
        };
        let usage = Usage { client_packets: 3, client_bytes: 300, flow_packets: 1, ..Usage::default() };
        let end = Ending {
            session: SessionId::new(1, 5),
            who: ("example.org", "9:alice", "alice"),
            tuple: &tuple,
            relayed: "192.0.2.1:49152".into(),
            cause: EndCause::Expired,
            ended: UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
            duration: Duration::from_millis(90_750),
            usage: &usage,
        };
        let mut json = String::new();
        end.record("host", "abc").write_json(&mut json);
        assert_eq!(
            json,
            "{\"id\":\"abc-001000000000000005\",\"host\":\"host\",\"session\":\"001000000000000005\",\
             \"realm\":\"example.org\",\"username\":\"9:alice\",\"account\":\"alice\",\"client\":\"[2001:db8::7]:5000\",\
             \"server\":\"192.0.2.1:5349\",\"transport\":\"TLS\",\"relayed\":\"192.0.2.1:49152\",\
             \"started\":\"2023-11-14T22:11:49.500Z\",\"ended\":\"2023-11-14T22:13:20.250Z\",\"duration\":90,\
             \"reason\":\"expired\",\"path\":\"both\",\"client_packets\":3,\"client_bytes\":300,\
             \"peer_packets\":0,\"peer_bytes\":0,\"kernel_packets\":1,\"kernel_bytes\":0}"
        );
    }
}
