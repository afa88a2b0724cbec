//! How a record is written: coturn's `TIME LEVEL message`, a JSON object, or logfmt.
//!
//! Invariant: a record is one line. Control characters, which a username may hold, are shown escaped, so that nobody can
//! forge a record.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::ZonedDateTime;

use super::Level;
use super::vocabulary::{EventName, Field, Value};

/// The form of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level and message, in coturn's words.
    #[default]
    Coturn,
    /// A JSON object.
    Json,
    /// `name=value` pairs.
    Logfmt,
}

/// Something to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How much it matters.
    pub level: Level,
    /// What it is about.
    pub event: EventName,
    /// What people are told; one line.
    pub message: String,
    /// What programs are told.
    pub fields: Vec<(Field, Value)>,
}

/// An entry with its time.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) time: ZonedDateTime,
    /// Since the server was started.
    pub(crate) uptime: Duration,
    pub(crate) entry: Entry,
}

/// How records become lines.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) format: LogFormat,
    /// A strftime pattern in which `%f` stands for milliseconds, or `None` for seconds since start; of coturn's format.
    pub(crate) timestamp: Option<String>,
}

impl Entry {
    /// What is told to people alone.
    pub fn message(level: Level, message: &str) -> Self {
        Entry { level, event: EventName::Message, message: message.to_owned(), fields: Vec::new() }
    }
}

impl Style {
    /// Adds the record's line with its end.
    pub(crate) fn line(&self, record: &Record, line: &mut String) {
        match self.format {
            LogFormat::Coturn => {
                match &self.timestamp {
                    Some(format) => {
                        let format = format.replace("%f", &format!("{:03}", record.time.millisecond()));
                        line.push_str(&record.time.strftime(&format).to_string());
                    }
                    None => {
                        let _ = write!(line, "{}:", record.uptime.as_secs());
                    }
                }
                let _ = write!(line, " {} ", record.entry.level.word());
                self.body(record, line);
            }
            LogFormat::Json | LogFormat::Logfmt => self.body(record, line),
        }
        line.push('\n');
    }

    /// Adds what stays of it where time and level are told by other means; without an end.
    pub(crate) fn body(&self, record: &Record, line: &mut String) {
        match self.format {
            LogFormat::Coturn => escaped(&record.entry.message, line),
            LogFormat::Json => json(record, line),
            LogFormat::Logfmt => logfmt(record, line),
        }
    }
}

fn json(record: &Record, line: &mut String) {
    let Record { time, entry, .. } = record;
    let _ = write!(
        line,
        "{{\"time\":\"{}\",\"level\":\"{}\",\"event\":\"{}\"",
        time.strftime(TIME),
        entry.level.name(),
        entry.event.word()
    );
    for (field, value) in &entry.fields {
        let _ = write!(line, ",\"{}\":", field.word());
        match value {
            Value::Text(text) => quoted(text, line),
            Value::Number(number) => {
                let _ = write!(line, "{number}");
            }
        }
    }
    if has_message(entry) {
        line.push_str(",\"message\":");
        quoted(&entry.message, line);
    }
    line.push('}');
}

fn logfmt(record: &Record, line: &mut String) {
    let Record { time, entry, .. } = record;
    let (level, event) = (entry.level.name(), entry.event.word());
    let _ = write!(line, "time={} level={level} event={event}", time.strftime(TIME));
    for (field, value) in &entry.fields {
        let _ = write!(line, " {}=", field.word());
        match value {
            Value::Text(text) => bare_or_quoted(text, line),
            Value::Number(number) => {
                let _ = write!(line, "{number}");
            }
        }
    }
    if has_message(entry) {
        line.push_str(" message=");
        bare_or_quoted(&entry.message, line);
    }
}

/// Of what has a name of its own the fields say everything.
fn has_message(entry: &Entry) -> bool {
    use EventName::{LinesLost, LinesWithheld, Message, PacketDropped};
    matches!(entry.event, Message | LinesLost | LinesWithheld | PacketDropped)
}

fn bare_or_quoted(text: &str, line: &mut String) {
    let is_plain = |character: char| {
        !character.is_whitespace() && !character.is_control() && !matches!(character, '"' | '=' | '\\')
    };
    if !text.is_empty() && text.chars().all(is_plain) {
        line.push_str(text);
    } else {
        quoted(text, line);
    }
}

/// A JSON string. More is escaped than JSON asks for: DEL and the C1 controls, which terminals may heed.
pub(crate) fn quoted(text: &str, line: &mut String) {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            character if character.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(character));
            }
            character => line.push(character),
        }
    }
    line.push('"');
}

fn escaped(message: &str, line: &mut String) {
    for character in message.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
}

/// RFC 3339, with milliseconds.
pub(crate) const TIME: &str = "%FT%T%.3f%:z";

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: Level, message: &str) -> Record {
        let time = "2026-11-24T10:20:30.5+01:00[+01:00]".parse().unwrap();
        Record { time, uptime: Duration::ZERO, entry: Entry::message(level, message) }
    }

    fn line(format: LogFormat, timestamp: Option<&str>, record: &Record) -> String {
        let mut line = String::new();
        Style { format, timestamp: timestamp.map(str::to_owned) }.line(record, &mut line);
        line
    }

    fn failed(user: &str) -> Record {
        let mut record = record(Level::Warning, "not shown");
        record.entry.event = EventName::AuthenticationFailed;
        record.entry.fields = vec![(Field::User, user.into()), (Field::Expired, 7.into())];
        record
    }

    #[test]
    fn a_record_is_time_level_and_message() {
        let record = |level, message| record(level, message);
        let ready =
            line(LogFormat::Coturn, Some("%FT%T.%f%z"), &record(Level::Info, "Total auth threads: 1"));
        assert_eq!(ready, "2026-11-24T10:20:30.500+0100 INFO Total auth threads: 1\n");
        assert_eq!(line(LogFormat::Coturn, None, &record(Level::Error, "x")), "0: ERROR x\n");
    }

    #[test]
    fn a_message_cannot_forge_a_second_record() {
        let forged = record(Level::Info, "user <a\n2026 INFO b\u{1b}[31m>");
        assert_eq!(line(LogFormat::Coturn, None, &forged), "0: INFO user <a\\n2026 INFO b\\u{1b}[31m>\n");
    }

    #[test]
    fn json_has_the_fields_in_place_of_the_message() {
        assert_eq!(
            line(LogFormat::Json, None, &failed("a\"b\\\n\u{9b}")),
            "{\"time\":\"2026-11-24T10:20:30.500+01:00\",\"level\":\"warning\",\
             \"event\":\"authentication_failed\",\"user\":\"a\\\"b\\\\\\n\\u009b\",\"expired\":7}\n"
        );
        assert_eq!(
            line(LogFormat::Json, None, &record(Level::Info, "two words")),
            "{\"time\":\"2026-11-24T10:20:30.500+01:00\",\"level\":\"info\",\"event\":\"message\",\
             \"message\":\"two words\"}\n"
        );
    }

    #[test]
    fn logfmt_quotes_what_would_be_taken_apart() {
        assert_eq!(
            line(LogFormat::Logfmt, None, &failed("alice")),
            "time=2026-11-24T10:20:30.500+01:00 level=warning event=authentication_failed user=alice expired=7\n"
        );
        for (user, shown) in [("a b", "\"a b\""), ("a=b", "\"a=b\""), ("", "\"\""), ("a\nb", "\"a\\nb\"")] {
            let line = line(LogFormat::Logfmt, None, &failed(user));
            assert!(line.contains(&format!(" user={shown} expired=7\n")), "{line}");
        }
    }
}
