//! Whom to believe. Like coturn's client this one believes anybody unless it is given certificate authorities: it
//! finds out how a server behaves, and that includes one with a certificate nobody vouches for.

use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::tools::output::warning;

/// Believes anybody.
#[derive(Debug)]
pub(crate) struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

/// Believes whom one of these vouches for.
#[derive(Debug)]
pub(super) struct Authorities {
    roots: RootCertStore,
    listed: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether one for another name is refused; else it is only told of.
    names_count: bool,
    warned: AtomicBool,
}

impl AnyCertificate {
    pub(crate) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        AnyCertificate { algorithms }
    }
}

impl Authorities {
    /// `None` if not one of them can be used.
    pub(super) fn new(
        listed: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
        names_count: bool,
    ) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(listed.iter().cloned());
        (usable > 0).then(|| Authorities {
            roots,
            listed,
            algorithms,
            names_count,
            warned: AtomicBool::new(false),
        })
    }

    fn verify_chain(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // One that signed itself vouches for itself, if the user says so: webpki takes no authority for a server.
        if self.listed.contains(certificate) {
            return Ok(());
        }
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(parsed, &self.roots, intermediates, now, algorithms)
    }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        self.verify_chain(certificate, &parsed, intermediates, now)?;
        if self.names_count {
            return verify_server_name(&parsed, name).map(|()| ServerCertVerified::assertion());
        }
        // coturn's client compares no names, and is mostly pointed at addresses: a word has to do.
        if let Err(error) = verify_server_name(&parsed, name)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            let name = name.to_str();
            let error = match error {
                Error::InvalidCertificate(reason) => reason.to_string(),
                error => error.to_string(),
            };
            warning!("the certificate is good, but not for {name}, and browsers would refuse it: {error}");
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Nothing is checked, not even signatures: they would prove the possession of a key that anybody may have made, and
/// checking them would refuse old certificates that coturn's client takes.
impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
