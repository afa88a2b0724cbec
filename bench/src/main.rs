//! `turnpike-bench`: measures a TURN server and coturn side by side, in network namespaces of its own.

mod arguments;
mod calls;
mod certificate;
mod facts;
mod lab;
mod memory;
mod namespace;
mod payload;
mod processor_time;
mod report;
mod rounds;
mod rows;
mod server;
mod statistics;
mod stop;
mod syscalls;
mod table;
mod traffic;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::arguments::Options;
use crate::facts::Facts;
use crate::lab::Lab;
use crate::report::Report;
use crate::rows::Bench;
use crate::stop::Stop;

fn main() -> ExitCode {
    match run(&Options::from_command_line()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("turnpike-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let rows = rows::select(&options.rows)?;
    ensure!(syscalls::is_root(), "only root may make network namespaces: run this as root");
    let facts = Facts::gather(options)?;
    let stop = Stop::on_signals()?;
    let descriptors = syscalls::raise_descriptor_limit().context("raise the descriptor limit")?;
    syscalls::pin(0, options.cores.generator).context("pin the generator to its core")?;
    syscalls::sharpen_timers().context("sharpen timers")?;
    let lab = Lab::build(options.cores, options.offloads).context("build the namespaces")?;
    let bench = Bench { lab, stop, quick: options.quick, tick: options.tick, descriptors };
    let results = rounds::run_all(&bench, options, &rows)?;
    drop(bench);
    let report = Report { facts, results };
    print!("{}", report.text());
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    match &options.markdown {
        Some(path) if options.is_whole() => report.write_markdown(path)?,
        Some(path) => println!("{} is left as it is: only a whole run replaces it.", path.display()),
        None => {}
    }
    Ok(())
}
