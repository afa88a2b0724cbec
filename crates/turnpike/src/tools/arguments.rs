//! Splitting a tool's command line the way getopt does: clustered letters (`-vc`), values attached (`-p3478`) or
//! following (`-p 3478`), long names with `=` or a following value, and words that are no flags anywhere.

/// Which flags a tool has.
pub(crate) struct Shape {
    /// Letters without a value.
    pub(crate) switches: &'static str,
    /// Letters with a value.
    pub(crate) values: &'static str,
    /// Long names, and whether each takes a value.
    pub(crate) long: &'static [(&'static str, bool)],
}

/// A flag that was given; `name` is its letter or long name without dashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// The flags in order, and the other words. The error is a sentence for the user.
pub(crate) fn split(shape: &Shape, arguments: Vec<String>) -> Result<(Vec<Argument>, Vec<String>), String> {
    let (mut flags, mut words) = (Vec::new(), Vec::new());
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            words.extend(rest);
            break;
        } else if let Some(long) = argument.strip_prefix("--") {
            flags.push(split_long(shape, long, &mut rest)?);
        } else if let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            split_letters(shape, letters, &mut rest, &mut flags)?;
        } else {
            words.push(argument);
        }
    }
    Ok((flags, words))
}

fn split_long(
    shape: &Shape,
    argument: &str,
    rest: &mut impl Iterator<Item = String>,
) -> Result<Argument, String> {
    let (typed, attached) = match argument.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (argument, None),
    };
    let mut candidates = shape.long.iter().filter(|(name, _)| name.starts_with(typed));
    let exact = shape.long.iter().find(|(name, _)| *name == typed);
    let found = exact.or_else(|| candidates.next().filter(|_| candidates.next().is_none()));
    let Some(&(name, takes_value)) = found else { return Err(format!("there is no flag --{typed}")) };
    let value = match (takes_value, attached) {
        (true, None) => Some(rest.next().ok_or_else(|| format!("--{name} needs a value"))?),
        (true, attached) => attached,
        (false, None) => None,
        (false, Some(_)) => return Err(format!("--{name} takes no value")),
    };
    Ok(Argument { name: name.to_owned(), value })
}

fn split_letters(
    shape: &Shape,
    letters: &str,
    rest: &mut impl Iterator<Item = String>,
    flags: &mut Vec<Argument>,
) -> Result<(), String> {
    for (at, letter) in letters.char_indices() {
        let name = letter.to_string();
        if shape.switches.contains(letter) {
            flags.push(Argument { name, value: None });
        } else if shape.values.contains(letter) {
            let attached = &letters[at + letter.len_utf8()..];
            let value = match attached {
                "" => rest.next().ok_or_else(|| format!("-{letter} needs a value"))?,
                attached => attached.to_owned(),
            };
            flags.push(Argument { name, value: Some(value) });
            return Ok(());
        } else {
            return Err(format!("there is no flag -{letter}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape =
        Shape { switches: "cv", values: "pe", long: &[("sender-threads", true), ("no-even-port", false)] };

    type Pairs = Vec<(String, Option<String>)>;

    fn split_words(words: &[&str]) -> Result<(Pairs, Vec<String>), String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let (flags, rest) = split(&SHAPE, words)?;
        Ok((flags.into_iter().map(|flag| (flag.name, flag.value)).collect(), rest))
    }

    #[test]
    fn letters_cluster_and_values_attach_or_follow() {
        let (flags, words) = split_words(&["-cvp3478", "-e", "-1", "host", "-v"]).unwrap();
        let expected = [("c", None), ("v", None), ("p", Some("3478")), ("e", Some("-1")), ("v", None)];
        let expected: Pairs =
            expected.iter().map(|(name, value)| ((*name).into(), value.map(str::to_owned))).collect();
        assert_eq!(flags, expected);
        assert_eq!(words, ["host"]);
    }

    #[test]
    fn long_names_may_be_shortened_while_unambiguous() {
        let (flags, _) = split_words(&["--sender=2", "--no-even-port", "--sender-threads", "1"]).unwrap();
        assert_eq!(flags[0], ("sender-threads".into(), Some("2".into())));
        assert_eq!(flags[1], ("no-even-port".into(), None));
        assert_eq!(flags[2], ("sender-threads".into(), Some("1".into())));
    }

    #[test]
    fn unknown_flags_and_missing_values_are_named() {
        assert_eq!(split_words(&["-q"]), Err("there is no flag -q".into()));
        assert_eq!(split_words(&["-p"]), Err("-p needs a value".into()));
        assert_eq!(split_words(&["--nothing"]), Err("there is no flag --nothing".into()));
        assert_eq!(split_words(&["--no-even-port=1"]), Err("--no-even-port takes no value".into()));
    }
}
