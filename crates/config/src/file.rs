//! Reads the text of a `turnserver.conf`.
//!
//! A line is a long option name, then blanks or `=`, then the value to the end of the line; `#` begins a comment.
//! Against coturn: a comment may also follow a value after a blank, lines have any length, and a `;` at the end is
//! dropped.
//!
//! Invariant: no text panics; every line is empty, a comment, or one setting.

/// One setting of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Line number, from 1.
    pub(crate) number: usize,
    /// The long name.
    pub(crate) key: String,
    /// The value; empty if none was given.
    pub(crate) value: String,
    /// Whether a comment followed the value and was dropped.
    pub(crate) commented: bool,
    /// What was put right, or looks wrong, in words for a person.
    pub(crate) remarks: Vec<&'static str>,
}

/// The file is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} holds bytes that are not UTF-8: save the file as UTF-8")]
pub(crate) struct NotUtf8 {
    /// Where, from 1.
    pub(crate) line: usize,
}

/// Reads a whole file.
///
/// # Errors
/// The first line that is not UTF-8.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Line>, NotUtf8> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let mut lines = Vec::new();
    for (index, line) in split_lines(bytes).enumerate() {
        let number = index + 1;
        let line = std::str::from_utf8(line).map_err(|_| NotUtf8 { line: number })?;
        lines.extend(parse_line(number, line));
    }
    Ok(lines)
}

/// Splits at LF, CR LF, or a lone CR.
fn split_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            rest = None;
            return Some(bytes);
        };
        let ending = if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&bytes[end + ending..]);
        Some(&bytes[..end])
    })
}

fn parse_line(number: usize, line: &str) -> Option<Line> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (key, after_key) = line.split_at(line.find(is_separator).unwrap_or(line.len()));
    let mut remarks = Vec::new();
    let mut commented = false;
    let value = match after_key.trim_start_matches(is_separator).strip_prefix('"') {
        Some(quoted) => unquote(quoted, &mut remarks),
        None => {
            let uncommented = without_comment(after_key);
            commented = uncommented.len() < after_key.len();
            drop_semicolon(uncommented.trim_start_matches(is_separator).trim_end(), &mut remarks)
        }
    };
    if value.starts_with(SMART_QUOTES) || value.ends_with(SMART_QUOTES) {
        remarks.push(SMART_QUOTES_REMARK);
    }
    if value.len() > 1 && value.starts_with('\'') && value.ends_with('\'') {
        remarks.push(SINGLE_QUOTES_REMARK);
    }
    let key = drop_semicolon(key, &mut remarks);
    Some(Line { number, key: key.into(), value: value.into(), commented, remarks })
}

/// What stands before the first quote that ends the line or is followed by a comment.
fn unquote<'text>(quoted: &'text str, remarks: &mut Vec<&'static str>) -> &'text str {
    for (at, _) in quoted.match_indices('"') {
        let after = &quoted[at + 1..];
        let semicolon = after.trim_start().strip_prefix(';');
        let after = semicolon.unwrap_or(after);
        let comment = after.starts_with(is_blank) && after.trim_start().starts_with('#');
        if after.trim().is_empty() || comment {
            remarks.extend(semicolon.map(|_| SEMICOLON_REMARK));
            return &quoted[..at];
        }
    }
    remarks.push(UNCLOSED_QUOTE_REMARK);
    quoted
}

/// A `#` begins a comment if a blank stands before it.
fn without_comment(text: &str) -> &str {
    let hashes = text.match_indices('#').map(|(at, _)| &text[..at]);
    hashes.into_iter().find(|before| before.ends_with(is_blank)).unwrap_or(text)
}

/// A `;` that stands alone is meant: it may separate the parts of REST names.
fn drop_semicolon<'text>(value: &'text str, remarks: &mut Vec<&'static str>) -> &'text str {
    let shorter = value.strip_suffix(';').filter(|shorter| !shorter.is_empty());
    let Some(shorter) = shorter else { return value };
    remarks.push(SEMICOLON_REMARK);
    shorter.trim_end()
}

