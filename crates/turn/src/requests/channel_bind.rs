//! ChannelBind (RFC 8656 §12.2): a channel number for a peer, and with it a permission.

use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_wire::attributes::ChannelNumber;
use turnpike_wire::{AttributeType, ErrorNumber};

use super::{Answer, Refused, Request, refused};
use crate::allocation::Binding;
use crate::effect::Event;
use crate::reason::Reason;
use crate::server::Server;
use crate::tuple::RelayId;
use crate::user::User;

impl Server {
    pub(super) fn channel_bind(
        &mut self,
        request: &Request<'_>,
        user: &Arc<User>,
    ) -> Result<Answer, Refused> {
        let bad = |reason| refused(ErrorNumber::BAD_REQUEST, reason);
        let now = request.now.monotonic;
        let relay = self.own_allocation(request, user)?;
        self.expect_tcp(relay, false)?;
        let message = &request.message;
        let Ok(Some(ChannelNumber(number))) = message.get() else {
            return Err(bad(Reason::BadRequest));
        };
        if !self.config.channels.contains(number) {
            return Err(bad(Reason::BadChannelNumber));
        }
        let value = message.value(AttributeType::XOR_PEER_ADDRESS).ok_or(bad(Reason::BadRequest))?;
        let peer = self.read_peer(request, value)?;
        if self.channel_conflicts(relay, number, &peer) {
            self.allocations.family_of(relay).for_each(|relay| self.sweep(now, relay));
        }
        if self.channel_conflicts(relay, number, &peer) {
            return Err(bad(Reason::ChannelConflict));
        }
        let judged = self.judge_peer(request, relay, peer)?;
        self.make_room(now, relay, &[judged])?;
        self.claim_peer(now, judged.relay, peer)?;
        let expires = now + self.config.channel_lifetime;
        let allocation = self.allocations.get_mut(judged.relay).ok_or(bad(Reason::BadRequest))?;
        if allocation.channels.bind(Binding { number, peer, expires, flow: None }).is_err() {
            return Err(bad(Reason::ChannelConflict));
        }
        let session = allocation.session;
        self.grant(now, judged);
        self.wake_by(judged.relay, expires);
        self.announce_flows(judged.relay, Some(peer.ip()));
        if self.config.verbose {
            self.report(Event::ChannelBound { session, channel: number, peer });
        }
        Ok(Answer::Done)
    }

    /// Whether the number is another peer's or the peer has another number (RFC 8656 §12.2). ChannelData names nothing
    /// but the number, so that both relayed addresses of an allocation share the numbers.
    fn channel_conflicts(&self, relay: RelayId, number: u16, peer: &SocketAddr) -> bool {
        let towards = self.allocations.towards(relay, peer).unwrap_or(relay);
        self.allocations.family_of(relay).filter_map(|half| Some((half, self.allocations.get(half)?))).any(
            |(half, allocation)| match half == towards {
                true => allocation.channels.conflicts(number, peer),
                false => allocation.channels.has(number),
            },
        )
    }
}
