//! Connect (RFC 6062 §5.2): a connection from a TCP allocation's relayed address to a peer.
//!
//! It asks for no permission, but the peer rules judge it as they judge every peer, and before anything is attempted.

use std::sync::Arc;

use turnpike_wire::{AttributeType, ErrorNumber};

use super::{Answer, Refused, Request, refused};
use crate::effect::{Effect, Event};
use crate::reason::Reason;
use crate::server::Server;
use crate::tcp_relay::{CONNECT_TIMEOUT, Stage};
use crate::user::User;

impl Server {
    pub(super) fn connect(&mut self, request: &Request<'_>, user: &Arc<User>) -> Result<Answer, Refused> {
        let relay = self.own_allocation(request, user)?;
        self.expect_tcp(relay, true)?;
        let value = request.message.value(AttributeType::XOR_PEER_ADDRESS);
        let bad = refused(ErrorNumber::BAD_REQUEST, Reason::BadRequest);
        let peer = self.read_peer(request, value.ok_or(bad)?)?;
        let towards = self.allocations.towards(relay, &peer);
        // RFC 6062 §5.2: one that exists comes before policy.
        if towards.is_some_and(|relay| self.is_connected(relay, peer)) {
            return Err(refused(ErrorNumber::CONNECTION_ALREADY_EXISTS, Reason::ConnectionExists));
        }
        let judged = self.judge_peer(request, relay, peer)?;
        let own = self.allocations.get(judged.relay).ok_or(bad)?;
        let (from, session) = (own.port.local(), own.session);
        // A relayed address that connected to itself would be both ends of one connection.
        let reachable = self.reachable_by_tcp(judged.access, peer).filter(|peer| *peer != from);
        let Some(reachable) = reachable else {
            let (tuple, rule) = (request.client.tuple, "this server's own, and no relayed port");
            self.report(Event::PeerRefused { tuple, session, peer: peer.ip(), rule });
            return Err(refused(ErrorNumber::FORBIDDEN, Reason::OwnAddress));
        };
        let connection =
            self.add_connection(judged.relay, peer, Stage::Connecting(request.reply(), user.clone()))?;
        let deadline = request.now.monotonic + CONNECT_TIMEOUT;
        self.effects.push_back(Effect::ConnectPeer { connection, from, peer: reachable, deadline });
        Ok(Answer::Connecting(connection))
    }
}
