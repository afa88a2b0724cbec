//! The little that is said to whoever speaks HTTP to a TURN port: where ACME challenges are answered, or that this is
//! the wrong door. Anything else is not answered at all.

/// What is said.
#[derive(Clone, Debug, Default)]
pub struct HttpAnswers {
    /// The URL that the token of an ACME HTTP-01 challenge (RFC 8555 §8.3) is put behind, for a redirection.
    pub acme_redirect: Option<Box<str>>,
    /// Whether any other request is answered with 400 rather than with the connection's end.
    pub say_unsupported: bool,
}

/// What to do with the first bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HttpAnswer {
    /// Nothing but to close it.
    None,
    /// More bytes tell.
    Wait,
    /// To send this and close it.
    Reply(String),
}

impl HttpAnswers {
    /// Judges the first bytes of a connection. Only in clear text challenges are redirected: that is where they are made.
    pub(crate) fn judge(&self, bytes: &[u8], is_plain: bool) -> HttpAnswer {
        let redirect = self.acme_redirect.as_deref().filter(|_| is_plain);
        if redirect.is_none() && !self.say_unsupported || !begins_like_http(bytes) {
            return HttpAnswer::None;
        }
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            return if bytes.len() < LONGEST_LINE { HttpAnswer::Wait } else { HttpAnswer::None };
        };
        if let (Some(url), Some(token)) = (redirect, challenge(&bytes[..end])) {
            return HttpAnswer::Reply(format!(
                "HTTP/1.1 301 Moved Permanently\r\nLocation: {url}{token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ));
        }
        if !self.say_unsupported {
            return HttpAnswer::None;
        }
        HttpAnswer::Reply(format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{UNSUPPORTED}",
            UNSUPPORTED.len()
        ))
    }
}

/// Whether the bytes are the beginning of a request with one of HTTP's methods.
fn begins_like_http(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| {
        let shared = bytes.len().min(method.len());
        bytes[..shared] == method[..shared]
    })
}

/// The token of a request line that asks for an ACME challenge: base64url, and no longer than is sensible.
fn challenge(line: &[u8]) -> Option<&str> {
    let line = core::str::from_utf8(line).ok()?;
    let (token, version) = line.strip_prefix("GET /.well-known/acme-challenge/")?.split_once(' ')?;
    let fits = (1..=LONGEST_TOKEN).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (fits && version.starts_with("HTTP/1.")).then_some(token)
}

const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"TRACE ", b"PATCH "];
const LONGEST_LINE: usize = 1024;
const LONGEST_TOKEN: usize = 512;
const UNSUPPORTED: &str = "This port speaks STUN and TURN, not HTTP.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> HttpAnswers {
        HttpAnswers { acme_redirect: Some("http://acme.example/".into()), say_unsupported: true }
    }

    fn location(request: &str) -> Option<String> {
        match answers().judge(request.as_bytes(), true) {
            HttpAnswer::Reply(text) => {
                let line = text.lines().find_map(|line| line.strip_prefix("Location: "))?;
                Some(line.to_owned())
            }
            _ => None,
        }
    }

    #[test]
    fn a_challenge_is_redirected_and_nothing_else_is() {
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
        let path = format!("/.well-known/acme-challenge/{token}");
        assert_eq!(location(&request(&path)).unwrap(), format!("http://acme.example/{token}"));
        for path in ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/a/../b", "/x%0d%0a"] {
            assert_eq!(location(&request(path)), None, "{path}");
        }
        let long = format!("/.well-known/acme-challenge/{}", "a".repeat(513));
        assert_eq!(location(&request(&long)), None);
        assert_eq!(location(&format!("POST {path} HTTP/1.1\r\n\r\n")), None);
    }

    #[test]
    fn over_tls_nothing_is_redirected() {
        let request = b"GET /.well-known/acme-challenge/abc HTTP/1.1\r\n\r\n";
        let HttpAnswer::Reply(text) = answers().judge(request, false) else { panic!("an answer") };
        assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with(UNSUPPORTED), "{text}");
    }

    #[test]
    fn what_is_no_http_and_what_nobody_asked_for_is_not_answered() {
        for bytes in [&b"\x40\x00\x00\x04abcd"[..], b"SSH-2.0-x\r\n", b"GETX / HTTP/1.1\r\n"] {
            assert_eq!(answers().judge(bytes, true), HttpAnswer::None);
        }
        assert_eq!(HttpAnswers::default().judge(b"GET / HTTP/1.1\r\n\r\n", true), HttpAnswer::None);
    }

    #[test]
    fn a_request_line_may_come_in_pieces_but_not_without_end() {
        let request = b"GET /.well-known/acme-challenge/abc HTTP/1.1\r\n";
        for end in 1..request.len() {
            assert_eq!(answers().judge(&request[..end], true), HttpAnswer::Wait, "{end}");
        }
        assert!(matches!(answers().judge(request, true), HttpAnswer::Reply(_)));
        assert_eq!(answers().judge(&[b"GET /", [b'a'; 2000].as_slice()].concat(), true), HttpAnswer::None);
    }
}
