//! Who may allocate: static users, TURN REST secrets and bearers of access tokens, side by side (RFC 8489 §9.2,
//! RFC 7635).
//!
//! A REST username carries its own expiry: `expiry:user`, `user:expiry` or just `expiry`, and its password is
//! base64(HMAC-SHA1(secret, username)). Any number of secrets is tried, and none shuts out static users.
//!
//! Static names are kept as the OpaqueString profile prepares them (RFC 8489 §9.2.2), and a received name is prepared
//! before it is looked up. REST names are taken as they come: no list holds them, and the application that minted one
//! derived the password from its very bytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use turnpike_opaque_string::prepare;
use turnpike_wire::attributes::{AccessToken, UserHash};
use turnpike_wire::{LongTermKey, Message, Method, PasswordDigest};

use crate::directory::{Directory, Found, StoredKeys};
use crate::oauth::OAuthKeys;
use crate::offer::Offer;
use crate::reason::Reason;
use crate::rest_credentials::{RestName, RestSecret};
use crate::time::UnixTime;
use crate::user::{Key, User};

/// Everyone who may allocate, as one unchanging snapshot.
pub struct Credentials {
    realm: Arc<str>,
    users: HashMap<Box<str>, StoredKeys>,
    /// Static users by USERHASH.
    hashed: HashMap<[u8; 32], Box<str>>,
    /// How many users have no SHA-256 key.
    md5_only: usize,
    secrets: Vec<RestSecret>,
    /// Where users are looked for who are not among these.
    directory: Option<Arc<dyn Directory>>,
    separator: char,
    /// What opens access tokens, where these are accepted.
    oauth: Option<OAuthKeys>,
    anonymous: bool,
}

/// What came of a look at somebody's credentials.
#[derive(Debug)]
pub(crate) enum Verified {
    /// They are good.
    User(Arc<User>),
    /// They are not.
    Refused(CredentialRefusal),
    /// Somebody has to ask for this user.
    Ask,
    /// Nobody can be asked.
    Unavailable,
}

/// Why credentials were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CredentialRefusal {
    pub(crate) reason: Reason,
    pub(crate) expired_since: Option<Duration>,
}

impl Credentials {
    /// Nobody yet; `realm` is what clients are told and keys are derived with.
    pub fn new(realm: &str) -> Self {
        Credentials {
            realm: prepared(realm).into(),
            users: HashMap::new(),
            hashed: HashMap::new(),
            md5_only: 0,
            secrets: Vec::new(),
            directory: None,
            separator: ':',
            oauth: None,
            anonymous: false,
        }
    }

    /// Lets everybody in without a password.
    pub fn anonymous(realm: &str) -> Self {
        Credentials { anonymous: true, ..Credentials::new(realm) }
    }

    /// Adds a static user by password. What OpaqueString does not allow is taken as it stands: whoever reads the
    /// configuration refuses it there, with words for a person.
    pub fn add_user(&mut self, name: &str, password: &str) {
        let (name, password) = (prepared(name), prepared(password));
        let key =
            |digest| LongTermKey::derive(digest, name.as_bytes(), self.realm.as_bytes(), password.as_bytes());
        let keys = StoredKeys {
            md5: key(PasswordDigest::Md5),
            sha256: Some(key(PasswordDigest::Sha256)),
            aged: false,
        };
        self.insert(&name, keys);
    }

    /// Adds a static user by the MD5 key that coturn stores. From then on nobody in the realm is offered SHA-256,
    /// for which this user has no key.
    pub fn add_user_key(&mut self, name: &str, key: [u8; 16]) {
        self.insert(&prepared(name), StoredKeys::new(key, None));
    }

    /// Adds a TURN REST secret.
    pub fn add_secret(&mut self, secret: &[u8]) {
        self.secrets.push(RestSecret(secret.into()));
    }

    /// Looks for users here who are not among the static ones.
    pub fn set_directory(&mut self, directory: Arc<dyn Directory>) {
        self.directory = Some(directory);
    }

    /// Sets what stands between expiry and user in a REST username; a colon unless set.
    pub fn set_separator(&mut self, separator: char) {
        self.separator = separator;
    }

    /// Accepts access tokens that these keys open.
    pub fn set_oauth(&mut self, keys: OAuthKeys) {
        self.oauth = Some(keys);
    }

    /// The realm.
    pub fn realm(&self) -> &Arc<str> {
        &self.realm
    }

