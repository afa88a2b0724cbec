//! ChannelBind (RFC 8656 §12.2): a channel number for a peer, and with it a permission.

use std::sync::Arc;

use turnpike_wire::attributes::ChannelNumber;
use turnpike_wire::{AttributeType, ErrorNumber};

use super::{Answer, Refused, Request, refused};
use crate::allocation::Binding;
use crate::credentials::User;
use crate::effect::Event;
use crate::reason::Reason;
use crate::server::Server;

impl Server {
    pub(super) fn channel_bind(
        &mut self,
        request: &Request<'_>,
        user: &Arc<User>,
    ) -> Result<Answer, Refused> {
        let bad = |reason| refused(ErrorNumber::BAD_REQUEST, reason);
        let now = request.now.monotonic;
        let relay = self.own_allocation(request, user)?;
        let message = &request.message;
        let Ok(Some(ChannelNumber(number))) = message.get() else {
            return Err(bad(Reason::BadRequest));
        };
        if !self.config.channels.contains(number) {
            return Err(bad(Reason::BadChannelNumber));
        }
        let value = message.value(AttributeType::XOR_PEER_ADDRESS).ok_or(bad(Reason::BadRequest))?;
        let peer = self.read_peer(request, value)?;
        let conflicts = |server: &Self| {
            server.allocations.get(relay).is_some_and(|it| it.channels.conflicts(number, &peer))
        };
        if conflicts(self) {
            self.sweep(now, relay);
        }
        if conflicts(self) {
            return Err(bad(Reason::ChannelConflict));
        }
        let access = self.judge_peer(request, relay, peer)?;
        self.make_room(now, relay, &[(peer, access)])?;
        let expires = now + self.config.channel_lifetime;
        let allocation = self.allocations.get_mut(relay).ok_or(bad(Reason::BadRequest))?;
        if allocation.channels.bind(Binding { number, peer, expires }).is_err() {
            return Err(bad(Reason::ChannelConflict));
        }
        let session = allocation.session;
        self.grant(now, relay, peer.ip(), access);
        self.wake_by(relay, expires);
        if self.config.verbose {
            self.report(Event::ChannelBound { session, channel: number, peer });
        }
        Ok(Answer::Done)
    }
}
