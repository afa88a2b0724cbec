//! `turnutils_uclient`: a TURN client that sends numbered messages through a server and counts what comes back.

mod flags;
mod load;
mod malformed;
mod message;
mod moving;
mod negative;
mod session;
mod sessions;
mod settings;
mod summary;
mod tcp_relay;
mod tokens;
mod traffic;
pub(crate) mod transport;
mod usage;

use std::process::ExitCode;

use anyhow::Result;

use self::flags::Parsed;
use self::sessions::Sessions;
use self::settings::{Load, Settings};
use self::summary::{Totals, whole_seconds};
pub(crate) use self::transport::{AnyCertificate, Link, Linker};
pub(crate) use self::usage::USAGE;
use crate::terminal::print_usage;
use crate::tools::output::{error, info};

/// Prints a line if the run is verbose.
macro_rules! verbose {
    ($settings:expr, $($text:tt)*) => { if $settings.verbose { $crate::tools::output::info!($($text)*) } };
}
use verbose;

/// Runs the tool with its arguments (the program's name left out).
pub fn main(arguments: Vec<String>) -> ExitCode {
    let settings = match flags::parse(arguments) {
        Ok(Parsed::Run(settings)) => *settings,
        Ok(Parsed::Help) => {
            print_usage(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(flags::Refusal::UnknownFlag(text)) => {
            eprintln!("{text}\n\n{USAGE}");
            return ExitCode::from(1);
        }
        Err(flags::Refusal::Unusable(text)) => {
            eprintln!("{text}");
            return ExitCode::from(255);
        }
    };
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem:#}");
            ExitCode::from(255)
        }
    }
}

fn run(settings: Settings) -> Result<()> {
    match settings.load {
        Some(Load::Alloc) => load::allocate_over_and_over(settings),
        Some(Load::Invalid) => load::send_invalid(settings),
        Some(Load::Packet) | None => relay(settings),
    }
}

fn relay(settings: Settings) -> Result<()> {
    let mut sessions = Sessions::open(settings)?;
    if sessions.settings.malformed_traffic {
        malformed::pester(&mut sessions)?;
    }
    sessions.connect()?;
    info!("Total connect time is {}", whole_seconds(sessions.now()));
    if sessions.settings.leave_at_once {
        return Ok(());
    }
    if sessions.settings.negative_tests {
        negative::run(&mut sessions)?;
    }
    let began = sessions.now();
    traffic::run(&mut sessions)?;
    Totals::of(&sessions.all).print(sessions.now().saturating_sub(began));
    sessions.delete_all()
}
