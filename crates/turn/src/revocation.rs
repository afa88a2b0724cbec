//! Permissions that new rules do not grant any more.
//!
//! RFC 8656 §9 lets a permission last for five minutes, whatever happens meanwhile. Who refuses a range of peers while
//! the server runs does so because of what goes there now, so what is refused ends at once: the permission, what of its
//! channels is relayed elsewhere, and connections with the peer (RFC 6062). The allocation stays, with everything else
//! it has. A channel stays bound without a permission, as one whose permission has lapsed does; neither can be renewed.

use std::net::IpAddr;

use crate::allocation::Allocation;
use crate::config::Config;
use crate::effect::{Effect, Event};
use crate::flows::{FlowOwner, withdraw};
use crate::peers::PeerAccess;
use crate::reason::Reason;
use crate::server::Server;
use crate::tenants::Tenant;
use crate::tuple::RelayId;
use crate::user::User;

impl Server {
    /// Ends what the rules about peers refuse by now, if they have changed. Apart from [`Server::handle_config`] because
    /// it looks at every permission.
    pub fn handle_revocation(&mut self) {
        if std::mem::take(&mut self.peers_changed) {
            self.allocations.names().into_iter().for_each(|relay| self.revoke(relay));
        }
    }

    fn revoke(&mut self, relay: RelayId) {
        let Server { allocations, config, effects, stats, .. } = self;
        let Some(allocation) = allocations.get_mut(relay) else { return };
        let Allocation { permissions, channels, user, session, client, .. } = allocation;
        let (session, tuple) = (*session, client.tuple);
        let mut refused: Vec<IpAddr> = Vec::new();
        permissions.judge_again(
            |ip| config.judge_peer_of(user, ip),
            |peer, rule| {
                stats.count(Reason::PeerRefused);
                effects.push_back(Effect::Report(Event::PeerRefused { tuple, session, peer, rule }));
                refused.push(peer);
            },
        );
        let owner = FlowOwner { relay, session };
        for binding in channels.iter_mut().filter(|binding| refused.contains(&binding.peer.ip())) {
            withdraw(effects, relay, owner, binding);
        }
        self.close_refused_connections(relay);
    }
}

impl Config {
    /// How this user may reach a peer, or the name of the rule that refuses it.
    pub(crate) fn judge_peer_of(&self, user: &User, peer: IpAddr) -> Result<PeerAccess, &'static str> {
        self.peers.judge_for(self.tenant_opens(user, peer), peer)
    }

    /// Whether other peers may be reached by other rules.
    pub(crate) fn judges_peers_otherwise(&self, other: &Config) -> bool {
        let (these, others) = (&self.tenants.realms, &other.tenants.realms);
        let same = |tenant: &Tenant, other: &Tenant| {
            tenant.allowed == other.allowed && tenant.denied == other.denied
        };
        let is_kept = |(realm, tenant)| others.get(realm).is_some_and(|other| same(tenant, other));
        self.peers != other.peers || these.len() != others.len() || !these.iter().all(is_kept)
    }
}
