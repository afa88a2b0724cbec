//! Relaying from few ports (`multiplex-peer`): all sessions of a worker share one port of each relay address, and what
//! comes there is told apart by the peer it comes from.
//!
//! A session *claims* the peers it asks permissions and channels for: with a port that transport address alone, without
//! one (XOR-PEER-ADDRESS with port 0) the whole IP address. What another session holds cannot be claimed (508), and data
//! goes out to claimed peers alone: a peer could not tell two sessions of one port apart either.
//!
//! A claim holds as long as its allocation has a permission for the peer's address; one that holds no longer is taken
//! away by the next who wants the peer, so that nothing has to be done when permissions expire.
//!
//! Invariants: no transport address has two holders on one port; every holder is an allocation that lives; a session has
//! no more claims than are configured.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use turnpike_wire::ErrorNumber;

use crate::allocation::Allocation;
use crate::peer_icmp::IcmpError;
use crate::reason::Reason;
use crate::requests::{Refused, refused};
use crate::server::Server;
use crate::time::{Now, Timestamp};
use crate::tuple::RelayId;
use crate::verdict::Verdict;

/// How few ports are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplex {
    /// The first worker's port on IPv4 relay addresses.
    pub first_port: u16,
    /// How many claims a session may have.
    pub most_peers: usize,
}

impl Multiplex {
    /// A worker's port: two for each, the second one for IPv6 relay addresses.
    pub fn port(&self, worker: u16, ipv4: bool) -> u16 {
        self.first_port.wrapping_add(worker.wrapping_mul(2)).wrapping_add(u16::from(!ipv4))
    }
}

/// Who holds which peers, by relay address and the peer's IP address.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_ip: HashMap<(u16, IpAddr), Claimed>,
}

/// An IP address with peers that are claimed.
#[derive(Debug)]
enum Claimed {
    Whole(RelayId),
    /// By port; never empty.
    Ports(BTreeMap<u16, RelayId>),
}

impl Claims {
    /// Whether nobody has claimed anything, as where no port is shared.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_ip.is_empty()
    }

    /// Whose a peer is.
    pub(crate) fn holder(&self, index: u16, peer: &SocketAddr) -> Option<RelayId> {
        match self.by_ip.get(&(index, peer.ip()))? {
            Claimed::Whole(relay) => Some(*relay),
            Claimed::Ports(ports) => ports.get(&peer.port()).copied(),
        }
    }

    /// Whether `relay` holds all of what is asked for: port 0 stands for all ports.
    fn covers(&self, index: u16, peer: &SocketAddr, relay: RelayId) -> bool {
        match self.by_ip.get(&(index, peer.ip())) {
            Some(Claimed::Whole(holder)) => *holder == relay,
            Some(Claimed::Ports(ports)) => ports.get(&peer.port()) == Some(&relay),
            None => false,
        }
    }

    /// Who else holds any of it.
    fn in_the_way(&self, index: u16, peer: &SocketAddr, relay: RelayId) -> Vec<RelayId> {
        let mut holders: Vec<RelayId> = match self.by_ip.get(&(index, peer.ip())) {
            Some(Claimed::Whole(holder)) => vec![*holder],
            Some(Claimed::Ports(ports)) if peer.port() == 0 => ports.values().copied().collect(),
            Some(Claimed::Ports(ports)) => ports.get(&peer.port()).copied().into_iter().collect(),
            None => Vec::new(),
        };
        holders.retain(|holder| *holder != relay);
        holders
    }

    fn insert(&mut self, index: u16, peer: &SocketAddr, relay: RelayId) {
        let claimed = self.by_ip.entry((index, peer.ip())).or_insert(Claimed::Ports(BTreeMap::new()));
        match claimed {
            Claimed::Ports(ports) if peer.port() != 0 => _ = ports.insert(peer.port(), relay),
            _ => *claimed = Claimed::Whole(relay),
        }
    }

    /// Takes everything at an IP address away from one holder.
    fn evict(&mut self, index: u16, ip: IpAddr, relay: RelayId) {
        let empty = match self.by_ip.get_mut(&(index, ip)) {
            Some(Claimed::Whole(holder)) => *holder == relay,
            Some(Claimed::Ports(ports)) => {
                ports.retain(|_, holder| *holder != relay);
                ports.is_empty()
            }
            None => false,
        };
        if empty {
            self.by_ip.remove(&(index, ip));
        }
    }

    /// Panics unless every holder is known to `lives`.
    pub(crate) fn check_invariants(&self, lives: impl Fn(RelayId) -> bool) {
        for claimed in self.by_ip.values() {
            match claimed {
                Claimed::Whole(holder) => assert!(lives(*holder), "a holder lives"),
                Claimed::Ports(ports) => {
                    assert!(!ports.is_empty() && ports.values().all(|holder| lives(*holder)), "holders live");
                }
            }
        }
    }
}

