//! `turnutils_natdiscovery`: how the NATs on the way to a STUN server map, filter, keep, share and loop back, as far as
//! RFC 5780 can tell.

mod flags;
mod probe;
mod report;
mod steps;

use std::process::ExitCode;

pub(crate) use self::flags::USAGE;
use self::flags::{Parsed, Settings};
use self::probe::Prober;
use crate::terminal::{print_usage, say};

/// Runs the tool with its arguments (the program's name left out). Silence and refusals are findings, not failures:
/// it fails only when it cannot ask.
pub fn main(arguments: Vec<String>) -> ExitCode {
    let settings = match flags::parse(arguments) {
        Ok(Parsed::Run(settings)) => settings,
        Ok(Parsed::Help) => {
            print_usage(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem:#}\n\n{USAGE}");
            return ExitCode::from(255);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem:#}");
            ExitCode::from(255)
        }
    }
}

/// A test.
type Step = fn(&mut Prober<'_>) -> anyhow::Result<()>;

fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut prober = Prober::new(settings);
    let steps: [(bool, Step); 5] = [
        (settings.mapping, steps::mapping),
        (settings.filtering, steps::filtering),
        (settings.lifetime.is_some(), steps::lifetime),
        (settings.hairpinning, steps::hairpinning),
        (settings.collision.is_some(), steps::collision),
    ];
    if !steps.iter().any(|(wanted, _)| *wanted) {
        say!("Say what to find out: -m mapping, -f filtering, -t lifetime, -H hairpinning, -c collision.");
    }
    for (_, step) in steps.into_iter().filter(|(wanted, _)| *wanted) {
        step(&mut prober)?;
    }
    Ok(())
}
