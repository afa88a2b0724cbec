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

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use turnpike_opaque_string::prepare;
use turnpike_wire::attributes::{AccessToken, UserHash};
use turnpike_wire::{LongTermKey, Message, Method, PasswordDigest};

use crate::directory::{Directory, Found, StoredKeys};
use crate::oauth::{OAuthKeys, SessionKey};
use crate::offer::Offer;
use crate::reason::Reason;
use crate::self_test;
use crate::time::UnixTime;

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

/// An authenticated user. It lives as long as the allocations it made.
#[derive(Debug)]
pub struct User {
    pub(crate) name: Box<str>,
    pub(crate) account: Range<usize>,
    pub(crate) realm: Arc<str>,
    pub(crate) key: Option<Key>,
    /// Of a REST credential: the second after which it is no good.
    pub(crate) expires: Option<UnixTime>,
    /// Whether it is this server, trying itself.
    pub(crate) self_test: bool,
}

/// What a user's requests are signed with.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// Made from name and password.
    LongTerm(LongTermKey),
    /// Out of an access token.
    Session(Box<SessionKey>),
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

impl User {
    /// The whole username.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part of the name that stays the same from one REST credential to the next: what quotas and usage
    /// are counted by. A name that is nothing but an expiry is an account of its own, as in coturn; else everybody
    /// with such a name would share one quota.
    pub fn account(&self) -> &str {
        self.name.get(self.account.clone()).filter(|account| !account.is_empty()).unwrap_or(&self.name)
    }

    /// The realm it belongs to.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether it is the server itself, trying whether it works: nobody whose sessions anybody wants a record of.
    pub fn is_self_test(&self) -> bool {
        self.self_test
    }

    pub(crate) fn of_self_test(name: &str, account: Range<usize>, key: LongTermKey) -> Self {
        let (realm, key) = (self_test::REALM.into(), Some(Key::LongTerm(key)));
        User { name: name.into(), account, realm, key, expires: None, self_test: true }
    }

    /// The second after which the REST credential it came in with is no good.
    pub(crate) fn expires(&self) -> Option<UnixTime> {
        self.expires
    }

    /// The key its requests are verified with; `None` when no password is asked for.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// What its access token gave it, if that is how it came in.
    pub(crate) fn session_key(&self) -> Option<&SessionKey> {
        match &self.key {
            Some(Key::Session(key)) => Some(key),
            _ => None,
        }
    }

    /// Whether what one has made is the other's. A token says nothing of who bears it, and a client renews it, perhaps
    /// under another kid; so any bearer counts as the one who holds the 5-tuple.
    pub(crate) fn is_same(&self, other: &User) -> bool {
        let bears = |user: &User| user.session_key().is_some();
        let is_named = self.name == other.name && self.realm == other.realm;
        bears(self) == bears(other) && (bears(self) || is_named)
    }
}

impl Key {
    /// What goes into the HMAC.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Key::LongTerm(key) => key.bytes(),
            Key::Session(key) => key.mac.bytes(),
        }
    }

    /// Whether it is the one that goes with this password algorithm. A key from a token goes with any, while it is good.
    pub(crate) fn suits(&self, digest: PasswordDigest, now: UnixTime) -> bool {
        match self {
            Key::LongTerm(key) => key.digest() == digest,
            Key::Session(key) => !key.is_expired(now),
        }
    }
}

/// Whether a request may wait for a database: only one that may open something, or whose sender is on a 5-tuple that
/// nobody knows. What comes after a ConnectionBind is no message any more, so that nothing of it can be put off.
fn may_wait(method: Method) -> bool {
    matches!(method, Method::ALLOCATE | Method::REFRESH | Method::BINDING)
}

/// A REST username taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestName {
    /// The second after which it is refused.
    pub expiry: UnixTime,
    /// Where the stable part stands in the name; may be empty.
    pub account: Range<usize>,
}

impl RestName {
    /// Reads the three shapes. Separators after the first belong to the user when the expiry comes first;
    /// when it comes last, those before the last do.
    pub fn parse(name: &str, separator: char) -> Option<Self> {
        let rest_name = |digits: &str, account| {
            let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let expiry = digits.parse().ok().filter(|_| all_digits)?;
            Some(RestName { expiry: UnixTime(expiry), account })
        };
        let Some((first, after)) = name.split_once(separator) else {
            return rest_name(name, 0..0);
        };
        rest_name(first, name.len() - after.len()..name.len()).or_else(|| {
            let (account, last) = name.rsplit_once(separator)?;
            rest_name(last, 0..account.len())
        })
    }
}

/// The password that belongs to a REST username: base64(HMAC-SHA1(secret, username)).
pub fn rest_password(secret: &[u8], username: &str) -> String {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(username.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

struct RestSecret(Box<[u8]>);

impl RestSecret {
    fn key(&self, username: &str, realm: &str, digest: PasswordDigest) -> LongTermKey {
        let password = rest_password(&self.0, username);
        LongTermKey::derive(digest, username.as_bytes(), realm.as_bytes(), password.as_bytes())
    }
}

/// The text as OpaqueString prepares it, or as it stands where the profile does not allow it.
fn prepared(text: &str) -> Cow<'_, str> {
    prepare(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Option<(u64, &str)> {
        let rest = RestName::parse(name, ':')?;
        Some((rest.expiry.0, &name[rest.account]))
    }

    #[test]
    fn the_three_shapes_of_rest_names_are_read() {
        assert_eq!(parse("1700000000:alice"), Some((1_700_000_000, "alice")));
        assert_eq!(parse("alice:1700000000"), Some((1_700_000_000, "alice")));
        assert_eq!(parse("1700000000"), Some((1_700_000_000, "")));
    }

    #[test]
    fn further_separators_belong_to_the_user() {
        assert_eq!(parse("1700000000:@alice:example.org"), Some((1_700_000_000, "@alice:example.org")));
        assert_eq!(parse("@alice:example.org:1700000000"), Some((1_700_000_000, "@alice:example.org")));
        assert_eq!(parse("1700000000:1800000000"), Some((1_700_000_000, "1800000000")));
    }

    #[test]
    fn names_without_a_usable_number_are_no_rest_names() {
        for name in ["alice", "alice:", ":", "", "+5:alice", "-1", "99999999999999999999999:alice", "0x10"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_rest_password_is_the_padded_base64_of_the_hmac() {
        assert_eq!(rest_password(b"secret", "1700000000:alice").len(), 28);
        assert!(rest_password(b"secret", "1700000000:alice").ends_with('='));
        assert_ne!(rest_password(b"secret", "a"), rest_password(b"other", "a"));
    }
}
