//! CreatePermission (RFC 8656 §10): leave to exchange data with peer addresses.
//!
//! All or nothing: every address is read before the first is judged, and judged before the first is installed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::{AttributeType, ErrorNumber};

use super::{Answer, Judged, Refused, Request, refused};
use crate::allocation::{Allocation, Permission};
use crate::effect::Event;
use crate::reason::Reason;
use crate::server::Server;
use crate::time::Timestamp;
use crate::tuple::RelayId;
use crate::user::User;

impl Server {
    pub(super) fn create_permission(
        &mut self,
        request: &Request<'_>,
        user: &Arc<User>,
    ) -> Result<Answer, Refused> {
        let relay = self.own_allocation(request, user)?;
        let attributes = request.message.attributes();
        let peers = attributes.filter(|attribute| attribute.kind == AttributeType::XOR_PEER_ADDRESS);
        let peers: Result<Vec<_>, Refused> =
            peers.map(|attribute| self.read_peer(request, attribute.value)).collect();
        let peers = peers?;
        if peers.is_empty() {
            return Err(refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest));
        }
        let judged: Result<Vec<_>, Refused> =
            peers.iter().map(|peer| self.judge_peer(request, relay, *peer)).collect();
        let judged = judged?;
        self.make_room(request.now.monotonic, relay, &judged)?;
        for (judged, peer) in judged.iter().zip(&peers) {
            self.claim_peer(request.now.monotonic, judged.relay, *peer)?;
        }
        for peer in judged {
            self.grant(request.now.monotonic, peer);
            self.announce_flows(peer.relay, Some(peer.ip));
        }
        Ok(Answer::Done)
    }

    /// Makes sure that permissions for `peers` fit beside those of each relayed address of an allocation, sweeping out
    /// expired ones if need be. Those that are there already need no room.
    pub(super) fn make_room(
        &mut self,
        now: Timestamp,
        relay: RelayId,
        peers: &[Judged],
    ) -> Result<(), Refused> {
        self.allocations.family_of(relay).try_for_each(|relay| self.make_room_at(now, relay, peers))
    }

    fn make_room_at(&mut self, now: Timestamp, relay: RelayId, peers: &[Judged]) -> Result<(), Refused> {
        let most = self.config.max_permissions;
        let own = peers.iter().filter(|peer| peer.relay == relay);
        let mut addresses: Vec<IpAddr> = own.map(|peer| peer.ip).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let full = |server: &Self| {
            server.allocations.get(relay).is_some_and(|Allocation { permissions, .. }| {
                let new = addresses.iter().filter(|ip| permissions.get(**ip, now).is_none()).count();
                new > 0 && permissions.len() + new > most
            })
        };
        if full(self) {
            self.sweep(now, relay);
        }
        if full(self) {
            return Err(refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::TooManyPermissions));
        }
        Ok(())
    }

    /// Installs or renews one permission.
    pub(super) fn grant(&mut self, now: Timestamp, Judged { relay, ip: peer, access }: Judged) {
        let lifetime: Duration = self.config.permission_lifetime;
        let Some(allocation) = self.allocations.get_mut(relay) else { return };
        let expires = now + lifetime;
        allocation.permissions.grant(Permission { ip: peer, access, expires, told: false });
        let (session, told) = (allocation.session, self.config.verbose && !allocation.user.is_self_test());
        self.wake_by(relay, expires);
        if told {
            self.report(Event::PermissionGranted { session, peer, lifetime });
        }
    }
}
