//! Rows as named texts, and back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use turnpike_store::hex;
use turnpike_store::{AdminUser, Kind, OAuthKey, RealmOption, Row, StoredUser};

use super::super::keys;
use crate::passwords;

/// What a kind is called on the command line and in files.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "user",
        Kind::Secret => "secret",
        Kind::AllowedPeer => "allowed-peer",
        Kind::DeniedPeer => "denied-peer",
        Kind::Origin => "origin",
        Kind::RealmLimit => "realm-option",
        Kind::OAuthKey => "oauth-key",
        Kind::AdminUser => "admin-user",
    }
}

/// The kind of this name.
pub(in super::super) fn kind_of_name(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind_name(*kind) == name)
}

/// The names of a kind's values.
pub(super) fn columns(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::User => &["realm", "name", "hmackey", "sha256key"],
        Kind::Secret => &["realm", "value"],
        Kind::AllowedPeer | Kind::DeniedPeer => &["realm", "ip_range"],
        Kind::Origin => &["origin", "realm"],
        Kind::RealmLimit => &["realm", "opt", "value"],
        Kind::OAuthKey => &["kid", "ikm_key", "timestamp", "lifetime", "as_rs_alg", "realm"],
        Kind::AdminUser => &["name", "realm", "password"],
    }
}

/// The values of a row, in the order of [`columns`].
pub(crate) fn values(row: &Row) -> Vec<String> {
    match row {
        Row::User { realm, name, user } => {
            let sha256 = user.sha256.as_ref().map(|key| hex::encode(key)).unwrap_or_default();
            vec![realm.clone(), name.clone(), hex::encode(&user.hmackey), sha256]
        }
        Row::Secret { realm, value } => vec![realm.clone(), value.clone()],
        Row::AllowedPeer { realm, range } | Row::DeniedPeer { realm, range } => {
            vec![realm.clone(), range.clone()]
        }
        Row::Origin { origin, realm } => vec![origin.clone(), realm.clone()],
        Row::RealmLimit { realm, option, value } => {
            vec![realm.clone(), option.name().to_owned(), value.to_string()]
        }
        Row::OAuthKey(key) => vec![
            key.kid.clone(),
            STANDARD.encode(&key.key),
            key.timestamp.to_string(),
            key.lifetime.to_string(),
            key.as_rs_alg.clone(),
            key.realm.clone(),
        ],
        Row::AdminUser(admin) => vec![admin.name.clone(), admin.realm.clone(), admin.password.clone()],
    }
}

/// The row of a kind with these values; one that is absent is empty. The error names what is wrong, and no secret.
pub(super) fn row<'t>(kind: Kind, value: impl Fn(&str) -> Option<&'t str>) -> Result<Row, String> {
    let optional = |name: &str| value(name).unwrap_or_default().to_owned();
    let required = |name: &str| {
        let given = value(name).filter(|text| !text.is_empty());
        given.map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
    };
    let number = |name: &str| match value(name).filter(|text| !text.is_empty()) {
        None => Ok(0),
        Some(text) => text.parse::<u64>().map_err(|_| format!("{name} is no number")),
    };
    Ok(match kind {
        Kind::User => return user(optional("realm"), required("name")?, value),
        Kind::Secret => Row::Secret { realm: optional("realm"), value: required("value")? },
        Kind::AllowedPeer => Row::AllowedPeer { realm: optional("realm"), range: required("ip_range")? },
        Kind::DeniedPeer => Row::DeniedPeer { realm: optional("realm"), range: required("ip_range")? },
        Kind::Origin => Row::Origin { origin: required("origin")?, realm: required("realm")? },
        Kind::RealmLimit => {
            let name = required("opt")?;
            let option = RealmOption::of_name(&name);
            let option = option.ok_or_else(|| format!("opt: there is no limit {name:?}"))?;
            Row::RealmLimit { realm: optional("realm"), option, value: number("value")? }
        }
        Kind::OAuthKey => {
            let key = STANDARD.decode(required("ikm_key")?).map_err(|_| "ikm_key is no base64")?;
            Row::OAuthKey(OAuthKey {
                kid: required("kid")?,
                key,
                timestamp: number("timestamp")?,
                lifetime: u32::try_from(number("lifetime")?).map_err(|_| "lifetime is too large")?,
                as_rs_alg: optional("as_rs_alg"),
                realm: optional("realm"),
            })
        }
        Kind::AdminUser => {
            let password = required("password")?;
            let password = if passwords::is_clear(&password) {
                passwords::hash(&password).map_err(|error| error.to_string())?
            } else {
                password
            };
            Row::AdminUser(AdminUser { name: required("name")?, realm: optional("realm"), password })
        }
    })
}

