//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::lab::{Cores, Offloads};
use crate::rows::ROWS;
use crate::server::{Kind, ServerCommand, Side};

/// What was asked for.
pub(crate) struct Options {
    pub(crate) ours: ServerCommand,
    /// What it is compared with.
    pub(crate) theirs: ServerCommand,
    pub(crate) against: Against,
    /// Rounds that count; one more is run before and discarded.
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) offloads: Offloads,
    pub(crate) cores: Cores,
    /// How often a group of packets is sent.
    pub(crate) tick: Duration,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) chart: Option<PathBuf>,
    /// Names of rows; all when empty.
    pub(crate) rows: Vec<String>,
}

/// What the server under test is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    Coturn,
    /// Another version of itself.
    Older,
}

impl Against {
    /// What the two servers are called, ours first.
    pub(crate) fn names(self) -> [&'static str; 2] {
        match self {
            Against::Coturn => ["ours", "coturn"],
            Against::Older => ["new", "old"],
        }
    }
}

impl Options {
    /// Reads the process's arguments; ends it after printing help or an error.
    pub(crate) fn from_command_line() -> Self {
        Options::from_matches(&command().get_matches())
    }

    /// Whether everything is measured against coturn, at full length: what may be quoted.
    pub(crate) fn is_whole(&self) -> bool {
        !self.quick && self.rows.is_empty() && self.against == Against::Coturn
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let against = if matches.contains_id("against") { Against::Older } else { Against::Coturn };
        let server = |side: Side, kind: Kind, program: &str, extra: &str| ServerCommand {
            side,
            kind,
            // The servers are started in a directory of their own.
            program: matches.get_one::<PathBuf>(program).map(in_full).unwrap_or_default(),
            extra: matches.get_many::<String>(extra).into_iter().flatten().cloned().collect(),
            certificate: None,
            dtls: false,
            fast_path: None,
        };
        let fast_path = matches.get_one::<String>("fast-path");
        let mut ours = server(Side::Ours, Kind::Turnpike, "ours", "ours-argument");
        let theirs = match against {
            Against::Coturn => server(Side::Theirs, Kind::Coturn, "coturn", "coturn-argument"),
            Against::Older => ServerCommand {
                side: Side::Theirs,
                ..server(Side::Theirs, Kind::Turnpike, "against", "ours-argument")
            },
        };
        ours.extra.extend(fast_path.map(|place| format!("--fast-path={place}")));
        let number = |name: &str| matches.get_one::<usize>(name).copied().unwrap_or_default();
        let quick = matches.get_flag("quick");
        Options {
            ours,
            theirs,
            against,
            rounds: matches.get_one("rounds").copied().unwrap_or(if quick { 2 } else { 5 }).max(1),
            quick,
            offloads: Offloads {
                // What is left to hardware that is not there cannot be relayed in the kernel.
                checksums: !matches.get_flag("full-checksums") && fast_path.is_none(),
                segmentation: !matches.get_flag("no-segmentation-offload"),
            },
            cores: Cores { server: number("server-core"), generator: number("generator-core") },
            tick: Duration::from_micros(number("tick").max(1) as u64),
            json: matches.get_one("json").cloned(),
            markdown: matches.get_one("markdown").cloned(),
            chart: matches.get_one("chart").cloned(),
            rows: matches.get_many::<String>("rows").into_iter().flatten().cloned().collect(),
        }
    }
}

/// A path that means the same from everywhere; a bare name is left to PATH.
fn in_full(path: &PathBuf) -> PathBuf {
    if path.components().count() == 1 {
        return path.clone();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.clone())
}

