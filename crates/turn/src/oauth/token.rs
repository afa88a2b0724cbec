//! Access tokens (RFC 7635 §6.2): what an authorisation server seals for a TURN server, and a client carries.
//!
//! Invariant: nothing is read from a token that its seal does not vouch for, and no token is longer than its key, time
//! and lifetime need, so that opening one takes a fixed amount of stack and time.

use core::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use subtle::ConstantTimeEq;
use turnpike_wire::attributes::AccessToken;

/// How tokens are sealed (RFC 7635 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenCipher {
    /// AES-256 in GCM.
    A256Gcm,
    /// AES-128 in GCM.
    A128Gcm,
}

impl TokenCipher {
    /// The cipher that `as_rs_alg` of coturn's tables means, however it is written.
    pub fn from_name(name: &str) -> Option<Self> {
        [TokenCipher::A256Gcm, TokenCipher::A128Gcm]
            .into_iter()
            .find(|cipher| cipher.name().eq_ignore_ascii_case(name.trim()))
    }

    /// `A256GCM` or `A128GCM`.
    pub const fn name(self) -> &'static str {
        match self {
            TokenCipher::A256Gcm => "A256GCM",
            TokenCipher::A128Gcm => "A128GCM",
        }
    }

    /// Bytes of a key.
    pub const fn key_length(self) -> usize {
        match self {
            TokenCipher::A256Gcm => 32,
            TokenCipher::A128Gcm => 16,
        }
    }
}

/// A key shared with an authorisation server. Its `Debug` form hides it.
pub struct TokenKey(Cipher);

enum Cipher {
    A256Gcm(Box<Aes256Gcm>),
    A128Gcm(Box<Aes128Gcm>),
}

impl TokenKey {
    /// Takes as many bytes as the cipher needs from the front, as coturn does: keys were often encoded together with the
    /// end of a line. `None` if there are too few.
    pub fn new(cipher: TokenCipher, key: &[u8]) -> Option<Self> {
        let key = key.get(..cipher.key_length())?;
        Some(TokenKey(match cipher {
            TokenCipher::A256Gcm => Cipher::A256Gcm(Aes256Gcm::new_from_slice(key).ok()?.into()),
            TokenCipher::A128Gcm => Cipher::A128Gcm(Aes128Gcm::new_from_slice(key).ok()?.into()),
        }))
    }

    /// Seals a token for the server of this name: the value of ACCESS-TOKEN. No nonce may be used twice with one key.
    pub fn seal(&self, token: &Token, nonce: &[u8; NONCE_LENGTH], server_name: &[u8]) -> Vec<u8> {
        let mut block = Vec::with_capacity(LONGEST_SEALED);
        block.extend((token.mac_key.bytes().len() as u16).to_be_bytes());
        block.extend(token.mac_key.bytes());
        block.extend(token.timestamp.to_be_bytes());
        block.extend(token.lifetime.to_be_bytes());
        let text = (&mut block[..]).into();
        let tag = match &self.0 {
            Cipher::A256Gcm(key) => key.encrypt_inout_detached(nonce.into(), server_name, text),
            Cipher::A128Gcm(key) => key.encrypt_inout_detached(nonce.into(), server_name, text),
        };
        // GCM refuses only texts of many gigabytes; a token without its tag is good for nothing.
        block.extend(tag.iter().flatten());
        let length = (NONCE_LENGTH as u16).to_be_bytes();
        [&length[..], nonce, &block].concat()
    }

    /// Opens a token that was sealed for the server of this name.
    ///
    /// # Errors
    /// It has a length that no token has, or was sealed otherwise.
    pub fn open(&self, access: &AccessToken<'_>, server_name: &[u8]) -> Result<Token, TokenError> {
        let nonce: &[u8; NONCE_LENGTH] = access.nonce.try_into().map_err(|_| TokenError::Nonce)?;
        if access.sealed.len() > LONGEST_SEALED {
            return Err(TokenError::Length);
        }
        let (sealed, tag) = access.sealed.split_last_chunk::<TAG_LENGTH>().ok_or(TokenError::Length)?;
        let mut room = [0; LONGEST_SEALED];
        let block = room.get_mut(..sealed.len()).ok_or(TokenError::Length)?;
        block.copy_from_slice(sealed);
        let text = (&mut *block).into();
        let opened = match &self.0 {
            Cipher::A256Gcm(key) => key.decrypt_inout_detached(nonce.into(), server_name, text, tag.into()),
            Cipher::A128Gcm(key) => key.decrypt_inout_detached(nonce.into(), server_name, text, tag.into()),
        };
        opened.map_err(|_| TokenError::Seal)?;
        Token::read(block)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenKey([redacted])")
    }
}

