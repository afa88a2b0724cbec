//! What the world does about a core's verdict and effects: sockets open and close, datagrams leave.

use turnpike_turn::{Egress, RelayError, RelayedPort};

use super::{Happening, Socket, World};
use crate::connections::is_connection;
use crate::network::{Datagram, SECOND};
use crate::observed::{Action, Observed, Opening, Report};
use crate::tally::reply_tally;

impl World {
    pub(super) fn carry_out(&mut self, worker: u16, observed: Observed, ports: Vec<RelayedPort>) {
        for opening in observed.openings {
            self.open_socket(worker, opening);
        }
        self.carry_out_connections(worker, &observed.connects, &observed.splices, &observed.closed);
        for port in ports {
            self.sockets.retain(|socket| socket.local != port.local());
            let delay = if self.random.chance(200) { self.random.below(SECOND) } else { 0 };
            self.schedule(delay, Happening::Release(port));
        }
        let tally = match &observed.action {
            Action::Drop(reason) => format!("dropped: {}", reason.code()),
            Action::Reply { bytes, .. } if bytes[..2] == [0, 0x17] => "to a client by an ICMP error".into(),
            Action::Reply { bytes, .. } if bytes[..2] == [0, 0x1C] => "a peer's connection announced".into(),
            Action::Reply { bytes, .. } => reply_tally(bytes),
            Action::Forward { to: Egress::Peer { .. }, .. } => "to a peer".into(),
            Action::Forward { bytes, .. } if bytes[0] & 0xC0 == 0x40 => "to a client by a channel".into(),
            Action::Forward { .. } => "to a client by an indication".into(),
            Action::Wait(_) => "waiting".into(),
            Action::Connecting(_) => "connecting to a peer".into(),
            Action::HandOver(_) => "for another worker".into(),
            Action::Nothing => "nothing".into(),
        };
        *self.actions.entry(tally).or_default() += 1;
        if !observed.splices.is_empty() {
            *self.actions.entry("spliced".into()).or_default() += 1;
        }
        for report in &observed.reports {
            let tally = match report {
                Report::Allocated { additional: Some(_), .. } => "two relayed addresses",
                Report::RelayEnded { .. } => "one of two relayed addresses ended",
                Report::Moved { .. } => "moved",
                _ => continue,
            };
            *self.actions.entry(tally.into()).or_default() += 1;
        }
        match observed.action {
            Action::Forward { to: Egress::Peer { relay, peer }, bytes, .. } => {
                let socket = self.sockets.iter().find(|it| it.worker == worker && it.relay == relay);
                if let Some(socket) = socket {
                    // To another relayed address of this host it goes without passing the NAT.
                    let own = self.settings.relays.iter().any(|relay| relay.address == peer.ip());
                    let from = if own { socket.local } else { self.outer_form(socket.local) };
                    self.send(Datagram { from, to: peer, bytes });
                }
            }
            Action::Forward { to: Egress::Client(to), bytes, .. } | Action::Reply { to, bytes }
                if is_connection(to.link) =>
            {
                self.answer_on_stream(to, bytes);
            }
            Action::Forward { to: Egress::Client(to), bytes, .. } | Action::Reply { to, bytes } => {
                self.send(Datagram { from: to.tuple.server, to: to.tuple.client, bytes });
            }
            Action::Wait(_)
            | Action::Connecting(_)
            | Action::HandOver(_)
            | Action::Drop(_)
            | Action::Nothing => {}
        }
    }

    /// The operating system opens a socket, or cannot; the answer comes soon, late, or twice.
    fn open_socket(&mut self, worker: u16, opening: Opening) {
        let result = match self.random.chance(self.socket_failures) {
            false => Ok(()),
            true if self.random.chance(800) => Err(RelayError::AddressInUse),
            true => Err(RelayError::Other),
        };
        if result.is_ok() {
            let Opening { relay, address: local, transport, .. } = opening;
            self.sockets.push(Socket { worker, relay, local, transport });
        }
        let late = self.random.chance(50);
        let delay = self.random.below(if late { 20 * SECOND } else { SECOND / 1000 });
        self.schedule(delay, Happening::RelayOpened(worker, opening.wait, result));
        if self.random.chance(self.socket_failures / 5) {
            let later = delay + self.random.below(SECOND);
            self.schedule(later, Happening::RelayOpened(worker, opening.wait, result));
        }
    }
}
