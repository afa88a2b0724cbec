//! `turnpike man` and `turnpike completions`: for those who package and install.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ArgMatches;
use clap_complete::Shell;
use turnpike_config::nearest;

use crate::manual::{Page, completions, pages, programs};
use crate::terminal::{print, say};

/// Prints a page of the manual, or writes all of them.
///
/// # Errors
/// There is no such page, or the directory cannot be written to.
pub fn run(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let pages = pages()?;
    if let Some(directory) = arguments.get_one::<String>("into") {
        for page in &pages {
            let path = Path::new(directory).join(page.file_name());
            fs::write(&path, &page.text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        say!("{} pages in {directory}", pages.len());
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = arguments.get_one::<String>("page").map_or("turnpike", String::as_str);
    let is_wanted = |page: &&Page| page.name == wanted || page.file_name() == wanted;
    let Some(page) = pages.iter().find(is_wanted) else {
        bail!("{}", missing("page of the manual", wanted, pages.iter().map(|page| page.name.as_str())));
    };
    let _ = print(&page.text);
    Ok(ExitCode::SUCCESS)
}

/// Prints what a shell needs to complete the arguments of a program.
///
/// # Errors
/// There is no such program.
pub fn run_completions(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let program = arguments.get_one::<String>("program").map_or("turnpike", String::as_str);
    let shell = arguments.get_one::<Shell>("shell").copied().unwrap_or(Shell::Bash);
    let Some(script) = completions(program, shell) else {
        bail!("{}", missing("program", program, programs().into_iter()));
    };
    let _ = print(&script);
    Ok(ExitCode::SUCCESS)
}

fn missing<'a>(what: &str, wanted: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = nearest(wanted, known.clone()).map(|near| format!("did you mean {near}?"));
    let hint = near.unwrap_or_else(|| format!("there are {}", known.collect::<Vec<_>>().join(", ")));
    format!("there is no {what} called {wanted}; {hint}")
}
