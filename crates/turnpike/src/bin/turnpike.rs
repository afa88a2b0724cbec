//! One tool with friendly verbs.

use std::process::ExitCode;

use turnpike::terminal::{print, shows_colour};
use turnpike::upgrade::{HANDOVER_FLAG, handover_line};
use turnpike::{cli, commands};

fn main() -> ExitCode {
    if let Some(code) = turnpike::called_as::run() {
        return code;
    }
    if std::env::args_os().nth(1).is_some_and(|first| first == HANDOVER_FLAG) {
        let _ = print(&handover_line());
        return ExitCode::SUCCESS;
    }
    let matches = cli::command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("up", arguments)) => commands::up::run(arguments),
        Some(("credentials", arguments)) => commands::credentials::run(arguments),
        Some(("doctor", arguments)) => Ok(commands::doctor::run(arguments)),
        Some(("probe", arguments)) => Ok(commands::probe::run(arguments)),
        Some(("firewall", arguments)) => commands::firewall::run(arguments),
        Some(("load", arguments)) => commands::load::run(arguments),
        Some(("migrate", arguments)) => commands::migrate::run(arguments),
        Some(("explain", arguments)) => commands::explain::run(arguments),
        Some(("container", arguments)) => commands::container::run(arguments),
        Some(("man", arguments)) => commands::man::run(arguments),
        Some(("completions", arguments)) => commands::man::run_completions(arguments),
        Some((verb, arguments)) if commands::control::VERBS.contains(&verb) => {
            commands::control::run(verb, arguments)
        }
        // Clap demands one of the verbs above.
        _ => Ok(ExitCode::from(2)),
    };
    outcome.unwrap_or_else(|error| {
        let (on, off) =
            if shows_colour(&std::io::stderr()) { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
        eprintln!("{on}turnpike:{off} {error:#}");
        ExitCode::FAILURE
    })
}
