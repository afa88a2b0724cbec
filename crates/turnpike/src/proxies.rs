//! Load balancers that say by the PROXY protocol whose a connection or datagram is.

use turnpike_config::{Config, PeerRange};
use turnpike_control::Log;
use turnpike_turn::IpRange;
use turnpike_worker::ProxyRules;

/// Who may speak for others.
pub(crate) fn proxy_rules(config: &Config) -> ProxyRules {
    let range = |range: &PeerRange| IpRange { first: range.first, last: range.last };
    let from: Vec<IpRange> = config.balancing.proxies.iter().map(range).collect();
    let by_default = || PRIVATE.iter().filter_map(|text| text.parse().ok()).map(|it| range(&it)).collect();
    let port_from = if from.is_empty() { by_default() } else { from.clone() };
    ProxyRules { from, port: config.balancing.proxy_port, port_from }
}

/// Says where headers are awaited.
pub(crate) fn tell_proxies(log: &Log, config: &Config) {
    let rules = proxy_rules(config);
    let named: Vec<String> = rules.from.iter().map(ToString::to_string).collect();
    if let Some(port) = rules.port {
        let whom =
            if named.is_empty() { "loopback and private addresses".to_owned() } else { named.join(", ") };
        log.info(&format!("PROXY protocol: on TCP port {port} alone, from {whom}"));
    }
    if !named.is_empty() {
        log.info(&format!("PROXY protocol: on all ports, from {}", named.join(", ")));
    }
}

/// Where load balancers are that nobody named: loopback, private, shared and link-local addresses.
const PRIVATE: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "::1",
    "fc00::/7",
    "fe80::/10",
];

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_config::Balancing;

    fn behind(balancing: Balancing) -> Config {
        Config { balancing, ..Config::default() }
    }

    #[test]
    fn without_names_only_the_port_for_proxies_believes_anybody_and_then_only_nearby() {
        let config = behind(Balancing { proxy_port: Some(8080), ..Balancing::default() });
        let rules = proxy_rules(&config);
        assert!(rules.from.is_empty());
        assert_eq!(rules.port_from.len(), PRIVATE.len());
        let believed = |ip: &str| rules.port_from.iter().any(|range| range.contains(ip.parse().unwrap()));
        assert!(
            ["127.0.0.1", "10.1.2.3", "172.31.0.1", "100.127.0.1", "::1", "fd00::1"]
                .into_iter()
                .all(believed)
        );
        assert!(!["8.8.8.8", "172.32.0.1", "2001:db8::1", "::2"].into_iter().any(believed));
    }

    #[test]
    fn names_hold_for_all_ports() {
        let proxies = vec!["192.0.2.0/24".parse().unwrap()];
        let rules =
            proxy_rules(&behind(Balancing { proxy_port: Some(8080), proxies, ..Balancing::default() }));
        assert_eq!((rules.from.len(), &rules.from), (1, &rules.port_from));
    }
}
