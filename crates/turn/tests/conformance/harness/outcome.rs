//! What came of a packet, owned and checked.

use std::net::SocketAddr;

use turnpike_turn::{Client, InquiryId, PeerConnectionId, Reason, RelayId, WaitId};
use turnpike_wire::attributes::{Data, ErrorCode, XorPeerAddress};
use turnpike_wire::{Attribute, AttributeType, ChannelData, Class, Message, Method};

/// A verdict carried out.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Reply(Reply),
    ToPeer { relay: RelayId, from: SocketAddr, peer: SocketAddr, data: Vec<u8>, dont_fragment: bool },
    ToClient { to: Client, bytes: Vec<u8> },
    Wait(WaitId),
    Asking(InquiryId),
    Connecting(PeerConnectionId),
    HandOver { worker: u16 },
    Drop(Reason),
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) to: Client,
    pub(crate) bytes: Vec<u8>,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn expect_reply(self) -> Reply {
        match self {
            Outcome::Reply(reply) => reply,
            other => panic!("a response was expected, not {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_success(self) -> Reply {
        let reply = self.expect_reply();
        assert_eq!(reply.message().class(), Class::Success, "error {:?}", reply.number());
        reply
    }

    #[track_caller]
    pub(crate) fn expect_error(self, number: u16) -> Reply {
        let reply = self.expect_reply();
        assert_eq!(reply.message().class(), Class::Error, "success instead of {number}");
        assert_eq!(reply.number(), Some(number));
        reply
    }

    #[track_caller]
    pub(crate) fn expect_drop(self, reason: Reason) {
        match self {
            Outcome::Drop(given) => assert_eq!(given, reason),
            other => panic!("{reason:?} was expected, not {other:?}"),
        }
    }

    /// Nothing is sent, whatever the reason.
    #[track_caller]
    pub(crate) fn expect_silence(self) {
        assert!(matches!(self, Outcome::Drop(_)), "silence was expected, not {self:?}");
    }

    /// A datagram with exactly `data` goes to `peer`.
    #[track_caller]
    pub(crate) fn expect_to_peer(self, expected: &str, expected_data: &[u8]) {
        match self {
            Outcome::ToPeer { peer, data, .. } => {
                assert_eq!(peer, expected.parse().expect("an address"));
                assert_eq!(data, expected_data);
            }
            other => panic!("a datagram to {expected} was expected, not {other:?}"),
        }
    }

    /// The bytes that reach the client.
    #[track_caller]
    pub(crate) fn expect_to_client(self) -> Vec<u8> {
        match self {
            Outcome::ToClient { bytes, .. } => bytes,
            other => panic!("a message to the client was expected, not {other:?}"),
        }
    }

    /// ChannelData on exactly this channel with exactly these bytes, and no padding.
    #[track_caller]
    pub(crate) fn expect_channel_data(self, number: u16, expected: &[u8]) {
        let bytes = self.expect_to_client();
        let received = ChannelData::parse(&bytes).expect("ChannelData");
        assert_eq!((received.channel, received.data), (number, expected));
        assert_eq!(bytes.len(), 4 + expected.len(), "datagrams are not padded");
    }

    /// A Data indication of exactly this peer with exactly these bytes.
    #[track_caller]
    pub(crate) fn expect_data_indication(self, peer: &str, expected: &[u8]) -> Vec<u8> {
        let bytes = self.expect_to_client();
        let received = Message::parse(&bytes).expect("a message");
        assert_eq!((received.class(), received.method()), (Class::Indication, Method::DATA));
        let XorPeerAddress(from) = received.get().expect("readable").expect("XOR-PEER-ADDRESS");
        assert_eq!(from, peer.parse().expect("an address"));
        let Data(data) = received.get().expect("readable").expect("DATA");
        assert_eq!(data, expected);
        assert_ne!(received.fingerprint_is_valid(), Some(false));
        assert_eq!(received.attributes().count(), 2);
        bytes
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.bytes).expect("responses are well-formed")
    }

    #[track_caller]
    pub(crate) fn get<'r, A: Attribute<'r>>(&'r self) -> Option<A> {
        self.message().get().expect("attributes of responses are well-formed")
    }

    /// An attribute that must be there.
    #[track_caller]
    pub(crate) fn expect<'r, A: Attribute<'r>>(&'r self) -> A {
        self.get().unwrap_or_else(|| panic!("{} is missing", A::TYPE.name().unwrap_or("attribute")))
    }

    pub(crate) fn has(&self, kind: AttributeType) -> bool {
        self.message().has(kind)
    }

    /// The error number, if it is an error.
    pub(crate) fn number(&self) -> Option<u16> {
        self.get::<ErrorCode<'_>>().map(|error| error.number.number())
    }
}
