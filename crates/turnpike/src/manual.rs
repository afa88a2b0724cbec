//! Manual pages and completions of every program, made from what the programs themselves are made of: the option table
//! of `turnserver`, the command line of `turnpike`, the help texts of the tools.

mod options;
mod usage;

use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::Roff;

use self::usage::Usage;
use crate::cli;
use crate::tools::{
    natdiscovery, oauth, peer, rfc5769check, stunclient, turnadmin::USAGE as TURNADMIN, uclient,
};

/// A page of the manual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name, such as `turnpike-up`.
    pub name: String,
    /// Its section, such as 1 for programs.
    pub section: u8,
    /// Its text in roff.
    pub text: String,
}

impl Page {
    /// The file it is kept in.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// All pages.
///
/// # Errors
/// None that is known: they are written to memory.
pub fn pages() -> io::Result<Vec<Page>> {
    let mut pages = vec![options::program()?, options::file()?];
    pages.extend(TOOLS.iter().map(|text| Usage::read(text).page()).collect::<io::Result<Vec<_>>>()?);
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    add_verbs(&command, &mut pages)?;
    Ok(pages)
}

/// The programs that completions can be had for.
pub fn programs() -> Vec<&'static str> {
    let tools = TOOLS.iter().map(|text| Usage::read(text).name);
    ["turnpike", "turnserver"].into_iter().chain(tools).collect()
}

/// What a shell needs to complete the arguments of a program; `None` if there is no such program.
pub fn completions(program: &str, shell: Shell) -> Option<String> {
    let mut command = match program {
        "turnpike" => cli::command(),
        "turnserver" => options::command(),
        _ => TOOLS.iter().map(|text| Usage::read(text)).find(|usage| usage.name == program)?.command(),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, program, &mut script);
    String::from_utf8(script).ok()
}

fn add_verbs(command: &Command, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut text = Vec::new();
    Man::new(command.clone()).date(DATE).source(SOURCE).manual(MANUAL).render(&mut text)?;
    pages.push(Page { name, section: 1, text: String::from_utf8_lossy(&text).into_owned() });
    command.get_subcommands().try_for_each(|verb| add_verbs(verb, pages))
}

/// Begins a page: its title and its name with what it is, in a line.
fn begin(name: &str, section: u8, what: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("TH", [name.to_uppercase().as_str(), &section.to_string(), DATE, SOURCE, MANUAL]);
    roff.control("SH", ["NAME"]);
    roff.text([clap_mangen::roff::roman(format!("{name} - {what}"))]);
    roff
}

/// Ends it: where to read on.
fn end(mut roff: Roff, name: &str, section: u8) -> io::Result<Page> {
    use clap_mangen::roff::{bold, roman};
    roff.control("SH", ["SEE ALSO"]);
    let others: Vec<_> =
        SEE_ALSO.iter().filter(|(other, number)| (*other, *number) != (name, section)).collect();
    let mut line = Vec::new();
    for (at, (other, number)) in others.iter().enumerate() {
        let comma = if at + 1 < others.len() { ", " } else { "" };
        line.extend([bold(*other), roman(format!("({number}){comma}"))]);
    }
    roff.text(line);
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(Page { name: name.to_owned(), section, text: String::from_utf8_lossy(&text).into_owned() })
}

/// The help texts of the tools.
const TOOLS: [&str; 7] = [
    TURNADMIN,
    uclient::USAGE,
    peer::USAGE,
    stunclient::USAGE,
    natdiscovery::USAGE,
    oauth::USAGE,
    rfc5769check::USAGE,
];
const SOURCE: &str = concat!("Turnpike ", env!("CARGO_PKG_VERSION"));
const MANUAL: &str = "Turnpike";
/// Of the version: the pages say the same whenever they are made.
const DATE: &str = "2026-11-27";
const SEE_ALSO: [(&str, u8); 5] =
    [("turnserver", 1), ("turnserver.conf", 5), ("turnpike", 1), ("turnadmin", 1), ("turnutils_uclient", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_and_every_verb_has_a_page() {
        let names: Vec<String> = pages().unwrap().iter().map(Page::file_name).collect();
        let verbs = cli::command();
        let verbs = verbs.get_subcommands().map(|verb| format!("turnpike-{}.1", verb.get_name()));
        for wanted in programs().into_iter().map(|program| format!("{program}.1")).chain(verbs) {
            assert!(names.contains(&wanted), "{wanted} of {names:?}");
        }
        assert!(names.contains(&"turnserver.conf.5".to_owned()));
    }

    #[test]
    fn every_option_stands_in_the_manual_and_is_completed() {
        let pages = pages().unwrap();
        let text = |name: &str| &pages.iter().find(|page| page.file_name() == name).unwrap().text;
        let script = completions("turnserver", Shell::Bash).unwrap();
        for option in turnpike_config::options::all() {
            let written = option.name().replace('-', "\\-");
            assert!(text("turnserver.1").contains(&written), "{written}");
            assert!(script.contains(&format!("--{}", option.name())), "{}", option.name());
        }
        assert!(text("turnserver.conf.5").contains("static\\-auth\\-secret"));
    }

    #[test]
    fn the_flags_of_the_tools_are_completed_in_every_shell() {
        // That one has none.
        for program in programs().into_iter().filter(|program| *program != "turnutils_rfc5769check") {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                assert!(
                    completions(program, shell).is_some_and(|script| script.contains(program)),
                    "{program}"
                );
            }
        }
        assert!(completions("turnadmin", Shell::Bash).unwrap().contains("--rotate-secret"));
        assert!(completions("turnutils_uclient", Shell::Fish).unwrap().contains("no-even-port"));
        assert_eq!(completions("turncoat", Shell::Bash), None);
    }
}
