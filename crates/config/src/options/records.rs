//! Options about what is kept of sessions that ended.

use super::{OptionSpec, Secrecy};
use crate::databases::{Database, DatabaseKind};
use crate::values::Secret;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::set(
        &["session-record-file"],
        "FILE",
        |config, value| {
            config.records.file = Some(value.into()).filter(|_| !value.is_empty());
            Ok(())
        },
        "Add a JSON line to this file for each session that ends; may be moved away at any time.",
    )
    .ours(),
    OptionSpec::set(
        &["session-record-database"],
        "DATABASE",
        |config, value| {
            config.records.database = match value {
                "" => None,
                value => Some(database(value)?),
            };
            Ok(())
        },
        "Add a row to the table turnpike_session_record for each: sqlite:FILE, postgresql:CONNECTION or mysql:CONNECTION.",
    )
    .secrecy(Secrecy::Secret)
    .ours(),
    OptionSpec::set(
        &["session-record-webhook"],
        "URL",
        |config, value| {
            let is_url = ["http://", "https://"].iter().any(|scheme| value.starts_with(scheme));
            if !is_url && !value.is_empty() {
                return Err("it begins with neither http:// nor https://".into());
            }
            config.records.webhook = Some(Secret::new(value)).filter(|_| is_url);
            Ok(())
        },
        "Post them to this URL as JSON.",
    )
    .secrecy(Secrecy::Secret)
    .ours(),
    OptionSpec::set(
        &["session-record-webhook-token-file"],
        "FILE",
        |config, value| {
            config.records.webhook_token_file = Some(value.into()).filter(|_| !value.is_empty());
            Ok(())
        },
        "File with the bearer token that the receiver asks for; read again for each try.",
    )
    .ours(),
];

fn database(value: &str) -> Result<Database, String> {
    let (scheme, rest) = value.split_once(':').unwrap_or((value, ""));
    let kind = match scheme {
        "sqlite" => DatabaseKind::Sqlite,
        "postgresql" | "postgres" => DatabaseKind::Postgres,
        "mysql" | "mariadb" => DatabaseKind::Mysql,
        _ => return Err("it begins with none of sqlite:, postgresql:, mysql:".into()),
    };
    // A URI of PostgreSQL is one with its scheme.
    let connection = if kind == DatabaseKind::Postgres && rest.starts_with("//") { value } else { rest };
    if connection.is_empty() {
        return Err(format!("{scheme}: says which kind of database, but not which one"));
    }
    Ok(Database { option: "session-record-database", kind, connection: Secret::new(connection) })
}
