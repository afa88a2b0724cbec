//! What a run of `turnutils_uclient` does, once the flags are understood and fit together.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use turnpike_client::{AllocateOptions, ClientConfig, Port};
use turnpike_wire::Family;
use turnpike_wire::attributes::RequestedTransport;

use super::transport::Way;

/// Everything the flags decide.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) server: SocketAddr,
    pub(super) way: Way,
    pub(super) local: Option<IpAddr>,
    pub(super) device: Option<String>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) peers: Peers,
    /// Whether data goes over connections of its own.
    pub(super) tcp_relay: Option<TcpRelay>,
    pub(super) load: Option<Load>,
    /// Sockets, rounded up already: see [`Settings::round_up`].
    pub(super) sessions: usize,
    pub(super) rtcp: bool,
    pub(super) even_port: bool,
    pub(super) family: Option<Family>,
    pub(super) dual: bool,
    pub(super) dont_fragment: bool,
    /// Kilobits a second, as BANDWIDTH counts them.
    pub(super) bandwidth: Option<u32>,
    /// Move to another port as soon as there is an allocation (RFC 8016).
    pub(super) mobility: bool,
    pub(super) send_indications: bool,
    pub(super) pad_channel_data: bool,
    pub(super) permissions: bool,
    pub(super) extra_requests: bool,
    pub(super) negative_tests: bool,
    pub(super) malformed_traffic: bool,
    pub(super) random_disconnect: bool,
    pub(super) leave_at_once: bool,
    pub(super) hang: bool,
    pub(super) verbose: bool,
    /// Messages per session; `None` for no end.
    pub(super) messages: Option<u64>,
    /// Bytes of a message's payload, at least [`MIN_LENGTH`].
    pub(super) length: usize,
    pub(super) interval: Duration,
}

/// Whom the clients talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peers {
    /// An echo server; RTCP sessions use the next port.
    Echo(SocketAddr),
    /// Each other.
    Clients,
    /// Nobody: nothing is relayed.
    Nobody,
}

/// Who makes the connections that are relayed (RFC 6062).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TcpRelay {
    /// One of two clients asks for it.
    Active,
    /// A peer does.
    Passive,
}

/// The endless modes of `-Y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Relay as fast as possible.
    Packet,
    /// Allocate and give back, over and over.
    Alloc,
    /// Throw malformed messages at the server.
    Invalid,
}

impl Settings {
    /// How many sessions `clients` of them make: RTP and RTCP go in pairs, talkers to each other too.
    pub(super) fn round_up(clients: usize, rtcp: bool, client_to_client: bool) -> usize {
        let group = (1 + usize::from(rtcp)) * (1 + usize::from(client_to_client));
        clients.max(1).next_multiple_of(group)
    }

    /// Whether the session of this number carries RTCP: every second one of a pair.
    pub(super) fn is_rtcp(&self, session: usize) -> bool {
        self.rtcp && session % 2 == 1
    }

    /// How many connections carry a session's data.
    pub(super) fn ends(&self) -> usize {
        if self.tcp_relay == Some(TcpRelay::Passive) { 2 } else { 1 }
    }

    /// The session that talks to this one when clients talk to each other.
    pub(super) fn partner(&self, session: usize) -> usize {
        if self.rtcp { session ^ 2 } else { session ^ 1 }
    }

    /// What the session asks for, given the port kept for it by the other half of its pair.
    pub(super) fn allocate_options(&self, port: Port) -> AllocateOptions {
        // A reservation already fixes the family: asking for one as well is an error (RFC 8656 §7.2).
        let reserved = matches!(port, Port::Reserved(_));
        let additional = self.dual && !reserved;
        AllocateOptions {
            family: self.family.filter(|_| !reserved && !additional),
            additional_family: additional.then_some(Family::Ipv6),
            port,
            transport: match self.tcp_relay {
                Some(_) => RequestedTransport::TCP,
                None => RequestedTransport::UDP,
            },
            dont_fragment: self.dont_fragment,
            bandwidth: self.bandwidth,
            mobility: self.mobility,
            ..AllocateOptions::default()
        }
    }

    /// Where the session's echo peer listens.
    pub(super) fn echo_peer(&self, session: usize) -> Option<SocketAddr> {
        match self.peers {
            Peers::Echo(mut peer) => {
                peer.set_port(peer.port().wrapping_add(u16::from(self.is_rtcp(session))));
                Some(peer)
            }
            Peers::Clients | Peers::Nobody => None,
        }
    }
}

/// A payload holds at least its sender, its number and the time it was sent.
pub(super) const MIN_LENGTH: usize = 16;
/// A payload plus the header of a Send indication still fits one datagram.
pub(super) const MAX_LENGTH: usize = 65_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_rounded_up_to_whole_conversations() {
        assert_eq!(Settings::round_up(1, true, false), 2);
        assert_eq!(Settings::round_up(3, true, false), 4);
        assert_eq!(Settings::round_up(3, false, false), 3);
        assert_eq!(Settings::round_up(1, true, true), 4);
        assert_eq!(Settings::round_up(5, true, true), 8);
        assert_eq!(Settings::round_up(3, false, true), 4);
    }
}
