//! Transport addresses as operators write them: further listeners of this server, and other servers.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::values::{ip, number};

/// Servers that clients are sent to, by what they come by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlternateLists {
    /// For UDP and DTLS.
    pub udp: Vec<AlternateServer>,
    /// For TCP.
    pub tcp: Vec<AlternateServer>,
    /// For TLS and DTLS.
    pub tls: Vec<AlternateServer>,
    /// For all of them.
    pub any: Vec<AlternateServer>,
}

/// A server that clients are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlternateServer {
    /// Its address; one of several, if its name has several.
    pub address: SocketAddr,
    /// The name it was given by.
    pub name: Option<String>,
}

/// Where a server says over HTTP how much it has to do: at the address that clients are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapacityUrl {
    /// The TCP port.
    pub port: u16,
    /// The path, with its `/`.
    pub path: String,
}

impl Default for CapacityUrl {
    fn default() -> Self {
        CapacityUrl { port: 9641, path: "/capacity".to_owned() }
    }
}

impl std::str::FromStr for CapacityUrl {
    type Err = String;

    /// Reads `http://{ip}:PORT/PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is not of the form http://{{ip}}:PORT/PATH; {{ip}} is each server's address")
        };
        let rest = text.strip_prefix("http://{ip}").ok_or_else(wrong)?;
        let (port, path) = rest.split_at(rest.find('/').ok_or_else(wrong)?);
        let port = match port.strip_prefix(':') {
            Some(port) => number(port, 1, u16::MAX, "a port")?,
            None if port.is_empty() => 80,
            None => return Err(wrong()),
        };
        // It stands in a request as it is.
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        Ok(CapacityUrl { port, path: path.to_owned() })
    }
}

/// Reads a server's address or name, with a port or without one. A name is resolved now, once, and stands for all its
/// addresses.
pub(crate) fn servers(text: &str, default_port: u16) -> Result<Vec<AlternateServer>, String> {
    let (host, port) = split(text.trim())?;
    let port = match port {
        Some(port) => number(port, 1, u16::MAX, "a port")?,
        None => default_port,
    };
    if let Ok(ip) = ip(host) {
        let address = SocketAddr::new(ip.to_canonical(), port);
        return match ip.is_unspecified() || ip.is_multicast() {
            true => Err(format!("{text:?} is no address clients could be sent to")),
            false => Ok(vec![AlternateServer { address, name: None }]),
        };
    }
    if !is_name(host) {
        return Err(format!("{host:?} is neither an IP address nor a host name"));
    }
    let resolved =
        (host, port).to_socket_addrs().map_err(|error| format!("{host:?} does not resolve: {error}"))?;
    let mut found: Vec<AlternateServer> = Vec::new();
    for address in resolved {
        let address = SocketAddr::new(address.ip().to_canonical(), port);
        if found.iter().all(|known| known.address != address) {
            found.push(AlternateServer { address, name: Some(host.trim_end_matches('.').to_owned()) });
        }
    }
    if found.is_empty() { Err(format!("{host:?} has no address")) } else { Ok(found) }
}

/// Reads an address of this machine with a port.
pub(crate) fn listener(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = split(text.trim())?;
    let Some(port) = port else { return Err(format!("{text:?} has no port: write IP:PORT")) };
    let address: IpAddr = ip(host)?;
    if address.is_unspecified() {
        return Err(format!("{text:?}: write one of this machine's addresses in place of {host}"));
    }
    Ok(SocketAddr::new(address, number(port, 1, u16::MAX, "a port")?))
}

/// Parts host and port. The colons of a bare IPv6 address are its own.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err(format!("{text:?} has a [ without a ]"));
        };
        return match (rest, rest.strip_prefix(':')) {
            ("", _) => Ok((host, None)),
            (_, Some(port)) => Ok((host, Some(port))),
            _ => Err(format!("{text:?} has more behind the ] than a port")),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        _ => Ok((text, None)),
    }
}

/// Whether this can be the name of a host, and not an address with a slip of the pen.
fn is_name(host: &str) -> bool {
    let like_address = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let legal = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    (1..=253).contains(&host.len()) && legal && !like_address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<String, String> {
        let found = servers(text, 3478)?;
        assert!(found.len() == 1 && found[0].name.is_none(), "{text}");
        Ok(found[0].address.to_string())
    }

    #[test]
    fn a_server_is_an_address_with_or_without_a_port() {
        for (text, expected) in [
            ("203.0.113.7", "203.0.113.7:3478"),
            ("203.0.113.7:99", "203.0.113.7:99"),
            ("2001:db8::7", "[2001:db8::7]:3478"),
            ("[2001:db8::7]", "[2001:db8::7]:3478"),
            ("[2001:db8::7]:99", "[2001:db8::7]:99"),
            ("::ffff:203.0.113.7", "203.0.113.7:3478"),
        ] {
            assert_eq!(one(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            ":3478",
            "203.0.113",
            "203.0.113.7:",
            "203.0.113.7:0",
            "203.0.113.7:65536",
            "[::1",
            "[::1]x",
            "0.0.0.0",
            "224.0.0.1",
            "[::]:3478",
            "a b",
            "a/b",
            "2001:db8::7::1",
        ] {
            assert!(servers(wrong, 3478).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_stands_for_all_its_addresses_and_is_kept_for_the_certificate() {
        let found = servers("localhost:99", 3478).unwrap();
        assert!(!found.is_empty());
        for server in found {
            assert!(server.address.ip().is_loopback() && server.address.port() == 99);
            assert_eq!(server.name.as_deref(), Some("localhost"));
        }
    }

    #[test]
    fn a_listener_has_an_address_and_a_port() {
        assert_eq!(listener("127.0.0.1:99"), Ok("127.0.0.1:99".parse().unwrap()));
        assert_eq!(listener("[::1]:99"), Ok("[::1]:99".parse().unwrap()));
        for wrong in ["127.0.0.1", "::1", "127.0.0.1:0", "0.0.0.0:99", "[::]:99", "localhost:99"] {
            assert!(listener(wrong).is_err(), "{wrong}");
        }
    }
}
