//! The form in which coturn keeps an ORIGIN: scheme and host in lower case, and the port, where the scheme has one.

/// The form of an origin that is stored and looked up; what is no URI with a host stays as it is.
pub(super) fn canonical(origin: &str) -> String {
    let Some((scheme, rest)) = origin.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return origin.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
    let (host, port) = match server.rsplit_once(':').filter(|(host, _)| is_whole(host)) {
        Some((host, "")) => (host, None),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) => (host, Some(port).filter(|port| *port > 0)),
            Err(_) => return origin.to_owned(),
        },
        None => (server, None),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return origin.to_owned();
    }
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    match port.or_else(|| default_port(&scheme)) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Whether a colon behind this ends the host: it may stand inside an IPv6 address, too.
fn is_whole(host: &str) -> bool {
    !host.starts_with('[') || host.ends_with(']')
}

/// The ports that coturn knows; others are stored if they are written.
fn default_port(scheme: &str) -> Option<u16> {
    PORTS.iter().find(|(known, _)| *known == scheme).map(|(_, port)| *port)
}

const PORTS: &[(&str, u16)] = &[("http", 80), ("https", 443), ("ftp", 21), ("sip", 5060), ("sips", 5061)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_stored_as_coturns_tool_stores_them() {
        // Each of these is what coturn's tool made of it.
        for (typed, stored) in [
            ("https://A.org/path", "https://a.org:443"),
            ("ftp://x", "ftp://x:21"),
            ("x", "x"),
            ("HTTP://[::1]", "http://[::1]:80"),
            ("wss://Foo:8443/", "wss://foo:8443"),
            ("Mixed Case", "Mixed Case"),
            ("https://u@H.org:", "https://h.org:443"),
            ("ws://q", "ws://q"),
            ("turn:abc", "turn:abc"),
            ("http://a.org:0", "http://a.org:80"),
            ("SIP://B", "sip://b:5060"),
        ] {
            assert_eq!(canonical(typed), stored, "{typed}");
        }
        for odd in ["http://", "://x", "http://a:b", "1x://a", "http://a b"] {
            assert_eq!(canonical(odd), odd);
        }
    }
}
