//! The certificate that TLS and DTLS clients see: read at start, and again when its files change or somebody says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, thread};

use anyhow::{Context, bail};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite};
use turnpike_config::{Config, Secret, SystemEnvironment, locate};
use turnpike_control::Log;
use turnpike_dtls::{DtlsAcceptor, ServerContext, ServerFiles};
use turnpike_worker::TlsAcceptor;

use crate::private_key;

/// The files, and who is told when they have new contents.
#[derive(Debug)]
pub(crate) struct Certificates {
    chain: PathBuf,
    key: PathBuf,
    passphrase: Option<Secret>,
    client_authorities: Option<PathBuf>,
    tls12: bool,
    tls: Option<Arc<TlsAcceptor>>,
    dtls: Option<Arc<DtlsAcceptor>>,
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
        let (Some(chain), Some(key), true) =
            (&config.certificate, &config.private_key, config.tls || config.dtls)
        else {
            return None;
        };
        let located = |name: &String| locate(&SystemEnvironment, name);
        let certificates = Certificates {
            chain: located(chain),
            key: located(key),
            passphrase: config.private_key_passphrase.clone(),
            client_authorities: config.client_authorities.as_ref().map(located),
            tls12: config.tls12,
            tls: config.tls.then(Arc::default),
            dtls: config.dtls.then(Arc::default),
        };
        match certificates.load() {
            Ok(()) => Some(certificates),
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

    /// Whom it is for.
    pub(crate) fn served(&self) -> Served {
        Served { tls: self.tls.is_some(), dtls: self.dtls.is_some() }
    }

    /// Where the chain is.
    pub(crate) fn chain(&self) -> &Path {
        &self.chain
    }

    /// Reads the files again. What is wrong with them leaves the certificate as it was, and is said.
    pub(crate) fn reload(&self, log: &Log) {
        match self.load() {
            Ok(()) => log.info(&format!(
                "The certificate {} was read again; new connections get it",
                self.chain.display()
            )),
            Err(error) => {
                log.error(&format!("The certificate was not read again, the old one stays: {error:#}"))
            }
        }
    }

    /// Reads the files again whenever they change, until the process ends.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn watch(self: Arc<Self>, log: Arc<Log>) -> std::io::Result<()> {
        let mut seen = self.stamps();
        thread::Builder::new().name("certificates".into()).spawn(move || {
            loop {
                thread::sleep(LOOK_EVERY);
                if self.stamps() != seen {
                    // Whoever replaces them writes one after the other.
                    thread::sleep(SETTLE);
                    seen = self.stamps();
                    self.reload(&log);
                }
            }
        })?;
        Ok(())
    }

    fn stamps(&self) -> Vec<Option<(SystemTime, u64)>> {
        let files = [Some(&self.chain), Some(&self.key), self.client_authorities.as_ref()];
        let stamp = |path: &PathBuf| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        files.into_iter().flatten().map(stamp).collect()
    }

    fn load(&self) -> anyhow::Result<()> {
        // Both or neither: they are not to show different certificates.
        let tls = self.tls.as_ref().map(|_| self.read()).transpose()?;
        let dtls = self.dtls.as_ref().map(|_| self.read_for_dtls()).transpose()?;
        if let (Some(acceptor), Some(config)) = (&self.tls, tls) {
            acceptor.set(Arc::new(config));
        }
        if let (Some(acceptor), Some(context)) = (&self.dtls, dtls) {
            acceptor.set(context);
        }
        Ok(())
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

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
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
const LOOK_EVERY: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(1);
