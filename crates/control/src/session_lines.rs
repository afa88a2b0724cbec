//! What the log says of sessions: coturn's words where people parse them, with the client's address and the
//! reason added.

use std::net::SocketAddr;
use std::time::Duration;

use turnpike_turn::peer_rule::{NO_MULTICAST, UNSPECIFIED};
use turnpike_turn::{Event, FiveTuple, Reason, SessionId, Transport, Usage, User};
use turnpike_wire::{ErrorNumber, Method};

use crate::log::Level;
use crate::words::in_words;

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its text.
    pub text: String,
    /// Whether strangers can cause it in any number, as with refusals; only so many of those are written.
    pub limited: bool,
}

/// The lines for an event. `realm` is the server's.
pub fn line_of(event: &Event, realm: &str) -> Vec<Line> {
    match event {
        Event::Allocated { session, user, tuple, relayed, additional, lifetime, security, .. } => {
            // In coturn's order.
            let secured = security.map(|it| format!(", cipher={}, method={}", it.cipher, it.version));
            let secured = secured.unwrap_or_default();
            let additional = additional.map(|address| format!(" and {address}")).unwrap_or_default();
            vec![info(format!(
                "session {session}: new, {}, lifetime={}{secured}, client {}, server {}, relay {relayed}{additional}, transport {}",
                named(user),
                lifetime.as_secs(),
                tuple.client,
                tuple.server,
                tuple.transport
            ))]
        }
        Event::Refreshed { session, user, lifetime } => {
            vec![info(format!(
                "session {session}: refreshed, {}, lifetime={}",
                named(user),
                lifetime.as_secs()
            ))]
        }
        Event::Moved { session, user, from, to, superseded } => {
            moved(*session, user, (from, to), *superseded)
        }
        Event::Disconnected { session, user, tuple } => vec![info(format!(
            "session {session}: connection of {} ended, {}, kept for its mobility ticket",
            tuple.client,
            named(user)
        ))],
        Event::RelayEnded { session, user, relayed, cause } => {
            let (named, cause) = (named(user), cause.phrase());
            vec![info(format!("session {session}: relay {relayed} closed, {named}, reason: {cause}"))]
        }
        Event::Ended { session, user, tuple, cause, usage, duration, .. } => {
            ended(*session, user, tuple, cause.phrase(), usage, *duration)
        }
        Event::PermissionGranted { session, peer, lifetime } => {
            vec![info(format!("session {session}: peer {peer} lifetime updated: {}", lifetime.as_secs()))]
        }
        Event::PermissionExpired { session, peer } => {
            vec![info(format!("session {session}: peer {peer} deleted"))]
        }
        Event::ChannelBound { session, channel, peer } => {
            vec![info(format!("session {session}: channel 0x{channel:04x} bound to peer {peer}"))]
        }
        Event::Processed { tuple, session, user, method, refusal } => {
            vec![processed(tuple, *session, user.as_deref(), *method, *refusal, realm)]
        }
        Event::AuthenticationFailed { tuple, username, reason, expired_since } => {
            vec![authentication_failed(tuple, username, *reason, *expired_since)]
        }
        Event::PeerRefused { tuple, session, peer, rule } => {
            let remedy = if *rule == UNSPECIFIED || *rule == NO_MULTICAST {
                String::new()
            } else {
                format!("; to open it: allowed-peer-ip={peer}")
            };
            vec![refusal(format!(
                "session {session}: A peer IP {peer} denied in the range: {rule} (client {}){remedy}",
                tuple.client
            ))]
        }
        Event::ProxyRefused { source, transport, reason } => {
            vec![refusal(proxy_refused(source, *transport, *reason))]
        }
        Event::SourceLimited { source } => vec![refusal(format!(
            "401 rate-limit exceeded from {source}, suppressing responses for this window"
        ))],
    }
}

fn proxy_refused(source: &SocketAddr, transport: Transport, reason: Reason) -> String {
    let (code, carrier) = (reason.code(), if transport.is_stream() { "connection" } else { "datagram" });
    match reason {
        Reason::UntrustedProxy => format!(
            "{transport} {carrier} from {source} refused on tcp-proxy-port; if it is a proxy of yours: proxy-from={} (reason: {code})",
            source.ip()
        ),
        _ => format!(
            "{transport} {carrier} from the proxy {source} refused: it needs a header of the PROXY protocol (reason: {code})"
        ),
    }
}

/// coturn's words, for what it does and for whom scripts count.
fn moved(
    session: SessionId,
    user: &User,
    (from, to): (&FiveTuple, &FiveTuple),
    superseded: bool,
) -> Vec<Line> {
    let named = named(user);
    let before = superseded.then(|| {
        info(format!(
            "session {session}: the 5-tuple before {} is given up, {named}, reason: superseded by newer mobility resume",
            from.client
        ))
    });
    let handoff = info(format!(
        "session {session}: mobility handoff completed, {named}, from {} {} to {} {}",
        from.transport, from.client, to.transport, to.client
    ));
    before.into_iter().chain([handoff]).collect()
}

