//! The database that the configuration names: connecting to it, and making rules of what it says.

use std::sync::Arc;

use anyhow::Context;
use turnpike_config::{self as config, DatabaseKind, SystemEnvironment, locate};
use turnpike_control::{Asker, Inquirer, Listeners, Log, Outside};
use turnpike_store::{ConnectOptions, OAuthKey as StoredKey, RealmOption, RealmSettings, Store, StoreKind};
use turnpike_turn::{
    Config, Credentials, Directory, IpRange, Limits, OAuthKey, Tenant, TokenCipher, TokenKey,
};
use turnpike_worker::Siblings;

use crate::rulebook::Rulebook;
use crate::rules::{credentials, oauth_keys};

/// Connects to the database, if there is to be one.
///
/// # Errors
/// The connection string makes no sense.
pub(crate) fn open(config: &config::Config, log: &Arc<Log>) -> anyhow::Result<Option<Inquirer>> {
    let Some(found) = named(config)? else { return Ok(None) };
    let (database, kind, options) = found;
    let open = || turnpike_store::connect_with(kind, database.connection.expose(), &options);
    let inquirer = Inquirer::open(open, log.clone());
    inquirer.map(Some).with_context(|| format!("{} is of no use", database.option))
}

/// The same store without anybody who asks it; to be called inside a runtime.
///
/// # Errors
/// The connection string makes no sense.
pub(crate) fn connect(config: &config::Config) -> anyhow::Result<Option<Arc<dyn Store>>> {
    let Some((database, kind, options)) = named(config)? else { return Ok(None) };
    let store = turnpike_store::connect_with(kind, database.connection.expose(), &options);
    store.map(Some).with_context(|| format!("{} is of no use", database.option))
}

/// The database that counts, and how to connect to it.
fn named(config: &config::Config) -> anyhow::Result<Option<(&config::Database, StoreKind, ConnectOptions)>> {
    let Some(database) = config.databases.database.as_ref().filter(|_| !config.no_auth) else {
        return Ok(None);
    };
    Ok(Some((database, store_kind(database), ConnectOptions { password_key: password_key(config)? })))
}

/// What the configuration calls a database, as the stores call it.
pub(crate) fn store_kind(database: &config::Database) -> StoreKind {
    match database.kind {
        DatabaseKind::Sqlite => StoreKind::Sqlite,
        DatabaseKind::Postgres => StoreKind::Postgres,
        DatabaseKind::Mysql => StoreKind::Mysql,
        DatabaseKind::Mongo => StoreKind::Mongo,
        DatabaseKind::Redis => StoreKind::Redis,
    }
}

/// The key that decrypts the password of a MySQL connection, if there is to be one.
pub(crate) fn password_key(config: &config::Config) -> anyhow::Result<Option<[u8; 16]>> {
    let Some(name) = &config.databases.secret_key_file else { return Ok(None) };
    password_key_in(name).map(Some)
}

/// The key in this file.
pub(crate) fn password_key_in(name: &str) -> anyhow::Result<[u8; 16]> {
    let path = locate(&SystemEnvironment, name);
    let bytes =
        std::fs::read(&path).with_context(|| format!("secret-key-file: cannot read {}", path.display()))?;
    let key = bytes.get(..16).and_then(|key| key.try_into().ok());
    key.with_context(|| {
        format!(
            "secret-key-file: {} has {} bytes, not 16: make one with turnadmin -x",
            path.display(),
            bytes.len()
        )
    })
}

/// Starts answering the workers' questions, and sees to it that they follow what the database says.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(
    inquirer: Inquirer,
    workers: Siblings,
    rulebook: Arc<Rulebook>,
    log: Arc<Log>,
) -> std::io::Result<()> {
    let known = rulebook.clone();
    let realms = move || known.read(|parts| realms(&parts.settings));
    let answer = move |Asker { worker, inquiry }| workers.answer(worker, inquiry);
    let changed = move |outside: &Outside| {
        rulebook.change(|parts| {
            if let Some(said) = &mut parts.database {
                said.outside = outside.clone();
            }
        });
        log.info(&format!("Database: read again; {}", summary(outside)));
    };
    inquirer.start(Listeners {
        realms: Box::new(realms),
        answer: Box::new(answer),
        changed: Box::new(changed),
    })?;
    Ok(())
}

/// The realms that the configuration names.
fn realms(settings: &config::Config) -> Vec<Box<str>> {
    let databases = &settings.databases;
    let by_address = databases.realm_of_address.iter().map(|(_, realm)| realm);
    let by_name = databases.realm_of_server_name.iter().map(|(_, realm)| realm);
    [&settings.realm]
        .into_iter()
        .chain(by_address)
        .chain(by_name)
        .map(|realm| realm.as_str().into())
        .collect()
}

/// What a database holds for all, in a few words.
pub(crate) fn summary(outside: &Outside) -> String {
    format!(
        "{} realms with settings, {} REST secrets, {} keys of access tokens",
        outside.settings.realms.len(),
        outside.secrets.len(),
        outside.oauth_keys.len()
    )
}

