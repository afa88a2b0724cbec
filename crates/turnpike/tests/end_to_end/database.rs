//! Users, secrets and realms out of a database that others change while the server runs.

use std::time::{Duration, Instant};

use turnpike_client::{AllocateOptions, Failure};
use turnpike_store::{Key, RealmOption, Row, Store, StoreKind, StoredUser, connect};
use turnpike_wire::{LongTermKey, PasswordDigest};

use crate::client::{TurnClient, unix_now};
use crate::harness::{Directory, Server, TURNSERVER, run};

/// A SQLite file, as somebody else changes it.
struct Book {
    directory: Directory,
    runtime: tokio::runtime::Runtime,
    store: std::sync::Arc<dyn Store>,
}

impl Book {
    fn new() -> Self {
        let directory = Directory::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = {
            let _inside = runtime.enter();
            connect(StoreKind::Sqlite, &directory.file("turndb")).unwrap()
        };
        Book { directory, runtime, store }
    }

    fn option(&self) -> String {
        format!("--userdb={}", self.directory.file("turndb"))
    }

    fn put(&self, row: Row) {
        self.runtime.block_on(self.store.put(&[row])).unwrap();
    }

    fn remove(&self, key: &Key) {
        assert_eq!(self.runtime.block_on(self.store.remove(key)).unwrap(), 1);
    }

    fn add_user(&self, name: &str, password: &str) {
        let md5 =
            LongTermKey::derive(PasswordDigest::Md5, name.as_bytes(), REALM.as_bytes(), password.as_bytes());
        let user = StoredUser { hmackey: md5.bytes().try_into().unwrap(), sha256: None };
        self.put(Row::User { realm: REALM.into(), name: name.into(), user });
    }
}

const REALM: &str = "example.org";

fn try_once(server: &Server, name: &str, password: &str) -> Result<(), Failure> {
    let mut client = TurnClient::new(server.address, name, password);
    client.try_allocate(AllocateOptions::default()).map(drop)
}

/// Tries until the outcome is as wanted; what is changed from outside is to be seen within 5 s.
fn soon(server: &Server, (name, password): (&str, &str), wanted: bool) {
    let began = Instant::now();
    while try_once(server, name, password).is_ok() != wanted {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{name} is still {}",
            if wanted { "out" } else { "in" }
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn minted(secret: &str) -> (String, String) {
    let name = format!("{}:frank", unix_now() + 600);
    let password = turnpike_turn::rest_password(secret.as_bytes(), &name);
    (name, password)
}

#[test]
fn users_are_let_in_and_shut_out_as_the_database_says_while_calls_go_on() {
    let book = Book::new();
    book.add_user("alice", "wonderland");
    let server = Server::start(&[&book.option(), "--realm=example.org"]);
    let mut alice = TurnClient::new(server.address, "alice", "wonderland");
    alice.allocate();
    assert!(try_once(&server, "alice", "guess").is_err());
    soon(&server, ("bob", "builder"), false);
    book.add_user("bob", "builder");
    soon(&server, ("bob", "builder"), true);
    book.add_user("bob", "another");
    soon(&server, ("bob", "another"), true);
    soon(&server, ("bob", "builder"), false);
    book.remove(&Key::User { realm: REALM.into(), name: "bob".into() });
    book.remove(&Key::User { realm: REALM.into(), name: "alice".into() });
    soon(&server, ("bob", "another"), false);
    soon(&server, ("alice", "wonderland"), false);
    alice.refresh(Some(600)).expect("a call in progress asks no database");
}

#[test]
fn secrets_users_of_the_file_and_users_of_the_database_work_side_by_side_and_secrets_rotate() {
    let book = Book::new();
    book.add_user("alice", "wonderland");
    let secret = |value: &str| Row::Secret { realm: REALM.into(), value: value.into() };
    book.put(secret("north"));
    let more = ["--realm=example.org", "--use-auth-secret", "--user=carol:singer"];
    let server = Server::start(&[&[&*book.option()][..], &more].concat());
    let (north, south) = (minted("north"), minted("south"));
    try_once(&server, &north.0, &north.1).expect("a secret of the database");
    try_once(&server, "carol", "singer").expect("a user of the file");
    try_once(&server, "alice", "wonderland").expect("a user of the database");
    assert!(try_once(&server, &south.0, &south.1).is_err());
    book.put(secret("south"));
    soon(&server, (&south.0, &south.1), true);
    try_once(&server, &north.0, &north.1).expect("both overlap");
    book.remove(&Key::Secret { realm: REALM.into(), value: "north".into() });
    soon(&server, (&north.0, &north.1), false);
    try_once(&server, &south.0, &south.1).expect("the new one stays");
}

#[test]
fn a_realms_quota_is_heeded_as_soon_as_it_is_written() {
    let book = Book::new();
    book.add_user("alice", "wonderland");
    let server = Server::start(&[&book.option(), "--realm=example.org"]);
    let mut first = TurnClient::new(server.address, "alice", "wonderland");
    first.allocate();
    try_once(&server, "alice", "wonderland").expect("nothing limits her");
    book.put(Row::RealmLimit { realm: REALM.into(), option: RealmOption::UserQuota, value: 1 });
    soon(&server, ("alice", "wonderland"), false);
    book.remove(&Key::RealmLimit { realm: REALM.into(), option: RealmOption::UserQuota });
    soon(&server, ("alice", "wonderland"), true);
}

#[test]
fn what_coturns_turnadmin_wrote_is_read() {
    let Some(turnadmin) = ["/usr/bin/turnadmin"].into_iter().find(|path| std::path::Path::new(path).exists())
    else {
        panic!("coturn's turnadmin is not installed: scripts/install-test-tools does");
    };
    let directory = Directory::new();
    let file = directory.file("turndb");
    let add = ["-a", "-u", "dora", "-r", REALM, "-p", "explorer", "-b", &file];
    assert_eq!(run(turnadmin, &add).code, Some(0));
    let server = Server::start(&[&format!("--userdb={file}"), "--realm=example.org"]);
    try_once(&server, "dora", "explorer").expect("the user is known");
    assert!(try_once(&server, "dora", "guess").is_err());
}

#[test]
fn a_connection_that_makes_no_sense_is_told_with_its_option_and_without_its_password() {
    let connection = "--mysql-userdb=host=127.0.0.1 dbname=turn passwrod=hunter2";
    let said = run(TURNSERVER, &["-n", "--realm=example.org", connection, "-L", "127.0.0.1"]);
    let text = format!("{}{}", said.stdout, said.stderr);
    assert_ne!(said.code, Some(0), "{text}");
    assert!(text.contains("mysql-userdb is of no use") && !text.contains("hunter2"), "{text}");
}

/// RFC 8656 §5 wants 486 for whoever has enough; who has how many is counted over all threads.
#[test]
fn of_a_thousand_allocates_at_once_exactly_ten_are_granted_to_a_user_with_a_quota_of_ten() {
    let book = Book::new();
    book.add_user("alice", "wonderland");
    let more = ["--realm=example.org", "--user-quota=10", "--relay-threads=4"];
    let server = Server::start(&[&[&*book.option()][..], &more].concat());
    let address = server.address;
    let crowd = || {
        let mut clients: Vec<_> = (0..50).map(|_| TurnClient::new(address, "alice", "wonderland")).collect();
        let granted = clients
            .iter_mut()
            .filter_map(|client| client.try_allocate(AllocateOptions::default()).ok())
            .count();
        // They stay until everybody has tried.
        (granted, clients)
    };
    let crowds: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(crowd)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(crowds.iter().map(|(granted, _)| granted).sum::<usize>(), 10);
}
