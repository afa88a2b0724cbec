//! The help text of a tool, read back: what it says to people becomes a manual page and completions.

use std::io;

use clap::{Arg, ArgAction, Command, ValueHint};
use clap_mangen::roff::{bold, roman};

use super::{Page, begin, end};

/// A help text taken apart.
pub(super) struct Usage {
    /// The tool.
    pub(super) name: &'static str,
    what: &'static str,
    sections: Vec<Section>,
}

#[derive(Default)]
struct Section {
    heading: &'static str,
    items: Vec<Item>,
}

enum Item {
    /// Lines that belong together.
    Paragraph(String),
    /// Flags, as they stand in the text, and what they do.
    Flags(&'static str, String),
}

/// One name of a flag.
struct Name {
    /// As it stands there first.
    flag: &'static str,
    letter: Option<char>,
    long: Option<&'static str>,
    value: Option<&'static str>,
}

impl Usage {
    /// Reads a text: its first line says what the tool is, capitals head a section, a line that begins with a dash names
    /// flags and, behind two blanks, says what they do; what is indented deeper goes on with it.
    pub(super) fn read(text: &'static str) -> Self {
        let mut lines = text.lines();
        let (name, what) = lines.next().and_then(|line| line.split_once(" - ")).unwrap_or_default();
        let mut usage = Usage { name, what, sections: vec![Section::default()] };
        let mut indent = 0;
        // Whether the next line goes on with what was said last.
        let mut open = false;
        for line in lines {
            let words = line.trim_start();
            let depth = line.len() - words.len();
            if words.is_empty() {
                open = false;
            } else if depth == 0 && !line.contains(|letter: char| letter.is_ascii_lowercase()) {
                usage.sections.push(Section { heading: line, items: Vec::new() });
                open = false;
            } else if words.starts_with('-') {
                let (flags, help) = words.split_once("  ").unwrap_or((words, ""));
                usage.add(Item::Flags(flags, collapsed(help)));
                (open, indent) = (true, depth);
            } else if open && depth > indent {
                usage.go_on(words);
            } else if let (true, Some(Item::Paragraph(_))) = (open, usage.last()) {
                usage.go_on(words);
            } else {
                usage.add(Item::Paragraph(words.to_owned()));
                (open, indent) = (true, depth);
            }
        }
        usage
    }

    /// The manual page.
    pub(super) fn page(&self) -> io::Result<Page> {
        let mut roff = begin(self.name, 1, self.what);
        for Section { heading, items } in self.sections.iter().filter(|section| !section.items.is_empty()) {
            let heading = match *heading {
                "USAGE" => "SYNOPSIS",
                "" => "DESCRIPTION",
                other => other,
            };
            roff.control("SH", [heading]);
            for (at, item) in items.iter().enumerate() {
                match item {
                    Item::Paragraph(text) => {
                        if at > 0 {
                            roff.control("PP", []);
                        }
                        roff.text([roman(text.as_str())]);
                    }
                    Item::Flags(flags, help) => {
                        roff.control("TP", []);
                        roff.text([bold(*flags)]);
                        roff.text([roman(help.as_str())]);
                    }
                }
            }
        }
        end(roff, self.name, 1)
    }

    /// The command line, for completions.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.name).disable_help_flag(true).disable_version_flag(true);
        let mut known = Vec::new();
        for item in self.sections.iter().flat_map(|section| &section.items) {
            let Item::Flags(flags, help) = item else { continue };
            for name in names(flags) {
                // Some stand there several times, each with another value.
                if !known.contains(&name.flag) {
                    known.push(name.flag);
                    command = command.arg(name.argument(help));
                }
            }
        }
        command
    }

    fn add(&mut self, item: Item) {
        if let Some(section) = self.sections.last_mut() {
            section.items.push(item);
        }
    }

    fn last(&self) -> Option<&Item> {
        self.sections.last()?.items.last()
    }

    /// More of what was said last.
    fn go_on(&mut self, words: &str) {
        let last = self.sections.last_mut().and_then(|section| section.items.last_mut());
        if let Some(Item::Paragraph(text) | Item::Flags(_, text)) = last {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&collapsed(words));
        }
    }
}

impl Name {
    fn argument(&self, help: &str) -> Arg {
        let mut argument = Arg::new(self.flag).help(help.to_owned());
        if let Some(letter) = self.letter {
            argument = argument.short(letter);
        }
        if let Some(long) = self.long {
            argument = argument.long(long);
        }
        match self.value {
            None => argument.action(ArgAction::SetTrue),
            Some(value) => {
                let hint = if value == "FILE" { ValueHint::FilePath } else { ValueHint::Unknown };
                argument.value_name(value).value_hint(hint).action(ArgAction::Append)
            }
        }
    }
}

/// The names in `-u, --user NAME`; a letter and the long name behind it are one flag, and a value is that of all.
fn names(flags: &'static str) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    let mut value = None;
    for part in flags.split(", ") {
        let (flag, own_value) = match part.split_once([' ', '[']) {
            Some((flag, rest)) => (flag, Some(rest.trim_matches(['=', ']']))),
            None => (part, None),
        };
        value = value.or(own_value);
        match flag.strip_prefix("--") {
            Some(long) => match names.last_mut() {
                Some(last) if last.long.is_none() => last.long = Some(long),
                _ => names.push(Name { flag, letter: None, long: Some(long), value: None }),
            },
            None => names.push(Name { flag, letter: flag.chars().nth(1), long: None, value: None }),
        }
    }
    names.iter_mut().for_each(|name| name.value = value);
    names
}

/// Columns of the help text become words in brackets: what stands to the right of a flag's help says what it needs.
fn collapsed(text: &str) -> String {
    let mut parts = text.split("  ").map(str::trim).filter(|part| !part.is_empty());
    let mut line = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        line.push_str(&format!(" (with {part})"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
tool - does things

USAGE
    tool [flags] SERVER

WHAT TO DO (-X)
    -u, --user NAME    who; this
                       goes on      -r
        --long-name[=S]
                       below
    -Y one             first
    -Y two             second

Said at the end
in two lines.
";

    #[test]
    fn a_text_is_taken_apart_into_sections_flags_and_paragraphs() {
        let page = Usage::read(TEXT).page().unwrap();
        assert_eq!(page.file_name(), "tool.1");
        for part in [
            ".SH SYNOPSIS\ntool [flags] SERVER\n",
            ".SH \"WHAT TO DO (-X)\"\n.TP\n\\fB\\-u, \\-\\-user NAME\\fR\nwho; this goes on (with \\-r)\n",
            "\\fB\\-\\-long\\-name[=S]\\fR\nbelow\n",
            ".PP\nSaid at the end in two lines.\n",
        ] {
            assert!(page.text.contains(part), "{part}\nis not in\n{}", page.text);
        }
    }

    #[test]
    fn flags_are_completed_once_with_all_their_names() {
        let command = Usage::read(TEXT).command();
        let flags: Vec<_> = command
            .get_arguments()
            .map(|argument| (argument.get_short(), argument.get_long(), argument.get_action().takes_values()))
            .collect();
        assert_eq!(
            flags,
            [(Some('u'), Some("user"), true), (None, Some("long-name"), true), (Some('Y'), None, true)]
        );
    }
}
