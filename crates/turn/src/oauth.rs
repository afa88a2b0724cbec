//! Third-party authorisation (RFC 7635): who bears a token that an authorisation server has sealed for this server, and
//! signs with the key in it, may relay as long as the token is good.
//!
//! USERNAME is the kid: the name of the key that the token was sealed with. The token is looked at only after the nonce
//! has proved the sender's address. Allocate and Refresh always read it, for it decides the lifetime; to everything else
//! the allocation's own key is the short way, and requests without a token are good with it. A Refresh with another token
//! makes that token's key and time the allocation's.
//!
//! Invariant: no allocation outlives the last token it was made or refreshed with by more than [`CLOCK_SLACK`] seconds.

mod token;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::attributes::{AccessToken, UserHash};
use turnpike_wire::{AttributeType, Integrity, Message, Method};

pub use token::{MacKey, Token, TokenCipher, TokenError, TokenKey};

use crate::auth::{Claim, Sender, WRONG_REALM, name_claimed, shown};
use crate::credentials::CredentialRefusal;
use crate::reason::Reason;
use crate::requests::{Answer, Refusal, Request};
use crate::server::Server;
use crate::time::UnixTime;
use crate::tuple::RelayId;
use crate::user::User;

/// The keys of the authorisation servers whose tokens are accepted, as one unchanging snapshot: from the configuration
/// or from a store.
pub struct OAuthKeys {
    server_name: Box<str>,
    keys: HashMap<Box<str>, OAuthKey>,
    /// Stands in for a key that is not there.
    absent: Option<TokenKey>,
}

/// One of them.
#[derive(Debug)]
pub struct OAuthKey {
    /// What opens the tokens.
    pub key: TokenKey,
    /// The second from which on the key is good; zero for always.
    pub timestamp: u64,
    /// Seconds it is good for from then on; zero for ever.
    pub lifetime: u64,
    /// The realm that its bearers count in, if it is another than the server's.
    pub realm: Option<Arc<str>>,
}

/// Somebody whose token is good.
pub(crate) struct Bearer {
    pub(crate) key: SessionKey,
    pub(crate) realm: Option<Arc<str>>,
}

/// A session's key out of an access token, and until when it is good.
#[derive(Clone, Debug)]
pub(crate) struct SessionKey {
    pub(crate) mac: MacKey,
    pub(crate) expires: UnixTime,
}

impl OAuthKeys {
    /// No keys yet. `server_name` is what clients ask their authorisation server for, and what tokens are sealed for.
    pub fn new(server_name: &str) -> Self {
        OAuthKeys {
            server_name: server_name.into(),
            keys: HashMap::new(),
            absent: TokenKey::new(TokenCipher::A256Gcm, &[0; 32]),
        }
    }

    /// Adds a key, or replaces the one of this name.
    pub fn insert(&mut self, kid: &str, key: OAuthKey) {
        self.keys.insert(kid.into(), key);
    }

    /// What THIRD-PARTY-AUTHORIZATION says.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// The kid that a USERHASH stands for. There are few, so that they need no index.
    pub(crate) fn kid_of_hash(&self, hash: &UserHash, realm: &str) -> Option<&str> {
        let mut kids = self.keys.keys();
        kids.find(|kid| UserHash::of(kid.as_bytes(), realm.as_bytes()) == *hash).map(|kid| &**kid)
    }

    /// Opens the token and checks that `message` is signed with the key in it, whole (RFC 7635 §6.2), and that it is
    /// good now (§7).
    pub(crate) fn admit(
        &self,
        message: &Message<'_>,
        kid: Option<&str>,
        access: Option<AccessToken<'_>>,
        now: UnixTime,
    ) -> Result<Bearer, CredentialRefusal> {
        let refuse = |reason| CredentialRefusal { reason, expired_since: None };
        let access = access.ok_or(refuse(Reason::BadToken))?;
        let known = kid.and_then(|kid| self.keys.get(kid));
        // An unknown kid costs an attempt at opening as well, so that timing does not tell.
        let key = known.map(|known| &known.key).or(self.absent.as_ref()).ok_or(refuse(Reason::UnknownKid))?;
        let opened = key.open(&access, self.server_name.as_bytes());
        let known = known.ok_or(refuse(Reason::UnknownKid))?;
        let token = opened.map_err(|_| refuse(Reason::BadToken))?;
        if token.mac_key.bytes().len() < SHORTEST_MAC_KEY {
            return Err(refuse(Reason::BadToken));
        }
        let mac = signing_key(&token.mac_key, message).ok_or(refuse(Reason::NotTheBearer))?;
        if !known.is_good(now) {
            return Err(refuse(Reason::ExpiredKid));
        }
        // RFC 7635 §7: made no longer ago than its lifetime and a few seconds, nor that far ahead.
        let lifetime = u64::from(token.lifetime);
        if now.0.abs_diff(token.made()) >= lifetime + CLOCK_SLACK {
            let expired_since = now.0.checked_sub(token.made() + lifetime).map(Duration::from_secs);
            return Err(CredentialRefusal { reason: Reason::ExpiredToken, expired_since });
        }
        let expires = UnixTime((token.made() + lifetime).min(now.0 + lifetime));
        Ok(Bearer { key: SessionKey { mac, expires }, realm: known.realm.clone() })
    }
}

