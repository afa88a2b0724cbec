//! Who may relay.

use std::time::Duration;

use super::Effect::Settled;
use super::{OptionSpec, Secrecy};
use turnpike_opaque_string::prepare;

use crate::oauth_key::OAuthKey;
use crate::users::{HiddenKey, Password, StaticUser};
use crate::values::{Secret, number};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::switch(
        &["lt-cred-mech"],
        |config, on| config.long_term = on,
        "Long-term credentials: the users given by user=. Works together with use-auth-secret.",
    )
    .reloadable()
    .short('a'),
    OptionSpec::set(
        &["user"],
        "NAME:PASSWORD",
        |config, value| {
            let user = static_user(value)?;
            config.users.retain(|known| known.name != user.name);
            config.users.push(user);
            Ok(())
        },
        "A user; instead of the password 0x and the 32 digits of its key; may be repeated.",
    )
    .short('u')
    .repeats()
    .reloadable()
    .secrecy(Secrecy::AfterColon),
    OptionSpec::set(
        &["realm"],
        "TEXT",
        |config, value| {
            if value.len() > 127 {
                return Err("a realm has at most 127 bytes".into());
            }
            let prepared = prepare(value).map_err(|refused| format!("a realm cannot be so: {refused}"))?;
            config.realm = prepared.into_owned();
            Ok(())
        },
        "Realm of the credentials.",
    )
    .short('r')
    .default("this host's name"),
    OptionSpec::switch(
        &["use-auth-secret"],
        |config, on| config.use_auth_secret = on,
        "TURN REST credentials: time-limited names, passwords made from a shared secret.",
    )
    .reloadable(),
    OptionSpec::set(
        &["static-auth-secret"],
        "SECRET",
        |config, value| {
            if value.is_empty() {
                return Err("an empty secret would let everybody in".into());
            }
            config.secrets.push(Secret::new(value));
            Ok(())
        },
        "The shared secret; may be repeated, and all are tried.",
    )
    .repeats()
    .reloadable()
    .secrecy(Secrecy::Secret),
    OptionSpec::set(
        &["rest-api-separator"],
        "CHARACTER",
        |config, value| {
            let mut characters = value.chars();
            let (Some(separator), None) = (characters.next(), characters.next()) else {
                return Err(format!("{value:?} is not one character"));
            };
            if separator.is_ascii_digit() {
                return Err("a digit cannot separate a number from a name".into());
            }
            config.rest_separator = separator;
            Ok(())
        },
        "What stands between time and user in a REST name.",
    )
    .reloadable()
    .short('C')
    .default(":"),
    OptionSpec::switch(
        &["no-auth"],
        |config, on| config.no_auth = on,
        "Let everybody relay without a password. An open relay: for closed networks alone.",
    )
    .reloadable()
    .short('z'),
    OptionSpec::set(
        &["stale-nonce"],
        "SECONDS",
        |config, value| {
            config.nonce_lifetime =
                Duration::from_secs(number(value, 0, u32::MAX.into(), "a number of seconds")?);
            Ok(())
        },
        "How long a nonce is good; 0 for ever.",
    )
    .reloadable()
    .bare("600")
    .default("600"),
    OptionSpec::with(
        &["stateless-nonce"],
        Settled("nonces are always stateless"),
        "Nonces that need no memory.",
    ),
    OptionSpec::set(
        &["stateless-nonce-secret"],
        "SECRET",
        |config, value| {
            if value.is_empty() {
                return Err("an empty secret would let everybody make nonces".into());
            }
            config.nonce_secret = Some(Secret::new(value));
            Ok(())
        },
        "Secret that the servers of a fleet share, so that each knows the others' nonces.",
    )
    .secrecy(Secrecy::Secret),
    OptionSpec::switch(
        &["secure-stun"],
        |config, on| config.secure_stun = on,
        "Demand credentials for Binding too.",
    )
    .reloadable(),
    OptionSpec::switch(
        &["oauth"],
        |config, on| config.oauth = on,
        "Third-party authorisation (RFC 7635): access tokens sealed with one of the keys given by oauth-key.",
    )
    .reloadable(),
    OptionSpec::set(
        &["oauth-key"],
        "KID:BASE64[:ALGORITHM[:TIMESTAMP[:LIFETIME[:REALM]]]]",
        |config, value| {
            let key = OAuthKey::read(value)?;
            config.oauth_keys.retain(|known| known.kid != key.kid);
            config.oauth_keys.push(key);
            Ok(())
        },
        "A key shared with an authorisation server, for A256GCM or A128GCM tokens; may be repeated.",
    )
    .repeats()
    .reloadable()
    .secrecy(Secrecy::AfterColon)
    .ours(),
    OptionSpec::set(
        &["server-name"],
        "NAME",
        |config, value| {
            if value.len() > 255 {
                return Err("a server's name has at most 255 bytes".into());
            }
            config.server_name = Some(value.to_owned()).filter(|name| !name.is_empty());
            Ok(())
        },
        "This server's name: what clients are told, and what access tokens are sealed for.",
    )
    .reloadable()
    .default("the realm"),
    OptionSpec::switch(
        &["check-origin-consistency"],
        |config, on| config.check_origin = on,
        "Demand that whatever a session asks bears the ORIGIN, or none, that it began with.",
    )
    .reloadable(),
];

/// Reads `name:password` or `name:0xKEY`.
fn static_user(value: &str) -> Result<StaticUser, String> {
    let (name, password) = value.split_once(':').ok_or("a user is given as NAME:PASSWORD")?;
    if name.is_empty() || name.len() > 508 {
        return Err("a name has 1 to 508 bytes".into());
    }
    // RFC 8489 §9.2.2: keys are made of prepared strings, so one user is one however the name is written.
    let prepared = prepare(name).map_err(|refused| format!("no user can be called {name:?}: {refused}"))?;
    if password.is_empty() {
        return Err(format!("the password of user {name:?} is empty"));
    }
    let password = match password.strip_prefix("0x") {
        Some(digits) if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Password::Key(HiddenKey(u128::from_str_radix(digits, 16).unwrap_or_default().to_be_bytes()))
        }
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            return Err(format!("the key of user {name:?} has {} digits, not 32", digits.len()));
        }
        // Which character it is would tell a part of the password.
        _ if prepare(password).is_err() => {
            return Err(format!(
                "the password of user {name:?} has a character that no password may have \
                 (RFC 8265, OpaqueString): one that cannot be seen, or is not assigned"
            ));
        }
        _ => Password::Clear(Secret::new(password)),
    };
    Ok(StaticUser { name: prepared.into_owned(), password })
}
