//! The words of the log's structured formats: every event and field, with what it means. `docs/logging.md` shows these
//! tables, and a test compares them. Words are never changed or given another meaning: people search for them.

use std::net::{IpAddr, SocketAddr};

use crate::vocabulary::vocabulary;

vocabulary! {
    /// What a record is about.
    EventName {
        Message = "message", "anything else that people are told; `message` says what";
        SessionStarted = "session_started", "an allocation was made";
        SessionRefreshed = "session_refreshed", "its lifetime was renewed; `lifetime` 0 asks for its end";
        SessionMoved = "session_moved", "it follows its client to another 5-tuple (RFC 8016)";
        SessionDisconnected = "session_disconnected", "its client's connection ended, and it waits for the client to come back with its ticket";
        SessionEnded = "session_ended", "an allocation ended, with everything it relayed";
        RelayEnded = "relay_ended", "one of an allocation's two relayed addresses ended";
        PermissionGranted = "permission_granted", "a permission was installed or renewed";
        PermissionExpired = "permission_expired", "a permission ran out";
        ChannelBound = "channel_bound", "a channel was bound or renewed";
        Request = "request", "a request was carried out";
        RequestRefused = "request_refused", "a request was refused; the first 401 of every session is normal";
        AuthenticationFailed = "authentication_failed", "credentials were refused";
        PeerRefused = "peer_refused", "a peer was refused by the peer rules";
        ProxyRefused = "proxy_refused", "a connection or datagram was refused for what its proxy said, or did not say";
        SourceLimited = "source_limited", "answers to this client's unauthenticated requests are withheld for the rest of the second";
        PacketDropped = "packet_dropped", "with `drop-invalid-packets-log`: a datagram that is nothing that is spoken here; `message` has its bytes";
        LinesWithheld = "lines_withheld", "`count` lines about requests (with `verbose`) or refusals were not logged: there were too many in one second";
        LinesLost = "lines_lost", "`count` lines could not be logged; `message` says why";
    }
}

vocabulary! {
    /// What is said of it.
    Field {
        Session = "session", "the session's number, 18 digits; also in the telnet console and in Redis";
        Realm = "realm", "the realm";
        User = "user", "the username, whole";
        Client = "client", "the client's address and port, as the server sees it; of `source_limited` the address alone, of `proxy_refused` the proxy's";
        Server = "server", "the address and port it sent to";
        Transport = "transport", "what clients come by: UDP, TCP, TLS or DTLS";
        TlsVersion = "tls_version", "of a client by TLS or DTLS, the version, such as TLSv1.3";
        Cipher = "cipher", "and the cipher suite, as OpenSSL names it";
        Relayed = "relayed", "the relayed transport address, as clients are told it";
        AdditionalRelayed = "relayed_additional", "a second one, of the other family";
        Lifetime = "lifetime", "seconds granted";
        FromClient = "from_client", "the client's address before it moved";
        FromTransport = "from_transport", "what it came by before it moved";
        Peer = "peer", "the peer's address; of a channel with its port";
        Channel = "channel", "the channel's number, such as 0x4000";
        Method = "method", "the request, such as ALLOCATE";
        Code = "code", "the error code of RFC 8489 or RFC 8656 that the client was told";
        Reason = "reason", "why: a word that `turnpike explain` explains; of `session_ended` and `relay_ended` a word of the table below";
        Expired = "expired", "seconds since the credential expired";
        Rule = "rule", "which peer rule refused it";
        Duration = "duration", "seconds that the session lived";
        ClientPackets = "client_packets", "packets from the client that were relayed";
        ClientBytes = "client_bytes", "their bytes: application data, headers of TURN excluded";
        PeerPackets = "peer_packets", "packets from peers that were relayed to the client";
        PeerBytes = "peer_bytes", "their bytes, likewise";
        Path = "path", "who relayed: `server`, `kernel`, or `both`";
        KernelPackets = "kernel_packets", "of all packets, those that the kernel relayed";
        KernelBytes = "kernel_bytes", "their bytes";
        Count = "count", "how many lines";
    }
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Quoted where the format asks for it.
    Text(Box<str>),
    /// As it is.
    Number(u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

impl From<SocketAddr> for Value {
    fn from(address: SocketAddr) -> Self {
        Value::Text(address.to_string().into())
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Value::Text(address.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::documented;

    #[test]
    fn the_documentation_has_exactly_these_events_and_fields() {
        let page = include_str!("../../../../docs/logging.md");
        let section = |heading: &str| documented(page, heading);
        let events: Vec<_> = EventName::ALL.iter().map(|it| (it.word(), it.meaning())).collect();
        assert_eq!(section("Events"), events);
        let fields: Vec<_> = Field::ALL.iter().map(|it| (it.word(), it.meaning())).collect();
        assert_eq!(section("Fields"), fields);
    }

    #[test]
    fn no_word_is_used_twice() {
        let mut words: Vec<&str> = Field::ALL.iter().map(|it| it.word()).collect();
        words.extend(["time", "level", "event", "message"]);
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:?}");
    }
}
