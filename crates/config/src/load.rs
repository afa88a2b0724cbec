//! From command line and file to a checked configuration. Defaults give way to the file, the file to the command
//! line; lists add up. This holds for the log options too, where coturn lets the file win.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::ConfigError;
use crate::file;
use crate::getopt::{self, Item};
use crate::nearest::nearest;
use crate::options::{self, Effect, OptionSpec, Secrecy};
use crate::search_path::{self, Found};
use crate::values::{Secret, boolean};

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
    /// Everything that was set, in order; of an option that does not repeat, the last counts.
    pub settings: Vec<Setting>,
    /// The command line, to read everything again by; `None` where there was none.
    pub command_line: Option<CommandLineWords>,
    /// Of the notices those about lines that were probably meant otherwise. Whoever starts a server is warned of them; a
    /// running server does not take them up.
    pub slips: Vec<Notice>,
}

/// The words of a command line. They may hold secrets, so their `Debug` form hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLineWords(Vec<OsString>);

impl CommandLineWords {
    /// The words themselves.
    pub fn expose(&self) -> &[OsString] {
        &self.0
    }
}

impl fmt::Debug for CommandLineWords {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{} words]", self.0.len())
    }
}

/// One thing that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where: `FILE:LINE` or `command line`.
    pub origin: String,
    /// The option's chief name.
    pub name: &'static str,
    /// Its value as it may be shown, secrets hidden.
    pub value: String,
    /// Its value as it was written.
    pub(crate) written: Secret,
}

/// Something the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// Where it comes from: `FILE:LINE`, `command line`, or an option's name.
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
    /// Reads a file; a relative path starts in the working directory.
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
        let mut bytes = Vec::new();
        File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST_FILE {
            let text = format!("it is longer than {} MiB: is it a configuration?", LONGEST_FILE >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(bytes)
    }

    fn host_name(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
    }
}

/// Reads the command line (without the program's name) and the file it leads to.
///
/// # Errors
/// Everything that cannot be understood or must not be, together; nothing is guessed.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Environment,
) -> Result<Command, ConfigError> {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let line = CommandLine::read(words.iter().cloned())?;
    match line.verb {
        Verb::Help => return Ok(Command::Help),
        Verb::Version => return Ok(Command::Version),
        Verb::Sample => return Ok(Command::Sample),
        _ => {}
    }
    let mut loading = Loading::default();
    if line.use_file {
        loading.read_file(line.file.as_deref(), environment)?;
    }
    loading.apply_line(&line);
    let Loading { mut loaded, mut problems } = loading;
    loaded.command_line = Some(CommandLineWords(words));
    // What is wrong already would only be repeated in other words.
    if problems.is_empty() {
        problems = loaded.check(environment);
    }
    match ConfigError::of(problems, &loaded.notices) {
        Some(error) => Err(error),
        None if line.verb == Verb::Check => Ok(Command::Check(loaded)),
        None => Ok(Command::Run(loaded)),
    }
}

/// What an option about the command line itself asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start the server: no such option is given.
    Run,
    /// Check the configuration.
    Check,
    /// Print the options.
    Help,
    /// Print the version.
    Version,
    /// Print a sample file.
    Sample,
    /// Read this file.
    File,
    /// Read no file.
    NoFile,
}

/// The command line taken apart.
struct CommandLine {
    verb: Verb,
    file: Option<String>,
    use_file: bool,
    options: Vec<(&'static OptionSpec, Option<String>)>,
    /// Words that belong to no option, each with the switch that stands before it without a value.
    strays: Vec<(Option<&'static OptionSpec>, String)>,
}

impl CommandLine {
    fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let words: Vec<OsString> = arguments.into_iter().collect();
        let mut line = CommandLine {
            verb: Verb::Run,
            file: None,
            use_file: true,
            options: Vec::new(),
            strays: Vec::new(),
        };
        let table: Vec<&'static OptionSpec> = options::all().collect();
        let items = match getopt::parse(&table, words.iter().cloned()) {
            Ok(items) => items,
            // Whoever asks for help gets it, whatever else is wrong.
            Err(error) => {
                let asked = |wanted: &str| words.iter().any(|word| word == wanted);
                line.verb = if asked("-h") || asked("--help") {
                    Verb::Help
                } else if asked("--version") {
                    Verb::Version
                } else {
                    return Err(ConfigError::CommandLine(error.to_string()));
                };
                return Ok(line);
            }
        };
        let mut before = None;
        for item in items {
            before = match item {
                Item::Option { spec, value, .. } => {
                    let bare = spec.is_switch() && value.is_none();
                    line.take(spec, value);
                    bare.then_some(*spec)
                }
                Item::Positional(word) => {
                    line.strays.push((before, word));
                    None
                }
            };
        }
        Ok(line)
    }

    fn take(&mut self, option: &'static OptionSpec, value: Option<String>) {
        match option.effect {
            Effect::Verb(Verb::File) => self.file = value,
            Effect::Verb(Verb::NoFile) => self.use_file = false,
            // Help wins over all others, as in coturn.
            Effect::Verb(verb) if self.verb != Verb::Help => self.verb = verb,
            Effect::Verb(_) => {}
            _ => self.options.push((option, value)),
        }
    }
}

/// A configuration in the making, and what is wrong with it.
#[derive(Default)]
pub(crate) struct Loading {
    pub(crate) loaded: Loaded,
    pub(crate) problems: Vec<ConfigError>,
}

impl Loading {
    fn read_file(&mut self, named: Option<&str>, environment: &dyn Environment) -> Result<(), ConfigError> {
        let unreadable =
            |path: &Path, problem: String| ConfigError::File { path: path.display().to_string(), problem };
        let found = search_path::find(environment, named.unwrap_or(DEFAULT_FILE));
        let Found { path, bytes } = match (found, named) {
            (Ok(Some(found)), _) => found,
            (Ok(None), None) => {
                let text = format!("no {DEFAULT_FILE} was found; running on the command line and defaults");
                self.loaded.notice(Severity::Info, "configuration file", text);
                return Ok(());
            }
            (Ok(None), Some(name)) => {
                let problem = "there is no such file; name another with -c, or run without one with -n";
                return Err(unreadable(Path::new(name), problem.to_owned()));
            }
            (Err((path, error)), _) => return Err(unreadable(&path, error.to_string())),
        };
        let lines = file::parse(&bytes).map_err(|error| unreadable(&path, error.to_string()))?;
        for line in lines {
            self.apply_file_line(&line, &format!("{}:{}", path.display(), line.number));
        }
        self.loaded.file = Some(path);
        Ok(())
    }

