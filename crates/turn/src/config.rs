//! What a server is told at start. A running server gets a new [`Config`] as a whole.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::Family;

use crate::alternate::AlternateServers;
use crate::credentials::Credentials;
use crate::discovery::Alternates;
use crate::drain::Drain;
use crate::multiplex::Multiplex;
use crate::nonce::NonceKey;
use crate::peers::{PeerAccess, PeerRules};
use crate::ports::Ports;
use crate::quota::Quotas;
use crate::reason::Reason;
use crate::self_test::SelfTest;
use crate::tenants::Tenants;

/// The rules one server follows.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who may allocate.
    pub credentials: Arc<Credentials>,
    /// Other realms, and what is special about each.
    pub tenants: Tenants,
    /// Whether a session ends when the REST credential it was made with does.
    pub strict_expiry: bool,
    /// Which peers may be reached.
    pub peers: PeerRules,
    /// SOFTWARE to send; `None` for none.
    pub software: Option<Box<str>>,
    /// Whether error responses carry a phrase.
    pub reason_phrases: bool,
    /// Whether every message carries FINGERPRINT; otherwise those to clients that send it do.
    pub always_fingerprint: bool,
    /// Whether Binding is answered.
    pub binding: bool,
    /// Whether Binding needs credentials.
    pub authenticated_binding: bool,
    /// Whether Binding responses also carry MAPPED-ADDRESS.
    pub mapped_address: bool,
    /// Where NAT behaviour discovery is offered (RFC 5780); empty for nowhere.
    pub alternates: Vec<Alternates>,
    /// Where clients that ask for an allocation are sent instead.
    pub alternate_servers: AlternateServers,
    /// Whether Binding requests of RFC 3489, without the magic cookie, are answered.
    pub classic: bool,
    /// Whether anything but Binding is answered.
    pub relaying: bool,
    /// By what the server tries itself; `None` where it does not.
    pub self_test: Option<Arc<SelfTest>>,
    /// Whether relayed addresses speak UDP with peers.
    pub udp_relay: bool,
    /// Whether they speak TCP (RFC 6062).
    pub tcp_relay: bool,
    /// Which channel numbers may be bound.
    pub channels: ChannelRange,
    /// The family when a client names none.
    pub default_family: DefaultFamily,
    /// The longest lifetime granted; at least 600 s.
    pub max_lifetime: Duration,
    /// How long a permission holds: 300 s.
    pub permission_lifetime: Duration,
    /// How long a channel stays bound: 600 s.
    pub channel_lifetime: Duration,
    /// How long a nonce is good; zero for ever.
    pub nonce_lifetime: Duration,
    /// Answers a second to unauthenticated requests of one source.
    pub challenge_rate: u32,
    /// How many of them may come at once.
    pub challenge_burst: u32,
    /// Most permissions an allocation may have.
    pub max_permissions: usize,
    /// Whether data passes without permissions, to and from every peer that the peer rules let be reached. Not on ports
    /// that are shared: there nobody could tell whose it is.
    pub server_relay: bool,
    /// How sessions share ports; `None` for a port to each.
    pub multiplex: Option<Multiplex>,
    /// Whether all requests of a session must bear the ORIGIN that its Allocate had.
    pub check_origin: bool,
    /// Most connections with peers a relayed address for TCP may have.
    pub allocation_connections: usize,
    /// Most connections with peers a worker may have.
    pub worker_connections: usize,
    /// Whether bound channels may be relayed by something faster than this core, which is told of them.
    pub flows: bool,
    /// Whether clients hear of ICMP errors about what they sent to peers (RFC 8656 §11.5).
    pub icmp_errors: bool,
    /// Whether allocations may follow their clients (RFC 8016).
    pub mobility: bool,
    /// Whether an event is reported for every request and permission, and not only for sessions and failures.
    pub verbose: bool,
    /// Whether Binding requests are among them. Everybody can send those, in any number.
    pub log_binding: bool,
    /// Whether new allocations are refused because the server is about to end.
    pub drain: Option<Drain>,
}

impl Config {
    /// The defaults of RFC 8656 for these users.
    pub fn new(credentials: Arc<Credentials>) -> Self {
        Config {
            credentials,
            tenants: Tenants::default(),
            strict_expiry: false,
            peers: PeerRules::default(),
            software: None,
            reason_phrases: false,
            always_fingerprint: false,
            binding: true,
            authenticated_binding: false,
            mapped_address: false,
            alternates: Vec::new(),
            alternate_servers: AlternateServers::default(),
            classic: false,
            relaying: true,
            self_test: None,
            udp_relay: true,
            tcp_relay: true,
            channels: ChannelRange::Rfc8656,
            default_family: DefaultFamily::Of(Family::Ipv4),
            max_lifetime: Duration::from_secs(3600),
            permission_lifetime: Duration::from_secs(300),
            channel_lifetime: Duration::from_secs(600),
            nonce_lifetime: Duration::from_secs(600),
            challenge_rate: 100,
            challenge_burst: 200,
            max_permissions: 1024,
            server_relay: false,
            multiplex: None,
            check_origin: false,
            allocation_connections: 64,
            worker_connections: 16_384,
            flows: false,
            icmp_errors: true,
            mobility: false,
            verbose: false,
            log_binding: false,
            drain: None,
        }
    }
}

impl Config {
    /// How a peer without a permission may be reached, or why not.
    #[cold]
    pub(crate) fn without_permission(&self, peer: IpAddr) -> Result<PeerAccess, Reason> {
        match self.server_relay && self.multiplex.is_none() {
            true => self.peers.judge(peer).map_err(|_| Reason::PeerRefused),
            false => Err(Reason::NoPermission),
        }
    }
}

/// Which channel numbers ChannelBind grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelRange {
    /// 0x4000 to 0x4FFF (RFC 8656 §12).
    Rfc8656,
    /// 0x4000 to 0x7FFF, as RFC 5766 had it.
    Rfc5766,
}

impl ChannelRange {
    pub(crate) fn contains(self, channel: u16) -> bool {
        match self {
            ChannelRange::Rfc8656 => (0x4000..=0x4FFF).contains(&channel),
            ChannelRange::Rfc5766 => (0x4000..=0x7FFF).contains(&channel),
        }
    }
}

/// The relayed address's family when the client does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultFamily {
    /// Always this one; RFC 8656 says IPv4.
    Of(Family),
    /// The one the client came by.
    Client,
}

/// What a worker's server is born with.
#[derive(Clone)]
pub struct Init {
    /// The rules.
    pub config: Arc<Config>,
    /// The worker's number, from 0; it stands in session ids and, as far as 7 bits go, in CONNECTION-IDs.
    pub worker: u16,
    /// How many workers there are.
    pub workers: u16,
    /// Relayed ports, shared with the other workers.
    pub ports: Arc<Ports>,
    /// Quotas, shared likewise.
    pub quotas: Arc<Quotas>,
    /// The nonce key, shared likewise.
    pub nonce_key: NonceKey,
    /// All the randomness there is: from the operating system in production, fixed in a simulation.
    pub seed: [u8; 32],
}

impl fmt::Debug for Init {
    /// Without the seed: whoever knows it knows every port and token to come.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Init { config, worker, workers, ports, quotas, nonce_key, seed: _ } = self;
        formatter
            .debug_struct("Init")
            .field("config", config)
            .field("worker", worker)
            .field("workers", workers)
            .field("ports", ports)
            .field("quotas", quotas)
            .field("nonce_key", nonce_key)
            .finish_non_exhaustive()
    }
}