    /// Whether no password is asked for.
    pub fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// What challenges offer. Bearers of tokens name the key by USERNAME (RFC 7635 §5), so that a realm of theirs alone
    /// has no use for USERHASH.
    pub(crate) fn offer(&self) -> Offer {
        let bearers_alone = self.oauth.is_some() && self.users.is_empty();
        let directory = self.directory.as_ref();
        Offer {
            sha256: self.md5_only == 0 && directory.is_none_or(|it| it.all_have_sha256(&self.realm)),
            // A database is not asked for hashes.
            anonymity: self.secrets.is_empty() && directory.is_none() && !bearers_alone,
        }
    }

    /// What opens access tokens, where these are accepted.
    pub(crate) fn oauth(&self) -> Option<&OAuthKeys> {
        self.oauth.as_ref()
    }

    /// Whether there are users, secrets or keys that cannot be asked for now.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.directory.as_ref().is_some_and(|directory| directory.is_unreachable())
    }

    /// Whose access token this is, if it is good and the request is signed with the key in it.
    pub(crate) fn authenticate_bearer(
        &self,
        message: &Message<'_>,
        kid: Option<&str>,
        access: Option<AccessToken<'_>>,
        now: UnixTime,
    ) -> Result<Arc<User>, CredentialRefusal> {
        let refused = CredentialRefusal { reason: Reason::UnknownKid, expired_since: None };
        let bearer = self.oauth.as_ref().ok_or(refused)?.admit(message, kid, access, now)?;
        let realm = bearer.realm.unwrap_or_else(|| self.realm.clone());
        let name: Box<str> = kid.unwrap_or_default().into();
        let account = 0..name.len();
        Ok(Arc::new(User {
            name,
            account,
            realm,
            key: Some(Key::Session(bearer.key.into())),
            expires: None,
            self_test: false,
        }))
    }

    /// The name that a received USERNAME stands for: the static user's, or the very text. `None` for what cannot be
    /// a name: it is empty, no UTF-8, or holds a NUL.
    pub(crate) fn name_of<'n>(&self, username: &'n [u8]) -> Option<Cow<'n, str>> {
        let name = core::str::from_utf8(username).ok()?;
        if name.is_empty() || name.contains('\0') {
            return None;
        }
        if name.is_ascii() {
            return Some(Cow::Borrowed(name));
        }
        // A database may know anybody, and has names as coturn's tools have prepared them.
        let is_kept = |prepared: &str| self.directory.is_some() || self.users.contains_key(prepared);
        let known = prepare(name).ok().filter(|prepared| is_kept(prepared));
        Some(known.unwrap_or(Cow::Borrowed(name)))
    }

    /// The static user or the kid that a USERHASH stands for, if such hashes are accepted here.
    pub(crate) fn name_of_hash(&self, hash: &UserHash) -> Option<&str> {
        let user = self.hashed.get(&hash.0).map(|name| &**name);
        let known = user.or_else(|| self.oauth.as_ref()?.kid_of_hash(hash, &self.realm));
        known.filter(|_| self.offer().anonymity)
    }

    /// The user everybody is when no password is asked for.
    pub(crate) fn nobody(&self) -> Arc<User> {
        Arc::new(User {
            name: "".into(),
            account: 0..0,
            realm: self.realm.clone(),
            key: None,
            expires: None,
            self_test: false,
        })
    }

    /// Finds the key of this kind that `message`'s integrity verifies with, and whose it is: among the static users,
    /// then by the REST secrets, then among those whom the directory knows. `name` is `None` where the request names
    /// nobody who could exist.
    pub(crate) fn authenticate(
        &self,
        message: &Message<'_>,
        name: Option<&str>,
        digest: PasswordDigest,
        now: UnixTime,
    ) -> Verified {
        let refuse = |reason| Verified::Refused(CredentialRefusal { reason, expired_since: None });
        let known = name.and_then(|name| self.users.get(name));
        let key = known.and_then(|keys| keys.of(digest));
        // An unknown name costs one verification as well, so that timing does not tell.
        let absent = LongTermKey::from_md5([0; 16]);
        let fits = message.verify_integrity(key.unwrap_or(&absent).bytes()).is_ok();
        let Some(name) = name else {
            return refuse(Reason::UnknownUser);
        };
        if let (Some(key), true) = (key, fits) {
            return Verified::User(self.user(name, 0..name.len(), key.clone(), None));
        }
        let rest = RestName::parse(name, self.separator).filter(|_| !self.secrets.is_empty());
        let outcome = match (rest, known) {
            (Some(rest), _) => {
                let keys = self.secrets.iter().map(|secret| secret.key(name, &self.realm, digest));
                match self.authenticate_rest(message, name, rest, keys, now) {
                    Ok(user) => return Verified::User(user),
                    Err(refusal) => Verified::Refused(refusal),
                }
            }
            (None, Some(_)) => refuse(Reason::WrongPassword),
            (None, None) => refuse(Reason::UnknownUser),
        };
        let is_wrong_secret = |outcome: &Verified| matches!(outcome, Verified::Refused(refusal) if refusal.reason != Reason::Expired);
        match &self.directory {
            Some(directory) if known.is_none() && is_wrong_secret(&outcome) => {
                self.authenticate_stored(message, name, digest, &**directory, outcome)
            }
            _ => outcome,
        }
    }

    /// Looks among the users of the directory; `otherwise` is said of those who are not there.
    fn authenticate_stored(
        &self,
        message: &Message<'_>,
        name: &str,
        digest: PasswordDigest,
        directory: &dyn Directory,
        otherwise: Verified,
    ) -> Verified {
        let may_wait = may_wait(message.method());
        let keys = match directory.find(&self.realm, name, may_wait) {
            Found::Keys(keys) => keys,
            Found::Nobody => return otherwise,
            Found::Unavailable => return Verified::Unavailable,
            Found::Ask if may_wait => return Verified::Ask,
            Found::Ask => return Verified::Unavailable,
        };
        match keys.of(digest) {
            Some(key) if message.verify_integrity(key.bytes()).is_ok() => {
                Verified::User(self.user(name, 0..name.len(), key.clone(), None))
            }
            _ if keys.aged && may_wait => Verified::Ask,
            _ => {
                let reason = Reason::WrongPassword;
                Verified::Refused(CredentialRefusal { reason, expired_since: None })
            }
        }
    }

    fn authenticate_rest(
        &self,
        message: &Message<'_>,
        name: &str,
        rest: RestName,
        mut keys: impl Iterator<Item = LongTermKey>,
        now: UnixTime,
    ) -> Result<Arc<User>, CredentialRefusal> {
        let key = keys
            .find(|key| message.verify_integrity(key.bytes()).is_ok())
            .ok_or(CredentialRefusal { reason: Reason::WrongSecret, expired_since: None })?;
        if rest.expiry.0 < now.0 {
            let expired_since = Some(Duration::from_secs(now.0 - rest.expiry.0));
            return Err(CredentialRefusal { reason: Reason::Expired, expired_since });
        }
        Ok(self.user(name, rest.account, key, Some(rest.expiry)))
    }

    fn insert(&mut self, name: &str, keys: StoredKeys) {
        let hash = UserHash::of(name.as_bytes(), self.realm.as_bytes());
        self.hashed.insert(hash.0, name.into());
        self.md5_only += usize::from(keys.sha256.is_none());
        if let Some(before) = self.users.insert(name.into(), keys) {
            self.md5_only -= usize::from(before.sha256.is_none());
        }
    }

    fn user(
        &self,
        name: &str,
        account: Range<usize>,
        key: LongTermKey,
        expires: Option<UnixTime>,
    ) -> Arc<User> {
        Arc::new(User {
            name: name.into(),
            account,
            realm: self.realm.clone(),
            key: Some(Key::LongTerm(key)),
            expires,
            self_test: false,
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("realm", &self.realm)
            .field("users", &self.users.len())
            .field("secrets", &self.secrets.len())
            .field("oauth", &self.oauth)
            .field("anonymous", &self.anonymous)
            .finish()
    }
}

/// Whether a request may wait for a database: only one that may open something, or whose sender is on a 5-tuple that
/// nobody knows. What comes after a ConnectionBind is no message any more, so that nothing of it can be put off.
fn may_wait(method: Method) -> bool {
    matches!(method, Method::ALLOCATE | Method::REFRESH | Method::BINDING)
}

/// The text as OpaqueString prepares it, or as it stands where the profile does not allow it.
fn prepared(text: &str) -> Cow<'_, str> {
    prepare(text).unwrap_or(Cow::Borrowed(text))
}
