//! Long-term credentials (RFC 8489 §9.2.4): who sent a request, or why that is not known.
//!
//! The order of checks keeps strangers cheap: without integrity a stateless challenge, with a nonce that was
//! not issued to this very address a new one, and only then a look at names and keys.

use std::net::SocketAddr;
use std::sync::Arc;

use turnpike_wire::attributes::{Nonce, Realm, Username};
use turnpike_wire::{ErrorNumber, Integrity};

use crate::credentials::{CredentialRefusal, User};
use crate::effect::Event;
use crate::reason::Reason;
use crate::requests::{Refusal, Request};
use crate::server::Server;

impl Server {
    /// The user whose key verifies the request.
    pub(crate) fn authenticate(&mut self, request: &Request<'_>) -> Result<Arc<User>, Refusal> {
        let owner = self.owner_of(request);
        if self.config.credentials.is_anonymous() {
            return Ok(owner.unwrap_or_else(|| self.nobody.clone()));
        }
        if request.message.integrity() == Integrity::None {
            return Err(Refusal::challenge(ErrorNumber::UNAUTHENTICATED, Reason::NoCredentials));
        }
        let Some((username, realm, nonce)) = named(request) else {
            return Err(Refusal::plain(ErrorNumber::BAD_REQUEST, Reason::IncompleteCredentials));
        };
        self.check_nonce(request, nonce)?;
        let verified = if realm != self.config.credentials.realm().as_bytes() {
            Err(CredentialRefusal { reason: Reason::WrongRealm, expired_since: None })
        } else if let Some(owner) = owner.filter(|owner| signs(owner, request, username)) {
            Ok(owner)
        } else {
            self.config.credentials.authenticate(&request.message, username, request.now.unix)
        };
        verified.map_err(|refusal| {
            self.report_failure(request, username, refusal);
            Refusal::challenge(ErrorNumber::UNAUTHENTICATED, refusal.reason)
        })
    }

    /// A nonce for whoever sends from `client`.
    pub(crate) fn nonce_for(&self, request: &Request<'_>) -> [u8; crate::nonce::LENGTH] {
        self.nonce_key.issue(request.now.unix, &request.client.tuple.client)
    }

    fn owner_of(&self, request: &Request<'_>) -> Option<Arc<User>> {
        let relay = self.allocations.find(&request.client.tuple)?;
        self.allocations.get(relay).map(|allocation| allocation.user.clone())
    }

    fn check_nonce(&mut self, request: &Request<'_>, nonce: &[u8]) -> Result<(), Refusal> {
        let client: &SocketAddr = &request.client.tuple.client;
        let lifetime = self.config.nonce_lifetime;
        match self.nonce_key.check(nonce, request.now.unix, client, lifetime) {
            Ok(()) => {
                self.budget.refund(client.ip());
                Ok(())
            }
            Err(reason) => Err(Refusal::challenge(ErrorNumber::STALE_NONCE, reason)),
        }
    }

    fn report_failure(&mut self, request: &Request<'_>, username: &[u8], refusal: CredentialRefusal) {
        let shown = &username[..username.len().min(SHOWN_NAME)];
        self.report(Event::AuthenticationFailed {
            tuple: request.client.tuple,
            username: String::from_utf8_lossy(shown).into(),
            reason: refusal.reason,
            expired_since: refusal.expired_since,
        });
    }
}

/// USERNAME, REALM and NONCE, if all three can be read.
fn named<'m>(request: &Request<'m>) -> Option<(&'m [u8], &'m [u8], &'m [u8])> {
    let message = &request.message;
    let Username(username) = message.get().ok()??;
    let Realm(realm) = message.get().ok()??;
    let Nonce(nonce) = message.get().ok()??;
    Some((username, realm, nonce))
}

/// Whether the request bears the owner's name and verifies with the key the allocation was made with. A
/// password or secret that has changed since does not end the session.
fn signs(owner: &User, request: &Request<'_>, username: &[u8]) -> bool {
    let verifies = |key: &turnpike_wire::LongTermKey| request.message.verify_integrity(key.bytes()).is_ok();
    owner.name().as_bytes() == username && owner.key().is_some_and(verifies)
}

/// Bytes of a refused username that reach the log.
const SHOWN_NAME: usize = 128;
