//! The rules of one world as plain data, from which both the core's configuration and the model are made.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_turn::{ChannelRange, Config, Credentials, DefaultFamily, IpRange, PeerRules, RelayAddress};
use turnpike_wire::Family;

use crate::model::{Algorithm, long_term_key};
use crate::random::Random;

/// Everything a server is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many workers share the ports, quotas and nonce key.
    pub(crate) workers: u16,
    /// The realm.
    pub(crate) realm: String,
    /// Whether no password is asked for.
    pub(crate) anonymous: bool,
    /// Static users: name and password.
    pub(crate) users: Vec<(String, String)>,
    /// Names of those whose MD5 key is all that the server is told.
    pub(crate) stored: Vec<String>,
    /// TURN REST secrets.
    pub(crate) secrets: Vec<String>,
    /// Relay addresses.
    pub(crate) relays: Vec<RelayAddress>,
    /// Lowest relayed port.
    pub(crate) first_port: u16,
    /// Highest relayed port.
    pub(crate) last_port: u16,
    /// Addresses of the host besides the relay addresses.
    pub(crate) own_addresses: Vec<IpAddr>,
    /// The server's listening port.
    pub(crate) listening_port: u16,
    /// Peer ranges the operator opened.
    pub(crate) allowed: Vec<IpRange>,
    /// Peer ranges the operator refuses.
    pub(crate) denied: Vec<IpRange>,
    /// Whether loopback peers may be reached.
    pub(crate) allow_loopback: bool,
    /// SOFTWARE.
    pub(crate) software: Option<String>,
    /// Whether errors carry a phrase.
    pub(crate) reason_phrases: bool,
    /// Whether everything sent carries FINGERPRINT.
    pub(crate) always_fingerprint: bool,
    /// Whether Binding is answered.
    pub(crate) binding: bool,
    /// Whether Binding needs credentials.
    pub(crate) authenticated_binding: bool,
    /// Whether Binding responses carry MAPPED-ADDRESS.
    pub(crate) mapped_address: bool,
    /// Whether TURN is answered.
    pub(crate) relaying: bool,
    /// Whether UDP is relayed.
    pub(crate) udp_relay: bool,
    /// Whether TCP is.
    pub(crate) tcp_relay: bool,
    /// Most connections with peers of one relayed address.
    pub(crate) allocation_connections: usize,
    /// Whether channels up to 0x7FFF may be bound.
    pub(crate) rfc5766_channels: bool,
    /// The family for clients that name none; `None` for the one they came by.
    pub(crate) default_family: Option<Family>,
    /// Seconds.
    pub(crate) max_lifetime: u32,
    /// Seconds.
    pub(crate) permission_lifetime: u64,
    /// Seconds.
    pub(crate) channel_lifetime: u64,
    /// Seconds; zero for ever.
    pub(crate) nonce_lifetime: u64,
    /// Answers to strangers, a second and source.
    pub(crate) challenge_rate: u32,
    /// Answers to strangers at once.
    pub(crate) challenge_burst: u32,
    /// Most permissions of one allocation.
    pub(crate) max_permissions: usize,
    /// Whether clients hear of ICMP errors.
    pub(crate) icmp_errors: bool,
    /// Whether it is a world in which they ever may, and in which nobody comes by a connection.
    pub(crate) moving: bool,
    /// Whether allocations may follow their clients.
    pub(crate) mobility: bool,
    /// Whether every request and permission is reported.
    pub(crate) verbose: bool,
    /// Allocations a user may have; zero for any number.
    pub(crate) user_quota: u32,
    /// Allocations there may be; zero for any number.
    pub(crate) total_quota: u32,
}

impl Settings {
    /// The rules of the world with this randomness.
    pub(crate) fn random(random: &mut Random) -> Self {
        let relays = relays(random);
        let first_port = 49_152 + random.below(40) as u16;
        let moving = random.chance(500);
        let mut settings = Settings {
            workers: random.between(1, 3) as u16,
            realm: "example.org".into(),
            anonymous: random.chance(80),
            users: USERS.map(|(name, password)| (name.to_owned(), password.to_owned())).into(),
            stored: Vec::new(),
            secrets: if random.chance(800) { SECRETS.map(str::to_owned).into() } else { Vec::new() },
            relays,
            first_port,
            last_port: first_port + random.between(3, 90) as u16,
            own_addresses: vec![ip("172.16.0.9"), ip("2600:9::9")],
            listening_port: 3478,
            allowed: Vec::new(),
            denied: Vec::new(),
            allow_loopback: false,
            software: None,
            reason_phrases: false,
            always_fingerprint: false,
            binding: true,
            authenticated_binding: false,
            mapped_address: false,
            relaying: true,
            udp_relay: true,
            tcp_relay: true,
            allocation_connections: 64,
            rfc5766_channels: false,
            default_family: Some(Family::Ipv4),
            max_lifetime: 3600,
            permission_lifetime: 300,
            channel_lifetime: 600,
            nonce_lifetime: 600,
            challenge_rate: *random.pick(&[1, 10, 100]),
            challenge_burst: *random.pick(&[3, 20, 200]),
            max_permissions: 1024,
            icmp_errors: true,
            moving,
            mobility: moving && random.chance(800),
            verbose: random.chance(500),
            user_quota: *random.pick(&[0, 0, 2, 5]),
            total_quota: *random.pick(&[0, 0, 8, 20]),
        };
        if random.chance(600) {
            settings.change(random);
        }
        settings
    }

