//! What must be true of whatever the server wants to send.

use std::net::SocketAddr;

use turnpike_turn::{Client, Egress, Forward, RelayId, Verdict};
use turnpike_wire::attributes::{
    Data, ErrorCode, Icmp, MobilityTicket, Nonce, PasswordAlgorithms, ReservationToken, XorPeerAddress,
};
use turnpike_wire::{ChannelData, Class, Message, Method};

use crate::must;

/// What a caller takes out of an answer.
#[derive(Default)]
pub(super) struct Learnt {
    pub(super) nonce: Option<Vec<u8>>,
    pub(super) token: Option<[u8; 8]>,
    pub(super) ticket: Option<Vec<u8>>,
}

/// Of a client's packet.
pub(super) fn verdict(
    verdict: &Verdict<'_>,
    from: Client,
    packet: &[u8],
    open: impl Fn(RelayId) -> bool,
) -> Learnt {
    match verdict {
        Verdict::Reply { to, bytes } => {
            let request = must(Message::parse(packet), "only messages are answered");
            assert_eq!(request.class(), Class::Request, "only requests are answered");
            let message = response(bytes);
            assert_addressed(*to, from, &message);
            assert_eq!(message.transaction_id(), request.transaction_id());
            assert_eq!(message.method(), request.method());
            learn(&message)
        }
        Verdict::Forward(Forward { to, head, span, tail, .. }) => {
            assert!(span.start <= span.end && span.end <= packet.len(), "{span:?} of {}", packet.len());
            let Egress::Peer { relay, .. } = to else { panic!("a client's packet goes to a peer") };
            assert!(open(*relay), "{relay:?} is not open");
            assert!(head.as_slice().is_empty() && tail.as_slice().is_empty(), "peers get bare data");
            Learnt::default()
        }
        Verdict::Asking(_) => panic!("all users are static here"),
        Verdict::Connecting(_) | Verdict::HandOver { .. } => {
            let request = must(Message::parse(packet), "only messages are worked on");
            let connecting = matches!(verdict, Verdict::Connecting(_));
            let method = if connecting { Method::CONNECT } else { Method::CONNECTION_BIND };
            assert_eq!((request.class(), request.method()), (Class::Request, method));
            assert!(from.tuple.transport.is_stream(), "connections are for who comes by one");
            if let Verdict::HandOver { worker } = verdict {
                assert!(*worker != super::world::WORKER && *worker < super::world::WORKERS, "to another one");
            }
            Learnt::default()
        }
        Verdict::Wait(_) | Verdict::Drop(_) => Learnt::default(),
    }
}

/// An answer goes back to where the question came from, but for a port, a link and a source that a Binding request may
/// name (RFC 5780).
fn assert_addressed(to: Client, from: Client, message: &Message<'_>) {
    let mut meant = from;
    if message.method() == Method::BINDING && message.class() == Class::Success {
        meant.tuple.client.set_port(to.tuple.client.port());
        (meant.link, meant.tuple.server) = (to.link, to.tuple.server);
    }
    assert_eq!(to, meant, "to whoever asked");
}

