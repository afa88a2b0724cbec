//! Tables as text for a terminal and as Markdown.

/// A table of text cells; the first column is aligned left, the others right.
pub(crate) struct Table {
    pub(crate) headings: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns of equal width, two spaces apart.
    pub(crate) fn text(&self) -> String {
        let widths = self.widths();
        let headings: Vec<String> = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let lines = [&headings, &rule].into_iter().chain(&self.rows);
        lines.map(|cells| line(cells, &widths, "  ").trim_end().to_owned() + "\n").collect()
    }

    /// A Markdown table.
    pub(crate) fn markdown(&self) -> String {
        let headings = self.headings.join(" | ");
        let rule: Vec<&str> =
            (0..self.headings.len()).map(|column| if column == 0 { "---" } else { "---:" }).collect();
        let mut text = format!("| {headings} |\n|{}|\n", rule.join("|"));
        for row in &self.rows {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.max(self.headings[column].chars().count())
            })
            .collect()
    }
}

/// A number with commas between thousands.
pub(crate) fn grouped(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), None), |(w, f)| (w, Some(f)));
    let digits = whole.trim_start_matches('-');
    let mut text = String::from(if whole.starts_with('-') { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    match fraction {
        Some(fraction) => text + "." + fraction,
        None => text,
    }
}

fn line(cells: &[String], widths: &[usize], gap: &str) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .enumerate()
        .map(
            |(column, (cell, width))| {
                if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            },
        )
        .collect();
    padded.join(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            headings: vec!["metric", "ours"],
            rows: vec![
                vec!["cost µs".to_owned(), "2.10".to_owned()],
                vec!["x".to_owned(), "12.00".to_owned()],
            ],
        }
    }

    #[test]
    fn text_columns_line_up_by_characters_not_bytes() {
        assert_eq!(table().text(), "metric    ours\n───────  ─────\ncost µs   2.10\nx        12.00\n");
    }

    #[test]
    fn markdown_has_a_rule_below_the_headings() {
        assert_eq!(table().markdown(), "| metric | ours |\n|---|---:|\n| cost µs | 2.10 |\n| x | 12.00 |\n");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(999.0, 0), "999");
        assert_eq!(grouped(1234.5, 1), "1,234.5");
        assert_eq!(grouped(-1234.0, 0), "-1,234");
        assert_eq!(grouped(2.346, 2), "2.35");
    }
}
