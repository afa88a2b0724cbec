//! A real Redis.

use std::process::Command;
use std::sync::Arc;

use turnpike_store::{ErrorKind, Kind, Store, StoreKind, connect};

use crate::failures;
use crate::server::{Server, free_port, installed};
use crate::{certificates::Certificates, suite};

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_holds_on_redis_and_its_failures_are_told() {
    let Some(program) = installed("Redis", &["/usr/bin/redis-server"]) else { return };
    let certificates = Certificates::new();
    let mut server = Server::prepare(program, "redis", "Ready to accept connections");
    let (port, tls_port) = (server.port.to_string(), free_port().to_string());
    let tls = [server.file("server.pem", &certificates.server), server.file("key.pem", &certificates.key)];
    let directory = server.directory.path().to_str().unwrap().to_owned();
    server.arguments(&["--port", &port, "--bind", "127.0.0.1", "--dir", &directory, "--save", ""]);
    // Every write is on disk before it is confirmed, so that none is lost with the server.
    server.arguments(&["--appendonly", "yes", "--appendfsync", "always", "--requirepass", "northwind"]);
    server.arguments(&["--tls-port", &tls_port, "--tls-cert-file", &tls[0], "--tls-key-file", &tls[1]]);
    server.arguments(&["--tls-auth-clients", "no", "--user", "turn", "on", ">northsea", "~turn*", "+@all"]);
    server.start();
    let cli = |arguments: &[&str]| {
        let mut cli = Command::new("redis-cli");
        let output = cli
            .args(["-p", &port, "-n", "2", "--no-auth-warning", "-a", "northwind"])
            .args(arguments)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let text = format!("ip=127.0.0.1 port={port} dbname=2 password=northwind");
    let store = open(&text);
    suite::all(&*store).await;
    cli(&["SET", "somebody:else", "x"]);
    suite::all(&*open(&format!("host=127.0.0.1 p={port} db=3 user=turn password=northsea"))).await;

    cli(&["SET", "turn/realm/r/user/bad/key", "garbage"]);
    failures::garbage_in_hmackey(&*store).await;
    cli(&["SET", "turn/realm/r/secret", "no set"]);
    assert_eq!(store.secrets("r").await.unwrap_err().kind(), ErrorKind::Schema);
    cli(&["DEL", "turn/realm/r/secret"]);
    // Keys of a status database in the same place are not mistaken for settings.
    cli(&["SET", "turn/realm/r/user/good/allocation/001000000000000001/status", "new"]);
    assert_eq!(suite::collect(&*store, Kind::RealmLimit, None, 10).await, []);
    assert_eq!(store.counts().await.unwrap().users, 1);
    for command in ["keys", "save"] {
        let calls = cli(&["INFO", "commandstats"]);
        assert!(!calls.contains(&format!("cmdstat_{command}:")), "{calls}");
    }

    failures::refused(&*open(&text.replace("northwind", "northsea")), "northsea", ErrorKind::Refused).await;
    failures::refused(&*open(&text.replace(" password=northwind", "")), "northwind", ErrorKind::Refused)
        .await;
    let secure = text.replace(&format!("port={port}"), &format!("port={tls_port}"));
    let ca = certificates.file("ca.pem", &certificates.authority);
    let other = certificates.file("other.pem", &Certificates::new().authority);
    open(&format!("{secure} tls=yes ca={ca}")).ping().await.unwrap();
    open(&format!("{secure} tls=yes verify=none")).ping().await.unwrap();
    failures::refused(&*open(&format!("{secure} tls=yes ca={other}")), "northwind", ErrorKind::Refused).await;
    cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = store.put(&suite::samples()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(store.user("example.org", "alice").await.unwrap().is_none(), "half of it was written");
    failures::survives_a_restart(&mut server, store).await;
}

#[tokio::test]
async fn redis_that_never_answers_or_is_not_there_is_unavailable() {
    failures::never_answers(|port| open(&format!("ip=127.0.0.1 port={port} password=northwind"))).await;
}

#[tokio::test]
async fn connection_strings_that_make_no_sense_are_told_and_never_quoted() {
    for text in ["ip=127.0.0.1 northwind", "nonsense=northwind", "db=x password=northwind", "port=-1"] {
        failures::connection_string(StoreKind::Redis, text);
    }
}

fn open(text: &str) -> Arc<dyn Store> {
    connect(StoreKind::Redis, text).unwrap()
}
