//! The table of options: each defined once, with everything that is made from it.

mod administration;
mod authentication;
mod listening;
mod logging;
mod protocol;
mod relay;
mod security;

use std::fmt;

use crate::config::Config;
use crate::getopt::{Spec, Takes};

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
    /// What setting it does.
    pub effect: Effect,
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
    /// Known, but not in this version, and the server must not start without it; says why.
    LaterFatal(fn(&mut Config), &'static str),
    /// Nothing: this server always does so, or never does; says which.
    Settled(&'static str),
    /// Nothing: an old option; says what to use.
    Obsolete(&'static str),
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
    Group { title: "Listening", options: listening::OPTIONS },
    Group { title: "Relaying", options: relay::OPTIONS },
    Group { title: "Users and secrets", options: authentication::OPTIONS },
    Group { title: "Databases", options: authentication::DATABASES },
    Group { title: "TLS and DTLS", options: listening::TLS },
    Group { title: "Limits", options: security::LIMITS },
    Group { title: "Peers", options: security::PEERS },
    Group { title: "Protocol", options: protocol::OPTIONS },
    Group { title: "Other servers", options: protocol::ALTERNATES },
    Group { title: "Log", options: logging::OPTIONS },
    Group { title: "Prometheus", options: logging::PROMETHEUS },
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

    /// Whether a value is needed.
    pub fn needs_value(&self) -> bool {
        self.value.is_some()
    }

    pub(crate) fn spec(&self) -> Spec<'static> {
        let takes = if self.needs_value() { Takes::Value } else { Takes::OptionalValue };
        Spec { long: self.names, short: self.short, takes }
    }

    const fn switch(
        name: &'static [&'static str],
        effect: fn(&mut Config, bool),
        help: &'static str,
    ) -> Self {
        OptionSpec {
            names: name,
            short: None,
            value: None,
            default: "",
            help,
            effect: Effect::Switch(effect),
        }
    }

    const fn set(
        name: &'static [&'static str],
        value: &'static str,
        effect: fn(&mut Config, &str) -> Result<(), String>,
        help: &'static str,
    ) -> Self {
        OptionSpec {
            names: name,
            short: None,
            value: Some(value),
            default: "",
            help,
            effect: Effect::Set(effect),
        }
    }

    const fn with(names: &'static [&'static str], effect: Effect, help: &'static str) -> Self {
        OptionSpec { names, short: None, value: None, default: "", help, effect }
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
}

impl fmt::Debug for OptionSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OptionSpec({})", self.name())
    }
}