/// What is in a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What its bearer signs requests with.
    pub mac_key: MacKey,
    /// When it was made: seconds since 1970 in the upper 48 bits, fractions of a second in the lower 16.
    pub timestamp: u64,
    /// Seconds it is good for from then on.
    pub lifetime: u32,
}

impl Token {
    /// The second it was made in.
    pub const fn made(&self) -> u64 {
        self.timestamp >> 16
    }

    /// Reads key length, key, timestamp and lifetime, in which nothing may be missing or left over.
    fn read(block: &[u8]) -> Result<Self, TokenError> {
        let (length, rest) = block.split_first_chunk::<2>().ok_or(TokenError::Length)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (key, rest) = rest.split_at_checked(length).ok_or(TokenError::Length)?;
        let (timestamp, rest) = rest.split_first_chunk::<8>().ok_or(TokenError::Length)?;
        let lifetime: &[u8; 4] = rest.try_into().map_err(|_| TokenError::Length)?;
        Ok(Token {
            mac_key: MacKey::new(key).ok_or(TokenError::Length)?,
            timestamp: u64::from_be_bytes(*timestamp),
            lifetime: u32::from_be_bytes(*lifetime),
        })
    }
}

/// Why a token cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Its nonce does not have twelve bytes.
    Nonce,
    /// It is too long or too short, or its parts do not add up.
    Length,
    /// It was sealed with another key, for another server, or changed since.
    Seal,
}

impl fmt::Display for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            TokenError::Nonce => "its nonce does not have 12 bytes",
            TokenError::Length => "its length is none a token can have",
            TokenError::Seal => "it was sealed with another key or for another server, or changed since",
        })
    }
}

impl std::error::Error for TokenError {}

/// The key of MESSAGE-INTEGRITY, as it stands in a token. Its `Debug` form hides it, and two are compared in constant
/// time.
#[derive(Clone)]
pub struct MacKey {
    bytes: [u8; MacKey::LONGEST],
    length: u8,
}

impl MacKey {
    /// The most bytes one can have: a block of SHA-1 and of SHA-256, which take no more key than that.
    pub const LONGEST: usize = 64;

    /// `None` if the key is empty or too long.
    pub fn new(key: &[u8]) -> Option<Self> {
        let mut bytes = [0; MacKey::LONGEST];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        (!key.is_empty()).then_some(MacKey { bytes, length: key.len() as u8 })
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialEq for MacKey {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && bool::from(self.bytes.ct_eq(&other.bytes))
    }
}

impl Eq for MacKey {}

impl fmt::Debug for MacKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MacKey({} bytes, [redacted])", self.length)
    }
}

/// Bytes of a nonce: what GCM is made for, and what coturn has.
pub(crate) const NONCE_LENGTH: usize = 12;
const TAG_LENGTH: usize = 16;
/// Length and longest key, timestamp, lifetime, and tag.
const LONGEST_SEALED: usize = 2 + MacKey::LONGEST + 8 + 4 + TAG_LENGTH;

#[cfg(test)]
mod tests {
    use turnpike_wire::{Attribute, TransactionId};

    use super::*;

    const NAME: &[u8] = b"turn.example.org";

    fn key(cipher: TokenCipher) -> TokenKey {
        TokenKey::new(cipher, b"0123456789abcdef0123456789abcdef").unwrap()
    }

    fn token(mac_key: &[u8]) -> Token {
        Token {
            mac_key: MacKey::new(mac_key).unwrap(),
            timestamp: 1_800_000_000 << 16 | 0x8000,
            lifetime: 600,
        }
    }

    fn open(key: &TokenKey, value: &[u8], name: &[u8]) -> Result<Token, TokenError> {
        let access = AccessToken::decode(value, &TransactionId([0; 12])).map_err(|_| TokenError::Length)?;
        key.open(&access, name)
    }

    #[test]
    fn what_is_sealed_can_be_opened_with_the_same_key_for_the_same_name_alone() {
        for cipher in [TokenCipher::A256Gcm, TokenCipher::A128Gcm] {
            for length in [1, 20, 32, MacKey::LONGEST] {
                let token = token(&vec![7; length]);
                let sealed = key(cipher).seal(&token, &[9; 12], NAME);
                assert_eq!(sealed.len(), 2 + 12 + 2 + length + 8 + 4 + 16);
                assert_eq!(open(&key(cipher), &sealed, NAME), Ok(token));
                assert_eq!(open(&key(cipher), &sealed, b"turn.example.com"), Err(TokenError::Seal));
                let other = TokenKey::new(cipher, &[1; 32]).unwrap();
                assert_eq!(open(&other, &sealed, NAME), Err(TokenError::Seal));
            }
        }
        let sealed = key(TokenCipher::A256Gcm).seal(&token(&[7; 20]), &[9; 12], NAME);
        assert_eq!(open(&key(TokenCipher::A128Gcm), &sealed, NAME), Err(TokenError::Seal));
    }

