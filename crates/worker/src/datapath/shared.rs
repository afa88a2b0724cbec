//! What comes to ports that the sessions of a worker share (`multiplex-peer`): one batch may be for many of them.

use super::{Datapath, RELAY_BATCH};
use crate::egress::Ways;

impl Datapath {
    /// Takes in a batch from the shared port on a relay address.
    pub(crate) fn receive_from_shared(&mut self, relay_address: u16) {
        self.make_room(RELAY_BATCH);
        let Some(shared) = self.relays.shared(relay_address) else { return };
        let Some(socket) = self.sockets.get(shared.socket) else { return };
        let _ = self.receiver.receive(socket, RELAY_BATCH, &mut self.pool, &mut self.batch);
        if let Some(on) = shared.gro.observe(&self.batch) {
            let _ = socket.set_gro(on);
        }
        let mut batch = std::mem::take(&mut self.batch);
        for received in &batch {
            for span in received.datagrams() {
                self.make_room_to_send();
                let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
                let bytes = pool.bytes(span);
                let verdict = server.handle_shared_packet(self.now, relay_address, received.from, bytes);
                Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }
                    .queue(&verdict, span);
            }
        }
        batch.clear();
        self.batch = batch;
    }

    /// Takes in ICMP errors about what was sent from it.
    #[cold]
    pub(crate) fn receive_shared_icmp_errors(&mut self, relay_address: u16) {
        let Some(shared) = self.relays.shared(relay_address) else { return };
        let Some(socket) = self.sockets.get(shared.socket) else { return };
        let mut errors = std::mem::take(&mut self.icmp_errors);
        let _ = self.receiver.receive_errors(socket, &mut errors);
        for error in errors.drain(..) {
            self.make_room_to_send();
            let told = turnpike_turn::IcmpError { kind: error.kind, code: error.code, mtu: error.data };
            let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
            let verdict = server.handle_shared_icmp(self.now, relay_address, error.peer, told);
            Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }.queue_notice(&verdict);
        }
        self.icmp_errors = errors;
    }
}
