//! The configuration read again while the server runs: what has changed, and what of it can be taken up.
//!
//! Command line and file are read by the very rules of a start. What needs a restart stays as it was, so that the
//! result is a configuration that could have been started with. A running server is stricter than a start in one thing:
//! a line that was probably meant otherwise (an unknown name, typographic quotes) and was not there before changes
//! nothing at all.
//!
//! Invariant: no difference shows a secret.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::ConfigError;
use crate::load::{Command, CommandLineWords, Environment, Loaded, Loading, Setting, load};
use crate::options::{self, Effect, OptionSpec, Secrecy};
use crate::values::boolean;

/// What a configuration that was read again comes to.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The configuration to go on with: what cannot change is as it was.
    pub loaded: Loaded,
    /// What differs from the one that is in force, in the order of the help text.
    pub differences: Vec<Difference>,
}

/// An option that is set otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its chief name.
    pub option: &'static str,
    /// What is different.
    pub change: Change,
    /// Whether a running server takes it up; otherwise it needs a restart.
    pub reloadable: bool,
    /// Where it is set now: `FILE:LINE` or `command line`; `None` where it is no more.
    pub origin: Option<String>,
}

/// What is different about an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A value that nobody is to see.
    Secret,
    /// Values that nobody is to see: how many are new, and how many are gone.
    Secrets {
        /// New ones.
        added: usize,
        /// Those that are gone.
        removed: usize,
    },
    /// One value: as it was and as it is, each `None` for the default.
    Value {
        /// As it was.
        before: Option<String>,
        /// As it is.
        after: Option<String>,
    },
    /// A list; of what has a secret, the names.
    List {
        /// What is new.
        added: Vec<String>,
        /// What is gone.
        removed: Vec<String>,
        /// Names whose secret is another one.
        changed: Vec<String>,
    },
    /// A list whose order is another one.
    Order,
}

/// Reads command line and file again for a server that runs with `running`.
///
/// # Errors
/// Something cannot be understood or must not be, or was probably meant otherwise. Nothing is to change then.
pub fn reload(running: &Loaded, environment: &dyn Environment) -> Result<Reloaded, ConfigError> {
    let words = running.command_line.as_ref().map(CommandLineWords::expose).unwrap_or_default();
    let new = match load(words.iter().cloned(), environment)? {
        Command::Run(loaded) | Command::Check(loaded) => loaded,
        Command::Help | Command::Version | Command::Sample => {
            return Err(ConfigError::CommandLine("the command line starts no server".to_owned()));
        }
    };
    refuse_new_slips(running, &new)?;
    let differences = options::all().filter_map(|option| difference(option, running, &new)).collect();
    Ok(Reloaded { loaded: merged(running, new, environment)?, differences })
}

/// A start leaves out what it does not know, because coturn does. By then somebody looks; a reload may be nobody's.
fn refuse_new_slips(running: &Loaded, new: &Loaded) -> Result<(), ConfigError> {
    let known = |text: &str| running.slips.iter().any(|slip| slip.text == text);
    let slips = new.slips.iter().filter(|slip| !known(&slip.text));
    let refused =
        slips.map(|slip| ConfigError::Slip { origin: slip.origin.clone(), text: slip.text.clone() });
    ConfigError::of(refused.collect(), &[]).map_or(Ok(()), Err)
}

/// What was read, but for the options that need a restart: those stay as they were.
fn merged(running: &Loaded, new: Loaded, environment: &dyn Environment) -> Result<Loaded, ConfigError> {
    let is_reloadable =
        |setting: &&Setting| options::find(setting.name).is_some_and(|option| option.reloadable);
    let mut loading = Loading::default();
    let staying = running.settings.iter().filter(|setting| !is_reloadable(setting));
    for setting in staying.chain(new.settings.iter().filter(is_reloadable)) {
        if let Some(option) = options::find(setting.name) {
            loading.apply(option, setting.written.expose(), &setting.origin);
        }
    }
    let Loading { mut loaded, mut problems } = loading;
    if problems.is_empty() {
        problems = loaded.check(environment);
    }
    if let Some(error) = ConfigError::of(problems, &[]) {
        return Err(ConfigError::Contradiction(format!("{error}\n{NEEDS_RESTART}")));
    }
    // What there is to say was said of the lines as they stand.
    let Loaded { notices, slips, file, command_line, .. } = new;
    Ok(Loaded { notices, slips, file, command_line, ..loaded })
}

/// What is different about an option, if anything is.
fn difference(option: &'static OptionSpec, before: &Loaded, after: &Loaded) -> Option<Difference> {
    if !matches!(option.effect, Effect::Switch(_) | Effect::Set(_) | Effect::Deprecated(..)) {
        return None;
    }
    let (before, after) = (values(option, before), values(option, after));
    let change = if option.repeats {
        list_change(option, &before, &after)?
    } else {
        value_change(option, before.last(), after.last())?
    };
    let origin = after.last().map(|value| value.setting.origin.clone());
    Some(Difference { option: option.name(), change, reloadable: option.reloadable, origin })
}

