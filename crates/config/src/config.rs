//! The configuration as the server uses it: typed, with units, checked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::address_discovery::AddressDiscovery;
use crate::administration::Administration;
use crate::balancing::Balancing;
use crate::databases::DatabaseSettings;
use crate::logging::LogSettings;
use crate::monitoring::MonitoringSettings;
use crate::oauth_key::OAuthKey;
use crate::records::RecordSettings;
use crate::users::StaticUser;
use crate::values::{PeerRange, Secret};

/// Everything that can be set, with its default.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to listen on; empty for every address of the machine that is not link-local.
    pub listening_ips: Vec<IpAddr>,
    /// UDP port to listen on, 1 to 65535.
    pub listening_port: u16,
    /// Second UDP port, for NAT behaviour discovery; `None` for the one after `listening_port`.
    pub alt_listening_port: Option<u16>,
    /// Interface to bind listeners to.
    pub listening_device: Option<String>,
    /// Whether UDP clients are served.
    pub udp: bool,
    /// Whether TCP clients are served, and TLS on the same port.
    pub tcp: bool,
    /// Where ACME challenges are redirected to: a URL that the token is put behind.
    pub acme_redirect: Option<String>,
    /// Whether HTTP requests are answered with 400.
    pub say_http_unsupported: bool,
    /// Whether TLS clients are served, where there is a certificate.
    pub tls: bool,
    /// Whether DTLS clients are served, where there is a certificate.
    pub dtls: bool,
    /// TCP port for TLS and UDP port for DTLS, 1 to 65535.
    pub tls_port: u16,
    /// Second TLS port, for NAT behaviour discovery; `None` for the one after `tls_port`.
    pub alt_tls_port: Option<u16>,
    /// Whether TLS 1.2 is spoken besides 1.3.
    pub tls12: bool,
    /// The certificate chain's file; found like the configuration file, as the next two are.
    pub certificate: Option<String>,
    /// Its private key's file.
    pub private_key: Option<String>,
    /// What that is encrypted with.
    pub private_key_passphrase: Option<Secret>,
    /// The file of those who sign clients' certificates; `None` where clients need none.
    pub client_authorities: Option<String>,
    /// Bytes of socket buffer to ask for, each way: 2 MiB.
    pub socket_buffer: usize,
    /// Addresses to relay from; empty for the listening addresses.
    pub relay_ips: Vec<IpAddr>,
    /// Interface to bind relay sockets to.
    pub relay_device: Option<String>,
    /// Addresses clients are told instead of relay addresses.
    pub external: Vec<ExternalAddress>,
    /// How those that are not given are found out.
    pub discovery: AddressDiscovery,
    /// Where bound channels are relayed, if not by the server itself.
    pub fast_path: FastPathSettings,
    /// Lowest relayed port.
    pub min_port: u16,
    /// Highest relayed port.
    pub max_port: u16,
    /// Threads that serve and relay, 1 to 128; `None` for one a core.
    pub threads: Option<u16>,
    /// How many cores to count on when `threads` is not set; [`load`](crate::load) puts it there.
    pub cpus: Option<u16>,
    /// Whether UDP is relayed.
    pub udp_relay: bool,
    /// Whether TCP is to be relayed.
    pub tcp_relay: bool,
    /// Whether the sessions of a thread share a port of each relay address.
    pub multiplex: bool,
    /// The first thread's port then, for IPv4; two for each thread.
    pub multiplex_port: u16,
    /// Most peers a session may have then.
    pub multiplex_most_peers: u16,
    /// Whether data passes without permissions.
    pub server_relay: bool,
    /// The relayed address's family when the client names none.
    pub default_family: DefaultFamily,
    /// Whether long-term credentials were asked for.
    pub long_term: bool,
    /// Whether everybody may relay without a password.
    pub no_auth: bool,
    /// Static users.
    pub users: Vec<StaticUser>,
    /// Whether TURN REST credentials were asked for.
    pub use_auth_secret: bool,
    /// TURN REST secrets; all are tried.
    pub secrets: Vec<Secret>,
    /// What stands between expiry and user in a REST username.
    pub rest_separator: char,
    /// Whether access tokens are accepted (RFC 7635).
    pub oauth: bool,
    /// What opens them.
    pub oauth_keys: Vec<OAuthKey>,
    /// What they are sealed for; `None` for the realm.
    pub server_name: Option<String>,
    /// The realm; empty until it is checked.
    pub realm: String,
    /// How long a nonce is good; zero for ever.
    pub nonce_lifetime: Duration,
    /// A secret that a fleet derives its nonce key from.
    pub nonce_secret: Option<Secret>,
    /// Whether Binding needs credentials.
    pub secure_stun: bool,
    /// Whether all requests of a session must bear the ORIGIN it began with.
    pub check_origin: bool,
    /// Whether allocations may follow their clients to other addresses (RFC 8016).
    pub mobility: bool,
    /// Most allocations of a user at once; zero for no limit.
    pub user_quota: u32,
    /// Most allocations in all; zero for no limit.
    pub total_quota: u32,
    /// Longest lifetime of an allocation, 600 s or more.
    pub max_lifetime: Duration,
    /// How long a connection without an allocation may be silent.
    pub idle_connection: Duration,
    /// Lifetime of a channel binding.
    pub channel_lifetime: Duration,
    /// Lifetime of a permission.
    pub permission_lifetime: Duration,
    /// Whether the operator set a limit on answers to unauthenticated requests.
    pub limit_unauthorized: bool,
    /// That limit: answers a second to one source.
    pub unauthorized_rate: u32,
    /// Whether loopback peers may be reached.
    pub allow_loopback_peers: bool,
    /// Whether multicast peers are refused even where a range would open them.
    pub no_multicast_peers: bool,
    /// Whether clients are told of ICMP errors from peers.
    pub icmp_errors: bool,
    /// Opened peer ranges.
    pub allowed_peers: Vec<PeerRange>,
    /// Refused peer ranges.
    pub denied_peers: Vec<PeerRange>,
    /// Whether errors carry a phrase.
    pub reason_phrases: bool,
    /// Whether SOFTWARE is sent.
    pub software: bool,
    /// Whether every message carries FINGERPRINT.
    pub fingerprint: bool,
    /// Whether only Binding is served.
    pub stun_only: bool,
    /// Whether Binding is not served.
    pub no_stun: bool,
    /// Whether channels 0x5000 to 0x7FFF may be bound too.
    pub rfc5766_channels: bool,
    /// Whether Binding responses also carry MAPPED-ADDRESS.
    pub mapped_address: bool,
    /// Whether Binding requests of RFC 3489 are answered.
    pub rfc3489: bool,
    /// Whether NAT behaviour discovery is offered (RFC 5780), where there are pairs of listening addresses for it.
    pub rfc5780: bool,
    /// Whether sessions are logged.
    pub verbose: bool,
    /// Whether Binding requests are logged too.
    pub extra_verbose: bool,
    /// Where and how the log is written.
    pub log: LogSettings,
    /// Where to write the process id.
    pub pidfile: Option<PathBuf>,
    /// What is done when the configuration file has changed.
    pub config_watch: ConfigWatch,
    /// How long a process that was upgraded goes on serving what the new one could not take; zero for as long as that
    /// lasts.
    pub upgrade_timeout: Duration,
    /// Whose process it is, and where it stays.
    pub process: ProcessSettings,
    /// What is kept outside this configuration.
    pub databases: DatabaseSettings,
    /// Bytes of data a second for each relayed address and direction; zero for no limit.
    pub max_bps: u64,
    /// Bytes a second granted to all sessions together; zero for no limit.
    pub bps_capacity: u64,
    /// Load balancers in front of this server, and servers beside it.
    pub balancing: Balancing,
    /// What is kept of sessions that ended, and told of those that live.
    pub records: RecordSettings,
    /// How it is looked after while it runs.
    pub administration: Administration,
    /// What monitoring systems are told, and where.
    pub monitoring: MonitoringSettings,
}

