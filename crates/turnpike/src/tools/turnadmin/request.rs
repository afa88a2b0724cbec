//! What a command line asks for, complete: every value checked, every password known.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use turnpike_store::{Kind, OAuthKey, RealmOption};

use super::flags::{Field, Line, Verb};
use super::origin::canonical;
use super::transfer::{Format, kind_of_name};
use crate::passwords::{Input, new_secret};

/// A complete command.
#[derive(Debug)]
pub(super) enum Request {
    EncryptPassword { password: String },
    EncryptAes { key_file: PathBuf, password: String },
    DecryptAes { key_file: PathBuf, sealed: String },
    MakeKeyFile { path: PathBuf },
    PrintKey { user: String, realm: String, password: String },
    Stored(Stored),
}

/// A command that needs a database.
#[derive(Debug)]
pub(super) enum Stored {
    AddUser { user: String, realm: String, password: String },
    AddAdmin { user: String, realm: String, password: String, coturn_form: bool },
    DeleteUser { user: String, realm: String },
    DeleteAdmin { user: String },
    SetSecret { realm: String, secret: String },
    DeleteSecret { realm: String, secret: String },
    DeleteAllSecrets { realm: String },
    RotateSecret { realm: String, secret: String, overlap: Option<u64> },
    KeepSecret { realm: String, secret: String },
    AddOrigin { origin: String, realm: String },
    DeleteOrigin { origin: String },
    SetRealmOptions { realm: String, limits: Vec<(RealmOption, u64)> },
    AddOAuthKey { key: OAuthKey, is_new: bool },
    DeleteOAuthKey { kid: String },
    List { kind: Kind, realm: Option<String> },
    Import { path: String, format: Format, kind: Option<Kind> },
    Export { path: String, format: Format, kind: Option<Kind>, realm: Option<String> },
}

/// Why a command line asks for nothing that can be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no command: the usage helps.
    NoCommand,
    /// Something is missing or wrong.
    Unusable(String),
}

type Answer<T> = Result<T, Refusal>;

/// Completes a command line, asking for passwords where they are not in it.
pub(super) fn complete(line: &Line, input: &mut dyn Input) -> Answer<Request> {
    let Some(verb) = line.verb else { return Err(Refusal::NoCommand) };
    let mut words = Words { line, input };
    match verb {
        Verb::EncryptPassword => Ok(Request::EncryptPassword { password: words.password()? }),
        Verb::EncryptAes => {
            Ok(Request::EncryptAes { key_file: words.key_file()?, password: words.password()? })
        }
        Verb::DecryptAes => {
            Ok(Request::DecryptAes { key_file: words.key_file()?, sealed: words.argument("value")? })
        }
        Verb::MakeKeyFile => Ok(Request::MakeKeyFile { path: words.argument("path")?.into() }),
        Verb::PrintKey => {
            // coturn makes keys without a realm, too.
            let realm = line.value(Field::Realm).unwrap_or_default().to_owned();
            Ok(Request::PrintKey { user: words.new_user()?, realm, password: words.password()? })
        }
        _ => words.stored(verb).map(Request::Stored),
    }
}

struct Words<'a> {
    line: &'a Line,
    input: &'a mut dyn Input,
}