    #[test]
    fn no_bit_of_a_token_can_be_changed_and_no_byte_left_out() {
        let key = key(TokenCipher::A256Gcm);
        let sealed = key.seal(&token(&[7; 20]), &[9; 12], NAME);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &changed, NAME).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(&key, &sealed[..length], NAME).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused_behind_a_true_seal_too() {
        // coturn copied a nonce and a key of any length into buffers of fixed size (CVE-2026-43994).
        let Cipher::A256Gcm(cipher) = key(TokenCipher::A256Gcm).0 else { unreachable!() };
        let seal = |block: &[u8]| {
            let mut text = block.to_vec();
            let nonce = [9; 12];
            let tag = cipher.encrypt_inout_detached((&nonce).into(), NAME, (&mut text[..]).into()).unwrap();
            [&[0, 12][..], &nonce, &text, &tag].concat()
        };
        let key = key(TokenCipher::A256Gcm);
        let rest = [0; 12];
        for (length, bytes) in [(0, 0), (65, 65), (20, 19), (20, 21), (0xFFFF, 20), (1, 0)] {
            let block = [&u16::to_be_bytes(length)[..], &vec![1; bytes], &rest].concat();
            assert_eq!(open(&key, &seal(&block), NAME), Err(TokenError::Length), "{length} of {bytes}");
        }
        for block in [&[][..], &[0], &[0, 0]] {
            assert_eq!(open(&key, &seal(block), NAME), Err(TokenError::Length));
        }
        for length in [0, 11, 13, 500, 60_000] {
            let access = AccessToken { nonce: &vec![9; length], sealed: &[0; 50] };
            assert_eq!(key.open(&access, NAME), Err(TokenError::Nonce), "{length}");
        }
        let access = AccessToken { nonce: &[9; 12], sealed: &[0; 60_000] };
        assert_eq!(key.open(&access, NAME), Err(TokenError::Length));
    }

    #[test]
    fn a_token_that_coturns_tool_has_sealed_opens() {
        // turnutils_oauth 4.6.1: -e -i example.com -k (the 32 letters of `key`, encoded) -p (20 times x, encoded)
        // -q 117964800000000 -r 600 -o (12 times n, encoded).
        for (cipher, sealed) in
            [(TokenCipher::A256Gcm, COTURN_A256GCM), (TokenCipher::A128Gcm, COTURN_A128GCM)]
        {
            use base64::Engine;
            let value = base64::engine::general_purpose::STANDARD.decode(sealed).unwrap();
            let token = Token {
                mac_key: MacKey::new(&[b'x'; 20]).unwrap(),
                timestamp: 1_800_000_000 << 16,
                lifetime: 600,
            };
            assert_eq!(open(&key(cipher), &value, b"example.com"), Ok(token.clone()));
            assert_eq!(key(cipher).seal(&token, &[b'n'; 12], b"example.com"), value);
        }
    }

    #[test]
    fn a_key_may_be_longer_than_its_cipher_needs_and_not_shorter() {
        assert!(TokenKey::new(TokenCipher::A256Gcm, &[1; 31]).is_none());
        assert!(TokenKey::new(TokenCipher::A128Gcm, &[1; 15]).is_none());
        let [long, short] =
            [17, 16].map(|length| TokenKey::new(TokenCipher::A128Gcm, &vec![1; length]).unwrap());
        let sealed = long.seal(&token(&[7; 20]), &[9; 12], NAME);
        assert_eq!(open(&short, &sealed, NAME), Ok(token(&[7; 20])));
        assert_eq!(TokenCipher::from_name(" a128gcm"), Some(TokenCipher::A128Gcm));
        assert_eq!(TokenCipher::from_name("A192GCM"), None);
    }

    #[test]
    fn keys_are_never_shown() {
        let shown = format!("{:?} {:?}", key(TokenCipher::A256Gcm), token(b"secret secret secret"));
        assert!(!shown.contains("115") && !shown.contains("secret"), "{shown}");
    }

    const COTURN_A256GCM: &str =
        "AAxubm5ubm5ubm5ubm4MRSLfS+krQWfi5SegNJqHwhy0q6OFIB0/byVzLO5VHCnLcYttUCZY1ZI1AxOTnW3Ixw==";
    const COTURN_A128GCM: &str =
        "AAxubm5ubm5ubm5ubm48ScJBBK56aXqqYDyT7QNY4zYxDmqlJwgKq70UEXm5YJFHTQECoEaIDKIq2FhY73FjyA==";
}