/// A value that was set, in the form in which values are compared.
struct Value<'s> {
    setting: &'s Setting,
    text: &'s str,
}

fn values<'s>(option: &OptionSpec, loaded: &'s Loaded) -> Vec<Value<'s>> {
    let settings = loaded.settings.iter().filter(|setting| setting.name == option.name());
    let text = |setting: &'s Setting| match setting.written.expose() {
        // All words for yes, and all for no, are one.
        written if option.is_switch() => match boolean(written) {
            Ok(false) => "no",
            _ => "yes",
        },
        "" => option.bare.unwrap_or_default(),
        written => written,
    };
    settings.map(|setting| Value { setting, text: text(setting) }).collect()
}

fn value_change(
    option: &OptionSpec,
    before: Option<&Value<'_>>,
    after: Option<&Value<'_>>,
) -> Option<Change> {
    let text = |value: Option<&Value<'_>>| match value {
        // A switch that is denied is one that is not given.
        Some(value) if option.is_switch() && value.text == "no" && option.default.is_empty() => None,
        value => value.map(|value| value.text.to_owned()),
    };
    let (before, after) = (text(before), text(after));
    if before == after {
        return None;
    }
    Some(match option.secrecy {
        Secrecy::Public => Change::Value { before, after },
        _ => Change::Secret,
    })
}

fn list_change(option: &OptionSpec, before: &[Value<'_>], after: &[Value<'_>]) -> Option<Change> {
    let texts =
        |values: &[Value<'_>]| -> Vec<String> { values.iter().map(|it| it.text.to_owned()).collect() };
    if texts(before) == texts(after) {
        return None;
    }
    let (old, new) = (named(option, before), named(option, after));
    let added: Vec<String> = new.keys().filter(|name| !old.contains_key(*name)).cloned().collect();
    let removed: Vec<String> = old.keys().filter(|name| !new.contains_key(*name)).cloned().collect();
    let changed: Vec<String> = new
        .iter()
        .filter(|(name, secret)| old.get(*name).is_some_and(|known| known != *secret))
        .map(|(name, _)| name.clone())
        .collect();
    if added.is_empty() && removed.is_empty() && changed.is_empty() {
        return Some(Change::Order);
    }
    Some(match option.secrecy {
        Secrecy::Secret => Change::Secrets { added: added.len(), removed: removed.len() },
        _ => Change::List { added, removed, changed },
    })
}

/// What goes by a name and has a secret, with that; everything else with nothing.
fn named(option: &OptionSpec, values: &[Value<'_>]) -> BTreeMap<String, String> {
    let pair = |value: &Value<'_>| match (option.secrecy, value.text.split_once(':')) {
        (Secrecy::AfterColon, Some((name, secret))) => (name.to_owned(), secret.to_owned()),
        _ => (value.text.to_owned(), String::new()),
    };
    values.iter().map(pair).collect()
}

impl fmt::Display for Difference {
    /// One line, such as `max-bps: 0 -> 64000` or `user: alice added; bob removed`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.option, self.change)?;
        if self.reloadable { Ok(()) } else { formatter.write_str(" (needs a restart)") }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Secret => formatter.write_str("(changed)"),
            Change::Secrets { added, removed } => {
                write!(formatter, "(changed): {added} added, {removed} removed")
            }
            Change::Order => formatter.write_str("the same in another order"),
            Change::Value { before, after } => {
                let [before, after] =
                    [before, after].map(|value| value.as_deref().unwrap_or("(default)").to_owned());
                write!(formatter, "{before} -> {after}")
            }
            Change::List { added, removed, changed } => {
                let parts = [(added, "added"), (removed, "removed"), (changed, "(changed)")];
                let parts = parts.into_iter().filter(|(names, _)| !names.is_empty());
                let parts: Vec<String> =
                    parts.map(|(names, what)| format!("{} {what}", few(names))).collect();
                formatter.write_str(&parts.join("; "))
            }
        }
    }
}

/// The names, or the first of very many.
fn few(names: &[String]) -> String {
    match names.get(..MOST_NAMES) {
        Some(first) if names.len() > MOST_NAMES => {
            format!("{} and {} more", first.join(", "), names.len() - MOST_NAMES)
        }
        _ => names.join(", "),
    }
}

/// Names that are listed in a line.
const MOST_NAMES: usize = 12;
const NEEDS_RESTART: &str = "(together with what needs a restart and therefore stays as it is: restart the server to take up all of it)";
