//! `turnpike-bench`: measures a TURN server and coturn side by side, in network namespaces of its own.

mod arguments;
mod calls;
mod caveats;
mod certificate;
mod chart;
mod facts;
mod frame;
mod lab;
mod live_frames;
mod memory;
mod million_users;
mod namespace;
mod payload;
mod processor_time;
mod report;
mod results_json;
mod rounds;
mod rows;
mod server;
mod statistics;
mod stop;
mod syscalls;
mod table;
mod targets;
mod traffic;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::arguments::Options;
use crate::facts::Facts;
use crate::lab::Lab;
use crate::million_users::MillionUsers;
use crate::report::Report;
use crate::rows::Bench;
use crate::stop::Stop;

fn main() -> ExitCode {
    match run(&Options::from_command_line()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("turnpike-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    let rows = rows::select(&options.rows, options.against)?;
    ensure!(syscalls::is_root(), "only root may make network namespaces: run this as root");
    let facts = Facts::gather(options)?;
    let stop = Stop::on_signals()?;
    let descriptors = syscalls::raise_descriptor_limit().context("raise the descriptor limit")?;
    syscalls::pin(0, options.cores.generator).context("pin the generator to its core")?;
    syscalls::sharpen_timers().context("sharpen timers")?;
    let lab = Lab::build(options.cores, options.offloads).context("build the namespaces")?;
    let million_users = MillionUsers::default();
    let bench = Bench { million_users, lab, stop, quick: options.quick, tick: options.tick, descriptors };
    let results = rounds::run_all(&bench, options, &rows)?;
    drop(bench);
    publish(options, &Report { facts, results })
}

/// Prints the report and writes what was asked for.
fn publish(options: &Options, report: &Report) -> Result<ExitCode> {
    print!("{}", report.text());
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    let documented = options.is_whole();
    // A chart that belongs to the documentation is replaced together with it.
    if let Some(path) = options.chart.as_ref().filter(|_| documented || options.markdown.is_none()) {
        report.write_chart(path)?;
    }
    match &options.markdown {
        Some(path) if documented => report.write_markdown(path, options.chart.as_deref())?,
        Some(path) => println!("{} is left as it is: only a whole run replaces it.", path.display()),
        None => {}
    }
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
