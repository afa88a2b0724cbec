//! Who a request comes from, the plain way (RFC 8489 §9.2.4; TURN REST usernames).

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use turnpike_turn::{Now, Reason};

use super::algorithms::{Algorithm, long_term_key};
use super::message::{Parsed, Protection};
use super::{Model, Source};
use crate::observed::Report;

/// Somebody whose request was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The whole username.
    pub(crate) name: String,
    /// The part quotas are counted by.
    pub(crate) account: String,
    /// The realm at that time.
    pub(crate) realm: String,
    /// The key that signs; `None` where no password is asked for.
    pub(crate) key: Option<Vec<u8>>,
}

impl Identity {
    /// Whether what one has made is the other's.
    pub(crate) fn is_same(&self, other: &Identity) -> bool {
        self.name == other.name && self.realm == other.realm
    }
}

/// A request that is answered with an error.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The error.
    pub(crate) number: u16,
    /// Why.
    pub(crate) reason: Reason,
    /// Whether REALM and NONCE go with it.
    pub(crate) challenge: bool,
    /// Who asked, if known.
    pub(crate) identity: Option<Identity>,
}

/// A nonce the server has given out.
#[derive(Clone, Debug)]
pub(crate) struct IssuedNonce {
    pub(super) value: Vec<u8>,
    pub(super) client: SocketAddr,
    pub(super) issued: u64,
    /// PASSWORD-ALGORITHMS beside it, and whether hashes of names were offered.
    pub(super) offer: (Vec<u8>, bool),
}

impl Refusal {
    /// An error for somebody unknown.
    pub(crate) fn plain(number: u16, reason: Reason) -> Self {
        Refusal { number, reason, challenge: false, identity: None }
    }

    /// An error that tells how to authenticate.
    pub(crate) fn challenge(number: u16, reason: Reason) -> Self {
        Refusal { number, reason, challenge: true, identity: None }
    }
}

impl Model {
    pub(super) fn authenticate(
        &mut self,
        now: Now,
        source: &Source,
        message: &Parsed,
    ) -> Result<Identity, Refusal> {
        let owner = self.allocation(source).map(|allocation| allocation.owner.clone());
        if self.settings.anonymous {
            let realm = self.settings.realm.clone();
            let nobody = Identity { name: String::new(), account: String::new(), realm, key: None };
            return Ok(owner.unwrap_or(nobody));
        }
        if message.protection() == Protection::None {
            return Err(Refusal::challenge(401, Reason::NoCredentials));
        }
        let bounded = |kind, most| message.value(kind).filter(|value| value.len() <= most);
        let hash =
            message.value(USERHASH).filter(|hash| hash.len() == 32 && message.value(USERNAME).is_none());
        let (Some(claim), Some(realm), Some(nonce)) =
            (bounded(USERNAME, 508).or(hash), bounded(REALM, 763), bounded(NONCE, 763))
        else {
            return Err(Refusal::plain(400, Reason::IncompleteCredentials));
        };
        self.check_nonce(now, source, nonce, message.method)?;
        let algorithm = self.chosen_algorithm(message)?;
        let name = match hash {
            Some(hash) => self.name_behind(hash, owner.as_ref()),
            None => usable_name(claim),
        };
        let verified = if realm != self.settings.realm.as_bytes() {
            Err((Reason::WrongRealm, None))
        } else if let Some(owner) = owner.filter(|owner| still_signs(owner, &name, algorithm, message)) {
            Ok(owner)
        } else {
            self.look_up(now, name.clone(), algorithm, message)
        };
        verified.map_err(|(reason, expired_since)| {
            let digits = || claim.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let unknown = || match hash {
                Some(_) => format!("userhash {}", digits()),
                None => String::from_utf8_lossy(&claim[..claim.len().min(128)]).into(),
            };
            self.reports.push(Report::AuthenticationFailed {
                tuple: source.client.tuple,
                username: if hash.is_some() { name.unwrap_or_else(unknown) } else { unknown() },
                reason,
                expired_since,
            });
            Refusal::challenge(401, reason)
        })
    }

