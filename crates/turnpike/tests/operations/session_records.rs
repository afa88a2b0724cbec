//! A record of each session that ends: in a file, in databases, at a webhook that fails at first.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rusqlite::Connection;
use serde_json::Value;

use crate::client::TurnClient;
use crate::databases::{self, Database};
use crate::harness::{Directory, PATIENCE, Server};

/// One session that its client ends after a packet each way, and one that lives on.
fn two_sessions(server: &Server) -> TurnClient {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let to: SocketAddr = peer.local_addr().unwrap();
    let mut client = TurnClient::hello(server.address);
    let relayed = client.allocate().relayed;
    client.permit(to.ip()).unwrap();
    client.send(to, b"twelve bytes");
    peer.recv_from(&mut [0; 100]).unwrap();
    peer.send_to(b"answer", relayed).unwrap();
    assert_eq!(client.receive().data, b"answer");
    client.refresh(Some(0)).unwrap();
    let mut other = TurnClient::hello(server.address);
    other.allocate();
    other
}

#[test]
fn a_file_has_a_line_for_each_session_also_for_those_that_end_with_the_server() {
    let directory = Directory::new();
    let (path, old) = (directory.file("records.jsonl"), directory.file("records.jsonl.1"));
    let mut server = Server::start(&["--session-record-file", &path]);
    let _other = two_sessions(&server);
    server.expect("reason: deleted by client");
    let address = server.address;
    let finished = server.program.stop("TERM");
    assert_eq!(finished.code, Some(0));
    let text = std::fs::read_to_string(&path).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &records[..] else { panic!("{text}") };
    assert_eq!((&first["reason"], &second["reason"]), (&"deleted".into(), &"shutdown".into()));
    assert_eq!((&first["username"], &first["realm"]), (&"hello".into(), &"example.org".into()));
    assert_eq!(first["server"], address.to_string());
    let numbers = ["client_packets", "client_bytes", "peer_packets", "peer_bytes"];
    assert_eq!(numbers.map(|name| first[name].as_u64().unwrap()), [1, 12, 1, 6]);
    assert_ne!(first["id"], second["id"]);
    assert!(first["started"].as_str().unwrap() <= first["ended"].as_str().unwrap());
    // Moved away as logrotate does, while nothing is told of it.
    std::fs::rename(&path, &old).unwrap();
    let server = Server::start(&["--session-record-file", &path]);
    let _other = two_sessions(&server);
    server.program.stop("TERM");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert_eq!(std::fs::read_to_string(&old).unwrap(), text);
}

#[test]
fn sqlite_has_a_row_for_each_once_its_directory_is_there() {
    let directory = Directory::new();
    let (folder, path) = (directory.file("later"), directory.file("later/records.db"));
    let mut server = Server::start(&["--session-record-database", &format!("sqlite:{path}")]);
    let _other = two_sessions(&server);
    server.expect("does not take them; calls go on");
    std::fs::create_dir(&folder).unwrap();
    server.expect("takes them again");
    assert_eq!(server.program.stop("TERM").code, Some(0));
    let database = Connection::open(&path).unwrap();
    let mut statement = database.prepare(QUERY).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(rows.map(Result::unwrap).collect::<Vec<_>>(), ROWS);
}

#[test]
fn postgresql_and_mariadb_have_a_row_for_each_in_a_table_that_is_made() {
    for database in databases::sql("postgresql_and_mariadb_have_a_row_for_each_in_a_table_that_is_made") {
        let server = Server::start(&["--session-record-database", &database.endpoint()]);
        let _other = two_sessions(&server);
        let finished = server.program.stop("TERM");
        assert_eq!(finished.code, Some(0), "{}: {}", database.name, finished.stdout);
        assert_eq!(rows_of(&database), ROWS, "{}: {}", database.name, finished.stdout);
    }
}

