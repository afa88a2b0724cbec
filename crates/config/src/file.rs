//! `turnserver.conf`: one option a line, `key value`, `key=value` or `key = value`.
//!
//! As coturn reads it, but lines have no length limit, a comment may stand behind a value (after a blank), and a
//! semicolon at the end, which other servers' files have, is taken off with a notice.

/// One setting in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Line number, from 1.
    pub(crate) line: usize,
    pub(crate) key: String,
    /// Empty when nothing follows the key.
    pub(crate) value: String,
    /// Something odd about the line that was put right.
    pub(crate) oddity: Option<&'static str>,
}

/// Reads a file's text.
pub(crate) fn parse(text: &str) -> Vec<Setting> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().enumerate().filter_map(|(index, line)| setting(index + 1, line)).collect()
}

fn setting(line: usize, text: &str) -> Option<Setting> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let separator = |character: char| character == '=' || character.is_whitespace();
    let (key, rest) = text.split_once(separator).unwrap_or((text, ""));
    let (value, mut oddity) = value_of(rest.trim_start_matches(separator));
    let mut key = key.to_owned();
    if let Some(bare) = key.strip_suffix(';') {
        key = bare.to_owned();
        oddity = Some(SEMICOLON);
    }
    Some(Setting { line, key, value, oddity })
}

fn value_of(text: &str) -> (String, Option<&'static str>) {
    if let Some(quoted) = text.strip_prefix('"') {
        // Inside quotation marks everything counts; what follows them may only be a comment or a semicolon.
        if let Some((inner, after)) = quoted.rsplit_once('"')
            && after.trim_start().trim_start_matches(';').trim_start().split('#').next() == Some("")
        {
            return (inner.to_owned(), after.trim_start().starts_with(';').then_some(SEMICOLON));
        }
        return (quoted.to_owned(), None);
    }
    let without_comment = text
        .char_indices()
        .find(|(at, character)| *character == '#' && (*at == 0 || text[..*at].ends_with(char::is_whitespace)))
        .map_or(text, |(at, _)| &text[..at]);
    let value = without_comment.trim_end();
    if value.contains(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) {
        return (value.to_owned(), Some("typographic quotation marks are part of the value: use plain ones"));
    }
    match value.strip_suffix(';') {
        Some(bare) => (bare.trim_end().to_owned(), Some(SEMICOLON)),
        None => (value.to_owned(), None),
    }
}

const SEMICOLON: &str = "the semicolon at the end was left out";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(text: &str) -> (String, String, bool) {
        let mut settings = parse(text);
        assert_eq!(settings.len(), 1, "{text}");
        let Setting { key, value, oddity, .. } = settings.remove(0);
        (key, value, oddity.is_some())
    }

    #[test]
    fn keys_and_values_are_separated_as_coturn_separates_them() {
        for text in
            ["realm example.org", "realm=example.org", "realm = example.org", "\t realm\t=  example.org \r"]
        {
            assert_eq!(only(text), ("realm".into(), "example.org".into(), false), "{text}");
        }
        assert_eq!(only("verbose"), ("verbose".into(), String::new(), false));
        assert_eq!(
            only("psql-userdb=\"host=a dbname=b\""),
            ("psql-userdb".into(), "host=a dbname=b".into(), false)
        );
        assert_eq!(parse("# comment\n\n   \n#x=y\n"), []);
    }

    #[test]
    fn comments_behind_values_and_semicolons_are_taken_off() {
        assert_eq!(only("realm=x # the realm"), ("realm".into(), "x".into(), false));
        assert_eq!(only("user=a:pass#word"), ("user".into(), "a:pass#word".into(), false));
        assert_eq!(only("realm=\"x # y\" # z"), ("realm".into(), "x # y".into(), false));
        assert_eq!(only("listening-port=3478;"), ("listening-port".into(), "3478".into(), true));
        assert_eq!(only("verbose;"), ("verbose".into(), String::new(), true));
        assert_eq!(only("\u{feff}realm=x"), ("realm".into(), "x".into(), false));
        let long = "x".repeat(5000);
        assert_eq!(only(&format!("static-auth-secret={long}")), ("static-auth-secret".into(), long, false));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,400}") {
            for setting in parse(&text) {
                prop_assert!(!setting.key.contains(char::is_whitespace));
            }
        }
    }
}
