//! Allocations that change workers (RFC 8016), and the ways between workers that this takes.
//!
//! Sockets change hands with their allocation: out of one worker's poller and tables, through a mailbox, into the
//! other's. Listening sockets share their addresses and have the same links in every worker, so that a client of UDP is
//! answered directly from wherever its allocation is. A connection stays with the worker that accepted it: for as long as
//! it is an old 5-tuple, what comes by it and what goes out on it travels through mailboxes, as copies.
//!
//! Invariants: no claim and no allocation is ever lost on the way; packets are, when more wait than
//! [`Mailbox`] takes.

use std::collections::HashMap;

use turnpike_net::{GroPolicy, Span, UdpSocket};
use turnpike_turn::{Claim, ClaimOutcome, ClaimRefusal, Claimed, Client, Letter, Link, WaitId};

use crate::datapath::Datapath;
use crate::egress::Ways;
use crate::mailbox::Siblings;
use crate::stream_output::Urgency;

/// What one worker sends another.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Word of the server's.
    Letter { from: u16, letter: Letter },
    /// The answer to a claim.
    Claimed { from: u16, wait: WaitId, outcome: Result<Migrant, ClaimRefusal> },
    /// A message to send to a client who comes by a connection of the other's, or another way that only it has.
    Output { to: Client, bytes: Box<[u8]>, urgency: Urgency },
}

/// An allocation with its relay sockets.
#[derive(Debug)]
pub(crate) struct Migrant {
    claimed: Box<Claimed>,
    sockets: Vec<(UdpSocket, GroPolicy)>,
}

impl Mail {
    /// Bytes it takes to keep a packet, if that is what it is.
    pub(crate) fn packet_bytes(&self) -> usize {
        match self {
            Mail::Letter { letter: Letter::Packet { packet, .. }, .. } => size_of::<Self>() + packet.len(),
            Mail::Output { bytes, urgency: Urgency::Data, .. } => size_of::<Self>() + bytes.len(),
            _ => 0,
        }
    }
}

/// Connections of other workers whose clients have their allocation here.
#[derive(Debug)]
pub(crate) struct Abroad {
    this: u16,
    siblings: Siblings,
    by_link: HashMap<Link, (u16, Link)>,
    by_origin: HashMap<(u16, Link), Link>,
    named: u64,
}

impl Abroad {
    pub(crate) fn new(this: u16, siblings: Siblings) -> Self {
        Abroad { this, siblings, by_link: HashMap::new(), by_origin: HashMap::new(), named: 0 }
    }

    /// The link that stands here for one of another worker. A listener's is the same everywhere.
    fn name(&mut self, worker: u16, link: Link) -> Link {
        if is_listener(link) {
            return link;
        }
        let Abroad { by_link, by_origin, named, .. } = self;
        *by_origin.entry((worker, link)).or_insert_with(|| {
            *named += 1;
            let name = Link(ABROAD | *named);
            by_link.insert(name, (worker, link));
            name
        })
    }

    /// Likewise, if it has been named.
    fn find(&self, worker: u16, link: Link) -> Option<Link> {
        if is_listener(link) { Some(link) } else { self.by_origin.get(&(worker, link)).copied() }
    }

    fn forget(&mut self, name: Link) {
        if let Some(origin) = self.by_link.remove(&name) {
            self.by_origin.remove(&origin);
        }
    }

    /// Sends a message by way of the worker that has the connection.
    #[cold]
    pub(crate) fn send(&self, to: &Client, parts: [&[u8]; 3], urgency: Urgency) {
        let Some((worker, link)) = self.by_link.get(&to.link) else { return };
        let to = Client { link: *link, ..*to };
        self.post(*worker, Mail::Output { to, bytes: parts.concat().into(), urgency });
    }

    /// Returns whether there is such a worker.
    fn post(&self, to: u16, mail: Mail) -> bool {
        self.siblings.get(to).map(|mailbox| mailbox.post(mail)).is_some()
    }
}

impl Datapath {
    /// Hands in at another worker what the server has to say to it.
    pub(crate) fn post(&mut self, to: u16, letter: Letter) {
        if let Letter::Leave { client } = &letter {
            self.links.abroad.forget(client.link);
        }
        let waits = match &letter {
            Letter::Claim(claim) => Some((claim.asker, claim.wait)),
            _ => None,
        };
        let from = self.links.abroad.this;
        if !self.links.abroad.post(to, Mail::Letter { from, letter })
            && let Some((asker, wait)) = waits
        {
            self.answer_claim(asker, wait, Err(ClaimRefusal::NO_OWNER));
        }
    }

