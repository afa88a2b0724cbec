//! The verbs that speak with a running server by its control socket: `sessions`, `kill`, `drain`, `undrain`, `reload`, `upgrade`,
//! `log-level`, `status`, `top`.

mod connection;
mod screen;
mod sessions;
mod table;
mod top;
mod view;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use turnpike_control::in_words;

use self::connection::Connection;
use crate::cli::{flag, text};
use crate::commands::credentials::parse_duration;
use crate::terminal::say;

/// The verbs, for the command line.
pub fn commands() -> [Command; 9] {
    [
        sessions::command(),
        top::command(),
        sessions::kill_command(),
        verb("drain", "Take nobody new in, and end the server when the sessions it has have ended").args([
            text(
                "timeout",
                "DURATION",
                "How long they may go on, such as 90s, 15m, 4h [default: as long as they like]",
            ),
            flag("wait", "Wait until the server has ended, and tell how far it is"),
            flag("json", "Print JSON"),
        ]),
        verb("undrain", "Call a drain off: take in whoever comes again"),
        verb("reload", "Read configuration and certificates again without ending a session").args([
            flag("dry-run", "Tell what would change, and change nothing"),
            flag("json", "Print JSON"),
        ]),
        verb("upgrade", "Have a new program take over from a running server, without losing a call").args([
            text(
                "program",
                "FILE",
                "The program [default: the one that stands where the running one was started]",
            ),
            flag("json", "Print JSON"),
        ]),
        verb("log-level", "Tell or set the least level that is logged").arg(
            Arg::new("level")
                .help("debug, info, warning or error")
                .value_parser(["debug", "info", "warning", "error"]),
        ),
        verb("status", "Tell what a running server is doing").arg(flag("json", "Print JSON")),
    ]
}

/// Their names.
pub const VERBS: [&str; 9] =
    ["sessions", "top", "kill", "drain", "undrain", "reload", "upgrade", "log-level", "status"];

/// A verb that speaks with a running server.
fn verb(name: &'static str, about: &'static str) -> Command {
    let socket = text(
        "control-socket",
        "PATH",
        "The server's control socket [default: $TURNPIKE_CONTROL_SOCKET, or where servers put it]",
    );
    Command::new(name).about(about).arg(socket)
}

/// Runs one of the verbs.
///
/// # Errors
/// No server answers, or it refuses; the message says what to do.
pub fn run(name: &str, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut server = Connection::open(arguments.get_one::<String>("control-socket").map(String::as_str))?;
    match name {
        "sessions" => sessions::run(&mut server, arguments),
        "kill" => sessions::kill(&mut server, arguments),
        "top" => top::run(&mut server, arguments),
        "drain" => drain(&mut server, arguments),
        "undrain" => undrain(&mut server),
        "reload" => reload(&mut server, arguments),
        "upgrade" => upgrade(&mut server, arguments),
        "log-level" => log_level(&mut server, arguments),
        _ => status(&mut server, arguments),
    }
}

fn status(server: &mut Connection, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let status = server.ask(&json!({ "verb": "status" }))?;
    if arguments.get_flag("json") {
        say!("{status:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    let list = |name: &str| {
        let all = status[name].as_array().into_iter().flatten();
        all.map(|it| it.as_str().or(it["external"].as_str()).unwrap_or_default())
            .collect::<Vec<_>>()
            .join(", ")
    };
    say!("{}, process {}, up {}", text("program"), status["process"], in_words(whole(&status["uptime"])));
    say!("  {:<12} {}", "stage", stage(&status));
    say!("  {:<12} {}", "sessions", status["allocations"]);
    say!(
        "  {:<12} {} taken of {}-{}",
        "relay ports",
        status["portsTaken"],
        status["relayPorts"][0],
        status["relayPorts"][1]
    );
    say!("  {:<12} {}", "workers", status["workers"]);
    say!("  {:<12} {}", "listening", list("listening"));
    say!("  {:<12} {}", "relaying", list("relays"));
    say!("  {:<12} {}", "log level", text("logLevel"));
    Ok(ExitCode::SUCCESS)
}

/// How far the server's life has come, in words.
fn stage(status: &Value) -> String {
    let drain = &status["drain"];
    let stage = status["stage"].as_str().unwrap_or_default();
    if drain.is_null() {
        return stage.to_owned();
    }
    let left = drain["left"]
        .as_f64()
        .map_or(String::new(), |left| format!(", for {} at most", in_words(left as u64)));
    format!("{stage}: {} of {} session(s) left{left}", drain["allocations"], drain["atFirst"])
}

fn drain(server: &mut Connection, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let timeout = arguments.get_one::<String>("timeout").map(|text| parse_duration(text)).transpose()?;
    let seconds = timeout.map(|timeout| timeout.as_secs());
    let mut status = server.ask(&json!({ "verb": "drain", "timeout": seconds }))?;
    let as_json = arguments.get_flag("json");
    let tell = |status: &Value| if as_json { say!("{status}") } else { say!("{}", stage(status)) };
    tell(&status);
    if !arguments.get_flag("wait") {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        thread::sleep(LOOK);
        match server.try_ask(&json!({ "verb": "status" })) {
            Ok(now) if now["stage"] == "serving" => bail!("the drain was called off"),
            Ok(now) => {
                if now["drain"]["allocations"] != status["drain"]["allocations"] {
                    tell(&now);
                }
                status = now;
            }
            // Its end is the end of the connection.
            Err(error) if error.is_gone() => break,
            Err(error) if error.is_busy() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !as_json {
        say!("the server has ended");
    }
    Ok(ExitCode::SUCCESS)
}

fn undrain(server: &mut Connection) -> anyhow::Result<ExitCode> {
    let answer = server.ask(&json!({ "verb": "undrain" }))?;
    match answer["wasDraining"].as_bool() {
        Some(true) => say!("the drain was called off: new allocations are taken again"),
        _ => say!("it was not draining"),
    }
    Ok(ExitCode::SUCCESS)
}

fn reload(server: &mut Connection, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let preview = arguments.get_flag("dry-run");
    let answer = server.ask(&json!({ "verb": "reload", "preview": preview }))?;
    if arguments.get_flag("json") {
        say!("{:#}", answer["outcome"]);
    } else {
        say!("{}", answer["text"].as_str().unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

fn upgrade(server: &mut Connection, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    // Of the caller's directory, not of the server's.
    let program = arguments.get_one::<String>("program").map(std::path::absolute).transpose()?;
    server.wait_for(UPGRADE)?;
    let answer = server.ask(&json!({ "verb": "upgrade", "program": program }))?;
    match answer["upgraded"].as_str() {
        Some(done) if !arguments.get_flag("json") => say!("{done}"),
        _ => say!("{answer:#}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn log_level(server: &mut Connection, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let wanted = arguments.get_one::<String>("level");
    let answer = server.ask(&json!({ "verb": "log-level", "level": wanted }))?;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    match wanted {
        None => say!("{}", text("level")),
        Some(_) => say!("{} (was {})", text("level"), text("before")),
    }
    Ok(ExitCode::SUCCESS)
}

/// A number of an answer.
fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// For a new program to start and take over: longer than the running one waits for it.
const UPGRADE: Duration = Duration::from_secs(120);
/// Between two looks at a server that drains.
const LOOK: Duration = Duration::from_millis(250);
