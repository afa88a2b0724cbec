//! Against rustls's own server, over a loopback connection that delivers one byte at a time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::tools::uclient::transport::tls_settings::TlsFlags;

/// Reads and writes at most one byte.
struct OneByte(TcpStream);

impl Read for OneByte {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

impl Write for OneByte {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server that sends back what it gets.
struct Echo {
    port: u16,
    thread: JoinHandle<io::Result<u64>>,
}

/// A certificate with its key, both in PEM.
struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
}

impl Identity {
    fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        Identity { certificate: made.der().clone(), certificate_pem: made.pem(), key }
    }

    fn authority() -> Self {
        let key = KeyPair::generate().unwrap();
        let made = authority_params().self_signed(&key).unwrap();
        Identity { certificate: made.der().clone(), certificate_pem: made.pem(), key }
    }

    /// A certificate this authority vouches for.
    fn vouch_for(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let made = params.signed_by(&key, &Issuer::new(authority_params(), &self.key)).unwrap();
        Identity { certificate: made.der().clone(), certificate_pem: made.pem(), key }
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A server with this certificate; with an authority it asks clients for one of that authority's.
fn echo(identity: &Identity, authority: Option<&Identity>) -> Echo {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match authority {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(vec![identity.certificate.clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    Echo { port, thread: std::thread::spawn(move || serve(&listener, config)) }
}

/// Serves one connection to its orderly end, and says how much it carried.
fn serve(listener: &TcpListener, config: ServerConfig) -> io::Result<u64> {
    let (socket, _) = listener.accept()?;
    let session = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, socket);
    let (mut bytes, mut total) = ([0; 64], 0);
    loop {
        let length = stream.read(&mut bytes)?;
        if length == 0 {
            return Ok(total);
        }
        total += length as u64;
        stream.write_all(&bytes[..length])?;
    }
}

fn connect(echo: &Echo, name: &str, flags: &TlsFlags) -> Tls<OneByte> {
    let socket = TcpStream::connect(("127.0.0.1", echo.port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    Tls::new(OneByte(socket), &TlsSettings::new(name, flags).unwrap(), false).unwrap()
}

/// Polls until a message or trouble comes.
fn next(tls: &mut Tls<OneByte>) -> Result<Vec<u8>, Trouble> {
    let poller = turnpike_net::Poller::new().unwrap();
    let mut events = turnpike_net::Events::with_capacity(1);
    let mut buffer = [0; 64];
    let mut first = true;
    loop {
        if let Some(length) = tls.receive(&mut buffer) {
            return Ok(buffer[..length].to_vec());
        }
        if let Some(trouble) = tls.trouble() {
            return Err(trouble.clone());
        }
        poller.watch(&tls.socket().0, 0, tls.wants_room(), first).unwrap();
        first = false;
        poller.wait(Some(std::time::Duration::from_secs(10)), &mut events).unwrap();
        assert!(!events.is_empty(), "nothing came");
        tls.flush();
    }
}

/// A file of this test alone.
struct File(std::path::PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnpike-{}-{name}.pem", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> Option<String> {
        self.0.to_str().map(str::to_owned)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const MESSAGE: &[u8] = &[0x40, 0, 0, 5, b'h', b'e', b'l', b'l', b'o', 0, 0, 0];

#[test]
fn messages_sent_before_the_handshake_come_back_whole() {
    let server = echo(&Identity::self_signed("localhost"), None);
    let mut tls = connect(&server, "127.0.0.1", &TlsFlags::default());
    assert!(tls.send(MESSAGE) && tls.send(MESSAGE));
    assert_eq!(next(&mut tls).unwrap(), MESSAGE[..9]);
    assert_eq!(next(&mut tls).unwrap(), MESSAGE[..9]);
    // The server reads the goodbye as an orderly end.
    drop(tls);
    assert_eq!(server.thread.join().unwrap().unwrap(), 24);
}

#[test]
fn a_certificate_is_believed_if_one_of_the_authorities_vouches_for_it() {
    let (authority, stranger) = (Identity::authority(), Identity::authority());
    let file = File::new("authority", &authority.certificate_pem);
    let flags = TlsFlags { authorities: file.path(), ..TlsFlags::default() };
    let server = echo(&authority.vouch_for("localhost"), None);
    let mut tls = connect(&server, "localhost", &flags);
    assert!(tls.send(MESSAGE));
    assert_eq!(next(&mut tls).unwrap(), MESSAGE[..9]);

    let server = echo(&stranger.vouch_for("localhost"), None);
    let mut tls = connect(&server, "localhost", &flags);
    let Err(Trouble::Failed(why)) = next(&mut tls) else { panic!("no trouble") };
    assert!(why.contains("invalid peer certificate"), "{why}");
    assert!(!tls.send(MESSAGE));
    assert!(server.thread.join().unwrap().is_err());
}

#[test]
fn a_certificate_that_is_itself_in_the_file_is_believed_whatever_its_name() {
    let identity = Identity::self_signed("localhost");
    let file = File::new("itself", &identity.certificate_pem);
    let flags = TlsFlags { authorities: file.path(), ..TlsFlags::default() };
    for name in ["localhost", "elsewhere.example"] {
        let server = echo(&identity, None);
        let mut tls = connect(&server, name, &flags);
        assert!(tls.send(MESSAGE));
        assert_eq!(next(&mut tls).unwrap(), MESSAGE[..9]);
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_the_one_given() {
    let (identity, authority) = (Identity::self_signed("localhost"), Identity::authority());
    let client = authority.vouch_for("client");
    let both = format!("{}{}", client.certificate_pem, client.key.serialize_pem());
    let file = File::new("client", &both);
    // One file for both, and one for each.
    for key in [None, file.path()] {
        let flags = TlsFlags { certificate: file.path(), key, ..TlsFlags::default() };
        let server = echo(&identity, Some(&authority));
        let mut tls = connect(&server, "localhost", &flags);
        assert!(tls.send(MESSAGE));
        assert_eq!(next(&mut tls).unwrap(), MESSAGE[..9]);
    }
    let server = echo(&identity, Some(&authority));
    let mut tls = connect(&server, "localhost", &TlsFlags::default());
    tls.send(MESSAGE);
    assert!(next(&mut tls).is_err());
}

#[test]
fn the_ciphers_asked_for_are_the_ones_agreed_on() {
    let server = echo(&Identity::self_signed("localhost"), None);
    let flags = TlsFlags { ciphers: Some("TLS_CHACHA20_POLY1305_SHA256".into()), ..TlsFlags::default() };
    let mut tls = connect(&server, "localhost", &flags);
    assert!(tls.send(MESSAGE));
    next(&mut tls).unwrap();
    let agreed = tls.session.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(agreed, rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
}

#[test]
fn a_server_that_speaks_no_tls_is_trouble() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept()?;
        socket.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")?;
        Ok(0)
    });
    let server = Echo { port, thread };
    let mut tls = connect(&server, "localhost", &TlsFlags::default());
    assert!(matches!(next(&mut tls), Err(Trouble::Failed(_))));
    server.thread.join().unwrap().unwrap();
}