impl Words<'_> {
    fn stored(&mut self, verb: Verb) -> Answer<Stored> {
        let list = |kind| Ok(Stored::List { kind, realm: self.optional_realm() });
        match verb {
            Verb::AddUser => {
                let (user, realm) = (self.new_user()?, self.realm()?);
                Ok(Stored::AddUser { user, realm, password: self.password()? })
            }
            Verb::AddAdmin => {
                let (user, realm) = (self.new_user()?, self.optional_realm().unwrap_or_default());
                let (password, coturn_form) = (self.password()?, self.line.coturn_password);
                Ok(Stored::AddAdmin { user, realm, password, coturn_form })
            }
            Verb::DeleteUser => Ok(Stored::DeleteUser { user: self.user()?, realm: self.realm()? }),
            Verb::DeleteAdmin => Ok(Stored::DeleteAdmin { user: self.user()? }),
            Verb::AddOrigin => {
                Ok(Stored::AddOrigin { origin: canonical(&self.origin()?), realm: self.realm()? })
            }
            Verb::DeleteOrigin => Ok(Stored::DeleteOrigin { origin: canonical(&self.origin()?) }),
            Verb::SetRealmOption => self.realm_options(),
            Verb::ListUsers => list(Kind::User),
            Verb::ListAdmins => list(Kind::AdminUser),
            Verb::ShowSecrets => list(Kind::Secret),
            Verb::ListOrigins => list(Kind::Origin),
            Verb::ListRealmOptions => list(Kind::RealmLimit),
            Verb::ListOAuthKeys => list(Kind::OAuthKey),
            Verb::AddOAuthKey => self.oauth_key(),
            Verb::DeleteOAuthKey => Ok(Stored::DeleteOAuthKey { kid: self.argument("key id")? }),
            Verb::Import => self.import(),
            Verb::Export => self.export(),
            _ => self.secrets(verb),
        }
    }

    fn secrets(&mut self, verb: Verb) -> Answer<Stored> {
        let realm = self.realm()?;
        match verb {
            Verb::DeleteSecret => Ok(Stored::DeleteSecret { realm, secret: self.secret()? }),
            Verb::DeleteAllSecrets => Ok(Stored::DeleteAllSecrets { realm }),
            Verb::KeepSecret => Ok(Stored::KeepSecret { realm, secret: self.secret()? }),
            Verb::RotateSecret => {
                let secret = match &self.line.argument {
                    None => new_secret().or_else(|error| unusable(error.to_string()))?,
                    Some(_) => self.secret()?,
                };
                Ok(Stored::RotateSecret { realm, secret, overlap: self.number(Field::Overlap, "overlap")? })
            }
            _ => Ok(Stored::SetSecret { realm, secret: self.secret()? }),
        }
    }

    fn realm_options(&self) -> Answer<Stored> {
        let realm = self.realm()?;
        let fields = [Field::MaxBps, Field::TotalQuota, Field::UserQuota];
        let mut limits = Vec::new();
        for (option, field) in RealmOption::ALL.into_iter().zip(fields) {
            limits.extend(self.number(field, option.name())?.map(|value| (option, value)));
        }
        if limits.is_empty() {
            return missing("a realm option");
        }
        Ok(Stored::SetRealmOptions { realm, limits })
    }

    fn oauth_key(&self) -> Answer<Stored> {
        let algorithm = self.line.value(Field::OAuthAlgorithm).unwrap_or("A256GCM");
        let length = match algorithm {
            "A256GCM" => 32,
            "A128GCM" => 16,
            other => return unusable(format!("--oauth-algorithm is A256GCM or A128GCM, not {other:?}")),
        };
        let given = self.line.value(Field::OAuthKey);
        let key = match given {
            Some(text) => STANDARD.decode(text).or_else(|_| unusable("--oauth-key: this is no base64"))?,
            None => {
                let mut key = vec![0; length];
                getrandom::fill(&mut key)
                    .or_else(|error| unusable(format!("the system gives no random bytes: {error}")))?;
                key
            }
        };
        if key.len() != length {
            let text = format!("--oauth-key has {} bytes; {algorithm} takes {length}", key.len());
            return unusable(text);
        }
        let lifetime = self.number(Field::OAuthLifetime, "oauth-lifetime")?.unwrap_or(0);
        let key = OAuthKey {
            kid: self.argument("key id")?,
            key,
            timestamp: self.number(Field::OAuthTimestamp, "oauth-timestamp")?.unwrap_or(0),
            lifetime: u32::try_from(lifetime).or_else(|_| unusable("--oauth-lifetime is too large"))?,
            as_rs_alg: algorithm.to_owned(),
            realm: self.optional_realm().unwrap_or_default(),
        };
        Ok(Stored::AddOAuthKey { key, is_new: given.is_none() })
    }

    fn import(&self) -> Answer<Stored> {
        let (path, format) = self.file()?;
        let kind = self.kind()?;
        Ok(Stored::Import { path, format, kind })
    }

    fn export(&self) -> Answer<Stored> {
        let (path, format) = self.file()?;
        Ok(Stored::Export { path, format, kind: self.kind()?, realm: self.optional_realm() })
    }

    fn file(&self) -> Answer<(String, Format)> {
        let path = self.argument("file")?;
        let format = match self.line.value(Field::Format) {
            Some("csv") => Format::Csv,
            Some("jsonl") => Format::JsonLines,
            Some(other) => return unusable(format!("--format is csv or jsonl, not {other:?}")),
            None if path.ends_with(".csv") => Format::Csv,
            None => Format::JsonLines,
        };
        Ok((path, format))
    }

    fn kind(&self) -> Answer<Option<Kind>> {
        let Some(name) = self.line.value(Field::Kind) else { return Ok(None) };
        let kind = kind_of_name(name);
        kind.map_or_else(|| unusable(format!("--kind: there is no kind {name:?}")), |kind| Ok(Some(kind)))
    }

    /// A name that may be given to somebody: coturn's server and tools refuse others.
    fn new_user(&self) -> Answer<String> {
        let user = self.user()?;
        let refused =
            |letter: char| letter.is_whitespace() || letter.is_control() || "'\"\\".contains(letter);
        if user.contains(refused) {
            return unusable(format!(
                "no user can be called {user:?}: blanks, quotes and backslashes are not allowed, choose another name"
            ));
        }
        Ok(user)
    }

    fn user(&self) -> Answer<String> {
        self.line.value(Field::User).map_or_else(|| missing("the user"), |user| Ok(user.to_owned()))
    }

    fn realm(&self) -> Answer<String> {
        self.optional_realm().map_or_else(|| missing("the realm"), Ok)
    }

    fn optional_realm(&self) -> Option<String> {
        self.line.value(Field::Realm).map(str::to_owned)
    }

    fn origin(&self) -> Answer<String> {
        self.line.value(Field::Origin).map_or_else(|| missing("the origin"), |origin| Ok(origin.to_owned()))
    }

    fn password(&mut self) -> Answer<String> {
        let password = match self.line.value(Field::Password) {
            Some("-") => self.input.secret("Password", true).map(Some),
            Some(given) => return Ok(given.to_owned()),
            None if self.input.is_terminal() => self.input.secret("Password", true).map(Some),
            None => Ok(None),
        };
        let password = password.or_else(|error| unusable(format!("no password: {error}")))?;
        password.filter(|password| !password.is_empty()).map_or_else(|| missing("the password"), Ok)
    }

    fn secret(&mut self) -> Answer<String> {
        let secret = self.argument("secret")?;
        if secret != "-" {
            return Ok(secret);
        }
        let secret = self
            .input
            .secret("Secret", false)
            .or_else(|error| unusable(format!("no secret could be read: {error}")))?;
        if secret.is_empty() { missing("the secret") } else { Ok(secret) }
    }

    fn key_file(&self) -> Answer<PathBuf> {
        self.line.value(Field::KeyFile).map_or_else(|| missing("the key file (-f)"), |path| Ok(path.into()))
    }

    /// The value of the command itself.
    fn argument(&self, what: &str) -> Answer<String> {
        let given = self.line.argument.clone().filter(|value| !value.is_empty());
        given.map_or_else(|| missing(&format!("the {what}")), Ok)
    }

    fn number(&self, field: Field, name: &str) -> Answer<Option<u64>> {
        let Some(text) = self.line.value(field) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| i64::try_from(*number).is_ok());
        number.map_or_else(|| unusable(format!("--{name} takes a number, not {text:?}")), |n| Ok(Some(n)))
    }
}

