//! Binding, with NAT behaviour discovery where it is offered (RFC 5780 §6.1).
//!
//! Invariants: an answer goes to the address that asked, at most to another port of it. It is hardly larger than the
//! request, whatever PADDING asks for. One that is diverted or padded counts against its source's budget unless the
//! request was signed, for these are what somebody who shares that address, or forges it, would ask for.

use std::net::SocketAddr;

use turnpike_wire::attributes::{
    ChangeRequest, ChangedAddress, MappedAddress, OtherAddress, Padding, ResponseOrigin, ResponsePort,
    SourceAddress, XorMappedAddress,
};
use turnpike_wire::{Attribute, AttributeType, ErrorNumber, MessageWriter, Method};

use super::{Answer, Refused, Request, unknown_attributes};
use crate::reason::Reason;
use crate::server::Server;
use crate::tuple::Client;
use crate::user::User;

/// What a Binding response says and where it goes, where discovery is offered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Discovered {
    /// The way to whoever gets it.
    pub(crate) to: Client,
    mapped: SocketAddr,
    origin: SocketAddr,
    other: SocketAddr,
    /// Bytes of PADDING.
    padding: Option<usize>,
}

impl Server {
    /// The client's own address, and the server's others where there are some.
    pub(super) fn binding(&mut self, request: &Request<'_>, user: Option<&User>) -> Result<Answer, Refused> {
        let tuple = request.client.tuple;
        let Some(here) = self.config.corner(&tuple) else { return Ok(Answer::Mapped) };
        let mut discovered = Discovered {
            to: request.client,
            mapped: tuple.client,
            origin: here.told(),
            other: here.changed(true, true).told(),
            padding: None,
        };
        // Elsewhere they were refused as unknown.
        let asked = |kind| request.message.has(kind);
        if !DISCOVERY.iter().any(|kind| asked(*kind)) {
            return Ok(Answer::Discovered(discovered));
        }
        // RFC 5780 §6.1: together they would send something large to where nobody asked for it.
        if asked(AttributeType::RESPONSE_PORT) && asked(AttributeType::PADDING) {
            return Err(BAD_REQUEST);
        }
        if let Some(ChangeRequest { ip, port }) = read(request)? {
            let there = here.changed(ip, port);
            discovered.to = there.way_to(tuple.client);
            discovered.origin = there.told();
        }
        if let Some(ResponsePort(port)) = read(request)? {
            // Nothing can be sent to port 0.
            if port == 0 {
                return Err(BAD_REQUEST);
            }
            discovered.to.tuple.client.set_port(port);
        }
        discovered.padding = read::<Padding<'_>>(request)?.map(|Padding(filler)| padding_for(filler.len()));
        let signed = user.and_then(User::key).is_some();
        if !signed && self.spend_budget(request).is_err() {
            return Ok(Answer::Withheld);
        }
        Ok(Answer::Discovered(discovered))
    }

    /// The comprehension-required attributes of a request that are not understood there, in order.
    pub(crate) fn unknown_in<'m>(
        &self,
        request: &Request<'m>,
    ) -> impl Iterator<Item = AttributeType> + use<'m> {
        let method = request.message.method();
        let discovers = method == Method::BINDING && self.config.discovers(&request.client.tuple);
        let bears = self.bears_token(request);
        let binds = method == Method::CONNECTION_BIND;
        unknown_attributes(&request.message).filter(move |kind| {
            !(discovers && DISCOVERY.contains(kind)
                || binds && *kind == AttributeType::CONNECTION_ID
                || bears && *kind == AttributeType::ACCESS_TOKEN)
        })
    }
}

impl Discovered {
    pub(crate) fn write(&self, writer: &mut MessageWriter<'_>) {
        // RFC 5780 §6.1 wants both forms: where they differ on arrival, something on the path rewrites addresses.
        writer
            .add(&XorMappedAddress(self.mapped))
            .add(&MappedAddress(self.mapped))
            .add(&ResponseOrigin(self.origin))
            .add(&OtherAddress(self.other))
            .add_some(self.padding.and_then(|length| FILLER.get(..length)).map(Padding).as_ref());
    }

    /// As clients of RFC 3489 know it.
    pub(crate) fn write_classic(&self, writer: &mut MessageWriter<'_>) {
        writer
            .add(&MappedAddress(self.mapped))
            .add(&SourceAddress(self.origin))
            .add(&ChangedAddress(self.other));
    }
}

/// An attribute of a request, if it is there.
fn read<'m, A: Attribute<'m>>(request: &Request<'m>) -> Result<Option<A>, Refused> {
    request.message.get().map_err(|_| BAD_REQUEST)
}

/// How much filler answers so much filler. RFC 5780 §7.6 wants as much as the interface's MTU; but then a few bytes
/// from a forged source would become 1500 to it. Whoever wants that much sends as much.
fn padding_for(asked: usize) -> usize {
    asked.next_multiple_of(4).min(LARGEST_PADDING)
}

const BAD_REQUEST: Refused = Refused { number: ErrorNumber::BAD_REQUEST, reason: Reason::BadRequest };
/// The MTU of Ethernet: with the rest of the message it takes two fragments.
const LARGEST_PADDING: usize = 1500;
const FILLER: [u8; LARGEST_PADDING] = [0; LARGEST_PADDING];
/// What a request may ask where discovery is offered.
const DISCOVERY: [AttributeType; 3] =
    [AttributeType::CHANGE_REQUEST, AttributeType::RESPONSE_PORT, AttributeType::PADDING];
