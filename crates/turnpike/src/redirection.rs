//! Which servers clients are sent to: the operator's lists without those that this server stands in itself.
//!
//! As in coturn, such a list is one of a fleet that shares a configuration: its members serve, and only others send
//! clients there. To leave out nothing but the own address would send clients round among the members for ever.

use std::net::{IpAddr, SocketAddr};

use turnpike_config::{self as config, AlternateLists, Config};
use turnpike_control::Log;
use turnpike_turn::{AlternateServer, AlternateServers, OwnListener};

use crate::addresses::Addresses;

/// Where clients are sent, and what of the operator's lists has no effect.
#[derive(Debug, Default)]
pub(crate) struct Redirection {
    pub(crate) servers: AlternateServers,
    /// Option names, each with the address in its list that is this server's.
    without_effect: Vec<(&'static str, SocketAddr)>,
}

impl Redirection {
    pub(crate) fn find(config: &Config, addresses: &Addresses) -> Self {
        let mut redirection = Redirection::default();
        let own = own_addresses(config, addresses);
        let AlternateLists { udp, tcp, tls, any } = &config.balancing.alternate_servers;
        let mut list = |option, servers: &[config::AlternateServer]| match servers
            .iter()
            .find(|server| own.contains(&server.address))
        {
            Some(server) => {
                redirection.without_effect.push((option, server.address));
                Vec::new()
            }
            None => servers.iter().map(alternate).collect(),
        };
        let (udp, tcp) = (list("udp-alternate-server", udp), list("tcp-alternate-server", tcp));
        let (tls, any) = (list("tls-alternate-server", tls), list("alternate-server", any));
        let balanced =
            config.balancing.auxiliary.iter().filter(|_| config.balancing.udp_self_balance && config.udp);
        let own = balanced.map(|bound| own_listener(*bound, config)).collect();
        redirection.servers = AlternateServers { udp, tcp, own, tls, any };
        redirection
    }

    /// Where clients are sent by a server that takes nobody in any more: to the servers named for that, and to all
    /// others of a fleet that shares a list with this one.
    pub(crate) fn while_draining(config: &Config, addresses: &Addresses) -> AlternateServers {
        let own = own_addresses(config, addresses);
        let others = |servers: &[config::AlternateServer]| {
            servers.iter().filter(|server| !own.contains(&server.address)).map(alternate).collect::<Vec<_>>()
        };
        let AlternateLists { udp, tcp, tls, any } = &config.balancing.alternate_servers;
        let named = &config.administration.drain.alternate_servers;
        let any = others(if named.is_empty() { any } else { named });
        // Whoever was named for this comes before all lists, which are for other times.
        let unless_named = |servers| if named.is_empty() { others(servers) } else { Vec::new() };
        AlternateServers {
            udp: unless_named(udp),
            tcp: unless_named(tcp),
            own: Vec::new(),
            tls: unless_named(tls),
            any,
        }
    }

