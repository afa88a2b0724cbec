//! A URL that records are posted to as JSON, many at once: `{"records":[...]}`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::{Failure, Keeper, SessionRecord};

/// Posts records.
#[derive(Debug)]
pub struct WebhookKeeper {
    agent: Agent,
    url: String,
    token_file: Option<PathBuf>,
}

impl WebhookKeeper {
    /// For this URL. The token is read anew for each try, so that it can be changed.
    ///
    /// # Errors
    /// The URL makes no sense, or the token cannot be read.
    pub fn new(url: &str, token_file: Option<PathBuf>) -> anyhow::Result<Self> {
        let uri: ureq::http::Uri = url.parse().context("the URL cannot be read")?;
        uri.host().filter(|host| !host.is_empty()).context("the URL names no host")?;
        let mut config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // Records are for the one that was named, and for no other that it may name.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("turnpike/", env!("CARGO_PKG_VERSION")));
        if uri.scheme_str() == Some("https") {
            config = config.tls_config(tls());
        }
        let keeper = WebhookKeeper { agent: config.build().into(), url: url.to_owned(), token_file };
        keeper.token()?;
        Ok(keeper)
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let token = text.trim();
        let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_one {
            anyhow::bail!("{} holds no token: one line without blanks", path.display());
        }
        Ok(Some(format!("Bearer {token}")))
    }

    fn post(&self, body: &str) -> Result<(), Failure> {
        let token = self.token().map_err(|error| Failure::Later(format!("{error:#}")))?;
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let mut response =
            request.send(body.as_bytes()).map_err(|error| Failure::Later(error.to_string()))?;
        // Read to its end, so that the connection can be used again.
        let _ = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        judge(response.status().as_u16())
    }
}

impl Keeper for WebhookKeeper {
    /// Without the path and whatever stands in it: tokens do, as often as not.
    fn name(&self) -> String {
        let uri: Option<ureq::http::Uri> = self.url.parse().ok();
        let authority = uri.as_ref().and_then(ureq::http::Uri::authority);
        let host = authority.map_or("", |authority| authority.as_str().rsplit('@').next().unwrap_or(""));
        format!("the webhook at {host}")
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn hosts(&self) -> Vec<String> {
        let uri: Option<ureq::http::Uri> = self.url.parse().ok();
        uri.as_ref().and_then(ureq::http::Uri::host).map(str::to_owned).into_iter().collect()
    }

    fn keep(&mut self, records: &[Arc<SessionRecord>]) -> Result<(), Failure> {
        let mut body = String::with_capacity(records.len() * 512 + 16);
        body.push_str("{\"records\":[");
        for (number, record) in records.iter().enumerate() {
            if number > 0 {
                body.push(',');
            }
            record.write_json(&mut body);
        }
        body.push_str("]}");
        self.post(&body)
    }
}

/// What is wrong with the server or with who we are may be set right; what is wrong with a request stays so.
fn judge(status: u16) -> Result<(), Failure> {
    match status {
        200..=299 => Ok(()),
        400 | 405 | 406 | 409..=422 => Err(Failure::Never(format!("it answered {status}"))),
        _ => Err(Failure::Later(format!("it answered {status}"))),
    }
}

fn tls() -> TlsConfig {
    // Those that cannot be read are no reason to trust none.
    let found = rustls_native_certs::load_native_certs();
    let roots = found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect::<Vec<_>>();
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .root_certs(RootCerts::from(roots))
        .build()
}

/// For one try, from the name's look-up to the last byte.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of an answer.
const ANSWER_BYTES: u64 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_named_without_its_secrets() {
        let keeper = WebhookKeeper::new("http://u:secret@example.org:8080/hook?token=secret", None).unwrap();
        assert_eq!(keeper.name(), "the webhook at example.org:8080");
        assert!(WebhookKeeper::new("http:///path", None).is_err());
    }

    #[test]
    fn what_may_be_set_right_is_tried_again() {
        assert_eq!(judge(204), Ok(()));
        for status in [301, 401, 403, 404, 408, 425, 429, 500, 503] {
            assert!(matches!(judge(status), Err(Failure::Later(_))), "{status}");
        }
        for status in [400, 413, 422] {
            assert!(matches!(judge(status), Err(Failure::Never(_))), "{status}");
        }
    }
}
