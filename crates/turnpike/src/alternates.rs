//! Which listening addresses go together for NAT behaviour discovery (RFC 5780 §6), and their second ports.

use std::net::{IpAddr, SocketAddr};

use turnpike_config::Config;
use turnpike_turn::{AlternateAddress, Alternates, Link};

/// Pairs the listening addresses in their order, adds a second port to those that have a partner, and says which have
/// none. A loopback address goes only with another: nobody else could reach it.
///
/// A worker numbers its UDP links by the order of its listeners, which is that of `listening`.
pub(crate) fn pair(config: &Config, listening: &mut Vec<SocketAddr>) -> (Vec<Alternates>, Vec<IpAddr>) {
    if !config.rfc5780 {
        return (Vec::new(), Vec::new());
    }
    let first: Vec<(usize, IpAddr)> = listening.iter().map(SocketAddr::ip).enumerate().collect();
    let ports = [config.listening_port, config.second_port()];
    let (mut pairs, mut alone) = (Vec::new(), Vec::new());
    for (v4, loopback) in [(true, false), (true, true), (false, false), (false, true)] {
        let alike = |ip: &IpAddr| ip.is_ipv4() == v4 && ip.is_loopback() == loopback && !ip.is_unspecified();
        let group: Vec<_> = first.iter().copied().filter(|(_, ip)| alike(ip)).collect();
        let mut twos = group.chunks_exact(2);
        for two in &mut twos {
            let &[one, other] = two else { continue };
            let addresses = [one, other].map(|(at, bound)| {
                listening.push(SocketAddr::new(bound, ports[1]));
                let links = [at, listening.len() - 1].map(|index| Link(index as u64));
                AlternateAddress { bound, told: told(bound, config), links }
            });
            // TLS is told from TCP by its first byte, so it is served wherever TCP is.
            pairs.push(Alternates { addresses, ports, datagrams: true, connections: config.tcp });
            if config.serves_tls() {
                let ports = [config.tls_port, config.second_tls_port()];
                pairs.push(Alternates { addresses, ports, datagrams: false, connections: true });
            }
        }
        alone.extend(twos.remainder().iter().map(|(_, ip)| *ip));
    }
    (pairs, alone)
}

/// The external form of an address; a bare external-ip has switched discovery off.
fn told(address: IpAddr, config: &Config) -> IpAddr {
    let pair = config.external.iter().find(|external| external.private == Some(address));
    pair.map_or(address, |external| external.public)
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_config::ExternalAddress;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn paired(config: &Config, ips: &[&str]) -> (Vec<Alternates>, Vec<IpAddr>, Vec<SocketAddr>) {
        let mut listening = ips.iter().map(|text| SocketAddr::new(ip(text), config.listening_port)).collect();
        let (pairs, alone) = pair(config, &mut listening);
        (pairs, alone, listening)
    }

    fn bound(pairs: &[Alternates]) -> Vec<[IpAddr; 2]> {
        pairs.iter().map(|pair| pair.addresses.map(|address| address.bound)).collect()
    }

    #[test]
    fn addresses_pair_within_their_family_and_loopback_with_loopback() {
        let config = Config { rfc5780: true, ..Config::default() };
        let ips = ["127.0.0.1", "192.0.2.1", "::1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.3"];
        let (pairs, alone, listening) = paired(&config, &ips);
        assert_eq!(
            bound(&pairs),
            [[ip("192.0.2.1"), ip("192.0.2.2")], [ip("2001:db8::1"), ip("2001:db8::2")]]
        );
        assert_eq!(alone, [ip("192.0.2.3"), ip("127.0.0.1"), ip("::1")]);
        assert_eq!(listening.len(), ips.len() + 4);
        for pair in &pairs {
            assert_eq!(pair.ports, [3478, 3479]);
            for address in pair.addresses {
                let at = address.links.map(|Link(index)| listening[index as usize]);
                assert_eq!(at, pair.ports.map(|port| SocketAddr::new(address.bound, port)));
            }
        }
    }

    #[test]
    fn with_a_certificate_there_is_a_second_port_for_tls_as_well() {
        let certificate = Some("cert.pem".to_owned());
        let config = Config {
            rfc5780: true,
            certificate: certificate.clone(),
            private_key: certificate,
            alt_tls_port: Some(5350),
            ..Config::default()
        };
        let (pairs, _, listening) = paired(&config, &["192.0.2.1", "192.0.2.2"]);
        let [plain, tls] = &pairs[..] else { panic!("{pairs:?}") };
        assert_eq!((plain.ports, plain.datagrams), ([3478, 3479], true));
        assert_eq!((tls.ports, tls.datagrams, tls.connections), ([5349, 5350], false, true));
        assert_eq!(bound(&pairs[..1]), bound(&pairs[1..]));
        assert_eq!(listening.len(), 4, "UDP has no TLS port");
    }

    #[test]
    fn external_pairs_are_told_each_for_its_own_address() {
        let external = ["203.0.113.1/10.0.0.1", "203.0.113.2/10.0.0.2"].map(|pair| {
            let (public, private) = pair.split_once('/').unwrap();
            ExternalAddress { public: ip(public), private: Some(ip(private)) }
        });
        let config = Config { rfc5780: true, external: external.to_vec(), ..Config::default() };
        let (pairs, _, _) = paired(&config, &["10.0.0.1", "10.0.0.2"]);
        assert_eq!(pairs[0].addresses.map(|address| address.told), [ip("203.0.113.1"), ip("203.0.113.2")]);
    }

    #[test]
    fn without_rfc5780_or_a_second_address_no_port_is_added() {
        let on = Config { rfc5780: true, ..Config::default() };
        for (config, ips) in
            [(Config::default(), &["192.0.2.1", "192.0.2.2"][..]), (on, &["192.0.2.1", "0.0.0.0", "::1"])]
        {
            let (pairs, _, listening) = paired(&config, ips);
            assert!(pairs.is_empty() && listening.len() == ips.len());
        }
    }
}