/// Where bound channels are relayed, if not by the server itself.
#[derive(Clone, Debug, Default)]
pub struct FastPathSettings {
    /// The place in the kernel.
    pub place: FastPath,
    /// Interfaces; empty for all that fit.
    pub interfaces: Vec<String>,
}

/// Whose process the server is, and where it stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Whether it detaches from the terminal.
    pub daemon: bool,
    /// The user to become once everything is bound.
    pub user: Option<String>,
    /// The group; `None` for the user's own.
    pub group: Option<String>,
}

impl Config {
    /// Whether TLS is wanted and what it needs is named.
    pub fn serves_tls(&self) -> bool {
        self.tls && self.names_certificate()
    }

    /// Whether DTLS is wanted and what it needs is named.
    pub fn serves_dtls(&self) -> bool {
        self.dtls && self.names_certificate()
    }

    fn names_certificate(&self) -> bool {
        self.certificate.is_some() && self.private_key.is_some()
    }
}

impl Default for Config {
    #[allow(clippy::too_many_lines, reason = "a line for each option's default, and nothing else")]
    fn default() -> Self {
        Config {
            listening_ips: Vec::new(),
            listening_port: 3478,
            alt_listening_port: None,
            listening_device: None,
            udp: true,
            tcp: true,
            acme_redirect: None,
            say_http_unsupported: false,
            tls: true,
            dtls: false,
            tls_port: 5349,
            alt_tls_port: None,
            tls12: true,
            certificate: None,
            private_key: None,
            private_key_passphrase: None,
            client_authorities: None,
            socket_buffer: 2 * 1024 * 1024,
            relay_ips: Vec::new(),
            relay_device: None,
            external: Vec::new(),
            discovery: AddressDiscovery::default(),
            fast_path: FastPathSettings::default(),
            min_port: 49_152,
            max_port: 65_535,
            threads: None,
            cpus: None,
            udp_relay: true,
            tcp_relay: true,
            multiplex: false,
            multiplex_port: 3480,
            multiplex_most_peers: 256,
            server_relay: false,
            default_family: DefaultFamily::Ipv4,
            long_term: false,
            no_auth: false,
            users: Vec::new(),
            use_auth_secret: false,
            secrets: Vec::new(),
            rest_separator: ':',
            oauth: false,
            oauth_keys: Vec::new(),
            server_name: None,
            realm: String::new(),
            nonce_lifetime: Duration::from_secs(600),
            nonce_secret: None,
            secure_stun: false,
            check_origin: false,
            mobility: false,
            user_quota: 0,
            total_quota: 0,
            max_lifetime: Duration::from_secs(3600),
            idle_connection: Duration::from_secs(60),
            channel_lifetime: Duration::from_secs(600),
            permission_lifetime: Duration::from_secs(300),
            limit_unauthorized: false,
            unauthorized_rate: 10,
            allow_loopback_peers: false,
            no_multicast_peers: false,
            icmp_errors: false,
            allowed_peers: Vec::new(),
            denied_peers: Vec::new(),
            reason_phrases: false,
            software: false,
            fingerprint: false,
            stun_only: false,
            no_stun: false,
            rfc5766_channels: false,
            mapped_address: false,
            rfc3489: false,
            rfc5780: false,
            verbose: false,
            extra_verbose: false,
            log: LogSettings::default(),
            pidfile: None,
            config_watch: ConfigWatch::default(),
            upgrade_timeout: Duration::from_secs(86_400),
            process: ProcessSettings::default(),
            databases: DatabaseSettings::default(),
            max_bps: 0,
            bps_capacity: 0,
            balancing: Balancing::default(),
            records: RecordSettings::default(),
            administration: Administration::default(),
            monitoring: MonitoringSettings::default(),
        }
    }
}

