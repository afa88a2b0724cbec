//! What is made from the table for people: the help text and the sample file.

use std::fmt::Write;

use crate::options::{Effect, GROUPS, OptionSpec};

/// The text of `-h`: every option, grouped.
pub fn help(program: &str) -> String {
    let mut text = format!(
        "Usage: {program} [options]\n\n\
         A STUN/TURN server. Options may also stand in turnserver.conf, under their long names.\n\
         For a server that sets itself up, run: turnpike up\n\n\
         Command line\n\
         \x20 -c FILE                             Configuration file.\n\
         \x20 -n                                  Read no configuration file.\n\
         \x20 -h, --help                          This text.\n\
         \x20 --version                           The version alone.\n\
         \x20 --check-config                      Say whether the configuration is sound; exit status 1 if not. (ours)\n\
         \x20 --sample-config                     Print a commented turnserver.conf. (ours)\n"
    );
    for group in GROUPS {
        let _ = write!(text, "\n{}\n", group.title);
        for option in group.options {
            text.push_str(&entry(option));
        }
    }
    text
}

/// A turnserver.conf with every option, commented out.
pub fn sample() -> String {
    let mut text = "# turnserver.conf: take out the # before an option to set it.\n".to_owned();
    for group in GROUPS {
        let _ = write!(text, "\n# --- {}\n", group.title);
        for option in group.options.iter().filter(|option| !matches!(option.effect, Effect::Obsolete(_))) {
            let _ = writeln!(text, "\n# {}{}", option.help, remark(option));
            let value = option.value.map(|value| format!("={value}")).unwrap_or_default();
            let _ = writeln!(text, "#{}{value}", option.name());
        }
    }
    text
}

fn entry(option: &OptionSpec) -> String {
    let mut names: Vec<String> = option.short.map(|letter| format!("-{letter}")).into_iter().collect();
    names.extend(option.names.iter().map(|name| format!("--{name}")));
    let value = option.value.map(|value| format!(" {value}")).unwrap_or_default();
    let head = format!("  {}{value}", names.join(", "));
    let mut text =
        if head.len() >= COLUMN { format!("{head}\n{:COLUMN$}", "") } else { format!("{head:COLUMN$}") };
    let mut column = COLUMN;
    for word in format!("{}{}", option.help, remark(option)).split_whitespace() {
        if column > COLUMN && column + 1 + word.chars().count() > WIDTH {
            let _ = write!(text, "\n{:COLUMN$}", "");
            column = COLUMN;
        }
        if column > COLUMN {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.chars().count();
    }
    text.push('\n');
    text
}

/// The default, and whether the option does anything in this version.
fn remark(option: &OptionSpec) -> String {
    let default =
        if option.default.is_empty() { String::new() } else { format!(" [default: {}]", option.default) };
    let state = match option.effect {
        Effect::Later(_) | Effect::LaterFatal(..) => " (not in this version)",
        Effect::Obsolete(_) => " (obsolete)",
        _ => "",
    };
    format!("{default}{state}")
}

const COLUMN: usize = 38;
const WIDTH: usize = 100;
