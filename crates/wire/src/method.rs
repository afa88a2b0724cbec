//! Message classes and methods, and how the 14 bits of the type field interleave them (RFC 8489 §5).

/// What a message is within its transaction (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Asks for a response.
    Request,
    /// Asks for nothing.
    Indication,
    /// The request was carried out.
    Success,
    /// The request was refused; an ERROR-CODE says why.
    Error,
}

/// What a message is about: a 12-bit number from the IANA registry of STUN methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// RFC 8489 §3.
    pub const BINDING: Method = Method(0x001);
    /// RFC 8656 §7.
    pub const ALLOCATE: Method = Method(0x003);
    /// RFC 8656 §8.
    pub const REFRESH: Method = Method(0x004);
    /// RFC 8656 §11.
    pub const SEND: Method = Method(0x006);
    /// RFC 8656 §11.
    pub const DATA: Method = Method(0x007);
    /// RFC 8656 §10.
    pub const CREATE_PERMISSION: Method = Method(0x008);
    /// RFC 8656 §12.
    pub const CHANNEL_BIND: Method = Method(0x009);
    /// RFC 6062 §4.3.
    pub const CONNECT: Method = Method(0x00A);
    /// RFC 6062 §4.4.
    pub const CONNECTION_BIND: Method = Method(0x00B);
    /// RFC 6062 §4.4.
    pub const CONNECTION_ATTEMPT: Method = Method(0x00C);

    /// A method by its number; only the low 12 bits count.
    pub const fn new(number: u16) -> Self {
        Method(number & 0x0FFF)
    }

    /// The 12-bit number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The name used in the RFCs, or `None` for a method this library has no name for.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Method::BINDING => "BINDING",
            Method::ALLOCATE => "ALLOCATE",
            Method::REFRESH => "REFRESH",
            Method::SEND => "SEND",
            Method::DATA => "DATA",
            Method::CREATE_PERMISSION => "CREATE_PERMISSION",
            Method::CHANNEL_BIND => "CHANNEL_BIND",
            Method::CONNECT => "CONNECT",
            Method::CONNECTION_BIND => "CONNECTION_BIND",
            Method::CONNECTION_ATTEMPT => "CONNECTION_ATTEMPT",
            _ => return None,
        })
    }
}

/// Splits a type field (top two bits already known to be zero) into class and method.
pub(crate) const fn split(message_type: u16) -> (Class, Method) {
    let class = match (message_type & 0x0100 != 0, message_type & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    };
    let method = (message_type & 0x000F) | ((message_type & 0x00E0) >> 1) | ((message_type & 0x3E00) >> 2);
    (class, Method(method))
}

/// Joins class and method into a type field.
pub(crate) const fn join(class: Class, method: Method) -> u16 {
    let class_bits = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    let number = method.0;
    class_bits | (number & 0x000F) | ((number & 0x0070) << 1) | ((number & 0x0F80) << 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_method_survives_joining_and_splitting() {
        for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
            for number in 0..0x1000 {
                let joined = join(class, Method(number));
                assert_eq!(joined & 0xC000, 0);
                assert_eq!(split(joined), (class, Method(number)));
            }
        }
    }

    #[test]
    fn known_type_fields_have_their_registered_values() {
        assert_eq!(join(Class::Request, Method::BINDING), 0x0001);
        assert_eq!(join(Class::Success, Method::BINDING), 0x0101);
        assert_eq!(join(Class::Error, Method::ALLOCATE), 0x0113);
        assert_eq!(join(Class::Indication, Method::SEND), 0x0016);
        assert_eq!(join(Class::Indication, Method::DATA), 0x0017);
    }
}
