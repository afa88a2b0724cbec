//! The PROXY protocol: what a load balancer puts in front of a connection (versions 1 and 2) or a datagram (version 2)
//! to say whose it is.
//!
//! A header names the client and the address it came to, or says that there is nobody to name: the balancer asks for
//! itself, as health checks do. Anything that is not exactly a header is an error: to guess would be to let somebody
//! choose his address. Extensions are skipped, but for the checksum, which is verified where there is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes; what follows is the client's.
    pub length: usize,
    /// Whose it is; `None` for the proxy's own, or where the proxy cannot tell.
    pub path: Option<ProxiedPath>,
}

/// Both ends as the proxy saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxiedPath {
    /// The client.
    pub client: SocketAddr,
    /// The address of the proxy that it came to.
    pub server: SocketAddr,
}

/// What the header stands in front of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A connection.
    Stream,
    /// A datagram.
    Datagram,
}

/// Why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeaderError {
    /// It does not begin like one.
    Missing,
    /// It begins like one, and is of an unknown version or command, broken, too long, of a family that has no transport
    /// addresses or of another transport, or its checksum is wrong.
    Malformed,
}

impl ProxyHeader {
    /// The longest header that is read. HAProxy and the clouds send some hundred bytes.
    pub const LONGEST: usize = 2048;

    /// Whether a datagram begins with a header.
    #[inline]
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&SIGNATURE)
    }

    /// Reads the header that `bytes` begin with; `None` where more of them are needed to tell. A datagram has no more.
    ///
    /// # Errors
    /// They begin with none.
    pub fn read(bytes: &[u8], carrier: Carrier) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
        let read = if begins_like(bytes, &SIGNATURE) {
            read_binary(bytes, carrier)?
        } else if carrier == Carrier::Stream && begins_like(bytes, WORD) {
            read_text(bytes)?
        } else {
            return Err(ProxyHeaderError::Missing);
        };
        match (read, carrier) {
            (None, Carrier::Datagram) => Err(ProxyHeaderError::Malformed),
            (read, _) => Ok(read),
        }
    }
}

/// Whether one is the beginning of the other.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    let shared = bytes.len().min(start.len());
    bytes[..shared] == start[..shared]
}

/// Version 2.
fn read_binary(bytes: &[u8], carrier: Carrier) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else { return Ok(None) };
    let [version_and_command, family_and_transport, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || FIXED + length > ProxyHeader::LONGEST {
        return Err(ProxyHeaderError::Malformed);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let header = |path| Ok(Some(ProxyHeader { length: FIXED + length, path }));
    match version_and_command & 0xF {
        LOCAL => return header(None),
        PROXY => {}
        _ => return Err(ProxyHeaderError::Malformed),
    }
    let transport = match carrier {
        Carrier::Stream => 1,
        Carrier::Datagram => 2,
    };
    let (path, extensions) = match (family_and_transport >> 4, family_and_transport & 0xF) {
        (0, 0) => return header(None),
        (1, carried) if carried == transport => read_ends::<4>(body)?,
        (2, carried) if carried == transport => read_ends::<16>(body)?,
        _ => return Err(ProxyHeaderError::Malformed),
    };
    check_extensions(&bytes[..FIXED + length], extensions)?;
    header(Some(path))
}

/// Two addresses of `N` bytes, two ports, and what follows them.
fn read_ends<const N: usize>(body: &[u8]) -> Result<(ProxiedPath, &[u8]), ProxyHeaderError> {
    let (ends, extensions) = body.split_at_checked(2 * N + 4).ok_or(ProxyHeaderError::Malformed)?;
    let port = |at: usize| u16::from_be_bytes([ends[at], ends[at + 1]]);
    let end = |ip: &[u8], port| Some(canonical(address(ip)?, port));
    let path = end(&ends[..N], port(2 * N)).zip(end(&ends[N..2 * N], port(2 * N + 2)));
    let (client, server) = path.ok_or(ProxyHeaderError::Malformed)?;
    Ok((ProxiedPath { client, server }, extensions))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()),
    }
}

/// IPv4 that a balancer's dual-stack socket shows as IPv6 is IPv4.
fn canonical(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

/// Goes through type, length and value of each extension, which must fill the header exactly.
fn check_extensions(header: &[u8], mut rest: &[u8]) -> Result<(), ProxyHeaderError> {
    while !rest.is_empty() {
        let [kind, high, low, after @ ..] = rest else { return Err(ProxyHeaderError::Malformed) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = after.split_at_checked(length).ok_or(ProxyHeaderError::Malformed)?;
        if *kind == CHECKSUM {
            let at = header.len() - after.len();
            let stated = <[u8; 4]>::try_from(value).map_err(|_| ProxyHeaderError::Malformed)?;
            if u32::from_be_bytes(stated) != checksum(header, at) {
                return Err(ProxyHeaderError::Malformed);
            }
        }
        rest = next;
    }
    Ok(())
}

/// CRC32C over a header, with zeros in place of the four bytes at `zeroed` that hold it.
fn checksum(header: &[u8], zeroed: usize) -> u32 {
    let mut state = u32::MAX;
    for (at, byte) in header.iter().enumerate() {
        let byte = if (zeroed..zeroed + 4).contains(&at) { 0 } else { *byte };
        state = state >> 8 ^ TABLE[usize::from(state as u8 ^ byte)];
    }
    !state
}

/// Version 1, a line of text.
fn read_text(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LONGEST_LINE { Ok(None) } else { Err(ProxyHeaderError::Malformed) };
    };
    let text = std::str::from_utf8(&line[WORD.len()..end]).map_err(|_| ProxyHeaderError::Malformed)?;
    let mut words = text.split(' ');
    let path = match words.next() {
        // What else it says is not for us.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(read_words::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(read_words::<Ipv6Addr>(words)?),
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Some(ProxyHeader { length: end + 2, path }))
}

/// Source and destination address, source and destination port, and nothing else.
fn read_words<'t, A>(mut words: impl Iterator<Item = &'t str>) -> Result<ProxiedPath, ProxyHeaderError>
where
    A: FromStr + Into<IpAddr>,
{
    let mut ip = || words.next().and_then(|word| word.parse::<A>().ok()).map(Into::into);
    let (client, server) = (ip(), ip());
    let mut port = || words.next().and_then(decimal);
    let ports = (port(), port());
    match (client, server, ports, words.next()) {
        (Some(client), Some(server), (Some(source), Some(destination)), None) => {
            Ok(ProxiedPath { client: canonical(client, source), server: canonical(server, destination) })
        }
        _ => Err(ProxyHeaderError::Malformed),
    }
}

/// A port as the protocol writes it: digits, without a leading zero.
fn decimal(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED: usize = 16;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;
/// The type of the extension that holds a CRC32C.
const CHECKSUM: u8 = 3;
/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// CRC32C, by bytes.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut state = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            state = if state & 1 == 1 { state >> 1 ^ 0x82F6_3B78 } else { state >> 1 };
            bit += 1;
        }
        table[byte] = state;
        byte += 1;
    }
    table
};

#[cfg(test)]
#[path = "proxy_header_tests.rs"]
mod tests;
