//! Pictures made of characters: sparklines, bars, colours.

/// The last values of something, for a sparkline.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Vec<f64>);

impl History {
    pub(crate) fn push(&mut self, value: f64) {
        if self.0.len() == MOST_HISTORY {
            self.0.remove(0);
        }
        self.0.push(value);
    }

    /// The last values, the newest at the right; as wide as asked for.
    pub(crate) fn sparkline(&self, width: usize) -> String {
        let values = &self.0[self.0.len().saturating_sub(width)..];
        let most = values.iter().copied().fold(0.0, f64::max);
        let bars = values.iter().map(|value| {
            let height =
                if most > 0.0 { (value / most * (BLOCKS.len() - 1) as f64).round() as usize } else { 0 };
            // Whatever is not nothing is seen.
            BLOCKS[height.clamp(usize::from(*value > 0.0), BLOCKS.len() - 1)]
        });
        " ".repeat(width - values.len()) + &bars.collect::<String>()
    }
}

/// Escape sequences, or none.
#[derive(Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    pub(crate) fn bold(self, text: &str) -> String {
        if self.0 { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(crate) fn in_colour(self, text: &str, colour: u8) -> String {
        if self.0 { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

pub(crate) fn bar(value: u64, full: u64, width: usize) -> String {
    let filled = (value.min(full) as f64 / full.max(1) as f64 * width as f64).round() as usize;
    "█".repeat(filled) + &"░".repeat(width - filled.min(width))
}

pub(crate) fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

/// A text of somebody else's that leaves the terminal as it is: a username may hold escape sequences.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let (shown, escaped) = if character.is_control() {
                (None, Some(character.escape_default()))
            } else {
                (Some(character), None)
            };
            shown.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

pub(crate) const RED: u8 = 31;
pub(crate) const GREEN: u8 = 32;
pub(crate) const YELLOW: u8 = 33;
pub(crate) const MAGENTA: u8 = 35;
pub(crate) const CYAN: u8 = 36;
const BLOCKS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const MOST_HISTORY: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_is_as_wide_as_asked_and_shows_what_is_not_nothing() {
        let mut history = History::default();
        assert_eq!(history.sparkline(4), "    ");
        [0.0, 0.0001, 0.5, 1.0].into_iter().for_each(|value| history.push(value));
        assert_eq!(history.sparkline(6), "  ·▁▄█");
        (0..1000).for_each(|value| history.push(f64::from(value)));
        assert_eq!(history.sparkline(20).chars().count(), 20);
        assert_eq!(history.0.len(), MOST_HISTORY);
    }

    #[test]
    fn a_bar_is_full_when_the_level_is_reached_and_never_overflows() {
        assert_eq!(bar(5, 10, 10), "█████░░░░░");
        assert_eq!(bar(20, 10, 4), "████");
        assert_eq!(bar(0, 0, 3), "░░░");
    }

    #[test]
    fn what_comes_from_others_cannot_move_the_cursor() {
        assert_eq!(harmless("a\u{1b}[2Jb\nü"), "a\\u{1b}[2Jb\\nü");
    }
}