    /// Does what another worker asks for.
    pub(crate) fn receive_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Letter { from, letter } => self.receive_letter(from, letter),
            Mail::Claimed { from, wait, outcome } => self.receive_claimed(from, wait, outcome),
            Mail::Output { to, bytes, urgency } => {
                self.make_room_to_send();
                self.ways().queue_built(&to, &bytes, urgency);
            }
        }
        self.carry_out_effects();
    }

    fn receive_letter(&mut self, from: u16, letter: Letter) {
        match letter {
            Letter::Claim(claim) => self.receive_claim(claim),
            Letter::Packet { client, packet } => {
                if let Some(link) = self.links.abroad.find(from, client.link) {
                    self.passed_packet(Client { link, ..client }, &packet);
                }
            }
            Letter::LinkClosed { client } => {
                if let Some(link) = self.links.abroad.find(from, client.link) {
                    self.server.handle_link_closed(self.now, Client { link, ..client });
                    self.links.abroad.forget(link);
                }
            }
            Letter::Leave { client } => self.server.handle_leave(client),
        }
    }

    fn passed_packet(&mut self, client: Client, packet: &[u8]) {
        self.make_room(1);
        self.make_room_to_send();
        let copied = self.pool.fill_one(|buffer| {
            let room = buffer.get_mut(..packet.len()).ok_or(std::io::ErrorKind::InvalidInput)?;
            room.copy_from_slice(packet);
            Ok(packet.len())
        });
        let Ok(span) = copied else { return };
        let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
        let verdict = server.handle_passed(self.now, client, pool.bytes(span));
        Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }.queue(&verdict, span);
    }

    fn receive_claim(&mut self, claim: Claim) {
        let (asker, wait) = (claim.asker, claim.wait);
        match self.server.handle_claim(self.now, claim) {
            ClaimOutcome::Given(claimed) => {
                let migrant = self.pack(claimed);
                self.answer_claim(asker, wait, Ok(migrant));
            }
            ClaimOutcome::Refused(refusal) => self.answer_claim(asker, wait, Err(refusal)),
            ClaimOutcome::Forwarded => {}
        }
    }

    /// Takes the sockets of an allocation that is given away out of this worker's tables.
    fn pack(&mut self, claimed: Box<Claimed>) -> Migrant {
        // What is queued on them goes out before they do.
        self.flush();
        if let Some(client) = claimed.client() {
            self.links.abroad.forget(client.link);
        }
        let Datapath { relays, sockets, poller, .. } = self;
        let taken = claimed.relays().filter_map(|relay| {
            let (socket, gro) = relays.release(relay)?;
            let socket = sockets.remove(socket)?;
            // It fails only if the socket is not watched, which is all that is wanted.
            let _ = poller.remove(&socket);
            Some((socket, gro))
        });
        let sockets = taken.collect();
        Migrant { claimed, sockets }
    }

    /// Answers a claim: another worker's, or one of this worker's own that nobody else can answer.
    fn answer_claim(&mut self, asker: u16, wait: WaitId, outcome: Result<Migrant, ClaimRefusal>) {
        let from = self.links.abroad.this;
        if asker == from {
            return self.receive_claimed(from, wait, outcome);
        }
        self.links.abroad.post(asker, Mail::Claimed { from, wait, outcome });
    }

    fn receive_claimed(&mut self, from: u16, wait: WaitId, outcome: Result<Migrant, ClaimRefusal>) {
        let mut lost = Vec::new();
        let claimed = outcome.map(|Migrant { mut claimed, sockets }| {
            if let Some(client) = claimed.client() {
                claimed.set_link(self.links.abroad.name(from, client.link));
            }
            let names = self.server.name_relays(&claimed);
            for (name, (socket, gro)) in names.iter().zip(sockets) {
                if self.poller.add(&socket, name.to_bits()).is_err() {
                    lost.push(*name);
                }
                self.relays.adopt(*name, self.sockets.insert(socket), gro);
            }
            (claimed, names)
        });
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
        let verdict = server.handle_claimed(self.now, wait, claimed);
        Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }
            .queue(&verdict, Span { buffer: 0, start: 0, end: 0 });
        for relay in lost {
            self.server.handle_relay_lost(self.now, relay);
        }
    }
}

/// Whether a link is a listener's, which is the same in every worker.
pub(crate) fn is_listener(link: Link) -> bool {
    link.0 >> 61 == 0
}

/// What tells these names from a listener's link (no high bit), and from the links that lead somewhere from here (a higher
/// one).
const ABROAD: u64 = 0b001 << 61;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Link = Link(1 << 63 | 7);

    #[test]
    fn a_connection_of_another_worker_has_one_name_and_a_listener_keeps_its_own() {
        let mut abroad = Abroad::new(0, Siblings::default());
        assert_eq!(abroad.name(1, Link(3)), Link(3));
        let name = abroad.name(1, STREAM);
        assert_eq!((abroad.name(1, STREAM), abroad.find(1, STREAM)), (name, Some(name)));
        assert!(!crate::streams::is_stream(name.0) && name != Link::NOWHERE);
        let other = abroad.name(2, STREAM);
        assert_ne!(other, name);
        abroad.forget(name);
        assert_eq!((abroad.find(1, STREAM), abroad.find(2, STREAM)), (None, Some(other)));
        assert_ne!(abroad.name(1, STREAM), name, "a name is never given twice");
    }
}
