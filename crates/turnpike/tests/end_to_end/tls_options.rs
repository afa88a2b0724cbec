//! What can be set about TLS: encrypted private keys, versions, the second port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use turnpike_wire::Message;
use turnpike_wire::attributes::OtherAddress;

use crate::client::binding_request;
use crate::harness::{PATIENCE, Server, TURNSERVER, loopback_address, run};

/// A file of the folder beside this one: one key in several shapes, as OpenSSL writes them, and its certificate.
fn file(name: &str) -> String {
    format!("{}/tests/end_to_end/encrypted_key/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn start(key: &str, more: &[&str]) -> Server {
    let (certificate, key) = (file("certificate.pem"), file(key));
    let base = ["--no-auth", "--cert", &certificate, "--pkey", &key];
    Server::start_at(SocketAddr::new(loopback_address(), 3478), &[&base[..], more].concat())
}

/// Asks for an address by TLS and gives the answer, or none where no session comes about.
fn binding_by_tls(address: SocketAddr, version: &'static SupportedProtocolVersion) -> Option<Vec<u8>> {
    let pem = std::fs::read(file("certificate.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    stream.write_all(&binding_request()).ok()?;
    let mut answer = vec![0; 20];
    stream.read_exact(&mut answer).ok()?;
    answer.resize(20 + usize::from(u16::from_be_bytes([answer[2], answer[3]])), 0);
    stream.read_exact(&mut answer[20..]).ok()?;
    let spoken =
        if version.version == TLS12.version { ProtocolVersion::TLSv1_2 } else { ProtocolVersion::TLSv1_3 };
    assert_eq!(stream.conn.protocol_version(), Some(spoken));
    Some(answer)
}

#[test]
fn an_encrypted_private_key_is_read_with_its_passphrase() {
    for key in ["aes256.pem", "aes128.pem", "scrypt.pem"] {
        let server = start(key, &["--pkey-pwd=correct horse"]);
        assert!(binding_by_tls(server.address, &TLS13).is_some(), "{key}");
        assert!(!server.program.so_far().contains("correct horse"));
    }
}

#[test]
fn a_key_that_cannot_be_decrypted_leaves_tls_off_and_says_what_to_do() {
    for (key, passphrase, why) in [
        ("aes256.pem", "--pkey-pwd=wrong horse", "the passphrase of pkey-pwd is wrong"),
        ("aes256.pem", "--pkey-pwd=", "is encrypted: give its passphrase with pkey-pwd"),
        ("des3.pem", "--pkey-pwd=correct horse", "openssl pkcs8 -topk8 -v2 aes-256-cbc -in "),
        ("legacy.pem", "--pkey-pwd=correct horse", "openssl pkcs8 -topk8 -v2 aes-256-cbc -in "),
    ] {
        let server = start(key, &[passphrase]);
        let said = server.program.so_far();
        assert!(said.contains("TLS is off: ") && said.contains(why), "{key}: {said}");
        assert!(!said.contains(" horse"), "{said}");
        assert!(binding_by_tls(server.address, &TLS13).is_none());
    }
}

#[test]
fn a_passphrase_is_never_shown_and_without_a_key_warned_of() {
    let checked =
        run(TURNSERVER, &["-n", "--check-config", "--no-auth", "--stun-only", "--pkey-pwd=correct horse"]);
    let said = checked.stdout + &checked.stderr;
    assert!(
        said.contains("pkey-pwd = [redacted]") && said.contains("pkey-pwd: has no effect without pkey"),
        "{said}"
    );
    assert!(!said.contains("correct horse"));
}

#[test]
fn tls_1_2_is_spoken_unless_it_is_switched_off() {
    for (more, spoken) in
        [(&["--pkey-pwd=correct horse"][..], true), (&["--pkey-pwd=correct horse", "--no-tlsv1_2"], false)]
    {
        let server = start("aes256.pem", more);
        assert!(binding_by_tls(server.address, &TLS13).is_some());
        assert_eq!(binding_by_tls(server.address, &TLS12).is_some(), spoken, "{more:?}");
    }
}

#[test]
fn discovery_has_a_second_port_for_tls_and_tells_tls_clients_of_it() {
    for (more, tls_ports) in [
        (&[][..], [5349, 5350]),
        (&["--tls-listening-port=6000", "--alt-tls-listening-port=7000"], [6000, 7000]),
    ] {
        let other = loopback_address();
        let listening = other.to_string();
        let base = ["--pkey-pwd=correct horse", "--rfc5780", "-L", &listening];
        let server = start("aes256.pem", &[&base[..], more].concat());
        let ips = [server.address.ip(), other];
        // Plain ports beside them: TLS is told from TCP by its first byte.
        for ports in [[3478, 3479], tls_ports] {
            for (ip, port) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let address = SocketAddr::new(ips[ip], ports[port]);
                let answer = binding_by_tls(address, &TLS13).expect("an answer");
                let told = Message::parse(&answer).unwrap().get().unwrap();
                assert_eq!(
                    told,
                    Some(OtherAddress(SocketAddr::new(ips[1 - ip], ports[1 - port]))),
                    "{address}"
                );
            }
        }
    }
}

#[test]
fn without_discovery_there_is_no_second_port_for_tls() {
    let server = start("aes256.pem", &["--pkey-pwd=correct horse", "--alt-tls-listening-port=5350"]);
    assert!(server.program.so_far().contains("alt-tls-listening-port: has no effect without rfc5780"));
    assert!(TcpStream::connect(SocketAddr::new(server.address.ip(), 5350)).is_err());
    assert!(TcpStream::connect(SocketAddr::new(server.address.ip(), 5349)).is_ok());
}
