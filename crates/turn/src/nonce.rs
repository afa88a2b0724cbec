//! Nonces that carry their own proof (RFC 8489 §9.2, §18.1): the nonce cookie, and in base64 the time of issue, the
//! client's port and a keyed hash of both, of the client's address, and of what is offered with it. Nothing is stored for a
//! stranger.
//!
//! Invariant: a nonce verifies only for the address and port it was issued to (see [`Holder`] for the exception), only
//! unchanged, and only while the same is offered, so neither the announced security features nor the list of algorithms can be altered on the way (bid-down
//! protection).

use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;

use crate::offer::Offer;
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

    /// The key itself, for other keys to be derived from, and for the process after this one.
    pub fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.1.to_le_bytes());
        bytes
    }

    /// A nonce for `client`, issued now.
    pub(crate) fn issue(&self, now: UnixTime, client: &SocketAddr, offer: Offer) -> [u8; LENGTH] {
        let issued = now.0 as u32;
        let mut content = [0; CONTENT];
        content[..4].copy_from_slice(&issued.to_be_bytes());
        content[4..6].copy_from_slice(&client.port().to_be_bytes());
        content[6..].copy_from_slice(&self.proof(issued, client, offer));
        let mut nonce = [0; LENGTH];
        let (prefix, rest) = nonce.split_at_mut(PREFIX);
        prefix.copy_from_slice(&offer.features().nonce_prefix());
        // It fits: twelve bytes are sixteen characters, without padding.
        let _ = STANDARD.encode_slice(content, rest);
        nonce
    }

    /// Whether `nonce` was issued to `client` with this offer within `lifetime` (zero: for ever).
    pub(crate) fn check(
        &self,
        nonce: &[u8],
        now: UnixTime,
        (client, holder): (&SocketAddr, Holder),
        lifetime: Duration,
        offer: Offer,
    ) -> Result<(), Reason> {
        let foreign = Reason::ForeignNonce;
        let rest = nonce.strip_prefix(&offer.features().nonce_prefix()).ok_or(foreign)?;
        let rest: &[u8; LENGTH - PREFIX] = rest.try_into().map_err(|_| foreign)?;
        let mut content = [0; CONTENT];
        STANDARD.decode_slice(rest, &mut content).map_err(|_| foreign)?;
        let [t0, t1, t2, t3, p0, p1, proof @ ..] = content;
        let issued = u32::from_be_bytes([t0, t1, t2, t3]);
        let port = u16::from_be_bytes([p0, p1]);
        let holder_fits = holder == Holder::Address || port == client.port();
        let issued_to = SocketAddr::new(client.ip(), port);
        if !holder_fits || proof != self.proof(issued, &issued_to, offer) {
            return Err(foreign);
        }
        // 32 bits of seconds, compared around their wrap; a fleet's clocks may differ by a few.
        let age = (now.0 as u32).wrapping_sub(issued) as i32;
        let too_old = !lifetime.is_zero() && i64::from(age) > lifetime.as_secs() as i64;
        if too_old || age < -CLOCK_SLACK { Err(Reason::StaleNonce) } else { Ok(()) }
    }

    fn proof(&self, issued: u32, client: &SocketAddr, offer: Offer) -> [u8; PROOF] {
        let mut hasher = SipHasher24::new_with_keys(self.0, self.1);
        hasher.write(&issued.to_be_bytes());
        hasher.write_u8(offer.number());
        match client.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u16(client.port());
        let [proof @ .., _, _] = hasher.finish().to_be_bytes();
        proof
    }
}

/// Who may use a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Whoever sends from the address and port it was issued to.
    Port,
    /// Likewise from another port. ConnectionBind (RFC 6062) is sent on a new connection, which has one, by a client that
    /// holds a nonce already. What it can do, it can do once.
    Address,
}

impl core::fmt::Debug for NonceKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("NonceKey([redacted])")
    }
}

/// Characters of a nonce.
pub(crate) const LENGTH: usize = PREFIX + 16;
const PREFIX: usize = 13;
/// Bytes of time, port and proof.
const CONTENT: usize = 4 + 2 + PROOF;
/// Bytes of the keyed hash.
const PROOF: usize = 6;
/// Seconds by which a nonce may lie in the future.
const CLOCK_SLACK: i32 = 10;

