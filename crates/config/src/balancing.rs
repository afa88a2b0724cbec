//! Servers and load balancers that share the load with this server.

use std::net::SocketAddr;
use std::time::Duration;

use crate::endpoints::{AlternateLists, CapacityUrl};
use crate::values::PeerRange;

/// What shares the load with this server.
#[derive(Clone, Debug)]
pub struct Balancing {
    /// Further addresses to listen on, without NAT behaviour discovery.
    pub auxiliary: Vec<SocketAddr>,
    /// Whether the clients of UDP and DTLS are spread over these.
    pub udp_self_balance: bool,
    /// TCP port on which each connection must begin with a header of the PROXY protocol.
    pub proxy_port: Option<u16>,
    /// Sources that speak for others by the PROXY protocol, wherever they come in.
    pub proxies: Vec<PeerRange>,
    /// Other servers that clients are sent to.
    pub alternate_servers: AlternateLists,
    /// How often they are asked whether they are there; `None` for never.
    pub check_interval: Option<Duration>,
    /// Which of them comes next.
    pub selection: AlternateSelection,
    /// Where each says how much it has to do.
    pub capacity: CapacityUrl,
}

/// Which of the servers that clients are sent to comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AlternateSelection {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one that has the least to do.
    LeastLoaded,
}

impl Default for Balancing {
    fn default() -> Self {
        Balancing {
            auxiliary: Vec::new(),
            udp_self_balance: false,
            proxy_port: None,
            proxies: Vec::new(),
            alternate_servers: AlternateLists::default(),
            check_interval: Some(Duration::from_secs(5)),
            selection: AlternateSelection::default(),
            capacity: CapacityUrl::default(),
        }
    }
}
