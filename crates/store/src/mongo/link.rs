//! The connection to MongoDB. Its driver keeps connections by itself; here are time limits and words for errors.

use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind as Cause, WriteFailure};
use mongodb::options::{ClientOptions, ConnectionString, HostInfo, ServerAddress};
use mongodb::{Client, Database};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::target::{Limits, Target};
use crate::tls::install_provider;
use crate::{ErrorKind, Result, StoreError, StoreKind};

pub(super) struct Link {
    pub(super) target: Target,
    uri: ConnectionString,
    database: String,
    client: OnceCell<Client>,
}

impl Link {
    pub(super) fn new(text: &str) -> Result<Self> {
        let nowhere =
            Target::new(StoreKind::Mongo, "connection string".into(), Vec::new(), Limits::default());
        // What is wrong with it may be quoted from it.
        let wrong = |_| nowhere.error(ErrorKind::ConnectionString, "this is not a MongoDB URI");
        let mut uri = ConnectionString::parse(text.trim()).map_err(wrong)?;
        let hosts: Vec<String> = match &uri.host_info {
            HostInfo::HostIdentifiers(addresses) => addresses.iter().filter_map(host).collect(),
            HostInfo::DnsRecord(name) => vec![name.clone()],
            _ => Vec::new(),
        };
        let database = uri.default_database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        let limits =
            Limits { connect: uri.connect_timeout.unwrap_or(Limits::default().connect), ..Limits::default() };
        uri.server_selection_timeout.get_or_insert(limits.connect);
        uri.max_pool_size.get_or_insert(CONNECTIONS);
        let credential = uri.credential.as_ref();
        let user = credential.and_then(|credential| credential.username.as_deref());
        let who = user.map(|user| format!(" as {user}")).unwrap_or_default();
        let address = format!("{} database {database}{who}", hosts.join(","));
        let password = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
        let password =
            password.and_then(|(who, _)| who.split_once(':')).map(|(_, password)| password.to_owned());
        let target = Target::new(StoreKind::Mongo, address, hosts, limits).with_secret(password.as_deref());
        Ok(Link { target, uri, database, client: OnceCell::new() })
    }

    pub(super) async fn run(&self, command: Document) -> Result<Document> {
        let answer = self.in_time(async { self.database().await?.run_command(command).await }).await?;
        // A command that went through may still tell of statements that did not.
        let errors = answer.get_array("writeErrors").ok();
        let Some(first) = errors.and_then(|errors| errors.first()).and_then(|error| error.as_document())
        else {
            return Ok(answer);
        };
        let code = first.get_i32("code").unwrap_or(0);
        let (kind, advice) = meaning(code);
        Err(self.target.error(kind, format_args!("a document could not be written (error {code}); {advice}")))
    }

    pub(super) async fn find(
        &self,
        collection: &str,
        filter: Document,
        sort: Document,
        limit: usize,
    ) -> Result<Vec<Document>> {
        self.in_time(async {
            let collection = self.database().await?.collection::<Document>(collection);
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut cursor = collection.find(filter).sort(sort).limit(limit).await?;
            let mut found = Vec::new();
            while cursor.advance().await? {
                found.push(cursor.deserialize_current()?);
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn count(&self, collection: &str) -> Result<u64> {
        self.in_time(async {
            let collection = self.database().await?.collection::<Document>(collection);
            collection.count_documents(doc! {}).await
        })
        .await
    }

    async fn in_time<T>(&self, work: impl Future<Output = std::result::Result<T, Error>>) -> Result<T> {
        match timeout(self.target.limits.longest(), work).await {
            Ok(done) => done.map_err(|error| explain(&self.target, &error)),
            Err(_) => Err(self.target.too_late()),
        }
    }

    async fn database(&self) -> std::result::Result<Database, Error> {
        let client = self.client.get_or_try_init(async || {
            install_provider();
            Client::with_options(ClientOptions::parse(self.uri.clone()).await?)
        });
        Ok(client.await?.database(&self.database))
    }
}

fn host(address: &ServerAddress) -> Option<String> {
    match address {
        ServerAddress::Tcp { host, .. } => Some(host.clone()),
        _ => None,
    }
}

fn explain(target: &Target, error: &Error) -> StoreError {
    let what = error.to_string();
    let (kind, advice) = match error.kind.as_ref() {
        Cause::Authentication { .. } | Cause::InvalidTlsConfig { .. } => {
            (ErrorKind::Refused, "check user, password and certificates")
        }
        _ if what.contains("ertificate") => (ErrorKind::Refused, "check the certificates"),
        Cause::Io(_)
        | Cause::ServerSelection { .. }
        | Cause::ConnectionPoolCleared { .. }
        | Cause::DnsResolve { .. } => (ErrorKind::Unavailable, "is the server up and reachable?"),
        Cause::Command(command) => meaning(command.code),
        Cause::Write(WriteFailure::WriteError(write)) => meaning(write.code),
        _ => (ErrorKind::Schema, "the server answered something unexpected"),
    };
    target.error(kind, format_args!("{what}; {advice}"))
}

/// What a server's error code means.
fn meaning(code: i32) -> (ErrorKind, &'static str) {
    match code {
        13 | 18 => (ErrorKind::Refused, "check user, password and what this user may do"),
        10107 | 13435 => (ErrorKind::ReadOnly, "connect to the primary server"),
        14031 => (ErrorKind::Full, "make room on the server's disk"),
        6 | 7 | 50 | 89 | 91 | 189 | 262 | 11600 | 11602 | 13436 => {
            (ErrorKind::Unavailable, "the same may succeed a little later")
        }
        _ => (ErrorKind::Schema, "its documents are not as coturn lays them out"),
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.target.fmt(f)
    }
}

const DEFAULT_DATABASE: &str = "turn";
const CONNECTIONS: u32 = 8;
