//! The server under its familiar name, with coturn's flags, configuration file and exit statuses.

use std::process::ExitCode;

use turnpike::boot::Running;
use turnpike::terminal::{print, shows_colour};
use turnpike::upgrade::{HANDOVER_FLAG, handover_line, refuse};
use turnpike_config::{Command, Report, SystemEnvironment, coloured_help, help, load, sample};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == HANDOVER_FLAG) {
        return show(&handover_line());
    }
    match load(std::env::args_os().skip(1), &SystemEnvironment) {
        Ok(Command::Run(loaded)) => match Running::start(&loaded).and_then(Running::wait) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{error:#}")),
        },
        Ok(Command::Check(loaded)) => {
            let report = Report(&loaded);
            show(&format!("{report}\n"));
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Command::Help) if shows_colour(&std::io::stdout()) => show(&coloured_help("turnserver")),
        Ok(Command::Help) => show(&help("turnserver")),
        Ok(Command::Sample) => show(&sample()),
        Ok(Command::Version) => show(concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => {
            refuse(&error.to_string());
            fail(&error.to_string())
        }
    }
}

/// A reader that goes away early is no failure.
fn show(text: &str) -> ExitCode {
    let _ = print(text);
    ExitCode::SUCCESS
}

/// 255, as coturn gives for every fatal error at start.
fn fail(message: &str) -> ExitCode {
    let (on, off) = if shows_colour(&std::io::stderr()) { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
    eprintln!("{on}turnserver:{off} {message}");
    ExitCode::from(255)
}
