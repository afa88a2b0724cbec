//! The command-line habits of GNU `getopt_long`: clusters of letters, attached values, `--name=value`, and
//! unambiguous beginnings of long names. Shared by the server and its tools.

use std::collections::VecDeque;

/// How an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It takes none.
    Nothing,
    /// It needs one: attached, after `=`, or the next word, whatever that looks like.
    Value,
    /// It may have one, but only attached or after `=`.
    OptionalValue,
}

/// An option as the parser sees it.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'s> {
    /// Its long name and the names it also goes by; none for an option with a letter alone.
    pub long: &'s [&'s str],
    /// Its letter.
    pub short: Option<char>,
    /// Whether it takes a value.
    pub takes: Takes,
}

/// One thing found on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An option: its index among the specs, and its value.
    Option(usize, Option<String>),
    /// A word that belongs to no option.
    Positional(String),
}

/// Reads a command line.
///
/// # Errors
/// A word cannot be understood; the message names it and the nearest known name.
pub fn parse(specs: &[Spec<'_>], arguments: impl IntoIterator<Item = String>) -> Result<Vec<Found>, String> {
    let mut words: VecDeque<String> = arguments.into_iter().collect();
    let mut found = Vec::new();
    while let Some(word) = words.pop_front() {
        if word == "--" {
            found.extend(words.drain(..).map(Found::Positional));
        } else if let Some(long) = word.strip_prefix("--") {
            found.push(long_option(specs, long, &mut words)?);
        } else if word.len() > 1 && word.starts_with('-') {
            letters(specs, &word[1..], &mut words, &mut found)?;
        } else {
            found.push(Found::Positional(word));
        }
    }
    Ok(found)
}

fn long_option(specs: &[Spec<'_>], word: &str, words: &mut VecDeque<String>) -> Result<Found, String> {
    let (name, attached) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    let index = find_long(specs, name)?;
    let value = match (specs[index].takes, attached) {
        (Takes::Nothing, Some(_)) => return Err(format!("--{name} takes no value")),
        (Takes::Value, None) => Some(words.pop_front().ok_or_else(|| format!("--{name} needs a value"))?),
        (_, attached) => attached,
    };
    Ok(Found::Option(index, value))
}

/// By its whole name, or by a beginning that only one option has.
fn find_long(specs: &[Spec<'_>], name: &str) -> Result<usize, String> {
    if let Some(index) = specs.iter().position(|spec| spec.long.contains(&name)) {
        return Ok(index);
    }
    let begins = |spec: &Spec<'_>| !name.is_empty() && spec.long.iter().any(|long| long.starts_with(name));
    let candidates: Vec<usize> = (0..specs.len()).filter(|index| begins(&specs[*index])).collect();
    match candidates[..] {
        [index] => Ok(index),
        [] => {
            let names = specs.iter().flat_map(|spec| spec.long.iter().copied());
            let hint =
                nearest(name, names).map(|near| format!("; did you mean --{near}?")).unwrap_or_default();
            Err(format!("unknown option --{name}{hint}"))
        }
        _ => {
            let names: Vec<String> = candidates
                .iter()
                .filter_map(|index| specs[*index].long.iter().find(|long| long.starts_with(name)))
                .map(|long| format!("--{long}"))
                .collect();
            Err(format!("--{name} could mean {}", names.join(", ")))
        }
    }
}

fn letters(
    specs: &[Spec<'_>],
    cluster: &str,
    words: &mut VecDeque<String>,
    found: &mut Vec<Found>,
) -> Result<(), String> {
    let mut rest = cluster.chars();
    while let Some(letter) = rest.next() {
        let index = specs.iter().position(|spec| spec.short == Some(letter));
        let index = index.ok_or_else(|| format!("unknown option -{letter}"))?;
        let attached = rest.as_str();
        match specs[index].takes {
            Takes::Nothing => {
                found.push(Found::Option(index, None));
                continue;
            }
            // A letter that may have a value is mostly used as a switch within a cluster: only digits or an
            // equals sign make what follows a value.
            Takes::OptionalValue => {
                let value = attached.strip_prefix('=').or_else(|| {
                    attached.starts_with(|first: char| first.is_ascii_digit()).then_some(attached)
                });
                let Some(value) = value else {
                    found.push(Found::Option(index, None));
                    continue;
                };
                found.push(Found::Option(index, Some(value.to_owned())));
            }
            Takes::Value if !attached.is_empty() => {
                let value = attached.strip_prefix('=').unwrap_or(attached);
                found.push(Found::Option(index, Some(value.to_owned())));
            }
            Takes::Value => {
                let value = words.pop_front().ok_or_else(|| format!("-{letter} needs a value"))?;
                found.push(Found::Option(index, Some(value)));
            }
        }
        return Ok(());
    }
    Ok(())
}

/// The name most like `word`, if one is like it at all.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let ranked = names.into_iter().map(|name| (distance(word, name), name));
    let (distance, name) = ranked.min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.chars().count() / 3).max(1)).then_some(name)
}

/// How many characters must be put in, left out or replaced to make one word of the other. Words longer than any
/// option's name are cut off: they are like none anyway.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[Spec<'_>] = &[
        Spec { long: &["verbose"], short: Some('v'), takes: Takes::OptionalValue },
        Spec { long: &["lt-cred-mech"], short: Some('a'), takes: Takes::OptionalValue },
        Spec { long: &["fingerprint"], short: Some('f'), takes: Takes::OptionalValue },
        Spec { long: &["listening-port"], short: Some('p'), takes: Takes::Value },
        Spec { long: &["listening-ip"], short: Some('L'), takes: Takes::Value },
        Spec { long: &[], short: Some('n'), takes: Takes::Nothing },
    ];

    fn parsed(line: &str) -> Result<Vec<Found>, String> {
        parse(SPECS, line.split_ascii_whitespace().map(str::to_owned))
    }

    fn option(index: usize, value: Option<&str>) -> Found {
        Found::Option(index, value.map(str::to_owned))
    }

    #[test]
    fn letters_cluster_and_take_attached_or_following_values() {
        let expected = vec![option(1, None), option(0, None), option(2, None)];
        assert_eq!(parsed("-avf"), Ok(expected));
        assert_eq!(parsed("-p3478"), Ok(vec![option(3, Some("3478"))]));
        assert_eq!(
            parsed("-vp 3478 -n"),
            Ok(vec![option(0, None), option(3, Some("3478")), option(5, None)])
        );
        assert_eq!(parsed("-a1"), Ok(vec![option(1, Some("1"))]));
        assert_eq!(parsed("-p -1"), Ok(vec![option(3, Some("-1"))]));
    }

    #[test]
    fn long_names_take_values_and_may_be_shortened() {
        assert_eq!(parsed("--listening-port=1"), Ok(vec![option(3, Some("1"))]));
        assert_eq!(parsed("--listening-port 1"), Ok(vec![option(3, Some("1"))]));
        assert_eq!(parsed("--verb --lt=no"), Ok(vec![option(0, None), option(1, Some("no"))]));
        assert_eq!(parsed("--verbose false"), Ok(vec![option(0, None), Found::Positional("false".into())]));
        assert_eq!(parsed("-- -v"), Ok(vec![Found::Positional("-v".into())]));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(
            parsed("--listening"),
            Err("--listening could mean --listening-port, --listening-ip".into())
        );
        assert_eq!(parsed("--verbos3"), Err("unknown option --verbos3; did you mean --verbose?".into()));
        assert_eq!(parsed("--xyz"), Err("unknown option --xyz".into()));
        assert_eq!(parsed("-y"), Err("unknown option -y".into()));
        assert_eq!(parsed("-p"), Err("-p needs a value".into()));
    }
}
