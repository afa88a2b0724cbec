//! `-J`: the client is its own authorisation server (RFC 7635), with the three keys that coturn's examples put into its
//! databases.

use std::time::{SystemTime, UNIX_EPOCH};

use turnpike_client::{Grant, TokenSource};
use turnpike_turn::{MacKey, Token, TokenCipher, TokenKey};

use crate::randomness;

/// Grants tokens that are sealed with one of the three keys, by chance, as coturn's client does.
#[derive(Debug)]
pub(super) struct TestTokens;

impl TokenSource for TestTokens {
    fn grant(&self, server_name: &[u8]) -> Option<Grant> {
        let random = randomness::random::<48>().ok()?;
        let (choice, random) = random.split_first()?;
        let (nonce, random) = random.split_first_chunk::<12>()?;
        let mut mac_key = [0; MAC_KEY_LENGTH];
        mac_key[..RANDOM_LENGTH].copy_from_slice(random.first_chunk::<RANDOM_LENGTH>()?);
        let TestKey { kid, cipher, key } = &KEYS[usize::from(*choice) % KEYS.len()];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let token = Token { mac_key: MacKey::new(&mac_key)?, timestamp: now << 16, lifetime: LIFETIME };
        let token = TokenKey::new(*cipher, key)?.seal(&token, nonce, server_name);
        Some(Grant { kid: (*kid).to_owned(), token, mac_key: mac_key.to_vec() })
    }
}

struct TestKey {
    kid: &'static str,
    cipher: TokenCipher,
    key: &'static [u8],
}

/// What coturn's example databases hold, in base64 and with the end of a line behind each, which does not count.
const KEYS: [TestKey; 3] = [
    TestKey { kid: "north", cipher: TokenCipher::A256Gcm, key: b"01234567890123456789012345678901" },
    TestKey { kid: "union", cipher: TokenCipher::A128Gcm, key: b"1234567890123456" },
    TestKey { kid: "oldempire", cipher: TokenCipher::A256Gcm, key: b"12345678901234567890123456789012" },
];
/// Seconds, fewer than an allocation is granted otherwise, so that it shows whether a server heeds them.
const LIFETIME: u32 = 555;
/// For HMAC-SHA1 (RFC 7635 §6.2).
const MAC_KEY_LENGTH: usize = 20;
/// As much of it is random, and the rest is zero: coturn takes no more of it, and HMAC fills a key up with zeros, so that
/// such a key is the same to coturn and to a server that takes all of it.
const RANDOM_LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use turnpike_wire::attributes::AccessToken;
    use turnpike_wire::{Attribute, TransactionId};

    use super::*;

    #[test]
    fn no_two_tokens_have_a_key_or_a_nonce_in_common_and_all_can_be_opened() {
        let grants: Vec<Grant> = (0..64).map(|_| TestTokens.grant(b"turn.example.org").unwrap()).collect();
        let mut seen = std::collections::HashSet::new();
        let mut kids = std::collections::HashSet::new();
        for Grant { kid, token, mac_key } in &grants {
            let access = AccessToken::decode(token, &TransactionId([0; 12])).unwrap();
            assert!(seen.insert(access.nonce.to_vec()) && seen.insert(mac_key.clone()));
            let key = KEYS.iter().find(|key| key.kid == kid).unwrap();
            let opened =
                TokenKey::new(key.cipher, key.key).unwrap().open(&access, b"turn.example.org").unwrap();
            assert_eq!((opened.mac_key.bytes(), opened.lifetime), (&mac_key[..], LIFETIME));
            kids.insert(kid);
        }
        assert_eq!(kids.len(), 3, "in 64 throws each key came up");
    }
}
