//! Sessions in JSON, and what a question asks of them.

use std::net::IpAddr;

use serde_json::{Value, json};
use turnpike_turn::{PeerTransport, Session, SessionFilter, SessionId, Transport, Usage};

use super::answers::Problem;
use crate::visits::Cursor;

/// One session.
pub(super) fn row(worker: u16, session: &Session) -> Value {
    let Session { id, user, tuple, away, mobile, relayed, additional, transport, .. } = session;
    let relayed: Vec<String> =
        [Some(relayed), additional.as_ref()].into_iter().flatten().map(ToString::to_string).collect();
    let Usage { client_packets, client_bytes, peer_packets, peer_bytes, flow_packets, flow_bytes } =
        session.usage;
    json!({
        "id": id.to_string(),
        "user": user.name(),
        "realm": user.realm(),
        "transport": tuple.transport.to_string(),
        "client": tuple.client.to_string(),
        "server": tuple.server.to_string(),
        "relayed": relayed,
        "peerTransport": if *transport == PeerTransport::Tcp { "TCP" } else { "UDP" },
        "age": session.age.as_secs(),
        "expiresIn": session.left.as_secs(),
        "away": away,
        "mobile": mobile,
        "permissions": session.permissions,
        "channels": session.channels,
        "peers": session.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        // Where its bound channels are relayed; what comes otherwise passes through the worker in any case.
        "path": if session.flows > 0 { "kernel" } else { "user" },
        "maxBps": session.rate,
        "clientPackets": client_packets,
        "clientBytes": client_bytes,
        "peerPackets": peer_packets,
        "peerBytes": peer_bytes,
        "kernelPackets": flow_packets,
        "kernelBytes": flow_bytes,
        "worker": worker,
    })
}

/// Which sessions a question is about.
pub(super) fn filter(question: &Value) -> Result<SessionFilter, Problem> {
    let address = text(question, "address")?.map(|address| {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().map_err(|_| bad(format!("{address:?} is no IP address")))
    });
    let transport = text(question, "transport")?.map(|name| {
        let all = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Dtls];
        let found = all.into_iter().find(|transport| transport.to_string().eq_ignore_ascii_case(name));
        found.ok_or_else(|| bad(format!("{name:?} is none of udp, tcp, tls, dtls")))
    });
    let id = text(question, "session")?.map(|id| {
        SessionId::parse(id).ok_or_else(|| bad(format!("{id:?} is no session id, which has up to 18 digits")))
    });
    Ok(SessionFilter {
        id: id.transpose()?,
        user: text(question, "user")?.map(Into::into),
        user_prefix: text(question, "userPrefix")?.map(Into::into),
        realm: text(question, "realm")?.map(Into::into),
        address: address.transpose()?,
        client_transport: transport.transpose()?,
        with_peers: question.get("peers").and_then(Value::as_bool).unwrap_or_default(),
    })
}

/// Where the page begins that is asked for.
pub(super) fn cursor(question: &Value) -> Result<Cursor, Problem> {
    let Some(text) = text(question, "from")? else { return Ok(Cursor::default()) };
    let read = text.split_once(':').and_then(|(worker, place)| {
        Some(Cursor { worker: worker.parse().ok()?, place: place.parse().ok()? })
    });
    read.ok_or_else(|| bad(format!("{text:?} is not what an answer said as `next`")))
}

pub(super) fn shown(cursor: Cursor) -> String {
    format!("{}:{}", cursor.worker, cursor.place)
}

/// A text of a question, if it is there.
pub(super) fn text<'q>(question: &'q Value, name: &str) -> Result<Option<&'q str>, Problem> {
    match question.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(bad(format!("{name} must be a text"))),
    }
}

/// A number of a question, if it is there.
pub(super) fn number(question: &Value, name: &str) -> Result<Option<u64>, Problem> {
    match question.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_u64().map(Some).ok_or_else(|| bad(format!("{name} must be a number, zero or more")))
        }
    }
}

pub(super) fn bad(text: String) -> Problem {
    Problem::new("bad_request", text)
}
