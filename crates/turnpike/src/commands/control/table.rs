//! Columns.

/// Rows of cells, aligned: numbers at the right, as the headings say by beginning with `>`.
pub(super) fn aligned(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let is_right = |column: usize| headings[column].starts_with('>');
    let titles =
        headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect::<Vec<_>>();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(titles.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let pad = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            if is_right(column) { pad + cell } else { cell.to_owned() + &pad }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    [&titles].into_iter().chain(rows).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "12".to_owned()], vec!["übergroß".to_owned(), "3".to_owned()]];
        assert_eq!(aligned(&["NAME", ">N"], &rows), ["NAME       N", "a         12", "übergroß   3"]);
        assert_eq!(aligned(&["NAME", ">N"], &[]), ["NAME  N"]);
    }
}
