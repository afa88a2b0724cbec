//! MySQL and MariaDB.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mysql_async::prelude::Queryable;
use mysql_async::{ClientIdentity, Conn, Error, OptsBuilder, Params, SslOpts, TxOpts};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::pool::{Connection, Driver, Fault};
use super::statements::Dialect;
use super::{Query, SqlStore, Value};
use crate::key_values::KeyValues;
use crate::target::{Limits, Target};
use crate::tls::{Tls, install_provider};
use crate::{ErrorKind, Store, StoreError, StoreKind, password_cipher};

/// A store in this database. With a key the password is an encrypted one.
pub(crate) fn connect(text: &str, password_key: Option<&[u8; 16]>) -> Result<Arc<dyn Store>, StoreError> {
    let nowhere = Target::new(StoreKind::Mysql, "connection string".into(), Vec::new(), Limits::default());
    let pairs = KeyValues::parse(text, NAMES, &nowhere)?;
    let host = pairs.get("host").unwrap_or("localhost");
    let port = pairs.number("port", &nowhere)?.filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    let database = pairs.get("dbname").unwrap_or("");
    let user = pairs.get("user").unwrap_or("");
    let seconds = |key| -> Result<Option<Duration>, StoreError> {
        let seconds = pairs.number(key, &nowhere)?.filter(|seconds| *seconds != 0);
        Ok(seconds.map(|seconds: u32| Duration::from_secs(seconds.into())))
    };
    let limits = Limits {
        connect: seconds("connect_timeout")?.unwrap_or(Limits::default().connect),
        operation: seconds("read_timeout")?.unwrap_or(Limits::default().operation),
    };
    let password = match (pairs.get("password"), password_key) {
        (Some(encrypted), Some(key)) => Some(password_cipher::decrypt(key, encrypted).ok_or_else(|| {
            nowhere.error(
                ErrorKind::ConnectionString,
                "the password is not one that was encrypted with this key",
            )
        })?),
        (password, _) => password.map(str::to_owned),
    };
    let target = Target::new(
        StoreKind::Mysql,
        format!("{host}:{port} database {database} as {user}"),
        vec![host.to_owned()],
        limits,
    )
    .with_secret(password.as_deref())
    .with_secret(pairs.get("password"));
    let tls = tls(&pairs).map_err(|what| target.error(ErrorKind::ConnectionString, what))?;
    // Without strictness a server cuts what is too long and says nothing.
    let strict = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')".to_owned();
    let options = OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port)
        .db_name(Some(database).filter(|name| !name.is_empty()))
        .user(Some(user))
        .pass(password)
        .prefer_socket(false)
        .ssl_opts(tls)
        .init(vec![strict]);
    // As MySQL's own library has it, this name means a socket of this machine.
    let local = host == "localhost" && pairs.get("port").is_none();
    Ok(Arc::new(SqlStore::new(Mysql { target, options, local }, CONNECTIONS)))
}

/// TLS is used when any of its keys is there. An authority that is named must have signed the server's certificate; its
/// name is not compared, since MySQL makes certificates for itself that name nothing.
fn tls(pairs: &KeyValues) -> Result<Option<SslOpts>, String> {
    let path = |key| pairs.get(key).map(PathBuf::from);
    if !["key", "ca", "capath", "cert", "cipher"].iter().any(|key| pairs.get(key).is_some()) {
        return Ok(None);
    }
    install_provider();
    let tls = Tls { ca: path("ca"), ca_directory: path("capath"), ..Tls::default() };
    let trusts = tls.ca.is_some() || tls.ca_directory.is_some();
    let mut options = SslOpts::default()
        .with_disable_built_in_roots(true)
        .with_danger_skip_domain_validation(true)
        .with_danger_accept_invalid_certs(!trusts);
    if trusts {
        let roots = tls.authorities()?.into_iter().map(|root| root.to_vec().into());
        options = options.with_root_certs(roots.collect());
    }
    if let Some(certificate) = path("cert") {
        let key = path("key").unwrap_or_else(|| certificate.clone());
        options = options.with_client_identity(Some(ClientIdentity::new(certificate.into(), key.into())));
    }
    Ok(Some(options))
}

struct Mysql {
    target: Target,
    options: OptsBuilder,
    local: bool,
}

struct MysqlConnection {
    /// There until it is dropped.
    connection: Option<Conn>,
    usable: bool,
    target: Target,
}

#[async_trait]
impl Driver for Mysql {
    type Connection = MysqlConnection;

    fn target(&self) -> &Target {
        &self.target
    }

    fn dialect(&self) -> Dialect {
        Dialect::Mysql
    }

    async fn connect(&self) -> Result<MysqlConnection, StoreError> {
        let socket = LOCAL_SOCKETS.into_iter().find(|path| self.local && Path::new(path).exists());
        let connected = match Conn::new(self.options.clone().socket(socket)).await {
            Err(Error::Io(_)) if socket.is_some() => Conn::new(self.options.clone()).await,
            connected => connected,
        };
        let connection = connected.map_err(|error| match explain(&self.target, &error) {
            Fault::Lost(error) | Fault::Other(error) => error,
            Fault::MissingTable | Fault::Schema(_) => self.target.error(ErrorKind::Schema, error),
        })?;
        Ok(MysqlConnection { connection: Some(connection), usable: true, target: self.target.clone() })
    }
}

#[async_trait]
impl Connection for MysqlConnection {
    fn is_usable(&self) -> bool {
        self.usable
    }

    fn abandon(&mut self) {
        self.usable = false;
    }