#[cfg(test)]
mod tests {
    use turnpike_wire::SecurityFeatures;

    use super::*;

    const OFFER: Offer = Offer { sha256: true, anonymity: false };
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
        let nonce = key().issue(NOW, &client(), OFFER);
        for age in [0, 1, 600] {
            assert_eq!(
                key().check(&nonce, UnixTime(NOW.0 + age), (&client(), Holder::Port), LIFETIME, OFFER),
                Ok(())
            );
        }
        let late = UnixTime(NOW.0 + 601);
        assert_eq!(
            key().check(&nonce, late, (&client(), Holder::Port), LIFETIME, OFFER),
            Err(Reason::StaleNonce)
        );
        assert_eq!(key().check(&nonce, late, (&client(), Holder::Port), Duration::ZERO, OFFER), Ok(()));
    }

    #[test]
    fn a_nonce_of_another_address_port_or_key_is_foreign() {
        let nonce = key().issue(NOW, &client(), OFFER);
        for other in ["198.51.100.8:5000", "198.51.100.7:5001", "[2001:db8::1]:5000"] {
            let check = key().check(&nonce, NOW, (&other.parse().unwrap(), Holder::Port), LIFETIME, OFFER);
            assert_eq!(check, Err(Reason::ForeignNonce), "{other}");
        }
        let other_key = NonceKey::new([8; 16]);
        assert_eq!(
            other_key.check(&nonce, NOW, (&client(), Holder::Port), LIFETIME, OFFER),
            Err(Reason::ForeignNonce)
        );
    }

    #[test]
    fn whoever_binds_a_connection_may_have_got_its_nonce_at_another_port_of_its_address() {
        let nonce = key().issue(NOW, &client(), OFFER);
        let check = |from: &str, nonce: &[u8], age: u64| {
            let holder = (&from.parse().unwrap(), Holder::Address);
            key().check(nonce, UnixTime(NOW.0 + age), holder, LIFETIME, OFFER)
        };
        assert_eq!(check("198.51.100.7:5001", &nonce, 0), Ok(()));
        assert_eq!(check("198.51.100.7:5001", &nonce, 601), Err(Reason::StaleNonce));
        assert_eq!(check("198.51.100.8:5000", &nonce, 0), Err(Reason::ForeignNonce));
        for index in PREFIX..nonce.len() {
            let mut changed = nonce;
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert!(check("198.51.100.7:5001", &changed, 0).is_err(), "the port is proved too");
        }
    }

    #[test]
    fn every_changed_character_makes_a_nonce_foreign() {
        let nonce = key().issue(NOW, &client(), OFFER);
        for index in 0..nonce.len() {
            for replacement in 0..=255 {
                let mut changed = nonce;
                changed[index] = replacement;
                if changed != nonce {
                    assert!(key().check(&changed, NOW, (&client(), Holder::Port), LIFETIME, OFFER).is_err());
                }
            }
        }
    }

    #[test]
    fn a_nonce_holds_only_while_the_same_is_offered() {
        let offers = [false, true].map(|sha256| [false, true].map(|anonymity| Offer { sha256, anonymity }));
        for issued_with in offers.as_flattened() {
            let nonce = key().issue(NOW, &client(), *issued_with);
            for checked_with in offers.as_flattened() {
                let check = key().check(&nonce, NOW, (&client(), Holder::Port), LIFETIME, *checked_with);
                assert_eq!(check.is_ok(), issued_with == checked_with);
            }
        }
    }

    #[test]
    fn nonces_begin_with_the_nonce_cookie_and_their_features() {
        for (anonymity, prefix) in [(false, b"obMatJos2gAAA"), (true, b"obMatJos2wAAA")] {
            let offer = Offer { anonymity, ..OFFER };
            let nonce = key().issue(NOW, &client(), offer);
            let features = SecurityFeatures { password_algorithms: true, username_anonymity: anonymity };
            assert_eq!(SecurityFeatures::from_nonce(&nonce), Some(features));
            assert_eq!(&nonce[..13], prefix);
        }
    }
}
