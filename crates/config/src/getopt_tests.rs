use proptest::prelude::*;

use super::*;

#[derive(Debug)]
struct Row {
    names: &'static [&'static str],
    letter: Option<char>,
    takes: Takes,
    yields: bool,
}

impl Spec for Row {
    fn names(&self) -> &[&str] {
        self.names
    }

    fn letter(&self) -> Option<char> {
        self.letter
    }

    fn takes(&self) -> Takes {
        self.takes
    }

    fn yields(&self) -> bool {
        self.yields
    }
}

const fn row(names: &'static [&'static str], letter: Option<char>, takes: Takes) -> Row {
    Row { names, letter, takes, yields: false }
}

const TABLE: &[Row] = &[
    row(&["listening-port"], Some('p'), Takes::Value),
    row(&["listening-ip"], Some('L'), Takes::Value),
    row(&["lt-cred-mech"], Some('a'), Takes::OptionalValue),
    row(&["verbose"], Some('v'), Takes::OptionalValue),
    row(&["fingerprint"], Some('f'), Takes::OptionalValue),
    row(&["help"], Some('h'), Takes::Nothing),
    row(&["check-origin"], None, Takes::OptionalValue),
    row(&["userdb", "db"], Some('b'), Takes::Value),
    Row { names: &["check-config"], letter: None, takes: Takes::Nothing, yields: true },
    row(&[], Some('n'), Takes::Nothing),
];

/// `name=value` of every option, `<word>` of every other word.
fn read(words: &str) -> Result<String, GetoptError> {
    let items = parse(TABLE, words.split_whitespace().map(OsString::from))?;
    let shown = items.iter().map(|item| match item {
        Item::Option { spec, value: Some(value), .. } => format!("{}={value}", spec.names[0]),
        Item::Option { spec, value: None, .. } => spec.names[0].to_string(),
        Item::Positional(word) => format!("<{word}>"),
    });
    Ok(shown.collect::<Vec<_>>().join(" "))
}

fn error(words: &str) -> String {
    read(words).unwrap_err().to_string()
}

#[test]
fn short_letters_cluster() {
    assert_eq!(read("-avf").unwrap(), "lt-cred-mech verbose fingerprint");
    assert_eq!(read("-vp 3478").unwrap(), "verbose listening-port=3478");
    assert_eq!(read("-p=3478").unwrap(), "listening-port=3478");
    assert_eq!(read("-vp3478 -f").unwrap(), "verbose listening-port=3478 fingerprint");
}

#[test]
fn optional_value_of_a_letter_is_attached() {
    assert_eq!(read("-a1").unwrap(), "lt-cred-mech=1");
    assert_eq!(read("-a0").unwrap(), "lt-cred-mech=0");
    assert_eq!(read("-va=no").unwrap(), "verbose lt-cred-mech=no");
    assert_eq!(read("-a yes").unwrap(), "lt-cred-mech <yes>");
}

#[test]
fn long_names_take_values_attached_or_apart() {
    assert_eq!(read("--listening-port=1 --listening-port 2").unwrap(), "listening-port=1 listening-port=2");
    assert_eq!(read("--lt-cred-mech=false").unwrap(), "lt-cred-mech=false");
    assert_eq!(read("--lt-cred-mech false").unwrap(), "lt-cred-mech <false>");
    assert_eq!(read("--listening-port=").unwrap(), "listening-port=");
    assert_eq!(read("--db=a=b").unwrap(), "userdb=a=b");
}

#[test]
fn value_that_is_required_may_begin_with_a_hyphen() {
    assert_eq!(read("--db -v").unwrap(), "userdb=-v");
    assert_eq!(read("-b --").unwrap(), "userdb=--");
    assert_eq!(read("-b-v").unwrap(), "userdb=-v");
}

#[test]
fn long_names_may_be_abbreviated_while_unambiguous() {
    assert_eq!(read("--verb --listening-p 1 --user x").unwrap(), "verbose listening-port=1 userdb=x");
    assert_eq!(
        error("--listening"),
        "`--listening` could be --listening-port, --listening-ip: write the name out"
    );
}

#[test]
fn names_that_yield_leave_old_abbreviations_alone() {
    assert_eq!(read("--check").unwrap(), "check-origin");
    assert_eq!(read("--check-c").unwrap(), "check-config");
}

#[test]
fn double_dash_ends_the_options() {
    assert_eq!(read("-v -- -a --db x").unwrap(), "verbose <-a> <--db> <x>");
    assert_eq!(read("x -v - y").unwrap(), "<x> verbose <-> <y>");
}

#[test]
fn errors_name_the_word_and_what_to_do() {
    assert_eq!(
        error("--lisening-port 1"),
        "unknown option `--lisening-port`: did you mean `--listening-port`?"
    );
    assert_eq!(error("--zzzzzzzz"), "unknown option `--zzzzzzzz`: -h lists those there are");
    assert_eq!(error("-vz"), "unknown option `-z`: -h lists those there are");
    assert_eq!(error("-userdb=x"), "unknown option `-u`: did you mean `--userdb`?");
    assert_eq!(error("-vp"), "`-p` needs a value: write `-p VALUE`");
    assert_eq!(error("--db"), "`--db` needs a value: write `--db=VALUE`");
    assert_eq!(error("--help=me"), "`--help` takes no value, but `me` is attached to it: leave that out");
    assert_eq!(error("--=x"), "unknown option `--`: -h lists those there are");
}

#[cfg(unix)]
#[test]
fn word_that_is_not_utf8_is_named() {
    use std::os::unix::ffi::OsStringExt as _;
    let error = parse(TABLE, [OsString::from_vec(vec![b'x', 0xff])]).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}

proptest! {
    #[test]
    fn no_command_line_panics(words in prop::collection::vec("[-]{0,3}[a-zL=0-9-]{0,12}", 0..8)) {
        let _ = parse(TABLE, words.iter().map(OsString::from));
    }

    #[test]
    fn words_after_double_dash_come_back_unchanged(words in prop::collection::vec(".*", 0..5)) {
        let all = std::iter::once("--").chain(words.iter().map(String::as_str)).map(OsString::from);
        let items = parse(TABLE, all).unwrap();
        prop_assert_eq!(items.len(), words.len());
    }
}
