//! The nonce cookie and the security features it announces (RFC 8489 §9.2, §18.1).

/// Features a server announces in the first 13 characters of its nonces, so that nobody between it and the
/// client can hide them (bid-down protection).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecurityFeatures {
    /// Bit 0: PASSWORD-ALGORITHMS is offered.
    pub password_algorithms: bool,
    /// Bit 1: USERHASH is accepted in place of USERNAME.
    pub username_anonymity: bool,
}

impl SecurityFeatures {
    /// The 13 characters every nonce starts with: the cookie and four base64 characters of 24 bits.
    pub fn nonce_prefix(self) -> [u8; NONCE_PREFIX_LENGTH] {
        // Bit 0 is the most significant of the 24.
        let first = u8::from(self.password_algorithms) << 5 | u8::from(self.username_anonymity) << 4;
        let mut prefix = [b'A'; NONCE_PREFIX_LENGTH];
        prefix[..NONCE_COOKIE.len()].copy_from_slice(NONCE_COOKIE);
        prefix[NONCE_COOKIE.len()] = BASE64[usize::from(first)];
        prefix
    }

    /// Reads the features a nonce announces; `None` without the cookie: the server then knows nothing of
    /// RFC 8489.
    pub fn from_nonce(nonce: &[u8]) -> Option<Self> {
        let bits = nonce.strip_prefix(NONCE_COOKIE)?.get(..4)?;
        let first = BASE64.iter().position(|character| *character == bits[0])?;
        if !bits.iter().all(|character| BASE64.contains(character)) {
            return None;
        }
        Some(SecurityFeatures {
            password_algorithms: first & 0b10_0000 != 0,
            username_anonymity: first & 0b01_0000 != 0,
        })
    }
}

/// What an RFC 8489 nonce starts with.
pub const NONCE_COOKIE: &[u8; 9] = b"obMatJos2";
const NONCE_PREFIX_LENGTH: usize = 13;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
