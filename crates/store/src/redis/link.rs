//! The connection to Redis: one, on which all questions travel at once, made anew when it is lost.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisError, TlsCertificates,
};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::key_values::KeyValues;
use crate::target::{Limits, Target};
use crate::tls::{Tls, install_provider};
use crate::{ErrorKind, Result, StoreError, StoreKind};

pub(super) struct Link {
    pub(super) target: Target,
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// One connects, the others wait for it.
    connecting: tokio::sync::Mutex<()>,
    backoff: Backoff,
}

impl Link {
    pub(super) fn new(text: &str) -> Result<Self> {
        let nowhere =
            Target::new(StoreKind::Redis, "connection string".into(), Vec::new(), Limits::default());
        let pairs = KeyValues::parse(text, NAMES, &nowhere)?;
        let host = pairs.get("host").unwrap_or("127.0.0.1");
        let port = pairs.number("port", &nowhere)?.filter(|port| *port != 0).unwrap_or(6379);
        let database: u32 = pairs.number("dbname", &nowhere)?.unwrap_or(0);
        let seconds: Option<u32> = pairs.number("connect_timeout", &nowhere)?.filter(|seconds| *seconds != 0);
        let connect =
            seconds.map_or(Limits::default().connect, |seconds| Duration::from_secs(seconds.into()));
        let who = pairs.get("user").map(|user| format!(" as {user}")).unwrap_or_default();
        let address = format!("{host}:{port} database {database}{who}");
        let limits = Limits { connect, ..Limits::default() };
        let target = Target::new(StoreKind::Redis, address, vec![host.to_owned()], limits)
            .with_secret(pairs.get("password"));
        let wrong = |what: String| target.error(ErrorKind::ConnectionString, what);
        let mut settings = RedisConnectionInfo::default().set_db(database.into()).set_skip_set_lib_name();
        if let Some(user) = pairs.get("user") {
            settings = settings.set_username(user);
        }
        if let Some(password) = pairs.get("password") {
            settings = settings.set_password(password);
        }
        let is_tls = pairs.get("tls").is_some_and(|value| is_one_of(value, &["1", "true", "on", "yes"]));
        let address = if is_tls {
            let verify =
                !pairs.get("tls-verify").is_some_and(|value| is_one_of(value, &["none", "0", "false"]));
            if pairs.get("tls-sni").is_some_and(|name| name != host) {
                return Err(wrong(
                    "tls-sni must be the host: name the server as its certificate does".into(),
                ));
            }
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: !verify, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.to_owned(), port)
        };
        let info = address.into_connection_info().map_err(|error| wrong(error.to_string()))?;
        let info = info.set_redis_settings(settings);
        let client = if is_tls {
            install_provider();
            Client::build_with_tls(info, certificates(&pairs).map_err(wrong)?)
        } else {
            Client::open(info)
        };
        let client = client.map_err(|error| wrong(error.to_string()))?;
        Ok(Link {
            target,
            client,
            connection: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            backoff: Backoff::default(),
        })
    }

    /// Asks, and once more on a new connection if the old one is gone. What is asked may be repeated.
    pub(super) async fn ask<T: FromRedisValue>(&self, questions: &Pipeline) -> Result<T> {
        match timeout(self.target.limits.longest(), self.ask_patiently(questions)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.target.too_late()),
        }
    }

    /// Tells something that must not be told twice.
    pub(super) async fn tell(&self, words: &Pipeline) -> Result<()> {
        let told = async {
            let mut connection = self.connect().await?;
            let answer: std::result::Result<(), _> = words.query_async(&mut connection).await;
            answer.map_err(|error| {
                if is_lost(&error) {
                    self.forget();
                }
                explain(&self.target, &error)
            })
        };
        match timeout(self.target.limits.longest(), told).await {
            Ok(told) => told,
            Err(_) => Err(self.target.too_late()),
        }
    }

    async fn ask_patiently<T: FromRedisValue>(&self, questions: &Pipeline) -> Result<T> {
        let old = self.current();
        if let Some(mut connection) = old {
            match questions.query_async(&mut connection).await {
                Err(error) if is_lost(&error) => self.forget(),
                answer => return answer.map_err(|error| explain(&self.target, &error)),
            }
        }
        let mut connection = self.connect().await?;
        let answer = questions.query_async(&mut connection).await;
        answer.map_err(|error| {
            if is_lost(&error) {
                self.forget();
            }
            explain(&self.target, &error)
        })
    }

    async fn connect(&self) -> Result<MultiplexedConnection> {
        let _turn = self.connecting.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        if let Some(error) = self.backoff.too_early() {
            return Err(error);
        }
        let limits = self.target.limits;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limits.connect))
            .set_response_timeout(Some(limits.operation));
        let connected =
            timeout(limits.connect, self.client.get_multiplexed_async_connection_with_config(&config));
        let connected = match connected.await {
            Ok(connected) => connected.map_err(|error| explain(&self.target, &error)),
            Err(_) => Err(self.target.too_late()),
        };
        match &connected {
            Ok(connection) => {
                self.backoff.succeeded();
                *self.slot() = Some(connection.clone());
            }
            Err(error) => self.backoff.failed(error),
        }
        connected
    }

    fn current(&self) -> Option<MultiplexedConnection> {
        self.slot().clone()
    }

    fn forget(&self) {
        *self.slot() = None;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn certificates(pairs: &KeyValues) -> std::result::Result<TlsCertificates, String> {
    let path = |key| pairs.get(key).map(PathBuf::from);
    let tls = Tls { ca: path("tls-ca"), ca_directory: path("tls-capath"), ..Tls::default() };
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let client_tls = match (path("tls-cert"), path("tls-key")) {
        (Some(certificate), key) => {
            let key = key.unwrap_or_else(|| certificate.clone());
            Some(ClientTlsConfig { client_cert: read(&certificate)?, client_key: read(&key)? })
        }
        (None, _) => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: Some(tls.authorities_as_pem()?) })
}

fn is_one_of(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn is_lost(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}

fn explain(target: &Target, error: &RedisError) -> StoreError {
    let what = error.to_string();
    let has = |words: &[&str]| words.iter().any(|word| what.contains(word));
    let (kind, advice) = if has(&["WRONGTYPE"]) {
        (ErrorKind::Schema, "a key holds another type than coturn's layout says")
    } else if has(&["OOM", "MISCONF", "No space"]) {
        (ErrorKind::Full, "make room: its memory or disk is full")
    } else if has(&["READONLY"]) {
        (ErrorKind::ReadOnly, "connect to the primary server")
    } else if has(&["NOAUTH", "WRONGPASS", "NOPERM", "AuthenticationFailed", "uthentication", "ertificate"]) {
        (ErrorKind::Refused, "check user, password, permissions and certificates")
    } else if has(&["MOVED", "CROSSSLOT", "CLUSTERDOWN"]) {
        (ErrorKind::Schema, "a Redis Cluster cannot hold coturn's keys; use a server of its own")
    } else if has(&["LOADING", "TRYAGAIN", "MASTERDOWN", "BUSY"]) || error.is_io_error() || is_lost(error) {
        (ErrorKind::Unavailable, "is the server up and reachable?")
    } else {
        (ErrorKind::Schema, "the server refused the command")
    };
    target.error(kind, format_args!("{what}; {advice}"))
}

impl std::fmt::Debug for Link {
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
    &["tls", "ssl"],
    &["tls-ca", "ca", "cacert"],
    &["tls-capath", "capath"],
    &["tls-cert", "cert"],
    &["tls-key", "clientkey"],
    &["tls-sni", "sni", "servername"],
    &["tls-verify", "verify"],
];
