//! SQLite, and files as other programs leave them and find them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use md5::{Digest, Md5};
use tempfile::TempDir;
use turnpike_store::{ErrorKind, Kind, RealmOption, Row, Store, StoreKind, StoredUser, connect};

use crate::server::{Server, installed};
use crate::{failures, suite};

#[tokio::test]
async fn the_suite_holds_in_a_file_that_others_may_not_read() {
    let (directory, path) = place();
    let store = open(&path);
    suite::all(&*store).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
    drop((store, directory));
}

#[tokio::test]
async fn a_file_of_coturns_turnadmin_is_read_and_written_and_turnadmin_reads_it_again() {
    let Some(turnadmin) = installed("files of coturn", &["/usr/bin/turnadmin"]) else { return };
    let (_directory, path) = place();
    let admin = |arguments: &[&str]| {
        let output = Command::new(&turnadmin).args(["-b", &path]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    admin(&["-a", "-u", "alice", "-r", "example.org", "-p", "one"]);
    admin(&["-s", "north", "-r", "example.org"]);
    admin(&["-A", "-u", "root", "-r", "example.org", "-p", "two"]);
    admin(&["-O", "-o", "https://example.org:443", "-r", "example.org"]);
    admin(&["-g", "-r", "example.org", "--max-bps", "5000"]);
    let store = open(&path);
    let md5 = key_of("alice", "one");
    let stored = |hmackey, sha256| StoredUser { hmackey, sha256 };
    assert_eq!(store.user("example.org", "alice").await.unwrap(), Some(stored(md5, None)));
    assert_eq!(store.secrets("example.org").await.unwrap(), ["north"]);
    assert!(store.admin_user("root").await.unwrap().unwrap().password.starts_with("$5$"));
    let settings = store.settings().await.unwrap();
    assert_eq!(settings.origins["https://example.org:443"], "example.org");
    assert_eq!(settings.realms["example.org"].limits, [(RealmOption::MaxBps, 5000)].into());

    store.put(&[suite::user("example.org", "alice", stored(md5, Some([7; 32])))]).await.unwrap();
    store.put(&[suite::user("example.org", "bob", suite::keys(9))]).await.unwrap();
    let listed = admin(&["-l"]);
    assert!(listed.contains("alice[example.org]") && listed.contains("bob[example.org]"), "{listed}");
    assert_eq!(store.user("example.org", "alice").await.unwrap(), Some(stored(md5, Some([7; 32]))));
    // A new password by a tool that knows nothing of the other key: that one no longer counts.
    admin(&["-a", "-u", "alice", "-r", "example.org", "-p", "three"]);
    let fresh = stored(key_of("alice", "three"), None);
    assert_eq!(store.user("example.org", "alice").await.unwrap(), Some(fresh.clone()));
    let rows = suite::collect(&*store, Kind::User, None, 10).await;
    assert_eq!(rows[0], suite::user("example.org", "alice", fresh));
    admin(&["-d", "-u", "bob", "-r", "example.org"]);
    assert_eq!(store.user("example.org", "bob").await.unwrap(), None);
}

#[tokio::test]
async fn coturns_server_authenticates_a_user_that_we_wrote() {
    let Some(coturn) = installed("coturn", &["/usr/bin/turnserver"]) else { return };
    let (_directory, path) = place();
    let user = StoredUser { hmackey: key_of("alice", "one"), sha256: Some([1; 32]) };
    open(&path).put(&[suite::user("example.org", "alice", user)]).await.unwrap();
    let mut server = Server::prepare(coturn, "root", "SQLite DB connection success");
    let (port, home) = (server.port.to_string(), server.directory.path().to_str().unwrap().to_owned());
    server.arguments(&[
        "-n",
        "-L",
        "127.0.0.1",
        "-E",
        "127.0.0.1",
        "-p",
        &port,
        "-b",
        &path,
        "-a",
        "-r",
        "example.org",
    ]);
    server.arguments(&[
        "--no-tls",
        "--no-dtls",
        "--no-cli",
        "--allow-loopback-peers",
        "--log-file",
        "stdout",
    ]);
    server.arguments(&["--pidfile", &format!("{home}/pid")]);
    server.start();
    let client = |password: &str| {
        let arguments =
            ["-u", "alice", "-w", password, "-p", &port, "-n", "1", "-m", "2", "-c", "-y", "127.0.0.1"];
        Command::new("timeout").arg("20").arg("turnutils_uclient").args(arguments).output().unwrap()
    };
    let right = client("one");
    assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stdout));
    assert!(!client("two").status.success());
}

