//! The server under its familiar name, with coturn's flags, configuration file and exit statuses.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use turnpike_config::{Command, Loaded, Report, SystemEnvironment, coloured_help, help, load, sample};

use crate::boot::Running;
use crate::daemon::{self, Detached};
use crate::terminal::{print, shows_colour};
use crate::upgrade::{HANDOVER_FLAG, handover_line, refuse, takes_over};

/// Runs the server with its arguments (the program's name left out).
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    if arguments.peek().is_some_and(|first| first == HANDOVER_FLAG) {
        return show(&handover_line());
    }
    match load(arguments, &SystemEnvironment) {
        Ok(Command::Run(loaded)) => run(&loaded).unwrap_or_else(|error| fail(&format!("{error:#}"))),
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

/// Serves until somebody ends it; with `daemon` in the background, from which this returns when that serves.
fn run(loaded: &Loaded) -> anyhow::Result<ExitCode> {
    let detaches = loaded.config.process.daemon && !daemon::is_supervised() && !takes_over();
    let waiting = match detaches {
        false => None,
        true => match daemon::detach().context("cannot detach")? {
            Detached::Parent(code) => return Ok(code),
            Detached::Child(waiting) => Some(waiting),
        },
    };
    let running = Running::start(loaded)?;
    if let Some(waiting) = waiting {
        waiting.serves().context("cannot let go of the terminal")?;
    }
    running.wait()?;
    Ok(ExitCode::SUCCESS)
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
