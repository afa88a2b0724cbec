//! What the log's structured formats say of sessions: one record for each event, with its fields.

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_turn::{Event, FiveTuple, Reason, SessionId, Usage, User};
use turnpike_wire::{ErrorNumber, Method};

use crate::log::{Entry, EventName, Field, LogFormat, Value};
use crate::session_lines::{Line, line_of};

type Fields = Vec<(Field, Value)>;

/// The records for an event, and whether strangers can cause them in any number. `realm` is the server's. coturn's form
/// has its lines, of which the last one, the event's own, bears the fields for those who read them beside the text.
pub(crate) fn entries_of(event: &Event, realm: &str, format: LogFormat) -> Vec<(Entry, bool)> {
    let lines = line_of(event, realm);
    let (event, fields) = told(event, realm);
    let last = lines.len().saturating_sub(1);
    let entry = |(number, line): (usize, Line)| {
        let entry = if number == last {
            Entry { level: line.level, event, message: line.text, fields: fields.clone() }
        } else {
            Entry::message(line.level, &line.text)
        };
        (entry, line.limited)
    };
    let skipped = if format == LogFormat::Coturn { 0 } else { last };
    lines.into_iter().enumerate().skip(skipped).map(entry).collect()
}

/// The event's name and fields.
fn told(event: &Event, realm: &str) -> (EventName, Fields) {
    match event {
        Event::Allocated { session, user, tuple, relayed, additional, lifetime, security, .. } => {
            let mut fields = of_session(*session, Some(user));
            fields.extend(of_tuple(tuple));
            fields.push((Field::Relayed, (*relayed).into()));
            fields.extend(additional.map(|address| (Field::AdditionalRelayed, address.into())));
            fields.push((Field::Lifetime, lifetime.as_secs().into()));
            if let Some(security) = security {
                fields.push((Field::TlsVersion, security.version.into()));
                fields.push((Field::Cipher, security.cipher.into()));
            }
            (EventName::SessionStarted, fields)
        }
        Event::Refreshed { session, user, lifetime } => {
            let mut fields = of_session(*session, Some(user));
            fields.push((Field::Lifetime, lifetime.as_secs().into()));
            (EventName::SessionRefreshed, fields)
        }
        Event::Moved { session, user, from, to, .. } => {
            let mut fields = of_session(*session, Some(user));
            fields.extend(of_tuple(to));
            fields.push((Field::FromClient, from.client.into()));
            fields.push((Field::FromTransport, from.transport.to_string().into()));
            (EventName::SessionMoved, fields)
        }
        Event::Disconnected { session, user, tuple } => {
            let mut fields = of_session(*session, Some(user));
            fields.extend(of_tuple(tuple));
            (EventName::SessionDisconnected, fields)
        }
        Event::RelayEnded { session, user, relayed, cause } => {
            let mut fields = of_session(*session, Some(user));
            fields.extend([(Field::Relayed, (*relayed).into()), (Field::Reason, cause.code().into())]);
            (EventName::RelayEnded, fields)
        }
        Event::Ended { session, user, tuple, relayed, cause, duration, usage } => {
            let mut fields = of_session(*session, Some(user));
            fields.extend(of_tuple(tuple));
            fields.extend([(Field::Relayed, (*relayed).into()), (Field::Reason, cause.code().into())]);
            fields.extend(of_usage(*duration, usage));
            (EventName::SessionEnded, fields)
        }
        _ => told_of_requests(event, realm),
    }
}

fn told_of_requests(event: &Event, realm: &str) -> (EventName, Fields) {
    match event {
        Event::PermissionGranted { session, peer, lifetime } => {
            let mut fields = of_session(*session, None);
            fields.extend([(Field::Peer, (*peer).into()), (Field::Lifetime, lifetime.as_secs().into())]);
            (EventName::PermissionGranted, fields)
        }
        Event::PermissionExpired { session, peer } => {
            let mut fields = of_session(*session, None);
            fields.push((Field::Peer, (*peer).into()));
            (EventName::PermissionExpired, fields)
        }
        Event::ChannelBound { session, channel, peer } => {
            let mut fields = of_session(*session, None);
            fields.push((Field::Channel, format!("0x{channel:04x}").into()));
            fields.push((Field::Peer, (*peer).into()));
            (EventName::ChannelBound, fields)
        }
        Event::Processed { tuple, session, user, method, refusal } => {
            processed(tuple, (*session, user.as_deref()), *method, *refusal, realm)
        }
        Event::AuthenticationFailed { tuple, username, reason, expired_since } => {
            let mut fields: Fields = vec![(Field::User, (**username).into())];
            fields.extend(of_tuple(tuple));
            fields.push((Field::Reason, reason.code().into()));
            fields.extend(expired_since.map(|since| (Field::Expired, since.as_secs().into())));
            (EventName::AuthenticationFailed, fields)
        }
        Event::PeerRefused { tuple, session, peer, rule } => {
            let mut fields = of_session(*session, None);
            fields.extend(of_tuple(tuple));
            fields.extend([
                (Field::Peer, (*peer).into()),
                (Field::Rule, (*rule).into()),
                (Field::Reason, Reason::PeerRefused.code().into()),
            ]);
            (EventName::PeerRefused, fields)
        }
        Event::ProxyRefused { source, transport, reason } => {
            (EventName::ProxyRefused, refused_proxy(*source, transport.to_string(), *reason))
        }
        Event::SourceLimited { source } => (
            EventName::SourceLimited,
            vec![(Field::Client, (*source).into()), (Field::Reason, Reason::RateLimited.code().into())],
        ),
        // Those of sessions' lives were told of above.
        _ => (EventName::Message, Fields::new()),
    }
}

