//! A name and a password for a site (RFC 7617).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

/// Who may come in.
#[derive(Clone)]
pub struct BasicAuthorization(Box<[u8]>);

impl BasicAuthorization {
    /// Whoever has this name and password.
    pub fn new(user: &str, password: &str) -> Self {
        BasicAuthorization(STANDARD.encode(format!("{user}:{password}")).into_bytes().into())
    }

    /// Whether an Authorization header says so. How long that takes tells nothing but the length.
    pub fn admits(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|value| value.trim().split_once(' ')) else {
            return false;
        };
        scheme.eq_ignore_ascii_case("basic") && bool::from(token.trim().as_bytes().ct_eq(&self.0))
    }
}

impl fmt::Debug for BasicAuthorization {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BasicAuthorization([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_name_and_password_come_in() {
        let authorization = BasicAuthorization::new("prometheus", "a:secret");
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(authorization.admits(Some(&header("prometheus:a:secret"))));
        assert!(authorization.admits(Some(&header("prometheus:a:secret").replace("Basic", "bAsIc"))));
        for wrong in ["", "Basic", "Basic ", &header("prometheus:"), &header("other:a:secret"), "Bearer x"] {
            assert!(!authorization.admits(Some(wrong)), "{wrong}");
        }
        assert!(!authorization.admits(None));
    }
}
