//! Attributes of every type, made of a fuzzer's bytes, written, and read again.

use turnpike_wire::attributes::*;
use turnpike_wire::{Attribute, AttributeError, ErrorNumber, Family, Message, MessageWriter, TransactionId};

use crate::input::Input;

/// Declares [`AnyAttribute`]: each type with how one is made of an input.
macro_rules! any_attribute {
    ($($name:ident $(<$life:lifetime>)? = |$input:ident| $make:expr;)*) => {
        /// One attribute of any type this library knows.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(crate) enum AnyAttribute<'a> {
            $($name($name $(<$life>)?),)*
            /// Keeps `'a` in use whatever the list holds.
            #[allow(dead_code, reason = "never made")]
            Never(std::marker::PhantomData<&'a ()>),
        }

        impl<'a> AnyAttribute<'a> {
            /// Any attribute, with any value it can hold.
            pub(crate) fn from_input(input: &mut Input<'a>) -> Self {
                let makers: &[fn(&mut Input<'a>) -> AnyAttribute<'a>] =
                    &[$(|$input| AnyAttribute::$name($make)),*];
                makers[input.below(makers.len())](input)
            }

            pub(crate) fn write(&self, writer: &mut MessageWriter<'_>) {
                match self {
                    $(AnyAttribute::$name(attribute) => { writer.add(attribute); })*
                    AnyAttribute::Never(_) => {}
                }
            }

            /// Reads the attribute of this one's type.
            pub(crate) fn read_again<'m>(
                &self,
                value: &'m [u8],
                id: &TransactionId,
            ) -> Result<AnyAttribute<'m>, AttributeError> {
                match self {
                    $(AnyAttribute::$name(_) => $name::decode(value, id).map(AnyAttribute::$name),)*
                    AnyAttribute::Never(_) => Err(AttributeError::Range),
                }
            }

            /// Every attribute of a message that can be read by its type.
            pub(crate) fn all_of(message: &Message<'a>) -> Vec<AnyAttribute<'a>> {
                let mut all = Vec::new();
                $(all.extend(message.get::<$name>().ok().flatten().map(AnyAttribute::$name));)*
                all
            }
        }
    };
}

any_attribute! {
    MappedAddress = |input| MappedAddress(input.address());
    XorMappedAddress = |input| XorMappedAddress(input.address());
    AlternateServer = |input| AlternateServer(input.address());
    XorPeerAddress = |input| XorPeerAddress(input.address());
    XorRelayedAddress = |input| XorRelayedAddress(input.address());
    ResponseOrigin = |input| ResponseOrigin(input.address());
    OtherAddress = |input| OtherAddress(input.address());
    Username<'a> = |input| Username(input.blob());
    Realm<'a> = |input| Realm(input.blob());
    Nonce<'a> = |input| Nonce(input.blob());
    Software<'a> = |input| Software(input.blob());
    AlternateDomain<'a> = |input| AlternateDomain(input.blob());
    Origin<'a> = |input| Origin(input.blob());
    Data<'a> = |input| Data(long(input));
    MobilityTicket<'a> = |input| MobilityTicket(input.blob());
    Padding<'a> = |input| Padding(long(input));
    ThirdPartyAuthorization<'a> = |input| ThirdPartyAuthorization(input.blob());
    AccessToken<'a> = |input| AccessToken { nonce: input.blob(), sealed: input.blob() };
    UserHash = |input| UserHash(input.array());
    ErrorCode<'a> = |input| ErrorCode { number: error_number(input), reason: input.text() };
    AddressErrorCode<'a> = |input| AddressErrorCode {
        family: family(input), number: error_number(input), reason: input.text(),
    };
    UnknownAttributes<'a> = |input| UnknownAttributes::from_be_bytes(input.blob());
    PasswordAlgorithm<'a> = |input| PasswordAlgorithm {
        algorithm: input.number_u16(), parameters: input.blob(),
    };
    PasswordAlgorithms<'a> = |_input| PasswordAlgorithms::SHA256_THEN_MD5;
    ChangeRequest = |input| {
        let flags = input.byte();
        ChangeRequest { ip: flags & 1 != 0, port: flags & 2 != 0 }
    };
    ResponsePort = |input| ResponsePort(input.number_u16());
    ChannelNumber = |input| ChannelNumber(input.number_u16());
    Lifetime = |input| Lifetime(input.number_u32());
    Bandwidth = |input| Bandwidth(input.number_u32());
    EvenPort = |input| EvenPort { reserve: input.byte() & 1 != 0 };
    RequestedTransport = |input| RequestedTransport(input.byte());
    DontFragment = |_input| DontFragment;
    ReservationToken = |input| ReservationToken(input.array());
    RequestedAddressFamily = |input| RequestedAddressFamily(family(input));
    AdditionalAddressFamily = |input| AdditionalAddressFamily(family(input));
    ConnectionId = |input| ConnectionId(input.number_u32());
    Icmp = |input| Icmp { kind: input.byte() & 0x7F, code: input.byte(), error_data: input.number_u32() };
}

fn family(input: &mut Input<'_>) -> Family {
    if input.byte().is_multiple_of(2) { Family::Ipv4 } else { Family::Ipv6 }
}

fn error_number(input: &mut Input<'_>) -> ErrorNumber {
    ErrorNumber::new(300 + input.number_u16() % 400).unwrap_or(ErrorNumber::SERVER_ERROR)
}

/// Up to 64 KiB, should the input hold as many.
fn long<'a>(input: &mut Input<'a>) -> &'a [u8] {
    let length = usize::from(input.number_u16());
    input.take(length)
}
