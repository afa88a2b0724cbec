//! Attributes of RFC 7635, third-party authorisation.

use super::{Attribute, AttributeError, AttributeType, bytes_attributes};
use crate::message::TransactionId;

bytes_attributes! {
    /// The name a client must ask its authorisation server for (RFC 7635 §6.1).
    ThirdPartyAuthorization = THIRD_PARTY_AUTHORIZATION, max 65_535;
}

/// A token sealed by the authorisation server for this server (RFC 7635 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessToken<'a> {
    /// The AEAD nonce.
    pub nonce: &'a [u8],
    /// The sealed block: key length, key, timestamp, lifetime and the AEAD tag.
    pub sealed: &'a [u8],
}

impl<'a> Attribute<'a> for AccessToken<'a> {
    const TYPE: AttributeType = AttributeType::ACCESS_TOKEN;

    fn decode(value: &'a [u8], _: &TransactionId) -> Result<Self, AttributeError> {
        let (&[high, low], rest) = value.split_first_chunk::<2>().ok_or(AttributeError::Length)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (nonce, sealed) = rest.split_at_checked(length).ok_or(AttributeError::Length)?;
        Ok(AccessToken { nonce, sealed })
    }

    fn length(&self) -> usize {
        2 + self.nonce.len() + self.sealed.len()
    }

    fn encode(&self, value: &mut [u8], _: &TransactionId) {
        let (length, rest) = value.split_at_mut(2);
        length.copy_from_slice(&(self.nonce.len() as u16).to_be_bytes());
        let (nonce, sealed) = rest.split_at_mut(self.nonce.len());
        nonce.copy_from_slice(self.nonce);
        sealed.copy_from_slice(self.sealed);
    }
}
