//! Any bytes as a `turnserver.conf`.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use turnpike_config::{Command, ConfigError, Environment, Report, load};

/// No file makes the loader panic; what is wrong with a value is told with its line.
pub fn config_file(bytes: &[u8]) {
    let bytes = beginning(bytes);
    if asks_for_names(bytes) {
        return;
    }
    let arguments = ["-c", PATH].map(OsString::from);
    match load(arguments, &OneFile(bytes)) {
        Ok(Command::Run(loaded)) => {
            assert!(!Report(&loaded).to_string().is_empty());
            for setting in &loaded.settings {
                check_line(&setting.origin, bytes);
            }
        }
        Ok(other) => panic!("a file cannot ask for {other:?}"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            check_error(&error, bytes);
        }
    }
}

/// The first lines. An unknown key is compared with every name there is, and hundreds of them teach nothing new.
fn beginning(bytes: &[u8]) -> &[u8] {
    let mut endings = bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'\n' | b'\r'));
    endings.nth(MOST_LINES - 1).map_or(bytes, |(at, _)| &bytes[..at])
}

fn check_error(error: &ConfigError, bytes: &[u8]) {
    match error {
        ConfigError::Value { origin, .. } | ConfigError::Slip { origin, .. } => check_line(origin, bytes),
        ConfigError::File { path, problem } => {
            assert_eq!(path, PATH);
            assert!(problem.starts_with("line "), "{problem}");
        }
        ConfigError::Contradiction(_) => {}
        ConfigError::Several(errors) => errors.iter().for_each(|error| check_error(error, bytes)),
        ConfigError::Explained { problem, .. } => check_error(problem, bytes),
        ConfigError::CommandLine(text) => panic!("nothing is wrong with the command line: {text}"),
    }
}

/// An origin is the file with one of its lines.
fn check_line(origin: &str, bytes: &[u8]) {
    let number = origin.strip_prefix(PATH).and_then(|rest| rest.strip_prefix(':')?.parse::<usize>().ok());
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    assert!(number.is_some_and(|number| (1..=lines).contains(&number)), "{origin} of {lines} lines");
}

/// Options whose values may be host names: fuzzing must not ask the name servers.
fn asks_for_names(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    ["listening-ip", "relay-ip", "external-ip"].iter().any(|option| {
        text.match_indices(option).any(|(at, _)| {
            let value = text[at + option.len()..].split(['\n', '\r', '#']).next().unwrap_or_default();
            value.chars().any(|letter| letter.is_alphabetic() || !letter.is_ascii())
        })
    })
}

/// A world that holds one file.
struct OneFile<'f>(&'f [u8]);

impl Environment for OneFile<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new(PATH) { Ok(self.0.to_vec()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn host_name(&self) -> String {
        "relay1".to_owned()
    }
}

const MOST_LINES: usize = 24;
const PATH: &str = "/etc/turnserver.conf";
