//! Twelve thousand connections at once, none of which has anything to say.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};
use turnpike_wire::{Class, Method};

use crate::server::Server;
use crate::wire;

#[test]
#[ignore = "takes many descriptors: scripts/test soak"]
fn ten_thousand_tcp_and_two_thousand_tls_clients_are_idle_at_once_in_little_memory() {
    let limit = turnpike_net::raise_descriptor_limit().unwrap();
    assert!(limit.now >= 13_000, "this needs 13,000 descriptors, and there are {}", limit.now);
    let mut certificate = None;
    let server = Server::start_with(|folder| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        certificate = Some(made.cert.der().clone());
        vec![format!("--cert={}", chain.display()), format!("--pkey={}", key.display())]
    });
    let config = trusting(certificate.unwrap());
    // What is made once is made now.
    let first: Vec<_> = (0..50).map(|number| secure(connect(server.address(), number), &config)).collect();
    let empty = server.vitals();
    let mut plain: Vec<TcpStream> = (0..BY_TCP).map(|number| connect(server.address(), number)).collect();
    plain.iter_mut().for_each(answered);
    let with_tcp = server.vitals();
    let mut tls: Vec<_> =
        (0..BY_TLS).map(|number| secure(connect(server.address(), number), &config)).collect();
    tls.iter_mut().for_each(answered);
    let with_tls = server.vitals();
    // All are still there.
    plain.iter_mut().for_each(answered);
    tls.iter_mut().for_each(answered);
    let each = |before: u64, after: u64, count: usize| (after - before) as f64 / count as f64;
    let by_tcp = each(empty.memory, with_tcp.memory, BY_TCP);
    let by_tls = each(with_tcp.memory, with_tls.memory, BY_TLS);
    println!(
        "soak: {BY_TCP} idle TCP clients of {by_tcp:.2} KiB each, {BY_TLS} idle TLS clients of {by_tls:.2} KiB"
    );
    assert!(by_tcp <= 2.0 && by_tls <= 16.0);
    drop((first, plain, tls));
    let after = server.settled(&empty);
    assert!(after.descriptors <= empty.descriptors && after.threads == empty.threads);
    assert!(server.terminate().success());
}

/// A connection from one of a few addresses, so that none has more than its share.
fn connect(server: SocketAddr, number: usize) -> TcpStream {
    let source = Ipv4Addr::new(127, 0, 0, 11 + (number % 8) as u8);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source.into(), 0).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    TcpStream::from(socket)
}

fn secure(socket: TcpStream, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), socket);
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock).unwrap();
    }
    client
}

fn answered(client: &mut (impl Read + Write)) {
    client.write_all(&wire::message(Class::Request, Method::BINDING, [9; 12], |_| {})).unwrap();
    let mut room = [0; 512];
    let length = client.read(&mut room).unwrap();
    assert!(wire::answers(&room[..length], [9; 12]));
}

fn trusting(certificate: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

const BY_TCP: usize = 10_000;
const BY_TLS: usize = 2000;
