//! TLS for the metrics: the certificate is read anew when its files change.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use turnpike_config::{Config, Secret, SystemEnvironment, locate};
use turnpike_control::Log;
use turnpike_control::http::TlsSource;

use crate::certificates::certificates;
use crate::private_key;

/// The files of a certificate.
struct Files {
    chain: PathBuf,
    key: PathBuf,
    passphrase: Option<Secret>,
}

struct Current {
    config: Arc<ServerConfig>,
    stamps: Stamps,
    looked: Instant,
}

type Stamps = [Option<(SystemTime, u64)>; 2];

/// What sets up TLS with the certificate for metrics, or with that of TURN where there is none of their own.
///
/// # Errors
/// There is none that can be used.
pub(super) fn source(config: &Config, log: &Arc<Log>) -> anyhow::Result<TlsSource> {
    let settings = &config.monitoring;
    let named = |own: &Option<String>, common: &Option<String>, options: &str| {
        let name = own.as_ref().or(common.as_ref());
        let name = name.with_context(|| format!("prometheus-tls: no certificate: set {options}"))?;
        Ok::<_, anyhow::Error>(locate(&SystemEnvironment, name))
    };
    let files = Files {
        chain: named(&settings.prometheus_certificate, &config.certificate, "prometheus-cert, or cert")?,
        key: named(&settings.prometheus_key, &config.private_key, "prometheus-key, or pkey")?,
        passphrase: config.private_key_passphrase.clone(),
    };
    let stamps = files.stamps();
    let read = Arc::new(files.read().context("prometheus-tls")?);
    let current = Mutex::new(Current { config: read, stamps, looked: Instant::now() });
    let log = log.clone();
    Ok(Arc::new(move || {
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            files.renew(&mut current, &log);
        }
        current.config.clone()
    }))
}

impl Files {
    fn renew(&self, current: &mut Current, log: &Log) {
        let stamps = self.stamps();
        if stamps == current.stamps {
            return;
        }
        current.stamps = stamps;
        match self.read() {
            Ok(config) => {
                current.config = Arc::new(config);
                log.info(&format!("The certificate {} for metrics was read again", self.chain.display()));
            }
            // They may be half replaced: when the other half comes they are looked at again.
            Err(error) => {
                log.warning(&format!("prometheus-cert was not read again, the old one stays: {error:#}"))
            }
        }
    }

    fn read(&self) -> anyhow::Result<ServerConfig> {
        let chain = certificates(&self.chain)?;
        let key = private_key::read(&self.key, self.passphrase.as_ref().map(Secret::expose))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).with_context(|| {
            format!("the certificate {} and the key {} do not fit", self.chain.display(), self.key.display())
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn stamps(&self) -> Stamps {
        [&self.chain, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(5);