    /// A nonce is good for the very address it was given to, as long as it is young enough; for ConnectionBind on a
    /// connection for other ports of it too.
    fn check_nonce(&mut self, now: Now, source: &Source, nonce: &[u8], method: u16) -> Result<(), Refusal> {
        let client = source.client.tuple.client;
        let offer = (self.offered_list(), self.offers_anonymity());
        let mut issued = self.nonces.iter().rev().filter(|it| it.offer == offer);
        let binds = method == CONNECTION_BIND && source.client.tuple.transport.is_stream();
        let fits = |it: &SocketAddr| if binds { it.ip() == client.ip() } else { *it == client };
        let issued = issued.find(|it| it.value == nonce && fits(&it.client));
        let Some(issued) = issued else {
            return Err(Refusal::challenge(438, Reason::ForeignNonce));
        };
        let age = now.unix.0 as i64 - issued.issued as i64;
        let longest = self.settings.nonce_lifetime as i64;
        // A clock that was set back may find a nonce in the future; ten seconds of that are forgiven.
        if longest != 0 && age > longest || age < -10 {
            return Err(Refusal::challenge(438, Reason::StaleNonce));
        }
        self.bucket(now, source).refund();
        Ok(())
    }

    fn look_up(
        &self,
        now: Now,
        name: Option<String>,
        algorithm: Algorithm,
        message: &Parsed,
    ) -> Result<Identity, (Reason, Option<Duration>)> {
        let Some(name) = name else { return Err((Reason::UnknownUser, None)) };
        let realm = self.settings.realm.clone();
        let known = self.settings.users.iter().find(|(user, _)| *user == name);
        if let Some((_, password)) = known {
            let key = long_term_key(algorithm, &name, &realm, password);
            if message.is_signed_with(&key) {
                return Ok(Identity { account: name.clone(), name, realm, key: Some(key) });
            }
        }
        let rest = read_rest_name(&name).filter(|_| !self.settings.secrets.is_empty());
        let Some((expiry, account)) = rest else {
            let reason = if known.is_some() { Reason::WrongPassword } else { Reason::UnknownUser };
            return Err((reason, None));
        };
        for secret in &self.settings.secrets {
            let key = long_term_key(algorithm, &name, &realm, &rest_password(secret, &name));
            if message.is_signed_with(&key) {
                if expiry < now.unix.0 {
                    return Err((Reason::Expired, Some(Duration::from_secs(now.unix.0 - expiry))));
                }
                let account = if account.is_empty() { name.clone() } else { account };
                return Ok(Identity { name, account, realm, key: Some(key) });
            }
        }
        Err((Reason::WrongSecret, None))
    }
}

/// A session outlives a change of its owner's password.
fn still_signs(owner: &Identity, name: &Option<String>, algorithm: Algorithm, message: &Parsed) -> bool {
    let length = if algorithm == Algorithm::Md5 { 16 } else { 32 };
    let key = owner.key.as_ref().filter(|key| key.len() == length);
    name.as_ref() == Some(&owner.name) && key.is_some_and(|key| message.is_signed_with(key))
}

/// A name that can be somebody's.
fn usable_name(name: &[u8]) -> Option<String> {
    let name = String::from_utf8(name.to_vec()).ok()?;
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

/// The password of a REST username.
pub(crate) fn rest_password(secret: &str, name: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(name.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// `expiry`, `expiry:user` or `user:expiry`: the expiry and the user.
fn read_rest_name(name: &str) -> Option<(u64, String)> {
    let parts: Vec<&str> = name.split(':').collect();
    let expiry = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?;
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    if let Some(expiry) = expiry(first) {
        return Some((expiry, parts[1..].join(":")));
    }
    let expiry = expiry(last)?;
    Some((expiry, parts[..parts.len() - 1].join(":")))
}

const CONNECTION_BIND: u16 = 0x00B;
const USERNAME: u16 = 0x0006;
const USERHASH: u16 = 0x001E;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
