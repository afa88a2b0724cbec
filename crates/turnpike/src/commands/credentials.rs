//! `turnpike credentials`: mint a REST credential, or find out why one is refused.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ArgMatches;
use jiff::Timestamp;
use serde_json::json;

use crate::rest::{RestCredential, examine};
use crate::state::StateDirectory;
use crate::terminal::say;
use turnpike_control::in_words;

/// Runs the command.
///
/// # Errors
/// A secret cannot be read, or an argument is malformed.
pub fn run(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    match arguments.subcommand() {
        Some(("decode", arguments)) => decode_credential(arguments),
        Some((_, arguments)) => mint(arguments),
        None => mint(arguments),
    }
}

/// The JavaScript that gives a browser this credential.
pub fn snippet(uris: &[String], credential: &RestCredential) -> String {
    let urls = uris.iter().map(|uri| format!("\"{uri}\"")).collect::<Vec<_>>().join(", ");
    format!(
        "const iceServers = [{{ urls: [{urls}],\n  username: {:?}, credential: {:?} }}];\n\
         const connection = new RTCPeerConnection({{ iceServers, iceTransportPolicy: \"relay\" }});",
        credential.username, credential.password
    )
}

/// The credential as the object that `new RTCPeerConnection` takes, with its expiry.
pub fn as_json(uris: &[String], credential: &RestCredential) -> serde_json::Value {
    json!({
        "iceServers": [{
            "urls": uris,
            "username": credential.username,
            "credential": credential.password,
        }],
        "expiresAt": time_of(credential.expires),
    })
}

/// Reads `90s`, `15m`, `4h`, `7d`, or plain seconds.
///
/// # Errors
/// Anything else, and zero.
pub fn parse_duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        unit => bail!("{unit:?} is no unit of time: use s, m, h or d, as in 4h"),
    };
    let count: u64 =
        digits.parse().with_context(|| format!("{text:?} is no duration: try 90s, 15m, 4h or 7d"))?;
    match count.checked_mul(unit) {
        Some(seconds @ 1..=LONGEST_LIFETIME) => Ok(Duration::from_secs(seconds)),
        _ => bail!("{text:?} is out of range: 1 second to 10 years"),
    }
}

/// The time as people write it, in UTC.
pub fn time_of(unix: u64) -> String {
    i64::try_from(unix)
        .ok()
        .and_then(|unix| Timestamp::from_second(unix).ok())
        .map_or_else(|| unix.to_string(), |time| time.to_string())
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default()
}

fn mint(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let secrets = secrets(arguments)?;
    let secret = secrets.first().context("no secret: run `turnpike up` once, or give --secret-file")?;
    let user = arguments.get_one::<String>("user").map_or("", String::as_str);
    let lifetime = parse_duration(arguments.get_one::<String>("ttl").map_or("4h", String::as_str))?;
    let credential = RestCredential::mint(secret, user, separator(arguments)?, unix_now(), lifetime);
    let uris: Vec<String> = arguments.get_many("uri").into_iter().flatten().cloned().collect();
    if arguments.get_flag("json") {
        say!("{:#}", as_json(&uris, &credential));
        return Ok(ExitCode::SUCCESS);
    }
    say!("username  {}", credential.username);
    say!("password  {}", credential.password);
    say!("expires   {} (in {})", time_of(credential.expires), in_words(lifetime.as_secs()));
    if !uris.is_empty() {
        say!("\n{}", snippet(&uris, &credential));
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit status 1 if something keeps the credential from working.
fn decode_credential(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let username = arguments.get_one::<String>("username").map_or("", String::as_str);
    let password = arguments.get_one::<String>("password").map(String::as_str);
    let secrets = if password.is_some() { secrets(arguments)? } else { Vec::new() };
    let findings = examine(username, password, &secrets, separator(arguments)?, unix_now());
    let works = !findings.iter().any(|finding| finding.fatal);
    if arguments.get_flag("json") {
        let findings: Vec<_> =
            findings.iter().map(|finding| json!({ "fatal": finding.fatal, "text": finding.text })).collect();
        say!("{:#}", json!({ "username": username, "works": works, "findings": findings }));
    } else {
        for finding in &findings {
            say!("{} {}", if finding.fatal { "refused:" } else { "ok:     " }, finding.text);
        }
    }
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The secrets named, or the one that `turnpike up` keeps; none if there is neither.
fn secrets(arguments: &ArgMatches) -> anyhow::Result<Vec<String>> {
    let named: Vec<PathBuf> =
        arguments.get_many::<String>("secret-file").into_iter().flatten().map(PathBuf::from).collect();
    if !named.is_empty() {
        return named.iter().map(|path| StateDirectory::read_secret(path)).collect();
    }
    let kept: &Path = &StateDirectory::default_path().join("secret");
    if kept.exists() { Ok(vec![StateDirectory::read_secret(kept)?]) } else { Ok(Vec::new()) }
}

fn separator(arguments: &ArgMatches) -> anyhow::Result<char> {
    let text = arguments.get_one::<String>("separator").map_or(":", String::as_str);
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(separator), None) => Ok(separator),
        _ => bail!("--separator takes one character, not {text:?}"),
    }
}

const LONGEST_LIFETIME: u64 = 10 * 365 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units_and_bounded() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("4h", 14_400), ("7d", 604_800), ("60", 60)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds));
        }
        for text in ["", "h", "0", "4w", "-4h", "99999999999999d", "1e3"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