fn processed(
    tuple: &FiveTuple,
    (session, user): (Option<SessionId>, Option<&User>),
    method: Method,
    refusal: Option<(ErrorNumber, Reason)>,
    realm: &str,
) -> (EventName, Fields) {
    let mut fields: Fields = match session {
        Some(session) => vec![(Field::Session, session.to_string().into())],
        None => Fields::new(),
    };
    fields.push((Field::Realm, user.map_or(realm, User::realm).into()));
    fields.extend(user.map(|user| (Field::User, user.name().into())));
    fields.extend(of_tuple(tuple));
    fields.push((Field::Method, method.name().unwrap_or("unknown").into()));
    let Some((number, reason)) = refusal else { return (EventName::Request, fields) };
    fields.push((Field::Code, u64::from(number.number()).into()));
    fields.push((Field::Reason, reason.code().into()));
    (EventName::RequestRefused, fields)
}

fn refused_proxy(source: SocketAddr, transport: String, reason: Reason) -> Fields {
    vec![
        (Field::Client, source.into()),
        (Field::Transport, transport.into()),
        (Field::Reason, reason.code().into()),
    ]
}

fn of_session(session: SessionId, user: Option<&User>) -> Fields {
    let mut fields = vec![(Field::Session, session.to_string().into())];
    if let Some(user) = user {
        fields.push((Field::Realm, user.realm().into()));
        fields.push((Field::User, user.name().into()));
    }
    fields
}

fn of_tuple(tuple: &FiveTuple) -> [(Field, Value); 3] {
    [
        (Field::Client, tuple.client.into()),
        (Field::Server, tuple.server.into()),
        (Field::Transport, tuple.transport.to_string().into()),
    ]
}

fn of_usage(duration: Duration, usage: &Usage) -> [(Field, Value); 8] {
    [
        (Field::Duration, duration.as_secs().into()),
        (Field::ClientPackets, usage.client_packets.into()),
        (Field::ClientBytes, usage.client_bytes.into()),
        (Field::PeerPackets, usage.peer_packets.into()),
        (Field::PeerBytes, usage.peer_bytes.into()),
        (Field::Path, path(usage).into()),
        (Field::KernelPackets, usage.flow_packets.into()),
        (Field::KernelBytes, usage.flow_bytes.into()),
    ]
}

/// Who relayed a session's packets.
pub(crate) fn path(usage: &Usage) -> &'static str {
    match usage.flow_packets {
        0 => "server",
        all if all >= usage.client_packets + usage.peer_packets => "kernel",
        _ => "both",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;
    use turnpike_turn::Transport;

    fn refused_peer() -> Event {
        let tuple = FiveTuple {
            transport: Transport::Udp,
            server: "192.0.2.1:3478".parse().unwrap(),
            client: "198.51.100.7:5000".parse().unwrap(),
        };
        let (session, peer) = (SessionId::new(1, 5), [10, 0, 0, 9].into());
        Event::PeerRefused { tuple, session, peer, rule: "private" }
    }

    #[test]
    fn the_fields_of_a_refusal_name_client_peer_and_reason() {
        let entries = entries_of(&refused_peer(), "example.org", LogFormat::Json);
        let [(entry, true)] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((entry.level, entry.event), (Level::Warning, EventName::PeerRefused));
        let told: Vec<(&str, &Value)> =
            entry.fields.iter().map(|(field, value)| (field.word(), value)).collect();
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(
            told,
            [
                ("session", &text("001000000000000005")),
                ("client", &text("198.51.100.7:5000")),
                ("server", &text("192.0.2.1:3478")),
                ("transport", &text("UDP")),
                ("peer", &text("10.0.0.9")),
                ("rule", &text("private")),
                ("reason", &text("peer_refused")),
            ]
        );
    }

    #[test]
    fn coturns_form_keeps_coturns_words() {
        let entries = entries_of(&refused_peer(), "example.org", LogFormat::Coturn);
        let lines = line_of(&refused_peer(), "example.org");
        assert_eq!(entries.len(), lines.len());
        assert_eq!(entries[0].0.message, lines[0].text);
    }

    #[test]
    fn the_path_tells_who_relayed() {
        let usage =
            |flow_packets| Usage { client_packets: 3, peer_packets: 4, flow_packets, ..Usage::default() };
        assert_eq!([path(&usage(0)), path(&usage(5)), path(&usage(7))], ["server", "both", "kernel"]);
    }
}
