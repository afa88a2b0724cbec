//! A server certificate of our own, as most servers have them: with a key of RSA-2048.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// The certificate and its files.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Whom it is for.
    pub(crate) const NAME: &'static str = "bench.example";

    /// Makes one and writes it into `directory`.
    pub(crate) fn make(directory: &Path) -> Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).context("make a key")?;
        let made = CertificateParams::new([Self::NAME.to_owned()])?.self_signed(&key)?;
        let (chain, key_file) = (directory.join("cert.pem"), directory.join("key.pem"));
        fs::write(&chain, made.pem())?;
        fs::write(&key_file, key.serialize_pem())?;
        Ok(Certificate { chain, key: key_file, der: made.der().clone() })
    }

    /// What a client needs to trust it; it keeps no sessions to resume.
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}
