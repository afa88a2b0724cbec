//! Which addresses to listen on, to relay from, and to tell clients.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, bail};
use turnpike_config::{Config, ExternalAddress};
use turnpike_net::{InterfaceAddress, local_addresses};
use turnpike_turn::{Alternates, RelayAddress};

use crate::alternates::pair;
use crate::external_address::{is_named, is_public};

/// The addresses a server works with.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Where clients come in; the second ports for NAT behaviour discovery at the end.
    pub listening: Vec<SocketAddr>,
    /// Which of them go together for NAT behaviour discovery.
    pub alternates: Vec<Alternates>,
    /// Those that would and have no partner.
    pub without_partner: Vec<IpAddr>,
    /// Where relayed addresses are opened.
    pub relays: Vec<RelayAddress>,
    /// Every address of this machine but loopback.
    pub own: Vec<IpAddr>,
    /// What addresses were found out to be for the Internet; see `crate::external_address`.
    pub found: Vec<ExternalAddress>,
    /// What clients were told of relay addresses before that changed.
    pub former: Vec<RelayAddress>,
}

impl Addresses {
    /// Likewise with what was found out about addresses that have no external one given. Those that nobody named and the
    /// Internet does not reach are left out where others of their family are reached: on a machine with bridges, clients
    /// would else be given addresses of no use.
    ///
    /// # Errors
    /// As [`Addresses::find`].
    pub fn find_with(config: &Config, found: Vec<ExternalAddress>) -> anyhow::Result<Self> {
        if found.is_empty() && !config.discovery.wanted {
            return Addresses::find(config);
        }
        let mut completed = config.clone();
        completed.external.extend(found.iter().copied());
        let mut addresses = Addresses::find(&completed)?;
        addresses.found = found;
        let reached = |relay: &RelayAddress| is_public(relay.advertised());
        let families = [true, false]
            .map(|v4| addresses.relays.iter().any(|relay| relay.address.is_ipv4() == v4 && reached(relay)));
        addresses.relays.retain(|relay| {
            let others_are = if relay.address.is_ipv4() { families[0] } else { families[1] };
            is_named(config, relay.address) || reached(relay) || !others_are
        });
        Ok(addresses)
    }

    /// Has new allocations on a relay address told another external address; old ones go on with what they were told.
    /// Says what it was before.
    pub(crate) fn retell(&mut self, address: IpAddr, public: IpAddr) -> Option<IpAddr> {
        let relay = self.relays.iter_mut().find(|relay| relay.address == address)?;
        let before = *relay;
        relay.external = Some(public).filter(|public| *public != address);
        self.found.retain(|found| found.private != Some(address));
        self.found.push(ExternalAddress { public, private: Some(address) });
        self.former.retain(|former| former.advertised() != public);
        self.former.push(RelayAddress { address, external: Some(before.advertised()) });
        if self.former.len() > MOST_FORMER {
            self.former.remove(0);
        }
        Some(before.advertised())
    }

    /// What is configured, completed by what the machine has.
    ///
    /// # Errors
    /// A configured address is not of this machine, or there is none at all.
    pub fn find(config: &Config) -> anyhow::Result<Self> {
        let local = local_addresses().context("cannot list this machine's addresses")?;
        let has = |ip: IpAddr| local.iter().any(|found| found.address == ip);
        let configured = config.listening_ips.iter().chain(&config.relay_ips);
        for ip in configured.filter(|ip| !ip.is_unspecified()) {
            // The whole of 127/8 is this machine, though one address of it is listed.
            let is_ours = has(*ip) || ip.is_loopback() && ip.is_ipv4();
            if !is_ours {
                bail!("{ip} is no address of this machine; it has {}", listed(&local));
            }
        }
        let usable: Vec<IpAddr> =
            local.iter().filter(|found| !found.is_link_local()).map(|found| found.address).collect();
        let listening =
            if config.listening_ips.is_empty() { usable.clone() } else { config.listening_ips.clone() };
        if listening.is_empty() {
            bail!("this machine has no address to listen on; give one with listening-ip");
        }
        let relays = relay_ips(config, &listening, &usable);
        let mut listening = listening.iter().map(|ip| SocketAddr::new(*ip, config.listening_port)).collect();
        let (alternates, without_partner) = pair(config, &mut listening);
        if let Some(twice) = config.balancing.auxiliary.iter().find(|address| listening.contains(address)) {
            bail!("aux-server={twice}: the server listens there anyway; leave it out or give another port");
        }
        Ok(Addresses {
            listening,
            alternates,
            without_partner,
            relays: relays.iter().map(|ip| relay_address(*ip, config)).collect(),
            own: local.iter().map(|found| found.address).filter(|ip| !ip.is_loopback()).collect(),
            found: Vec::new(),
            former: Vec::new(),
        })
    }
}

