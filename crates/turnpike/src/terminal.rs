//! Standard output as people and pipes have it: colours where they show, and readers that go away early.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// A terminal shows colours, unless its user said not to (<https://no-color.org>: set, and not empty).
pub fn shows_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes to standard output.
///
/// # Errors
/// Nobody reads it any more, as with `| head`: for most callers no failure.
pub fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Writes a line to standard output; whether anybody still reads it does not matter.
macro_rules! say {
    ($($text:tt)*) => {{ let _ = $crate::terminal::print(&format!("{}\n", format_args!($($text)*))); }};
}
pub(crate) use say;

/// Writes a help text, its headings (lines in capitals) coloured on a terminal.
pub(crate) fn print_usage(usage: &str) {
    let coloured = shows_colour(&io::stdout());
    let _ = print(&painted(usage, is_in_capitals, coloured));
}

/// The text with its headings coloured.
pub(crate) fn painted(text: &str, is_heading: fn(&str) -> bool, coloured: bool) -> String {
    let lines = text.lines();
    let mut text = String::new();
    for line in lines {
        let (on, off) = if coloured && !line.is_empty() && is_heading(line) {
            ("\u{1b}[1;33m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{on}{line}{off}\n"));
    }
    text
}

fn is_in_capitals(line: &str) -> bool {
    line.bytes().all(|byte| byte.is_ascii_uppercase() || b" ,-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_headings_are_painted_and_only_where_colours_show() {
        let usage = "tool - does things\n\nWHO WE ARE\n    -u NAME   NAME\n";
        assert_eq!(painted(usage, is_in_capitals, false), usage);
        let expected = "tool - does things\n\n\u{1b}[1;33mWHO WE ARE\u{1b}[0m\n    -u NAME   NAME\n";
        assert_eq!(painted(usage, is_in_capitals, true), expected);
    }
}
