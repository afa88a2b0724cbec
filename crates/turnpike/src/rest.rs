//! TURN REST credentials: making one, and saying why one is refused.

use std::time::Duration;

use turnpike_control::in_words;
use turnpike_turn::{RestName, rest_password};

/// A time-limited username and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestCredential {
    /// `expiry:user`, or just `expiry`.
    pub username: String,
    /// base64(HMAC-SHA1(secret, username)).
    pub password: String,
    /// Seconds since 1970 after which it is refused.
    pub expires: u64,
}

impl RestCredential {
    /// Mints a credential that is good for `lifetime` from `now` on.
    pub fn mint(secret: &str, user: &str, separator: char, now: u64, lifetime: Duration) -> Self {
        let expires = now.saturating_add(lifetime.as_secs());
        let username =
            if user.is_empty() { expires.to_string() } else { format!("{expires}{separator}{user}") };
        let password = rest_password(secret.as_bytes(), &username);
        RestCredential { username, password, expires }
    }
}

/// What is to be said about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it keeps the credential from working.
    pub fatal: bool,
    /// What is the case, and what to do about it.
    pub text: String,
}

/// Everything that is wrong, or worth knowing, about a username and its password.
pub fn examine(
    username: &str,
    password: Option<&str>,
    secrets: &[String],
    separator: char,
    now: u64,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    examine_name(username, separator, now, &mut findings);
    match password {
        Some(password) if secrets.is_empty() => {
            let text = format!(
                "the password ({} characters) cannot be checked without a secret: give --secret-file",
                password.len()
            );
            findings.push(remark(text));
        }
        Some(password) => examine_password(username, password, secrets, &mut findings),
        None => {}
    }
    findings
}

fn examine_name(username: &str, separator: char, now: u64, findings: &mut Vec<Finding>) {
    if username.trim() != username {
        findings.push(fatal("the username has blanks or a line end around it: trim it".into()));
    }
    let Some(name) = RestName::parse(username, separator) else {
        findings.push(fatal(explain_shape(username, separator)));
        return;
    };
    let expiry = name.expiry.0;
    if expiry > now.saturating_mul(100) {
        findings.push(fatal(format!(
            "the time {expiry} looks like milliseconds; it must be seconds since 1970: divide by 1000"
        )));
    } else if expiry < now {
        let ago = in_words(now - expiry);
        findings.push(fatal(format!(
            "it expired {ago} ago: mint a new one, or correct the clock that minted it"
        )));
    } else if expiry - now > FAR_FUTURE {
        let ahead = in_words(expiry - now);
        findings.push(remark(format!("it is good for {ahead}, which is unusually long")));
    } else {
        findings.push(remark(format!("it is good for another {}", in_words(expiry - now))));
    }
}

fn explain_shape(username: &str, separator: char) -> String {
    let other =
        username.chars().find(|character| !character.is_ascii_alphanumeric() && *character != separator);
    let wrong_separator = other.filter(|other| RestName::parse(username, *other).is_some());
    match wrong_separator {
        Some(other) => format!(
            "it has {other:?} between time and user where the server expects {separator:?}: mint it with \
             {separator:?}, or start the server with --rest-api-separator={other}"
        ),
        None => format!(
            "it holds no expiry time: a REST username is EXPIRY{separator}USER, USER{separator}EXPIRY or EXPIRY, \
             in seconds since 1970; any other name must be a static user"
        ),
    }
}

fn examine_password(username: &str, password: &str, secrets: &[String], findings: &mut Vec<Finding>) {
    let expected: Vec<String> =
        secrets.iter().map(|secret| rest_password(secret.as_bytes(), username)).collect();
    if expected.iter().any(|expected| expected == password) {
        findings.push(remark("the password fits the secret".into()));
        return;
    }
    let fits =
        |variant: &dyn Fn(&str) -> String| expected.iter().any(|expected| variant(expected) == password);
    let with_newline =
        |secret: &String| rest_password(format!("{secret}\n").as_bytes(), username) == password;
    let quoted = |secret: &String| rest_password(format!("\"{secret}\"").as_bytes(), username) == password;
    let text = if fits(&|expected| expected.trim_end_matches('=').to_owned()) {
        "the password lacks its base64 padding: keep the = at its end"
    } else if fits(&|expected| expected.replace('+', "-").replace('/', "_"))
        || fits(&|expected| expected.trim_end_matches('=').replace('+', "-").replace('/', "_"))
    {
        "the password is URL-safe base64: use the ordinary alphabet, with + and / and padding"
    } else if expected.iter().any(|expected| expected == password.trim()) {
        "the password has blanks or a line end around it: trim it"
    } else if secrets.iter().any(with_newline) {
        "it was made with a line end behind the secret: strip the secret file's last newline"
    } else if secrets.iter().any(quoted) {
        "it was made with quotation marks around the secret: leave them out"
    } else {
        "the password fits none of the secrets: the application signs with another secret, or signs another username"
    };
    findings.push(fatal(text.into()));
}

fn fatal(text: String) -> Finding {
    Finding { fatal: true, text }
}

fn remark(text: String) -> Finding {
    Finding { fatal: false, text }
}

const FAR_FUTURE: u64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn verdict(username: &str, password: &str) -> Option<String> {
        let findings = examine(username, Some(password), &["secret".to_owned()], ':', NOW);
        findings.into_iter().find(|finding| finding.fatal).map(|finding| finding.text)
    }

    #[test]
    fn a_minted_credential_has_nothing_wrong_with_it() {
        let minted = RestCredential::mint("secret", "alice", ':', NOW, Duration::from_secs(3600));
        assert_eq!(minted.username, "1800003600:alice");
        assert_eq!(verdict(&minted.username, &minted.password), None);
        let bare = RestCredential::mint("secret", "", ':', NOW, Duration::from_secs(3600));
        assert_eq!(verdict(&bare.username, &bare.password), None);
    }

    #[test]
    fn each_common_mistake_is_named() {
        let minted = RestCredential::mint("secret", "alice", ':', NOW, Duration::from_secs(3600));
        let cases = [
            (minted.username.clone(), minted.password.trim_end_matches('=').to_owned(), "padding"),
            (minted.username.clone(), format!("{}\n", minted.password), "blanks"),
            (minted.username.clone(), rest_password(b"secret\n", &minted.username), "line end behind"),
            (minted.username.clone(), rest_password(b"\"secret\"", &minted.username), "quotation"),
            (minted.username.clone(), rest_password(b"other", &minted.username), "none of the secrets"),
            ("1700000000:alice".into(), rest_password(b"secret", "1700000000:alice"), "expired 1157 d"),
            ("1800003600000:a".into(), rest_password(b"secret", "1800003600000:a"), "milliseconds"),
            ("1800003600|a".into(), rest_password(b"secret", "1800003600|a"), "rest-api-separator"),
            ("alice".into(), rest_password(b"secret", "alice"), "no expiry"),
        ];
        for (username, password, expected) in cases {
            let text = verdict(&username, &password).expect(expected);
            assert!(text.contains(expected), "{username}: {text}");
        }
    }
}