impl Addresses {
    /// These addresses as far as a running server can work with them in place of those it has: it listens at more and
    /// tells other external ones, but relays from where it has relayed from the start. And what it cannot do.
    pub(crate) fn followed_by(
        &self,
        before: &Config,
        config: &Config,
        found: Addresses,
    ) -> (Addresses, Vec<String>) {
        let mut remarks = Vec::new();
        let mut addresses = self.clone();
        addresses.own = found.own;
        for relay in &mut addresses.relays {
            let configured = relay_address(relay.address, config);
            // What was found out in another way stays while nothing else is configured.
            if configured != relay_address(relay.address, before) {
                *relay = configured;
            }
        }
        let ips = |relays: &[RelayAddress]| relays.iter().map(|relay| relay.address).collect::<Vec<_>>();
        if ips(&self.relays) != ips(&found.relays) {
            let wanted = ips(&found.relays).iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
            remarks.push(format!("relaying from {wanted} needs a restart"));
        }
        let is_new = |address: &&SocketAddr| !self.listening.contains(address);
        match config.rfc5780 && found.listening.iter().any(|address| is_new(&address)) {
            // Which goes with which is known by the order of the listeners.
            true => remarks.push("listening at further addresses needs a restart with rfc5780".to_owned()),
            false => addresses.listening = found.listening,
        }
        (addresses, remarks)
    }
}

/// The configured relay addresses; else the listening ones, without loopback where there is anything better.
fn relay_ips(config: &Config, listening: &[IpAddr], usable: &[IpAddr]) -> Vec<IpAddr> {
    let expand = |ips: &[IpAddr]| -> Vec<IpAddr> {
        let mut expanded: Vec<IpAddr> = Vec::new();
        for ip in ips {
            match ip.is_unspecified() {
                true => expanded.extend(usable.iter().filter(|found| found.is_ipv4() == ip.is_ipv4())),
                false => expanded.push(*ip),
            }
        }
        expanded.dedup();
        expanded
    };
    if !config.relay_ips.is_empty() {
        return expand(&config.relay_ips);
    }
    let all = expand(listening);
    let better = all.iter().any(|ip| !ip.is_loopback());
    all.into_iter().filter(|ip| !ip.is_loopback() || !better).collect()
}

/// A relay address with the external one that was configured for it, or for all.
fn relay_address(address: IpAddr, config: &Config) -> RelayAddress {
    let same_family =
        config.external.iter().filter(|external| external.public.is_ipv4() == address.is_ipv4());
    let own = same_family.clone().find(|external| external.private == Some(address));
    let general = same_family.clone().find(|external| external.private.is_none());
    let external = own.or(general).map(|external| external.public).filter(|public| *public != address);
    RelayAddress { address, external }
}

fn listed(local: &[InterfaceAddress]) -> String {
    let named: Vec<String> =
        local.iter().map(|found| format!("{} ({})", found.address, found.interface)).collect();
    named.join(", ")
}

/// Addresses that clients were told before and that are still taken for this server's.
const MOST_FORMER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_config::ExternalAddress;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_pair_maps_its_own_address_and_a_bare_one_the_rest_of_its_family() {
        let external = vec![
            ExternalAddress { public: ip("203.0.113.7"), private: Some(ip("10.0.0.1")) },
            ExternalAddress { public: ip("203.0.113.8"), private: None },
        ];
        let config = Config { external, ..Config::default() };
        let external = |address: &str| relay_address(ip(address), &config).external;
        assert_eq!(external("10.0.0.1"), Some(ip("203.0.113.7")));
        assert_eq!(external("10.0.0.2"), Some(ip("203.0.113.8")));
        assert_eq!(external("203.0.113.8"), None);
        assert_eq!(external("2001:db8::1"), None);
    }

    #[test]
    fn loopback_is_relayed_from_only_where_there_is_nothing_better() {
        let usable = [ip("127.0.0.1"), ip("::1"), ip("192.0.2.2")];
        assert_eq!(relay_ips(&Config::default(), &usable, &usable), [ip("192.0.2.2")]);
        assert_eq!(relay_ips(&Config::default(), &usable[..1], &usable), [ip("127.0.0.1")]);
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_those_of_this_one() {
        let config = Config { listening_ips: vec![ip("203.0.113.250")], ..Config::default() };
        let text = Addresses::find(&config).unwrap_err().to_string();
        assert!(text.contains("203.0.113.250") && text.contains("127.0.0.1 (lo)"), "{text}");
    }
}
