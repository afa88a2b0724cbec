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

/// A master, its replica, and a Sentinel that makes the one the other when it dies.
#[tokio::test(flavor = "multi_thread")]
async fn the_master_is_found_by_sentinel_and_so_is_the_next_one() {
    let Some(program) = installed("Redis Sentinel", &["/usr/bin/redis-server"]) else { return };
    let start = |more: &[&str]| {
        let mut server = Server::prepare(program.clone(), "redis", "Ready to accept connections");
        let (port, directory) =
            (server.port.to_string(), server.directory.path().to_str().unwrap().to_owned());
        server.arguments(&["--port", &port, "--bind", "127.0.0.1", "--dir", &directory, "--save", ""]);
        server.arguments(&["--requirepass", "northwind", "--masterauth", "northwind"]);
        server.arguments(&["--repl-diskless-sync-delay", "0"]);
        server.arguments(more);
        server.start();
        server
    };
    let mut master = start(&[]);
    let replica = start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let mut sentinel = Server::prepare(program.clone(), "redis", "+monitor master");
    let configuration = format!(
        "port {}\nbind 127.0.0.1\nsentinel monitor turn 127.0.0.1 {} 1\nsentinel auth-pass turn northwind\n\
         sentinel down-after-milliseconds turn 500\nsentinel failover-timeout turn 3000\n",
        sentinel.port, master.port
    );
    let configuration = sentinel.file("sentinel.conf", &configuration);
    sentinel.arguments(&[&configuration, "--sentinel"]);
    sentinel.start();
    let text = |name: &str| {
        let (nobody, sentinel) = (free_port(), sentinel.port);
        format!(
            "sentinel=127.0.0.1:{nobody},127.0.0.1:{sentinel} sentinel-master={name} password=northwind dbname=2"
        )
    };
    let store = open(&text("turn"));
    assert_eq!(store.hosts(), ["127.0.0.1", "127.0.0.1"]);
    store.put(&[suite::user("r", "alice", suite::keys(1))]).await.unwrap();
    failures::refused(&*open(&text("other")), "northwind", ErrorKind::Unavailable).await;
    let cli = |arguments: &[&str]| {
        let port = replica.port.to_string();
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &port, "-n", "2", "--no-auth-warning", "-a", "northwind"]).args(arguments);
        String::from_utf8(cli.output().unwrap().stdout).unwrap()
    };
    // Nothing that the replica has not got yet would outlive the master, and only a Sentinel that knows it can promote it.
    let told = || {
        let port = sentinel.port.to_string();
        let asked = Command::new("redis-cli").args(["-p", &port, "sentinel", "replicas", "turn"]).output();
        String::from_utf8(asked.unwrap().stdout).unwrap()
    };
    let patience = std::time::Instant::now();
    while !cli(&["EXISTS", "turn/realm/r/user/alice/key"]).starts_with('1')
        || !told().contains(&replica.port.to_string())
    {
        assert!(patience.elapsed().as_secs() < 40, "the replica never has it: {}", told());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    master.kill();
    let patience = std::time::Instant::now();
    while let Err(error) = store.put(&[suite::user("r", "bob", suite::keys(2))]).await {
        assert!(error.is_transient() || error.kind() == ErrorKind::ReadOnly, "{error}");
        assert!(patience.elapsed().as_secs() < 60, "nobody follows: {error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(store.user("r", "alice").await.unwrap(), Some(suite::keys(1)));
    assert!(
        cli(&["EXISTS", "turn/realm/r/user/bob/key"]).starts_with('1'),
        "it is on the one that was the replica"
    );
}

#[tokio::test]
async fn redis_that_never_answers_or_is_not_there_is_unavailable() {
    failures::never_answers(|port| open(&format!("ip=127.0.0.1 port={port} password=northwind"))).await;
}

#[tokio::test]
async fn connection_strings_that_make_no_sense_are_told_and_never_quoted() {
    for text in
        ["ip=127.0.0.1 northwind", "nonsense=northwind", "db=x password=northwind", "port=-1", "sentinel=a:x"]
    {
        failures::connection_string(StoreKind::Redis, text);
    }
}

fn open(text: &str) -> Arc<dyn Store> {
    connect(StoreKind::Redis, text).unwrap()
}