    async fn rows(&mut self, query: &Query) -> Result<Vec<Vec<Value>>, Fault> {
        let Some(connection) = &mut self.connection else { return Err(self.gone()) };
        let rows = connection.exec::<mysql_async::Row, _, _>(&query.sql, parameters(query)).await;
        let rows = rows.map_err(|error| self.fault(&error))?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(Value::from).collect()).collect())
    }

    async fn batch(&mut self, queries: &[Query]) -> Result<Vec<u64>, Fault> {
        let Some(connection) = &mut self.connection else { return Err(self.gone()) };
        let done = execute(connection, queries).await;
        done.map_err(|error| self.fault(&error))
    }
}

impl Drop for MysqlConnection {
    /// Says goodbye. The library would first wait for the answer to what was asked, as long as the network says nothing.
    fn drop(&mut self) {
        if let (Some(connection), Ok(runtime)) = (self.connection.take(), Handle::try_current()) {
            runtime.spawn(timeout(GOODBYE, connection.disconnect()));
        }
    }
}

impl MysqlConnection {
    fn gone(&self) -> Fault {
        Fault::Lost(self.target.too_late())
    }

    fn fault(&mut self, error: &Error) -> Fault {
        let fault = explain(&self.target, error);
        self.usable &= !matches!(fault, Fault::Lost(_));
        fault
    }
}

async fn execute(connection: &mut Conn, queries: &[Query]) -> Result<Vec<u64>, Error> {
    let mut transaction = connection.start_transaction(TxOpts::default()).await?;
    let mut counts = Vec::with_capacity(queries.len());
    for query in queries {
        // A failure drops the transaction, which is rolled back before anything else on this connection.
        transaction.exec_drop(&query.sql, parameters(query)).await?;
        counts.push(transaction.affected_rows());
    }
    transaction.commit().await?;
    Ok(counts)
}

fn parameters(query: &Query) -> Params {
    if query.values.is_empty() {
        return Params::Empty;
    }
    let value = |value: &Value| match value {
        Value::Null => mysql_async::Value::NULL,
        Value::Text(text) => mysql_async::Value::Bytes(text.clone().into_bytes()),
        Value::Integer(integer) => mysql_async::Value::Int(*integer),
    };
    Params::Positional(query.values.iter().map(value).collect())
}

fn explain(target: &Target, error: &Error) -> Fault {
    let Error::Server(refusal) = error else {
        let what = error.to_string();
        let refused = what.contains("TLS") || what.contains("ertificate") || what.contains("asked for SSL");
        let (kind, advice) = if refused {
            (ErrorKind::Refused, "check the certificates, and whether the server offers TLS")
        } else {
            (ErrorKind::Unavailable, "is the server up and reachable?")
        };
        return Fault::Lost(target.error(kind, format_args!("{what}; {advice}")));
    };
    // Messages about values quote them, and values are secrets.
    let (kind, what) = match refusal.code {
        1146 => return Fault::MissingTable,
        1054 => return Fault::Schema(refusal.message.clone()),
        1366 | 1267 | 3988 => {
            return Fault::Schema("its character set lacks a character: make it utf8mb4".into());
        }
        1406 => return Fault::Schema("a column is too narrow for a value".into()),
        1264 | 1292 | 1364 | 1048 => return Fault::Schema("a column is of another type".into()),
        1049 => (ErrorKind::Missing, "there is no such database; create it, or correct its name"),
        1045 | 1698 | 1130 | 1862 | 1820 => (
            ErrorKind::Refused,
            "the server refuses this user or password; check both, and the host it may come from",
        ),
        1044 | 1142 | 1143 | 1227 => (ErrorKind::Refused, "grant this user what it needs on the tables"),
        1290 | 1792 | 1836 => (ErrorKind::ReadOnly, "the server is read-only; connect to the primary server"),
        1021 | 1041 | 1114 | 1030 => (ErrorKind::Full, "make room on the server's disk"),
        1053 | 1927 | 4031 => {
            return Fault::Lost(target.error(ErrorKind::Unavailable, "the server ends the connection"));
        }
        1040 | 1203 | 1205 | 1213 | 1129 | 1226 => {
            (ErrorKind::Unavailable, "the server is too busy; the same may succeed a little later")
        }
        _ => (ErrorKind::Schema, "the server refused the statement"),
    };
    Fault::Other(target.error(kind, format_args!("{what} (error {}, {})", refusal.code, refusal.state)))
}

impl From<mysql_async::Value> for Value {
    fn from(value: mysql_async::Value) -> Self {
        match value {
            mysql_async::Value::NULL => Value::Null,
            mysql_async::Value::Int(integer) => Value::Integer(integer),
            mysql_async::Value::UInt(integer) => Value::Integer(i64::try_from(integer).unwrap_or(i64::MAX)),
            mysql_async::Value::Bytes(bytes) => Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
            other => Value::Text(other.as_sql(true)),
        }
    }
}

impl std::fmt::Debug for Mysql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.target.fmt(f)
    }
}

const NAMES: &[&[&str]] = &[
    &["host", "ip", "addr", "ipaddr", "hostaddr"],
    &["dbname", "db", "database"],
    &["user", "uname", "name", "username"],
    &["password", "pwd", "passwd", "secret"],
    &["port", "p"],
    &["connect_timeout", "timeout"],
    &["read_timeout"],
    &["key", "ssl-key"],
    &["ca", "ssl-ca"],
    &["capath", "ssl-capath"],
    &["cert", "ssl-cert"],
    // rustls chooses among what is safe.
    &["cipher", "ssl-cipher"],
];
const DEFAULT_PORT: u16 = 3306;
const LOCAL_SOCKETS: [&str; 3] = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];
const CONNECTIONS: usize = 8;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
