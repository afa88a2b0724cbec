//! `turnpike top`: what a server relays at this moment, and for whom.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use super::connection::Connection;
use super::screen::Screen;
use super::verb;
use super::view::View;
use crate::cli::{flag, text};
use crate::terminal::{print, shows_colour};

pub(super) fn command() -> Command {
    verb("top", "Watch what a running server relays, and for whom: rates, sparklines, the busiest sessions (q ends it)")
        .arg(
            text("interval", "SECONDS", "Between two looks, 0.1 to 60")
                .value_parser(|text: &str| match text.parse::<f64>() {
                    Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
                    _ => Err("a number of seconds from 0.1 to 60"),
                })
                .default_value("1"),
        )
        .arg(text("rows", "COUNT", "Sessions to list [default: as many as fit]").value_parser(value_parser!(u16)))
        .arg(flag("once", "Print one picture and end, for scripts"))
}

pub(super) fn run(server: &mut Connection, arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let interval = Duration::from_secs_f64(arguments.get_one::<f64>("interval").copied().unwrap_or(1.0));
    let rows = arguments.get_one::<u16>("rows").map(|rows| usize::from(*rows));
    let mut view = View::new(server.ask(&json!({ "verb": "status" }))?);
    let on_terminal = io::stdout().is_terminal();
    if arguments.get_flag("once") || !on_terminal {
        // Rates are between two looks.
        look(server, 1)?;
        thread::sleep(interval);
        let glance = look(server, rows.unwrap_or(ROWS_ELSEWHERE))?;
        let lines =
            view.lines(&glance, (width().unwrap_or(WIDTH_ELSEWHERE), rows.unwrap_or(ROWS_ELSEWHERE)), false);
        let _ = print(&(lines.join("\n") + "\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let colour = shows_colour(&io::stdout());
    let screen = Screen::take()?;
    look(server, 1)?;
    let mut pause = interval.min(FIRST_PAUSE);
    while screen.wait(pause) {
        pause = interval;
        let size = terminal_size::terminal_size_of(io::stdout()).map(|(width, height)| (width.0, height.0));
        let (width, height) = size.unwrap_or((WIDTH_ELSEWHERE as u16, 24));
        let fit = usize::from(height).saturating_sub(View::HEAD + 1).max(1);
        let rows = rows.map_or(fit, |rows| rows.min(fit));
        let glance = look(server, rows)?;
        screen.show(&view.lines(&glance, (usize::from(width), rows), colour))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn look(server: &mut Connection, rows: usize) -> anyhow::Result<Value> {
    server.ask(&json!({ "verb": "top", "most": rows }))
}

fn width() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// Sessions and columns where there is no terminal.
const ROWS_ELSEWHERE: usize = 20;
const WIDTH_ELSEWHERE: usize = 140;
/// The first picture is not long in coming.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