/// What a database's own client reads there.
fn rows_of(database: &Database) -> Vec<String> {
    let pair = |name: &str| {
        let pairs = database.connection.split(' ');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).unwrap().1.to_owned()
    };
    let (port, password) = (pair("port"), pair("password"));
    let output = if database.scheme == "mysql" {
        let mut client = Command::new("mariadb");
        client.env("MYSQL_PWD", password).args(["--no-defaults", "-N", "-h", "127.0.0.1", "-P", &port]);
        client.args(["-u", "turn", "turn", "-e", QUERY]).output()
    } else {
        let mut client = Command::new("psql");
        client.env("PGPASSWORD", password).args(["-At", "-h", "127.0.0.1", "-p", &port, "-U", "turn"]);
        client.args(["-d", "postgres", "-c", QUERY]).output()
    };
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Understood alike by all three.
const QUERY: &str = "SELECT reason FROM turnpike_session_record WHERE username = 'hello' AND duration >= 0 AND \
     (client_bytes = 12 AND peer_bytes = 6 OR client_bytes = 0) ORDER BY id";
const ROWS: [&str; 2] = ["deleted", "shutdown"];

/// A request as a receiver of the webhook saw it: its head, and its body.
struct Posted {
    head: String,
    body: Value,
}

/// Answers each request with the next status; a status of 0 is no answer at all.
fn receiver(statuses: &'static [u16]) -> (SocketAddr, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, posted) = channel();
    thread::spawn(move || {
        let mut statuses = statuses.iter().copied();
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.unwrap());
            while let Some(head) = read_head(&mut connection) {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let mut body = vec![0; length.trim().parse().unwrap()];
                connection.read_exact(&mut body).unwrap();
                let status = statuses.next().unwrap_or(200);
                let body = serde_json::from_slice(&body).unwrap();
                sender.send(Posted { head, body }).unwrap();
                if status == 0 {
                    break;
                }
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
                connection.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (address, posted)
}

/// In small letters, without the blank line; `None` at the end of the connection.
fn read_head(connection: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        match connection.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line == "\r\n" => return Some(head.to_ascii_lowercase()),
            Ok(_) => head.push_str(&line),
        }
    }
}

#[test]
fn a_webhook_that_fails_at_first_gets_every_record_and_the_token_as_it_is_then() {
    let directory = Directory::new();
    let token = directory.write("token", "FirstToken\n");
    let (address, posted) = receiver(&[503, 0, 401, 200]);
    let mut server = Server::start(&[
        "--session-record-webhook",
        &format!("http://{address}/sessions?from=turn"),
        "--session-record-webhook-token-file",
        &token,
    ]);
    let next = || posted.recv_timeout(PATIENCE).unwrap();
    let _other = two_sessions(&server);
    let first = next();
    assert!(first.head.starts_with("post /sessions?from=turn http/1.1\r\n"), "{}", first.head);
    assert!(first.head.contains("\r\nauthorization: bearer firsttoken\r\n"), "{}", first.head);
    assert!(first.head.contains("\r\ncontent-type: application/json\r\n"), "{}", first.head);
    server.expect("does not take them; calls go on");
    directory.write("token", "SecondToken\n");
    let (second, third, last) = (next(), next(), next());
    assert!(last.head.contains("\r\nauthorization: bearer secondtoken\r\n"), "{}", last.head);
    let ids: Vec<&Value> =
        [&first, &second, &third, &last].iter().map(|it| &it.body["records"][0]["id"]).collect();
    assert!(ids.iter().all(|id| id.is_string() && *id == ids[0]), "{ids:?}");
    server.expect("takes them again");
    let finished = server.program.stop("TERM");
    assert_eq!(finished.code, Some(0));
    let end = next();
    assert_eq!(end.body["records"][0]["reason"], "shutdown");
    assert!(!finished.stdout.contains("of them were lost"), "{}", finished.stdout);
}

#[test]
fn what_a_webhook_refuses_for_good_is_counted_as_lost() {
    let (address, posted) = receiver(&[422]);
    let mut server = Server::start(&["--session-record-webhook", &format!("http://{address}/")]);
    let mut other = two_sessions(&server);
    posted.recv_timeout(PATIENCE).unwrap();
    server.expect("refuses some of them for good: it answered 422");
    server.expect("Session records: 1 of them were lost to the webhook at 127.0.0.1:");
    other.refresh(Some(0)).unwrap();
    let next = posted.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next.body["records"].as_array().unwrap().len(), 1);
}
