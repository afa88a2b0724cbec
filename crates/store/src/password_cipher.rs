//! Passwords of MySQL connection strings that are encrypted with a key file (AES-128 in counter mode from zero, then
//! base64), as coturn's `turnadmin` writes them. It keeps a password from being read over a shoulder, no more: the
//! counter always begins at zero.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The encrypted form of a password.
pub fn encrypt(key: &[u8; 16], password: &str) -> String {
    STANDARD.encode(with_key_stream(key, password.as_bytes()))
}

/// The password of an encrypted form; nothing if it is not one, or not one of this key.
pub fn decrypt(key: &[u8; 16], encrypted: &str) -> Option<String> {
    let bytes = STANDARD.decode(encrypted.trim()).ok()?;
    String::from_utf8(with_key_stream(key, &bytes)).ok()
}

fn with_key_stream(key: &[u8; 16], bytes: &[u8]) -> Vec<u8> {
    let cipher = Aes128::new(key.into());
    let blocks = (0_u128..).flat_map(|counter| {
        let mut block = counter.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        <[u8; 16]>::from(block)
    });
    bytes.iter().zip(blocks).map(|(byte, key)| byte ^ key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_back_with_its_key_alone() {
        let password = "a password that is longer than one block: ünïcode";
        let encrypted = encrypt(b"0123456789abcdef", password);
        assert_eq!(decrypt(b"0123456789abcdef", &encrypted).as_deref(), Some(password));
        assert_ne!(decrypt(b"0123456789abcdeX", &encrypted).as_deref(), Some(password));
        assert_eq!(decrypt(b"0123456789abcdef", "no base64!"), None);
    }
}
