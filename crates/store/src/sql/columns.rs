//! Rows as columns, in the order of the statements: what is read is checked, what is written has been.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Value;
use super::statements::key_columns;
use crate::Result;
use crate::hex;
use crate::rows::{AdminUser, Key, Kind, OAuthKey, RealmOption, Row, StoredUser};
use crate::target::Target;

/// A row of its columns.
pub(super) fn write(row: &Row) -> Vec<Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut values: Vec<Value> = row.key().columns().into_iter().map(text).collect();
    match row {
        Row::User { user, .. } => values.push(Value::Text(hex::encode(&user.hmackey))),
        Row::Secret { .. } | Row::AllowedPeer { .. } | Row::DeniedPeer { .. } => {}
        Row::Origin { realm, .. } => values.push(text(realm)),
        Row::RealmLimit { value, .. } => values.push(Value::Text(value.to_string())),
        Row::OAuthKey(key) => values.extend([
            Value::Text(STANDARD.encode(&key.key)),
            Value::Integer(i64::try_from(key.timestamp).unwrap_or(i64::MAX)),
            Value::Integer(key.lifetime.into()),
            text(&key.as_rs_alg),
            text(&key.realm),
        ]),
        Row::AdminUser(admin) => values.extend([text(&admin.realm), text(&admin.password)]),
    }
    values
}

/// A row of what was read.
pub(super) fn read(target: &Target, kind: Kind, row: Vec<Value>) -> Result<Row> {
    let mut columns = row.into_iter().map(into_text);
    let mut next = || columns.next().unwrap_or_default();
    let row = match kind {
        Kind::User => {
            let (realm, name) = (next(), next());
            let user = StoredUser { hmackey: hmackey(target, &realm, &name, &next())?, sha256: None };
            Row::User { realm, name, user }
        }
        Kind::Secret => Row::Secret { realm: next(), value: next() },
        Kind::AllowedPeer => Row::AllowedPeer { realm: next(), range: next() },
        Kind::DeniedPeer => Row::DeniedPeer { realm: next(), range: next() },
        Kind::Origin => Row::Origin { origin: next(), realm: next() },
        Kind::RealmLimit => realm_limit(target, next(), &next(), &next())?,
        Kind::OAuthKey => oauth_key(target, next(), [next(), next(), next(), next(), next()])?,
        Kind::AdminUser => Row::AdminUser(AdminUser { name: next(), realm: next(), password: next() }),
    };
    target
        .check_rows(std::slice::from_ref(&row))
        .map_err(|error| target.corrupt(row.key(), &error.to_string()))?;
    Ok(row)
}

/// The user of this very name among rows of users beside keys of ours.
pub(super) fn read_user(
    target: &Target,
    realm: &str,
    name: &str,
    rows: Vec<Vec<Value>>,
) -> Result<Option<StoredUser>> {
    let Some(row) = rows.into_iter().find(|row| key_of(Kind::User, row) == [realm, name]) else {
        return Ok(None);
    };
    let mut columns = row.into_iter().map(into_text).skip(2);
    let mut next = || columns.next().unwrap_or_default();
    let hmackey = hmackey(target, realm, name, &next())?;
    Ok(Some(StoredUser { hmackey, sha256: accompanying(&hmackey, &next(), &next()) }))
}

/// Gives users their SHA-256 keys out of rows of realm, name, hmackey, sha256key.
pub(super) fn add_sha256_keys(users: &mut [Row], found: Vec<Vec<Value>>) {
    let mut keys = HashMap::new();
    for row in found {
        let mut columns = row.into_iter().map(into_text);
        let mut next = || columns.next().unwrap_or_default();
        keys.insert((next(), next()), (next(), next()));
    }
    for row in users {
        if let Row::User { realm, name, user } = row
            && let Some((hmackey, sha256)) = keys.get(&(realm.clone(), name.clone()))
        {
            user.sha256 = accompanying(&user.hmackey, hmackey, sha256);
        }
    }
}

/// The key columns of a row that was read.
pub(super) fn key_of(kind: Kind, row: &[Value]) -> Vec<String> {
    row.iter().take(key_columns(kind).len()).cloned().map(into_text).collect()
}

/// A SHA-256 key, unless the password has been changed since by something that knows of the other key alone.
pub(crate) fn accompanying(hmackey: &[u8; 16], its_hmackey: &str, sha256: &str) -> Option<[u8; 32]> {
    (hex::decode(its_hmackey.trim_end()) == Some(*hmackey)).then(|| hex::decode(sha256.trim_end())).flatten()
}

pub(crate) fn hmackey(target: &Target, realm: &str, name: &str, digits: &str) -> Result<[u8; 16]> {
    // PostgreSQL fills a char(128) up with blanks.
    hex::decode(digits.trim_end()).ok_or_else(|| {
        let key = Key::User { realm: realm.into(), name: name.into() };
        target.corrupt(key, "its hmackey is not 32 hexadecimal digits")
    })
}

pub(crate) fn realm_limit(target: &Target, realm: String, option: &str, value: &str) -> Result<Row> {
    let corrupt = |what: &str| target.corrupt((&realm, option), what);
    let option = RealmOption::of_name(option).ok_or_else(|| corrupt("there is no such limit"))?;
    let value = value.trim().parse().map_err(|_| corrupt("its value is not a number"))?;
    Ok(Row::RealmLimit { realm, option, value })
}

/// A key of ikm_key, timestamp, lifetime, as_rs_alg and realm.
pub(crate) fn oauth_key(target: &Target, kid: String, columns: [String; 5]) -> Result<Row> {
    let [ikm_key, timestamp, lifetime, as_rs_alg, realm] = columns;
    let corrupt = |what: &str| target.corrupt(Key::OAuthKey { kid: kid.clone() }, what);
    let number = |text: &str| match text.trim() {
        "" => Some(0),
        text => text.parse::<u64>().ok(),
    };
    let key = STANDARD.decode(ikm_key.trim()).map_err(|_| corrupt("its ikm_key is not base64"))?;
    let timestamp = number(&timestamp).ok_or_else(|| corrupt("its timestamp is not a number"))?;
    let lifetime = number(&lifetime).and_then(|lifetime| u32::try_from(lifetime).ok());
    let lifetime = lifetime.ok_or_else(|| corrupt("its lifetime is not a number"))?;
    Ok(Row::OAuthKey(OAuthKey { kid, key, timestamp, lifetime, as_rs_alg, realm }))
}

fn into_text(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text,
        Value::Integer(integer) => integer.to_string(),
    }
}
