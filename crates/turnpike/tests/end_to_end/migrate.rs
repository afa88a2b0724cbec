//! `turnpike migrate`: its report, and copies between databases.

use std::fmt::Write as _;

use rusqlite::Connection;

use crate::harness::{Finished, TURNPIKE, run};
use crate::turnadmin::{Database, fed};
use crate::turnadmin_transfer::filled;

fn migrate(from: &Database, to: &Database, more: &[&str]) -> Finished {
    let (from, to) = (format!("sqlite:{}", from.path), format!("sqlite:{}", to.path));
    let words: Vec<&str> =
        ["migrate", "--from", &from, "--to", &to].into_iter().chain(more.iter().copied()).collect();
    run(TURNPIKE, &words)
}

/// Everything in a database.
fn contents(database: &Database) -> String {
    database.admin("--export -").stdout
}

/// So many users with keys, and whatever else is in [`filled`].
fn with_users(users: u32) -> Database {
    let database = filled();
    let mut csv = String::from("realm,name,hmackey,sha256key\n");
    for number in 0..users {
        let _ = writeln!(csv, "example.org,user{number:06},{number:032x},{number:064x}");
    }
    let imported = fed(&["--import", "-", "--format", "csv", "-b", &database.path], csv.as_bytes());
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    database
}

#[test]
fn everything_is_copied_and_verified_and_a_second_run_writes_nothing() {
    let (from, to) = (with_users(2500), Database::new());
    let copied = migrate(&from, &to, &[]);
    assert_eq!(copied.code, Some(0), "{}{}", copied.stdout, copied.stderr);
    assert!(copied.stdout.contains("2509 rows were new, 0 replaced"), "{}", copied.stdout);
    assert!(copied.stdout.contains("verified: 2509 rows are the same on both sides"), "{}", copied.stdout);
    assert_eq!(contents(&to), contents(&from));
    let again = migrate(&from, &to, &[]);
    assert_eq!(again.code, Some(0));
    assert!(
        again.stdout.contains("0 rows were new, 0 replaced because they differed, 2509 were there already")
    );
}

#[test]
fn a_copy_goes_on_where_it_was_and_mends_what_differs() {
    let (from, to) = (with_users(2500), Database::new());
    assert_eq!(migrate(&from, &to, &[]).code, Some(0));
    // As if it had been interrupted, and one user been changed since.
    let connection = Connection::open(&to.path).unwrap();
    connection.execute("delete from turnusers_lt where name > 'user001499'", []).unwrap();
    let other =
        "update turnusers_lt set hmackey = '00112233445566778899aabbccddeeff' where name = 'user000007'";
    connection.execute(other, []).unwrap();
    connection
        .execute("insert into turnusers_lt values ('r', 'theirs', '00112233445566778899aabbccddeeff')", [])
        .unwrap();
    connection.execute("insert into turn_secret values ('r', 'theirs')", []).unwrap();
    drop(connection);

    let tried = migrate(&from, &to, &["--dry-run"]);
    assert!(tried.stdout.contains("1001 rows would be new, 1 would be replaced"), "{}", tried.stdout);
    let resumed = migrate(&from, &to, &[]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stdout);
    assert!(
        resumed
            .stdout
            .contains("1001 rows were new, 1 replaced because they differed, 1507 were there already")
    );
    assert!(resumed.stdout.contains("2 more rows are in the destination alone"), "{}", resumed.stdout);
    for words in ["-d -u theirs -r r", "-X theirs -r r"] {
        to.prints(words);
    }
    assert_eq!(contents(&to), contents(&from));
}

#[test]
fn a_dry_run_writes_nothing() {
    let (from, to) = (filled(), Database::new());
    let tried = migrate(&from, &to, &["--dry-run"]);
    assert_eq!(tried.code, Some(0));
    assert!(tried.stdout.contains("9 rows would be new"), "{}", tried.stdout);
    assert_eq!(contents(&to), "");
}

#[test]
fn what_cannot_be_copied_is_told_and_is_a_failure_and_the_rest_is_there() {
    let (from, to) = (filled(), Database::new());
    let connection = Connection::open(&from.path).unwrap();
    connection.execute("insert into turnusers_lt values ('r', 'broken', 'geheim')", []).unwrap();
    connection
        .execute("insert into turn_secret values ('r', ?1)", [format!("geheim{}", "x".repeat(300))])
        .unwrap();
    drop(connection);
    let copied = migrate(&from, &to, &[]);
    assert_eq!(copied.code, Some(1));
    assert!(copied.stdout.contains("2 were refused"), "{}", copied.stdout);
    assert!(copied.stderr.contains("broken") && copied.stderr.contains("too long"), "{}", copied.stderr);
    assert!(!format!("{}{}", copied.stdout, copied.stderr).contains("geheim"));
    assert_eq!(contents(&to), contents(&filled_like(&from)));
}

/// A copy of the rows that can be exported.
fn filled_like(from: &Database) -> Database {
    let database = Database::new();
    let connection = Connection::open(&from.path).unwrap();
    connection.execute("delete from turnusers_lt where name = 'broken'", []).unwrap();
    connection.execute("delete from turn_secret where length(value) > 300", []).unwrap();
    let imported = fed(&["--import", "-", "-b", &database.path], contents(from).as_bytes());
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    database
}

#[test]
fn a_configuration_is_reported_on_with_its_database_and_without_its_secrets() {
    let database = filled();
    let text = format!(
        "listening-port=3478\nrealm=example.org\nuse-auth-secret\nstatic-auth-secret=geheim\nuserdb={}\n\
         no-cli\nprometheus\nraw-public-keys\nalowed-peer-ip=10.0.0.1\n",
        database.path
    );
    let file = database.directory.write("turnserver.conf", &text);
    let report = run(TURNPIKE, &["migrate", "-c", &file]);
    assert_eq!(report.code, Some(1), "there is something to look at: {}", report.stderr);
    for said in [
        "Carries over\n  listening-port = 3478 (",
        "no-cli: there is none unless cli asks for it",
        "Not supported\n",
        "raw-public-keys",
        "did you mean allowed-peer-ip?",
        "private, shared and multicast peers are refused unless allowed-peer-ip opens them",
        "Database: SQLite ",
        "user                  2",
        "1 of 2 users have an MD5 key alone",
    ] {
        assert!(report.stdout.contains(said), "{said}: {}", report.stdout);
    }
    for secret in ["geheim", "north", "$argon2", "0123456789abcdef"] {
        assert!(!report.stdout.contains(secret) && !report.stderr.contains(secret), "{secret}");
    }
    let file = database.directory.write("sound.conf", "listening-port=3478\nuser=a:b\nrealm=r\n");
    assert_eq!(run(TURNPIKE, &["migrate", "-c", &file]).code, Some(0));
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_made() {
    let database = filled();
    let missing = database.directory.file("missing");
    let known = format!("sqlite:{}", database.path);
    for (arguments, said) in [
        (vec!["--from", "oracle:x"], "a database is named as"),
        (vec!["--from", &format!("sqlite:{missing}")], "cannot find the database"),
        (vec!["--from", &known, "--to", &known], "copied into itself"),
        (vec!["-c", &missing], "there is no such file"),
    ] {
        let finished = run(TURNPIKE, &[&["migrate"], arguments.as_slice()].concat());
        assert_eq!(finished.code, Some(1), "{arguments:?}");
        assert!(finished.stderr.contains(said), "{said}: {}", finished.stderr);
    }
    assert!(!std::path::Path::new(&missing).exists());
}
