//! STUN messages read the plain way, from RFC 8489 alone: nothing here is shared with the code under test.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use turnpike_turn::Reason;

/// A message taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    bytes: Vec<u8>,
    /// Whether the two class bits say request (0), indication (1), success (2) or error (3).
    pub(crate) class: u8,
    /// The method's number.
    pub(crate) method: u16,
    /// The transaction id.
    pub(crate) id: [u8; 12],
    /// The attributes that count: those before integrity and FINGERPRINT.
    pub(crate) attributes: Vec<Attribute>,
    /// MESSAGE-INTEGRITY.
    sha1: Option<Attribute>,
    /// MESSAGE-INTEGRITY-SHA256.
    sha256: Option<Attribute>,
    fingerprint: Option<Attribute>,
}

/// An attribute and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// Its type.
    pub(crate) kind: u16,
    /// Its value.
    pub(crate) value: Vec<u8>,
    /// Where its header begins.
    pub(crate) at: usize,
}

/// Which integrity attribute decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// There is none.
    None,
    /// MESSAGE-INTEGRITY.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

impl Parsed {
    /// RFC 8489 §5 and §14: header, length, magic cookie, and attributes one after the other.
    pub(crate) fn read(bytes: &[u8]) -> Result<Parsed, Reason> {
        if bytes.len() < 20 {
            return Err(Reason::Malformed);
        }
        if bytes[4..8] != [0x21, 0x12, 0xA4, 0x42] {
            return Err(Reason::NoMagicCookie);
        }
        let length = usize::from(number(&bytes[2..4]));
        if length % 4 != 0 || bytes.len() != 20 + length {
            return Err(Reason::Malformed);
        }
        let all = read_attributes(bytes)?;
        let type_field = number(bytes);
        let mut method = 0;
        // The 12 bits of the method lie around the class bits 4 and 8.
        for (bit, position) in [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13].into_iter().enumerate() {
            method |= (type_field >> position & 1) << bit;
        }
        let mut parsed = Parsed {
            bytes: bytes.to_vec(),
            class: (type_field >> 4 & 1 | type_field >> 7 & 2) as u8,
            method,
            id: bytes[8..20].try_into().expect("12 bytes"),
            attributes: Vec::new(),
            sha1: None,
            sha256: None,
            fingerprint: None,
        };
        for attribute in all {
            parsed.place(attribute);
        }
        Ok(parsed)
    }

    /// RFC 8489 §14.5-14.7: after MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and FINGERPRINT count,
    /// after that one only FINGERPRINT, after FINGERPRINT nothing.
    fn place(&mut self, attribute: Attribute) {
        if self.fingerprint.is_some() {
            return;
        }
        match attribute.kind {
            FINGERPRINT => self.fingerprint = Some(attribute),
            MESSAGE_INTEGRITY_SHA256 => {
                if self.sha256.is_none() {
                    self.sha256 = Some(attribute);
                }
            }
            MESSAGE_INTEGRITY => {
                if self.sha1.is_none() && self.sha256.is_none() {
                    self.sha1 = Some(attribute);
                }
            }
            _ => {
                if self.sha1.is_none() && self.sha256.is_none() {
                    self.attributes.push(attribute);
                }
            }
        }
    }

