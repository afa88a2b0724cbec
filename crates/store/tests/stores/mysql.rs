//! A real MariaDB.

use std::sync::Arc;

use turnpike_store::{ConnectOptions, ErrorKind, Store, StoreKind, connect, connect_with, password_cipher};

use crate::failures;
use crate::server::{Server, installed};
use crate::{certificates::Certificates, suite};

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_holds_on_mariadb_and_its_failures_are_told() {
    let Some(program) = installed("MariaDB", &["/usr/sbin/mariadbd", "/usr/sbin/mysqld"]) else { return };
    let certificates = Certificates::new();
    let mut server = Server::prepare(program, "mysql", "ready for connections");
    let data = format!("--datadir={}/data", server.directory.path().display());
    let socket = server.directory.path().join("socket").to_str().unwrap().to_owned();
    server.lay_out_mariadb(&data);
    // One statement a line.
    let first = "DELETE FROM mysql.global_priv WHERE User = '';\nFLUSH PRIVILEGES;\n\
        CREATE OR REPLACE USER turn IDENTIFIED BY 'north&wind';\nGRANT ALL ON turn.* TO turn;\n\
        CREATE OR REPLACE USER reader IDENTIFIED BY 'north&wind';\nGRANT SELECT ON turn.* TO reader;\n\
        CREATE DATABASE IF NOT EXISTS turn CHARACTER SET latin1;\n";
    let first = format!("--init-file={}", server.file("first.sql", first));
    let port = format!("--port={}", server.port);
    let tls = [
        format!("--ssl-cert={}", server.file("server.pem", &certificates.server)),
        format!("--ssl-key={}", server.file("key.pem", &certificates.key)),
    ];
    server.arguments(&[&port, &format!("--socket={socket}"), "--bind-address=127.0.0.1"]);
    server.arguments(&[&tls[0], &tls[1]]);
    server.arguments(&[&first]);
    server.start();
    let run = |sql: &str| {
        let mut client = server.command("mariadb");
        let output =
            client.args(["--no-defaults", "-u", "root", "-S", &socket, "turn", "-e", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let text = format!("ip=127.0.0.1 p={} db=turn uname=turn pwd=north&wind", server.port);
    failures::missing_tables(&*open(&text), "deploy/turndb/mysql.sql").await;
    run(include_str!("../../../../deploy/turndb/mysql.sql"));
    let store = open(&text);
    suite::all(&*store).await;
    let key = *b"0123456789abcdef";
    let encrypted = text.replace("north&wind", &password_cipher::encrypt(&key, "north&wind"));
    let with_key = ConnectOptions { password_key: Some(key) };
    connect_with(StoreKind::Mysql, &encrypted, &with_key).unwrap().ping().await.unwrap();

    run("INSERT INTO turnusers_lt VALUES ('r', 'bad', 'garbage')");
    failures::garbage_in_hmackey(&*store).await;
    run("DROP TABLE turnpike_user_key");
    failures::without_our_own_table(&*store).await;
    run("DROP TABLE denied_peer_ip; CREATE TABLE denied_peer_ip (ip_range varchar(256)); \
        INSERT INTO denied_peer_ip VALUES ('10.0.0.1')");
    failures::peer_ranges_without_realms(&*store).await;
    run("ALTER TABLE turnusers_lt CHANGE hmackey something char(128)");
    failures::wrong_schema(&*store).await;
    run("ALTER TABLE turnusers_lt CHANGE something hmackey char(128)");

    failures::refused(&*open(&text.replace("wind", "sea")), "north&sea", ErrorKind::Refused).await;
    failures::refused(&*open(&text.replace("db=turn", "db=nowhere")), "wind", ErrorKind::Refused).await;
    let reader = open(&text.replace("uname=turn", "uname=reader"));
    let error = reader.put(&suite::samples()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let ca = certificates.file("ca.pem", &certificates.authority);
    let other = certificates.file("other.pem", &Certificates::new().authority);
    open(&format!("{text} ca={ca}")).ping().await.unwrap();
    failures::refused(&*open(&format!("{text} ca={other}")), "wind", ErrorKind::Refused).await;
    run("SET GLOBAL read_only = 1");
    failures::read_only(&*store).await;
    run("SET GLOBAL read_only = 0");
    failures::survives_a_restart(&mut server, store).await;
}

#[tokio::test]
async fn mysql_that_never_answers_or_is_not_there_is_unavailable() {
    failures::never_answers(|port| open(&format!("host=127.0.0.1 port={port} user=turn password=northwind")))
        .await;
}

#[tokio::test]
async fn connection_strings_that_make_no_sense_are_told_and_never_quoted() {
    for text in [
        "host=a northwind",
        "host=a nonsense=northwind",
        "port=x password=northwind",
        "port=70000",
        "ca=/nowhere password=northwind host=a",
    ] {
        failures::connection_string(StoreKind::Mysql, text);
    }
}

fn open(text: &str) -> Arc<dyn Store> {
    connect(StoreKind::Mysql, text).unwrap()
}