/// Of a peer's packet.
pub(super) fn peer_verdict(
    verdict: &Verdict<'_>,
    from: SocketAddr,
    packet: &[u8],
    known: impl Fn(Client) -> bool,
) {
    let (forward, to) = match verdict {
        Verdict::Forward(forward) => match forward.to {
            Egress::Client(client) => (forward, client),
            Egress::Peer { .. } => panic!("a peer's packet goes to a client"),
        },
        Verdict::Drop(_) => return,
        other => panic!("peers get no answers: {other:?}"),
    };
    assert!(known(to), "a client that exists");
    assert_eq!(forward.span, 0..packet.len(), "the whole of it");
    let bytes = [forward.head.as_slice(), packet, forward.tail.as_slice()].concat();
    assert!(bytes.len() <= 65_507, "it fits a datagram");
    if let Ok(ChannelData { data, .. }) = ChannelData::parse(&bytes) {
        // RFC 8656 §12.5: padded on a stream alone.
        let padding = if to.tuple.transport.is_stream() { packet.len().wrapping_neg() % 4 } else { 0 };
        assert_eq!((data, forward.tail.as_slice()), (packet, &[0; 3][..padding]));
        return;
    }
    let message = must(Message::parse(&bytes), "a Data indication is well-formed");
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
    let peer = must(message.get::<XorPeerAddress>(), "XOR-PEER-ADDRESS is readable");
    assert!(peer.is_some_and(|peer| peer.0.port() == from.port()), "{peer:?} is {from}");
    let data = must(message.get::<Data<'_>>(), "DATA is readable");
    assert_eq!(data, Some(Data(packet)));
    assert_ne!(message.fingerprint_is_valid(), Some(false));
}

/// Of an ICMP error.
pub(super) fn icmp_verdict(verdict: &Verdict<'_>, from: SocketAddr, known: impl Fn(Client) -> bool) {
    let (to, bytes) = match verdict {
        Verdict::Reply { to, bytes } => (*to, *bytes),
        Verdict::Drop(_) => return,
        other => panic!("an ICMP error is told or not: {other:?}"),
    };
    assert!(known(to), "a client that exists");
    let message = must(Message::parse(bytes), "a Data indication is well-formed");
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
    let peer = must(message.get::<XorPeerAddress>(), "XOR-PEER-ADDRESS is readable");
    assert!(peer.is_some_and(|peer| peer.0.port() == from.port()), "{peer:?} is {from}");
    assert!(must(message.get::<Icmp>(), "ICMP is readable").is_some());
    assert_eq!(must(message.get::<Data<'_>>(), "there is no DATA"), None);
    assert_ne!(message.fingerprint_is_valid(), Some(false));
}

/// Of an answer about a relay socket.
pub(super) fn answer(verdict: &Verdict<'_>, known: impl Fn(Client) -> bool) -> Learnt {
    match verdict {
        Verdict::Reply { to, bytes } => {
            assert!(known(*to), "a client that exists");
            learn(&response(bytes))
        }
        Verdict::Wait(_) | Verdict::Drop(_) => Learnt::default(),
        Verdict::Forward(_) => panic!("there is nothing to forward"),
        Verdict::Asking(_) | Verdict::Connecting(_) | Verdict::HandOver { .. } => {
            panic!("no request is at hand")
        }
    }
}

fn response<'b>(bytes: &'b [u8]) -> Message<'b> {
    let message = must(Message::parse(bytes), "answers are well-formed");
    assert!(matches!(message.class(), Class::Success | Class::Error));
    assert_ne!(message.fingerprint_is_valid(), Some(false));
    let error = must(message.get::<ErrorCode<'_>>(), "ERROR-CODE is readable");
    assert_eq!(error.is_some(), message.class() == Class::Error, "an error has its code");
    message
}

fn learn(message: &Message<'_>) -> Learnt {
    let nonce = must(message.get::<Nonce<'_>>(), "NONCE is readable").map(|nonce| nonce.0.to_vec());
    let token = must(message.get::<ReservationToken>(), "RESERVATION-TOKEN is readable").map(|token| token.0);
    let algorithms = must(message.get::<PasswordAlgorithms<'_>>(), "PASSWORD-ALGORITHMS is readable");
    assert_eq!(algorithms.is_some(), nonce.is_some(), "each nonce has its offer");
    let ticket = must(message.get::<MobilityTicket<'_>>(), "MOBILITY-TICKET is readable");
    assert!(ticket.is_none_or(|ticket| (1..=32).contains(&ticket.0.len())), "coturn's client can keep it");
    Learnt { nonce, token, ticket: ticket.map(|ticket| ticket.0.to_vec()) }
}
