//! From verdicts to datagrams.

use turnpike_net::{Body, Datagram, Egress, PacketPool, Span};
use turnpike_turn::{Client, Egress as Destination, Forward, Verdict};

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
}

impl Ways<'_> {
    /// Queues what a verdict about the datagram at `span` wants sent. The queue has room: it is flushed before it is
    /// full.
    #[inline]
    pub(crate) fn queue(&mut self, verdict: &Verdict<'_>, span: Span) {
        match verdict {
            Verdict::Forward(forward) => self.queue_forward(forward, span),
            Verdict::Reply { to, bytes } => self.queue_built(to, bytes, Urgency::Control),
            Verdict::Wait(_) | Verdict::Drop(_) => {}
        }
    }

    #[inline]
    fn queue_forward(&mut self, forward: &Forward, span: Span) {
        let body = span.part(forward.span.clone());
        let (to, way) = match &forward.to {
            Destination::Peer { relay, peer } => {
                (*peer, self.relays.socket(*relay).map(|socket| (socket, None)))
            }
            Destination::Client(client) if is_stream(client.link.0) => {
                let parts = [forward.head.as_slice(), self.pool.bytes(body), forward.tail.as_slice()];
                return self.streams.send(client.link, parts, Urgency::Data);
            }
            Destination::Client(client) => (client.tuple.client, self.links.way_to(client)),
        };
        // A verdict names only what is open; were it not so, the datagram would be one more that is lost.
        let Some((socket, source)) = way else {
            if let Destination::Client(client) = &forward.to {
                let parts = [forward.head.as_slice(), self.pool.bytes(body), forward.tail.as_slice()];
                self.links.abroad.send(client.link, parts, Urgency::Data);
            }
            return;
        };
        self.egress.push(&Datagram {
            socket,
            to,
            source,
            head: forward.head.as_slice(),
            body: Body::Received(body),
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
    fn queue_built(&mut self, to: &Client, bytes: &[u8], urgency: Urgency) {
        if is_stream(to.link.0) {
            return self.streams.send(to.link, [bytes, &[], &[]], urgency);
        }
        let Some((socket, source)) = self.links.way_to(to) else {
            return self.links.abroad.send(to.link, [bytes, &[], &[]], urgency);
        };
        self.egress.push(&Datagram {
            socket,
            to: to.tuple.client,
            source,
            head: &[],
            body: Body::Built(bytes),
            tail: &[],
            dont_fragment: false,
        });
    }
}
