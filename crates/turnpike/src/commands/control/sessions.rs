//! `turnpike sessions` and `turnpike kill`.

use std::cmp::Reverse;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use turnpike_control::in_words;

use super::connection::Connection;
use super::table::aligned;
use super::{verb, whole};
use crate::cli::{flag, text};
use crate::commands::load::words::{bytes, count};
use crate::drawing::harmless;
use crate::terminal::{print, say};

pub(super) fn command() -> Command {
    verb("sessions", "List the sessions of a running server: who, from where, how much, since when")
        .args(filters())
        .arg(
            text("sort", "BY", "bytes, age, left, user, client or id")
                .value_parser(["bytes", "age", "left", "user", "client", "id"])
                .default_value("bytes"),
        )
        .arg(text("limit", "COUNT", "Print so many").value_parser(clap::value_parser!(usize)))
        .arg(flag("peers", "Tell the peers of each, too"))
        .arg(flag("json", "Print JSON"))
}

pub(super) fn kill_command() -> Command {
    verb("kill", "End sessions: one by its name, or all of a user, realm or address")
        .arg(Arg::new("session").help("The session, as `turnpike sessions` and the log name it"))
        .args(filters())
        .arg(flag("json", "Print JSON"))
}

fn filters() -> [Arg; 5] {
    [
        text(
            "user",
            "NAME",
            "Those of this user: the whole name, or the part without the time of a REST name",
        ),
        text("user-prefix", "TEXT", "Those whose user's name begins so"),
        text("realm", "REALM", "Those of this realm"),
        text("address", "IP", "Those with this address: the client's, a relayed one or a peer's"),
        text("transport", "NAME", "Those whose clients came by udp, tcp, tls or dtls"),
    ]
}

/// The question with what the filters say.
fn question(verb: &str, arguments: &ArgMatches) -> Value {
    let text = |name: &str| arguments.get_one::<String>(name);
    json!({
        "verb": verb,
        "user": text("user"),
        "userPrefix": text("user-prefix"),
        "realm": text("realm"),
        "address": text("address"),
        "transport": text("transport"),
    })
}

pub(super) fn run(server: &mut Connection, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut question = question("sessions", arguments);
    let peers = arguments.get_flag("peers");
    question["peers"] = json!(peers);
    let mut sessions = Vec::new();
    loop {
        let mut page = server.ask(&question)?;
        match page["sessions"].take() {
            Value::Array(rows) => sessions.extend(rows),
            _ => bail!("what answers there is no Turnpike server: a page without sessions"),
        }
        question["from"] = page["next"].take();
        if question["from"].is_null() {
            break;
        }
    }
    sort(&mut sessions, arguments.get_one::<String>("sort").map_or("bytes", String::as_str));
    let all = sessions.len();
    sessions.truncate(arguments.get_one::<usize>("limit").copied().unwrap_or(all));
    if arguments.get_flag("json") {
        say!("{:#}", json!({ "total": all, "sessions": sessions }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = String::new();
    let rows: Vec<Vec<String>> = sessions.iter().map(cells).collect();
    for (number, line) in aligned(HEADINGS, &rows).into_iter().enumerate() {
        lines += &format!("{line}\n");
        let with = number.checked_sub(1).filter(|_| peers).and_then(|at| sessions[at]["peers"].as_array());
        for peer in with.into_iter().flatten().filter_map(Value::as_str) {
            // Port 0 is a permission without a channel.
            lines += &format!("    peer {}\n", peer.strip_suffix(":0").unwrap_or(peer));
        }
    }
    let shown =
        if sessions.len() < all { format!("{} of ", count(sessions.len() as u64)) } else { String::new() };
    lines += &format!("{shown}{} session{}\n", count(all as u64), if all == 1 { "" } else { "s" });
    // A reader that goes away early is no failure.
    let _ = print(&lines);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn kill(server: &mut Connection, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut question = question("kill", arguments);
    question["session"] = json!(arguments.get_one::<String>("session"));
    let answer = server.ask(&question)?;
    let ended = whole(&answer["ended"]);
    if arguments.get_flag("json") {
        say!("{answer:#}");
    } else {
        say!("{} session{} ended", count(ended), if ended == 1 { "" } else { "s" });
    }
    Ok(if ended > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sort(sessions: &mut [Value], by: &str) {
    let text = |session: &Value, name: &str| session[name].as_str().unwrap_or_default().to_owned();
    match by {
        "age" => sessions.sort_by_key(|session| Reverse(whole(&session["age"]))),
        "left" => sessions.sort_by_key(|session| whole(&session["expiresIn"])),
        "user" | "client" | "id" => sessions.sort_by_cached_key(|session| text(session, by)),
        _ => sessions
            .sort_by_key(|session| Reverse(whole(&session["clientBytes"]) + whole(&session["peerBytes"]))),
    }
}

fn cells(session: &Value) -> Vec<String> {
    let text = |name: &str| harmless(session[name].as_str().unwrap_or_default());
    let relayed: Vec<&str> =
        session["relayed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let away = session["away"].as_bool().unwrap_or_default();
    vec![
        text("id"),
        format!("{}@{}", text("user"), text("realm")),
        text("transport"),
        if away { format!("{} (away)", text("client")) } else { text("client") },
        relayed.join(" "),
        in_words(whole(&session["age"])),
        in_words(whole(&session["expiresIn"])),
        bytes(whole(&session["clientBytes"])),
        bytes(whole(&session["peerBytes"])),
        text("path"),
    ]
}

const HEADINGS: &[&str] =
    &["SESSION", "USER", "BY", "CLIENT", "RELAYED", ">AGE", ">LEFT", ">FROM CLIENT", ">FROM PEERS", "PATH"];
