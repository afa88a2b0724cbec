//! What a challenge offers to clients of RFC 8489 (§9.2.4), and what of it a request has taken up.
//!
//! The offer is made before anybody is known, so it holds only what every user of the realm can use: SHA-256 where
//! no user is known by an MD5 key alone, USERHASH where every user is in a list. A client that took up more than its
//! user has would be refused for good, because RFC 8489 lets it fall back to nothing weaker. Of users in a database that
//! others change this can be believed wrongly for a moment: when one without the key is seen, the offer is taken back, and
//! with it every nonce it came with, so that his request is challenged anew rather than refused.
//!
//! Invariant: the whole offer is part of what a nonce proves, so a request that comes with a valid nonce can be
//! compared with the offer of today: it is the one that came with the nonce.

use turnpike_wire::attributes::{PasswordAlgorithm, PasswordAlgorithms};
use turnpike_wire::{AttributeType, Message, PasswordDigest, SecurityFeatures};

/// What a challenge offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// SHA-256 besides MD5.
    pub(crate) sha256: bool,
    /// USERHASH in place of USERNAME.
    pub(crate) anonymity: bool,
}

impl Offer {
    /// The bits that stand in the nonce (RFC 8489 §18.1).
    pub(crate) fn features(self) -> SecurityFeatures {
        SecurityFeatures { password_algorithms: true, username_anonymity: self.anonymity }
    }

    /// PASSWORD-ALGORITHMS, best first.
    pub(crate) fn algorithms(self) -> PasswordAlgorithms<'static> {
        if self.sha256 { PasswordAlgorithms::SHA256_THEN_MD5 } else { PasswordAlgorithms::MD5 }
    }

    /// The algorithm a request has chosen (RFC 8489 §9.2.4): MD5 if it says nothing at all; `None` if it names only
    /// one of the two attributes, echoes another list, or chooses what is not in it.
    pub(crate) fn chosen(self, message: &Message<'_>) -> Option<PasswordDigest> {
        let named = [AttributeType::PASSWORD_ALGORITHM, AttributeType::PASSWORD_ALGORITHMS];
        if !named.iter().any(|kind| message.has(*kind)) {
            return Some(PasswordDigest::Md5);
        }
        let echoed: PasswordAlgorithms<'_> = message.get().ok()??;
        let chosen: PasswordAlgorithm<'_> = message.get().ok()??;
        if echoed != self.algorithms() || !echoed.iter().any(|offered| offered == chosen) {
            return None;
        }
        match chosen.algorithm {
            PasswordAlgorithm::MD5 => Some(PasswordDigest::Md5),
            PasswordAlgorithm::SHA256 => Some(PasswordDigest::Sha256),
            _ => None,
        }
    }

    /// A number that differs from that of every other offer.
    pub(crate) fn number(self) -> u8 {
        u8::from(self.sha256) | u8::from(self.anonymity) << 1
    }
}
