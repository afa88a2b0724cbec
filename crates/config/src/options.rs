//! The table of options: each defined once, with everything that is made from it.

mod administration;
mod authentication;
mod command_line;
mod databases;
mod listening;
mod logging;
mod monitoring;
mod protocol;
mod records;
mod relay;
mod security;

use std::fmt;

use crate::config::Config;
use crate::getopt::{Spec, Takes};
use crate::load::Verb;

/// One option.
#[derive(Clone, Copy)]
pub struct OptionSpec {
    /// Its long name, then the names it also goes by.
    pub names: &'static [&'static str],
    /// Its letter.
    pub short: Option<char>,
    /// What its value is called in the help text; `None` for a switch.
    pub value: Option<&'static str>,
    /// The default in words; empty when there is nothing to say.
    pub default: &'static str,
    /// What it does, in one line or two.
    pub help: &'static str,
    /// What a missing value means, where one may be left out.
    pub bare: Option<&'static str>,
    /// Whether it may be given several times, each adding to the others; otherwise the last counts.
    pub repeats: bool,
    /// Whether a running server can take a new value; otherwise it needs a restart.
    pub reloadable: bool,
    /// Which part of its value must not be shown.
    pub secrecy: Secrecy,
    /// Whether coturn does not have it.
    pub ours: bool,
    /// What setting it does.
    pub effect: Effect,
}

/// Which part of a value must not be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// None.
    Public,
    /// What follows the first colon.
    AfterColon,
    /// All of it.
    Secret,
}

/// What setting an option does.
#[derive(Clone, Copy)]
pub enum Effect {
    /// Sets a switch.
    Switch(fn(&mut Config, bool)),
    /// Sets or adds a value.
    Set(fn(&mut Config, &str) -> Result<(), String>),
    /// Known, but not in this version; says what it needs.
    Later(&'static str),
    /// Nothing: this server always does so, or never does; says which.
    Settled(&'static str),
    /// An old switch that says what is so anyway: only its denial changes something; says what to use.
    Deprecated(fn(&mut Config, bool), &'static str),
    /// Nothing: an old option; says what to use.
    Obsolete(&'static str),
    /// It is about the command line itself, and has no place in a file.
    Verb(Verb),
}

/// A heading of the help text with its options.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The heading.
    pub title: &'static str,
    /// Its options, in order.
    pub options: &'static [OptionSpec],
}

/// Every option, by heading.
pub const GROUPS: &[Group] = &[
    Group { title: "Command line", options: command_line::OPTIONS },
    Group { title: "Listening", options: listening::OPTIONS },
    Group { title: "Relaying", options: relay::OPTIONS },
    Group { title: "Users and secrets", options: authentication::OPTIONS },
    Group { title: "Databases", options: databases::DATABASES },
    Group { title: "TLS and DTLS", options: listening::TLS },
    Group { title: "Limits", options: security::LIMITS },
    Group { title: "Peers", options: security::PEERS },
    Group { title: "Protocol", options: protocol::OPTIONS },
    Group { title: "Other servers", options: protocol::ALTERNATES },
    Group { title: "Log", options: logging::OPTIONS },
    Group { title: "Session records", options: records::OPTIONS },
    Group { title: "Metrics and health", options: monitoring::OPTIONS },
    Group { title: "Administration", options: administration::OPTIONS },
    Group { title: "Old names", options: administration::OBSOLETE },
];

/// Every option.
pub fn all() -> impl Iterator<Item = &'static OptionSpec> {
    GROUPS.iter().flat_map(|group| group.options)
}

/// The option with this long name.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    all().find(|option| option.names.contains(&name))
}

impl OptionSpec {
    /// Its first long name.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// Whether it is a switch, true if no value is attached.
    pub fn is_switch(&self) -> bool {
        self.value.is_none() && !matches!(self.effect, Effect::Verb(_))
    }

    /// A value of it as it may be shown: secrets hidden.
    pub fn shown(&self, value: &str) -> String {
        match (self.secrecy, value.split_once(':')) {
            (Secrecy::Public, _) if value.is_empty() => self.bare.unwrap_or("yes").to_owned(),
            (Secrecy::Public, _) => value.to_owned(),
            (Secrecy::AfterColon, Some((name, _))) => format!("{name}:[redacted]"),
            _ => "[redacted]".to_owned(),
        }
    }

    const fn switch(names: &'static [&'static str], set: fn(&mut Config, bool), help: &'static str) -> Self {
        OptionSpec::with(names, Effect::Switch(set), help)
    }

    const fn set(
        names: &'static [&'static str],
        value: &'static str,
        set: fn(&mut Config, &str) -> Result<(), String>,
        help: &'static str,
    ) -> Self {
        OptionSpec::with(names, Effect::Set(set), help).value(value)
    }

    const fn with(names: &'static [&'static str], effect: Effect, help: &'static str) -> Self {
        OptionSpec {
            names,
            short: None,
            value: None,
            default: "",
            help,
            bare: None,
            repeats: false,
            reloadable: false,
            secrecy: Secrecy::Public,
            ours: false,
            effect,
        }
    }

    const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn value(mut self, value: &'static str) -> Self {
        self.value = Some(value);
        self
    }

    const fn bare(mut self, value: &'static str) -> Self {
        self.bare = Some(value);
        self
    }

    const fn repeats(mut self) -> Self {
        self.repeats = true;
        self
    }

    const fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    const fn secrecy(mut self, secrecy: Secrecy) -> Self {
        self.secrecy = secrecy;
        self
    }

    const fn ours(mut self) -> Self {
        self.ours = true;
        self
    }
}

impl Spec for &OptionSpec {
    fn names(&self) -> &[&str] {
        self.names
    }

    fn letter(&self) -> Option<char> {
        self.short
    }

    fn takes(&self) -> Takes {
        match self.value {
            Some(_) if self.bare.is_none() => Takes::Value,
            None if matches!(self.effect, Effect::Verb(_)) => Takes::Nothing,
            _ => Takes::OptionalValue,
        }
    }

    fn letter_takes(&self) -> Takes {
        // coturn's -K wants a value, although its long form is a switch.
        if self.short == Some('K') { Takes::Value } else { self.takes() }
    }

    fn yields(&self) -> bool {
        self.ours || administration::OBSOLETE.iter().any(|old| old.names == self.names)
    }
}

impl fmt::Debug for OptionSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OptionSpec({})", self.name())
    }
}
