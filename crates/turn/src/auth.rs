//! Long-term credentials (RFC 8489 §9.2.4): who sent a request, or why that is not known.
//!
//! The order of checks keeps strangers cheap: without integrity a stateless challenge, with a nonce that was
//! not issued to this very address a new one, and only then a look at algorithms, names and keys. So a nonce that is
//! stale is told so before an altered PASSWORD-ALGORITHMS is: only a nonce of ours tells which list came with it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_wire::attributes::{Nonce, Realm, UserHash, Username};
use turnpike_wire::{ErrorNumber, Integrity, Method, PasswordDigest};

use crate::credentials::{CredentialRefusal, Credentials, Verified};
use crate::effect::Event;
use crate::nonce::Holder;
use crate::reason::Reason;
use crate::requests::{Answer, Refusal, Request};
use crate::server::Server;
use crate::user::User;

impl Server {
    /// The user whose key verifies the request.
    pub(crate) fn authenticate(&mut self, request: &Request<'_>) -> Result<Sender, Refusal> {
        let owner = self.owner_of(request);
        if self.config.credentials.is_anonymous() {
            return Ok(Sender::Known(owner.unwrap_or_else(|| self.nobody.clone())));
        }
        if request.message.integrity() == Integrity::None {
            return Err(Refusal::challenge(ErrorNumber::UNAUTHENTICATED, Reason::NoCredentials));
        }
        let Some((claim, realm, nonce)) = named(request) else {
            return Err(Refusal::plain(ErrorNumber::BAD_REQUEST, Reason::IncompleteCredentials));
        };
        self.check_nonce(request, nonce)?;
        if self.bears_token(request) {
            return self.authenticate_bearer(request, &claim, realm, owner);
        }
        let credentials = self.credentials_for(request).clone();
        let Some(digest) = credentials.offer().chosen(&request.message) else {
            return Err(Refusal::plain(ErrorNumber::BAD_REQUEST, Reason::PasswordAlgorithms));
        };
        if realm != credentials.realm().as_bytes() {
            return Err(self.refuse_realm(request, &credentials, &claim, owner.as_deref()));
        }
        let name = name_claimed(&credentials, &claim, owner.as_deref());
        let name = name.as_deref();
        let verified = match owner.filter(|owner| signs(owner, request, name, digest)) {
            Some(owner) if self.is_over(&owner, request) => Verified::Refused(EXPIRED),
            Some(owner) => Verified::User(owner),
            None => match self.is_self_test(request, name, (credentials.realm(), digest)) {
                Some(user) => Verified::User(Arc::new(user)),
                None => credentials.authenticate(&request.message, name, digest, request.now.unix),
            },
        };
        match verified {
            Verified::User(user) => Ok(Sender::Known(user)),
            Verified::Refused(refusal) => Err(self.refuse_credentials(request, shown(name, &claim), refusal)),
            Verified::Ask if self.is_parked(request) => Ok(Sender::Asked(Answer::InProgress)),
            Verified::Ask => {
                let asked = self.inquire(request, credentials.realm(), name.unwrap_or_default());
                Ok(Sender::Asked(asked.map_or_else(Answer::Unavailable, Answer::Asking)))
            }
            Verified::Unavailable => Ok(Sender::Asked(Answer::Unavailable(Reason::StoreUnavailable))),
        }
    }

    /// Somebody names a realm that is not his. Whose name says which one is his is told so with a new nonce, which
    /// clients take up without having failed.
    fn refuse_realm(
        &mut self,
        request: &Request<'_>,
        credentials: &Credentials,
        claim: &Claim<'_>,
        owner: Option<&User>,
    ) -> Refusal {
        if credentials.realm() != self.config.credentials.realm() {
            return Refusal::challenge(ErrorNumber::STALE_NONCE, Reason::WrongRealm);
        }
        let name = name_claimed(credentials, claim, owner);
        let username = shown(name.as_deref(), claim);
        self.refuse_credentials(request, username, WRONG_REALM)
    }

    /// Whether the credential that the allocation was made with has expired, and with it the session.
    fn is_over(&self, owner: &User, request: &Request<'_>) -> bool {
        let expires = owner.expires().filter(|_| self.config.strict_expiry);
        expires.is_some_and(|expires| expires.0 < request.now.unix.0)
    }

    /// This server itself, if it is that which sends the request.
    fn is_self_test(
        &self,
        request: &Request<'_>,
        name: Option<&str>,
        kind: (&str, PasswordDigest),
    ) -> Option<User> {
        let self_test = self.config.self_test.as_ref()?;
        let is_here = self.config.peers.is_own(request.client.tuple.client.ip());
        self_test.authenticate(&request.message, name.filter(|_| is_here)?, kind, request.now.unix)
    }

