//! The flags of `turnadmin`: coturn's, and ours behind them, which give way where an abbreviation fits both.

use std::ffi::OsString;

use turnpike_config::getopt::{self, Item, Spec, Takes};
use turnpike_store::StoreKind;

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    names: &'static [&'static str],
    letter: Option<char>,
    takes: Takes,
    pub(super) meaning: Meaning,
    ours: bool,
}

/// What a flag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Help,
    Version,
    Json,
    CoturnPassword,
    Store(StoreKind),
    Command(Verb),
    Value(Field),
}

/// What to do. Where several are given, the last one counts, as with coturn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    EncryptPassword,
    PrintKey,
    AddUser,
    AddAdmin,
    DeleteUser,
    DeleteAdmin,
    ListUsers,
    ListAdmins,
    SetSecret,
    ShowSecrets,
    DeleteSecret,
    DeleteAllSecrets,
    RotateSecret,
    KeepSecret,
    AddOrigin,
    DeleteOrigin,
    ListOrigins,
    SetRealmOption,
    ListRealmOptions,
    AddOAuthKey,
    DeleteOAuthKey,
    ListOAuthKeys,
    EncryptAes,
    DecryptAes,
    MakeKeyFile,
    Import,
    Export,
}

/// A value that some command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    User,
    Realm,
    Password,
    Origin,
    MaxBps,
    TotalQuota,
    UserQuota,
    KeyFile,
    Overlap,
    OAuthKey,
    OAuthAlgorithm,
    OAuthTimestamp,
    OAuthLifetime,
    Format,
    Kind,
}

/// A command line taken apart.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) verb: Option<Verb>,
    /// The value of the command itself, where it takes one.
    pub(super) argument: Option<String>,
    pub(super) store: Option<(StoreKind, String)>,
    values: std::collections::BTreeMap<Field, String>,
    pub(super) json: bool,
    pub(super) coturn_password: bool,
}

/// What a command line comes to.
#[derive(Debug)]
pub(super) enum Parsed {
    Line(Box<Line>),
    Help,
    Version,
}

impl Line {
    /// A value that was given and is not empty.
    pub(super) fn value(&self, field: Field) -> Option<&str> {
        self.values.get(&field).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Reads the words of the command line.
///
/// # Errors
/// A sentence for the user.
pub(super) fn parse(words: Vec<OsString>) -> Result<Parsed, String> {
    let mut line = Line::default();
    for item in getopt::parse(FLAGS, words).map_err(|error| error.to_string())? {
        match item {
            Item::Positional(word) => return Err(format!("`{word}` belongs to no flag")),
            Item::Option { spec, value, .. } => match spec.meaning {
                Meaning::Help => return Ok(Parsed::Help),
                Meaning::Version => return Ok(Parsed::Version),
                Meaning::Json => line.json = true,
                Meaning::CoturnPassword => line.coturn_password = true,
                // The last database counts, as in the server.
                Meaning::Store(kind) => line.store = value.map(|value| (kind, value)),
                Meaning::Command(verb) => (line.verb, line.argument) = (Some(verb), value),
                Meaning::Value(field) => {
                    line.values.insert(field, value.unwrap_or_default());
                }
            },
        }
    }
    Ok(Parsed::Line(Box::new(line)))
}

impl Spec for Flag {
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
        self.ours
    }
}

const fn command(letter: char, names: &'static [&'static str], verb: Verb) -> Flag {
    Flag { names, letter: Some(letter), takes: Takes::Nothing, meaning: Meaning::Command(verb), ours: false }
}

const fn value(letter: Option<char>, names: &'static [&'static str], meaning: Meaning) -> Flag {
    Flag { names, letter, takes: Takes::Value, meaning, ours: false }
}

const fn ours(names: &'static [&'static str], takes: Takes, meaning: Meaning) -> Flag {
    Flag { names, letter: None, takes, meaning, ours: true }
}

