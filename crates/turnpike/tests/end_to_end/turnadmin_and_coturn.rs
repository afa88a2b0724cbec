//! `turnadmin` beside coturn's tool of that name, where that is installed: each reads what the other has written, and
//! both print the same. Elsewhere the tests say that they were skipped.

use std::path::Path;

use crate::harness::{TURNADMIN, run};
use crate::turnadmin::Database;

const COTURNS: &str = "/usr/bin/turnadmin";

/// Whether coturn's tool is there.
fn is_installed(test: &str) -> bool {
    let there = Path::new(COTURNS).exists();
    if !there {
        println!("skipped: {test} needs coturn's turnadmin");
    }
    there
}

/// What a tool prints, without coturn's log lines.
fn printed(program: &str, words: &str, path: &str) -> String {
    let words: Vec<&str> = words.split(' ').chain(["-b", path]).collect();
    let finished = run(program, &words);
    assert_eq!(finished.code, Some(0), "{program} {words:?}: {}", finished.stderr);
    let said = |line: &&str| line.split_once(": : ").is_none_or(|(at, _)| at.parse::<u64>().is_err());
    finished.stdout.lines().filter(said).map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_lists_what_the_other_has_written() {
    if !is_installed("each_lists_what_the_other_has_written") {
        return;
    }
    for writer in [TURNADMIN, COTURNS] {
        let database = Database::new();
        for words in WRITTEN {
            assert_eq!(printed(writer, words, &database.path), "", "{writer} {words}");
        }
        for (list, least) in LISTS {
            let ours = printed(TURNADMIN, list, &database.path);
            assert_eq!(ours, printed(COTURNS, list, &database.path), "{writer} {list}");
            assert!(ours.lines().count() >= *least, "{writer} {list}: {ours}");
        }
    }
}

#[test]
fn each_deletes_what_the_other_has_written() {
    if !is_installed("each_deletes_what_the_other_has_written") {
        return;
    }
    for (writer, deleter) in [(TURNADMIN, COTURNS), (COTURNS, TURNADMIN)] {
        let database = Database::new();
        for words in WRITTEN {
            printed(writer, words, &database.path);
        }
        for words in DELETED {
            assert_eq!(printed(deleter, words, &database.path), "", "{deleter} {words}");
        }
        for list in ["-l", "-L", "-S", "-I"] {
            assert_eq!(printed(TURNADMIN, list, &database.path), "", "{deleter} {list}");
        }
    }
}

#[test]
fn keys_are_the_same() {
    if !is_installed("keys_are_the_same") {
        return;
    }
    for words in
        ["-k -u alice -r example.org -p secret", "-k -u a -p c", "-k -u ünï -r b -p c", "-ku a -rb -pc"]
    {
        let database = Database::new();
        let ours = printed(TURNADMIN, words, &database.path);
        assert_eq!(ours, printed(COTURNS, words, &database.path), "{words}");
        assert_eq!(ours.len(), 35, "{ours}");
    }
}

#[test]
fn encrypted_passwords_of_either_are_decrypted_by_the_other() {
    if !is_installed("encrypted_passwords_of_either_are_decrypted_by_the_other") {
        return;
    }
    let database = Database::new();
    for maker in [TURNADMIN, COTURNS] {
        let key = database.directory.file(if maker == COTURNS { "theirs" } else { "ours" });
        assert_eq!(run(maker, &["-x", &key]).code, Some(0));
        let sealed = run(TURNADMIN, &["-E", "-f", &key, "-p", "correct horse"]).stdout;
        assert_eq!(sealed, run(COTURNS, &["-E", "-f", &key, "-p", "correct horse"]).stdout);
        for reader in [TURNADMIN, COTURNS] {
            let opened = run(reader, &["-f", &key, "-v", sealed.trim()]).stdout;
            assert_eq!(opened.trim_end(), "correct horse", "{reader}");
        }
    }
}

#[test]
fn a_one_way_password_of_coturns_is_verified() {
    if !is_installed("a_one_way_password_of_coturns_is_verified") {
        return;
    }
    let printed = run(COTURNS, &["-P", "-p", "geheim"]).stdout;
    assert!(turnpike::passwords::verify(printed.trim(), "geheim"));
    assert!(!turnpike::passwords::verify(printed.trim(), "Geheim"));
}

#[test]
fn what_is_missing_is_told_alike() {
    if !is_installed("what_is_missing_is_told_alike") {
        return;
    }
    for words in [
        "-k",
        "-k -u a",
        "-a -u a -p c",
        "-A -u a",
        "-A -p c",
        "-d -u a",
        "-D",
        "-s x",
        "-X x",
        "-O -o x",
        "-R",
        "-g -r x",
        "--delete-all-secrets",
    ] {
        let database = Database::new();
        let words: Vec<&str> = words.split(' ').chain(["-b", &database.path]).collect();
        let (ours, theirs) = (run(TURNADMIN, &words), run(COTURNS, &words));
        assert_eq!((ours.code, theirs.code), (Some(255), Some(255)), "{words:?}");
        assert_eq!(ours.stderr, theirs.stderr, "{words:?}");
    }
}

const WRITTEN: &[&str] = &[
    "-a -u zed -r aaa -p x",
    "-a -u alice -r bbb -p x",
    "-a -u Bob -r bbb -p x",
    "--add --user=alice --realm=bbb --password=y",
    "-A -u first -r zzz -p x",
    "-A -u second -p x",
    "-A -u third -r aaa -p x",
    "-s x -r b",
    "-s a -r c",
    "--set-secret=A -r b",
    "-O -o HTTPS://A.org/path -r zz",
    "-O -o http://[::1] -r aa",
    "-O -o plain -r zz",
    "-g -r b --max-bps 5 --user-quota 3",
    "-g -r a --total-quota 7",
];
/// And how many lines there are at least.
const LISTS: &[(&str, usize)] = &[
    ("-l", 3),
    ("-l -r bbb", 2),
    ("-L", 3),
    ("-S", 3),
    ("-S -r b", 2),
    ("-I", 3),
    ("-I -r zz", 2),
    ("-G", 3),
    ("-G -r b", 2),
];
const DELETED: &[&str] = &[
    "-d -u zed -r aaa",
    "-d -u alice -r bbb",
    "-d -u Bob -r bbb",
    "-D -u first",
    "-D -u second",
    "-D -u third",
    "-X x -r b",
    "-X A -r b",
    "--delete-all-secrets -r c",
    "-R -o https://a.org",
    "-R -o HTTP://[::1]:80",
    "-R -o plain",
];