impl fmt::Debug for OAuthKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OAuthKeys")
            .field("server_name", &self.server_name)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl OAuthKey {
    fn is_good(&self, now: UnixTime) -> bool {
        let ends = self.timestamp.saturating_add(self.lifetime);
        now.0 >= self.timestamp && (self.lifetime == 0 || now.0 < ends)
    }
}

impl SessionKey {
    /// Seconds that may still be granted on it, at least one; [`SessionKey::is_expired`] ends it.
    pub(crate) fn left(&self, now: UnixTime) -> u32 {
        self.expires.0.saturating_sub(now.0).clamp(1, u32::MAX.into()) as u32
    }

    pub(crate) fn is_expired(&self, now: UnixTime) -> bool {
        now.0 >= self.expires.0 + CLOCK_SLACK
    }

    /// Whether a message is signed with it while it is good.
    fn signs(&self, message: &Message<'_>, now: UnixTime) -> bool {
        !self.is_expired(now) && message.verify_integrity(self.mac.bytes()).is_ok()
    }
}

impl Server {
    /// Whether a request comes with an access token, and these are accepted.
    pub(crate) fn bears_token(&self, request: &Request<'_>) -> bool {
        request.message.has(AttributeType::ACCESS_TOKEN) && self.credentials_for(request).oauth().is_some()
    }

    /// The bearer of the request's token. The nonce is good. Whose key may be in a database that cannot be asked now is
    /// not refused.
    pub(crate) fn authenticate_bearer(
        &mut self,
        request: &Request<'_>,
        claim: &Claim<'_>,
        realm: &[u8],
        owner: Option<Arc<User>>,
    ) -> Result<Sender, Refusal> {
        let Request { now, message, .. } = request;
        let credentials = self.credentials_for(request).clone();
        let name = name_claimed(&credentials, claim, owner.as_deref());
        let short_way = !matches!(message.method(), Method::ALLOCATE | Method::REFRESH);
        let signs = |owner: &Arc<User>| owner.session_key().is_some_and(|key| key.signs(message, now.unix));
        let owner = owner.filter(|owner| short_way && signs(owner));
        let verified = if realm != credentials.realm().as_bytes() {
            Err(WRONG_REALM)
        } else if let Some(owner) = owner {
            Ok(owner)
        } else {
            let access = message.get().unwrap_or_default();
            credentials.authenticate_bearer(message, name.as_deref(), access, now.unix)
        };
        match verified {
            Ok(user) => Ok(Sender::Known(user)),
            Err(refusal) if refusal.reason == Reason::UnknownKid && credentials.is_incomplete() => {
                Ok(Sender::Asked(Answer::Unavailable(Reason::StoreUnavailable)))
            }
            Err(refusal) => {
                let username = shown(name.as_deref(), claim);
                Err(self.refuse_credentials(request, username, refusal))
            }
        }
    }

    /// Makes the key and the time of the token that an allocation was refreshed with the allocation's own. Its place in
    /// the quotas stays that of the kid it was taken under.
    pub(crate) fn adopt(&mut self, relay: RelayId, user: &Arc<User>) {
        if user.session_key().is_none() {
            return;
        }
        for relay in self.allocations.family_of(relay) {
            if let Some(allocation) = self.allocations.get_mut(relay) {
                allocation.user = user.clone();
            }
        }
    }
}

/// The key that `message` is signed with, if it is the one of the token: all of it (RFC 7635 §6.2), or as coturn and its
/// client understand it. These take the length of an MD5 digest of it for HMAC-SHA1, because that is what long-term keys
/// have. Either way whoever signs knows the key, and is answered in kind.
fn signing_key(whole: &MacKey, message: &Message<'_>) -> Option<MacKey> {
    if message.verify_integrity(whole.bytes()).is_ok() {
        return Some(whole.clone());
    }
    let cut = MacKey::new(whole.bytes().get(..COTURN_MAC_KEY)?)?;
    let may_be_cut = whole.bytes().len() == SHORTEST_MAC_KEY && message.integrity() == Integrity::Sha1;
    (may_be_cut && message.verify_integrity(cut.bytes()).is_ok()).then_some(cut)
}

/// Seconds that clocks may differ by, and that a token may be late (RFC 7635 §7).
const CLOCK_SLACK: u64 = 5;
/// A key is no shorter than the digest of HMAC-SHA1 (RFC 7635 §6.2).
const SHORTEST_MAC_KEY: usize = 20;
/// Bytes that coturn uses of such a key.
const COTURN_MAC_KEY: usize = 16;
