//! What becomes of a `turnserver.conf`.

use std::fmt::Write;
use std::io;
use std::path::Path;

use anyhow::{Result, anyhow};
use turnpike_config::options::{self, Effect};
use turnpike_config::{Command, Environment, Loaded, Notice, Setting, Severity, SystemEnvironment, load};

use super::changes::CHANGES;
use super::endpoint::Endpoint;

/// What was found.
pub(super) struct Report {
    pub(super) text: String,
    /// Whether every setting does what it says.
    pub(super) sound: bool,
    /// The database that the file names.
    pub(super) database: Option<Endpoint>,
}

/// Reads a file, or the one that the server would read, and says what carries over, what changes and what is missing.
pub(super) fn report(file: Option<&str>) -> Result<Report> {
    let arguments = file.map(|file| ["-c".into(), file.into()]).into_iter().flatten();
    let loaded = match load(arguments, &Elsewhere) {
        Ok(Command::Run(loaded) | Command::Check(loaded)) => loaded,
        Ok(_) => Loaded::default(),
        Err(error) => return Err(anyhow!("the server would not start with this configuration:\n{error}")),
    };
    if loaded.file.is_none() {
        return Err(anyhow!("no turnserver.conf was found: name it with -c, or a database with --from"));
    }
    describe(&loaded)
}

fn describe(loaded: &Loaded) -> Result<Report> {
    let mut text = String::new();
    let path = loaded.file.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    let _ = writeln!(text, "Configuration: {path}");
    let of = |wanted: Fate| loaded.settings.iter().filter(move |setting| fate(setting) == wanted);
    section(&mut text, "Carries over", of(Fate::Kept).map(shown));
    section(&mut text, "Accepted, and so anyway", of(Fate::Settled).map(|it| explained(it, &loaded.notices)));
    let missing: Vec<String> = of(Fate::Missing).map(|it| explained(it, &loaded.notices)).collect();
    let told = |notice: &&Notice| {
        notice.severity == Severity::Warning && !loaded.settings.iter().any(|it| is_about(notice, it))
    };
    let warnings: Vec<String> =
        loaded.notices.iter().filter(told).map(|it| format!("{}: {}", it.origin, it.text)).collect();
    let sound = missing.is_empty() && warnings.is_empty();
    section(&mut text, "Not supported", missing.into_iter());
    section(&mut text, "Look at these", warnings.into_iter());
    let changes = CHANGES.iter().filter(|change| (change.concerns)(&loaded.config));
    section(&mut text, "Changes", changes.map(|change| change.text.to_owned()));
    Ok(Report { text, sound, database: database(loaded)? })
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{title}");
        for line in &lines {
            let _ = writeln!(text, "  {line}");
        }
    }
}

/// What becomes of a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Settled,
    Missing,
}

fn fate(setting: &Setting) -> Fate {
    match options::find(setting.name).map(|option| option.effect) {
        Some(Effect::Switch(_) | Effect::Set(_) | Effect::Deprecated(..)) => Fate::Kept,
        Some(Effect::Settled(_) | Effect::Verb(_)) => Fate::Settled,
        _ => Fate::Missing,
    }
}

fn shown(setting: &Setting) -> String {
    format!("{} = {} ({})", setting.name, setting.value, setting.origin)
}

/// A setting with what is said about it.
fn explained(setting: &Setting, notices: &[Notice]) -> String {
    let notice = notices.iter().find(|notice| is_about(notice, setting));
    notice.map_or_else(|| shown(setting), |notice| format!("{}: {}", notice.origin, notice.text))
}

/// Whether a notice says what becomes of a setting that does not simply carry over.
fn is_about(notice: &Notice, setting: &Setting) -> bool {
    notice.origin == setting.origin
        && fate(setting) != Fate::Kept
        && notice.text.strip_prefix(setting.name).is_some_and(|rest| rest.starts_with([' ', ':']))
}

/// The last database counts, as in the server.
fn database(loaded: &Loaded) -> Result<Option<Endpoint>> {
    use turnpike_config::DatabaseKind;
    use turnpike_store::StoreKind;
    let Some(database) = &loaded.config.databases.database else { return Ok(None) };
    let kind = match database.kind {
        DatabaseKind::Sqlite => StoreKind::Sqlite,
        DatabaseKind::Postgres => StoreKind::Postgres,
        DatabaseKind::Mysql => StoreKind::Mysql,
        DatabaseKind::Mongo => StoreKind::Mongo,
        DatabaseKind::Redis => StoreKind::Redis,
    };
    let password_key = match kind {
        StoreKind::Mysql => crate::database::password_key(&loaded.config)?,
        _ => None,
    };
    Ok(Some(Endpoint { kind, connection: database.connection.expose().to_owned(), password_key }))
}

/// The configuration may be another machine's: who reads it here does not matter.
struct Elsewhere;

impl Environment for Elsewhere {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemEnvironment.read(path)
    }

    fn host_name(&self) -> String {
        SystemEnvironment.host_name()
    }
}
