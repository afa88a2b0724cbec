//! Which known name was probably meant.

/// The known name nearest to `word`, if one is near enough to be worth proposing.
pub fn nearest<'names>(word: &str, known: impl IntoIterator<Item = &'names str>) -> Option<&'names str> {
    if word.len() > LONGEST {
        return None;
    }
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    let word = normal(word);
    known
        .into_iter()
        // Each letter that one of them has more is a slip: most names need not be compared at all.
        .filter(|name| name.chars().count().abs_diff(word.len()) <= allowed)
        .map(|name| (distance(&word, &normal(name)), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Case and the choice between `-` and `_` are the commonest slips, and so cost nothing.
fn normal(name: &str) -> Vec<char> {
    name.chars().map(|letter| if letter == '_' { '-' } else { letter.to_ascii_lowercase() }).collect()
}

/// How many letters must be put in, left out, changed, or swapped with their neighbour to make one from the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, &letter) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &wanted) in to.iter().enumerate() {
            let change = last[column] + usize::from(letter != wanted);
            let mut cost = change.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && letter == to[column - 1] && from[row - 1] == wanted;
            if swapped {
                cost = cost.min(before_last[column - 1] + 1);
            }
            current.push(cost);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

/// Words longer than this, in bytes, are no misspelt names.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["listening-port", "listening-ip", "realm", "verbose", "CA-file"];

    #[test]
    fn slips_of_the_pen_find_their_name() {
        assert_eq!(nearest("lisening-port", KNOWN), Some("listening-port"));
        assert_eq!(nearest("listening_port", KNOWN), Some("listening-port"));
        assert_eq!(nearest("relam", KNOWN), Some("realm"));
        assert_eq!(nearest("ca-file", KNOWN), Some("CA-file"));
    }

    #[test]
    fn words_unlike_any_name_find_none() {
        assert_eq!(nearest("quux", KNOWN), None);
        assert_eq!(nearest("", KNOWN), None);
        assert_eq!(nearest(&"x".repeat(100), KNOWN), None);
    }
}
