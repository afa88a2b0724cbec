//! Reads a command line the way GNU `getopt_long` does, for any table of options.
//!
//! Short letters cluster (`-avf`) and take their value attached or apart (`-p3478`, `-vp 3478`); long names take it
//! after `=` or apart, and may be abbreviated while that is unambiguous; `--` ends the options. Words that are no
//! options may stand anywhere, and are handed back in their place.
//!
//! Invariant: no input panics, and every word becomes part of exactly one item or of the error.

use std::ffi::OsString;

use crate::nearest::nearest;

/// One row of a table of options.
pub trait Spec {
    /// The long names without dashes, the chief one first; empty if there is only a letter.
    fn names(&self) -> &[&str];

    /// The letter.
    fn letter(&self) -> Option<char>;

    /// Whether it takes a value.
    fn takes(&self) -> Takes;

    /// Whether it takes a value after its letter, where that differs.
    fn letter_takes(&self) -> Takes {
        self.takes()
    }

    /// Whether an abbreviation means this option only when it fits no option that says `false` here. It keeps names
    /// added later from making old abbreviations ambiguous.
    fn yields(&self) -> bool {
        false
    }
}

/// How an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It takes none.
    Nothing,
    /// Only attached: `--name=value`, and after a letter `-a=no`, `-a0` or `-a1`, so that letters still cluster.
    OptionalValue,
    /// It needs one: attached, or the next word, even if that begins with a hyphen.
    Value,
}

/// What a command line holds, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'table, S> {
    /// An option.
    Option {
        /// Its row.
        spec: &'table S,
        /// As it was written, without the value: `--port`, `-p`.
        spelled: String,
        /// Its value, if one was given.
        value: Option<String>,
    },
    /// A word that belongs to no option.
    Positional(String),
}

/// Why a command line is not understood. The text names the word and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetoptError {
    /// No option has that name.
    #[error("unknown option `{word}`{}", did_you_mean(.nearest.as_deref()))]
    Unknown {
        /// The word as written.
        word: String,
        /// The nearest known name, with its dashes.
        nearest: Option<String>,
    },
    /// An abbreviation fits several options.
    #[error("`{word}` could be {}: write the name out", .candidates.join(", "))]
    Ambiguous {
        /// The word as written.
        word: String,
        /// What it could be, with dashes.
        candidates: Vec<String>,
    },
    /// A value is missing.
    #[error("`{word}` needs a value: write `{example}`")]
    MissingValue {
        /// The option as written.
        word: String,
        /// How to write it.
        example: String,
    },
    /// There is a value where none is allowed.
    #[error("`{word}` takes no value, but `{value}` is attached to it: leave that out")]
    UnexpectedValue {
        /// The option as written.
        word: String,
        /// What is attached.
        value: String,
    },
    /// A word is not UTF-8.
    #[error("`{word}` holds bytes that are not UTF-8: write it in UTF-8")]
    NotUtf8 {
        /// The word, its bad bytes replaced.
        word: String,
    },
}

/// Reads the words of a command line, the program's name not among them.
///
/// # Errors
/// The first word that is not understood.
pub fn parse<S: Spec>(
    table: &[S],
    words: impl IntoIterator<Item = OsString>,
) -> Result<Vec<Item<'_, S>>, GetoptError> {
    let mut reader = Reader { table, words: words.into_iter(), items: Vec::new() };
    while let Some(word) = reader.next_word()? {
        if word == "--" {
            while let Some(word) = reader.next_word()? {
                reader.items.push(Item::Positional(word));
            }
        } else if let Some(long) = word.strip_prefix("--") {
            reader.read_long(long)?;
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            reader.read_cluster(letters)?;
        } else {
            reader.items.push(Item::Positional(word));
        }
    }
    Ok(reader.items)
}

struct Reader<'table, S, W> {
    table: &'table [S],
    words: W,
    items: Vec<Item<'table, S>>,
}

