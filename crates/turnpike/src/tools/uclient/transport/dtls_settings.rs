//! What `-i`, `-k`, `-E` and `-F` mean for DTLS: the same as for TLS.

use std::fmt;
use std::fs;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error};
use turnpike_dtls::{ClientFiles, DtlsConnector};

use super::ciphers;
use super::tls_settings::{TlsFlags, own_certificate, server_name, verifier};

/// What all sessions of a run share.
#[derive(Clone)]
pub(in crate::tools::uclient) struct DtlsSettings {
    pub(super) connector: DtlsConnector,
    verifier: Arc<dyn ServerCertVerifier>,
    /// The server's name as typed.
    name: ServerName<'static>,
}

impl DtlsSettings {
    /// Reads the files. The error is a sentence for the user.
    pub(in crate::tools::uclient) fn new(host: &str, flags: &TlsFlags) -> Result<Self, String> {
        let provider = aws_lc_rs::default_provider();
        let ciphers = match &flags.ciphers {
            Some(list) => Some(ciphers::select_for_dtls(list, &provider.cipher_suites)?),
            None => None,
        };
        // Looked at as for TLS first, which has the words for what may be wrong.
        own_certificate(flags)?;
        let read = |path: &String| fs::read(path).map_err(|error| format!("{path} cannot be read: {error}"));
        let own = match &flags.certificate {
            Some(path) => Some((read(path)?, read(flags.key.as_ref().unwrap_or(path))?)),
            None => None,
        };
        let files = ClientFiles {
            certificate: own.as_ref().map(|(chain, key)| (chain.as_slice(), key.as_slice())),
            ciphers: ciphers.as_deref(),
            protocols: PROTOCOLS,
        };
        let connector =
            DtlsConnector::new(&files).map_err(|error| format!("DTLS cannot be used: {error}"))?;
        let verifier = verifier(&provider, flags)?;
        Ok(DtlsSettings { connector, verifier, name: server_name(host)? })
    }

    /// Whether to believe a server with these certificates.
    pub(super) fn verify(&self, chain: &[Vec<u8>]) -> Result<(), Error> {
        let chain: Vec<CertificateDer<'_>> = chain.iter().map(|der| der.as_slice().into()).collect();
        let Some((own, between)) = chain.split_first() else {
            return Err(CertificateError::BadEncoding.into());
        };
        self.verifier.verify_server_cert(own, between, &self.name, &[], UnixTime::now()).map(|_| ())
    }
}

impl fmt::Debug for DtlsSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DtlsSettings({})", self.name.to_str())
    }
}

/// Offered inside DTLS (RFC 7443), with its length.
const PROTOCOLS: &[u8] = b"\x09stun.turn";
