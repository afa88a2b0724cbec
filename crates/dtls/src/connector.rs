//! The client's side.

use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};

use crate::context::{ConfigError, DTLS_CIPHERS, build, builder, set_certificate};
use crate::exchange::Exchange;
use crate::session::Session;

/// Begins sessions with servers. It takes any certificate: whom to believe, the caller decides by
/// [`Session::peer_chain`] before it writes anything.
#[derive(Clone, Debug)]
pub struct DtlsConnector(SslContext);

/// What a client brings, all of it optional.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientFiles<'f> {
    /// Its certificate chain and private key, in PEM.
    pub certificate: Option<(&'f [u8], &'f [u8])>,
    /// Cipher suites, as OpenSSL writes them.
    pub ciphers: Option<&'f str>,
    /// Protocols to offer inside DTLS, each with its length before it (RFC 7443); none where it is empty.
    pub protocols: &'f [u8],
}

impl DtlsConnector {
    /// Reads what a client brings.
    ///
    /// # Errors
    /// Something of it is no good.
    pub fn new(files: &ClientFiles<'_>) -> Result<Self, ConfigError> {
        let mut builder = builder(SslMethod::dtls_client(), files.ciphers.unwrap_or(DTLS_CIPHERS))?;
        builder.set_verify(SslVerifyMode::NONE);
        if let Some((chain, key)) = files.certificate {
            set_certificate(&mut builder, chain, key)?;
        }
        if !files.protocols.is_empty() {
            builder.set_alpn_protos(files.protocols)?;
        }
        Ok(DtlsConnector(build(builder)))
    }

    /// Begins a session; its first flight is in the exchange then.
    ///
    /// # Errors
    /// OpenSSL has no memory.
    pub fn begin(&self, exchange: &mut Exchange) -> Result<Session, ConfigError> {
        Ok(Session::connect(Ssl::new(&self.0)?, exchange)?)
    }

    /// Likewise, asking for the server of this name (RFC 6066 §3).
    ///
    /// # Errors
    /// This is no name of a host, or OpenSSL has no memory.
    pub fn begin_with(&self, exchange: &mut Exchange, server_name: &str) -> Result<Session, ConfigError> {
        let mut ssl = Ssl::new(&self.0)?;
        ssl.set_hostname(server_name)?;
        Ok(Session::connect(ssl, exchange)?)
    }
}
