//! The names of keys: `turn/realm/R/user/U/key` and its like.

use crate::rows::{Key, Kind, RealmOption};
use crate::target::Target;
use crate::{ErrorKind, Result};

/// Patterns that find all settings and no user: what they find is looked at with [`is`].
pub(super) const SETTINGS: [&str; 2] = ["turn/realm/*[psa]", "turn/origin/*"];

/// The key where this is kept; a set for those that have several.
pub(super) fn of(key: &Key) -> String {
    match key {
        Key::User { realm, name } => format!("turn/realm/{realm}/user/{name}/key"),
        Key::Secret { realm, .. } | Key::SecretsOf { realm } => format!("turn/realm/{realm}/secret"),
        Key::AllowedPeer { realm, .. } => format!("turn/realm/{realm}/allowed-peer-ip"),
        Key::DeniedPeer { realm, .. } => format!("turn/realm/{realm}/denied-peer-ip"),
        Key::Origin { origin } => format!("turn/origin/{origin}"),
        Key::RealmLimit { realm, option } => format!("turn/realm/{realm}/{}", option.name()),
        Key::OAuthKey { kid } => format!("turn/oauth/kid/{kid}"),
        Key::AdminUser { name } => format!("turn/admin_user/{name}"),
    }
}

/// Where the SHA-256 key of a user is kept, out of sight of coturn's patterns.
pub(super) fn of_sha256(user: &str) -> String {
    format!("turnpike/{}", user.strip_prefix("turn/").unwrap_or(user))
}

/// What a key of this kind is about: the realm or the name, and what follows it.
pub(super) fn parse(kind: Kind, key: &str) -> Option<(&str, &str)> {
    let realm = || key.strip_prefix("turn/realm/");
    let of_realm = |end: &'static str| realm()?.strip_suffix(end).map(|realm| (realm, ""));
    match kind {
        Kind::User => realm()?.strip_suffix("/key")?.split_once("/user/"),
        Kind::Secret => of_realm("/secret"),
        Kind::AllowedPeer => of_realm("/allowed-peer-ip"),
        Kind::DeniedPeer => of_realm("/denied-peer-ip"),
        Kind::RealmLimit => {
            realm()?.rsplit_once('/').filter(|(_, option)| RealmOption::of_name(option).is_some())
        }
        Kind::Origin => key.strip_prefix("turn/origin/").map(|origin| (origin, "")),
        Kind::OAuthKey => key.strip_prefix("turn/oauth/kid/").map(|kid| (kid, "")),
        Kind::AdminUser => key.strip_prefix("turn/admin_user/").map(|name| (name, "")),
    }
}

pub(super) fn is(kind: Kind, key: &str) -> bool {
    parse(kind, key).is_some()
}

/// What finds the keys of this kind.
pub(super) fn pattern(kind: Kind, realm: Option<&str>) -> String {
    let realm = realm.map_or_else(|| "*".to_owned(), literal);
    match kind {
        Kind::User => format!("turn/realm/{realm}/user/*/key"),
        Kind::Secret => format!("turn/realm/{realm}/secret"),
        Kind::AllowedPeer => format!("turn/realm/{realm}/allowed-peer-ip"),
        Kind::DeniedPeer => format!("turn/realm/{realm}/denied-peer-ip"),
        Kind::RealmLimit => format!("turn/realm/{realm}/*-*[sa]"),
        Kind::Origin => "turn/origin/*".to_owned(),
        Kind::OAuthKey => "turn/oauth/kid/*".to_owned(),
        Kind::AdminUser => "turn/admin_user/*".to_owned(),
    }
}

/// Whether the key's name can be told apart from others.
pub(super) fn check(target: &Target, key: &Key) -> Result<()> {
    match key {
        Key::User { realm, .. } if realm.contains("/user/") => Err(target.error(
            ErrorKind::Invalid,
            "a realm with /user/ in its name cannot be kept in Redis, where it would look like a user",
        )),
        _ => Ok(()),
    }
}

/// A pattern that finds this text alone.
fn literal(text: &str) -> String {
    let escaped = |letter: char| {
        let special = "*?[]^-\\".contains(letter);
        special.then_some('\\').into_iter().chain([letter])
    };
    text.chars().flat_map(escaped).collect()
}
