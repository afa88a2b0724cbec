//! Keys shared with authorisation servers (RFC 7635), as `oauth-key` gives them.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::values::number;

/// A key that opens access tokens. Its `Debug` form hides the key itself.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthKey {
    /// Its name, which bearers of tokens give as USERNAME.
    pub kid: String,
    /// At least as many bytes as the cipher needs; the first of them count.
    pub key: Vec<u8>,
    /// How tokens are sealed with it.
    pub cipher: OAuthCipher,
    /// The second since 1970 from which on it is good; zero for always.
    pub timestamp: u64,
    /// Seconds it is good for from then on; zero for ever.
    pub lifetime: u64,
    /// The realm its bearers count in, if it is another than the server's.
    pub realm: Option<String>,
}

/// How tokens are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthCipher {
    /// AES-256 in GCM: 32 bytes of key.
    A256Gcm,
    /// AES-128 in GCM: 16 bytes of key.
    A128Gcm,
}

impl OAuthKey {
    /// Reads `KID:BASE64[:ALGORITHM[:TIMESTAMP[:LIFETIME[:REALM]]]]`. What may be left out may be empty as well.
    pub(crate) fn read(value: &str) -> Result<Self, String> {
        let mut parts = value.splitn(6, ':').map(str::trim);
        let kid = parts.next().filter(|kid| !kid.is_empty() && kid.len() <= LONGEST_KID);
        let kid =
            kid.ok_or_else(|| format!("the name of a key (kid) has 1 to {LONGEST_KID} bytes"))?.to_owned();
        let key = parts.next().ok_or("a key is given as KID:BASE64, and perhaps :A256GCM or :A128GCM")?;
        let key = BASE64.decode(key).map_err(|_| format!("the key {kid:?} is not in base64"))?;
        let mut optional = || parts.next().filter(|part| !part.is_empty());
        let cipher = match optional() {
            None => OAuthCipher::A256Gcm,
            Some(name) if name.eq_ignore_ascii_case("A256GCM") => OAuthCipher::A256Gcm,
            Some(name) if name.eq_ignore_ascii_case("A128GCM") => OAuthCipher::A128Gcm,
            Some(_) => return Err(format!("the cipher of key {kid:?} is neither A256GCM nor A128GCM")),
        };
        let needed = cipher.key_length();
        if key.len() < needed {
            return Err(format!("the key {kid:?} has {} bytes, and its cipher needs {needed}", key.len()));
        }
        let mut seconds =
            || optional().map_or(Ok(0), |text| number(text, 0, u64::MAX, "a number of seconds"));
        let (timestamp, lifetime) = (seconds()?, seconds()?);
        let realm = optional().map(str::to_owned);
        if realm.as_ref().is_some_and(|realm| realm.len() > LONGEST_REALM) {
            return Err(format!("the realm of key {kid:?} has more than {LONGEST_REALM} bytes"));
        }
        Ok(OAuthKey { kid, key, cipher, timestamp, lifetime, realm })
    }
}

impl OAuthCipher {
    /// Bytes of key.
    pub const fn key_length(self) -> usize {
        match self {
            OAuthCipher::A256Gcm => 32,
            OAuthCipher::A128Gcm => 16,
        }
    }
}

impl fmt::Debug for OAuthKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OAuthKey { kid, key: _, cipher, timestamp, lifetime, realm } = self;
        formatter
            .debug_struct("OAuthKey")
            .field("kid", kid)
            .field("cipher", cipher)
            .field("timestamp", timestamp)
            .field("lifetime", lifetime)
            .field("realm", realm)
            .finish_non_exhaustive()
    }
}

/// Padded or not: keys are copied from many places.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// As in coturn's tables.
const LONGEST_KID: usize = 128;
const LONGEST_REALM: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    /// 33 bytes: 32 digits and the end of a line, as coturn's examples have it.
    const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEK";

    #[test]
    fn what_follows_the_key_may_be_left_out_or_empty() {
        let key = OAuthKey::read(&format!("north:{KEY}")).unwrap();
        assert_eq!((key.kid.as_str(), key.key.len(), key.cipher), ("north", 33, OAuthCipher::A256Gcm));
        assert_eq!((key.timestamp, key.lifetime, key.realm), (0, 0, None));
        let key = OAuthKey::read(&format!("north:{KEY}:::3600")).unwrap();
        assert_eq!((key.cipher, key.timestamp, key.lifetime), (OAuthCipher::A256Gcm, 0, 3600));
        let key = OAuthKey::read("union:MTIzNDU2Nzg5MDEyMzQ1Ng:a128gcm:1700000000:3600:north.gov:8").unwrap();
        assert_eq!((key.key.as_slice(), key.cipher), (&b"1234567890123456"[..], OAuthCipher::A128Gcm));
        assert_eq!((key.timestamp, key.lifetime), (1_700_000_000, 3600));
        assert_eq!(key.realm.as_deref(), Some("north.gov:8"));
    }

    #[test]
    fn keys_that_cannot_be_are_refused_by_name_and_not_shown() {
        let long = "k".repeat(129);
        for (value, why) in [
            (":AAAA", "the name of a key"),
            (&*format!("{long}:{KEY}"), "1 to 128 bytes"),
            ("north", "KID:BASE64"),
            ("north:?", "not in base64"),
            ("north:c2VjcmV0", "has 6 bytes, and its cipher needs 32"),
            (&format!("north:{KEY}:A192GCM"), "neither A256GCM nor A128GCM"),
            (&format!("north:{KEY}:A256GCM:now"), "a number of seconds"),
            (&format!("north:{KEY}:::: {}", "r".repeat(128)), "more than 127 bytes"),
        ] {
            let problem = OAuthKey::read(value).unwrap_err();
            assert!(problem.contains(why), "{value}: {problem}");
            assert!(!problem.contains("c2VjcmV0") && !problem.contains(KEY), "{problem}");
        }
        let key = OAuthKey::read(&format!("north:{KEY}")).unwrap();
        assert!(!format!("{key:?}").contains("48"), "{key:?}");
    }
}
