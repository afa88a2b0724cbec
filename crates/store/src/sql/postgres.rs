//! PostgreSQL.

use std::error::Error as _;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo;
use super::pool::{Connection, Driver, Fault};
use super::statements::Dialect;
use super::{Query, SqlStore, Value};
use crate::target::{Limits, Target};
use crate::tls::{Tls, Verify};
use crate::{ErrorKind, Store, StoreError, StoreKind};

/// A store in this database, by conninfo or URI.
pub(crate) fn connect(text: &str) -> Result<Arc<dyn Store>, StoreError> {
    let nowhere = Target::new(StoreKind::Postgres, "connection string".into(), Vec::new(), Limits::default());
    let wrong = |what: &str| nowhere.error(ErrorKind::ConnectionString, what);
    let mut pairs = conninfo::parse(text).map_err(wrong)?;
    pairs.retain(|(key, _)| !IGNORED.contains(&key.as_str()));
    let mut take = |key: &str| {
        let at = pairs.iter().rposition(|(found, _)| found == key)?;
        Some(pairs.swap_remove(at).1)
    };
    let (mode, ca) = (take("sslmode"), take("sslrootcert").filter(|ca| ca != "system").map(Into::into));
    let (certificate, key) = (take("sslcert").map(Into::into), take("sslkey").map(Into::into));
    let mode = mode.as_deref().unwrap_or("prefer");
    let verify = match mode {
        "disable" | "allow" | "prefer" => Verify::None,
        // As libpq has it: with an authority at hand, to require is to verify.
        "require" if ca.is_none() => Verify::None,
        "require" | "verify-ca" => Verify::Chain,
        "verify-full" => Verify::Name,
        _ => return Err(wrong("sslmode is one of disable, allow, prefer, require, verify-ca, verify-full")),
    };
    let tls = Tls { ca, ca_directory: None, certificate, key, verify };
    let mut config: Config = conninfo::write(&pairs).parse().map_err(|error: tokio_postgres::Error| {
        // The source says which key it is; the string itself is never quoted.
        wrong(&error.source().map_or_else(|| error.to_string(), ToString::to_string))
    })?;
    config.ssl_mode(match mode {
        "disable" => SslMode::Disable,
        "allow" | "prefer" => SslMode::Prefer,
        _ => SslMode::Require,
    });
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host(LOCAL_SOCKETS);
    }
    if config.get_application_name().is_none() {
        config.application_name("turnpike");
    }
    let target = target(&config, &pairs);
    let tls = if mode == "disable" {
        None
    } else {
        let wrong = |what| target.error(ErrorKind::ConnectionString, what);
        Some(MakeRustlsConnect::new(tls.client_config().map_err(wrong)?))
    };
    Ok(Arc::new(SqlStore::new(Postgres { target, config, tls }, CONNECTIONS)))
}

fn target(config: &Config, pairs: &[(String, String)]) -> Target {
    let of = |key: &str| pairs.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str());
    let user = config.get_user().unwrap_or("");
    let hosts: Vec<String> = [of("host"), of("hostaddr")]
        .into_iter()
        .flatten()
        .flat_map(|hosts| hosts.split(','))
        .filter(|host| !host.starts_with('/'))
        .map(str::to_owned)
        .collect();
    let address = format!(
        "{} database {} as {user}",
        of("host").or(of("hostaddr")).unwrap_or(LOCAL_SOCKETS),
        config.get_dbname().unwrap_or(user)
    );
    let connect = config.get_connect_timeout().copied().filter(|limit| !limit.is_zero());
    let limits = Limits { connect: connect.unwrap_or(Limits::default().connect), ..Limits::default() };
    Target::new(StoreKind::Postgres, address, hosts, limits).with_secret(of("password"))
}

struct Postgres {
    target: Target,
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

struct PostgresConnection {
    client: Client,
    /// What reads and writes the socket.
    task: AbortHandle,
    /// Whether an answer is on its way.
    asking: bool,
    abandoned: bool,
    target: Target,
}

#[async_trait]
impl Driver for Postgres {
    type Connection = PostgresConnection;

    fn target(&self) -> &Target {
        &self.target
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn connect(&self) -> Result<PostgresConnection, StoreError> {
        let explain = |error| match explain(&self.target, error) {
            Fault::Lost(error) | Fault::Other(error) => error,
            Fault::MissingTable | Fault::Schema(_) => self.target.error(ErrorKind::Schema, "cannot connect"),
        };
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await.map_err(explain)?;
                (client, tokio::spawn(connection).abort_handle())
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(explain)?;
                (client, tokio::spawn(connection).abort_handle())
            }
        };
        let target = self.target.clone();
        Ok(PostgresConnection { client, task, asking: false, abandoned: false, target })
    }
}

// Statements are sent with the types of their parameters and are not prepared: one round trip each, nothing that a
// pooler between us would have to know, and nothing that grows stale when somebody changes a table.
#[async_trait]
impl Connection for PostgresConnection {
    fn is_usable(&self) -> bool {
        !self.abandoned && !self.asking && !self.client.is_closed()
    }

