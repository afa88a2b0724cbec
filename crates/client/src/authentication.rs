//! The client's side of long-term credentials (RFC 8489 §9.2.3, §9.2.5) and access tokens (RFC 7635 §5): what the server's challenge said,
//! signing requests with it, and checking that answers come from somebody who knows the password.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;

use turnpike_opaque_string::prepare;
use turnpike_wire::attributes::{
    Nonce, PasswordAlgorithm, PasswordAlgorithms, Realm, ThirdPartyAuthorization, UserHash, Username,
};
use turnpike_wire::{
    AttributeType, Class, ErrorNumber, Integrity, LongTermKey, Message, MessageWriter, PasswordDigest,
    SecurityFeatures,
};

use crate::config::{ClientConfig, Credentials, Grant};
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
    identity: Identity,
}

/// Who signs, and how.
#[derive(Clone, Debug)]
enum Identity {
    /// A user with a password.
    LongTerm(LongTerm),
    /// Whoever has an access token (RFC 7635).
    Bearer(Bearer),
}

#[derive(Clone, Debug)]
struct LongTerm {
    /// Stands in place of the name where the server offers that.
    userhash: Option<UserHash>,
    key: LongTermKey,
    /// PASSWORD-ALGORITHMS exactly as the server sent it, to be echoed; `None` if the server has none.
    algorithms: Option<EchoedList>,
}

#[derive(Clone, Debug)]
struct Bearer {
    server_name: Box<[u8]>,
    grant: Grant,
    /// What requests were signed with that may still be answered.
    before: Option<Grant>,
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
        let known =
            self.challenge.as_ref().filter(|known| *known.realm == *realm).map(|known| &known.identity);
        // RFC 7635 §6.1: third-party authorisation comes before first-party authentication.
        let identity = match bearer(message, config, known) {
            Some(bearer) => Identity::Bearer(bearer),
            None => Identity::LongTerm(long_term(message, config, realm, nonce, known)?),
        };
        self.challenge = Some(Box::new(Challenge { realm: realm.into(), nonce: nonce.into(), identity }));
        Ok(())
    }

    /// Gets another token, if it is tokens that requests are signed with: a session lives as long as its last one.
    pub(crate) fn renew(&mut self, config: &ClientConfig) {
        let Some(Identity::Bearer(bearer)) = self.challenge.as_mut().map(|it| &mut it.identity) else {
            return;
        };
        let tokens = config.tokens.as_ref();
        if let Some(grant) = tokens.and_then(|tokens| tokens.grant(&bearer.server_name)) {
            bearer.before = Some(core::mem::replace(&mut bearer.grant, grant));
        }
    }

    /// Appends USERNAME or USERHASH, REALM, NONCE and the integrity attribute, if there was a challenge.
    pub(crate) fn sign(&self, writer: &mut MessageWriter<'_>, credentials: Option<&Credentials>) {
        let Some(challenge) = &self.challenge else { return };
        let (realm, nonce) = (Realm(&challenge.realm), Nonce(&challenge.nonce));
        match (&challenge.identity, credentials) {
            (Identity::Bearer(Bearer { grant, .. }), _) => {
                writer.add(&Username(grant.kid.as_bytes())).add(&realm).add(&nonce);
                // RFC 7635 §6.2: HMAC-SHA1 is what every server must know. The token goes with every request, for one
                // that a Refresh overtakes would otherwise be signed with a key that is no longer the session's.
                writer.add_raw(AttributeType::ACCESS_TOKEN, &grant.token).integrity_sha1_with(&grant.mac_key);
            }
            (Identity::LongTerm(user), Some(credentials)) => user.sign(writer, credentials, realm, nonce),
            (Identity::LongTerm(_), None) => {}
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
        let holds = match &challenge.identity {
            Identity::Bearer(Bearer { grant, before, .. }) => {
                let mut grants = [Some(grant), before.as_ref()].into_iter().flatten();
                grants.any(|grant| message.verify_sha1(&grant.mac_key).is_ok())
            }
            Identity::LongTerm(LongTerm { key, algorithms: Some(_), .. }) => {
                message.verify_sha256(key.bytes()).is_ok()
            }
            Identity::LongTerm(LongTerm { key, .. }) => message.verify_sha1(key.bytes()).is_ok(),
        };
        // A server that does not accept the credentials has no common key to protect its 401 with.
        if holds || is_challenge(message) { Ok(()) } else { Err(DiscardReason::BadIntegrity) }
    }

    /// The realm of the last challenge.
    pub(crate) fn realm(&self) -> Box<str> {
        self.challenge.as_ref().map_or_else(Box::default, |challenge| text(&challenge.realm))
    }
}

impl LongTerm {
    fn sign(
        &self,
        writer: &mut MessageWriter<'_>,
        credentials: &Credentials,
        realm: Realm<'_>,
        nonce: Nonce<'_>,
    ) {
        match &self.userhash {
            Some(hash) => writer.add(hash),
            None => writer.add(&Username(prepared(&credentials.username).as_bytes())),
        };
        writer.add(&realm).add(&nonce);
        let Some(algorithms) = &self.algorithms else {
            // Without PASSWORD-ALGORITHMS the server may know nothing of SHA-256 integrity (RFC 8489 §9.2.3).
            writer.integrity_sha1(&self.key);
            return;
        };
        let algorithm = match self.key.digest() {
            PasswordDigest::Md5 => PasswordAlgorithm::MD5,
            PasswordDigest::Sha256 => PasswordAlgorithm::SHA256,
        };
        writer
            .add_raw(AttributeType::PASSWORD_ALGORITHMS, algorithms)
            .add(&PasswordAlgorithm { algorithm, parameters: &[] })
            .integrity_sha256_with(self.key.bytes());
    }
}

/// A token for the server, if it accepts tokens and there is one to be had. One that is there already is good for another
/// nonce too.
fn bearer(message: &Message<'_>, config: &ClientConfig, known: Option<&Identity>) -> Option<Bearer> {
    let tokens = config.tokens.as_ref()?;
    let ThirdPartyAuthorization(server_name) = message.get().ok()??;
    let known = match known {
        Some(Identity::Bearer(known)) if *known.server_name == *server_name => Some(known.grant.clone()),
        _ => None,
    };
    let grant = known.or_else(|| tokens.grant(server_name))?;
    Some(Bearer { server_name: server_name.into(), grant, before: None })
}

/// The user's key for this challenge; the one that is there already, if it is the same.
fn long_term(
    message: &Message<'_>,
    config: &ClientConfig,
    realm: &[u8],
    nonce: &[u8],
    known: Option<&Identity>,
) -> Result<LongTerm, Failure> {
    let Some(credentials) = &config.credentials else {
        return Err(Failure::NoCredentials { realm: text(realm) });
    };
    let features = announced(nonce, config);
    let (digest, algorithms) = choose_algorithm(message, features)?;
    let username = prepared(&credentials.username);
    let userhash = features.username_anonymity.then(|| UserHash::of(username.as_bytes(), realm));
    let key = match known {
        Some(Identity::LongTerm(known)) if known.key.digest() == digest => known.key.clone(),
        _ => {
            let password = prepared(&credentials.password);
            LongTermKey::derive(digest, username.as_bytes(), realm, password.as_bytes())
        }
    };
    Ok(LongTerm { userhash, key, algorithms })
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
