//! A ClientHello as far as the cookie is concerned (RFC 6347 §4.2.1, §4.2.2), read in place.

/// The first record of a datagram, if it is a ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientHello<'d> {
    /// The record's sequence number, which the answer has to repeat.
    pub(crate) sequence: [u8; 6],
    /// Version, random and session id.
    pub(crate) before_cookie: &'d [u8],
    pub(crate) cookie: &'d [u8],
    /// Cipher suites and compression methods.
    pub(crate) after_cookie: &'d [u8],
}

/// What a datagram turned out to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning<'d> {
    Hello(ClientHello<'d>),
    /// A ClientHello in pieces or out of order: to put it together would take memory for a stranger.
    Unusable,
    /// No ClientHello in the clear.
    Other,
}

impl<'d> ClientHello<'d> {
    pub(crate) fn look(datagram: &'d [u8]) -> Beginning<'d> {
        let Some((header, rest)) = datagram.split_at_checked(RECORD_HEADER) else { return Beginning::Other };
        let in_the_clear = header[0] == HANDSHAKE && header[3..5] == [0, 0];
        if !in_the_clear || rest.first() != Some(&CLIENT_HELLO) {
            return Beginning::Other;
        }
        match ClientHello::parse(header, rest) {
            Some(hello) => Beginning::Hello(hello),
            None => Beginning::Unusable,
        }
    }

    fn parse(header: &[u8], rest: &'d [u8]) -> Option<Self> {
        if header[1] != VERSION_MAJOR {
            return None;
        }
        let record = rest.get(..usize::from(u16::from_be_bytes([header[11], header[12]])))?;
        let (message, body) = record.split_at_checked(MESSAGE_HEADER)?;
        let whole = message[1..4] == message[9..12] && message[6..9] == [0, 0, 0];
        let length = u32::from_be_bytes([0, message[1], message[2], message[3]]) as usize;
        // The first message of a client, or the second where a cookie was asked for.
        let in_order = message[4] == 0 && message[5] <= 1;
        if !whole || !in_order || length != body.len() {
            return None;
        }
        let session_end = FIXED + 1 + usize::from(*body.get(FIXED)?);
        let before_cookie = body.get(..session_end)?;
        let cookie_length = usize::from(*body.get(session_end)?);
        let cookie = body.get(session_end + 1..session_end + 1 + cookie_length)?;
        let rest = &body[session_end + 1 + cookie_length..];
        let suites = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let methods = usize::from(*rest.get(2 + suites)?);
        let after_cookie = rest.get(..2 + suites + 1 + methods)?;
        if suites < 2 || methods < 1 || before_cookie[0] != VERSION_MAJOR {
            return None;
        }
        let mut sequence = [0; 6];
        sequence.copy_from_slice(&header[5..11]);
        Some(ClientHello { sequence, before_cookie, cookie, after_cookie })
    }
}

/// Type, version, epoch, sequence number and length.
pub(crate) const RECORD_HEADER: usize = 13;
/// Type, length, message number, fragment's offset and length.
pub(crate) const MESSAGE_HEADER: usize = 12;
pub(crate) const HANDSHAKE: u8 = 22;
pub(crate) const VERSION_MAJOR: u8 = 0xFE;
const CLIENT_HELLO: u8 = 1;
/// Version and random.
const FIXED: usize = 2 + 32;