    /// A nonce for whoever sends from `client`.
    pub(crate) fn nonce_for(&self, request: &Request<'_>) -> [u8; crate::nonce::LENGTH] {
        let offer = self.credentials_for(request).offer();
        self.nonce_key.issue(request.now.unix, &request.client.tuple.client, offer)
    }

    fn owner_of(&self, request: &Request<'_>) -> Option<Arc<User>> {
        let relay = self.allocation_on(&request.client.tuple)?;
        self.allocations.get(relay).map(|allocation| allocation.user.clone())
    }

    fn check_nonce(&mut self, request: &Request<'_>, nonce: &[u8]) -> Result<(), Refusal> {
        let client: &SocketAddr = &request.client.tuple.client;
        let binds = request.message.method() == Method::CONNECTION_BIND;
        let holder =
            if binds && request.client.tuple.transport.is_stream() { Holder::Address } else { Holder::Port };
        let lifetime = self.config.nonce_lifetime;
        let offer = self.credentials_for(request).offer();
        match self.nonce_key.check(nonce, request.now.unix, (client, holder), lifetime, offer) {
            Ok(()) => {
                self.budget.refund(client.ip());
                Ok(())
            }
            Err(reason) => Err(Refusal::challenge(ErrorNumber::STALE_NONCE, reason)),
        }
    }

    /// The refusal of credentials that somebody did have, which is worth a report.
    pub(crate) fn refuse_credentials(
        &mut self,
        request: &Request<'_>,
        username: Box<str>,
        refusal: CredentialRefusal,
    ) -> Refusal {
        self.report(Event::AuthenticationFailed {
            tuple: request.client.tuple,
            username,
            reason: refusal.reason,
            expired_since: refusal.expired_since,
        });
        Refusal::challenge(ErrorNumber::UNAUTHENTICATED, refusal.reason)
    }
}

/// What is known of whoever sent a request.
pub(crate) enum Sender {
    /// Who it is.
    Known(Arc<User>),
    /// Nothing yet; the answer says what becomes of the request.
    Asked(Answer),
}

/// How a request says who sends it.
pub(crate) enum Claim<'m> {
    Name(&'m [u8]),
    Hash(UserHash),
}

/// USERNAME or USERHASH, REALM and NONCE, if all three can be read. A request with both is taken by its name.
fn named<'m>(request: &Request<'m>) -> Option<(Claim<'m>, &'m [u8], &'m [u8])> {
    let message = &request.message;
    let claim = match message.get().ok()? {
        Some(Username(username)) => Claim::Name(username),
        None => Claim::Hash(message.get().ok()??),
    };
    let Realm(realm) = message.get().ok()??;
    let Nonce(nonce) = message.get().ok()??;
    Some((claim, realm, nonce))
}

/// The name a request means. A USERHASH may be that of the allocation's owner, who may have left the list since.
pub(crate) fn name_claimed<'n>(
    credentials: &'n Credentials,
    claim: &Claim<'n>,
    owner: Option<&User>,
) -> Option<Cow<'n, str>> {
    let hash = match claim {
        Claim::Name(username) => return credentials.name_of(username),
        Claim::Hash(hash) => hash,
    };
    let known = credentials.name_of_hash(hash).map(Cow::Borrowed);
    known.or_else(|| {
        let owner = owner.filter(|_| credentials.offer().anonymity)?;
        let own = UserHash::of(owner.name().as_bytes(), owner.realm().as_bytes());
        (own == *hash).then(|| Cow::Owned(owner.name().to_owned()))
    })
}

/// Whether the request bears the owner's name and verifies with the key the allocation was made with. A
/// password or secret that has changed since does not end the session. A bearer of an access token need not show it
/// again.
fn signs(owner: &User, request: &Request<'_>, name: Option<&str>, digest: PasswordDigest) -> bool {
    let key = owner.key().filter(|key| key.suits(digest, request.now.unix));
    name == Some(owner.name()) && key.is_some_and(|key| request.message.verify_integrity(key.bytes()).is_ok())
}

/// What the log says of somebody who was refused: the name if there is one, else what came.
pub(crate) fn shown(name: Option<&str>, claim: &Claim<'_>) -> Box<str> {
    let bytes = match (name, claim) {
        (Some(name), _) => name.as_bytes(),
        (None, Claim::Name(username)) => username,
        (None, Claim::Hash(UserHash(hash))) => {
            let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            return format!("userhash {digits}").into();
        }
    };
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_NAME)]).into()
}

pub(crate) const WRONG_REALM: CredentialRefusal =
    CredentialRefusal { reason: Reason::WrongRealm, expired_since: None };
const EXPIRED: CredentialRefusal = CredentialRefusal { reason: Reason::Expired, expired_since: None };
/// Bytes of a refused username that reach the log.
const SHOWN_NAME: usize = 128;
