//! What all sessions of one side have in common: the version, the ciphers, a certificate.

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVersion,
};
use openssl::x509::X509;

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The certificate chain.
    #[error("OpenSSL cannot read the certificate: {0}")]
    Chain(#[source] ErrorStack),
    /// There is none in the file.
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    /// The private key, or it is another certificate's.
    #[error("OpenSSL cannot use the private key: {0}")]
    Key(#[source] ErrorStack),
    /// Those who vouch for clients.
    #[error("OpenSSL cannot read those who vouch for clients: {0}")]
    Authorities(#[source] ErrorStack),
    /// The list of ciphers.
    #[error("OpenSSL knows no such ciphers: {0}")]
    Ciphers(#[source] ErrorStack),
    /// This OpenSSL cannot do what is needed.
    #[error("OpenSSL: {0}")]
    Other(#[from] ErrorStack),
}

/// Which OpenSSL does the work, by its own words.
pub fn library_version() -> &'static str {
    openssl::version::version()
}

/// DTLS 1.2 with forward secrecy and authenticated encryption, and nothing kept from one session for another.
pub(crate) fn builder(method: SslMethod, ciphers: &str) -> Result<SslContextBuilder, ConfigError> {
    let mut builder = SslContextBuilder::new(method)?;
    // RFC 8996: nothing older. OpenSSL has nothing newer.
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_options(
        SslOptions::NO_QUERY_MTU
            | SslOptions::NO_TICKET
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_COMPRESSION
            | SslOptions::COOKIE_EXCHANGE,
    );
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    builder.set_cipher_list(ciphers).map_err(ConfigError::Ciphers)?;
    builder.set_groups_list("X25519:P-256:P-384")?;
    Ok(builder)
}

/// Puts in a certificate with those that vouch for it, and its key.
pub(crate) fn set_certificate(
    builder: &mut SslContextBuilder,
    chain: &[u8],
    key: &[u8],
) -> Result<(), ConfigError> {
    let mut chain = X509::stack_from_pem(chain).map_err(ConfigError::Chain)?.into_iter();
    let own = chain.next().ok_or(ConfigError::NoCertificate)?;
    builder.set_certificate(&own).map_err(ConfigError::Chain)?;
    for certificate in chain {
        builder.add_extra_chain_cert(certificate).map_err(ConfigError::Chain)?;
    }
    // An empty passphrase, or OpenSSL would ask for one at the terminal.
    let key = PKey::private_key_from_pem_passphrase(key, b"").or_else(|_| PKey::private_key_from_der(key));
    let key = key.map_err(ConfigError::Key)?;
    builder.set_private_key(&key).map_err(ConfigError::Key)?;
    builder.check_private_key().map_err(ConfigError::Key)
}

pub(crate) fn build(builder: SslContextBuilder) -> SslContext {
    builder.build()
}

/// Suites of DTLS 1.2 with ephemeral keys and authenticated encryption.
pub const DTLS_CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20";