/// A user by his keys, or by a password that they are made of.
fn user<'t>(realm: String, name: String, value: impl Fn(&str) -> Option<&'t str>) -> Result<Row, String> {
    let given = |name: &str| value(name).filter(|text| !text.is_empty());
    if let Some(password) = given("password") {
        return keys::user(&name, &realm, password).map_err(|error| error.to_string());
    }
    let key = given("hmackey").ok_or("hmackey or password is missing")?;
    let key = hex::decode(key.strip_prefix("0x").unwrap_or(key)).ok_or("hmackey is not of 32 digits")?;
    let sha256 = given("sha256key").map(|key| hex::decode(key).ok_or("sha256key is not of 64 digits"));
    Ok(Row::User { realm, name, user: StoredUser { hmackey: key, sha256: sha256.transpose()? } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, pairs: &[(&str, &str)]) -> Result<Row, String> {
        let pairs = pairs.to_vec();
        row(kind, move |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    #[test]
    fn every_kind_of_row_comes_back_as_it_was() {
        let rows = [
            Row::User {
                realm: "r".into(),
                name: "n".into(),
                user: StoredUser { hmackey: [0xAB; 16], sha256: Some([0xCD; 32]) },
            },
            Row::User {
                realm: String::new(),
                name: "n".into(),
                user: StoredUser { hmackey: [1; 16], sha256: None },
            },
            Row::Secret { realm: "r".into(), value: "s".into() },
            Row::AllowedPeer { realm: "r".into(), range: "10.0.0.0/8".into() },
            Row::DeniedPeer { realm: String::new(), range: "10.0.0.1-10.0.0.2".into() },
            Row::Origin { origin: "http://x:80".into(), realm: "r".into() },
            Row::RealmLimit { realm: "r".into(), option: RealmOption::MaxBps, value: 12 },
            Row::OAuthKey(OAuthKey {
                kid: "k".into(),
                key: vec![0, 255],
                timestamp: 1,
                lifetime: 2,
                as_rs_alg: "A128GCM".into(),
                realm: "r".into(),
            }),
            Row::AdminUser(AdminUser { name: "a".into(), realm: String::new(), password: "$5$x$y".into() }),
        ];
        for row in rows {
            let values = values(&row);
            let columns = columns(row.kind());
            assert_eq!(columns.len(), values.len());
            let pairs: Vec<(&str, &str)> =
                columns.iter().copied().zip(values.iter().map(String::as_str)).collect();
            assert_eq!(of(row.kind(), &pairs).unwrap(), row);
            assert_eq!(kind_of_name(kind_name(row.kind())), Some(row.kind()));
        }
    }

    #[test]
    fn a_password_becomes_both_keys_and_is_kept_nowhere() {
        let row = of(Kind::User, &[("name", "a"), ("realm", "b"), ("password", "c")]).unwrap();
        let Row::User { user, .. } = row else { panic!() };
        assert_eq!(hex::encode(&user.hmackey), "02cc8f08398a4f3113b554e8105ebe4c");
        assert!(user.sha256.is_some());
        let admin = of(Kind::AdminUser, &[("name", "a"), ("password", "clear")]).unwrap();
        let Row::AdminUser(admin) = admin else { panic!() };
        assert!(passwords::verify(&admin.password, "clear") && !passwords::is_clear(&admin.password));
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        for (kind, pairs, why) in [
            (Kind::User, &[("name", "a")][..], "hmackey or password is missing"),
            (Kind::User, &[("name", "a"), ("hmackey", "12")], "hmackey is not of 32 digits"),
            (Kind::Secret, &[("realm", "a")], "value is missing"),
            (Kind::RealmLimit, &[("opt", "max"), ("value", "1")], "opt: there is no limit \"max\""),
            (Kind::OAuthKey, &[("kid", "a"), ("ikm_key", "!")], "ikm_key is no base64"),
        ] {
            assert_eq!(of(kind, pairs), Err(why.to_owned()));
        }
    }
}
