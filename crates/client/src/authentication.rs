//! The client's side of long-term credentials (RFC 8489 §9.2.3, §9.2.5): what the server's challenge said,
//! signing requests with it, and checking that answers come from somebody who knows the password.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;

use turnpike_opaque_string::prepare;
use turnpike_wire::attributes::{Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, UserHash, Username};
use turnpike_wire::{
    AttributeType, Class, ErrorNumber, Integrity, LongTermKey, Message, MessageWriter, PasswordDigest,
    SecurityFeatures,
};

use crate::config::{ClientConfig, Credentials};
use crate::event::{DiscardReason, Failure};

/// Empty until the server has sent a challenge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authentication {
    challenge: Option<Box<Challenge>>,
}

#[derive(Clone, Debug)]
struct Challenge {
    realm: Box<[u8]>,
    nonce: Box<[u8]>,
    /// Stands in place of the name where the server offers that.
    userhash: Option<UserHash>,
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
        let features = announced(nonce, config);
        let (digest, algorithms) = choose_algorithm(message, features)?;
        let username = prepared(&credentials.username);
        let userhash = features.username_anonymity.then(|| UserHash::of(username.as_bytes(), realm));
        match &mut self.challenge {
            Some(known) if *known.realm == *realm && known.key.digest() == digest => {
                known.nonce = nonce.into();
                known.userhash = userhash;
                known.algorithms = algorithms;
            }
            unknown => {
                let password = prepared(&credentials.password);
                let key = LongTermKey::derive(digest, username.as_bytes(), realm, password.as_bytes());
                let (realm, nonce) = (realm.into(), nonce.into());
                *unknown = Some(Box::new(Challenge { realm, nonce, userhash, key, algorithms }));
            }
        }
        Ok(())
    }

    /// Appends USERNAME or USERHASH, REALM, NONCE and the integrity attribute, if there was a challenge.
    pub(crate) fn sign(&self, writer: &mut MessageWriter<'_>, credentials: Option<&Credentials>) {
        let (Some(challenge), Some(credentials)) = (&self.challenge, credentials) else { return };
        match &challenge.userhash {
            Some(hash) => writer.add(hash),
            None => writer.add(&Username(prepared(&credentials.username).as_bytes())),
        };
        writer.add(&Realm(&challenge.realm)).add(&Nonce(&challenge.nonce));
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

/// What the server offers, as far as this client takes it up. Only the nonce says it for certain: what else stands in a
/// challenge could have been put there on the way (RFC 8489 §9.2.1).
fn announced(nonce: &[u8], config: &ClientConfig) -> SecurityFeatures {
    let features = SecurityFeatures::from_nonce(nonce).filter(|_| config.password_algorithms);
    features.unwrap_or_default()
}

/// The digest to use, and PASSWORD-ALGORITHMS to echo if it takes part (RFC 8489 §9.2.3, §9.2.5): SHA-256 wherever it
/// is offered, however the server ranks it.
fn choose_algorithm(
    message: &Message<'_>,
    features: SecurityFeatures,
) -> Result<(PasswordDigest, Option<EchoedList>), Failure> {
    if !features.password_algorithms {
        return Ok((PasswordDigest::Md5, None));
    }
    let malformed = Failure::Malformed("PASSWORD-ALGORITHMS");
    let Ok(Some(offered)) = message.get::<PasswordAlgorithms<'_>>() else { return Err(malformed) };
    // An algorithm with parameters is another one than these.
    let offers = |algorithm| offered.iter().any(|it| it == PasswordAlgorithm { algorithm, parameters: &[] });
    let digest = if offers(PasswordAlgorithm::SHA256) {
        PasswordDigest::Sha256
    } else if offers(PasswordAlgorithm::MD5) {
        PasswordDigest::Md5
    } else {
        return Err(malformed);
    };
    let list = message.value(AttributeType::PASSWORD_ALGORITHMS).unwrap_or_default();
    Ok((digest, Some(list.into())))
}

fn prepared(text: &str) -> Cow<'_, str> {
    prepare(text).unwrap_or(Cow::Borrowed(text))
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}
