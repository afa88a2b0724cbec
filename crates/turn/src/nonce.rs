//! Nonces that carry their own proof (RFC 8489 §9.2, §18.1): the nonce cookie, the time of issue, and a keyed
//! hash of both and of the client's address. Nothing is stored for a stranger.
//!
//! Invariant: a nonce verifies only for the address it was issued to, and only unchanged, so the announced
//! security features cannot be altered on the way (bid-down protection).

use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;
use turnpike_wire::SecurityFeatures;

use crate::random::halves;
use crate::reason::Reason;
use crate::time::UnixTime;

/// The key that issues and checks nonces. All workers of a server share one; a fleet may.
#[derive(Clone)]
pub struct NonceKey(u64, u64);

impl NonceKey {
    /// From random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        let [k0, k1] = halves(bytes);
        NonceKey(k0, k1)
    }

    /// From a secret that several servers share (`stateless-nonce-secret`).
    pub fn from_shared_secret(secret: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        NonceKey::new(key)
    }

    /// A nonce for `client`, issued now.
    pub(crate) fn issue(&self, now: UnixTime, client: &SocketAddr) -> [u8; LENGTH] {
        let mut nonce = [0; LENGTH];
        nonce[..PREFIX].copy_from_slice(&SecurityFeatures::default().nonce_prefix());
        write_hex(&mut nonce[PREFIX..PREFIX + 8], now.0 & 0xFFFF_FFFF);
        let proof = self.proof(&nonce[..PREFIX + 8], client);
        write_hex(&mut nonce[PREFIX + 8..], proof);
        nonce
    }

    /// Whether `nonce` was issued to `client` within `lifetime` (zero: for ever).
    pub(crate) fn check(
        &self,
        nonce: &[u8],
        now: UnixTime,
        client: &SocketAddr,
        lifetime: Duration,
    ) -> Result<(), Reason> {
        let nonce: &[u8; LENGTH] = nonce.try_into().map_err(|_| Reason::ForeignNonce)?;
        let issued = read_hex(&nonce[PREFIX..PREFIX + 8]).ok_or(Reason::ForeignNonce)?;
        let proof = read_hex(&nonce[PREFIX + 8..]).ok_or(Reason::ForeignNonce)?;
        if proof != self.proof(&nonce[..PREFIX + 8], client) {
            return Err(Reason::ForeignNonce);
        }
        // 32 bits of seconds, compared around their wrap; a fleet's clocks may differ by a few.
        let age = (now.0 as u32).wrapping_sub(issued as u32) as i32;
        let too_old = !lifetime.is_zero() && i64::from(age) > lifetime.as_secs() as i64;
        if too_old || age < -CLOCK_SLACK { Err(Reason::StaleNonce) } else { Ok(()) }
    }

    fn proof(&self, issued: &[u8], client: &SocketAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(issued);
        match client.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u16(client.port());
        hasher.finish()
    }
}

impl core::fmt::Debug for NonceKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("NonceKey([redacted])")
    }
}

fn write_hex(out: &mut [u8], number: u64) {
    let digits = out.len();
    for (index, digit) in out.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * (digits - 1 - index)) & 0xF) as usize];
    }
}

/// Reads exactly what [`write_hex`] writes: lower case only, so that one nonce has one form.
fn read_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// Characters of a nonce.
pub(crate) const LENGTH: usize = PREFIX + 8 + 16;
const PREFIX: usize = 13;
/// Seconds by which a nonce may lie in the future.
const CLOCK_SLACK: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);
    const LIFETIME: Duration = Duration::from_secs(600);

    fn key() -> NonceKey {
        NonceKey::new([7; 16])
    }

    fn client() -> SocketAddr {
        "198.51.100.7:5000".parse().unwrap()
    }

    #[test]
    fn a_nonce_verifies_for_its_client_until_its_lifetime_ends() {
        let nonce = key().issue(NOW, &client());
        for age in [0, 1, 600] {
            assert_eq!(key().check(&nonce, UnixTime(NOW.0 + age), &client(), LIFETIME), Ok(()));
        }
        let late = UnixTime(NOW.0 + 601);
        assert_eq!(key().check(&nonce, late, &client(), LIFETIME), Err(Reason::StaleNonce));
        assert_eq!(key().check(&nonce, late, &client(), Duration::ZERO), Ok(()));
    }

    #[test]
    fn a_nonce_of_another_address_port_or_key_is_foreign() {
        let nonce = key().issue(NOW, &client());
        for other in ["198.51.100.8:5000", "198.51.100.7:5001", "[2001:db8::1]:5000"] {
            let check = key().check(&nonce, NOW, &other.parse().unwrap(), LIFETIME);
            assert_eq!(check, Err(Reason::ForeignNonce), "{other}");
        }
        let other_key = NonceKey::new([8; 16]);
        assert_eq!(other_key.check(&nonce, NOW, &client(), LIFETIME), Err(Reason::ForeignNonce));
    }

    #[test]
    fn every_changed_character_makes_a_nonce_foreign() {
        let nonce = key().issue(NOW, &client());
        for index in 0..nonce.len() {
            for replacement in 0..=255 {
                let mut changed = nonce;
                changed[index] = replacement;
                if changed != nonce {
                    assert!(key().check(&changed, NOW, &client(), LIFETIME).is_err());
                }
            }
        }
    }

    #[test]
    fn nonces_begin_with_the_nonce_cookie_and_their_features() {
        let nonce = key().issue(NOW, &client());
        assert_eq!(SecurityFeatures::from_nonce(&nonce), Some(SecurityFeatures::default()));
        assert_eq!(&nonce[..13], b"obMatJos2AAAA");
    }
}
