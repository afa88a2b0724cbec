//! Whether a stream shows colours.

use std::io::IsTerminal;

/// A terminal does, unless its user said not to (<https://no-color.org>: set, and not empty).
pub fn shows_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
