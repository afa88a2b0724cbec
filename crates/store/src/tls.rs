//! TLS towards a store, by rustls with the same cryptography as the rest of the server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// What a connection string says of TLS.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// Whom to trust; the system's authorities if neither is given.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) ca_directory: Option<PathBuf>,
    /// Who we are, with the key.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) verify: Verify,
}

/// What is asked of the server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Nothing.
    None,
    /// That somebody trusted signed it.
    Chain,
    /// That, and that it names the host.
    #[default]
    Name,
}

impl Tls {
    /// For rustls.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.verify {
            Verify::None => Arc::new(Lenient { chain: None, provider: provider.clone() }),
            Verify::Chain => {
                Arc::new(Lenient { chain: Some(self.chain(&provider)?), provider: provider.clone() })
            }
            Verify::Name => self.chain(&provider)?,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match (&self.certificate, &self.key) {
            (Some(certificate), key) => {
                let key = key.as_ref().unwrap_or(certificate);
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, error))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, private)
                    .map_err(|error| told(certificate, error))
            }
            (None, _) => Ok(builder.with_no_client_auth()),
        }
    }

    fn chain(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.authorities()?);
        if roots.is_empty() {
            return Err(
                "no certificate authority was found to trust; name one in the connection string".into()
            );
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| error.to_string())
    }

    /// The certificates of whom to trust.
    pub(crate) fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let mut found = Vec::new();
        if let Some(file) = &self.ca {
            found.extend(certificates(file)?);
        }
        if let Some(directory) = &self.ca_directory {
            let entries = fs::read_dir(directory).map_err(|error| told(directory, error))?;
            // A directory of authorities also holds links and notes.
            found.extend(entries.flatten().filter_map(|entry| certificates(&entry.path()).ok()).flatten());
        }
        if self.ca.is_none() && self.ca_directory.is_none() {
            let file = SYSTEM_AUTHORITIES.iter().find(|path| Path::new(path).exists());
            found.extend(file.map(|path| certificates(Path::new(path))).transpose()?.unwrap_or_default());
        }
        Ok(found)
    }
}

impl Tls {
    /// The certificates of whom to trust, in the form that some drivers want.
    pub(crate) fn authorities_as_pem(&self) -> Result<Vec<u8>, String> {
        let pem = |certificate: CertificateDer<'_>| {
            let lines = STANDARD.encode(certificate);
            let lines = lines.as_bytes().chunks(64).flat_map(|line| [line, b"\n"].concat());
            let begin = b"-----BEGIN CERTIFICATE-----\n".iter().copied();
            begin.chain(lines).chain(b"-----END CERTIFICATE-----\n".iter().copied()).collect::<Vec<u8>>()
        };
        Ok(self.authorities()?.into_iter().flat_map(pem).collect())
    }
}

/// Makes this process's rustls use `aws-lc-rs` where a driver asks for its default.
pub(crate) fn install_provider() {
    // Somebody else may have, which is as good.
    let _ = aws_lc_rs::default_provider().install_default();
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| told(path, error))?;
    if read.is_empty() { Err(format!("{}: no certificate in it", path.display())) } else { Ok(read) }
}

fn told(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

/// Verifies the chain or nothing, never the name.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is what is looked at last.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
