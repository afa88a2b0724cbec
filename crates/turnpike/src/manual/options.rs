//! `turnserver(1)` and `turnserver.conf(5)`, from the table of options.

use std::io;

use clap::{Arg, ArgAction, Command, ValueHint};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use turnpike_config::options::{Effect, GROUPS, OptionSpec};

use super::{Page, begin, end};

/// The page of the program.
pub(super) fn program() -> io::Result<Page> {
    let mut roff = begin("turnserver", 1, "STUN and TURN server");
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("turnserver"), roman(" ["), italic("option"), roman(" ...]")]);
    roff.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut roff, DESCRIPTION);
    for group in GROUPS {
        roff.control("SH", [group.title.to_uppercase().as_str()]);
        group.options.iter().for_each(|option| entry(&mut roff, option, flags(option)));
    }
    for (heading, entries) in [("SIGNALS", SIGNALS), ("FILES", FILES), ("EXIT STATUS", EXIT_STATUS)] {
        roff.control("SH", [heading]);
        for (what, meaning) in entries {
            roff.control("TP", []);
            roff.text([bold(*what)]);
            roff.text([roman(*meaning)]);
        }
    }
    end(roff, "turnserver", 1)
}

/// The page of its file.
pub(super) fn file() -> io::Result<Page> {
    let mut roff = begin("turnserver.conf", 5, "configuration of turnserver");
    roff.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut roff, FILE);
    for group in GROUPS {
        let mut options =
            group.options.iter().filter(|option| !matches!(option.effect, Effect::Verb(_))).peekable();
        if options.peek().is_some() {
            roff.control("SH", [group.title.to_uppercase().as_str()]);
        }
        for option in options {
            let mut line = vec![bold(option.name())];
            match (option.value, option.bare) {
                (Some(value), None) => line.extend([roman("="), italic(value)]),
                (Some(value), Some(_)) => line.extend([roman("[="), italic(value), roman("]")]),
                (None, _) => {}
            }
            entry(&mut roff, option, line);
        }
    }
    end(roff, "turnserver.conf", 5)
}

/// The command line, for completions.
pub(super) fn command() -> Command {
    let known = |option: &&OptionSpec| !matches!(option.effect, Effect::Obsolete(_));
    let options = GROUPS.iter().flat_map(|group| group.options);
    Command::new("turnserver")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(options.map(|option| argument(option).hide(!known(&option))))
}

fn argument(option: &'static OptionSpec) -> Arg {
    let names = option.names.iter().copied();
    let mut argument =
        Arg::new(option.name()).long(option.name()).visible_aliases(names.skip(1)).help(option.help);
    if let Some(letter) = option.short {
        argument = argument.short(letter);
    }
    let Some(value) = option.value else { return argument.action(ArgAction::SetTrue) };
    let hint = match value {
        "FILE" => ValueHint::FilePath,
        "DIR" => ValueHint::DirPath,
        _ => ValueHint::Unknown,
    };
    let argument = argument.value_name(value).value_hint(hint).action(ArgAction::Append);
    if option.bare.is_some() { argument.num_args(0..=1).require_equals(true) } else { argument }
}

fn paragraphs(roff: &mut Roff, paragraphs: &[&str]) {
    for (at, paragraph) in paragraphs.iter().enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
}

/// The names of an option as they are typed.
fn flags(option: &OptionSpec) -> Vec<Inline> {
    let letter = option.short.map(|letter| format!("-{letter}"));
    let names = letter.into_iter().chain(option.names.iter().map(|name| format!("--{name}")));
    let mut line = Vec::new();
    for name in names {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.push(bold(name));
    }
    match (option.value, option.bare) {
        (Some(value), None) => line.extend([roman(" "), italic(value)]),
        (Some(value), Some(_)) => line.extend([roman("[="), italic(value), roman("]")]),
        (None, _) => {}
    }
    line
}

fn entry(roff: &mut Roff, option: &OptionSpec, line: Vec<Inline>) {
    roff.control("TP", []);
    roff.text(line);
    roff.text([roman(option.help)]);
    let mut remarks = Vec::new();
    if !option.default.is_empty() {
        remarks.push(format!("Default: {}.", option.default));
    }
    if let Some(bare) = option.bare {
        remarks.push(format!("Without a value: {bare}."));
    }
    match option.effect {
        Effect::Later(what) => remarks.push(format!("Not in this version ({what}).")),
        Effect::Settled(why) => remarks.push(format!("Accepted, changes nothing: {why}.")),
        Effect::Obsolete(instead) => remarks.push(format!("Obsolete: {instead}.")),
        Effect::Deprecated(_, instead) => remarks.push(format!("Deprecated: {instead}.")),
        _ => {}
    }
    if option.reloadable {
        remarks.push("A running server takes a new value.".to_owned());
    }
    if !remarks.is_empty() {
        roff.text([roman(remarks.join(" "))]);
    }
}

const DESCRIPTION: &[&str] = &[
    "A STUN and TURN server for WebRTC and telephony: it tells clients their public address, and relays their packets \
     where they cannot reach each other. Flags, configuration file, tools and database are those of coturn.",
    "Every option may also stand in turnserver.conf under its long name, see turnserver.conf(5). A switch is on if it is \
     given; to switch it off, attach a value: --verbose=no. Scalars of the command line win over the file; lists add up.",
    "For a server that sets itself up, run: turnpike up.",
];
const SIGNALS: &[(&str, &str)] = &[
    ("SIGTERM, SIGINT", "End."),
    ("SIGUSR1", "Drain."),
    ("SIGUSR2", "Read again what can change while the server runs."),
    (
        "SIGURG",
        "Start the program anew and hand everything over to it that can move; what turnpike upgrade does.",
    ),
    ("SIGHUP", "Open the log file anew, after it was rotated."),
];
const FILES: &[(&str, &str)] = &[
    (
        "turnserver.conf",
        "Looked for in the working directory, then in /etc, /etc/turnserver, /etc/coturn and below /usr/local; the first that \
         is found is read.",
    ),
    (
        "/var/run/turnserver.pid",
        "The process id of a server that was detached with daemon, unless pidfile says otherwise.",
    ),
];
const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "It served and was ended; or was detached and serves; or what was asked for was printed."),
    ("1", "check-config found something to mend."),
    ("255", "It could not start, and said why."),
];
const FILE: &[&str] = &[
    "A line is an option's long name, alone or with a value behind an equals sign or a blank. What follows a # at the \
     beginning of a line is a remark. Options that may be repeated add up; of others the last line counts.",
    "turnserver --sample-config prints such a file, turnserver --check-config says what a file comes to and what is wrong \
     with it.",
];
