//! What RFC 8489 §9.2 added to long-term credentials, the plain way: password algorithms and hashes of names.

use md5::{Digest, Md5};
use sha2::Sha256;
use turnpike_turn::Reason;

use super::Model;
use super::credentials::{Identity, Refusal};
use super::message::{Parsed, Protection};

/// A password algorithm by its registered number (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Algorithm {
    /// What a client that names none uses.
    Md5 = 1,
    /// Digests of 32 bytes.
    Sha256 = 2,
}

impl Model {
    /// PASSWORD-ALGORITHMS: SHA-256 first, unless somebody has no key for it.
    pub(super) fn offered_list(&self) -> Vec<u8> {
        let entries = [[0, Algorithm::Sha256 as u8, 0, 0], [0, Algorithm::Md5 as u8, 0, 0]];
        let stored = self.settings.users.iter().any(|(name, _)| self.settings.stored.contains(name));
        entries[usize::from(stored)..].concat()
    }

    /// Whether all users can be found by their hash: REST names cannot.
    pub(super) fn offers_anonymity(&self) -> bool {
        self.settings.secrets.is_empty()
    }

    /// Nobody may say one thing without the other, or anything that was not offered.
    pub(super) fn chosen_algorithm(&self, message: &Parsed) -> Result<Algorithm, Refusal> {
        let list = message.value(PASSWORD_ALGORITHMS);
        let choice = message.value(PASSWORD_ALGORITHM);
        if list.is_none() && choice.is_none() {
            return Ok(Algorithm::Md5);
        }
        let offered = self.offered_list();
        let listed = |choice: &[u8]| offered.chunks(4).any(|entry| entry == choice);
        match (list, choice) {
            (Some(list), Some([0, 1, 0, 0])) if list == offered && listed(&[0, 1, 0, 0]) => {
                Ok(Algorithm::Md5)
            }
            (Some(list), Some([0, 2, 0, 0])) if list == offered && listed(&[0, 2, 0, 0]) => {
                Ok(Algorithm::Sha256)
            }
            _ => Err(Refusal::plain(400, Reason::PasswordAlgorithms)),
        }
    }

    /// Whose hash this is: a user's, or the owner's of the allocation at hand.
    pub(super) fn name_behind(&self, hash: &[u8], owner: Option<&Identity>) -> Option<String> {
        if !self.offers_anonymity() {
            return None;
        }
        let mut names = self.settings.users.iter().map(|(name, _)| name);
        let known = names.find(|name| user_hash(name, &self.settings.realm) == hash).cloned();
        known.or(owner
            .filter(|owner| user_hash(&owner.name, &owner.realm) == hash)
            .map(|owner| owner.name.clone()))
    }
}

/// How the answer to a request is protected.
pub(crate) fn protection_of_answer(message: &Parsed) -> Protection {
    if message.protection() == Protection::None {
        return Protection::None;
    }
    let chose = message.value(PASSWORD_ALGORITHM).is_some();
    if chose || !message.has_sha1() { Protection::Sha256 } else { Protection::Sha1 }
}

/// The digest of `name:realm:password` (RFC 8489 §9.2.2).
pub(crate) fn long_term_key(algorithm: Algorithm, name: &str, realm: &str, password: &str) -> Vec<u8> {
    let text = format!("{name}:{realm}:{password}");
    match algorithm {
        Algorithm::Md5 => Md5::digest(text.as_bytes()).to_vec(),
        Algorithm::Sha256 => Sha256::digest(text.as_bytes()).to_vec(),
    }
}

/// USERHASH (RFC 8489 §14.4).
pub(crate) fn user_hash(name: &str, realm: &str) -> Vec<u8> {
    Sha256::digest(format!("{name}:{realm}").as_bytes()).to_vec()
}

const PASSWORD_ALGORITHM: u16 = 0x001D;
/// The list, in challenges and in the requests that answer them.
pub(super) const PASSWORD_ALGORITHMS: u16 = 0x8002;
