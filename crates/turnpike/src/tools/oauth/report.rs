//! What `turnutils_oauth` prints: in the words of coturn's tool, misspelt as they are there, because scripts look for
//! them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use turnpike_turn::Token;

use super::flags::Settings;

/// What an authorisation server answers a client with, in JSON.
pub(super) fn grant(settings: &Settings, token: &Token, sealed: &str) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let fields = [
        ("access_token", text(sealed)),
        ("token_type", text("pop")),
        ("expires_in", token.lifetime.to_string()),
        ("kid", text(&settings.kid)),
        ("key", text(&shown(token.mac_key.bytes()))),
        ("alg", text(&settings.hmac)),
    ];
    let fields = fields.map(|(name, value)| format!("    \"{name}\":{value}"));
    format!("{{\n{}\n}}", fields.join(",\n"))
}

/// What is in a token.
pub(super) fn contents(nonce: &[u8], token: &Token) -> String {
    let made = token.made();
    // RFC 7635 §6.2: the lower 16 bits count 64000ths of a second.
    let milliseconds = (token.timestamp & 0xFFFF) / 64;
    let local = i64::try_from(made).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let local = local.map_or_else(
        || "beyond all calendars".to_owned(),
        |time| time.to_zoned_datetime(TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string(),
    );
    format!(
        "\nToken non-encrpyted body:\n{{\n    nonce: {}\n    nonce length: {}\nToken encrpyted body:\n{{\n    \
         mac key: {}\n    mac key length: {}\n    timestamp:\n        unixtime: {made} (localtime: {local}\n )        \
         msec:{milliseconds}\n    lifetime: {}\n}}",
        STANDARD.encode(nonce),
        nonce.len(),
        shown(token.mac_key.bytes()),
        token.mac_key.bytes().len(),
        token.lifetime,
    )
}

/// Says on standard error where the token and the key that seals it are not good at the same time.
pub(super) fn warn_of_times(settings: &Settings, token: &Token) {
    for warning in warnings(settings, token) {
        eprintln!("\nWARNING: {warning}\n");
    }
}

fn warnings(settings: &Settings, token: &Token) -> Vec<&'static str> {
    let (begins, ends) = (token.made(), token.made() + u64::from(token.lifetime));
    let key_ends = settings.key_timestamp.saturating_add(settings.key_lifetime);
    let mut warnings = Vec::new();
    if settings.key_timestamp > ends {
        warnings.push("the token expires before the key is good");
    } else if settings.key_timestamp > begins {
        warnings.push("the token begins before the key is good");
    }
    if key_ends < begins {
        warnings.push("the key expires before the token begins");
    } else if key_ends < ends {
        warnings.push("the key expires before the token does");
    }
    warnings
}

/// A key as it stands if it is text, as coturn shows all of them; base64 if it is not.
fn shown(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => STANDARD.encode(key),
    }
}

#[cfg(test)]
mod tests {
    use turnpike_turn::MacKey;

    use super::super::flags::{Parsed, parse};
    use super::*;

    fn settings(key_timestamp: u64, key_lifetime: u64) -> Settings {
        let line = format!(
            "-e -i turn.example.org -j kid -k MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEK -l {key_timestamp} -m \
             {key_lifetime} -p eHh4eHh4eHh4eHh4eHh4eHh4eHg= -q 6553600000"
        );
        match parse(line.split_whitespace().map(str::to_owned).collect()).unwrap() {
            Parsed::Run(settings) => *settings,
            Parsed::Help => panic!("help"),
        }
    }

    fn token(key: &[u8]) -> Token {
        Token { mac_key: MacKey::new(key).unwrap(), timestamp: 100_000 << 16 | 32_000, lifetime: 600 }
    }

    #[test]
    fn a_grant_is_json_whatever_is_in_the_key() {
        for (key, shown) in [(&b"quote\" and \\"[..], "quote\" and \\"), (&[0xFF; 3][..], "////")] {
            let text = grant(&settings(1, 200_000), &token(key), "AAw=");
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!((&json["key"], &json["expires_in"]), (&shown.into(), &600.into()));
            assert_eq!((&json["token_type"], &json["alg"]), (&"pop".into(), &"HMAC-SHA1".into()));
            assert_eq!((&json["kid"], &json["access_token"]), (&"kid".into(), &"AAw=".into()));
        }
    }

    #[test]
    fn half_a_second_is_five_hundred_milliseconds() {
        let text = contents(&[0; 12], &token(b"key"));
        assert!(text.contains("unixtime: 100000 (") && text.contains("msec:500\n"), "{text}");
        assert!(text.contains("    nonce: AAAAAAAAAAAAAAAA\n    nonce length: 12\n"), "{text}");
    }

    #[test]
    fn a_key_that_is_not_good_while_the_token_is_is_warned_of() {
        for (timestamp, lifetime, expected) in [
            (99_000, 2000, None),
            (100_601, 2000, Some("the token expires before the key is good")),
            (100_001, 2000, Some("the token begins before the key is good")),
            (1, 99_998, Some("the key expires before the token begins")),
            (1, 100_500, Some("the key expires before the token does")),
        ] {
            let warned = warnings(&settings(timestamp, lifetime), &token(b"key"));
            assert_eq!(warned, Vec::from_iter(expected), "{timestamp} {lifetime}");
        }
    }
}
