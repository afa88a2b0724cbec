//! What can be asked of a server, and how each request is written.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use turnpike_wire::attributes::{
    AdditionalAddressFamily, ChangeRequest, ChannelNumber, ConnectionId, DontFragment, EvenPort, Lifetime,
    MobilityTicket, Origin, Padding, RequestedAddressFamily, ResponsePort, Software, XorPeerAddress,
};
use turnpike_wire::{AttributeType, Class, Family, MessageWriter, Method, TransactionId};

use crate::authentication::Authentication;
use crate::config::{AllocateOptions, ClientConfig, Port};

/// Names one request of one client; numbers start again after 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(crate) u32);

/// Why a request was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Credentials, realm, nonce and attributes together exceed what one request may hold.
    #[error("the request would be larger than {MAX_REQUEST} bytes")]
    TooLarge,
    /// There is no allocation, or the server has given no ticket with it.
    #[error("there is no mobility ticket to show")]
    NoTicket,
    /// CreatePermission without a peer, or with more than [`MAX_PEERS_PER_REQUEST`].
    #[error("a CreatePermission request takes 1 to {MAX_PEERS_PER_REQUEST} peers")]
    PeerCount,
}

/// What a Binding request asks beyond one's address (RFC 5780 §7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindingOptions {
    /// CHANGE-REQUEST: answer from the other address or port.
    pub change: Option<ChangeRequest>,
    /// RESPONSE-PORT: answer to another port of this host.
    pub response_port: Option<u16>,
    /// PADDING of this many bytes.
    pub padding: Option<u16>,
    /// Sign the request with the credentials, should the server challenge it.
    pub authenticate: bool,
}

/// One request, kept until it is answered so that it can be asked again after a challenge.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Binding(BindingOptions),
    Allocate(AllocateOptions),
    Refresh { lifetime: Option<u32>, family: Option<Family>, ticket: Option<Box<[u8]>> },
    CreatePermission { peers: Box<[IpAddr]> },
    ChannelBind { channel: u16, peer: SocketAddr },
    Connect { peer: SocketAddr },
    ConnectionBind { connection: u32 },
    Custom { method: Method, attributes: Box<[(AttributeType, Box<[u8]>)]> },
}

impl Request {
    pub(crate) fn method(&self) -> Method {
        match self {
            Request::Binding(_) => Method::BINDING,
            Request::Allocate(_) => Method::ALLOCATE,
            Request::Refresh { .. } => Method::REFRESH,
            Request::CreatePermission { .. } => Method::CREATE_PERMISSION,
            Request::ChannelBind { .. } => Method::CHANNEL_BIND,
            Request::Connect { .. } => Method::CONNECT,
            Request::ConnectionBind { .. } => Method::CONNECTION_BIND,
            Request::Custom { method, .. } => *method,
        }
    }

    /// Whether the request is signed: all but Binding are as soon as the realm is known (RFC 8656 §5).
    pub(crate) fn wants_authentication(&self) -> bool {
        !matches!(self, Request::Binding(BindingOptions { authenticate: false, .. }))
    }

    /// The whole message, signed if `authentication` has what it takes and the request wants it.
    pub(crate) fn write(
        &self,
        id: TransactionId,
        config: &ClientConfig,
        authentication: &Authentication,
    ) -> Result<Box<[u8]>, RequestError> {
        let mut room = [0; MAX_REQUEST];
        let mut writer = MessageWriter::new(&mut room, Class::Request, self.method(), id);
        if let Some(software) = &config.software {
            writer.add(&Software(software.as_bytes()));
        }
        self.write_attributes(&mut writer);
        if let Some(origin) = &config.origin {
            writer.add(&Origin(origin.as_bytes()));
        }
        if self.wants_authentication() {
            authentication.sign(&mut writer, config.credentials.as_ref());
        }
        if config.fingerprint {
            writer.fingerprint();
        }
        writer.finish().map(Box::from).map_err(|_| RequestError::TooLarge)
    }

    fn write_attributes(&self, writer: &mut MessageWriter<'_>) {
        match self {
            Request::Binding(options) => write_binding(options, writer),
            Request::Allocate(options) => write_allocate(options, writer),
            Request::Refresh { lifetime, family, ticket } => {
                writer
                    .add_some(lifetime.map(Lifetime).as_ref())
                    .add_some(family.map(RequestedAddressFamily).as_ref())
                    .add_some(ticket.as_deref().map(MobilityTicket).as_ref());
            }
            Request::CreatePermission { peers } => {
                for peer in peers {
                    writer.add(&XorPeerAddress(SocketAddr::new(*peer, 0)));
                }
            }
            Request::ChannelBind { channel, peer } => {
                writer.add(&ChannelNumber(*channel)).add(&XorPeerAddress(*peer));
            }
            Request::Connect { peer } => {
                writer.add(&XorPeerAddress(*peer));
            }
            Request::ConnectionBind { connection } => {
                writer.add(&ConnectionId(*connection));
            }
            Request::Custom { attributes, .. } => {
                for (kind, value) in attributes {
                    writer.add_raw(*kind, value);
                }
            }
        }
    }
}

fn write_binding(options: &BindingOptions, writer: &mut MessageWriter<'_>) {
    writer.add_some(options.change.as_ref()).add_some(options.response_port.map(ResponsePort).as_ref());
    if let Some(length) = options.padding {
        let filler: Vec<u8> = core::iter::repeat_n(0, usize::from(length)).collect();
        writer.add(&Padding(&filler));
    }
}

/// RFC 8656 §7.1.
fn write_allocate(options: &AllocateOptions, writer: &mut MessageWriter<'_>) {
    writer.add(&options.transport).add_some(options.lifetime.map(Lifetime).as_ref());
    match options.port {
        Port::Any => {}
        Port::Even => _ = writer.add(&EvenPort { reserve: false }),
        Port::EvenAndReserveNext => _ = writer.add(&EvenPort { reserve: true }),
        Port::Reserved(token) => _ = writer.add(&token),
    }
    writer
        .add_some(options.family.map(RequestedAddressFamily).as_ref())
        .add_some(options.additional_family.map(AdditionalAddressFamily).as_ref())
        .add_some(options.dont_fragment.then_some(&DontFragment))
        .add_some(options.mobility.then_some(&MobilityTicket(&[])));
    if let Some(bandwidth) = options.bandwidth {
        writer.add_raw(BANDWIDTH, &bandwidth.to_be_bytes());
    }
}

/// Peers in one CreatePermission request, so that it stays within one unfragmented datagram.
pub const MAX_PEERS_PER_REQUEST: usize = 32;
/// What coturn and its clients use for bandwidth: not the registered 0x0010, which must be understood.
const BANDWIDTH: AttributeType = AttributeType(0x8010);
/// The largest user name, realm and nonce, 32 IPv6 peers and the rest fit.
pub(crate) const MAX_REQUEST: usize = 4096;
