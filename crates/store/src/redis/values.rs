//! The values of keys: what is asked for a row, what is read from the answers, what is written.

use redis::{FromRedisValue, Pipeline, Value};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::keys;
use crate::rows::{AdminUser, Key, Kind, Row, StoredUser};
use crate::target::Target;
use crate::{Result, hex, sql};

/// Asks for what a key of this kind holds.
pub(super) fn ask(questions: &mut Pipeline, kind: Kind, key: &str) {
    match kind {
        Kind::User => {
            questions.cmd("GET").arg(key);
            questions.cmd("HMGET").arg(keys::of_sha256(key)).arg(&["hmackey", "sha256key"]);
        }
        Kind::Secret | Kind::AllowedPeer | Kind::DeniedPeer => {
            questions.cmd("SMEMBERS").arg(key);
        }
        Kind::Origin | Kind::RealmLimit => {
            questions.cmd("GET").arg(key);
        }
        Kind::OAuthKey => {
            questions.cmd("HMGET").arg(key).arg(&OAUTH_FIELDS);
        }
        Kind::AdminUser => {
            questions.cmd("HMGET").arg(key).arg(&["realm", "password"]);
        }
    }
}

/// How many answers [`ask`] brings.
pub(super) fn answers_of(kind: Kind) -> usize {
    if kind == Kind::User { 2 } else { 1 }
}

/// The rows of one key.
pub(super) fn read(target: &Target, kind: Kind, key: &str, answers: &[Value]) -> Vec<Result<Row>> {
    let Some((first, second)) = keys::parse(kind, key) else { return Vec::new() };
    let texts: Vec<Option<String>> = match answers.first() {
        Some(Value::Nil) | None => return Vec::new(),
        Some(answer) => list(answer),
    };
    let text = |number: usize| texts.get(number).cloned().flatten().unwrap_or_default();
    let realm = || first.to_owned();
    let checked = |row: Row| match target.check_rows(std::slice::from_ref(&row)) {
        Ok(()) => Ok(row),
        Err(error) => Err(target.corrupt(key, &error.to_string())),
    };
    let rows: Vec<Result<Row>> = match kind {
        Kind::User => vec![user(target, first, second, &text(0), answers.get(1))],
        Kind::Secret => {
            texts.into_iter().flatten().map(|value| Ok(Row::Secret { realm: realm(), value })).collect()
        }
        Kind::AllowedPeer => {
            texts.into_iter().flatten().map(|range| Ok(Row::AllowedPeer { realm: realm(), range })).collect()
        }
        Kind::DeniedPeer => {
            texts.into_iter().flatten().map(|range| Ok(Row::DeniedPeer { realm: realm(), range })).collect()
        }
        Kind::Origin => vec![Ok(Row::Origin { origin: realm(), realm: text(0) })],
        Kind::RealmLimit => vec![sql::realm_limit(target, realm(), second, &text(0))],
        // A hash without any of its fields is one that is not there.
        Kind::OAuthKey | Kind::AdminUser if texts.iter().all(Option::is_none) => Vec::new(),
        Kind::OAuthKey => {
            vec![sql::oauth_key(target, realm(), [text(0), text(1), text(2), text(3), text(4)])]
        }
        Kind::AdminUser => {
            vec![Ok(Row::AdminUser(AdminUser { name: realm(), realm: text(0), password: text(1) }))]
        }
    };
    rows.into_iter().map(|row| row.and_then(checked)).collect()
}

fn user(target: &Target, realm: &str, name: &str, digits: &str, ours: Option<&Value>) -> Result<Row> {
    let hmackey = sql::hmackey(target, realm, name, digits)?;
    let ours: Vec<String> = ours.map(list).unwrap_or_default().into_iter().flatten().collect();
    let sha256 = match ours.as_slice() {
        [its_hmackey, sha256] => sql::accompanying(&hmackey, its_hmackey, sha256),
        _ => None,
    };
    Ok(Row::User { realm: realm.into(), name: name.into(), user: StoredUser { hmackey, sha256 } })
}

/// An answer as texts: one, or those of a list.
fn list(answer: &Value) -> Vec<Option<String>> {
    let text = |value: &Value| {
        let bytes: Option<Vec<u8>> = Vec::from_redis_value(value.clone()).ok();
        match value {
            Value::Nil => None,
            _ => bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        }
    };
    match answer {
        Value::Array(values) | Value::Set(values) => values.iter().map(text).collect(),
        value => vec![text(value)],
    }
}

/// Writes a row.
pub(super) fn put(changes: &mut Pipeline, row: &Row) {
    let key = keys::of(&row.key());
    match row {
        Row::User { user, .. } => {
            let hmackey = hex::encode(&user.hmackey);
            let ours = keys::of_sha256(&key);
            changes.cmd("SET").arg(key).arg(&hmackey).ignore();
            match &user.sha256 {
                Some(sha256) => {
                    let sha256 = hex::encode(sha256);
                    changes.cmd("HSET").arg(ours).arg(&["hmackey", &hmackey, "sha256key", &sha256]).ignore();
                }
                None => {
                    changes.cmd("DEL").arg(ours).ignore();
                }
            }
        }
        Row::Secret { value: member, .. }
        | Row::AllowedPeer { range: member, .. }
        | Row::DeniedPeer { range: member, .. } => {
            changes.cmd("SADD").arg(key).arg(member).ignore();
        }
        Row::Origin { realm, .. } => {
            changes.cmd("SET").arg(key).arg(realm).ignore();
        }
        Row::RealmLimit { value: 0, .. } => {
            changes.cmd("DEL").arg(key).ignore();
        }
        Row::RealmLimit { value, .. } => {
            changes.cmd("SET").arg(key).arg(*value).ignore();
        }
        Row::OAuthKey(oauth) => {
            let (ikm_key, timestamp) = (STANDARD.encode(&oauth.key), oauth.timestamp.to_string());
            let lifetime = oauth.lifetime.to_string();
            let values = [&ikm_key, &timestamp, &lifetime, &oauth.as_rs_alg, &oauth.realm];
            let fields = OAUTH_FIELDS.into_iter().zip(values);
            let words: Vec<&str> = fields.flat_map(|(field, value)| [field, value.as_str()]).collect();
            changes.cmd("HSET").arg(key).arg(words).ignore();
        }
        Row::AdminUser(admin) => {
            changes.cmd("HSET").arg(key).arg(&["realm", &admin.realm, "password", &admin.password]).ignore();
        }
    }
}

/// Removes what a key names; the first answer says how much that was.
pub(super) fn remove(changes: &mut Pipeline, key: &Key) {
    let name = keys::of(key);
    match key {
        Key::Secret { value: member, .. }
        | Key::AllowedPeer { range: member, .. }
        | Key::DeniedPeer { range: member, .. } => {
            changes.cmd("SREM").arg(name).arg(member);
        }
        Key::SecretsOf { .. } => {
            changes.cmd("SCARD").arg(&name);
            changes.cmd("DEL").arg(name);
        }
        Key::User { .. } => {
            changes.cmd("DEL").arg(&name);
            changes.cmd("DEL").arg(keys::of_sha256(&name));
        }
        _ => {
            changes.cmd("DEL").arg(name);
        }
    }
}

const OAUTH_FIELDS: [&str; 5] = ["ikm_key", "timestamp", "lifetime", "as_rs_alg", "realm"];
