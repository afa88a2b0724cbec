//! The certificate that TLS and DTLS clients see: read at start, and again with the configuration or when its files
//! change (see `reload`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite};
use turnpike_config::{Config, Secret, SystemEnvironment, locate};
use turnpike_control::Log;
use turnpike_dtls::{DtlsAcceptor, ServerContext, ServerFiles, certificate_expiry};
use turnpike_worker::TlsAcceptor;

use crate::private_key;

/// The files, and who is told when they have new contents.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Mutex<Files>,
    tls: Option<Arc<TlsAcceptor>>,
    dtls: Option<Arc<DtlsAcceptor>>,
    /// The second since 1970 after which the one that is served is no good; zero when that is not known.
    expires: AtomicU64,
}

/// Where the certificate is, and what else there is to agree on with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    passphrase: Option<Secret>,
    client_authorities: Option<PathBuf>,
    tls12: bool,
}

/// What was read of the files and can be used, but is not yet.
pub(crate) struct Fresh {
    files: Files,
    tls: Option<ServerConfig>,
    dtls: Option<ServerContext>,
    /// The second since 1970 after which it is no good.
    expires: Option<u64>,
}

/// Which clients the certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) tls: bool,
    pub(crate) dtls: bool,
}

impl Certificates {
    /// Reads what is configured. `None` where neither TLS nor DTLS is wanted or cannot be had; the log says why.
    pub(crate) fn open(config: &Config, log: &Log) -> Option<Self> {
        if !config.tls && !config.dtls {
            return None;
        }
        let certificates = Certificates {
            files: Mutex::new(Files::of(config)?),
            tls: config.tls.then(Arc::default),
            dtls: config.dtls.then(Arc::default),
            expires: AtomicU64::new(0),
        };
        match certificates.read(config) {
            Ok(fresh) => {
                certificates.take(fresh);
                Some(certificates)
            }
            Err(error) => {
                let what = match (config.tls, config.dtls) {
                    (true, true) => "TLS and DTLS are off",
                    (true, false) => "TLS is off",
                    _ => "DTLS is off",
                };
                log.error(&format!("{what}: {error:#}"));
                None
            }
        }
    }

    /// What begins TLS sessions, if there are to be any.
    pub(crate) fn tls(&self) -> Option<Arc<TlsAcceptor>> {
        self.tls.clone()
    }

    /// What begins DTLS sessions, if there are to be any.
    pub(crate) fn dtls(&self) -> Option<Arc<DtlsAcceptor>> {
        self.dtls.clone()
    }

    /// The second since 1970 after which it is no good.
    pub(crate) fn expires(&self) -> Option<u64> {
        Some(self.expires.load(Ordering::Relaxed)).filter(|expires| *expires != 0)
    }

    /// Whom it is for.
    pub(crate) fn served(&self) -> Served {
        Served { tls: self.tls.is_some(), dtls: self.dtls.is_some() }
    }

    /// Where the chain is.
    pub(crate) fn chain(&self) -> PathBuf {
        self.files().chain.clone()
    }

