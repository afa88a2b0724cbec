//! Records of a file, one at a time and none longer than a bound: lines of JSON, or of CSV (RFC 4180), whose quoted
//! values may hold line breaks.

use std::io::{self, BufRead, Read};

use super::Format;

/// Reads records.
pub(super) struct Records<R> {
    source: R,
    format: Format,
    /// Of the line that is read next, from 1.
    line: u64,
}

/// One record, still in its form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line it begins on, from 1.
    pub(super) line: u64,
    /// Its text; an error says why it is none.
    pub(super) text: Result<String, &'static str>,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(source: R, format: Format) -> Self {
        Records { source, format, line: 1 }
    }

    /// The next record that is not empty.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let line = self.line;
            let mut bytes = Vec::new();
            let mut ends = false;
            loop {
                let read = self.read_line(&mut bytes)?;
                ends |= read == 0;
                let open =
                    self.format == Format::Csv && bytes.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
                if !open || ends {
                    break;
                }
            }
            if bytes.is_empty() && ends {
                return Ok(None);
            }
            if bytes.len() > LONGEST {
                // Where the next record begins nobody knows; the end of the line is the likeliest place.
                return Ok(Some(Record { line, text: Err("it is longer than 64 KiB") }));
            }
            let bytes = if line == 1 { without_mark(&bytes) } else { &bytes };
            let Ok(text) = std::str::from_utf8(bytes) else {
                return Ok(Some(Record { line, text: Err("it is not UTF-8") }));
            };
            let text = text.trim_end_matches(['\n', '\r']);
            if !text.trim().is_empty() {
                return Ok(Some(Record { line, text: Ok(text.to_owned()) }));
            }
        }
    }

    /// Adds a line; what is beyond the bound is read and forgotten.
    fn read_line(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let room = (LONGEST + 1).saturating_sub(bytes.len()) as u64;
        let mut read = self.source.by_ref().take(room).read_until(b'\n', bytes)?;
        while bytes.len() > LONGEST && !bytes.ends_with(b"\n") {
            let buffer = self.source.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.source.consume(used);
            read += used;
            if end.is_some() {
                bytes.push(b'\n');
            }
        }
        if bytes.len() > LONGEST {
            // It is refused anyway: an open quote must not swallow the rest of the file.
            bytes.retain(|byte| *byte != b'"');
            bytes.resize(LONGEST + 1, b' ');
        }
        self.line += 1;
        Ok(read)
    }
}

/// The values of a CSV record.
pub(super) fn split(record: &str) -> Result<Vec<String>, &'static str> {
    let mut values = Vec::new();
    let mut rest = record;
    loop {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("a quote stands inside a value that does not begin with one");
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        values.push(value);
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(values),
            None => return Err("something follows a closing quote"),
        }
    }
}

fn unquote(quoted: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"').ok_or("a quote is not closed")?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return Ok((value, rest)),
        }
    }
}

/// A CSV record of these values, without the end of the line.
pub(super) fn join(values: &[impl AsRef<str>]) -> String {
    let quoted = values.iter().map(AsRef::as_ref).map(|value| {
        let plain = !value.contains([',', '"', '\n', '\r']) && value.trim() == value;
        if plain { value.to_owned() } else { format!("\"{}\"", value.replace('"', "\"\"")) }
    });
    quoted.collect::<Vec<_>>().join(",")
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

const LONGEST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], format: Format) -> Vec<(u64, Result<String, &'static str>)> {
        let mut records = Records::new(text, format);
        std::iter::from_fn(|| records.next().unwrap().map(|record| (record.line, record.text))).collect()
    }

    #[test]
    fn values_come_back_whatever_is_in_them() {
        let values = ["plain", "", "a,b", "say \"x\"", "two\nlines", " blank ", "\"", "ü\r\n,"];
        let joined = join(&values);
        assert_eq!(split(&joined).unwrap(), values);
        let text = format!("{joined}\r\n\r\nnext,1\r\n");
        assert_eq!(all(text.as_bytes(), Format::Csv), [(1, Ok(joined)), (5, Ok("next,1".into()))]);
    }

    #[test]
    fn damaged_records_are_told_and_the_next_one_is_read() {
        for (record, why) in [
            ("a\"b", "a quote stands inside"),
            ("\"a\"b", "something follows"),
            ("\"a", "a quote is not closed"),
        ] {
            assert!(split(record).unwrap_err().starts_with(why), "{record}");
        }
        assert_eq!(all(b"\xFF\nx\n", Format::JsonLines), [(1, Err("it is not UTF-8")), (2, Ok("x".into()))]);
        for start in ["", "\""] {
            let long = format!("{start}{}\nnext\n", "x".repeat(200_000));
            let expected = [(1, Err("it is longer than 64 KiB")), (2, Ok("next".into()))];
            assert_eq!(all(long.as_bytes(), Format::Csv), expected);
        }
        assert_eq!(all(b"\"open\nto the end", Format::Csv), [(1, Ok("\"open\nto the end".into()))]);
    }

    #[test]
    fn a_byte_order_mark_and_a_missing_last_line_break_do_not_matter() {
        let text = b"\xEF\xBB\xBFa\nb";
        assert_eq!(all(text, Format::JsonLines), [(1, Ok("a".into())), (2, Ok("b".into()))]);
        assert_eq!(all(b"", Format::Csv), []);
    }
}