impl Config {
    /// The second port for NAT behaviour discovery: the one that is set, or the next after the first.
    pub fn second_port(&self) -> u16 {
        self.alt_listening_port.unwrap_or_else(|| beside(self.listening_port))
    }

    /// The second port for TLS, likewise.
    pub fn second_tls_port(&self) -> u16 {
        self.alt_tls_port.unwrap_or_else(|| beside(self.tls_port))
    }
}

/// The next port, or the one before the last.
fn beside(port: u16) -> u16 {
    port.checked_add(1).unwrap_or(port - 1)
}

/// An address that clients are told in place of the one that is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalAddress {
    /// What clients are told.
    pub public: IpAddr,
    /// Which relay address it stands for; `None` for all of its family.
    pub private: Option<IpAddr>,
}

/// The relayed address's family when the client does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultFamily {
    /// IPv4, as RFC 8656 says.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// The client's own.
    Keep,
}

/// Where bound channels of UDP clients are relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FastPath {
    /// In the kernel: by XDP where drivers can, else by tc, else by the server itself.
    Auto,
    /// By XDP, else by the server itself.
    Xdp,
    /// By tc, else by the server itself.
    Tc,
    /// By the server itself.
    #[default]
    Off,
}

/// What is done when the configuration file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConfigWatch {
    /// It is read again.
    #[default]
    Apply,
    /// The log says what reading it again would change.
    Tell,
    /// Nothing.
    Off,
}