    fn abandon(&mut self) {
        self.abandoned = true;
    }

    async fn rows(&mut self, query: &Query) -> Result<Vec<Vec<Value>>, Fault> {
        self.asking = true;
        let rows = self.client.query_typed(&query.sql, &parameters(query)).await;
        self.asking = false;
        let rows = rows.map_err(|error| explain(&self.target, error))?;
        let read = |row: &tokio_postgres::Row| (0..row.len()).map(|column| row.try_get(column)).collect();
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| Fault::Schema(error.to_string()))
    }

    async fn batch(&mut self, queries: &[Query]) -> Result<Vec<u64>, Fault> {
        self.asking = true;
        let done = execute(&mut self.client, queries).await;
        self.asking = false;
        done.map_err(|error| explain(&self.target, error))
    }
}

impl Drop for PostgresConnection {
    /// The client ends its connection's task by being dropped: with a goodbye, behind all answers. One that never comes
    /// would be waited for as long as the network says nothing.
    fn drop(&mut self) {
        if self.asking {
            self.task.abort();
        }
    }
}

async fn execute(client: &mut Client, queries: &[Query]) -> Result<Vec<u64>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let mut counts = Vec::with_capacity(queries.len());
    for query in queries {
        counts.push(transaction.execute_typed(&query.sql, &parameters(query)).await?);
    }
    transaction.commit().await?;
    Ok(counts)
}

fn parameters(query: &Query) -> Vec<(&(dyn ToSql + Sync), Type)> {
    let with_type = |value| {
        let of = if matches!(value, &Value::Integer(_)) { Type::INT8 } else { Type::TEXT };
        (value as &(dyn ToSql + Sync), of)
    };
    query.values.iter().map(with_type).collect()
}

fn explain(target: &Target, error: tokio_postgres::Error) -> Fault {
    let Some(refusal) = error.as_db_error() else {
        let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        let what = format!("{error}{source}");
        let refused = what.contains("certificate") || what.contains("password") || what.contains("TLS");
        let advice =
            if refused { "check certificates and password" } else { "is the server up and reachable?" };
        let kind = if refused { ErrorKind::Refused } else { ErrorKind::Unavailable };
        return Fault::Lost(target.error(kind, format_args!("{what}; {advice}")));
    };
    let message = refusal.message();
    let (kind, advice) = match refusal.code() {
        code if *code == SqlState::UNDEFINED_TABLE => return Fault::MissingTable,
        // No such column, no such key, not of that type, no such operator, not a number.
        code if ["42703", "42P10", "42804", "42883", "22P02"].contains(&code.code()) => {
            return Fault::Schema(message.to_owned());
        }
        code => match code.code() {
            "57P01" | "57P02" | "57P05" | "08006" | "08003" => {
                return Fault::Lost(target.error(ErrorKind::Unavailable, message));
            }
            "3D000" => (ErrorKind::Missing, "create the database, or correct its name"),
            "28P01" | "28000" => (ErrorKind::Refused, "check user, password and pg_hba.conf"),
            "42501" => (ErrorKind::Refused, "grant this user what it needs on the tables"),
            "25006" => (ErrorKind::ReadOnly, "connect to the primary server"),
            "53100" => (ErrorKind::Full, "make room on the server's disk"),
            "22001" => (ErrorKind::TooLong, "the columns are narrower than coturn's schema has them"),
            "22021" | "22P05" => (ErrorKind::Invalid, "give the database the encoding UTF8"),
            code if ["08", "40", "53", "55", "57"].contains(&code.get(..2).unwrap_or("")) => {
                (ErrorKind::Unavailable, "the same may succeed a little later")
            }
            _ => (ErrorKind::Schema, "the server refused the statement"),
        },
    };
    Fault::Other(target.error(kind, format_args!("{message}; {advice}")))
}

impl ToSql for Value {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Text(text) => text.to_sql(of, out),
            Value::Integer(integer) => integer.to_sql(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TEXT || *of == Type::INT8
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *of {
            Type::INT2 => Value::Integer(i16::from_sql(of, raw)?.into()),
            Type::INT4 => Value::Integer(i32::from_sql(of, raw)?.into()),
            Type::INT8 => Value::Integer(i64::from_sql(of, raw)?),
            _ => Value::Text(String::from_sql(of, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Value::Null)
    }

    fn accepts(of: &Type) -> bool {
        [Type::INT2, Type::INT4, Type::INT8].contains(of) || <String as FromSql>::accepts(of)
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.target.fmt(f)
    }
}

/// Keys of libpq that make no difference here.
const IGNORED: [&str; 7] = [
    "client_encoding",
    "fallback_application_name",
    "gssencmode",
    "krbsrvname",
    "sslcompression",
    "sslsni",
    "sslcrl",
];
/// Where Debian's libpq looks when no host is named.
const LOCAL_SOCKETS: &str = "/var/run/postgresql";
const CONNECTIONS: usize = 8;
