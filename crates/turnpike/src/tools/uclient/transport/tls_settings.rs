//! What `-i`, `-k`, `-E` and `-F` mean for TLS.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, danger::ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::ciphers;
use super::verification::{AnyCertificate, Authorities};

/// The flags as typed.
#[derive(Clone, Debug, Default)]
pub(in crate::tools::uclient) struct TlsFlags {
    /// The client's certificate and those that vouch for it.
    pub(in crate::tools::uclient) certificate: Option<String>,
    pub(in crate::tools::uclient) key: Option<String>,
    /// Whom to believe; without them any certificate will do.
    pub(in crate::tools::uclient) authorities: Option<String>,
    /// Whether a certificate has to be for the server's name, too.
    pub(in crate::tools::uclient) names_count: bool,
    pub(in crate::tools::uclient) ciphers: Option<String>,
}

/// What all sessions of a run share.
#[derive(Clone, Debug)]
pub(in crate::tools::uclient) struct TlsSettings {
    pub(super) config: Arc<ClientConfig>,
    /// The server's name as typed.
    pub(super) name: ServerName<'static>,
}

impl TlsSettings {
    /// Reads the files. The error is a sentence for the user.
    pub(in crate::tools::uclient) fn new(host: &str, flags: &TlsFlags) -> Result<Self, String> {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(list) = &flags.ciphers {
            provider.cipher_suites = ciphers::select(list, &provider.cipher_suites)?;
        }
        let provider = Arc::new(provider);
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be used: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(verifier(&provider, flags)?);
        let mut config = match own_certificate(flags)? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("-i and -k do not go together: {error}"))?,
            None => builder.with_no_client_auth(),
        };
        // Each session is a client of its own: resuming another's would make a run look cheaper than clients are.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"stun.turn".to_vec()];
        Ok(TlsSettings { config: Arc::new(config), name: server_name(host)? })
    }

    /// The same for a server that bears another name.
    pub(in crate::tools::uclient) fn named(&self, host: &str) -> Result<Self, String> {
        Ok(TlsSettings { config: self.config.clone(), name: server_name(host)? })
    }
}

pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    // The scope of an IPv6 address is nobody else's business.
    let address = host.split('%').next().and_then(|address| address.parse::<IpAddr>().ok());
    match address {
        Some(address) => Ok(ServerName::IpAddress(address.into())),
        None => ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name for TLS")),
    }
}

pub(super) fn verifier(
    provider: &CryptoProvider,
    flags: &TlsFlags,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let algorithms = provider.signature_verification_algorithms;
    Ok(match &flags.authorities {
        Some(path) => {
            let flag = if flags.names_count { "--ca-file" } else { "-E" };
            let authorities = Authorities::new(certificates(flag, path)?, algorithms, flags.names_count);
            Arc::new(
                authorities.ok_or_else(|| format!("{flag}: {path} holds no certificate that can be used"))?,
            )
        }
        None => Arc::new(AnyCertificate::new(algorithms)),
    })
}

pub(super) type OwnCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(super) fn own_certificate(flags: &TlsFlags) -> Result<Option<OwnCertificate>, String> {
    match (&flags.certificate, &flags.key) {
        (Some(certificate), key) => {
            // One file often holds both.
            let path = key.as_ref().unwrap_or(certificate);
            let key = PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable("-k", path, &error))?;
            Ok(Some((certificates("-i", certificate)?, key)))
        }
        (None, Some(_)) => Err("-k: a key is of no use without its certificate, -i".to_owned()),
        (None, None) => Ok(None),
    }
}

fn certificates(flag: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(unreadable(flag, path, &PemError::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(flag, path, &error)),
    }
}

fn unreadable(flag: &str, path: &str, error: &PemError) -> String {
    match error {
        PemError::NoItemsFound if flag == "-k" => {
            format!("{flag}: {path} holds no private key in PEM; one with a passphrase cannot be used")
        }
        PemError::NoItemsFound => format!("{flag}: {path} holds no certificate in PEM"),
        PemError::Io(error) => format!("{flag}: {path} cannot be read: {error}"),
        error => format!("{flag}: {path} is no good PEM: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named_with_their_flag() {
        let refusal = |flags: TlsFlags| TlsSettings::new("localhost", &flags).unwrap_err();
        let missing = Some("/nonexistent.pem".to_owned());
        let said = refusal(TlsFlags { authorities: missing.clone(), ..TlsFlags::default() });
        assert!(said.starts_with("-E: /nonexistent.pem cannot be read"), "{said}");
        let said = refusal(TlsFlags { certificate: missing.clone(), ..TlsFlags::default() });
        assert!(said.starts_with("-k: /nonexistent.pem cannot be read"), "{said}");
        let said = refusal(TlsFlags { key: missing, ..TlsFlags::default() });
        assert!(said.contains("without its certificate"), "{said}");
    }

    #[test]
    fn names_and_addresses_of_servers_are_told_apart() {
        let name = |host| TlsSettings::new(host, &TlsFlags::default()).unwrap().name;
        assert!(matches!(name("turn.example.org"), ServerName::DnsName(_)));
        for address in ["192.0.2.1", "2001:db8::1", "fe80::1%lo"] {
            assert!(matches!(name(address), ServerName::IpAddress(_)), "{address}");
        }
    }
}
