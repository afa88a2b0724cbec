//! The client's side of long-term credentials (RFC 8489 §9.2.3, §9.2.5): what the server's challenge said,
//! signing requests with it, and checking that answers come from somebody who knows the password.

use alloc::boxed::Box;
use alloc::string::String;

use turnpike_wire::attributes::{Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, Username};
use turnpike_wire::{
    AttributeType, Class, ErrorNumber, Integrity, LongTermKey, Message, MessageWriter, PasswordDigest,
    SecurityFeatures,
};

use crate::config::{ClientConfig, Credentials};
use crate::event::{DiscardReason, Failure};

/// Empty until the server has sent a challenge.
#[derive(Debug, Default)]
pub(crate) struct Authentication {
    challenge: Option<Box<Challenge>>,
}

#[derive(Debug)]
struct Challenge {
    realm: Box<[u8]>,
    nonce: Box<[u8]>,
    key: LongTermKey,
    /// PASSWORD-ALGORITHMS exactly as the server sent it, to be echoed; `None` if the server has none.
    algorithms: Option<EchoedList>,
}

/// The value of a PASSWORD-ALGORITHMS attribute.
type EchoedList = Box<[u8]>;

impl Authentication {
    /// Whether requests can be signed.
    pub(crate) fn is_ready(&self) -> bool {
        self.challenge.is_some()
    }

    /// Learns from a 401 or 438 response what to sign with.
    pub(crate) fn learn(&mut self, message: &Message<'_>, config: &ClientConfig) -> Result<(), Failure> {
        let Ok(Some(Realm(realm))) = message.get() else { return Err(Failure::Malformed("REALM")) };
        let Ok(Some(Nonce(nonce))) = message.get() else { return Err(Failure::Malformed("NONCE")) };
        let Some(credentials) = &config.credentials else {
            return Err(Failure::NoCredentials { realm: text(realm) });
        };
        let (digest, algorithms) = choose_algorithm(message, nonce, config)?;
        match &mut self.challenge {
            Some(known) if *known.realm == *realm && known.key.digest() == digest => {
                known.nonce = nonce.into();
                known.algorithms = algorithms;
            }
            unknown => {
                let Credentials { username, password } = credentials;
                let key = LongTermKey::derive(digest, username.as_bytes(), realm, password.as_bytes());
                let challenge = Challenge { realm: realm.into(), nonce: nonce.into(), key, algorithms };
                *unknown = Some(Box::new(challenge));
            }
        }
        Ok(())
    }

    /// Appends USERNAME, REALM, NONCE and the integrity attribute, if there was a challenge.
    pub(crate) fn sign(&self, writer: &mut MessageWriter<'_>, credentials: Option<&Credentials>) {
        let (Some(challenge), Some(credentials)) = (&self.challenge, credentials) else { return };
        writer
            .add(&Username(credentials.username.as_bytes()))
            .add(&Realm(&challenge.realm))
            .add(&Nonce(&challenge.nonce));
        if let Some(algorithms) = &challenge.algorithms {
            let algorithm = match challenge.key.digest() {
                PasswordDigest::Md5 => PasswordAlgorithm::MD5,
                PasswordDigest::Sha256 => PasswordAlgorithm::SHA256,
            };
            writer
                .add_raw(AttributeType::PASSWORD_ALGORITHMS, algorithms)
                .add(&PasswordAlgorithm { algorithm, parameters: &[] });
        }
        // Without PASSWORD-ALGORITHMS the server may know nothing of SHA-256 integrity (RFC 8489 §9.2.3).
        if challenge.algorithms.is_some() {
            writer.integrity_sha256_with(challenge.key.bytes());
        } else {
            writer.integrity_sha1(&challenge.key);
        }
    }

    /// Checks that the answer to a signed request comes from the server (RFC 8489 §9.2.5).
    pub(crate) fn check(&self, message: &Message<'_>, config: &ClientConfig) -> Result<(), DiscardReason> {
        let Some(challenge) = &self.challenge else { return Ok(()) };
        if message.integrity() == Integrity::None {
            let excused = message.class() == Class::Error
                && (config.accept_unprotected_errors || is_challenge(message));
            return if excused { Ok(()) } else { Err(DiscardReason::Unprotected) };
        }
        let key = challenge.key.bytes();
        let verified = match challenge.algorithms {
            Some(_) => message.verify_sha256(key),
            None => message.verify_sha1(key),
        };
        // A server that does not accept the credentials has no common key to protect its 401 with.
        if verified.is_err() && !is_challenge(message) { Err(DiscardReason::BadIntegrity) } else { Ok(()) }
    }

    /// The realm of the last challenge.
    pub(crate) fn realm(&self) -> Box<str> {
        self.challenge.as_ref().map_or_else(Box::default, |challenge| text(&challenge.realm))
    }
}

/// 401 and 438 come before there is a key the two sides agree on.
fn is_challenge(message: &Message<'_>) -> bool {
    matches!(
        message.get::<turnpike_wire::attributes::ErrorCode<'_>>(),
        Ok(Some(error)) if matches!(error.number, ErrorNumber::UNAUTHENTICATED | ErrorNumber::STALE_NONCE)
    )
}

/// The digest to use, and PASSWORD-ALGORITHMS to echo if it takes part (RFC 8489 §9.2.3, §9.2.5).
fn choose_algorithm(
    message: &Message<'_>,
    nonce: &[u8],
    config: &ClientConfig,
) -> Result<(PasswordDigest, Option<EchoedList>), Failure> {
    let announced = SecurityFeatures::from_nonce(nonce).is_some_and(|features| features.password_algorithms);
    if !announced || !config.password_algorithms {
        return Ok((PasswordDigest::Md5, None));
    }
    let malformed = Failure::Malformed("PASSWORD-ALGORITHMS");
    let Ok(Some(offered)) = message.get::<PasswordAlgorithms<'_>>() else { return Err(malformed) };
    let digest = offered.iter().find_map(|offer| match offer.algorithm {
        PasswordAlgorithm::SHA256 => Some(PasswordDigest::Sha256),
        PasswordAlgorithm::MD5 => Some(PasswordDigest::Md5),
        _ => None,
    });
    let list = message.value(AttributeType::PASSWORD_ALGORITHMS).unwrap_or_default();
    digest.map(|digest| (digest, Some(list.into()))).ok_or(malformed)
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}
