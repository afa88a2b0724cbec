//! What databases hold besides users' names: realms by ORIGIN, peers of each realm, keys of access tokens, and SHA-256
//! keys where everybody has one.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use turnpike_client::{ClientConfig, Credentials, Failure};
use turnpike_store::{Key, OAuthKey, Row, StoreKind};
use turnpike_wire::Message;
use turnpike_wire::attributes::{PasswordAlgorithms, RequestedTransport};
use turnpike_wire::{Class, MessageWriter, Method, TransactionId};

use crate::client::{TurnClient, exchange};
use crate::databases;
use crate::harness::{Directory, Server, UCLIENT, run};
use crate::outages::{Book, REALM, knock, lines_with, minted, user};

/// Realms, their peers and their origins, and the three keys that the client tool has built in.
fn rows() -> Vec<Row> {
    let key = |kid: &str, key: &str, as_rs_alg: &str, realm: &str| {
        let (key, as_rs_alg, realm) = (STANDARD.decode(key).unwrap(), as_rs_alg.into(), realm.into());
        Row::OAuthKey(OAuthKey { kid: kid.into(), key, timestamp: 0, lifetime: 0, as_rs_alg, realm })
    };
    vec![
        user(REALM, "alice", "wonderland"),
        user("south", "carol", "penguin"),
        user("south", "dave@south", "penguin"),
        Row::Origin { origin: "https://south.example".into(), realm: "south".into() },
        Row::AllowedPeer { realm: "south".into(), range: "10.9.0.0-10.9.255.255".into() },
        Row::DeniedPeer { realm: "south".into(), range: "192.0.9.0-192.0.9.255".into() },
        key("north", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEK", "A256GCM", "crinna.org"),
        key("union", "MTIzNDU2Nzg5MDEyMzQ1Ngo=", "A128GCM", "north.gov"),
        key("oldempire", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIK", "A256GCM", ""),
    ]
}

fn caller(server: &Server, name: &str, password: &str, origin: Option<&str>) -> TurnClient {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    let config = ClientConfig {
        credentials: Some(Credentials { username: name.into(), password: password.into() }),
        origin: origin.map(str::to_owned),
        keep_alive: false,
        ..ClientConfig::default()
    };
    TurnClient::over(socket, config)
}

fn is_forbidden(outcome: &Result<(), Failure>) -> bool {
    outcome.as_ref().is_err_and(|failure| failure.to_string().contains("403"))
}

/// What a server makes of a database with [`rows`] in it.
fn is_served(name: &str, option: &[&str], book: &Book) {
    book.put(&rows());
    let server = Server::start(&[option, &["--realm-in-username=@", "--oauth"]].concat());
    let mut alice = caller(&server, "alice", "wonderland", None);
    alice.allocate();
    let mut carol = caller(&server, "carol", "penguin", Some("https://South.Example"));
    carol.allocate();
    let mut dave = caller(&server, "dave@south", "penguin", None);
    dave.allocate();
    let mut stray = caller(&server, "carol", "penguin", None);
    assert!(stray.try_allocate(Default::default()).is_err(), "{name}: she is nobody in {REALM}");
    for (peer, here, south) in [
        ("192.0.9.7", true, false),
        ("192.0.8.7", true, true),
        ("10.9.1.1", false, true),
        ("10.8.1.1", false, false),
    ] {
        let peer = peer.parse().unwrap();
        for (client, may) in [(&mut alice, here), (&mut carol, south), (&mut dave, south)] {
            let outcome = client.permit(peer);
            assert!(if may { outcome.is_ok() } else { is_forbidden(&outcome) }, "{name}: {peer} {outcome:?}");
        }
    }
    let address = server.address.ip().to_string();
    let talk = run(UCLIENT, &["-J", "-y", "-m", "12", "-G", "-n", "3", "-z", "5", &address]);
    assert!(
        talk.code == Some(0) && talk.stdout.contains("Total lost packets 0 (0.000000%)"),
        "{name}: bearers of tokens talk: {}",
        talk.stdout
    );
    // Whoever has the key of a kid that is gone is nobody.
    for kid in ["north", "union", "oldempire"] {
        book.remove(&Key::OAuthKey { kid: kid.into() });
    }
    let began = Instant::now();
    while run(UCLIENT, &["-J", "-y", "-n", "1", &address]).code == Some(0) {
        assert!(began.elapsed() < Duration::from_secs(15), "{name}: tokens are still taken");
        thread::sleep(Duration::from_millis(200));
    }
    carol.refresh(Some(600)).unwrap_or_else(|failure| panic!("{name}: {failure}"));
}

#[test]
fn realms_by_origin_and_name_their_peers_and_keys_of_tokens_come_out_of_every_database() {
    let directory = Directory::new();
    let file = directory.file("turndb");
    is_served("SQLite", &["-b", &file], &Book::open(StoreKind::Sqlite, &file));
    for database in databases::all("realms, peers and keys of tokens") {
        is_served(database.name, &[database.flag, &database.connection], &Book::of(&database));
    }
}

/// What a challenge offers.
fn offers_sha256(server: &Server) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    let mut buffer = [0; 100];
    let id = TransactionId(*b"what is what");
    let mut writer = MessageWriter::new(&mut buffer, Class::Request, Method::ALLOCATE, id);
    writer.add(&RequestedTransport::UDP);
    let challenge = exchange(&socket, writer.finish().unwrap()).expect("a challenge");
    let challenge = Message::parse(&challenge).unwrap();
    challenge.get::<PasswordAlgorithms<'_>>().unwrap().expect("it is always there").iter().count() == 2
}

fn until_sha256_is_offered(server: &Server, wanted: bool) {
    let began = Instant::now();
    while offers_sha256(server) != wanted {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "SHA-256 is still {}offered",
            if wanted { "not " } else { "" }
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// RFC 8489 §9.2.4: the offer is made before anybody is known. Whoever has nothing but coturn's key must get in all the
/// same, also while the server believes that everybody has the better one.
#[test]
fn sha256_is_offered_where_every_stored_user_has_it_and_whoever_has_not_gets_in_all_the_same() {
    let directory = Directory::new();
    let file = directory.file("turndb");
    let book = Book::open(StoreKind::Sqlite, &file);
    book.add_user(REALM, "alice", "wonderland");
    let server = Server::start(&["-b", &file]);
    until_sha256_is_offered(&server, true);
    let mut alice = TurnClient::new(server.address, "alice", "wonderland");
    alice.allocate();
    TurnClient::classic(server.address, "alice", "wonderland").allocate();
    let Row::User { realm, name, user } = user(REALM, "dora", "explorer") else { unreachable!() };
    let user = turnpike_store::StoredUser { sha256: None, ..user };
    book.put(&[Row::User { realm, name, user }]);
    // Nobody was told of her: the first she does is to come.
    TurnClient::new(server.address, "dora", "explorer").allocate();
    assert!(!offers_sha256(&server), "she has shown that not everybody has it");
    TurnClient::new(server.address, "dora", "explorer").allocate();
    alice.refresh(Some(600)).expect("a session goes on whatever is offered");
    book.remove(&Key::User { realm: REALM.into(), name: "dora".into() });
    until_sha256_is_offered(&server, true);
    alice.refresh(Some(600)).expect("a session goes on whatever is offered");
}

#[test]
fn rows_that_make_no_sense_are_told_once_without_what_is_in_them_and_the_others_hold() {
    let directory = Directory::new();
    let file = directory.file("turndb");
    let book = Book::open(StoreKind::Sqlite, &file);
    book.put(&[Row::Secret { realm: REALM.into(), value: "north".into() }]);
    let connection = rusqlite::Connection::open(&file).unwrap();
    let insert = |table: &str, values: &str| {
        connection.execute(&format!("insert into {table} values ({values})"), []).unwrap();
    };
    insert("turn_secret", &format!("'{REALM}', 'hidden{}'", "x".repeat(300)));
    insert("turnusers_lt", &format!("'{REALM}', 'gus', 'hidden'"));
    let mut server = Server::start(&["-b", &file, "--use-auth-secret"]);
    let (name, password) = minted("north");
    assert_eq!(knock(server.address, &name, &password, 3), Some(None));
    for _ in 0..3 {
        assert_eq!(knock(server.address, "gus", "whatever", 3), Some(Some(401)));
    }
    assert!(server.expect("Database: a user cannot come in").contains("gus"));
    insert("turn_secret", &format!("'south', 'concealed{}'", "y".repeat(300)));
    server.expect("Database: not heeded");
    let log = server.program.stop("TERM").stdout;
    assert_eq!(lines_with(&log, "Database: not heeded"), 2, "{log}");
    assert_eq!(lines_with(&log, "Database: a user cannot come in"), 1, "{log}");
    assert!(!log.contains("hidden") && !log.contains("concealed"), "{log}");
}
