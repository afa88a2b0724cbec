//! From verdicts to datagrams.

use turnpike_net::{Body, Datagram, Egress, Span};
use turnpike_turn::{Client, Egress as Destination, Forward, Verdict};

use crate::links::Links;
use crate::relay_sockets::RelaySockets;

/// Queues what a verdict about the datagram at `span` wants sent. The queue has room: it is flushed before it is
/// full.
#[inline]
pub(crate) fn queue(
    verdict: &Verdict<'_>,
    span: Span,
    egress: &mut Egress,
    links: &Links,
    relays: &RelaySockets,
) {
    match verdict {
        Verdict::Forward(forward) => queue_forward(forward, span, egress, links, relays),
        Verdict::Reply { to, bytes } => queue_reply(to, bytes, egress, links),
        Verdict::Wait(_) | Verdict::Drop(_) => {}
    }
}

#[inline]
fn queue_forward(forward: &Forward, span: Span, egress: &mut Egress, links: &Links, relays: &RelaySockets) {
    let (to, way) = match &forward.to {
        Destination::Peer { relay, peer } => (*peer, relays.socket(*relay).map(|socket| (socket, None))),
        Destination::Client(client) => (client.tuple.client, links.way_to(client)),
    };
    // A verdict names only what is open; were it not so, the datagram would be one more that is lost.
    let Some((socket, source)) = way else { return };
    egress.push(&Datagram {
        socket,
        to,
        source,
        head: forward.head.as_slice(),
        body: Body::Received(span.part(forward.span.clone())),
        tail: forward.tail.as_slice(),
        dont_fragment: forward.dont_fragment,
    });
}

/// Queues a message that the server built.
pub(crate) fn queue_reply(to: &Client, bytes: &[u8], egress: &mut Egress, links: &Links) {
    let Some((socket, source)) = links.way_to(to) else { return };
    egress.push(&Datagram {
        socket,
        to: to.tuple.client,
        source,
        head: &[],
        body: Body::Built(bytes),
        tail: &[],
        dont_fragment: false,
    });
}
