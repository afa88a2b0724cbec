//! CreatePermission (RFC 8656 §10): leave to exchange data with peer addresses.
//!
//! All or nothing: every address is judged before the first is installed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::{AttributeType, ErrorNumber};

use super::{Answer, Refused, Request, refused};
use crate::allocation::Permission;
use crate::credentials::User;
use crate::effect::Event;
use crate::peers::PeerAccess;
use crate::reason::Reason;
use crate::server::Server;
use crate::time::Timestamp;
use crate::tuple::RelayId;

impl Server {
    pub(super) fn create_permission(
        &mut self,
        request: &Request<'_>,
        user: &Arc<User>,
    ) -> Result<Answer, Refused> {
        let relay = self.own_allocation(request, user)?;
        let peers = || {
            let attributes = request.message.attributes();
            attributes.filter(|attribute| attribute.kind == AttributeType::XOR_PEER_ADDRESS)
        };
        if peers().next().is_none() {
            return Err(refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest));
        }
        for attribute in peers() {
            let (peer, _) = self.judge_peer(request, relay, attribute.value)?;
            self.make_room(request.now.monotonic, relay, peer.ip(), peers().count())?;
        }
        for attribute in peers() {
            let (peer, access) = self.judge_peer(request, relay, attribute.value)?;
            self.grant(request.now.monotonic, relay, peer.ip(), access);
        }
        Ok(Answer::Done)
    }

    /// Makes sure that `wanted` more permissions fit, sweeping out expired ones if need be.
    pub(super) fn make_room(
        &mut self,
        now: Timestamp,
        relay: RelayId,
        peer: IpAddr,
        wanted: usize,
    ) -> Result<(), Refused> {
        let most = self.config.max_permissions;
        let full = |server: &Self| {
            let allocation = server.allocations.get(relay);
            allocation.is_some_and(|allocation| {
                !allocation.permissions.contains(peer) && allocation.permissions.len() + wanted > most
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
    pub(super) fn grant(&mut self, now: Timestamp, relay: RelayId, peer: IpAddr, access: PeerAccess) {
        let lifetime: Duration = self.config.permission_lifetime;
        let Some(allocation) = self.allocations.get_mut(relay) else { return };
        allocation.permissions.grant(Permission { ip: peer, access, expires: now + lifetime });
        let session = allocation.session;
        self.wake_by(relay, now + lifetime);
        if self.config.verbose {
            self.report(Event::PermissionGranted { session, peer, lifetime });
        }
    }
}
