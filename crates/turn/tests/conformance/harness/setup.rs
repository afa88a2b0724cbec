//! How a test's server is configured.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use turnpike_turn::{
    Config, Credentials, Init, IpRange, NonceKey, PeerRules, Ports, Quotas, RelayAddress, Server,
};

use super::{RELAY, RELAY_V6, World};

/// What differs from the defaults.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) range: RangeInclusive<u16>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) ports: Option<Arc<Ports>>,
    pub(crate) worker: u16,
    pub(crate) seed: u8,
}

impl Setup {
    /// Users alice and bob, one relay address of each family.
    pub(crate) fn new() -> Self {
        Setup::with_credentials(credentials())
    }

    pub(crate) fn with_credentials(credentials: Credentials) -> Self {
        let relays = [RELAY, RELAY_V6].map(|ip| RelayAddress { address: parse(ip), external: None });
        let mut config = Config::new(Arc::new(credentials));
        config.peers = PeerRules {
            own_addresses: relays.iter().map(|relay| relay.address).collect(),
            relays: relays.to_vec(),
            listening_ports: vec![3478, 5349],
            ..PeerRules::default()
        };
        Setup { config, range: 49_152..=65_535, quotas: Quotas::new(0, 0), ports: None, worker: 0, seed: 7 }
    }

    /// Behind a one-to-one NAT: relays on `local`, tells clients `external`.
    pub(crate) fn behind_nat(mut self, local: &str, external: &str) -> Self {
        let relay = RelayAddress { address: parse(local), external: Some(parse(external)) };
        self.config.peers.relays = vec![relay];
        self.config.peers.own_addresses = vec![parse(local)];
        self
    }

    /// Relays on these addresses only.
    pub(crate) fn relays(mut self, addresses: &[&str]) -> Self {
        let relay = |ip: &&str| RelayAddress { address: parse(ip), external: None };
        self.config.peers.relays = addresses.iter().map(relay).collect();
        self.config.peers.own_addresses = addresses.iter().map(|ip| parse(ip)).collect();
        self
    }

    pub(crate) fn range(mut self, range: RangeInclusive<u16>) -> Self {
        self.range = range;
        self
    }

    pub(crate) fn quotas(mut self, per_user: u32, total: u32) -> Self {
        self.quotas = Quotas::new(per_user, total);
        self
    }

    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Another worker of the same server: the same ports and quotas.
    pub(crate) fn sharing_with(mut self, first: &World) -> Self {
        self.ports = Some(first.ports.clone());
        self.quotas = first.quotas.clone();
        self.worker = 1;
        self.seed = 8;
        self
    }

    pub(crate) fn build(self) -> World {
        let ports = self.ports.unwrap_or_else(|| Ports::new(&self.config.peers.relays, self.range));
        let server = Server::new(Init {
            config: Arc::new(self.config),
            worker: self.worker,
            workers: 2,
            ports: ports.clone(),
            quotas: self.quotas.clone(),
            nonce_key: NonceKey::new([9; 16]),
            seed: [self.seed; 32],
        });
        World::new(server, ports, self.quotas)
    }
}

/// alice with password `wonderland` and bob with `builder`, in the realm `example.org`.
pub(crate) fn credentials() -> Credentials {
    let mut credentials = Credentials::new("example.org");
    credentials.add_user("alice", "wonderland");
    credentials.add_user("bob", "builder");
    credentials
}

pub(crate) fn range(first: &str, last: &str) -> IpRange {
    IpRange { first: parse(first), last: parse(last) }
}

fn parse(ip: &str) -> IpAddr {
    ip.parse().expect("an address")
}