impl<'table, S: Spec, W: Iterator<Item = OsString>> Reader<'table, S, W> {
    fn next_word(&mut self) -> Result<Option<String>, GetoptError> {
        let lossy = |word: OsString| GetoptError::NotUtf8 { word: word.to_string_lossy().into_owned() };
        self.words.next().map(|word| word.into_string().map_err(lossy)).transpose()
    }

    fn read_long(&mut self, word: &str) -> Result<(), GetoptError> {
        let (name, attached) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let spec = self.find_long(name)?;
        let spelled = format!("--{name}");
        let value = match (spec.takes(), attached) {
            (Takes::Nothing, Some(value)) => {
                return Err(GetoptError::UnexpectedValue { word: spelled, value: value.into() });
            }
            (Takes::Value, None) => Some(self.required(&spelled, &format!("{spelled}=VALUE"))?),
            (_, attached) => attached.map(String::from),
        };
        self.items.push(Item::Option { spec, spelled, value });
        Ok(())
    }

    fn read_cluster(&mut self, letters: &str) -> Result<(), GetoptError> {
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            let spelled = format!("-{letter}");
            let Some(spec) = self.table.iter().find(|spec| spec.letter() == Some(letter)) else {
                return Err(GetoptError::Unknown { word: spelled, nearest: self.long_meant(letters) });
            };
            let attached = rest.as_str();
            let value = match spec.letter_takes() {
                Takes::Value if attached.is_empty() => {
                    Some(self.required(&spelled, &format!("{spelled} VALUE"))?)
                }
                // getopt keeps the sign of `-p=3478`, which nobody ever means.
                Takes::Value => Some(attached.strip_prefix('=').unwrap_or(attached).into()),
                Takes::OptionalValue => optional_attached(attached).map(String::from),
                Takes::Nothing => None,
            };
            let ends = value.is_some();
            self.items.push(Item::Option { spec, spelled, value });
            if ends {
                break;
            }
        }
        Ok(())
    }

    fn required(&mut self, spelled: &str, example: &str) -> Result<String, GetoptError> {
        let missing = || GetoptError::MissingValue { word: spelled.into(), example: example.into() };
        self.next_word()?.ok_or_else(missing)
    }

    fn find_long(&self, name: &str) -> Result<&'table S, GetoptError> {
        if let Some(spec) = find_exact(self.table, name) {
            return Ok(spec);
        }
        for yielding in [false, true] {
            let mut fitting = self.table.iter().filter(|spec| {
                !name.is_empty()
                    && spec.yields() == yielding
                    && spec.names().iter().any(|long| long.starts_with(name))
            });
            let Some(first) = fitting.next() else { continue };
            let others: Vec<&S> = fitting.collect();
            if others.is_empty() {
                return Ok(first);
            }
            let candidates = std::iter::once(first).chain(others).map(dashed).collect();
            return Err(GetoptError::Ambiguous { word: format!("--{name}"), candidates });
        }
        let known = self.table.iter().flat_map(|spec| spec.names().iter().copied());
        let nearest = nearest(name, known).map(|name| format!("--{name}"));
        Err(GetoptError::Unknown { word: format!("--{name}"), nearest })
    }

    /// A long name written with a single dash.
    fn long_meant(&self, letters: &str) -> Option<String> {
        let name = letters.split('=').next().unwrap_or(letters);
        find_exact(self.table, name).map(dashed)
    }
}

/// The row that has exactly this long name.
pub fn find_exact<'table, S: Spec>(table: &'table [S], name: &str) -> Option<&'table S> {
    table.iter().find(|spec| spec.names().contains(&name))
}

fn dashed(spec: &impl Spec) -> String {
    format!("--{}", spec.names().first().unwrap_or(&""))
}

/// The value that is attached to a short letter whose value is optional.
fn optional_attached(attached: &str) -> Option<&str> {
    attached.strip_prefix('=').or_else(|| attached.starts_with(['0', '1']).then_some(attached))
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| ": -h lists those there are".into(), |name| format!(": did you mean `{name}`?"))
}

#[cfg(test)]
#[path = "getopt_tests.rs"]
mod tests;
