//! Whom the load is for: the server, how to reach it, whether it is ours to load, and who we are to it.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

use anyhow::{Context, bail};
use turnpike_net::local_addresses;

/// How messages travel to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// A server as its URI names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// As typed, with what was left out.
    pub(super) uri: String,
    pub(super) host: String,
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) locality: Locality,
    /// The file of those who must vouch for its certificate, with TLS; without, nothing is checked.
    pub(super) authorities: Option<String>,
}

/// How far away a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locality {
    /// On this machine: packets never see a network, whatever the address.
    ThisMachine,
    /// In a private network (RFC 1918, RFC 4193, RFC 6598, link-local).
    Private,
    /// Anywhere else.
    Remote,
}

/// A URI taken apart (RFC 7064, RFC 7065).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    host: String,
    port: u16,
    transport: Transport,
}

impl Target {
    /// Reads a `turn:`, `turns:`, `stun:` or `stuns:` URI, or a bare host, and looks up its address.
    pub(super) fn find(uri: &str, transport: Option<Transport>) -> anyhow::Result<Self> {
        let parts = Parts::read(uri, transport)?;
        let Parts { host, port, transport } = parts;
        let mut addresses = (host.as_str(), port)
            .to_socket_addrs()
            .with_context(|| format!("cannot look up {host}; is it spelled right?"))?;
        let address = addresses.next().with_context(|| format!("{host} has no address"))?;
        let local = local_addresses().unwrap_or_default();
        let here = local.iter().any(|local| local.address == address.ip());
        let locality = Locality::of(address.ip(), here);
        let uri = transport.uri(&host, port);
        Ok(Target { uri, host, address, transport, locality, authorities: None })
    }

    /// The address of this machine that packets to the server leave from.
    pub(super) fn own_address(&self) -> anyhow::Result<IpAddr> {
        let any: SocketAddr = if self.address.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        // Connecting a UDP socket only looks up the route.
        let socket = UdpSocket::bind(any).context("cannot open a socket")?;
        socket.connect(self.address).with_context(|| format!("there is no route to {}", self.address))?;
        Ok(socket.local_addr()?.ip())
    }
}

impl Parts {
    fn read(uri: &str, wanted: Option<Transport>) -> anyhow::Result<Self> {
        let (scheme, rest) = match uri.split_once(':') {
            Some((scheme @ ("turn" | "turns" | "stun" | "stuns"), rest)) => (scheme, rest),
            _ => ("turn", uri),
        };
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let secure = matches!(scheme, "turns" | "stuns");
        let by_query = match query {
            None => None,
            Some("transport=udp") if secure => {
                bail!("{uri}: TLS over UDP is DTLS, which this tool does not speak")
            }
            Some("transport=udp") => Some(Transport::Udp),
            Some("transport=tcp") => Some(if secure { Transport::Tls } else { Transport::Tcp }),
            Some(query) => bail!("{uri}: ?{query} is unknown; there are ?transport=udp and ?transport=tcp"),
        };
        let by_scheme = if secure { Some(Transport::Tls) } else { by_query };
        let transport = match (wanted, by_scheme) {
            (Some(wanted), Some(named)) if wanted != named => {
                bail!("{uri} means {named}, and --transport says {wanted}: leave out one of them")
            }
            (wanted, named) => wanted.or(named).unwrap_or(Transport::Udp),
        };
        let usual = if transport == Transport::Tls { 5349 } else { 3478 };
        let (host, port) = split_port(authority, usual).with_context(|| {
            format!("{uri:?} is no server: try turn:HOST, turn:HOST:PORT?transport=tcp or turns:HOST; IPv6 as turn:[::1]")
        })?;
        Ok(Parts { host, port, transport })
    }
}