    /// Changes what a reload may change.
    pub(crate) fn change(&mut self, random: &mut Random) {
        self.software = random.chance(400).then(|| "Turnpike".to_owned());
        self.reason_phrases = random.chance(300);
        self.always_fingerprint = random.chance(150);
        self.binding = !random.chance(100);
        self.authenticated_binding = random.chance(150);
        self.mapped_address = random.chance(200);
        self.relaying = !random.chance(40);
        self.udp_relay = !random.chance(30);
        self.tcp_relay = !random.chance(60);
        self.allocation_connections = *random.pick(&[64, 64, 2]);
        self.rfc5766_channels = random.chance(300);
        self.default_family =
            *random.pick(&[Some(Family::Ipv4), Some(Family::Ipv4), Some(Family::Ipv6), None]);
        self.max_lifetime = *random.pick(&[3600, 3600, 600, 7200, 1000]);
        self.permission_lifetime = *random.pick(&[300, 300, 300, 20]);
        self.channel_lifetime = *random.pick(&[600, 600, 600, 40]);
        self.nonce_lifetime = *random.pick(&[600, 600, 3600, 30, 0]);
        self.max_permissions = *random.pick(&[1024, 1024, 5, 1]);
        self.allow_loopback = random.chance(100);
        self.icmp_errors = !random.chance(150);
        self.mobility = self.moving && random.chance(800);
        self.allowed = random.pick(&self.choices_of_ranges()).clone();
        self.denied = random.pick(&self.choices_of_ranges()).clone();
        self.realm = if random.chance(50) { "example.net".into() } else { "example.org".into() };
        let kept = random.between(1, USERS.len() as u64) as usize;
        self.users =
            USERS.iter().take(kept).map(|(name, password)| ((*name).into(), (*password).into())).collect();
        if random.chance(200) {
            self.users[0].1 = "changed".into();
        }
        let stored = random.chance(150).then(|| random.pick(&USERS).0.to_owned());
        self.stored = stored.into_iter().collect();
        let kept = random.below(SECRETS.len() as u64 + 1) as usize;
        self.secrets = SECRETS.iter().take(kept).map(|secret| (*secret).into()).collect();
    }

    /// The same rules as the core wants them.
    pub(crate) fn config(&self) -> Arc<Config> {
        let mut credentials = match self.anonymous {
            true => Credentials::anonymous(&self.realm),
            false => Credentials::new(&self.realm),
        };
        for (name, password) in &self.users {
            let key = long_term_key(Algorithm::Md5, name, &self.realm, password);
            match key.try_into() {
                Ok(key) if self.stored.contains(name) => credentials.add_user_key(name, key),
                _ => credentials.add_user(name, password),
            }
        }
        self.secrets.iter().for_each(|secret| credentials.add_secret(secret.as_bytes()));
        let mut config = Config::new(Arc::new(credentials));
        config.peers = PeerRules {
            refuse_multicast: false,
            allowed: self.allowed.clone(),
            denied: self.denied.clone(),
            allow_loopback: self.allow_loopback,
            own_addresses: self.own_addresses.clone(),
            relays: self.relays.clone(),
            listening_ports: vec![self.listening_port],
            former: Vec::new(),
        };
        config.software = self.software.as_deref().map(Into::into);
        config.reason_phrases = self.reason_phrases;
        config.always_fingerprint = self.always_fingerprint;
        config.binding = self.binding;
        config.authenticated_binding = self.authenticated_binding;
        config.mapped_address = self.mapped_address;
        config.relaying = self.relaying;
        config.udp_relay = self.udp_relay;
        config.tcp_relay = self.tcp_relay;
        config.allocation_connections = self.allocation_connections;
        config.channels = if self.rfc5766_channels { ChannelRange::Rfc5766 } else { ChannelRange::Rfc8656 };
        config.default_family = self.default_family.map_or(DefaultFamily::Client, DefaultFamily::Of);
        config.max_lifetime = Duration::from_secs(self.max_lifetime.into());
        config.permission_lifetime = Duration::from_secs(self.permission_lifetime);
        config.channel_lifetime = Duration::from_secs(self.channel_lifetime);
        config.nonce_lifetime = Duration::from_secs(self.nonce_lifetime);
        config.challenge_rate = self.challenge_rate;
        config.challenge_burst = self.challenge_burst;
        config.max_permissions = self.max_permissions;
        config.icmp_errors = self.icmp_errors;
        config.mobility = self.mobility;
        config.verbose = self.verbose;
        config.flows = true;
        config.log_binding = self.verbose;
        Arc::new(config)
    }

    fn choices_of_ranges(&self) -> Vec<Vec<IpRange>> {
        let own = self.relays[0].advertised();
        vec![
            Vec::new(),
            Vec::new(),
            vec![range("10.0.0.0", "10.255.255.255")],
            vec![range("44.1.0.2", "44.1.0.3"), range("2600:1::2", "2600:1::2")],
            vec![IpRange { first: own, last: own }, range("127.0.0.0", "127.255.255.255")],
        ]
    }
}

fn relays(random: &mut Random) -> Vec<RelayAddress> {
    let direct = RelayAddress { address: ip("203.0.113.20"), external: None };
    let mapped = RelayAddress { address: ip("10.0.0.5"), external: Some(ip("198.51.100.9")) };
    let six = RelayAddress { address: ip("2600:9::5"), external: None };
    random.pick(&[vec![direct], vec![mapped], vec![direct, six], vec![direct, mapped, six]]).clone()
}

fn range(first: &str, last: &str) -> IpRange {
    IpRange { first: ip(first), last: ip(last) }
}

/// Reads an address that is written in this program.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in the program text")
}

/// Static users: name and password.
pub(crate) const USERS: [(&str, &str); 4] =
    [("ada", "lovelace"), ("grace", "hopper"), ("1893456000:static", "kept"), ("edsger", "dijkstra")];
/// TURN REST secrets.
pub(crate) const SECRETS: [&str; 2] = ["north", "south"];