/// In coturn's words, which scripts may look for.
fn missing<T>(what: &str) -> Answer<T> {
    unusable(format!("The operation cannot be completed: {what} must be set."))
}

fn unusable<T>(why: impl Into<String>) -> Answer<T> {
    Err(Refusal::Unusable(why.into()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::flags::{self, Parsed};
    use super::*;

    /// Somebody at a terminal who types this, or nobody.
    struct Typist(Option<&'static str>);

    impl Input for Typist {
        fn is_terminal(&self) -> bool {
            self.0.is_some()
        }

        fn secret(&mut self, _: &str, _: bool) -> io::Result<String> {
            Ok(self.0.unwrap_or("from the pipe").to_owned())
        }
    }

    fn request(words: &str, typed: Option<&'static str>) -> Answer<Request> {
        let Ok(Parsed::Line(line)) = flags::parse(words.split(' ').map(Into::into).collect()) else {
            panic!("{words}");
        };
        complete(&line, &mut Typist(typed))
    }

    #[test]
    fn what_is_missing_is_told_in_coturns_words() {
        for (words, what) in [
            ("-k", "user"),
            ("-k -u a", "password"),
            ("-a -u a -p c", "realm"),
            ("-a -u a -r b", "password"),
            ("-A -p c", "user"),
            ("-d -u a", "realm"),
            ("-D", "user"),
            ("-s x", "realm"),
            ("-X x", "realm"),
            ("--delete-all-secrets", "realm"),
            ("--rotate-secret", "realm"),
            ("-O -r b", "origin"),
            ("-O -o b", "realm"),
            ("-R", "origin"),
            ("-g -r b", "a realm option"),
            ("-P", "password"),
        ] {
            let Err(Refusal::Unusable(why)) = request(words, None) else { panic!("{words}") };
            let what = if what.starts_with("a ") { what.to_owned() } else { format!("the {what}") };
            assert_eq!(why, format!("The operation cannot be completed: {what} must be set."), "{words}");
        }
        assert_eq!(request("-b x", None).map(|_| ()).unwrap_err(), Refusal::NoCommand);
    }

    #[test]
    fn a_terminal_is_asked_for_the_password_and_a_pipe_only_if_told_so() {
        for (words, typed, expected) in [
            ("-P", Some("typed"), "typed"),
            ("-P -p given", Some("typed"), "given"),
            ("-P -p -", None, "from the pipe"),
        ] {
            let Ok(Request::EncryptPassword { password }) = request(words, typed) else { panic!("{words}") };
            assert_eq!(password, expected, "{words}");
        }
        let Ok(Request::Stored(Stored::SetSecret { secret, .. })) = request("-r b -s -", None) else {
            panic!("no secret")
        };
        assert_eq!(secret, "from the pipe");
    }

    #[test]
    fn names_that_coturn_refuses_to_give_are_refused_and_can_still_be_deleted() {
        for name in ["a'b", "a\"b", "a\\b", "a\tb", "a\nb"] {
            assert!(matches!(request(&format!("-k -p c -u {name}"), None), Err(Refusal::Unusable(_))));
            assert!(request(&format!("-d -r c -u {name}"), None).is_ok());
        }
        for name in ["a;b", "a`b", "ünï", "a%b", "union-select"] {
            assert!(request(&format!("-k -p c -u {name}"), None).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_key_for_access_tokens_has_the_length_of_its_algorithm() {
        let made = request("--add-oauth-key kid --oauth-algorithm A128GCM", None).unwrap();
        let Request::Stored(Stored::AddOAuthKey { key, is_new: true }) = made else { panic!("{made:?}") };
        assert_eq!((key.key.len(), key.timestamp, key.lifetime), (16, 0, 0));
        for wrong in
            ["--oauth-key AAAA", "--oauth-key !", "--oauth-algorithm AES", "--oauth-lifetime 5000000000"]
        {
            assert!(request(&format!("--add-oauth-key kid {wrong}"), None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_format_follows_from_the_files_name_unless_told() {
        for (words, expected) in [
            ("--export x.csv", Format::Csv),
            ("--export x.jsonl", Format::JsonLines),
            ("--export -", Format::JsonLines),
            ("--export x.csv --format jsonl", Format::JsonLines),
        ] {
            let Ok(Request::Stored(Stored::Export { format, .. })) = request(words, None) else {
                panic!("{words}")
            };
            assert_eq!(format, expected, "{words}");
        }
        assert!(request("--export x --kind users", None).is_err());
        assert!(request("--export x --format xml", None).is_err());
    }
}