    /// Every file that something is read from.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let Files { chain, key, client_authorities, .. } = self.files().clone();
        [Some(chain), Some(key), client_authorities].into_iter().flatten().collect()
    }

    /// Reads the files that a configuration names; without names those that are in use stay. Nothing is used yet.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn read(&self, config: &Config) -> anyhow::Result<Fresh> {
        let files = Files::of(config).unwrap_or_else(|| self.files().clone());
        // Both or neither: they are not to show different certificates.
        let tls = self.tls.as_ref().map(|_| files.read()).transpose()?;
        let dtls = self.dtls.as_ref().map(|_| files.read_for_dtls()).transpose()?;
        let expires = certificates(&files.chain)?.first().and_then(|first| certificate_expiry(first));
        Ok(Fresh { files, tls, dtls, expires })
    }

    /// Shows new connections what was read.
    pub(crate) fn take(&self, Fresh { files, tls, dtls, expires }: Fresh) {
        if let (Some(acceptor), Some(config)) = (&self.tls, tls) {
            acceptor.set(Arc::new(config));
        }
        if let (Some(acceptor), Some(context)) = (&self.dtls, dtls) {
            acceptor.set(context);
        }
        self.expires.store(expires.unwrap_or(0), Ordering::Relaxed);
        *self.files() = files;
    }

    /// What a configuration says of the files, as text.
    #[cfg(test)]
    pub(crate) fn description(config: &Config) -> String {
        let Some(files) = Files::of(config) else { return String::new() };
        let passphrase = files.passphrase.as_ref().map(Secret::expose);
        format!("{files:?} {passphrase:?}")
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fresh {
    /// Where the chain is.
    pub(crate) fn chain(&self) -> &Path {
        &self.files.chain
    }
}

impl Files {
    /// What a configuration names, if it names what is needed.
    fn of(config: &Config) -> Option<Self> {
        let located = |name: &String| locate(&SystemEnvironment, name);
        Some(Files {
            chain: located(config.certificate.as_ref()?),
            key: located(config.private_key.as_ref()?),
            passphrase: config.private_key_passphrase.clone(),
            client_authorities: config.client_authorities.as_ref().map(located),
            tls12: config.tls12,
        })
    }

    fn read_for_dtls(&self) -> anyhow::Result<ServerContext> {
        // Looked at as for TLS first, which has better words for what may be wrong.
        certificates(&self.chain)?;
        let key = private_key::read(&self.key, self.passphrase.as_ref().map(Secret::expose))?;
        let chain = read(&self.chain, "the certificate")?;
        let authorities = self.client_authorities.as_deref();
        let authorities = authorities.map(|path| read(path, "those who vouch for clients")).transpose()?;
        let files =
            ServerFiles { chain: &chain, key: key.secret_der(), client_authorities: authorities.as_deref() };
        ServerContext::new(&files).with_context(|| {
            format!("{} and {} cannot be used for DTLS", self.chain.display(), self.key.display())
        })
    }

    fn read(&self) -> anyhow::Result<ServerConfig> {
        let chain = certificates(&self.chain)?;
        let key = private_key::read(&self.key, self.passphrase.as_ref().map(Secret::expose))?;
        let provider = Arc::new(provider());
        let versions: &[_] = if self.tls12 { &[&TLS13, &TLS12] } else { &[&TLS13] };
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(client_verifier(path, provider)?),
        };
        let mut config = builder.with_single_cert(chain, key).with_context(|| {
            format!("the certificate {} and the key {} do not fit", self.chain.display(), self.key.display())
        })?;
        config.ignore_client_order = true;
        config.alpn_protocols = PROTOCOLS.iter().map(|name| name.as_bytes().to_vec()).collect();
        // Sessions are not resumed: what would be kept for it costs more than the handshakes it saves.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// What TLS is made of. AES-128-GCM comes before AES-256-GCM, which most clients name first: its SHA-256 takes a
/// fraction of the time that SHA-384 takes in a handshake, and nobody breaks either.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let is_short = |suite: &SupportedCipherSuite| {
        let name = suite.suite().as_str().unwrap_or_default();
        name.contains("AES_128_GCM")
    };
    provider.cipher_suites.sort_by_key(|suite| !is_short(suite));
    provider
}

fn read(path: &Path, what: &str) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {what} {}", path.display()))
}

pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path, "the certificate")?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.with_context(|| format!("{} holds a broken certificate", path.display()))?;
    if chain.is_empty() {
        bail!("{} holds no certificate in PEM form", path.display());
    }
    Ok(chain)
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).with_context(|| format!("{} cannot vouch for clients", path.display()))?;
    }
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}

/// What may be spoken inside TLS (RFC 7443). A client that names others alone is refused; one that names none is not.
const PROTOCOLS: [&str; 2] = ["stun.turn", "stun.nat-discovery"];