    /// Says where clients are sent.
    pub(crate) fn tell(&self, log: &Log) {
        let AlternateServers { udp, tcp, own, tls, any } = &self.servers;
        let own: Vec<AlternateServer> = own.iter().map(|own| own.told.clone()).collect();
        for (whom, servers) in [
            ("UDP and DTLS clients", udp),
            ("TCP clients", tcp),
            ("UDP and DTLS clients that come to no auxiliary listener", &own),
            ("TLS and DTLS clients", tls),
            ("clients that no other list is for", any),
        ] {
            if !servers.is_empty() {
                let all: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
                log.info(&format!("ALTERNATE-SERVER: {whom} are sent to {}", all.join(", ")));
            }
        }
        for (option, address) in &self.without_effect {
            log.info(&format!(
                "{option}: {address} is this server itself, so the list has no effect here and clients are served"
            ));
        }
    }
}

fn alternate(server: &config::AlternateServer) -> AlternateServer {
    AlternateServer { address: server.address, domain: server.name.as_deref().map(Into::into) }
}

fn own_listener(bound: SocketAddr, config: &Config) -> OwnListener {
    let told = external(bound.ip(), config).next().unwrap_or(bound.ip());
    OwnListener {
        bound,
        told: AlternateServer { address: SocketAddr::new(told, bound.port()), domain: None },
    }
}

/// Every transport address at which clients reach this very server, as far as it can know.
fn own_addresses(config: &Config, addresses: &Addresses) -> Vec<SocketAddr> {
    let for_tls = addresses.listening.iter().map(|address| SocketAddr::new(address.ip(), config.tls_port));
    let for_tls = for_tls.filter(|_| config.serves_tls());
    let bound = addresses.listening.iter().chain(&config.balancing.auxiliary).copied().chain(for_tls);
    let mut own = Vec::new();
    for address in bound {
        let same_family = |ip: &&IpAddr| ip.is_ipv4() == address.is_ipv4();
        let ips: Vec<IpAddr> = match address.ip().is_unspecified() {
            true => addresses.own.iter().filter(same_family).copied().collect(),
            false => vec![address.ip()],
        };
        for ip in ips {
            let told = external(ip, config).chain([ip]);
            own.extend(told.map(|ip| SocketAddr::new(ip, address.port())));
        }
    }
    own
}

/// What a one-to-one NAT makes of an address, by external-ip.
fn external(ip: IpAddr, config: &Config) -> impl Iterator<Item = IpAddr> {
    let stands_for = move |private: Option<IpAddr>| private.is_none_or(|private| private == ip);
    let pairs = config.external.iter().filter(move |pair| stands_for(pair.private));
    pairs.map(|pair| pair.public).filter(move |public| public.is_ipv4() == ip.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_config::{Balancing, ExternalAddress};

    fn server(text: &str) -> config::AlternateServer {
        config::AlternateServer { address: text.parse().unwrap(), name: None }
    }

    fn addresses(listening: &[&str]) -> Addresses {
        Addresses {
            listening: listening.iter().map(|text| text.parse().unwrap()).collect(),
            alternates: Vec::new(),
            without_partner: Vec::new(),
            relays: Vec::new(),
            own: vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
            found: Vec::new(),
            former: Vec::new(),
        }
    }

    fn config(any: &[&str]) -> Config {
        let any = any.iter().map(|text| server(text)).collect();
        let alternate_servers = AlternateLists { any, ..AlternateLists::default() };
        Config { balancing: Balancing { alternate_servers, ..Balancing::default() }, ..Config::default() }
    }

    #[test]
    fn a_list_that_this_server_stands_in_has_no_effect_by_whichever_address() {
        let external = vec![ExternalAddress {
            public: "203.0.113.1".parse().unwrap(),
            private: Some("192.0.2.1".parse().unwrap()),
        }];
        for (own, listening) in [
            ("192.0.2.1:3478", "192.0.2.1:3478"),
            ("203.0.113.1:3478", "192.0.2.1:3478"),
            ("192.0.2.2:3478", "0.0.0.0:3478"),
            ("203.0.113.1:3478", "0.0.0.0:3478"),
            ("192.0.2.9:3480", "192.0.2.1:3478"),
        ] {
            let mut config = config(&["198.51.100.1:3478", own]);
            config.external.clone_from(&external);
            config.balancing.auxiliary = vec!["192.0.2.9:3480".parse().unwrap()];
            let found = Redirection::find(&config, &addresses(&[listening]));
            assert_eq!(found.servers, AlternateServers::default(), "{own}");
            assert_eq!(found.without_effect, [("alternate-server", own.parse().unwrap())]);
        }
    }

    #[test]
    fn another_port_or_address_is_another_server() {
        let config = config(&["192.0.2.1:3479", "192.0.2.3:3478", "192.0.2.1:5349"]);
        let found = Redirection::find(&config, &addresses(&["192.0.2.1:3478"]));
        assert_eq!((found.servers.any.len(), found.without_effect.len()), (3, 0));
    }

    #[test]
    fn auxiliary_listeners_are_told_by_their_external_address() {
        let mut config = Config::default();
        config.balancing.udp_self_balance = true;
        config.balancing.auxiliary =
            vec!["192.0.2.1:3480".parse().unwrap(), "192.0.2.2:3480".parse().unwrap()];
        config.external = vec![ExternalAddress {
            public: "203.0.113.1".parse().unwrap(),
            private: Some("192.0.2.1".parse().unwrap()),
        }];
        let found = Redirection::find(&config, &addresses(&["192.0.2.1:3478"]));
        let told: Vec<String> = found.servers.own.iter().map(|own| own.told.address.to_string()).collect();
        assert_eq!(told, ["203.0.113.1:3480", "192.0.2.2:3480"]);
        config.balancing.udp_self_balance = false;
        assert!(Redirection::find(&config, &addresses(&["192.0.2.1:3478"])).servers.own.is_empty());
    }
}
