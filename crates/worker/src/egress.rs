//! From verdicts to datagrams.

use turnpike_net::{Body, Datagram, Egress, PacketPool, Span};
use turnpike_turn::{Client, Egress as Destination, Forward, Verdict};

use crate::associations::is_association;
use crate::dtls::Dtls;
use crate::links::Links;
use crate::relay_sockets::RelaySockets;
use crate::stream_output::Urgency;
use crate::streams::{Streams, is_stream};

/// The ways out.
pub(crate) struct Ways<'w> {
    pub(crate) pool: &'w PacketPool,
    pub(crate) egress: &'w mut Egress,
    pub(crate) links: &'w Links,
    pub(crate) streams: &'w mut Streams,
    pub(crate) relays: &'w RelaySockets,
    pub(crate) dtls: Option<&'w mut Dtls>,
}

/// The packet a verdict is about.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'p> {
    /// As it was received.
    Received(Span),
    /// As it was taken out of a DTLS record; not in the pool.
    Unsealed(&'p [u8]),
}

impl From<Span> for Payload<'_> {
    #[inline]
    fn from(span: Span) -> Self {
        Payload::Received(span)
    }
}

impl<'p> Payload<'p> {
    #[inline]
    fn part(self, range: std::ops::Range<usize>) -> Body<'p> {
        match self {
            Payload::Received(span) => Body::Received(span.part(range)),
            Payload::Unsealed(bytes) => Body::Built(bytes.get(range).unwrap_or_default()),
        }
    }
}

impl Ways<'_> {
    /// Queues what a verdict about a packet wants sent. The queue has room: it is flushed before it is
    /// full.
    #[inline]
    pub(crate) fn queue<'p>(&mut self, verdict: &Verdict<'_>, packet: impl Into<Payload<'p>>) {
        match verdict {
            Verdict::Forward(forward) => self.queue_forward(forward, packet.into()),
            Verdict::Reply { to, bytes } => self.queue_built(to, bytes, Urgency::Control),
            Verdict::Wait(_)
            | Verdict::Asking(_)
            | Verdict::Connecting(_)
            | Verdict::HandOver { .. }
            | Verdict::Drop(_) => {}
        }
    }

    #[inline]
    fn queue_forward(&mut self, forward: &Forward, packet: Payload<'_>) {
        let body = packet.part(forward.span.clone());
        let route = match &forward.to {
            Destination::Peer { relay, peer } => {
                self.relays.socket(*relay).map(|socket| (*peer, socket, None))
            }
            Destination::Client(client) if is_secured(client.link.0) => {
                let bytes = match body {
                    Body::Received(span) => self.pool.bytes(span),
                    Body::Built(bytes) => bytes,
                };
                let parts = [forward.head.as_slice(), bytes, forward.tail.as_slice()];
                return self.queue_secured(client, parts, Urgency::Data);
            }
            Destination::Client(client) => self.links.route_to(client),
        };
        // A verdict names only what is open; were it not so, the datagram would be one more that is lost.
        let Some((to, socket, source)) = route else {
            if let Destination::Client(client) = &forward.to {
                let bytes = match body {
                    Body::Received(span) => self.pool.bytes(span),
                    Body::Built(bytes) => bytes,
                };
                let parts = [forward.head.as_slice(), bytes, forward.tail.as_slice()];
                self.links.abroad.send(client, parts, Urgency::Data);
            }
            return;
        };
        self.egress.push(&Datagram {
            socket,
            to,
            source,
            head: forward.head.as_slice(),
            body,
            tail: forward.tail.as_slice(),
            dont_fragment: forward.dont_fragment,
        });
    }

    /// Queues what the server built by itself and nobody waits for: a client that does not keep up goes without.
    pub(crate) fn queue_notice(&mut self, verdict: &Verdict<'_>) {
        if let Verdict::Reply { to, bytes } = verdict {
            self.queue_built(to, bytes, Urgency::Data);
        }
    }

    /// Queues a message that the server built.
    pub(crate) fn queue_built(&mut self, to: &Client, bytes: &[u8], urgency: Urgency) {
        if is_secured(to.link.0) {
            return self.queue_secured(to, [bytes, &[], &[]], urgency);
        }
        if !queue_datagram(self.egress, self.links, to, bytes) {
            self.links.abroad.send(to, [bytes, &[], &[]], urgency);
        }
    }

    /// Queues a message, in parts, for a client that comes by a connection or an association.
    fn queue_secured(&mut self, to: &Client, parts: [&[u8]; 3], urgency: Urgency) {
        if is_stream(to.link.0) {
            return self.streams.send(to.link, parts, urgency);
        }
        let Some(dtls) = self.dtls.as_deref_mut() else { return };
        let Some(carrier) = dtls.seal(to.link, parts) else { return };
        for datagram in dtls.exchange().datagrams() {
            queue_datagram(self.egress, self.links, &carrier, datagram);
        }
        dtls.exchange().clear();
    }
}

/// Queues a whole datagram for a client of plain UDP. Returns whether there is a way to it from here.
pub(crate) fn queue_datagram(egress: &mut Egress, links: &Links, to: &Client, datagram: &[u8]) -> bool {
    let Some((to, socket, source)) = links.route_to(to) else { return false };
    egress.push(&Datagram {
        socket,
        to,
        source,
        head: &[],
        body: Body::Built(datagram),
        tail: &[],
        dont_fragment: false,
    });
    true
}

/// Whether a link is a connection or an association, through which nothing goes as a datagram of its own.
#[inline]
fn is_secured(bits: u64) -> bool {
    bits >> 62 != 0 && (is_stream(bits) || is_association(bits))
}