impl Locality {
    fn of(ip: IpAddr, on_an_interface: bool) -> Self {
        let private = match ip {
            IpAddr::V4(v4) => {
                let [first, second, ..] = v4.octets();
                v4.is_private() || v4.is_link_local() || (first == 100 && second & 0xC0 == 64)
            }
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        if ip.to_canonical().is_loopback() || on_an_interface {
            Locality::ThisMachine
        } else if private {
            Locality::Private
        } else {
            Locality::Remote
        }
    }

    /// The word for it in results.
    pub(super) fn word(self) -> &'static str {
        match self {
            Locality::ThisMachine => "loopback",
            Locality::Private => "private",
            Locality::Remote => "remote",
        }
    }
}

impl Transport {
    pub(super) const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

    /// As options and results name it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    pub(super) fn is_stream(self) -> bool {
        self != Transport::Udp
    }

    fn uri(self, host: &str, port: u16) -> String {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Transport::Udp => format!("turn:{host}:{port}"),
            Transport::Tcp => format!("turn:{host}:{port}?transport=tcp"),
            Transport::Tls => format!("turns:{host}:{port}"),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        })
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
pub(in crate::commands) fn split_port(authority: &str, usual: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None if authority.matches(':').count() > 1 => (authority, None),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => usual,
    };
    let plausible =
        !host.is_empty() && !host.contains(|character: char| character.is_whitespace() || character == '/');
    plausible.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str) -> (String, u16, Transport) {
        let parts = Parts::read(uri, None).unwrap();
        (parts.host, parts.port, parts.transport)
    }

    #[test]
    fn uris_say_host_port_and_transport() {
        let expected = [
            ("turn:127.0.0.1:3478", "127.0.0.1", 3478, Transport::Udp),
            ("turn:example.org", "example.org", 3478, Transport::Udp),
            ("turn:example.org:80?transport=tcp", "example.org", 80, Transport::Tcp),
            ("turn:[::1]:3479", "::1", 3479, Transport::Udp),
            ("turns:example.org", "example.org", 5349, Transport::Tls),
            ("turns:[2001:db8::1]:443?transport=tcp", "2001:db8::1", 443, Transport::Tls),
            ("stun:192.0.2.1", "192.0.2.1", 3478, Transport::Udp),
            ("example.org:99", "example.org", 99, Transport::Udp),
            ("::1", "::1", 3478, Transport::Udp),
        ];
        for (uri, host, port, transport) in expected {
            assert_eq!(parts(uri), (host.to_owned(), port, transport), "{uri}");
        }
    }

    #[test]
    fn what_is_no_uri_is_refused_with_an_example() {
        for uri in ["turn:", "turn:host:0", "turn:host:99999", "turn:[::1", "turn:a b", "http://host/"] {
            let said = format!("{:#}", Parts::read(uri, None).unwrap_err());
            assert!(said.contains("try turn:HOST"), "{uri}: {said}");
        }
        let said = Parts::read("turn:host?transport=sctp", None).unwrap_err().to_string();
        assert!(said.contains("transport=udp"), "{said}");
        let said = Parts::read("turns:host", Some(Transport::Udp)).unwrap_err().to_string();
        assert!(said.contains("leave out one"), "{said}");
        assert!(Parts::read("turns:host?transport=udp", None).is_err());
    }

    #[test]
    fn the_option_says_how_to_get_there_when_the_uri_does_not() {
        assert_eq!(Parts::read("turn:host", Some(Transport::Tls)).unwrap().port, 5349);
        assert_eq!(Parts::read("host", Some(Transport::Tcp)).unwrap().transport, Transport::Tcp);
    }

    #[test]
    fn near_and_far_are_told_apart() {
        let of = |ip: &str| Locality::of(ip.parse().unwrap(), false);
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(ip), Locality::ThisMachine, "{ip}");
        }
        for ip in ["10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.1.1", "100.64.0.1", "fd00::1", "fe80::1"]
        {
            assert_eq!(of(ip), Locality::Private, "{ip}");
        }
        for ip in ["192.0.2.1", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert_eq!(of(ip), Locality::Remote, "{ip}");
        }
        assert_eq!(Locality::of("192.0.2.1".parse().unwrap(), true), Locality::ThisMachine);
    }
}