    /// The first attribute of this type.
    pub(crate) fn find(&self, kind: u16) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.kind == kind)
    }

    /// The value of the first attribute of this type.
    pub(crate) fn value(&self, kind: u16) -> Option<&[u8]> {
        self.find(kind).map(|attribute| &attribute.value[..])
    }

    /// Which integrity attribute decides (RFC 8489 §9.2.4).
    pub(crate) fn protection(&self) -> Protection {
        match (&self.sha1, &self.sha256) {
            (_, Some(_)) => Protection::Sha256,
            (Some(_), None) => Protection::Sha1,
            (None, None) => Protection::None,
        }
    }

    /// Whether there is a MESSAGE-INTEGRITY, alone or with the other.
    pub(crate) fn has_sha1(&self) -> bool {
        self.sha1.is_some()
    }

    /// Whether the integrity attribute that decides was made with `key`.
    pub(crate) fn is_signed_with(&self, key: &[u8]) -> bool {
        match (&self.sha1, &self.sha256) {
            (_, Some(tag)) => {
                let length = tag.value.len();
                let allowed = [16, 20, 24, 28, 32].contains(&length);
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
                mac.update(&self.covered(tag));
                allowed && mac.finalize().into_bytes()[..length] == tag.value[..]
            }
            (Some(tag), None) => {
                let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("any length");
                mac.update(&self.covered(tag));
                mac.finalize().into_bytes()[..] == tag.value[..]
            }
            (None, None) => false,
        }
    }

    /// Whether there is a FINGERPRINT.
    pub(crate) fn has_fingerprint(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Whether the FINGERPRINT, if there is one, is right.
    pub(crate) fn fingerprint_fits(&self) -> bool {
        match &self.fingerprint {
            None => true,
            Some(tag) => {
                let mut covered = self.bytes[..tag.at].to_vec();
                covered[2..4].copy_from_slice(&((tag.at + 8 - 20) as u16).to_be_bytes());
                let crc = crc32fast::hash(&covered) ^ 0x5354_554E;
                tag.value == crc.to_be_bytes()
            }
        }
    }

    /// The message before `tag`, with the length field as if the message ended after it.
    fn covered(&self, tag: &Attribute) -> Vec<u8> {
        let mut covered = self.bytes[..tag.at].to_vec();
        let end = tag.at + 4 + tag.value.len().div_ceil(4) * 4;
        covered[2..4].copy_from_slice(&((end - 20) as u16).to_be_bytes());
        covered
    }
}

fn read_attributes(bytes: &[u8]) -> Result<Vec<Attribute>, Reason> {
    let mut attributes = Vec::new();
    let mut at = 20;
    while at < bytes.len() {
        if at + 4 > bytes.len() {
            return Err(Reason::Malformed);
        }
        let length = usize::from(number(&bytes[at + 2..]));
        let padded = length.div_ceil(4) * 4;
        if at + 4 + padded > bytes.len() {
            return Err(Reason::Malformed);
        }
        let value = bytes[at + 4..at + 4 + length].to_vec();
        attributes.push(Attribute { kind: number(&bytes[at..]), value, at });
        at += 4 + padded;
    }
    Ok(attributes)
}

/// The big-endian number in the first two bytes.
pub(crate) fn number(bytes: &[u8]) -> u16 {
    u16::from(bytes[0]) << 8 | u16::from(bytes[1])
}

/// An address attribute's value (RFC 8489 §14.2), xored or not.
pub(crate) fn write_address(address: SocketAddr, xor: bool, id: &[u8; 12]) -> Vec<u8> {
    let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
    value.extend(address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => value.extend(ip.octets()),
        IpAddr::V6(ip) => value.extend(ip.octets()),
    }
    if xor {
        xor_address(&mut value, id);
    }
    value
}

/// Reads an xored address.
pub(crate) fn read_xored(value: &[u8], id: &[u8; 12]) -> Option<SocketAddr> {
    let mut value = value.to_vec();
    let right_length = matches!((value.get(1), value.len()), (Some(1), 8) | (Some(2), 20));
    if !right_length {
        return None;
    }
    xor_address(&mut value, id);
    let port = number(&value[2..]);
    let ip = if value[1] == 1 {
        IpAddr::from(<[u8; 4]>::try_from(&value[4..]).ok()?)
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&value[4..]).ok()?)
    };
    Some(SocketAddr::new(ip, port))
}

fn xor_address(value: &mut [u8], id: &[u8; 12]) {
    let mut mask = vec![0x21, 0x12, 0xA4, 0x42];
    mask.extend(id);
    value[2] ^= mask[0];
    value[3] ^= mask[1];
    for index in 4..value.len() {
        value[index] ^= mask[index - 4];
    }
}

const MESSAGE_INTEGRITY: u16 = 0x0008;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const FINGERPRINT: u16 = 0x8028;