impl Server {
    /// A datagram from a peer to the port that this worker shares on a relay address, by the address's number.
    pub fn handle_shared_packet(
        &mut self,
        now: Now,
        relay_address: u16,
        peer: SocketAddr,
        packet: &[u8],
    ) -> Verdict<'_> {
        match self.holder_of(relay_address, peer) {
            Some(relay) => self.relay_to_client(now, relay, peer, packet.len(), packet),
            None => self.drop_packet(Reason::NoPermission),
        }
    }

    /// An ICMP error about a datagram that was sent to `peer` from such a port.
    pub fn handle_shared_icmp(
        &mut self,
        now: Now,
        relay_address: u16,
        peer: SocketAddr,
        error: IcmpError,
    ) -> Verdict<'_> {
        match self.holder_of(relay_address, peer) {
            Some(relay) => self.handle_peer_icmp(now, relay, peer, error),
            None => self.drop_packet(Reason::NoPermission),
        }
    }

    fn holder_of(&self, relay_address: u16, peer: SocketAddr) -> Option<RelayId> {
        let peer = SocketAddr::new(self.config.peers.external_form(peer.ip()), peer.port());
        self.claims.holder(relay_address, &peer)
    }

    /// Claims a peer for an allocation on a shared port; of others nothing is asked.
    pub(crate) fn claim_peer(
        &mut self,
        now: Timestamp,
        relay: RelayId,
        peer: SocketAddr,
    ) -> Result<(), Refused> {
        let Some(most) = self.config.multiplex.map(|multiplex| multiplex.most_peers) else { return Ok(()) };
        let shared = self.allocations.get(relay).filter(|allocation| allocation.port.is_shared());
        let Some(index) = shared.map(|allocation| allocation.port.relay_index()) else { return Ok(()) };
        if self.claims.covers(index, &peer, relay) {
            return Ok(());
        }
        let in_the_way = self.claims.in_the_way(index, &peer, relay);
        if in_the_way.iter().any(|holder| self.is_permitted(now, *holder, peer.ip())) {
            return Err(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::PeerTaken));
        }
        for holder in in_the_way {
            self.claims.evict(index, peer.ip(), holder);
        }
        self.forget_claims(now, relay, index, most);
        let Some(allocation) = self.allocations.get_mut(relay) else { return Ok(()) };
        if allocation.claims.len() >= most {
            return Err(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::TooManyPeers));
        }
        allocation.claims.push(peer);
        self.claims.insert(index, &peer, relay);
        Ok(())
    }

    /// Makes room among an allocation's claims if they are full: those without a permission hold no longer.
    fn forget_claims(&mut self, now: Timestamp, relay: RelayId, index: u16, most: usize) {
        let full = self.allocations.get_mut(relay).filter(|allocation| allocation.claims.len() >= most);
        let Some(Allocation { claims, permissions, .. }) = full else { return };
        claims.retain(|claim| {
            let permitted = permissions.get(claim.ip(), now).is_some();
            if !permitted {
                self.claims.evict(index, claim.ip(), relay);
            }
            // Another session may have taken it since.
            permitted && self.claims.covers(index, claim, relay)
        });
    }

    /// Gives up what an allocation that has ended held.
    pub(crate) fn release_claims(&mut self, relay: RelayId, allocation: &Allocation) {
        for claim in &allocation.claims {
            self.claims.evict(allocation.port.relay_index(), claim.ip(), relay);
        }
    }

    fn is_permitted(&self, now: Timestamp, relay: RelayId, ip: IpAddr) -> bool {
        self.allocations.get(relay).is_some_and(|allocation| allocation.permissions.get(ip, now).is_some())
    }
}
