//! `turnpike load`: how many calls a server carries, measured from both ends of each.

mod arguments;
mod arrivals;
mod carrier;
mod command;
mod compare;
mod conductor;
mod generator;
mod histogram;
mod html;
mod live;
mod machine;
mod preflight;
mod profile;
mod ramp;
mod recorder;
mod report;
mod report_json;
mod stamp;
mod table;
mod target;
pub(crate) mod words;

use std::fs::OpenOptions;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::ArgMatches;
use jiff::Timestamp;
use signal_hook::consts::SIGINT;
use turnpike_client::ClientConfig;

use self::arguments::Settings;
pub use self::command::command;
use self::conductor::Script;
use self::generator::Task;
use self::live::Live;
use self::machine::Server;
use self::report::Report;
pub(in crate::commands) use self::target::split_port;
use crate::randomness::Dice;
use crate::terminal::{painted, print, say, shows_colour};

/// Runs the command.
///
/// # Errors
/// The load could not be made, or a result could not be written.
pub fn run(arguments: &ArgMatches) -> Result<ExitCode> {
    if let Some(("compare", arguments)) = arguments.subcommand() {
        return compare::run(arguments);
    }
    let settings = Settings::read(arguments)?;
    let task = Arc::new(task(&settings)?);
    let started = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let interrupted = Arc::new(AtomicBool::new(false));
    // The first Ctrl-C ends the run with its results, the second at once.
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupted))?;
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
    for path in [&settings.json, &settings.html].into_iter().flatten() {
        // Better known now than after the run.
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.with_context(|| format!("cannot write {}", path.display()))?;
    }
    preflight::run(&task)?;
    let server = Server::find(&task.target, settings.server_process);
    let full = match settings.script {
        Script::Hold { level, .. } => level,
        Script::Ramp { first, .. } => first,
    };
    let mut live = Live::new(&task, full);
    let run = conductor::perform(&task, settings.script, server.as_ref(), &mut live, &interrupted)?;
    let report = Report::new(started, &task, settings.script, server, run);
    let text = table::text(&report);
    let _ = print(&painted(&text, |line| !line.starts_with(' '), shows_colour(&std::io::stdout())));
    if let Some(path) = &settings.json {
        write(path, &format!("{:#}\n", report_json::of(&report)))?;
    }
    if let Some(path) = &settings.html {
        write(path, &html::page(&report))?;
    }
    Ok(if report.worst_loss() > settings.max_loss {
        ExitCode::from(TOO_MUCH_LOST)
    } else {
        ExitCode::SUCCESS
    })
}

fn task(settings: &Settings) -> Result<Task> {
    let local = settings.target.own_address()?;
    let peer_address: IpAddr = settings.peer_address.unwrap_or(local);
    let client = ClientConfig {
        transport: match settings.target.transport.is_stream() {
            true => turnpike_client::Transport::Stream,
            false => turnpike_client::Transport::Datagram,
        },
        credentials: settings.credentials.clone(),
        // Browsers do the same: MD5 keys, which is also all that coturn knows.
        password_algorithms: false,
        software: Some(concat!("turnpike load ", env!("CARGO_PKG_VERSION")).to_owned()),
        ..ClientConfig::default()
    };
    Ok(Task {
        target: settings.target.clone(),
        profile: settings.profile,
        streams: settings.streams.clone(),
        client: Arc::new(client),
        local,
        peer_address,
        threads: settings.threads,
        clients: settings.clients,
        interval: settings.interval,
        run: Dice::new()?.throw() as u32,
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    say!("  wrote {}", path.display());
    Ok(())
}

/// The exit status when more was lost than may be.
const TOO_MUCH_LOST: u8 = 2;
