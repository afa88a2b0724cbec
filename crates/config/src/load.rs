//! From command line and file to a checked configuration. Defaults give way to the file, the file to the command
//! line; lists add up.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::ConfigError;
use crate::file;
use crate::getopt::{self, Found, Spec, Takes, nearest};
use crate::options::{self, Effect, OptionSpec};
use crate::values::boolean;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Start the server.
    Run(Loaded),
    /// Say whether the configuration is sound.
    Check(Loaded),
    /// Print the options.
    Help,
    /// Print the version.
    Version,
    /// Print a commented sample file.
    Sample,
}

/// A configuration and what is to be said about it.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the operator should know.
    pub notices: Vec<Notice>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What was set, in order: where, the option, and its value, secrets hidden.
    pub settings: Vec<(String, &'static str, String)>,
}

/// Something the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// Where it comes from.
    pub origin: String,
    /// What it is, and what to do.
    pub text: String,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing to do.
    Info,
    /// Something does not do what was asked.
    Warning,
}

/// What loading needs of the world.
pub trait Environment {
    /// Reads a file.
    ///
    /// # Errors
    /// As the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The name of this host, for a realm.
    fn host_name(&self) -> String;
}

/// The real world.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn host_name(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
    }
}

/// Reads the command line (without the program's name) and the file it leads to.
///
/// # Errors
/// Something cannot be understood or must not be; nothing is guessed.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Environment,
) -> Result<Command, ConfigError> {
    let line = CommandLine::read(arguments)?;
    match line.verb {
        Verb::Help => return Ok(Command::Help),
        Verb::Version => return Ok(Command::Version),
        Verb::Sample => return Ok(Command::Sample),
        Verb::Run | Verb::Check => {}
    }
    let mut loaded = Loaded::default();
    if line.use_file {
        loaded.read_file(line.file.as_deref(), environment)?;
    }
    for word in &line.positionals {
        let text =
            format!("{word:?} belongs to no option and was left out; values go behind = as in --verbose=no");
        loaded.notice(Severity::Warning, COMMAND_LINE, text);
    }
    for (option, value) in &line.options {
        loaded.apply(option, value.as_deref().unwrap_or_default(), COMMAND_LINE)?;
    }
    loaded.check(environment)?;
    Ok(if line.verb == Verb::Check { Command::Check(loaded) } else { Command::Run(loaded) })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Run,
    Check,
    Help,
    Version,
    Sample,
}

/// The command line taken apart.
struct CommandLine {
    verb: Verb,
    file: Option<String>,
    use_file: bool,
    options: Vec<(&'static OptionSpec, Option<String>)>,
    positionals: Vec<String>,
}

impl CommandLine {
    fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let mut words = Vec::new();
        for word in arguments {
            let not_text = |word: OsString| ConfigError::CommandLine(format!("{word:?} is not UTF-8"));
            words.push(word.into_string().map_err(not_text)?);
        }
        let table: Vec<&'static OptionSpec> = options::all().collect();
        let mut specs: Vec<Spec<'_>> = VERBS.to_vec();
        specs.extend(table.iter().map(|option| option.spec()));
        let mut line = CommandLine {
            verb: Verb::Run,
            file: None,
            use_file: true,
            options: Vec::new(),
            positionals: Vec::new(),
        };
        for found in getopt::parse(&specs, words).map_err(ConfigError::CommandLine)? {
            match found {
                Found::Positional(word) => line.positionals.push(word),
                Found::Option(0, path) => line.file = path,
                Found::Option(1, _) => line.use_file = false,
                Found::Option(2, _) => line.verb = Verb::Help,
                Found::Option(3, _) => line.verb = Verb::Version,
                Found::Option(4, _) => line.verb = Verb::Check,
                Found::Option(5, _) => line.verb = Verb::Sample,
                Found::Option(index, value) => line.options.push((table[index - VERBS.len()], value)),
            }
        }
        Ok(line)
    }
}

