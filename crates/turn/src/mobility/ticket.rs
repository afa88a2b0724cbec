//! Tickets (RFC 8016 §3.3): what the server wants to know again, sealed.
//!
//! A ticket names the worker and the session it is for, and a number of 48 random bits that only one ticket of the
//! session has. It is sealed under a key that all workers share: a keyed hash of the content is the tag, and the
//! content is hidden by a keystream that the tag gives, so that no two different contents are hidden alike. In base64
//! it is 32 characters, which is as long and as printable as coturn's client can keep.
//!
//! Invariant: to make a ticket up, one must guess 64 bits of the tag and 48 of the number.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::nonce::NonceKey;
use crate::random::Random;
use crate::tuple::SessionId;

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Who has the allocation.
    pub(crate) worker: u16,
    pub(crate) session: SessionId,
    pub(crate) serial: Serial,
}

/// What tells a ticket from the others of its session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Serial([u8; 6]);

/// The key that seals tickets.
#[derive(Clone)]
pub(crate) struct TicketKey([u8; 32]);

impl Serial {
    pub(crate) fn new(random: &mut Random) -> Self {
        let [serial @ .., _, _] = random.next_u64().to_be_bytes();
        Serial(serial)
    }

    pub(crate) fn bytes(self) -> [u8; 6] {
        self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; 6]) -> Self {
        Serial(bytes)
    }
}

impl TicketKey {
    /// From the key of the nonces, which all workers have, and a fleet may. What one seals is never what the other
    /// does.
    pub(crate) fn derive(nonce_key: &NonceKey) -> Self {
        TicketKey(keyed(&nonce_key.to_bytes(), &[b"RFC 8016 ticket"]))
    }

    pub(crate) fn seal(&self, ticket: &Ticket) -> [u8; TICKET] {
        let mut content = [0; CONTENT];
        content[..2].copy_from_slice(&ticket.worker.to_be_bytes());
        content[2..10].copy_from_slice(&ticket.session.number().to_be_bytes());
        content[10..].copy_from_slice(&ticket.serial.0);
        let tag = self.tag(&content);
        let mut bytes = [0; TAG + CONTENT];
        bytes[..TAG].copy_from_slice(&tag);
        bytes[TAG..].copy_from_slice(&self.hide(&tag, content));
        let mut sealed = [0; TICKET];
        // It fits: 24 bytes are 32 characters, without padding.
        let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut sealed);
        sealed
    }

    /// What a ticket says, if this key has sealed it and nobody has changed it.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Ticket> {
        let sealed: &[u8; TICKET] = sealed.try_into().ok()?;
        let mut bytes = [0; TAG + CONTENT];
        URL_SAFE_NO_PAD.decode_slice(sealed, &mut bytes).ok()?;
        let (tag, hidden) = bytes.split_first_chunk::<TAG>()?;
        let content = self.hide(tag, hidden.try_into().ok()?);
        // As numbers: comparing them takes as long wherever they differ.
        if u64::from_be_bytes(self.tag(&content)) != u64::from_be_bytes(*tag) {
            return None;
        }
        let (worker, rest) = content.split_first_chunk()?;
        let (session, serial) = rest.split_first_chunk()?;
        Some(Ticket {
            worker: u16::from_be_bytes(*worker),
            session: SessionId::from_number(u64::from_be_bytes(*session)),
            serial: Serial(serial.try_into().ok()?),
        })
    }

    fn tag(&self, content: &[u8; CONTENT]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag.copy_from_slice(&keyed(&self.0, &[b"tag", content])[..TAG]);
        tag
    }

    /// Hides a content, or uncovers it.
    fn hide(&self, tag: &[u8; TAG], mut content: [u8; CONTENT]) -> [u8; CONTENT] {
        let stream = keyed(&self.0, &[b"stream", tag]);
        content.iter_mut().zip(stream).for_each(|(byte, mask)| *byte ^= mask);
        content
    }
}

impl core::fmt::Debug for TicketKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("TicketKey([redacted])")
    }
}

impl core::fmt::Debug for Serial {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Serial([redacted])")
    }
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Characters of a ticket.
pub(crate) const TICKET: usize = (TAG + CONTENT) / 3 * 4;
const TAG: usize = 8;
const CONTENT: usize = 2 + 8 + 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TicketKey {
        TicketKey::derive(&NonceKey::new([byte; 16]))
    }

    fn ticket() -> Ticket {
        Ticket { worker: 3, session: SessionId::new(1, 77), serial: Serial([1, 2, 3, 4, 5, 6]) }
    }

    #[test]
    fn a_ticket_opens_with_its_key_and_with_no_other() {
        let sealed = key(1).seal(&ticket());
        assert_eq!(key(1).open(&sealed), Some(ticket()));
        assert_eq!(key(2).open(&sealed), None);
        assert!(sealed.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
    }

    #[test]
    fn every_changed_character_breaks_the_seal() {
        let sealed = key(1).seal(&ticket());
        for index in 0..sealed.len() {
            for replacement in 0..=255 {
                let mut changed = sealed;
                changed[index] = replacement;
                assert_eq!(key(1).open(&changed).is_some(), changed == sealed);
            }
        }
        for length in 0..sealed.len() {
            assert_eq!(key(1).open(&sealed[..length]), None);
        }
    }

    #[test]
    fn tickets_of_one_session_look_unlike_each_other() {
        let mut random = Random::new([5; 16]);
        let mut sealed = || key(1).seal(&Ticket { serial: Serial::new(&mut random), ..ticket() });
        let (one, other) = (sealed(), sealed());
        let same = one.iter().zip(other).filter(|(one, other)| **one == *other).count();
        assert!(same < 8, "{same} of 32 characters alike");
    }
}