#[tokio::test]
async fn a_locked_file_is_waited_for_and_then_told() {
    let (_directory, path) = place();
    let store = open(&path);
    store.put(&[suite::user("r", "alice", suite::keys(1))]).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begun = Instant::now();
    let error = store.put(&[suite::user("r", "bob", suite::keys(1))]).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("locked"), "{error}");
    assert!(begun.elapsed().as_secs() >= 4, "it did not wait");
    // Readers are not stopped by a writer.
    assert!(store.user("r", "alice").await.unwrap().is_some());
    let write = store.put(&[]);
    let (unlocked, written) = tokio::join!(async { other.execute_batch("ROLLBACK") }, write);
    unlocked.unwrap();
    written.unwrap();
    store.put(&[suite::user("r", "bob", suite::keys(1))]).await.unwrap();
}

#[tokio::test]
async fn files_that_are_no_databases_and_other_tables_are_told() {
    let (directory, path) = place();
    fs::write(&path, "this is text, and long enough not to be taken for an empty database ".repeat(20))
        .unwrap();
    let error = open(&path).ping().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
    assert!(error.to_string().contains("not an SQLite database"), "{error}");
    let missing = directory.path().join("no/such/directory/turndb");
    let error = open(missing.to_str().unwrap()).user("r", "alice").await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("directory"), "{error}");
    failures::connection_string(StoreKind::Sqlite, " ");

    let path = directory.path().join("other").to_str().unwrap().to_owned();
    let store = open(&path);
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    store.ping().await.unwrap();
    change("INSERT INTO turnusers_lt VALUES ('r', 'bad', 'garbage')");
    failures::garbage_in_hmackey(&*store).await;
    change("DROP TABLE turnpike_user_key");
    failures::without_our_own_table(&*store).await;
    change(
        "DROP TABLE denied_peer_ip; CREATE TABLE denied_peer_ip (ip_range); INSERT INTO denied_peer_ip VALUES ('10.0.0.1')",
    );
    failures::peer_ranges_without_realms(&*store).await;
    change("ALTER TABLE turnusers_lt RENAME hmackey TO something");
    failures::wrong_schema(&*store).await;
    for table in ["turnusers_lt", "turn_secret", "oauth_key", "turn_origin_to_realm", "admin_user"] {
        change(&format!("DROP TABLE {table}"));
    }
    failures::missing_tables(&*store, "deploy/turndb/sqlite.sql").await;
}

#[tokio::test]
async fn another_file_in_its_place_is_noticed() {
    let (directory, path) = place();
    let store = open(&path);
    store.put(&[suite::user("r", "alice", suite::keys(1))]).await.unwrap();
    let other = directory.path().join("other").to_str().unwrap().to_owned();
    let second = open(&other);
    second.put(&[suite::user("r", "alice", suite::keys(2))]).await.unwrap();
    drop(second);
    fs::rename(&other, &path).unwrap();
    for beside in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{path}{beside}"));
    }
    assert_eq!(store.user("r", "alice").await.unwrap(), Some(suite::keys(2)));
}

#[tokio::test]
async fn a_full_file_system_and_a_read_only_one_are_told_and_nothing_is_half_written() {
    let Some(small) = SmallFileSystem::mount() else { return };
    let path = small.0.path().join("turndb").to_str().unwrap().to_owned();
    // As coturn makes it: without write-ahead logging, which a read-only file system has no room for.
    rusqlite::Connection::open(&path).unwrap().execute_batch(SCHEMA).unwrap();
    let store = open(&path);
    let page = |round: usize| -> Vec<Row> {
        (0..500).map(|number| suite::user("r", &format!("user {round} {number}"), suite::keys(1))).collect()
    };
    let mut kept = 0;
    let error = loop {
        match store.put(&page(kept)).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000, "it is never full");
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    assert_eq!(store.counts().await.unwrap().users, kept as u64 * 500);
    assert!(store.user("r", "user 0 0").await.unwrap().is_some());
    drop(store);
    small.remount_read_only();
    failures::read_only(&*open(&path)).await;
}

/// A file system of its own, with room for little.
struct SmallFileSystem(TempDir);

impl SmallFileSystem {
    fn mount() -> Option<Self> {
        let small = SmallFileSystem(tempfile::tempdir().unwrap());
        if small.run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]) {
            return Some(small);
        }
        println!("skipped: a full file system needs root to make one");
        None
    }

    fn remount_read_only(&self) {
        assert!(self.run("mount", &["-o", "remount,ro"]));
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let path: &Path = self.0.path();
        Command::new(program).args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        self.run("umount", &[]);
    }
}

fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("turndb");
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

fn open(path: &str) -> Arc<dyn Store> {
    connect(StoreKind::Sqlite, path).unwrap()
}

fn key_of(name: &str, password: &str) -> [u8; 16] {
    Md5::digest(format!("{name}:example.org:{password}")).into()
}

const SCHEMA: &str = include_str!("../../../../deploy/turndb/sqlite.sql");
