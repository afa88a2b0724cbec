//! The connection to Redis: one, on which all questions travel at once, made anew when it is lost.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    Pipeline, RedisConnectionInfo, RedisError, TlsCertificates,
};
use tokio::time::timeout;

use super::sentinel::{self, Sentinels};
use crate::backoff::Backoff;
use crate::key_values::KeyValues;
use crate::target::{Limits, Target};
use crate::tls::{Tls, install_provider};
use crate::{ErrorKind, Result, StoreError, StoreKind};

pub(super) struct Link {
    pub(super) target: Target,
    route: Route,
    connection: Mutex<Option<Numbered>>,
    /// How many there have been.
    connections: AtomicU64,
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
        let wrong = |what: String| nowhere.error(ErrorKind::ConnectionString, what);
        let sentinels = Sentinels::read(&pairs).map_err(wrong)?;
        let (place, hosts) = match &sentinels {
            Some(sentinels) => (sentinels.name(), sentinels.hosts()),
            None => (format!("{host}:{port}"), vec![host.to_owned()]),
        };
        let limits = Limits { connect, ..Limits::default() };
        let target =
            Target::new(StoreKind::Redis, format!("{place} database {database}{who}"), hosts, limits)
                .with_secret(pairs.get("password"))
                .with_secret(pairs.get("sentinel-password"));
        let wrong = |what: String| target.error(ErrorKind::ConnectionString, what);
        let mut settings = RedisConnectionInfo::default().set_db(database.into()).set_skip_set_lib_name();
        if let Some(user) = pairs.get("user") {
            settings = settings.set_username(user);
        }
        if let Some(password) = pairs.get("password") {
            settings = settings.set_password(password);
        }
        let is_tls = pairs.get("tls").is_some_and(|value| is_one_of(value, &["1", "true", "on", "yes"]));
        let tls = if is_tls {
            let verify =
                !pairs.get("tls-verify").is_some_and(|value| is_one_of(value, &["none", "0", "false"]));
            if pairs.get("tls-sni").is_some_and(|name| name != host) {
                return Err(wrong(
                    "tls-sni must be the host: name the server as its certificate does".into(),
                ));
            }
            Some((!verify, certificates(&pairs).map_err(wrong)?))
        } else {
            None
        };
        let way = Way { settings, tls };
        let route = match sentinels {
            Some(sentinels) => Route::Sentinels(sentinels, way),
            None => Route::Fixed(way.client(host, port).map_err(|error| wrong(error.to_string()))?),
        };
        Ok(Link {
            target,
            route,
            connection: Mutex::default(),
            connections: AtomicU64::new(0),
            connecting: tokio::sync::Mutex::default(),
            backoff: Backoff::default(),
        })
    }

    /// Asks, and once more on a new connection if the old one is gone. What is asked may be repeated.
    ///
    /// Whoever does not wait for the answer gives the connection up with it: one that has died without a word, as behind a
    /// firewall, would be asked for ever.
    pub(super) async fn ask<T: FromRedisValue>(&self, questions: &Pipeline) -> Result<T> {
        match timeout(self.target.limits.longest(), self.ask_patiently(questions)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.target.too_late()),
        }
    }

    /// Tells something that must not be told twice.
    pub(super) async fn tell(&self, words: &Pipeline) -> Result<()> {
        let told = async {
            let connection = self.connect().await?;
            self.ask_on::<()>(connection, words).await.map_err(|error| explain(&self.target, &error))
        };
        match timeout(self.target.limits.longest(), told).await {
            Ok(told) => told,
            Err(_) => Err(self.target.too_late()),
        }
    }

    async fn ask_patiently<T: FromRedisValue>(&self, questions: &Pipeline) -> Result<T> {
        if let Some(connection) = self.current() {
            match self.ask_on(connection, questions).await {
                Err(error) if is_lost(&error) => {}
                answer => return answer.map_err(|error| explain(&self.target, &error)),
            }
        }
        let connection = self.connect().await?;
        self.ask_on(connection, questions).await.map_err(|error| explain(&self.target, &error))
    }

    async fn ask_on<T: FromRedisValue>(
        &self,
        Numbered { number, mut connection }: Numbered,
        questions: &Pipeline,
    ) -> std::result::Result<T, RedisError> {
        let mut given_up = GivenUp { link: self, number, answered: false };
        let answer = questions.query_async(&mut connection).await;
        given_up.answered = answer.as_ref().err().is_none_or(|error| !is_lost(error));
        answer
    }

    async fn connect(&self) -> Result<Numbered> {
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
        let connected = match timeout(limits.connect, self.connect_by(&config)).await {
            Ok(connected) => connected,
            Err(_) => Err(self.target.too_late()),
        };
        match connected {
            Ok(connection) => {
                self.backoff.succeeded();
                let number = self.connections.fetch_add(1, Ordering::Relaxed);
                let connection = Numbered { number, connection };
                *self.slot() = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                self.backoff.failed(&error);
                Err(error)
            }
        }
    }

    /// Goes to the server, which may first have to be found.
    async fn connect_by(&self, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection> {
        let explain = |error: RedisError| explain(&self.target, &error);
        let (sentinels, way) = match &self.route {
            Route::Fixed(client) => {
                return client.get_multiplexed_async_connection_with_config(config).await.map_err(explain);
            }
            Route::Sentinels(sentinels, way) => (sentinels, way),
        };
        let not_there = |what: String| self.target.error(ErrorKind::Unavailable, what);
        let (host, port) = sentinels.master(self.target.limits.connect).await.map_err(not_there)?;
        let client = way.client(&host, port).map_err(explain)?;
        let connected = client.get_multiplexed_async_connection_with_config(config).await;
        let mut connection = connected.map_err(explain)?;
        if !sentinel::is_master(&mut connection).await.map_err(explain)? {
            return Err(not_there(format!(
                "{host}:{port} is the master no more; the Sentinels will say who is"
            )));
        }
        Ok(connection)
    }

    fn current(&self) -> Option<Numbered> {
        self.slot().clone()
    }

    /// Forgets this connection, unless there is a newer one already.
    fn forget(&self, number: u64) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|current| current.number == number) {
            *slot = None;
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Numbered>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the server is found.
enum Route {
    /// It is where the connection string says.
    Fixed(Client),
    /// Sentinels say where it is.
    Sentinels(Sentinels, Way),
}

/// How a server is talked to, wherever it is.
struct Way {
    settings: RedisConnectionInfo,
    /// Whether any certificate will do, and what certificates there are.
    tls: Option<(bool, TlsCertificates)>,
}

impl Way {
    fn client(&self, host: &str, port: u16) -> std::result::Result<Client, RedisError> {
        let host = host.to_owned();
        let Some((insecure, certificates)) = &self.tls else {
            let info = ConnectionAddr::Tcp(host, port).into_connection_info()?;
            return Client::open(info.set_redis_settings(self.settings.clone()));
        };
        install_provider();
        let address = ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None };
        let info = address.into_connection_info()?.set_redis_settings(self.settings.clone());
        Client::build_with_tls(info, certificates.clone())
    }
}

/// A connection, and its number among all there have been.
#[derive(Clone)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

/// A question that is under way: if it is dropped without an answer, its connection is not used again.
struct GivenUp<'l> {
    link: &'l Link,
    number: u64,
    answered: bool,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.link.forget(self.number);
        }
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
    &["sentinel"],
    &["sentinel-master"],
    &["sentinel-password"],
];