fn command() -> Command {
    let rows: Vec<String> = ROWS.iter().map(|row| format!("  {:<11} {}", row.name, row.about)).collect();
    Command::new("turnpike-bench")
        .about("Measures a TURN server and coturn side by side, in network namespaces of its own (as root)")
        .after_help(format!("Rows:\n{}", rows.join("\n")))
        .args([
            program("ours", "target/release/turnserver", "The server under test"),
            program("coturn", "/usr/bin/turnserver", "The server it is compared with"),
            option("against", "PROGRAM", "Another version of the server under test, instead of coturn")
                .value_parser(value_parser!(PathBuf)),
            argument("ours-argument", "One more argument for the server under test; may be repeated"),
            argument("coturn-argument", "One more argument for coturn; may be repeated"),
            option("rounds", "N", "Rounds that count, after one that is discarded [default: 5; quick: 2]")
                .value_parser(value_parser!(usize)),
            flag("quick", "Short runs: to see whether it works, not to quote"),
            option(
                "fast-path",
                "PLACE",
                "Let the server under test relay in the kernel in every row, at tc or xdp; with full checksums",
            )
            .value_parser(["tc", "xdp", "auto"]),
            flag("full-checksums", "Turn transmit checksum offload off on every virtual device"),
            flag("no-segmentation-offload", "Cut what the server sends with UDP_SEGMENT on its own core"),
            option("server-core", "CORE", "Core of the server and its receive work")
                .value_parser(value_parser!(usize))
                .default_value("0"),
            option("generator-core", "CORE", "Core of clients and peers")
                .value_parser(value_parser!(usize))
                .default_value("1"),
            option("tick", "MICROSECONDS", "How often a group of packets is sent")
                .value_parser(value_parser!(usize))
                .default_value("200"),
            option("json", "FILE", "Write everything measured to this file")
                .value_parser(value_parser!(PathBuf)),
            option("markdown", "FILE", "Replace the part of this file between the bench markers")
                .value_parser(value_parser!(PathBuf)),
            option("chart", "FILE", "Draw the ratios as SVG; with --markdown, beside that file")
                .value_parser(value_parser!(PathBuf)),
            Arg::new("rows").value_name("ROW").num_args(0..).help("Rows to measure; all without any"),
        ])
}

fn program(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    option(name, "PROGRAM", help).value_parser(value_parser!(PathBuf)).default_value(default)
}

fn argument(name: &'static str, help: &'static str) -> Arg {
    option(name, "ARGUMENT", help).action(ArgAction::Append).allow_hyphen_values(true)
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        let line = ["turnpike-bench"].iter().chain(arguments);
        Options::from_matches(&command().try_get_matches_from(line).unwrap())
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn without_arguments_all_rows_run_five_rounds() {
        let options = parse(&[]);
        assert_eq!(options.rounds, 5);
        assert!(options.rows.is_empty());
        assert_eq!((options.cores.server, options.cores.generator), (0, 1));
        assert_eq!(options.theirs.program, PathBuf::from("/usr/bin/turnserver"));
        assert!(options.theirs.kind == Kind::Coturn && options.is_whole());
    }

    #[test]
    fn servers_rounds_and_rows_are_selectable() {
        let options =
            parse(&["--quick", "--ours", "/x", "--ours-argument=--multiplex-peer", "audio", "hold"]);
        assert_eq!(options.rounds, 2);
        assert_eq!(options.ours.program, PathBuf::from("/x"));
        assert_eq!(options.ours.extra, ["--multiplex-peer"]);
        assert!(parse(&["--ours", "target/release/turnserver"]).ours.program.is_absolute());
        assert_eq!(parse(&["--coturn", "turnserver"]).theirs.program, PathBuf::from("turnserver"));
        assert_eq!(options.rows, ["audio", "hold"]);
        let fast = parse(&["--fast-path", "tc", "--ours-argument=-v"]);
        assert_eq!(fast.ours.extra, ["-v", "--fast-path=tc"]);
        assert!(!fast.offloads.checksums && options.offloads.checksums && fast.theirs.extra.is_empty());
        assert_eq!(parse(&["--quick", "--rounds", "7"]).rounds, 7);
    }

    #[test]
    fn two_versions_are_compared_with_the_same_arguments() {
        let options = parse(&["--ours", "/new", "--against", "/old", "--ours-argument=-v"]);
        assert_eq!((options.ours.program, options.theirs.program), ("/new".into(), "/old".into()));
        assert_eq!((options.theirs.kind, options.against), (Kind::Turnpike, Against::Older));
        assert_eq!(options.theirs.extra, ["-v"]);
        assert_eq!(options.against.names(), ["new", "old"]);
    }
}
