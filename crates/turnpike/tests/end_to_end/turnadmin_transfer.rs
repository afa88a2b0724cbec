//! `turnadmin --export` and `--import`.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use crate::harness::{TURNADMIN, run};
use crate::turnadmin::{Database, fed};

/// One row of each kind, and two users.
pub(crate) fn filled() -> Database {
    let database = Database::new();
    for words in [
        "-a -u alice -r example.org -p secret",
        "-a -u ünï,\"x -r example.net -p secret",
        "-s north -r example.org",
        "-O -o https://a -r example.org",
        "-g -r example.org --total-quota 7",
        "--add-oauth-key kid --oauth-key MDEyMzQ1Njc4OWFiY2RlZg== --oauth-algorithm A128GCM",
        "-A -u root -p geheim",
    ] {
        // What coturn would not add may be in a database all the same.
        if words.contains('"') {
            let connection = Connection::open(&database.path).unwrap();
            let name = "insert into turnusers_lt values ('example.net', 'ünï, \"x\ny', '0123456789abcdef0123456789abcdef')";
            connection.execute(name, []).unwrap();
            connection.execute("insert into denied_peer_ip values ('', '192.0.2.0/24')", []).unwrap();
            connection.execute("insert into allowed_peer_ip values ('r', '192.0.2.1')", []).unwrap();
        } else {
            database.prints(words);
        }
    }
    database
}

#[test]
fn an_export_of_everything_imported_elsewhere_exports_the_same() {
    let (first, second) = (filled(), Database::new());
    let path = first.directory.file("all.jsonl");
    let exported = first.admin(&format!("--export {path}"));
    assert_eq!((exported.code, exported.stderr.as_str()), (Some(0), "exported 9 rows\n"));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "it holds keys");
    let imported = second.admin(&format!("--import {path}"));
    assert_eq!((imported.code, imported.stderr.as_str()), (Some(0), "imported 9 rows\n"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(second.admin("--export -").stdout, text);
    let again = second.admin(&format!("--import {path}"));
    assert_eq!(again.code, Some(0), "a second run changes nothing");
    assert_eq!(second.admin("--export -").stdout, text);
}

#[test]
fn csv_holds_one_kind_and_comes_back_whatever_is_in_the_names() {
    let (first, second) = (filled(), Database::new());
    let path = first.directory.file("users.csv");
    assert_eq!(first.admin(&format!("--export {path}")).code, Some(0));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("realm,name,hmackey,sha256key\nexample.net,\"ünï, \"\"x\ny\",0123"), "{text}");
    assert_eq!(second.admin(&format!("--import {path}")).code, Some(0));
    assert_eq!(second.admin("--export - --format csv").stdout, text);
    let secrets = first.admin("--export - --format csv --kind secret -r example.org").stdout;
    assert_eq!(secrets, "realm,value\nexample.org,north\n");
    assert_eq!(first.admin("--export - --format csv --kind secret -r other").stdout, "realm,value\n");
}

#[test]
fn users_are_imported_by_their_passwords() {
    let database = Database::new();
    let csv = b"name,realm,password\r\nalice,example.org,\"a, \"\"b\"\"\"\r\nbob,example.org,secret\r\n";
    let arguments = ["--import", "-", "--format", "csv", "-b", &database.path];
    let imported = fed(&arguments, csv);
    assert_eq!((imported.code, imported.stderr.as_str()), (Some(0), "imported 2 rows\n"));
    let key = run(TURNADMIN, &["-k", "-u", "alice", "-r", "example.org", "-p", "a, \"b\""]).stdout;
    let stored = database.value("select hmackey from turnusers_lt where name = 'alice'");
    assert_eq!(key, format!("0x{stored}\n"));
    assert_eq!(database.value("select count(*) from turnpike_user_key"), "2");
}

#[test]
fn lines_that_are_wrong_are_told_without_their_secrets_and_the_others_are_stored() {
    let database = Database::new();
    let text = format!(
        "{}\n\nnonsense north\n{}\n{}\n{}\n{}\n",
        r#"{"kind":"secret","realm":"r","value":"good"}"#,
        r#"{"kind":"secret","realm":"r"}"#,
        r#"{"kind":"user","name":"a","realm":"r","hmackey":"north"}"#,
        r#"{"kind":"users","name":"a"}"#,
        format_args!(r#"{{"kind":"secret","realm":"{}","value":"north"}}"#, "r".repeat(200)),
    );
    let finished = fed(&["--import", "-", "-b", &database.path], text.as_bytes());
    assert_eq!(finished.code, Some(1));
    for said in [
        "line 3: it is no JSON object",
        "line 4: value is missing",
        "line 5: hmackey is not of 32 digits",
        "line 6: kind: there is no kind \"users\"",
        "line 7: SQLite: ",
        "5 rows were refused, 1 are stored",
    ] {
        assert!(finished.stderr.contains(said), "{said}: {}", finished.stderr);
    }
    assert!(!finished.stderr.contains("north"), "{}", finished.stderr);
    assert_eq!(database.prints("-S"), "good[r]\n");
}

#[test]
fn an_export_that_cannot_be_written_leaves_no_half_file() {
    let database = filled();
    assert_eq!(database.admin("--export /dev/full").code, Some(1));
    let nowhere = database.directory.file("missing/x.jsonl");
    assert_eq!(database.admin(&format!("--export {nowhere}")).code, Some(1));
    let connection = Connection::open(&database.path).unwrap();
    connection.execute("drop table turn_secret", []).unwrap();
    connection.execute("create table turn_secret (other)", []).unwrap();
    drop(connection);
    let path = database.directory.file("half.jsonl");
    let finished = database.admin(&format!("--export {path}"));
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let left: Vec<_> = std::fs::read_dir(database.directory.path()).unwrap().collect();
    assert!(left.iter().all(|entry| !entry.as_ref().unwrap().path().display().to_string().contains("half")));
}

#[test]
fn a_csv_file_with_columns_that_do_not_exist_is_refused_before_anything_is_stored() {
    let database = Database::new();
    let arguments = ["--import", "-", "--format", "csv", "-b", &database.path];
    let finished = fed(&arguments, b"user,realm,password\na,b,c\n");
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("there is no \"user\""), "{}", finished.stderr);
    assert_eq!(fed(&arguments, b"").code, Some(1));
}

#[test]
fn many_users_stream_through() {
    let database = Database::new();
    let mut csv = String::from("realm,name,hmackey\n");
    for number in 0..20_000 {
        let _ = writeln!(csv, "example.org,user{number:06},{number:032x}");
    }
    let arguments = ["--import", "-", "--format", "csv", "-b", &database.path];
    assert_eq!(fed(&arguments, csv.as_bytes()).stderr, "imported 20000 rows\n");
    let listed = database.prints("-l");
    assert_eq!(listed.lines().count(), 20_000);
    assert_eq!(listed.lines().next_back(), Some("user019999[example.org]"));
    let exported = database.admin("--export - --format csv").stdout;
    assert_eq!(exported.replace(",\n", "\n").replace("key,sha256key", "key"), csv);
}
