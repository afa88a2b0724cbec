//! `turnadmin` on an SQLite file: what its commands print, leave in the database and exit with.

use std::io::Write;
use std::process::{Command, Stdio};

use rusqlite::Connection;

use crate::harness::{Directory, Finished, OnTerminal, TURNADMIN, run};

/// A database of its own.
pub(crate) struct Database {
    pub(crate) directory: Directory,
    pub(crate) path: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        let directory = Directory::new();
        let path = directory.file("turndb");
        Database { directory, path }
    }

    /// A command on it, its words separated by blanks.
    pub(crate) fn admin(&self, words: &str) -> Finished {
        let words: Vec<&str> = words.split_whitespace().chain(["-b", &self.path]).collect();
        run(TURNADMIN, &words)
    }

    /// What a command on it prints, which succeeds.
    pub(crate) fn prints(&self, words: &str) -> String {
        let finished = self.admin(words);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{words}");
        finished.stdout
    }

    /// The only value of a query.
    pub(crate) fn value(&self, query: &str) -> String {
        let connection = Connection::open(&self.path).unwrap();
        connection.query_row(query, [], |row| row.get::<_, rusqlite::types::Value>(0)).map(shown).unwrap()
    }
}

fn shown(value: rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// Runs it with something to read on standard input.
pub(crate) fn fed(arguments: &[&str], input: &[u8]) -> Finished {
    let mut child = Command::new(TURNADMIN)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || pipe.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // Whoever refuses the first line does not read the rest.
    let _ = writer.join().unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_user_is_added_with_both_keys_listed_and_deleted() {
    let database = Database::new();
    assert_eq!(database.prints("-a -u alice -r example.org -p secret"), "");
    assert_eq!(database.prints("-a -u bob -r example.net -p secret"), "");
    let key = run(TURNADMIN, &["-k", "-u", "alice", "-r", "example.org", "-p", "secret"]);
    let stored = database.value("select hmackey from turnusers_lt where name = 'alice'");
    assert_eq!(key.stdout, format!("0x{stored}\n"));
    let sha256 = database.value("select sha256key from turnpike_user_key where name = 'alice'");
    assert_eq!(sha256, sha256_of("alice:example.org:secret"));
    assert_eq!(database.prints("-l"), "bob[example.net]\nalice[example.org]\n");
    assert_eq!(database.prints("-l -r example.org"), "alice[example.org]\n");
    assert_eq!(
        database.prints("-l --json"),
        "[\n{\"realm\":\"example.net\",\"sha256\":true,\"user\":\"bob\"},\n\
         {\"realm\":\"example.org\",\"sha256\":true,\"user\":\"alice\"}\n]\n"
    );
    assert_eq!(database.prints("-d -u alice -r example.org"), "");
    assert_eq!(database.prints("-d -u alice -r example.org"), "", "nobody to delete is no failure");
    assert_eq!(database.prints("-l"), "bob[example.net]\n");
    assert_eq!(database.value("select count(*) from turnpike_user_key"), "1");
}

fn sha256_of(text: &str) -> String {
    let output = Command::new("sh").args(["-c", "printf %s \"$0\" | sha256sum", text]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn secrets_origins_limits_and_token_keys_are_added_listed_and_deleted() {
    let database = Database::new();
    for words in [
        "-s north -r example.org",
        "-s south -r example.org",
        "-s north -r example.org",
        "-O -o HTTPS://Call.Example.org/room -r example.org",
        "-g -r example.org --max-bps 1000 --user-quota=5",
        "--add-oauth-key kid --oauth-key MDEyMzQ1Njc4OWFiY2RlZg== --oauth-algorithm A128GCM -r example.org",
    ] {
        assert_eq!(database.prints(words), "", "{words}");
    }
    assert_eq!(database.prints("-S"), "north[example.org]\nsouth[example.org]\n");
    assert_eq!(database.prints("-I"), "https://call.example.org:443 ==>> example.org\n");
    assert_eq!(database.prints("-G"), "max-bps[example.org]=1000\nuser-quota[example.org]=5\n");
    let keys = database.prints("--list-oauth-keys");
    assert_eq!(keys, "kid[example.org] A128GCM timestamp=0 lifetime=0\n");
    assert_eq!(database.value("select ikm_key from oauth_key"), "MDEyMzQ1Njc4OWFiY2RlZg==");
    let new = database.prints("--add-oauth-key other");
    assert_eq!(format!("{}\n", database.value("select ikm_key from oauth_key where kid = 'other'")), new);

    for words in [
        "-X north -r example.org",
        "-R -o https://call.example.org",
        "-g -r example.org --max-bps 0",
        "--delete-oauth-key kid",
        "--delete-oauth-key other",
    ] {
        assert_eq!(database.prints(words), "", "{words}");
    }
    assert_eq!(database.prints("-S -r example.org"), "south[example.org]\n");
    assert_eq!(database.prints("-I"), "");
    assert_eq!(database.prints("-G"), "user-quota[example.org]=5\n", "zero removes a limit");
    assert_eq!(database.prints("--list-oauth-keys --json"), "[]\n");
    assert_eq!(database.prints("--delete-all-secrets -r example.org"), "");
    assert_eq!(database.prints("-S"), "");
}

#[test]
fn console_users_get_a_modern_hash_unless_coturn_has_to_read_it() {
    let database = Database::new();
    database.prints("-A -u root -p geheim");
    database.prints("-A -u local -r example.org -p geheim --coturn-password");
    assert_eq!(database.prints("-L"), "root\nlocal[example.org]\n");
    let stored =
        |name: &str| database.value(&format!("select password from admin_user where name = '{name}'"));
    let (modern, old) = (stored("root"), stored("local"));
    assert!(modern.starts_with("$argon2id$") && old.starts_with("$5$"), "{modern} {old}");
    for form in [&modern, &old] {
        assert!(turnpike::passwords::verify(form, "geheim") && !turnpike::passwords::verify(form, "x"));
    }
    let printed = run(TURNADMIN, &["-P", "-p", "geheim"]).stdout;
    assert!(printed.starts_with("$5$") && turnpike::passwords::verify(printed.trim(), "geheim"));
    database.prints("-D -u root");
    assert_eq!(database.prints("-L --json"), "[\n{\"name\":\"local\",\"realm\":\"example.org\"}\n]\n");
}

#[test]
fn a_secret_is_rotated_with_the_old_ones_good_until_they_are_retired() {
    let database = Database::new();
    database.prints("-s old -r example.org");
    database.prints("-s foreign -r example.net");
    let rotated = database.admin("--rotate-secret -r example.org");
    assert_eq!(rotated.code, Some(0));
    let new = rotated.stdout.trim_end();
    assert!(new.len() == 43, "256 bits: {new}");
    assert!(rotated.stderr.contains("1 older secrets of example.org are still good"), "{}", rotated.stderr);
    assert_eq!(database.prints("-S -r example.org").lines().count(), 2);
    let wrong = database.admin("--keep-secret no-such-secret -r example.org");
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("nothing was deleted"), "{}", wrong.stderr);
    assert_eq!(database.prints("-S -r example.org").lines().count(), 2);
    database.prints(&format!("--keep-secret={new} -r example.org"));
    assert_eq!(database.prints("-S"), format!("foreign[example.net]\n{new}[example.org]\n"));

    let rotated = database.admin("--rotate-secret=next -r example.org --overlap 0");
    assert_eq!((rotated.code, rotated.stdout.as_str()), (Some(0), "next\n"));
    assert_eq!(database.prints("-S -r example.org"), "next[example.org]\n");
}

#[test]
fn a_terminal_is_asked_twice_and_shows_nothing_of_a_password() {
    let database = Database::new();
    let arguments = ["-a", "-u", "alice", "-r", "example.org", "-b", &database.path];
    let mut program = OnTerminal::start_typing(TURNADMIN, &arguments);
    program.read_until("Password: ");
    program.type_line("gone-wrong");
    program.read_until("Once more: ");
    program.type_line("other");
    program.read_until("\u{0}");
    assert!(program.output.contains("not the same"), "{}", program.output);
    assert_eq!(program.finish(), Some(255));

    let mut program = OnTerminal::start_typing(TURNADMIN, &arguments);
    program.read_until("Password: ");
    program.type_line("geheim");
    program.read_until("Once more: ");
    program.type_line("geheim");
    program.read_until("\u{0}");
    assert!(!program.output.contains("geheim"), "{}", program.output);
    assert_eq!(program.finish(), Some(0));
    let key = run(TURNADMIN, &["-k", "-u", "alice", "-r", "example.org", "-p", "geheim"]).stdout;
    assert_eq!(key, format!("0x{}\n", database.value("select hmackey from turnusers_lt")));
}

#[test]
fn a_password_or_a_secret_may_come_by_a_pipe() {
    let database = Database::new();
    let piped = fed(&["-k", "-u", "a", "-r", "b", "-p", "-"], b"c\n");
    assert_eq!((piped.code, piped.stdout.as_str()), (Some(0), "0x02cc8f08398a4f3113b554e8105ebe4c\n"));
    let nothing = fed(&["-k", "-u", "a", "-r", "b", "-p", "-"], b"");
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(255), ""));
    let unasked = fed(&["-k", "-u", "a", "-r", "b"], b"c\n");
    assert_eq!(unasked.code, Some(255));
    assert_eq!(unasked.stderr, "The operation cannot be completed: the password must be set.\n");
    assert_eq!(fed(&["-s", "-", "-r", "b", "-b", &database.path], b"north\r\n").code, Some(0));
    assert_eq!(database.prints("-S"), "north[b]\n");
}

#[test]
fn the_exit_status_tells_misuse_from_failure() {
    let directory = Directory::new();
    let nowhere = directory.file("missing/turndb");
    for (arguments, code, said) in [
        (&["-h"][..], 0, ""),
        (&["--version"], 0, ""),
        (&[], 255, "USAGE"),
        (&["-q"], 255, "USAGE"),
        (&["list"], 255, "`list`"),
        (&["-a", "-u", "a b", "-r", "r", "-p", "p"], 255, "choose another name"),
        (&["-g", "-r", "r", "--max-bps", "x"], 255, "--max-bps takes a number"),
        (&["-l"], 255, "no database is named"),
        (&["-a", "-u", "a", "-r", "r", "-p", "p"], 255, "nothing was done"),
        (&["-l", "-b", &nowhere], 1, "SQLite"),
        (&["-l", "-e", "host=127.0.0.1 port=nonsense"], 1, "PostgreSQL"),
        (&["-E", "-p", "x"], 255, "the key file (-f) must be set"),
        (&["-E", "-p", "x", "-f", &nowhere], 1, "cannot open the key file"),
        (&["--import", &nowhere, "-b", &nowhere], 1, "cannot open"),
    ] {
        let finished = run(TURNADMIN, arguments);
        assert_eq!(finished.code, Some(code), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(said), "{arguments:?}: {}", finished.stderr);
        assert_eq!(finished.stdout.is_empty(), code != 0, "{arguments:?}");
    }
    assert_eq!(run(TURNADMIN, &["--version"]).stdout, concat!(env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_damaged_row_is_told_and_the_others_are_listed() {
    let database = Database::new();
    database.prints("-a -u alice -r r -p x");
    let connection = Connection::open(&database.path).unwrap();
    connection.execute("insert into turnusers_lt values ('r', 'broken', '12')", []).unwrap();
    let finished = database.admin("-l");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), "alice[r]\n"));
    assert!(finished.stderr.contains("broken"), "{}", finished.stderr);
}

#[test]
fn a_list_that_nobody_reads_to_its_end_is_no_failure_and_a_full_disk_is() {
    let database = Database::new();
    database.prints("-s north -r r");
    let line = "\"$0\" -S -b \"$1\" | true; \"$0\" -S -b \"$1\" >/dev/full; echo $?";
    let finished = run("/bin/sh", &["-c", line, TURNADMIN, &database.path]);
    assert_eq!(finished.stdout, "1\n");
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}