fn is_separator(letter: char) -> bool {
    is_blank(letter) || letter == '='
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const SMART_QUOTES: [char; 5] = ['\u{201C}', '\u{201D}', '\u{201E}', '\u{2018}', '\u{2019}'];
const SMART_QUOTES_REMARK: &str =
    "the typographic quotes are part of the value; if that is not meant, use plain \" or none";
const SINGLE_QUOTES_REMARK: &str =
    "the single quotes are part of the value; if that is not meant, use double quotes or none";
const SEMICOLON_REMARK: &str =
    "the `;` at the end was dropped; if it belongs to the value, put the value in double quotes";
const UNCLOSED_QUOTE_REMARK: &str = "the opening quote is not closed; the value is the rest of the line";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).unwrap().into_iter().map(|line| (line.key, line.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = read(text);
        assert_eq!(all.len(), 1, "{text:?}");
        all.remove(0)
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn blanks_and_equals_sign_separate_alike() {
        for text in ["realm=x y", "realm x y", "  realm\t= x y  ", "realm == x y", "realm=x y\r\n"] {
            assert_eq!(one(text), pair("realm", "x y"), "{text:?}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        assert_eq!(read("\n# realm=x\n   # y\n\t\n"), []);
    }

    #[test]
    fn comment_may_follow_a_value_after_a_blank() {
        assert_eq!(one("realm=x # y"), pair("realm", "x"));
        assert_eq!(one("user=a:b#c"), pair("user", "a:b#c"));
        assert_eq!(one("no-auth # open"), pair("no-auth", ""));
        assert_eq!(one("realm=#x"), pair("realm", "#x"));
        assert_eq!(one("realm= #x"), pair("realm", ""));
    }

    #[test]
    fn double_quotes_keep_what_they_hold() {
        assert_eq!(one("user=\"a:b # c\""), pair("user", "a:b # c"));
        assert_eq!(one("user=\"a:b;\" # mine"), pair("user", "a:b;"));
        assert_eq!(one("user=\"a:\"b\"\""), pair("user", "a:\"b\""));
        assert_eq!(one("user=a:\"b\""), pair("user", "a:\"b\""));
        assert_eq!(one("user=\"a:b"), pair("user", "a:b"));
        assert_eq!(one("cert=\"\""), pair("cert", ""));
    }

    #[test]
    fn semicolon_at_the_end_is_dropped_and_remarked() {
        for text in ["realm=x;", "realm=x ;", "realm=\"x\";"] {
            let line = parse(text.as_bytes()).unwrap().remove(0);
            assert_eq!((line.value.as_str(), line.remarks.len()), ("x", 1), "{text}");
        }
        assert_eq!(one("no-tls;"), pair("no-tls", ""));
        assert_eq!(one("rest-api-separator=;"), pair("rest-api-separator", ";"));
    }

    #[test]
    fn typographic_quotes_are_remarked() {
        let line = parse("user=\u{201C}a:b\u{201D}".as_bytes()).unwrap().remove(0);
        assert!(line.remarks[0].contains("typographic"), "{line:?}");
    }

    #[test]
    fn single_quotes_are_remarked_where_they_enclose_the_value() {
        let remarks = |text: &str| parse(text.as_bytes()).unwrap().remove(0).remarks.len();
        assert_eq!((remarks("cert='/etc/cert.pem'"), remarks("user=a:it's"), remarks("user='")), (1, 0, 0));
    }

    #[test]
    fn line_of_any_length_is_one_setting() {
        let long = "x".repeat(5000);
        assert_eq!(one(&format!("realm={long}")), pair("realm", &long));
    }

    #[test]
    fn byte_order_mark_and_every_line_ending_are_understood() {
        let lines = parse(b"\xEF\xBB\xBFrealm=a\r\nverbose\rno-tls\n").unwrap();
        let seen: Vec<_> = lines.iter().map(|line| (line.number, line.key.as_str())).collect();
        assert_eq!(seen, [(1, "realm"), (2, "verbose"), (3, "no-tls")]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_found_by_line() {
        assert_eq!(parse(b"verbose\nrealm=\xff\n"), Err(NotUtf8 { line: 2 }));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_text_panics(text in "[ a-z=\"#;\u{201C}\u{e9}\n\r\t]{0,80}") {
            for line in parse(text.as_bytes()).unwrap() {
                prop_assert!(!line.key.contains([' ', '\t', '\n']));
            }
        }
    }
}
