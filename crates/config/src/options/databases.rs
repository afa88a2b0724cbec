//! Options about what is kept outside the configuration file, and about several realms.

use std::net::IpAddr;

use super::Effect::Settled;
use super::{OptionSpec, Secrecy};
use crate::config::Config;
use crate::databases::{Database, DatabaseKind};
use crate::values::Secret;

pub(super) const DATABASES: &[OptionSpec] = &[
    OptionSpec::set(
        &["userdb", "db"],
        "FILE",
        |config, value| set(config, "userdb", DatabaseKind::Sqlite, value),
        "SQLite database of users, secrets and realms; made if it is missing.",
    )
    .short('b'),
    OptionSpec::set(
        &["psql-userdb", "sql-userdb"],
        "CONNECTION",
        |config, value| set(config, "psql-userdb", DatabaseKind::Postgres, value),
        "PostgreSQL database instead: a conninfo string or URI.",
    )
    .short('e')
    .secrecy(Secrecy::Secret),
    OptionSpec::set(
        &["mysql-userdb"],
        "CONNECTION",
        |config, value| set(config, "mysql-userdb", DatabaseKind::Mysql, value),
        "MySQL or MariaDB database instead: host=, dbname=, user=, password=, port=.",
    )
    .short('M')
    .secrecy(Secrecy::Secret),
    OptionSpec::set(
        &["mongo-userdb"],
        "URI",
        |config, value| set(config, "mongo-userdb", DatabaseKind::Mongo, value),
        "MongoDB database instead.",
    )
    .short('J')
    .secrecy(Secrecy::Secret),
    OptionSpec::set(
        &["redis-userdb"],
        "CONNECTION",
        |config, value| set(config, "redis-userdb", DatabaseKind::Redis, value),
        "Redis database instead: ip=, dbname=, user=, password=, port=.",
    )
    .short('N')
    .secrecy(Secrecy::Secret),
    OptionSpec::set(
        &["redis-statsdb"],
        "CONNECTION",
        |config, value| {
            config.records.statsdb = Some(Secret::new(value));
            Ok(())
        },
        "Redis server that is told of sessions and their traffic as they go: ip=, dbname=, user=, password=, port=.",
    )
    .short('O')
    .secrecy(Secrecy::Secret),
    OptionSpec::set(
        &["secret-key-file"],
        "FILE",
        |config, value| {
            config.databases.secret_key_file = Some(value.to_owned()).filter(|path| !path.is_empty());
            Ok(())
        },
        "Key of 16 bytes that decrypts the password in mysql-userdb.",
    ),
    OptionSpec::with(
        &["no-auth-pings"],
        Settled("the database is asked every two seconds for what has changed, which no option ends"),
        "Do not query databases only to keep connections open.",
    ),
    OptionSpec::switch(
        &["no-dynamic-ip-list"],
        |config, on| config.databases.peers = !on,
        "Do not read peer ranges from the database.",
    )
    .reloadable(),
    OptionSpec::switch(
        &["no-dynamic-realms"],
        |config, on| config.databases.realms = !on,
        "Do not read realms, their origins and their limits from the database.",
    )
    .reloadable(),
    OptionSpec::set(
        &["realm-of-address"],
        "IP/REALM",
        |config, value| {
            let (address, realm) = value.split_once('/').ok_or("it is given as IP/REALM")?;
            let address: IpAddr = address.parse().map_err(|_| format!("{address:?} is no IP address"))?;
            if realm.is_empty() {
                return Err("the realm is empty".into());
            }
            config.databases.realm_of_address.push((address, realm.to_owned()));
            Ok(())
        },
        "Clients that come to this listening address are of this realm; may be repeated.",
    )
    .reloadable()
    .repeats()
    .ours(),
    OptionSpec::set(
        &["realm-of-server-name"],
        "NAME/REALM",
        |config, value| {
            let (name, realm) = value.split_once('/').ok_or("it is given as NAME/REALM")?;
            let is_name = |label: &str| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            if !name.split('.').all(is_name) {
                return Err(format!("{name:?} is no host's name, in the letters that DNS has"));
            }
            if realm.is_empty() {
                return Err("the realm is empty".into());
            }
            config.databases.realm_of_server_name.push((name.to_ascii_lowercase(), realm.to_owned()));
            Ok(())
        },
        "Clients whose TLS or DTLS session asks for the server of this name are of this realm; may be repeated.",
    )
    .repeats()
    .ours(),
    OptionSpec::set(
        &["realm-in-username"],
        "CHARACTER",
        |config, value| {
            let mut characters = value.chars();
            let (Some(separator), None) = (characters.next(), characters.next()) else {
                return Err(format!("{value:?} is not one character"));
            };
            config.databases.realm_in_username = Some(separator);
            Ok(())
        },
        "What follows the last of these characters in a username is its realm, if there is one of that name.",
    )
    .reloadable()
    .ours(),
    OptionSpec::switch(
        &["strict-expiry"],
        |config, on| config.databases.strict_expiry = on,
        "End a session when the time in its REST username has come; else it may be refreshed for ever.",
    )
    .reloadable()
    .ours(),
];

/// The last one counts, and an empty one takes back what was said before. Of Redis everything may be left out.
fn set(config: &mut Config, option: &'static str, kind: DatabaseKind, value: &str) -> Result<(), String> {
    let is_one = !value.is_empty() || kind == DatabaseKind::Redis;
    let database = Database { option, kind, connection: Secret::new(value) };
    config.databases.database = Some(database).filter(|_| is_one);
    Ok(())
}
