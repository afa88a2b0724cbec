//! The server's side: sessions with the certificate that is current.

use arc_swap::ArcSwapOption;
use openssl::ssl::{AlpnError, Ssl, SslContext, SslMethod, SslVerifyMode, select_next_proto};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use std::sync::Arc;

use crate::context::{ConfigError, DTLS_CIPHERS, build, builder, set_certificate};
use crate::exchange::Exchange;
use crate::session::Session;

/// Begins sessions with the certificate that is current. Sessions that exist keep theirs.
#[derive(Debug, Default)]
pub struct DtlsAcceptor {
    current: ArcSwapOption<ServerContext>,
}

/// A certificate with all that is to be agreed on, ready to be used.
#[derive(Debug)]
pub struct ServerContext(SslContext);

/// What a server's files hold, in PEM.
#[derive(Clone, Copy, Debug)]
pub struct ServerFiles<'f> {
    /// The certificate, and those that vouch for it.
    pub chain: &'f [u8],
    /// Its private key, or that in DER.
    pub key: &'f [u8],
    /// Those who must have vouched for a client; `None` where clients need no certificate.
    pub client_authorities: Option<&'f [u8]>,
}

/// The hello cannot be accepted; why is said by an alert in the exchange, if it can be said at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl ServerContext {
    /// Reads files.
    ///
    /// # Errors
    /// One of them is no good.
    pub fn new(files: &ServerFiles<'_>) -> Result<Self, ConfigError> {
        let mut builder = builder(SslMethod::dtls_server(), DTLS_CIPHERS)?;
        set_certificate(&mut builder, files.chain, files.key)?;
        // The front has looked at the cookie before OpenSSL sees it.
        builder.set_cookie_verify_cb(|_, _| true);
        // RFC 7443: one who names others alone is refused; one who names none is not.
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::ALERT_FATAL)
        });
        if let Some(authorities) = files.client_authorities {
            let mut store = X509StoreBuilder::new()?;
            for authority in X509::stack_from_pem(authorities).map_err(ConfigError::Authorities)? {
                builder.add_client_ca(&authority).map_err(ConfigError::Authorities)?;
                store.add_cert(authority).map_err(ConfigError::Authorities)?;
            }
            builder.set_verify_cert_store(store.build())?;
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        Ok(ServerContext(build(builder)))
    }
}

impl DtlsAcceptor {
    /// Sets the certificate for sessions from here on.
    pub fn set(&self, context: ServerContext) {
        self.current.store(Some(Arc::new(context)));
    }

    /// Begins a session with a ClientHello that [`Front`](crate::Front) has admitted. The server's first flight is in
    /// the exchange then.
    ///
    /// # Errors
    /// It cannot be agreed on anything.
    pub fn begin(&self, exchange: &mut Exchange, hello: &[u8]) -> Result<Session, Refused> {
        let context = self.current.load();
        let context = context.as_deref().ok_or(Refused)?;
        let ssl = Ssl::new(&context.0).map_err(|_| Refused)?;
        Session::accept(ssl, exchange, hello).ok_or(Refused)
    }
}

/// What may be spoken inside DTLS (RFC 7443), each with its length.
const PROTOCOLS: &[u8] = b"\x09stun.turn\x12stun.nat-discovery";
