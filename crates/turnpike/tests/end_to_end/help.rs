//! What the programs say about themselves.

use crate::harness::{
    PEER, RFC5769CHECK, STUNCLIENT, TURNADMIN, TURNPIKE, TURNSERVER, UCLIENT, on_a_terminal, run,
};

#[test]
fn turnserver_prints_every_option_of_coturn_in_groups() {
    let finished = run(TURNSERVER, &["-h"]);
    assert_eq!(finished.code, Some(0));
    for name in include_str!("../../../config/tests/coturn_option_names.txt").split_ascii_whitespace() {
        assert!(finished.stdout.contains(&format!("--{name}")), "{name} is missing");
    }
    for heading in ["\nListening\n", "\nUsers and secrets\n", "\nPeers\n", "\nLog\n"] {
        assert!(finished.stdout.contains(heading), "{heading}");
    }
    assert!(!finished.stdout.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn help_is_coloured_on_a_terminal_unless_no_color_is_set() {
    for (program, arguments) in [(TURNSERVER, &["-h"][..]), (TURNPIKE, &["--help"]), (TURNSERVER, &["-n"])] {
        let coloured = on_a_terminal(program, arguments, &[]);
        assert!(coloured.contains("\u{1b}["), "{program} {arguments:?}: {coloured}");
        let plain = on_a_terminal(program, arguments, &[("NO_COLOR", "1")]);
        assert!(plain.len() > 100 && !plain.contains('\u{1b}'), "{program} {arguments:?}: {plain}");
    }
}

#[test]
fn the_version_stands_alone_so_that_scripts_can_read_it() {
    let finished = run(TURNSERVER, &["--version"]);
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.stdout, concat!(env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn every_program_explains_itself_on_standard_output() {
    for (program, flag) in [
        (TURNPIKE, "--help"),
        (UCLIENT, "--help"),
        (PEER, "-h"),
        (STUNCLIENT, "-h"),
        (RFC5769CHECK, "-h"),
        (TURNADMIN, "-h"),
    ] {
        let finished = run(program, &[flag]);
        assert_eq!(finished.code, Some(0), "{program}");
        assert!(finished.stdout.len() > 200 && finished.stderr.is_empty(), "{program}: {}", finished.stdout);
    }
}

#[test]
fn turnpike_without_a_verb_shows_what_there_is() {
    let finished = run(TURNPIKE, &[]);
    assert_eq!(finished.code, Some(2));
    for verb in ["up", "credentials", "doctor", "probe", "firewall", "migrate", "explain", "completions"] {
        assert!(finished.stderr.contains(verb), "{}", finished.stderr);
    }
    let finished = run(TURNPIKE, &["upp"]);
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("'up'"), "{}", finished.stderr);
}

#[test]
fn a_reader_that_goes_away_early_is_no_failure() {
    for command in ["explain", "completions bash", "credentials decode x"] {
        // /dev/full refuses every byte, as a pipe does that nobody reads.
        let line = format!("\"$0\" {command} >/dev/full; \"$0\" {command} | true");
        let finished = run("/bin/sh", &["-c", &line, TURNPIKE]);
        assert!(!finished.stderr.contains("panicked"), "{command}: {}", finished.stderr);
    }
}
