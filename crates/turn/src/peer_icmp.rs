//! ICMP errors about what was sent to a peer (RFC 8656 §11.5).
//!
//! Invariants: one error becomes at most one Data indication, which carries no DATA; and only a client that has
//! permission for the peer hears of it, so that whoever forges ICMP reaches nobody he could not send data to.

use std::net::SocketAddr;

use turnpike_wire::attributes::{Icmp, XorPeerAddress};
use turnpike_wire::{Class, MessageWriter, Method};

use crate::reason::Reason;
use crate::server::Server;
use crate::time::Now;
use crate::tuple::{Link, RelayId};
use crate::verdict::Verdict;

/// What an ICMP or ICMPv6 error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The next hop's MTU, where the error is about a datagram too large for it.
    pub mtu: u32,
}

impl Server {
    /// An ICMP error about a datagram that `relay` has sent to `peer`.
    pub fn handle_peer_icmp(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: SocketAddr,
        error: IcmpError,
    ) -> Verdict<'_> {
        if !self.config.icmp_errors || !is_told(&peer, error.kind) {
            return self.drop_packet(Reason::UntoldIcmp);
        }
        let peer = SocketAddr::new(self.config.peers.external_form(peer.ip()), peer.port());
        let Some(allocation) = self.allocations.get(relay) else {
            return self.drop_packet(Reason::StaleRelay);
        };
        if allocation.permissions.get(peer.ip(), now.monotonic).is_none() {
            return self.drop_packet(Reason::NoPermission);
        }
        if allocation.client.link == Link::NOWHERE {
            return self.drop_packet(Reason::ClientAway);
        }
        let (to, fingerprint) = (allocation.client, allocation.fingerprint || self.config.always_fingerprint);
        let id = self.random.transaction_id();
        let mut writer = MessageWriter::new(&mut self.scratch[..], Class::Indication, Method::DATA, id);
        writer.add(&XorPeerAddress(peer)).add(&attribute(&peer, error));
        if fingerprint {
            writer.fingerprint();
        }
        match writer.finish() {
            Ok(bytes) => {
                self.stats.icmp_errors += 1;
                Verdict::Reply { to, bytes }
            }
            // Never: the buffer takes far more. But a drop has its counter.
            Err(_) => {
                self.stats.count(Reason::TooLarge);
                Verdict::Drop(Reason::TooLarge)
            }
        }
    }
}

/// Whether clients hear of errors of this type: destination unreachable and time exceeded, with IPv6 also packet too
/// big.
fn is_told(peer: &SocketAddr, kind: u8) -> bool {
    match peer {
        SocketAddr::V4(_) => matches!(kind, 3 | 11),
        SocketAddr::V6(_) => matches!(kind, 1..=3),
    }
}

/// RFC 8656 §18.13: the data is zero unless the error is about size.
fn attribute(peer: &SocketAddr, IcmpError { kind, code, mtu }: IcmpError) -> Icmp {
    let about_size = match peer {
        SocketAddr::V4(_) => (kind, code) == (3, 4),
        SocketAddr::V6(_) => kind == 2,
    };
    Icmp { kind, code, error_data: if about_size { mtu } else { 0 } }
}
