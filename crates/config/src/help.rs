//! What is made from the table for people: the help text and the sample file.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::options::{Effect, GROUPS, OptionSpec};

/// The text of `-h`: every option, grouped, in plain text.
pub fn help(program: &str) -> String {
    text(program, Paint { heading: Style::new(), name: Style::new(), remark: Style::new() })
}

/// The same for a terminal that shows colours.
pub fn coloured_help(program: &str) -> String {
    text(
        program,
        Paint {
            heading: AnsiColor::Yellow.on_default().bold(),
            name: AnsiColor::Green.on_default(),
            remark: Style::new().dimmed(),
        },
    )
}

/// A turnserver.conf with every option, commented out.
pub fn sample() -> String {
    let mut text = "# turnserver.conf: take out the # before an option to set it.\n".to_owned();
    for group in GROUPS {
        let in_a_file =
            |option: &&OptionSpec| !matches!(option.effect, Effect::Obsolete(_) | Effect::Verb(_));
        let mut options = group.options.iter().filter(in_a_file).peekable();
        if options.peek().is_some() {
            let _ = write!(text, "\n# --- {}\n", group.title);
        }
        for option in options {
            let remark = remark(option);
            let blank = if remark.is_empty() { "" } else { " " };
            text.push('\n');
            for line in wrapped(&format!("{}{blank}{remark}", option.help), WIDTH - 2) {
                let _ = writeln!(text, "# {line}");
            }
            let value = option.value.map(|value| format!("={value}")).unwrap_or_default();
            let _ = writeln!(text, "#{}{value}", option.name());
        }
    }
    text
}

/// How the parts of the help text look.
#[derive(Clone, Copy)]
struct Paint {
    heading: Style,
    name: Style,
    remark: Style,
}

fn text(program: &str, paint: Paint) -> String {
    let Paint { heading, .. } = paint;
    let mut text = format!(
        "{heading}Usage:{heading:#} {program} [options]\n\n\
         A STUN/TURN server. Options may also stand in turnserver.conf, under their long names.\n\
         A switch is on if it is given; to switch it off, attach a value: --verbose=no.\n\
         For a server that sets itself up, run: turnpike up\n"
    );
    for group in GROUPS {
        let _ = write!(text, "\n{heading}{}{heading:#}\n", group.title);
        for option in group.options {
            entry(&mut text, option, paint);
        }
    }
    text
}

fn entry(text: &mut String, option: &OptionSpec, paint: Paint) {
    let Paint { name, remark: dim, .. } = paint;
    let mut names: Vec<String> = option.short.map(|letter| format!("-{letter}")).into_iter().collect();
    names.extend(option.names.iter().map(|name| format!("--{name}")));
    let names = names.join(", ");
    let value = match (option.value, option.bare) {
        (Some(value), None) => format!(" {value}"),
        (Some(value), Some(_)) => format!("[={value}]"),
        (None, _) => String::new(),
    };
    let width = 2 + names.chars().count() + value.chars().count();
    let _ = write!(text, "  {name}{names}{name:#}{value}");
    // A name too long for the left column has a line of its own.
    let gap = if width + 2 > COLUMN { format!("\n{:COLUMN$}", "") } else { " ".repeat(COLUMN - width) };
    text.push_str(&gap);
    let help = wrapped(option.help, WIDTH - COLUMN);
    text.push_str(&help.join(&format!("\n{:COLUMN$}", "")));
    text.push('\n');
    for line in wrapped(&remark(option), WIDTH - COLUMN) {
        let _ = writeln!(text, "{:COLUMN$}{dim}{line}{dim:#}", "");
    }
}

/// The default, and whether the option does anything in this version.
fn remark(option: &OptionSpec) -> String {
    let mut parts = Vec::new();
    if !option.default.is_empty() {
        parts.push(format!("[default: {}]", option.default));
    }
    match option.effect {
        Effect::Later(_) => parts.push("(not in this version)".to_owned()),
        Effect::Settled(_) => parts.push("(accepted, changes nothing)".to_owned()),
        Effect::Obsolete(_) => parts.push("(obsolete)".to_owned()),
        Effect::Deprecated(..) => parts.push("(deprecated)".to_owned()),
        _ => {}
    }
    if option.ours {
        parts.push("(long name not in coturn)".to_owned());
    }
    parts.join(" ")
}

/// Breaks a text into lines of at most `width` characters, between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Where the explanations begin.
const COLUMN: usize = 38;

/// The longest line.
const WIDTH: usize = 100;