impl Loaded {
    fn read_file(&mut self, named: Option<&str>, environment: &dyn Environment) -> Result<(), ConfigError> {
        let Some((path, bytes)) = find_file(named, environment)? else {
            let text = "no turnserver.conf was found; running on the command line and defaults".to_owned();
            self.notice(Severity::Info, "configuration file", text);
            return Ok(());
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
            ConfigError::File {
                path: path.display().to_string(),
                problem: format!("line {line} is not UTF-8"),
            }
        })?;
        for setting in file::parse(&text) {
            let origin = format!("{}:{}", path.display(), setting.line);
            if let Some(oddity) = setting.oddity {
                self.notice(Severity::Warning, &origin, oddity.to_owned());
            }
            match options::find(&setting.key) {
                Some(option) => self.apply(option, &setting.value, &origin)?,
                None => self.unknown_key(&setting.key, &origin),
            }
        }
        self.file = Some(path);
        Ok(())
    }

    fn unknown_key(&mut self, key: &str, origin: &str) {
        let names = options::all().flat_map(|option| option.names.iter().copied());
        let hint = nearest(key, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        self.notice(Severity::Warning, origin, format!("unknown option {key:?} was left out{hint}"));
    }

    fn apply(&mut self, option: &'static OptionSpec, value: &str, origin: &str) -> Result<(), ConfigError> {
        let wrong = |problem| ConfigError::Value {
            origin: origin.to_owned(),
            option: option.name().to_owned(),
            problem,
        };
        self.settings.push((origin.to_owned(), option.name(), shown(option, value)));
        match option.effect {
            Effect::Switch(set) => set(&mut self.config, boolean(value).map_err(wrong)?),
            Effect::Set(set) => set(&mut self.config, value).map_err(wrong)?,
            Effect::Later(needs) => {
                if option.needs_value() || boolean(value).map_err(wrong)? {
                    let text =
                        format!("{} has no effect yet: this version does not have {needs}", option.name());
                    self.notice(Severity::Warning, origin, text);
                }
            }
            Effect::LaterFatal(note, why) => {
                note(&mut self.config);
                self.notice(Severity::Warning, origin, format!("{} has no effect yet: {why}", option.name()));
            }
            Effect::Settled(how) => self.notice(Severity::Info, origin, format!("{}: {how}", option.name())),
            Effect::Obsolete(instead) => {
                self.notice(Severity::Warning, origin, format!("{} is no more: {instead}", option.name()));
            }
        }
        Ok(())
    }

    pub(crate) fn notice(&mut self, severity: Severity, origin: &str, text: String) {
        self.notices.push(Notice { severity, origin: origin.to_owned(), text });
    }
}

/// The named file, which must be there, or the first `turnserver.conf` on the search path.
fn find_file(
    named: Option<&str>,
    environment: &dyn Environment,
) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
    let name = named.unwrap_or("turnserver.conf");
    let candidates: Vec<PathBuf> = if name.starts_with('/') {
        vec![name.into()]
    } else {
        SEARCH_PATH.iter().map(|folder| Path::new(folder).join(name)).collect()
    };
    for path in candidates {
        match environment.read(&path) {
            Ok(bytes) => return Ok(Some((path, bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => {
                let path = path.display().to_string();
                return Err(ConfigError::File { path, problem: error.to_string() });
            }
        }
    }
    match named {
        Some(name) => {
            Err(ConfigError::File { path: name.to_owned(), problem: "there is no such file".to_owned() })
        }
        None => Ok(None),
    }
}

/// The value as it may be shown: secrets hidden.
fn shown(option: &OptionSpec, value: &str) -> String {
    let secret = ["user", "static-auth-secret", "stateless-nonce-secret", "cli-password", "pkey-pwd"];
    let holds_secret = secret.contains(&option.name()) || matches!(option.effect, Effect::LaterFatal(..));
    match value {
        "" => "yes".to_owned(),
        _ if option.name() == "user" => format!("{}:[redacted]", value.split(':').next().unwrap_or_default()),
        _ if holds_secret || option.name() == "redis-statsdb" => "[redacted]".to_owned(),
        _ => value.to_owned(),
    }
}

/// Options that are about the command line itself.
const VERBS: &[Spec<'static>] = &[
    Spec { long: &[], short: Some('c'), takes: Takes::Value },
    Spec { long: &[], short: Some('n'), takes: Takes::Nothing },
    Spec { long: &["help"], short: Some('h'), takes: Takes::Nothing },
    Spec { long: &["version"], short: None, takes: Takes::Nothing },
    Spec { long: &["check-config"], short: None, takes: Takes::Nothing },
    Spec { long: &["sample-config"], short: None, takes: Takes::Nothing },
];

const COMMAND_LINE: &str = "command line";

const SEARCH_PATH: &[&str] = &[
    ".",
    "turnserver",
    "coturn",
    "etc",
    "etc/turnserver",
    "etc/coturn",
    "../etc",
    "../etc/turnserver",
    "../etc/coturn",
    "/etc",
    "/etc/turnserver",
    "/etc/coturn",
    "/usr/local/etc",
    "/usr/local/etc/turnserver",
    "/usr/local/etc/coturn",
];
