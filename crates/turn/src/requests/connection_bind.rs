//! ConnectionBind (RFC 6062 §5.4): a client's connection, for the data of one connection with a peer.
//!
//! The kernel chooses the worker that a client's connection comes to; CONNECTION-ID names the one that it has to be at.

use turnpike_wire::ErrorNumber;
use turnpike_wire::attributes::ConnectionId;

use super::{Answer, Refused, Request, refused};
use crate::effect::Effect;
use crate::reason::Reason;
use crate::server::Server;
use crate::tcp_relay::{PeerConnectionId, Stage};
use crate::user::User;

impl Server {
    pub(super) fn connection_bind(&mut self, request: &Request<'_>, user: &User) -> Result<Answer, Refused> {
        let bad = |reason| refused(ErrorNumber::BAD_REQUEST, reason);
        let client = request.client;
        if !client.tuple.transport.is_stream() {
            return Err(bad(Reason::NeedsConnection));
        }
        let Ok(Some(ConnectionId(number))) = request.message.get() else {
            return Err(bad(Reason::BadRequest));
        };
        // What controls an allocation, or is about to, stays a connection for messages.
        if self.allocations.find(&client.tuple).is_some() || self.waiting.find(&client.tuple).is_some() {
            return Err(bad(Reason::AllocationMismatch));
        }
        let connection = PeerConnectionId::from_number(number);
        let owner = connection.owner();
        if owner != self.worker && owner < self.workers {
            return Ok(Answer::HandOver { worker: owner });
        }
        let relay = self.peer_connections.deadline(connection).and_then(|deadline| {
            let relay = self.peer_connections.get(connection)?.relay;
            (deadline > request.now.monotonic).then_some(relay)
        });
        let owner = relay.and_then(|relay| self.allocations.get(relay)).map(|allocation| &allocation.user);
        // Somebody else learns no more than that it is not his.
        if owner.is_none_or(|owner| owner.name() != user.name() || owner.realm() != user.realm()) {
            return Err(bad(Reason::UnknownConnection));
        }
        if let Some(found) = self.peer_connections.get_mut(connection) {
            found.stage = Stage::Bound;
        }
        self.effects.push_back(Effect::Splice { client, connection });
        Ok(Answer::Done)
    }
}
