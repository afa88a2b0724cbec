//! A real PostgreSQL.

use std::sync::Arc;

use turnpike_store::{ErrorKind, Store, StoreKind, connect};

use crate::failures;
use crate::server::{Server, installed};
use crate::{certificates::Certificates, suite};

const BINARIES: [&str; 3] = [
    "/usr/lib/postgresql/15/bin/postgres",
    "/usr/lib/postgresql/17/bin/postgres",
    "/usr/lib/postgresql/16/bin/postgres",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_holds_on_postgresql_and_its_failures_are_told() {
    let Some(program) = installed("PostgreSQL", &BINARIES) else { return };
    let certificates = Certificates::new();
    let mut server = Server::prepare(program, "postgres", "database system is ready to accept connections");
    let password = server.file("password", "north'wind\n");
    let data = server.directory.path().join("data");
    let data = data.to_str().unwrap();
    server.lay_out_postgres(data, &password);
    let (certificate, key) =
        (server.file("server.pem", &certificates.server), server.file("key.pem", &certificates.key));
    let sockets = server.directory.path().to_str().unwrap().to_owned();
    let port = server.port.to_string();
    server.arguments(&["-D", data, "-p", &port, "-k", &sockets]);
    server.arguments(&["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    let (certificate, key) = (format!("ssl_cert_file={certificate}"), format!("ssl_key_file={key}"));
    server.arguments(&["-c", "ssl=on", "-c", &certificate, "-c", &key, "-c", "max_connections=30"]);
    server.start();
    let sql = |database: &str, sql: &str| {
        let socket = server.directory.path().to_str().unwrap();
        let mut psql = server.command("psql");
        psql.env("PGPASSWORD", "north'wind").args(["-q", "-v", "ON_ERROR_STOP=1", "-h", socket, "-p", &port]);
        let output = psql.args(["-U", "turn", "-d", database, "-c", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let conninfo =
        |more: &str| format!("host=127.0.0.1 port={port} user=turn password='north\\'wind' {more}");
    sql("postgres", "CREATE DATABASE turn");

    let empty = open(&conninfo("dbname=turn"));
    failures::missing_tables(&*empty, "deploy/turndb/postgresql.sql").await;
    sql("turn", include_str!("../../../../deploy/turndb/postgresql.sql"));
    let store = open(&conninfo("dbname=turn"));
    suite::all(&*store).await;
    suite::all(&*open(&format!("postgresql://turn:north%27wind@127.0.0.1:{port}/turn?sslmode=require")))
        .await;

    sql("turn", "INSERT INTO turnusers_lt VALUES ('r', 'bad', 'garbage')");
    failures::garbage_in_hmackey(&*store).await;
    sql("turn", "DROP TABLE turnpike_user_key");
    failures::without_our_own_table(&*store).await;
    sql("turn", "DROP TABLE denied_peer_ip; CREATE TABLE denied_peer_ip (ip_range varchar(256))");
    sql("turn", "INSERT INTO denied_peer_ip VALUES ('10.0.0.1')");
    failures::peer_ranges_without_realms(&*store).await;
    sql("turn", "ALTER TABLE turnusers_lt RENAME hmackey TO something");
    failures::wrong_schema(&*store).await;
    sql("turn", "ALTER TABLE turnusers_lt RENAME something TO hmackey");

    failures::refused(&*open(&conninfo("dbname=turn").replace("wind", "sea")), "sea", ErrorKind::Refused)
        .await;
    failures::refused(&*open(&conninfo("dbname=nowhere")), "wind", ErrorKind::Missing).await;
    let ca = certificates.file("ca.pem", &certificates.authority);
    let other = certificates.file("other.pem", &Certificates::new().authority);
    open(&conninfo(&format!("dbname=turn sslmode=verify-full sslrootcert={ca}"))).ping().await.unwrap();
    let untrusted = open(&conninfo(&format!("dbname=turn sslmode=verify-ca sslrootcert={other}")));
    failures::refused(&*untrusted, "wind", ErrorKind::Refused).await;
    sql("turn", "ALTER DATABASE turn SET default_transaction_read_only = on");
    failures::read_only(&*open(&conninfo("dbname=turn"))).await;
    sql("postgres", "ALTER DATABASE turn SET default_transaction_read_only = off");
    failures::survives_a_restart(&mut server, store).await;
}

#[tokio::test]
async fn postgresql_that_never_answers_or_is_not_there_is_unavailable() {
    failures::never_answers(|port| open(&format!("host=127.0.0.1 port={port} user=turn password=northwind")))
        .await;
}

#[tokio::test]
async fn connection_strings_that_make_no_sense_are_told_and_never_quoted() {
    for text in [
        "host",
        "host=a port=x password=northwind",
        "nonsense=1 password=northwind host=a",
        "sslmode=maybe password=northwind",
        "postgresql://a:northwind@h/d?x",
        "sslrootcert=/nowhere sslmode=verify-ca password=northwind",
    ] {
        failures::connection_string(StoreKind::Postgres, text);
    }
}

fn open(text: &str) -> Arc<dyn Store> {
    connect(StoreKind::Postgres, text).unwrap()
}
