//! A hundred thousand users to each database and back, with interruptions.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::databases::{self, Database};
use crate::number;

const TURNADMIN: &str = env!("CARGO_BIN_EXE_turnadmin");
const TURNPIKE: &str = env!("CARGO_BIN_EXE_turnpike");

#[test]
#[ignore = "takes minutes: scripts/test soak"]
fn a_hundred_thousand_users_go_to_every_database_and_back_unchanged() {
    let users = number("TURNPIKE_SOAK_USERS").unwrap_or(100_000);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for database in databases::all("the migration of many users") {
        let users = users.min(database.most_users);
        let origin = file(&format!("{users}-users"));
        if !fs::exists(&origin).unwrap() {
            fill(&origin, users);
        }
        let exported = export(&origin);
        let back = file(database.name);
        there(&origin, &database, users);
        let begun = Instant::now();
        let output = migrate(&database.endpoint(), &format!("sqlite:{back}"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}: {said}{}",
            database.name,
            String::from_utf8_lossy(&output.stderr)
        );
        println!("soak: {} -> SQLite: {users} users in {:.1?}", database.name, begun.elapsed());
        assert!(export(&back) == exported, "{}: something has changed", database.name);
    }
}

/// Copies to a database; the first attempt is ended in the middle, and the next one goes on.
fn there(origin: &str, database: &Database, users: u64) {
    let (from, to) = (format!("sqlite:{origin}"), database.endpoint());
    let mut first = Command::new(TURNPIKE)
        .args(["migrate", "--from", &from, "--to", &to])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // As soon as something is there, but long before all is.
    let deadline = Instant::now() + MOST_PATIENCE;
    while count(database) == 0 && first.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "{}: nothing arrives", database.name);
    }
    let _ = first.kill();
    first.wait().unwrap();
    let arrived = count(database);
    let begun = Instant::now();
    let output = migrate(&from, &to);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {said}{}", database.name, String::from_utf8_lossy(&output.stderr));
    assert!(
        said.contains(&format!("verified: {} rows are the same", users + 1)),
        "{}: {said}",
        database.name
    );
    // Where there are no transactions, the row that was being written is mended.
    let before = |word: &str| said.split(word).next().and_then(|text| text.rsplit([' ', '\n']).next());
    let kept = [" were there already", " replaced because"]
        .map(|word| before(word).unwrap().parse::<u64>().unwrap());
    assert!(kept.iter().sum::<u64>() >= arrived, "{}: it began anew: {said}", database.name);
    println!(
        "soak: SQLite -> {}: ended when {arrived} users were there; the other {} in {:.1?}",
        database.name,
        users - arrived.min(users),
        begun.elapsed()
    );
}

fn migrate(from: &str, to: &str) -> Output {
    Command::new(TURNPIKE).args(["migrate", "--from", from, "--to", to]).output().unwrap()
}

fn count(database: &Database) -> u64 {
    let arguments = ["-l", database.flag, &database.connection];
    let output = Command::new(TURNADMIN).args(arguments).output().unwrap();
    output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Makes users with both keys, and a secret.
fn fill(path: &str, users: u64) {
    let mut csv = String::from("realm,name,hmackey,sha256key\n");
    for number in 0..users {
        let realm = number % 7;
        let _ = writeln!(csv, "realm{realm}.example.org,user{number:07},{number:032x},{number:064x}");
    }
    let mut child = Command::new(TURNADMIN)
        .args(["--import", "-", "--format", "csv", "-b", path])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(csv.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let secret =
        Command::new(TURNADMIN).args(["-s", "north", "-r", "example.org", "-b", path]).status().unwrap();
    assert!(secret.success());
}

fn export(path: &str) -> Vec<u8> {
    let file = format!("{path}.jsonl");
    let status = Command::new(TURNADMIN).args(["--export", &file, "-b", path]).status().unwrap();
    assert!(status.success());
    fs::read(file).unwrap()
}

const MOST_PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
