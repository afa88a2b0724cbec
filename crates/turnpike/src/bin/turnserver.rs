//! The server under its familiar name, with coturn's flags, configuration file and exit statuses.

use std::io::Write;
use std::process::ExitCode;

use turnpike::boot::Running;
use turnpike::colour::shows_colour;
use turnpike_config::{Command, Report, SystemEnvironment, coloured_help, help, load, sample};

fn main() -> ExitCode {
    match load(std::env::args_os().skip(1), &SystemEnvironment) {
        Ok(Command::Run(loaded)) => match Running::start(&loaded).and_then(Running::wait) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("{error:#}")),
        },
        Ok(Command::Check(loaded)) => {
            let report = Report(&loaded);
            print(&format!("{report}\n"));
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Command::Help) if shows_colour(&std::io::stdout()) => print(&coloured_help("turnserver")),
        Ok(Command::Help) => print(&help("turnserver")),
        Ok(Command::Sample) => print(&sample()),
        Ok(Command::Version) => print(concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Err(error) => fail(&error.to_string()),
    }
}

/// A reader that goes away early, such as `head`, is no failure.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// 255, as coturn gives for every fatal error at start.
fn fail(message: &str) -> ExitCode {
    let (on, off) = if shows_colour(&std::io::stderr()) { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
    eprintln!("{on}turnserver:{off} {message}");
    ExitCode::from(255)
}