    fn apply_file_line(&mut self, line: &file::Line, origin: &str) {
        for remark in &line.remarks {
            self.loaded.slip(origin, (*remark).to_owned());
        }
        let Some(option) = options::find(&line.key) else { return self.unknown_key(&line.key, origin) };
        if let Effect::Verb(_) = option.effect {
            let text = format!("{} belongs on the command line, and was left out", option.name());
            return self.loaded.notice(Severity::Warning, origin, text);
        }
        if line.commented && option.secrecy != Secrecy::Public {
            let text = format!(
                "what follows the # was taken for a comment; if it belongs to {}, put the value in double quotes",
                option.name()
            );
            self.loaded.notice(Severity::Info, origin, text);
        }
        self.apply(option, &line.value, origin);
    }

    fn unknown_key(&mut self, key: &str, origin: &str) {
        let names = options::all().flat_map(|option| option.names.iter().copied());
        let hint = nearest(key, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        self.loaded.slip(origin, format!("unknown option {key:?} was left out{hint}"));
    }

    fn apply_line(&mut self, line: &CommandLine) {
        for (before, word) in &line.strays {
            match before {
                Some(switch) if boolean(word) == Ok(false) => {
                    let name = switch.name();
                    self.problems.push(ConfigError::CommandLine(format!(
                        "--{name} {word} would switch {name} on, because a value must be attached: write --{name}={word}"
                    )));
                }
                _ => {
                    let text = format!(
                        "{word:?} belongs to no option and was left out; values of switches go behind =, as in --verbose=no"
                    );
                    self.loaded.notice(Severity::Warning, COMMAND_LINE, text);
                }
            }
        }
        for (option, value) in &line.options {
            self.apply(option, value.as_deref().unwrap_or_default(), COMMAND_LINE);
        }
    }

    pub(crate) fn apply(&mut self, option: &'static OptionSpec, value: &str, origin: &str) {
        let name = option.name();
        self.loaded.settings.push(Setting {
            origin: origin.to_owned(),
            name,
            value: option.shown(value),
            written: Secret::new(value),
        });
        let value = if value.is_empty() { option.bare.unwrap_or_default() } else { value };
        if let Err(problem) = self.set(option, value, origin) {
            let option = name.to_owned();
            self.problems.push(ConfigError::Value { origin: origin.to_owned(), option, problem });
        }
    }

    fn set(&mut self, option: &'static OptionSpec, value: &str, origin: &str) -> Result<(), String> {
        let name = option.name();
        let config = &mut self.loaded.config;
        match option.effect {
            Effect::Switch(set) => set(config, boolean(value)?),
            Effect::Set(set) => set(config, value)?,
            Effect::Deprecated(set, instead) => {
                let on = boolean(value)?;
                set(config, on);
                let (severity, said) = match on {
                    true => (Severity::Info, name.to_owned()),
                    false => (Severity::Warning, format!("{name}=false")),
                };
                self.loaded.notice(severity, origin, format!("{said} is deprecated: {instead}"));
            }
            Effect::Later(needs) => {
                if !option.is_switch() || boolean(value)? {
                    let text = format!("{name} has no effect yet: this version does not have {needs}");
                    self.loaded.notice(Severity::Warning, origin, text);
                }
            }
            Effect::Settled(how) => {
                if option.is_switch() {
                    boolean(value)?;
                }
                self.loaded.notice(Severity::Info, origin, format!("{name}: {how}"));
            }
            Effect::Obsolete(instead) => {
                self.loaded.notice(Severity::Warning, origin, format!("{name} is no more: {instead}"));
            }
            Effect::Verb(_) => {}
        }
        Ok(())
    }
}

impl Loaded {
    pub(crate) fn notice(&mut self, severity: Severity, origin: &str, text: String) {
        self.notices.push(Notice { severity, origin: origin.to_owned(), text });
    }

    fn slip(&mut self, origin: &str, text: String) {
        self.notice(Severity::Warning, origin, text);
        self.slips.extend(self.notices.last().cloned());
    }

    /// Where and to what an option was set last.
    pub(crate) fn last(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().rfind(|setting| setting.name == name)
    }
}

const DEFAULT_FILE: &str = "turnserver.conf";
const COMMAND_LINE: &str = "command line";

/// A file beyond this many bytes is no configuration.
const LONGEST_FILE: u64 = 16 << 20;
