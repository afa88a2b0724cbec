//! What a record costs: sealing and opening messages of a call's and a film's size.
//! `cargo run --release -p turnpike-dtls --example record_cost`
#![allow(clippy::unwrap_used, reason = "an example that cannot go on ends")]

use std::hint::black_box;
use std::time::Instant;

use turnpike_dtls::{
    ClientFiles, DtlsAcceptor, DtlsConnector, Exchange, Front, Judged, ServerContext, ServerFiles, Session,
    Unsealed,
};

fn main() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let files = ServerFiles { chain: chain.as_bytes(), key: key.as_bytes(), client_authorities: None };
    let acceptor = DtlsAcceptor::default();
    acceptor.set(ServerContext::new(&files).unwrap());
    let (mut client, mut server) = shake_hands(&acceptor);
    let mut exchange = Exchange::default();
    for length in [160, 1100] {
        let message = vec![7; length];
        let mut room = vec![0; 1 << 14];
        let mut sealed = Vec::with_capacity(ROUNDS);
        let started = Instant::now();
        for _ in 0..ROUNDS {
            client.write(&mut exchange, [&message, &[], &[]]);
            sealed.push(exchange.datagrams().next().unwrap().to_vec());
            exchange.clear();
        }
        let sealing = started.elapsed();
        let started = Instant::now();
        for datagram in &sealed {
            server.handle_datagram(&mut exchange, datagram);
            assert_eq!(black_box(server.read(&mut exchange, &mut room)), Unsealed::Message(length));
            assert_eq!(server.read(&mut exchange, &mut room), Unsealed::Nothing);
        }
        let opening = started.elapsed();
        let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / ROUNDS as f64;
        println!("{length} bytes: {:.2} us to seal, {:.2} us to open", each(sealing), each(opening));
    }
}

fn shake_hands(acceptor: &DtlsAcceptor) -> (Session, Session) {
    let address = ([127, 0, 0, 1], 1).into();
    let front = Front::new([1; 16]);
    let mut exchange = Exchange::default();
    let mut client = DtlsConnector::new(&ClientFiles::default()).unwrap().begin(&mut exchange).unwrap();
    let mut server: Option<Session> = None;
    let take = |exchange: &mut Exchange| {
        let taken: Vec<Vec<u8>> = exchange.datagrams().map(<[u8]>::to_vec).collect();
        exchange.clear();
        taken
    };
    let mut room = vec![0; 1 << 14];
    let mut to_server = take(&mut exchange);
    while !client.is_established() {
        let mut to_client = Vec::new();
        for datagram in to_server {
            match (front.judge(std::time::Duration::ZERO, address, address, &datagram), &mut server) {
                (Judged::Challenge(answer), _) => to_client.push(answer.to_vec()),
                (Judged::Admit(_), _) => server = Some(acceptor.begin(&mut exchange, &datagram).unwrap()),
                (_, Some(server)) => {
                    server.handle_datagram(&mut exchange, &datagram);
                    while server.read(&mut exchange, &mut room) != Unsealed::Nothing {}
                }
                _ => {}
            }
            to_client.extend(take(&mut exchange));
        }
        for datagram in to_client {
            client.handle_datagram(&mut exchange, &datagram);
            while client.read(&mut exchange, &mut room) != Unsealed::Nothing {}
        }
        to_server = take(&mut exchange);
    }
    (client, server.unwrap())
}

const ROUNDS: usize = 100_000;