const FLAGS: &[Flag] = &[
    command('P', &["generate-encrypted-password"], Verb::EncryptPassword),
    command('k', &["key"], Verb::PrintKey),
    command('a', &["add"], Verb::AddUser),
    command('A', &["add-admin"], Verb::AddAdmin),
    command('d', &["delete"], Verb::DeleteUser),
    command('D', &["delete-admin"], Verb::DeleteAdmin),
    command('l', &["list"], Verb::ListUsers),
    command('L', &["list-admin"], Verb::ListAdmins),
    value(Some('s'), &["set-secret"], Meaning::Command(Verb::SetSecret)),
    command('S', &["show-secret"], Verb::ShowSecrets),
    value(Some('X'), &["delete-secret"], Meaning::Command(Verb::DeleteSecret)),
    Flag {
        names: &["delete-all-secrets"],
        letter: None,
        takes: Takes::Nothing,
        meaning: Meaning::Command(Verb::DeleteAllSecrets),
        ours: false,
    },
    command('O', &["add-origin"], Verb::AddOrigin),
    command('R', &["del-origin"], Verb::DeleteOrigin),
    command('I', &["list-origins"], Verb::ListOrigins),
    command('g', &["set-realm-option"], Verb::SetRealmOption),
    // coturn's help has the name with an s, its parser without.
    command('G', &["list-realm-option", "list-realm-options"], Verb::ListRealmOptions),
    command('E', &["generate-encrypted-password-aes"], Verb::EncryptAes),
    value(Some('x'), &["key-path"], Meaning::Command(Verb::MakeKeyFile)),
    value(Some('v'), &["verify"], Meaning::Command(Verb::DecryptAes)),
    value(Some('f'), &["file-key-path"], Meaning::Value(Field::KeyFile)),
    value(Some('u'), &["user"], Meaning::Value(Field::User)),
    value(Some('r'), &["realm"], Meaning::Value(Field::Realm)),
    value(Some('p'), &["password"], Meaning::Value(Field::Password)),
    value(Some('o'), &["origin"], Meaning::Value(Field::Origin)),
    value(None, &["max-bps"], Meaning::Value(Field::MaxBps)),
    value(None, &["total-quota"], Meaning::Value(Field::TotalQuota)),
    value(None, &["user-quota"], Meaning::Value(Field::UserQuota)),
    value(Some('b'), &["userdb", "db"], Meaning::Store(StoreKind::Sqlite)),
    value(Some('e'), &["psql-userdb", "sql-userdb"], Meaning::Store(StoreKind::Postgres)),
    value(Some('M'), &["mysql-userdb"], Meaning::Store(StoreKind::Mysql)),
    value(Some('J'), &["mongo-userdb"], Meaning::Store(StoreKind::Mongo)),
    value(Some('N'), &["redis-userdb"], Meaning::Store(StoreKind::Redis)),
    Flag { names: &["help"], letter: Some('h'), takes: Takes::Nothing, meaning: Meaning::Help, ours: false },
    ours(&["version"], Takes::Nothing, Meaning::Version),
    ours(&["json"], Takes::Nothing, Meaning::Json),
    ours(&["coturn-password"], Takes::Nothing, Meaning::CoturnPassword),
    ours(&["rotate-secret"], Takes::OptionalValue, Meaning::Command(Verb::RotateSecret)),
    ours(&["keep-secret"], Takes::Value, Meaning::Command(Verb::KeepSecret)),
    ours(&["overlap"], Takes::Value, Meaning::Value(Field::Overlap)),
    ours(&["add-oauth-key"], Takes::Value, Meaning::Command(Verb::AddOAuthKey)),
    ours(&["delete-oauth-key"], Takes::Value, Meaning::Command(Verb::DeleteOAuthKey)),
    ours(&["list-oauth-keys"], Takes::Nothing, Meaning::Command(Verb::ListOAuthKeys)),
    ours(&["oauth-key"], Takes::Value, Meaning::Value(Field::OAuthKey)),
    ours(&["oauth-algorithm"], Takes::Value, Meaning::Value(Field::OAuthAlgorithm)),
    ours(&["oauth-timestamp"], Takes::Value, Meaning::Value(Field::OAuthTimestamp)),
    ours(&["oauth-lifetime"], Takes::Value, Meaning::Value(Field::OAuthLifetime)),
    ours(&["import"], Takes::Value, Meaning::Command(Verb::Import)),
    ours(&["export"], Takes::Value, Meaning::Command(Verb::Export)),
    ours(&["format"], Takes::Value, Meaning::Value(Field::Format)),
    ours(&["kind"], Takes::Value, Meaning::Value(Field::Kind)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Line {
        match parse(words.split_whitespace().map(OsString::from).collect()) {
            Ok(Parsed::Line(line)) => *line,
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn letters_long_names_and_abbreviations_are_coturns() {
        let parsed = line("-akb db -u alice -rexample.org --pass x");
        assert_eq!(parsed.verb, Some(Verb::PrintKey), "the last command counts");
        assert_eq!(parsed.store, Some((StoreKind::Sqlite, "db".into())));
        assert_eq!(parsed.value(Field::Realm), Some("example.org"));
        assert_eq!(line("--list-realm-options").verb, Some(Verb::ListRealmOptions));
        assert_eq!(line("--list-o").verb, Some(Verb::ListOrigins), "ours give way");
        assert_eq!(line("--o x").value(Field::Origin), Some("x"));
        assert_eq!(line("--db=a --sql-userdb=b").store, Some((StoreKind::Postgres, "b".into())));
    }

    #[test]
    fn stray_words_and_unknown_flags_are_named() {
        for (words, named) in [("list", "`list`"), ("-q", "-q"), ("-s", "-s"), ("--listt", "--listt")] {
            let error = parse(words.split_whitespace().map(OsString::from).collect()).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn an_empty_value_is_none() {
        let parsed = parse(vec!["-u".into(), "".into()]);
        let Ok(Parsed::Line(line)) = parsed else { panic!("{parsed:?}") };
        assert_eq!(line.value(Field::User), None);
    }
}
