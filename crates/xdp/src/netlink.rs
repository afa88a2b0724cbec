//! Questions to the kernel by netlink, and their answers.

use std::io;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Sends a request, and hands every message of the answer (kind and body) to `read`.
pub(crate) fn ask(
    protocol: Option<Protocol>,
    kind: u16,
    flags: u16,
    body: &[u8],
    mut read: impl FnMut(u16, &[u8]),
) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    send(&socket, &request(kind, flags, body), SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    // A machine with a thousand interfaces sends about fifty buffers.
    for _ in 0..MOST_BUFFERS {
        let (_, length) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if !read_messages(&buffer[..length.min(BUFFER)], &mut read)? {
            return Ok(());
        }
    }
    Err(io::Error::other("the kernel's answer does not end"))
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    // With an acknowledgement every answer has an end, be it a list or not.
    let flags = flags | NLM_F_REQUEST | NLM_F_ACK;
    let mut request = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&1_u32.to_ne_bytes());
    request.extend_from_slice(&[0; 4]);
    request.extend_from_slice(body);
    request
}

/// Reads the messages of one buffer; returns whether there are more to come.
pub(crate) fn read_messages(mut rest: &[u8], read: &mut impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while rest.len() >= HEADER {
        let length = (u32_at(rest, 0) as usize).clamp(HEADER, rest.len());
        let body = &rest[HEADER..length];
        match u16_at(rest, 4) {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let code = i32::from_ne_bytes(u32_at(body, 0).to_ne_bytes());
                return if code == 0 {
                    Ok(false)
                } else {
                    Err(io::Error::from_raw_os_error(code.wrapping_neg()))
                };
            }
            kind => read(kind, body),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// Attributes: length, kind, value, padded to four bytes.
pub(crate) struct Attributes<'b>(pub(crate) &'b [u8]);

impl<'b> Iterator for Attributes<'b> {
    type Item = (u16, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let Attributes(rest) = self;
        let length = usize::from(u16_at(rest, 0));
        let value = rest.get(4..length)?;
        let kind = u16_at(rest, 2) & ATTRIBUTE_KIND;
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// One attribute.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Whether an interface can send frames that the XDP program of another, or its own, hands to it; `None` where the kernel
/// does not say (before Linux 6.3).
pub(crate) fn takes_redirected_frames(index: u32) -> Option<bool> {
    let generic = Some(GENERIC);
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
    let mut family = None;
    ask(generic, GENL_ID_CTRL, 0, &[&[CTRL_CMD_GETFAMILY, 1, 0, 0], &name[..]].concat(), |_, body| {
        let mut attributes = Attributes(body.get(GENERIC_HEADER..).unwrap_or_default());
        family = attributes.find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID).map(|(_, value)| u16_at(value, 0));
    })
    .ok()?;
    let index = attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
    let mut features = None;
    ask(generic, family?, 0, &[&[NETDEV_CMD_DEV_GET, 1, 0, 0], &index[..]].concat(), |_, body| {
        let mut attributes = Attributes(body.get(GENERIC_HEADER..).unwrap_or_default());
        features =
            attributes.find(|(kind, _)| *kind == NETDEV_A_DEV_XDP_FEATURES).map(|(_, value)| u64_at(value));
    })
    .ok()?;
    Some(features? & NETDEV_XDP_ACT_NDO_XMIT != 0)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |word| u16::from_ne_bytes([word[0], word[1]]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}

fn u64_at(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// A whole list is asked for.
pub(crate) const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const BUFFER: usize = 32_768;
const MOST_BUFFERS: usize = 10_000;
const HEADER: usize = 16;
/// Without the bits that mark nested attributes and those in network byte order.
const ATTRIBUTE_KIND: u16 = 0x3FFF;
const GENERIC: Protocol = rustix::net::netlink::GENERIC;
const GENERIC_HEADER: usize = 4;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_NDO_XMIT: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn messages_are_read_up_to_the_end_an_acknowledgement_or_an_error() {
        let two = [message(16, b"one"), message(16, b"other")].concat();
        let read = |bytes: &[u8]| {
            let mut bodies = Vec::new();
            let more = read_messages(bytes, &mut |_, body: &[u8]| bodies.push(body.to_vec()));
            (bodies, more.map_err(|error| error.raw_os_error()))
        };
        let bodies = vec![b"one".to_vec(), b"other".to_vec()];
        assert_eq!(read(&two), (bodies.clone(), Ok(true)));
        assert_eq!(read(&[&two[..], &message(3, &[0; 4])].concat()), (bodies.clone(), Ok(false)));
        assert_eq!(read(&[&two[..], &message(2, &[0; 20])].concat()), (bodies.clone(), Ok(false)));
        let refused = message(2, &(-1_i32).to_ne_bytes());
        assert_eq!(read(&[&two[..], &refused].concat()), (bodies, Err(Some(1))));
    }

    #[test]
    fn messages_cut_off_anywhere_are_read_without_harm() {
        let whole = [message(16, &attribute(3, &[7; 9])), message(3, &[0; 4])].concat();
        for length in 0..whole.len() {
            let _ =
                read_messages(&whole[..length], &mut |_, body: &[u8]| assert!(Attributes(body).count() < 9));
        }
    }

    #[test]
    fn loopback_takes_no_redirected_frames() {
        assert_ne!(takes_redirected_frames(1), Some(true));
        assert_eq!(takes_redirected_frames(u32::MAX), None, "there is no such interface");
    }
}
