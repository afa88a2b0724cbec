//! What is about the command line itself.

use super::Effect;
use super::OptionSpec;
use crate::load::Verb;

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::with(&["config"], Effect::Verb(Verb::File), "Configuration file.")
        .short('c')
        .value("FILE")
        .default("turnserver.conf, looked for where coturn looks")
        .ours(),
    OptionSpec::with(&["no-config"], Effect::Verb(Verb::NoFile), "Read no configuration file.")
        .short('n')
        .ours(),
    OptionSpec::with(&["help"], Effect::Verb(Verb::Help), "This text.").short('h').ours(),
    OptionSpec::with(&["version"], Effect::Verb(Verb::Version), "The version alone."),
    OptionSpec::with(
        &["check-config"],
        Effect::Verb(Verb::Check),
        "Say what is set, whether the configuration is sound, and exit: with 0 if nothing is left to mend.",
    )
    .ours(),
    OptionSpec::with(&["sample-config"], Effect::Verb(Verb::Sample), "Print a commented turnserver.conf.")
        .ours(),
];
