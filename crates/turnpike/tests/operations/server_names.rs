//! Realms told apart by the name that clients of TLS and DTLS ask for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use turnpike_dtls::{ClientFiles, DtlsConnector, Exchange, Unsealed};
use turnpike_store::{Row, StoreKind};
use turnpike_wire::attributes::{Realm, RequestedTransport};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};

use crate::harness::{Directory, PATIENCE, Server};
use crate::outages::{Book, user};

/// The realm that somebody is told who asks for this server.
fn realm_told(address: SocketAddr, certificate: &str, name: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    stream.write_all(&unsigned()).unwrap();
    let mut answer = vec![0; 20];
    stream.read_exact(&mut answer).unwrap();
    answer.resize(20 + usize::from(u16::from_be_bytes([answer[2], answer[3]])), 0);
    stream.read_exact(&mut answer[20..]).unwrap();
    realm_in(&answer)
}

/// Likewise by DTLS.
fn realm_told_by_dtls(address: SocketAddr, name: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut exchange = Exchange::default();
    let connector = DtlsConnector::new(&ClientFiles::default()).unwrap();
    let mut session = connector.begin_with(&mut exchange, name).unwrap();
    let mut room = vec![0; 16_384];
    loop {
        for datagram in exchange.datagrams() {
            socket.send(datagram).unwrap();
        }
        exchange.clear();
        let length = socket.recv(&mut room).expect("the server answers");
        session.handle_datagram(&mut exchange, &room[..length]);
        loop {
            match session.read(&mut exchange, &mut room) {
                Unsealed::Message(length) => return realm_in(&room[..length]),
                Unsealed::Established => assert!(session.write(&mut exchange, [&unsigned(), &[], &[]])),
                Unsealed::Nothing => break,
                over @ (Unsealed::Closed | Unsealed::Failed) => panic!("{over:?}"),
            }
        }
    }
}

/// An Allocate of somebody who does not say who it is.
fn unsigned() -> Vec<u8> {
    let mut buffer = [0; 100];
    let id = TransactionId(*b"whose is it?");
    let mut writer = MessageWriter::new(&mut buffer, Class::Request, Method::ALLOCATE, id);
    writer.add(&RequestedTransport::UDP);
    writer.finish().unwrap().to_vec()
}

fn realm_in(answer: &[u8]) -> String {
    let challenge = Message::parse(answer).unwrap();
    String::from_utf8(challenge.get::<Realm<'_>>().unwrap().expect("a realm").0.to_vec()).unwrap()
}

#[test]
fn clients_of_tls_and_dtls_are_of_the_realm_whose_server_they_ask_for() {
    let names = ["north.example", "south.example", "other.example"].map(str::to_owned);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
    let directory = Directory::new();
    let (chain, key) =
        (directory.write("cert.pem", &certificate), directory.write("key.pem", &key.serialize_pem()));
    let file = directory.file("turndb");
    let book = Book::open(StoreKind::Sqlite, &file);
    book.put(&[
        user("north", "alice", "wonderland"),
        Row::Origin { origin: "https://west.example".into(), realm: "west".into() },
    ]);
    let more = [
        "-b",
        &file,
        "--cert",
        &chain,
        "--pkey",
        &key,
        "--dtls",
        "--realm-of-server-name=North.Example/north",
        "--realm-of-server-name=south.example/south",
    ];
    let server = Server::start(&more);
    for (name, realm) in
        [("north.example", "north"), ("south.example", "south"), ("other.example", "example.org")]
    {
        assert_eq!(realm_told(server.address, &certificate, name), realm, "{name}");
        assert_eq!(realm_told_by_dtls(server.address, name), realm, "{name} by DTLS");
    }
}
