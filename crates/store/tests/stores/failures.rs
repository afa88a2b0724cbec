//! What is true of every store that fails, whatever makes it fail.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnpike_store::{ErrorKind, Kind, RealmOption, Row, Store, StoreError, StoreKind, connect};

use crate::server::{Server, free_port};
use crate::suite::{key, keys, samples, user};

/// Each operation's error where there are no tables.
pub(crate) async fn missing_tables(store: &dyn Store, schema_file: &str) {
    let errors = [
        (store.user("r", "alice").await.unwrap_err(), "turnusers_lt"),
        (store.secrets("r").await.unwrap_err(), "turn_secret"),
        (store.oauth_key("k").await.unwrap_err(), "oauth_key"),
        (store.settings().await.unwrap_err(), "turn_origin_to_realm"),
        (store.put(&samples()).await.unwrap_err(), "turnusers_lt"),
        (store.remove(&key("r", "alice")).await.unwrap_err(), "turnusers_lt"),
        (store.counts().await.unwrap_err(), "turnusers_lt"),
        (store.list(Kind::AdminUser, None, None, 10).await.unwrap_err(), "admin_user"),
    ];
    for (error, table) in errors {
        let told = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Missing, "{told}");
        assert!(told.contains(table) && told.contains(schema_file), "{told}");
    }
    store.ping().await.unwrap();
}

/// There is a user `bad` of realm `r` whose key is garbage: he alone suffers.
pub(crate) async fn garbage_in_hmackey(store: &dyn Store) {
    store.put(&[user("r", "good", keys(1))]).await.unwrap();
    let error = store.user("r", "bad").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("\"bad\""), "{error}");
    assert!(!error.to_string().contains("garbage"), "{error}");
    assert_eq!(store.user("r", "good").await.unwrap(), Some(keys(1)));
    let page = store.list(Kind::User, Some("r"), None, 10).await.unwrap();
    assert_eq!((page.rows.len(), page.corrupt.len()), (1, 1));
    store.put(&[user("r", "bad", keys(2))]).await.unwrap();
    assert_eq!(store.user("r", "bad").await.unwrap(), Some(keys(2)));
    assert_eq!(store.remove(&key("r", "bad")).await.unwrap(), 1);
}

/// The table of SHA-256 keys has just been dropped.
pub(crate) async fn without_our_own_table(store: &dyn Store) {
    let mut bare = keys(1);
    bare.sha256 = None;
    assert_eq!(store.user("r", "good").await.unwrap(), Some(bare.clone()));
    assert!(!store.keeps_sha256_keys().await.unwrap());
    store.put(&[user("r", "other", keys(1))]).await.unwrap();
    assert_eq!(store.user("r", "other").await.unwrap(), Some(bare.clone()));
    let page = store.list(Kind::User, Some("r"), None, 10).await.unwrap();
    assert_eq!(page.rows, [user("r", "good", bare.clone()), user("r", "other", bare)]);
    store.remove(&key("r", "other")).await.unwrap();
    store.settings().await.unwrap();
}

/// Denied peers are in a table without realms, and 10.0.0.1 is among them.
pub(crate) async fn peer_ranges_without_realms(store: &dyn Store) {
    let settings = store.settings().await.unwrap();
    assert_eq!(settings.realms[""].denied_peers, ["10.0.0.1".to_owned()].into());
    let row = Row::DeniedPeer { realm: "r".into(), range: "10.0.0.2".into() };
    let error = store.put(&[row]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
}

/// A column of the table of users has another name.
pub(crate) async fn wrong_schema(store: &dyn Store) {
    for error in [store.user("r", "good").await.unwrap_err(), store.put(&samples()[..1]).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        assert!(error.to_string().contains("turnusers_lt"), "{error}");
    }
}

/// Connecting is refused, and again is.
pub(crate) async fn refused(store: &dyn Store, secret: &str, kind: ErrorKind) {
    for error in [store.ping().await.unwrap_err(), store.user("r", "alice").await.unwrap_err()] {
        assert_eq!(error.kind(), kind, "{error}");
        tells_no_secret(&error, store, secret);
    }
}

/// Reads succeed, writes do not.
pub(crate) async fn read_only(store: &dyn Store) {
    store.counts().await.unwrap();
    let error = store.put(&[user("r", "written", keys(1))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert_eq!(store.user("r", "written").await.unwrap(), None);
    store.ping().await.unwrap();
}

/// The server dies in the middle of writes, and comes back.
pub(crate) async fn survives_a_restart(server: &mut Server, store: Arc<dyn Store>) {
    store.put(&[user("restart", "before", keys(1))]).await.unwrap();
    let writer = store.clone();
    let writes = tokio::spawn(async move {
        for round in 0..100_000_u32 {
            // Two rows that belong together: either both are there or none.
            let (name, value) = (format!("pair{round}"), u64::from(round) + 1);
            let limit = Row::RealmLimit { realm: name.clone(), option: RealmOption::MaxBps, value };
            if let Err(error) = writer.put(&[user(&name, "alice", keys(1)), limit]).await {
                return (round, error);
            }
        }
        panic!("nobody killed the server");
    });
    while store.user("pair20", "alice").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    server.kill();
    let (round, error) = writes.await.unwrap();
    assert!(error.is_transient(), "{error}");
    for _ in 0..10 {
        let error = store.user("restart", "before").await.unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    server.start();
    let back = Instant::now();
    let settings = loop {
        match store.settings().await {
            Ok(settings) => break settings,
            Err(error) => assert!(back.elapsed() < Duration::from_secs(5), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(store.user("restart", "before").await.unwrap().is_some());
    for pair in 0..=round {
        let name = format!("pair{pair}");
        let user = store.user(&name, "alice").await.unwrap().is_some();
        assert_eq!(user, settings.realms.contains_key(&name), "half of {name} was written");
        assert!(user || pair >= round, "{name} was confirmed and is lost");
    }
    store.put(&[user("restart", "after", keys(2))]).await.unwrap();
    assert_eq!(store.user("restart", "after").await.unwrap().unwrap().hmackey, keys(2).hmackey);
}

/// Nobody listens at the port; then somebody who never says a word.
pub(crate) async fn never_answers(open: impl Fn(u16) -> Arc<dyn Store>) {
    let nobody = open(free_port());
    let error = nobody.ping().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    tells_no_secret(&error, &*nobody, "northwind");
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let store = open(silent.local_addr().unwrap().port());
    let limit = Duration::from_secs(20);
    let error =
        tokio::time::timeout(limit, store.user("r", "alice")).await.expect("it waits for ever").unwrap_err();
    assert!(error.is_transient(), "{error}");
    tells_no_secret(&error, &*store, "northwind");
    // Whoever asks now learns it at once: a server that is down is not asked by everybody.
    let error = tokio::time::timeout(Duration::from_secs(10), store.ping()).await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error}");
}

/// The string is refused at once, in words that do not repeat its password `northwind`.
pub(crate) fn connection_string(kind: StoreKind, text: &str) {
    let error = connect(kind, text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionString, "{text}: {error}");
    assert!(!error.to_string().contains("northwind"), "{error}");
}

fn tells_no_secret(error: &StoreError, store: &dyn Store, secret: &str) {
    for told in [error.to_string(), format!("{error:?}"), format!("{store:?}"), store.address().to_owned()] {
        assert!(!told.contains(secret), "{told}");
    }
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}