fn ended(
    session: SessionId,
    user: &User,
    tuple: &FiveTuple,
    cause: &str,
    usage: &Usage,
    duration: Duration,
) -> Vec<Line> {
    let named = named(user);
    let Usage { client_packets, client_bytes, peer_packets, peer_bytes, flow_packets, flow_bytes } = usage;
    // Ours, and only where it says something: scripts know coturn's lines.
    let path = (*flow_packets > 0).then(|| {
        let (packets, bytes) = (client_packets + peer_packets, client_bytes + peer_bytes);
        info(format!(
            "session {session}: path: kernel, {named}, {flow_packets} of {packets} packets, {flow_bytes} of {bytes} bytes"
        ))
    });
    let lines = [
        info(format!(
            "session {session}: usage: {named}, rp={client_packets}, rb={client_bytes}, sp={peer_packets}, sb={peer_bytes}"
        )),
        info(format!(
            "session {session}: peer usage: {named}, rp={peer_packets}, rb={peer_bytes}, sp={client_packets}, sb={client_bytes}"
        )),
        info(format!("session {session}: delete: {named}")),
        info(format!(
            "session {session}: closed (2nd stage), user <{}> realm <{}> origin <>, local {}, remote {}, reason: {cause}, after {} s",
            user.name(),
            user.realm(),
            tuple.server,
            tuple.client,
            duration.as_secs()
        )),
    ];
    path.into_iter().chain(lines).collect()
}

fn processed(
    tuple: &FiveTuple,
    session: Option<SessionId>,
    user: Option<&User>,
    method: Method,
    refused: Option<(ErrorNumber, Reason)>,
    realm: &str,
) -> Line {
    let session = session.map_or_else(|| "-".to_owned(), |session| session.to_string());
    let (realm, name) = user.map_or((realm, ""), |user| (user.realm(), user.name()));
    let is_binding = method == Method::BINDING;
    let method = method.name().unwrap_or("message");
    let outcome = match refused {
        None => format!("success, client {}", tuple.client),
        Some((number, reason)) => format!(
            "error {}: {} (client {}, reason: {})",
            number.number(),
            number.reason(),
            tuple.client,
            reason.code()
        ),
    };
    let text = format!(
        "session {session}: realm <{realm}> user <{name}>: incoming packet {method} processed, {outcome}"
    );
    Line { limited: refused.is_some() || is_binding, ..info(text) }
}

fn authentication_failed(
    tuple: &FiveTuple,
    username: &str,
    reason: Reason,
    expired: Option<Duration>,
) -> Line {
    let what = match reason {
        Reason::UnknownUser => format!("Cannot find credentials of user <{username}>"),
        _ => format!("user <{username}> credentials are incorrect"),
    };
    let since = expired.map(|since| format!(" {} ago", in_words(since.as_secs()))).unwrap_or_default();
    refusal(format!("check_stun_auth: {what} (client {}, reason: {}{since})", tuple.client, reason.code()))
}

fn named(user: &User) -> String {
    format!("realm=<{}>, username=<{}>", user.realm(), user.name())
}

fn info(text: String) -> Line {
    Line { level: Level::Info, text, limited: false }
}

fn refusal(text: String) -> Line {
    Line { level: Level::Warning, text, limited: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_turn::Transport;

    fn tuple() -> FiveTuple {
        FiveTuple {
            transport: Transport::Udp,
            server: "192.0.2.1:3478".parse().unwrap(),
            client: "198.51.100.7:5000".parse().unwrap(),
        }
    }

    fn only(event: Event) -> String {
        let mut lines = line_of(&event, "example.org");
        assert_eq!(lines.len(), 1);
        lines.remove(0).text
    }

    #[test]
    fn an_authentication_failure_names_client_user_and_reason() {
        let failed = |reason, expired_since| {
            let username = "1700000000:alice".into();
            only(Event::AuthenticationFailed { tuple: tuple(), username, reason, expired_since })
        };
        assert_eq!(
            failed(Reason::Expired, Some(Duration::from_secs(3 * 3600 + 125))),
            "check_stun_auth: user <1700000000:alice> credentials are incorrect \
             (client 198.51.100.7:5000, reason: expired 3 h 2 min ago)"
        );
        assert_eq!(
            failed(Reason::UnknownUser, None),
            "check_stun_auth: Cannot find credentials of user <1700000000:alice> \
             (client 198.51.100.7:5000, reason: unknown_user)"
        );
    }

    #[test]
    fn a_refused_peer_says_how_to_open_it() {
        let session = SessionId::new(1, 5);
        let peer = [10, 0, 0, 9].into();
        let text = only(Event::PeerRefused { tuple: tuple(), session, peer, rule: "private" });
        assert!(
            text.starts_with("session 001000000000000005: A peer IP 10.0.0.9 denied in the range: private")
        );
        assert!(text.ends_with("to open it: allowed-peer-ip=10.0.0.9"), "{text}");
    }

    #[test]
    fn a_challenge_is_logged_as_coturn_logs_it_with_the_client_added() {
        let refusal = Some((ErrorNumber::UNAUTHENTICATED, Reason::NoCredentials));
        let text = only(Event::Processed {
            tuple: tuple(),
            session: None,
            user: None,
            method: Method::ALLOCATE,
            refusal,
        });
        assert_eq!(
            text,
            "session -: realm <example.org> user <>: incoming packet ALLOCATE processed, \
             error 401: Unauthorized (client 198.51.100.7:5000, reason: no_credentials)"
        );
    }
}
