//! `turnadmin` and `turnpike migrate` with real servers: each command does in each database what it does in SQLite.

use crate::databases::{self, Database};
use crate::harness::{Finished, TURNADMIN, TURNPIKE, run};
use crate::turnadmin::Database as File;
use crate::turnadmin_transfer::filled;

fn admin(database: &Database, words: &str) -> Finished {
    let words: Vec<&str> = words.split_whitespace().chain([database.flag, &database.connection]).collect();
    run(TURNADMIN, &words)
}

/// What a command prints, which succeeds; in some order, since not every database has one.
fn prints(database: &Database, words: &str) -> Vec<String> {
    let finished = admin(database, words);
    assert_eq!(finished.code, Some(0), "{}: {words}: {}", database.name, finished.stderr);
    assert!(!finished.stderr.contains("northwind"), "{}", finished.stderr);
    sorted(&finished.stdout)
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn every_command_does_in_every_database_what_it_does_in_a_file() {
    for database in databases::all("turnadmin") {
        let file = File::new();
        for words in WRITTEN {
            assert_eq!(prints(&database, words), sorted(&file.prints(words)), "{}: {words}", database.name);
        }
        for words in LISTS {
            let (ours, expected) = (prints(&database, words), sorted(&file.prints(words)));
            assert_eq!(ours, expected, "{}: {words}", database.name);
            assert!(!ours.is_empty(), "{words}");
        }
        for words in DELETED {
            assert_eq!(prints(&database, words), sorted(&file.prints(words)), "{}: {words}", database.name);
        }
        for words in LISTS {
            assert_eq!(prints(&database, words), sorted(&file.prints(words)), "{}: {words}", database.name);
        }
    }
}

#[test]
fn rows_of_every_kind_go_to_every_database_and_come_back_as_they_were() {
    for database in databases::all("turnpike migrate") {
        let (from, back) = (filled(), File::new());
        let endpoint = database.endpoint();
        for (source, destination) in
            [(&format!("sqlite:{}", from.path), &endpoint), (&endpoint, &format!("sqlite:{}", back.path))]
        {
            let copied = run(TURNPIKE, &["migrate", "--from", source, "--to", destination]);
            assert_eq!(copied.code, Some(0), "{}: {}{}", database.name, copied.stdout, copied.stderr);
            assert!(copied.stdout.contains("verified: 9 rows"), "{}: {}", database.name, copied.stdout);
            let said = format!("{}{}", copied.stdout, copied.stderr);
            for secret in ["northwind", "north\n", "0123456789abcdef"] {
                assert!(!said.contains(secret), "{}: {said}", database.name);
            }
        }
        assert_eq!(back.admin("--export -").stdout, from.admin("--export -").stdout, "{}", database.name);
        if database.scheme == "mysql" {
            an_encrypted_password_opens(&database);
        }
        let exported = admin(&database, "--export -").stdout;
        assert_eq!(sorted(&exported), sorted(&from.admin("--export -").stdout), "{}", database.name);
    }
}

/// The password of a MySQL connection may be encrypted: in a configuration with its key file, and by a flag.
fn an_encrypted_password_opens(database: &Database) {
    let file = File::new();
    let key = file.directory.file("key");
    assert_eq!(run(TURNADMIN, &["-x", &key]).code, Some(0));
    let sealed = run(TURNADMIN, &["-E", "-f", &key, "-p", "northwind"]);
    assert_eq!(sealed.code, Some(0), "{}", sealed.stderr);
    let connection = database.connection.replace("northwind", sealed.stdout.trim());
    let text = format!("realm=example.org\nmysql-userdb=\"{connection}\"\nsecret-key-file={key}\n");
    let conf = file.directory.write("turnserver.conf", &text);
    let report = run(TURNPIKE, &["migrate", "-c", &conf]);
    assert!(report.stdout.contains("Database: MySQL 127.0.0.1"), "{}{}", report.stdout, report.stderr);
    let from = format!("mysql:{connection}");
    let with_key = run(TURNPIKE, &["migrate", "--from", &from, "--secret-key-file", &key]);
    assert_eq!(with_key.code, Some(0), "{}{}", with_key.stdout, with_key.stderr);
    assert_eq!(
        run(TURNPIKE, &["migrate", "--from", &from]).code,
        Some(1),
        "its password is no password as it is"
    );
}

const WRITTEN: &[&str] = &[
    "-a -u alice -r example.org -p secret",
    "-a -u bob -r example.net -p secret",
    "-a -u alice -r example.org -p other",
    "-s first -r example.org",
    "-s second -r example.org",
    "-s third -r example.net",
    "-O -o HTTPS://Call.Example.org/ -r example.org",
    "-g -r example.org --max-bps 1000 --user-quota 5",
    "--add-oauth-key kid --oauth-key MDEyMzQ1Njc4OWFiY2RlZg== --oauth-algorithm A128GCM -r example.org",
    "-A -u root -p geheim",
    "-A -u local -r example.org -p geheim",
];
const LISTS: &[&str] = &[
    "-l",
    "-l -r example.org",
    "-S",
    "-S -r example.org",
    "-I",
    "-G",
    "-L",
    "--list-oauth-keys",
    "-l --json",
];
const DELETED: &[&str] = &[
    "-d -u alice -r example.org",
    "-d -u nobody -r example.org",
    "-X third -r example.net",
    "--delete-all-secrets -r example.org",
    "-R -o https://call.example.org",
    "-g -r example.org --max-bps 0",
    "--delete-oauth-key kid",
    "-D -u root",
];
