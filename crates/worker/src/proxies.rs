//! Who may speak for others: the proxies from which a PROXY header is awaited and believed.

use std::net::IpAddr;

use turnpike_turn::IpRange;

/// Which sources are proxies.
#[derive(Clone, Debug, Default)]
pub struct ProxyRules {
    /// Whose connections and datagrams carry a header wherever they arrive.
    pub from: Vec<IpRange>,
    /// The TCP port on which every connection carries one.
    pub port: Option<u16>,
    /// Who may come there.
    pub port_from: Vec<IpRange>,
}

/// What a new connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A client's own.
    Direct,
    /// A proxy's, which begins with a header.
    Proxied,
    /// Somebody else's where only proxies may come.
    Untrusted,
}

impl ProxyRules {
    /// Judges a connection by its source and the port that it came to.
    pub(crate) fn judge(&self, source: IpAddr, port: u16) -> Opening {
        match self.port == Some(port) {
            true if contains(&self.port_from, source) => Opening::Proxied,
            true => Opening::Untrusted,
            false if contains(&self.from, source) => Opening::Proxied,
            false => Opening::Direct,
        }
    }

    /// Whether datagrams from there carry a header.
    pub(crate) fn includes(&self, source: IpAddr) -> bool {
        contains(&self.from, source)
    }
}

fn contains(ranges: &[IpRange], ip: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_port_for_proxies_nobody_else_is_heard_and_elsewhere_only_proxies_need_a_header() {
        let one = |text: &str| {
            let ip: IpAddr = text.parse().unwrap();
            vec![IpRange { first: ip, last: ip }]
        };
        let rules = ProxyRules { from: one("192.0.2.1"), port: Some(80), port_from: one("192.0.2.2") };
        let judge = |source: &str, port| rules.judge(source.parse().unwrap(), port);
        assert_eq!(judge("192.0.2.1", 3478), Opening::Proxied);
        assert_eq!(judge("192.0.2.2", 3478), Opening::Direct);
        assert_eq!(judge("192.0.2.2", 80), Opening::Proxied);
        assert_eq!(judge("192.0.2.1", 80), Opening::Untrusted);
        assert_eq!(ProxyRules::default().judge("192.0.2.1".parse().unwrap(), 80), Opening::Direct);
    }
}
