//! Which server is to be tried, and by which way: a URI (RFC 7064, RFC 7065) taken apart and looked up.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, bail};

use crate::commands::load::split_port;

/// A server as its URI names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) carrier: Carrier,
}

/// What carries messages to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Udp,
    Tcp,
    Tls,
    Dtls,
}

impl Target {
    /// Reads `turn:HOST`, `turn:HOST:PORT?transport=tcp`, `turns:HOST`, `turns:HOST?transport=udp` (DTLS), or a bare host.
    ///
    /// # Errors
    /// It is no such thing.
    pub(crate) fn read(uri: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = match uri.split_once(':') {
            Some((scheme @ ("turn" | "turns" | "stun" | "stuns"), rest)) => (scheme, rest),
            _ => ("turn", uri),
        };
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let secure = matches!(scheme, "turns" | "stuns");
        let carrier = match (secure, query) {
            (false, None | Some("transport=udp")) => Carrier::Udp,
            (false, Some("transport=tcp")) => Carrier::Tcp,
            (true, None | Some("transport=tcp")) => Carrier::Tls,
            (true, Some("transport=udp")) => Carrier::Dtls,
            (_, Some(query)) => {
                bail!("{uri}: ?{query} is unknown; there are ?transport=udp and ?transport=tcp")
            }
        };
        let (host, port) = split_port(authority, if secure { 5349 } else { 3478 }).with_context(|| {
            format!("{uri:?} is no server: try turn:HOST, turn:HOST:PORT?transport=tcp or turns:HOST")
        })?;
        Ok(Target { host, port, carrier })
    }

    /// Its addresses, each once.
    ///
    /// # Errors
    /// The name is not known.
    pub(crate) fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { host, port, carrier } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match carrier {
            Carrier::Udp => write!(formatter, "turn:{host}:{port}"),
            Carrier::Tcp => write!(formatter, "turn:{host}:{port}?transport=tcp"),
            Carrier::Tls => write!(formatter, "turns:{host}:{port}"),
            Carrier::Dtls => write!(formatter, "turns:{host}:{port}?transport=udp"),
        }
    }
}

impl Carrier {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Carrier::Udp => "UDP",
            Carrier::Tcp => "TCP",
            Carrier::Tls => "TLS",
            Carrier::Dtls => "DTLS",
        }
    }

    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Carrier::Tcp | Carrier::Tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_say_host_port_and_what_carries() {
        for (uri, expected) in [
            ("turn:turn.example.org", "turn:turn.example.org:3478"),
            ("turn.example.org:99", "turn:turn.example.org:99"),
            ("turn:192.0.2.1?transport=tcp", "turn:192.0.2.1:3478?transport=tcp"),
            ("turns:turn.example.org", "turns:turn.example.org:5349"),
            ("turns:[2001:db8::1]:443?transport=udp", "turns:[2001:db8::1]:443?transport=udp"),
            ("stun:192.0.2.1", "turn:192.0.2.1:3478"),
        ] {
            assert_eq!(Target::read(uri).unwrap().to_string(), expected, "{uri}");
        }
        for wrong in ["turn:", "turn:host:0", "turn:a b", "turn:host?transport=sctp", "http://host/"] {
            assert!(Target::read(wrong).is_err(), "{wrong}");
        }
    }
}