/// Adds what a database says to the rules.
pub(crate) fn apply(
    rules: &mut Config,
    settings: &config::Config,
    (outside, users): (&Outside, Arc<dyn Directory>),
    log: &Log,
) {
    let of_realm = |realm: &str| of_realm(settings, (outside, users.clone()), realm, log);
    rules.credentials = Arc::new(of_realm(&settings.realm));
    let databases = &settings.databases;
    let tenants = &mut rules.tenants;
    tenants.suffix = databases.realm_in_username;
    tenants.addresses =
        databases.realm_of_address.iter().map(|(ip, realm)| (*ip, realm.as_str().into())).collect();
    tenants.server_names = databases
        .realm_of_server_name
        .iter()
        .map(|(name, realm)| (name.as_str().into(), realm.as_str().into()))
        .collect();
    let named = realms(settings);
    let mut names: Vec<&str> =
        named.iter().map(|realm| &**realm).filter(|name| *name != settings.realm).collect();
    if databases.realms {
        tenants.origins = outside
            .settings
            .origins
            .iter()
            .map(|(origin, realm)| (origin.to_ascii_lowercase().into(), realm.as_str().into()))
            .collect();
        names.extend(outside.settings.realms.keys().map(String::as_str));
        names.extend(outside.secrets.iter().map(|(realm, _)| realm.as_str()));
    }
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        if tenants.realms.contains_key(name) {
            continue;
        }
        let said = outside.settings.realms.get(name);
        let mut tenant = said.map(|said| tenant(databases, said, log)).unwrap_or_default();
        tenant.credentials = (name != settings.realm).then(|| Arc::new(of_realm(name)));
        tenants.realms.insert(name.into(), tenant);
    }
    // Nobody is relayed to the database itself.
    rules.peers.denied.extend(outside.hosts.iter().map(|ip| IpRange { first: *ip, last: *ip }));
    // The empty realm's ranges hold for everybody.
    if let Some(everybody) = outside.settings.realms.get("").filter(|_| databases.peers) {
        rules.peers.allowed.extend(ranges(&everybody.allowed_peers, log));
        rules.peers.denied.extend(ranges(&everybody.denied_peers, log));
    }
}

/// Who may allocate in a realm: the configuration's own users and secrets in the server's realm alone.
fn of_realm(
    settings: &config::Config,
    (outside, users): (&Outside, Arc<dyn Directory>),
    realm: &str,
    log: &Log,
) -> Credentials {
    let mut known = if realm == settings.realm { credentials(settings) } else { Credentials::new(realm) };
    known.set_separator(settings.rest_separator);
    known.set_directory(users);
    if settings.use_auth_secret {
        let secrets = outside.secrets.iter().filter(|(of, _)| of == realm);
        secrets.for_each(|(_, secret)| known.add_secret(secret.as_bytes()));
    }
    if settings.oauth {
        let mut keys = oauth_keys(settings);
        for stored in &outside.oauth_keys {
            match oauth_key(stored) {
                Some(key) => keys.insert(&stored.kid, key),
                None => log.warning(&format!("Database: oauth_key {:?} is of no use", stored.kid)),
            }
        }
        known.set_oauth(keys);
    }
    known
}

fn tenant(databases: &config::DatabaseSettings, said: &RealmSettings, log: &Log) -> Tenant {
    let limit = |option| said.limits.get(&option).copied().filter(|_| databases.realms);
    let count = |option| limit(option).map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let mut tenant = Tenant {
        limits: Limits {
            user_quota: count(RealmOption::UserQuota),
            total_quota: count(RealmOption::TotalQuota),
            rate: limit(RealmOption::MaxBps),
        },
        ..Tenant::default()
    };
    if databases.peers {
        tenant.allowed = ranges(&said.allowed_peers, log).collect();
        tenant.denied = ranges(&said.denied_peers, log).collect();
    }
    tenant
}

fn oauth_key(stored: &StoredKey) -> Option<OAuthKey> {
    let cipher = match stored.as_rs_alg.to_ascii_uppercase().as_str() {
        "A256GCM" | "" => TokenCipher::A256Gcm,
        "A128GCM" => TokenCipher::A128Gcm,
        _ => return None,
    };
    let realm = Some(&*stored.realm).filter(|realm| !realm.is_empty()).map(Into::into);
    let (timestamp, lifetime) = (stored.timestamp, stored.lifetime.into());
    Some(OAuthKey { key: TokenKey::new(cipher, &stored.key)?, timestamp, lifetime, realm })
}

/// The ranges that can be read; of the others the log tells.
fn ranges<'r>(written: impl IntoIterator<Item = &'r String>, log: &Log) -> impl Iterator<Item = IpRange> {
    written.into_iter().filter_map(|text| match text.parse::<config::PeerRange>() {
        Ok(config::PeerRange { first, last, .. }) => Some(IpRange { first, last }),
        Err(trouble) => {
            log.error(&format!("Database: a peer range is not heeded: {trouble}"));
            None
        }
    })
}
