//! The connection strings of MySQL and Redis: `key=value` pairs between blanks, under any of coturn's many names.

use crate::error::{ErrorKind, StoreError};
use crate::target::Target;

/// What a connection string says, under the first of each key's names.
#[derive(Default)]
pub(crate) struct KeyValues(Vec<(&'static str, String)>);

impl KeyValues {
    /// Reads pairs whose keys are among these names; the first name of each list is the one to ask for.
    pub(crate) fn parse(
        text: &str,
        names: &[&'static [&'static str]],
        place: &Target,
    ) -> Result<Self, StoreError> {
        let wrong = |what: std::fmt::Arguments<'_>| place.error(ErrorKind::ConnectionString, what);
        let mut pairs = KeyValues::default();
        for word in text.split_ascii_whitespace() {
            // A word without `=` may be half of a password with a blank in it: it is not repeated.
            let Some((key, value)) = word.split_once('=') else {
                return Err(wrong(format_args!(
                    "something in the connection string is not key=value; values cannot hold blanks"
                )));
            };
            let known = names.iter().find(|names| names.iter().any(|name| key.eq_ignore_ascii_case(name)));
            let Some(names) = known else {
                let all = names.iter().map(|names| names[0]).collect::<Vec<_>>().join(", ");
                return Err(wrong(format_args!(
                    "unknown key {key:?} in the connection string; known are {all}"
                )));
            };
            pairs.0.retain(|(found, _)| *found != names[0]);
            pairs.0.push((names[0], value.to_owned()));
        }
        Ok(pairs)
    }

    /// The value of a key, unless it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(found, _)| *found == key)?;
        Some(pair.1.as_str()).filter(|value| !value.is_empty())
    }

    /// Likewise for numbers.
    pub(crate) fn number<T: std::str::FromStr>(
        &self,
        key: &str,
        place: &Target,
    ) -> Result<Option<T>, StoreError> {
        let parse = |value: &str| {
            value.parse().map_err(|_| {
                place.error(ErrorKind::ConnectionString, format_args!("{key}={value} is not such a number"))
            })
        };
        self.get(key).map(parse).transpose()
    }
}
