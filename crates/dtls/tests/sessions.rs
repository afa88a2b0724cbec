//! Clients and servers in one process, with a network between them that a test can lose things on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, SignatureAlgorithm,
};
use turnpike_dtls::{
    ClientFiles, DtlsAcceptor, DtlsConnector, Exchange, Front, Judged, ServerContext, ServerFiles, Session,
    Unsealed,
};

/// A chain of a server's certificate and an intermediate one, and who is at its end.
struct Chain {
    chain: String,
    key: String,
    root: String,
}

fn chain(algorithm: &'static SignatureAlgorithm) -> Chain {
    let key = || KeyPair::generate_for(algorithm).unwrap();
    let named = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let authority = |name| {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let root = CertifiedIssuer::self_signed(authority("root"), key()).unwrap();
    let between = CertifiedIssuer::signed_by(authority("between"), key(), &root).unwrap();
    let own = key();
    let leaf = named("localhost").signed_by(&own, &between).unwrap();
    Chain { chain: leaf.pem() + &between.pem(), key: own.serialize_pem(), root: root.pem() }
}

fn files(chain: &Chain) -> ServerFiles<'_> {
    ServerFiles { chain: chain.chain.as_bytes(), key: chain.key.as_bytes(), client_authorities: None }
}

fn acceptor(files: &ServerFiles<'_>) -> DtlsAcceptor {
    let acceptor = DtlsAcceptor::default();
    acceptor.set(ServerContext::new(files).unwrap());
    acceptor
}

/// Two ends and everything between them.
struct World {
    front: Front,
    acceptor: DtlsAcceptor,
    exchange: Exchange,
    client: Session,
    server: Option<Session>,
    to_server: Vec<Vec<u8>>,
    to_client: Vec<Vec<u8>>,
    /// Every datagram the server has sent, by its length.
    sent: Vec<usize>,
    failed: bool,
}

impl World {
    fn new(acceptor: DtlsAcceptor, files: &ClientFiles<'_>) -> Self {
        let mut exchange = Exchange::default();
        let client = DtlsConnector::new(files).unwrap().begin(&mut exchange).unwrap();
        let mut world = World {
            front: Front::new([7; 16]),
            acceptor,
            exchange,
            client,
            server: None,
            to_server: Vec::new(),
            to_client: Vec::new(),
            sent: Vec::new(),
            failed: false,
        };
        world.to_server = world.take();
        world
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        let taken = self.exchange.datagrams().map(<[u8]>::to_vec).collect();
        self.exchange.clear();
        taken
    }

    fn serve(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        match (self.front.judge(Duration::ZERO, address(1), address(2), datagram), &mut self.server) {
            (Judged::Challenge(answer), _) => self.to_client.push(answer.to_vec()),
            (Judged::Admit(_), None) => match self.acceptor.begin(&mut self.exchange, datagram) {
                Ok(session) => self.server = Some(session),
                Err(_) => self.failed = true,
            },
            (Judged::Unusable, _) => {}
            (_, None) => {}
            (_, Some(session)) => {
                messages = read(session, &mut self.exchange, datagram, &mut self.failed);
            }
        }
        let taken = self.take();
        self.sent.extend(taken.iter().map(Vec::len));
        self.to_client.extend(taken);
        messages
    }

    fn hear(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let messages = read(&mut self.client, &mut self.exchange, datagram, &mut self.failed);
        let taken = self.take();
        self.to_server.extend(taken);
        messages
    }

    /// Carries everything there and back until nothing moves; what `loses` says is lost.
    fn settle(&mut self, mut loses: impl FnMut(&[u8]) -> bool) {
        for _ in 0..50 {
            let (to_server, to_client) =
                (std::mem::take(&mut self.to_server), std::mem::take(&mut self.to_client));
            if to_server.is_empty() && to_client.is_empty() {
                return;
            }
            for datagram in to_server.iter().filter(|datagram| !loses(datagram)) {
                self.serve(datagram);
            }
            for datagram in to_client.iter().filter(|datagram| !loses(datagram)) {
                self.hear(datagram);
            }
        }
        panic!("it never settles");
    }

    /// Waits until one side is to send its flight again, and has both do what is due.
    fn wait(&mut self) {
        let server = self.server.as_ref().and_then(Session::timeout);
        let due = [server, self.client.timeout()].into_iter().flatten().min().expect("somebody waits");
        // OpenSSL's timers go by the system's clock.
        std::thread::sleep(due);
        assert!(self.client.handle_timeout(&mut self.exchange));
        self.to_server = self.take();
        if let Some(server) = &mut self.server {
            assert!(server.handle_timeout(&mut self.exchange));
        }
        self.to_client = self.take();
    }

    fn is_established(&self) -> bool {
        self.client.is_established() && self.server.as_ref().is_some_and(Session::is_established)
    }

    fn seal(&mut self, parts: [&[u8]; 3]) -> Vec<Vec<u8>> {
        assert!(self.client.write(&mut self.exchange, parts));
        self.take()
    }
}

fn read(session: &mut Session, exchange: &mut Exchange, datagram: &[u8], failed: &mut bool) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut room = vec![0; 1 << 14];
    session.handle_datagram(exchange, datagram);
    loop {
        match session.read(exchange, &mut room) {
            Unsealed::Message(length) => messages.push(room[..length].to_vec()),
            Unsealed::Established => {}
            Unsealed::Nothing => return messages,
            Unsealed::Closed => {
                messages.push(b"closed".to_vec());
                return messages;
            }
            Unsealed::Failed => {
                *failed = true;
                return messages;
            }
        }
    }
}

fn address(host: u8) -> SocketAddr {
    ([192, 0, 2, host], 3478).into()
}

fn established() -> World {
    let chain = chain(&PKCS_ECDSA_P256_SHA256);
    let mut world = World::new(acceptor(&files(&chain)), &ClientFiles::default());
    world.settle(|_| false);
    assert!(world.is_established());
    world
}

/// RFC 6066 §3.
#[test]
fn a_server_hears_which_name_the_client_has_asked_for() {
    assert_eq!(established().server.expect("a session").server_name(), None);
    let mut world = World::new(acceptor(&files(&chain(&PKCS_ECDSA_P256_SHA256))), &ClientFiles::default());
    let connector = DtlsConnector::new(&ClientFiles::default()).unwrap();
    world.client = connector.begin_with(&mut world.exchange, "turn.example.org").unwrap();
    world.to_server = world.take();
    world.settle(|_| false);
    assert!(world.is_established());
    assert_eq!(world.server.expect("a session").server_name(), Some("turn.example.org"));
}

#[test]
fn hands_are_shaken_with_rsa_and_ecdsa_and_the_whole_chain_is_shown() {
    for algorithm in [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256] {
        let chain = chain(algorithm);
        let protocols = ClientFiles { protocols: b"\x09stun.turn", ..ClientFiles::default() };
        let mut world = World::new(acceptor(&files(&chain)), &protocols);
        world.settle(|_| false);
        assert!(world.is_established());
        assert_eq!(world.client.peer_chain().len(), 2);
        assert_eq!(world.client.protocol(), Some(&b"stun.turn"[..]));
        assert_eq!(world.client.security().0, "DTLSv1.2");
        // What goes through unfragmented everywhere.
        assert!(world.sent.iter().all(|length| *length <= 1200), "{:?}", world.sent);
    }
}

#[test]
fn each_message_is_one_datagram_and_records_that_come_together_come_out_one_by_one() {
    let mut world = established();
    for length in [0, 1, 3, 160, 1200, 1 << 14] {
        let data = vec![7; length];
        let sealed = world.seal([b"a", &data[..length.saturating_sub(2)], b"b"]);
        assert_eq!(sealed.len(), 1, "{length}");
        let opened = world.serve(&sealed[0]);
        assert_eq!(opened, [[b"a", &data[..length.saturating_sub(2)], b"b"].concat()], "{length}");
    }
    assert!(!world.client.write(&mut world.exchange, [&[0; 1 << 14], b"x", b""]), "more than a record holds");
    let together = [world.seal([b"one", b"", b""]), world.seal([b"other", b"", b""])].concat().concat();
    assert_eq!(world.serve(&together), [&b"one"[..], b"other"]);
}

#[test]
fn damaged_and_repeated_records_are_ignored_and_the_session_goes_on() {
    let mut world = established();
    let sealed = world.seal([b"message", b"", b""]).remove(0);
    for place in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[place] ^= 0x10;
        assert_eq!(world.serve(&damaged), Vec::<Vec<u8>>::new(), "{place}");
        assert_eq!(world.serve(&sealed[..place]), Vec::<Vec<u8>>::new(), "{place}");
        assert!(!world.failed, "{place}");
    }
    // Too short to be sealed, and a header of the next epoch.
    for epoch in [0, 1, 2] {
        for length in 0..24 {
            let mut forged = vec![23, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 9, 0, length];
            forged.resize(13 + usize::from(length), 9);
            assert_eq!(world.serve(&forged), Vec::<Vec<u8>>::new());
            assert!(!world.failed, "{epoch} {length}");
        }
    }
    assert_eq!(world.serve(&sealed), [b"message"]);
    assert_eq!(world.serve(&sealed), Vec::<Vec<u8>>::new(), "a replay");
    let next = world.seal([b"next", b"", b""]).remove(0);
    assert_eq!(world.serve(&next), [b"next"]);
    assert!(!world.failed);
}

#[test]
fn a_flight_that_is_lost_is_sent_again_when_its_time_has_come() {
    let chain = chain(&PKCS_ECDSA_P256_SHA256);
    let mut world = World::new(acceptor(&files(&chain)), &ClientFiles::default());
    let hello = world.to_server.remove(0);
    world.serve(&hello);
    let challenge = world.to_client.remove(0);
    world.hear(&challenge);
    let hello = world.to_server.remove(0);
    world.serve(&hello);
    let lost = std::mem::take(&mut world.to_client);
    assert!(!lost.is_empty());
    let server = world.server.as_mut().unwrap();
    let due = server.timeout().unwrap();
    assert!(due > Duration::ZERO && due <= Duration::from_secs(1), "RFC 6347 §4.2.4.1: {due:?}");
    // OpenSSL's timers go by the system's clock.
    while let Some(left) = server.timeout().filter(|left| !left.is_zero()) {
        std::thread::sleep(left);
    }
    assert!(server.handle_timeout(&mut world.exchange));
    assert!(world.server.as_ref().unwrap().timeout().unwrap() > Duration::from_secs(1), "it backs off");
    world.to_client = world.take();
    assert!(!world.to_client.is_empty());
    world.settle(|_| false);
    assert!(world.is_established());
    assert_eq!(world.server.unwrap().timeout(), None);
}

#[test]
fn hands_are_shaken_although_every_third_datagram_is_lost_at_first() {
    let chain = chain(&PKCS_ECDSA_P256_SHA256);
    let mut world = World::new(acceptor(&files(&chain)), &ClientFiles::default());
    let mut carried = 0;
    for _ in 0..4 {
        world.settle(|_| {
            carried += 1;
            carried % 3 == 0 && carried < 10
        });
        if world.is_established() {
            let sealed = world.seal([b"through", b"", b""]).remove(0);
            assert_eq!(world.serve(&sealed), [b"through"]);
            return;
        }
        world.wait();
    }
    panic!("{carried} datagrams were not enough");
}

#[test]
fn the_last_flight_of_all_is_sent_again_when_the_client_repeats_its_own() {
    let chain = chain(&PKCS_ECDSA_P256_SHA256);
    let mut world = World::new(acceptor(&files(&chain)), &ClientFiles::default());
    let mut lost = 0;
    // The server's ChangeCipherSpec leads its last flight.
    world.settle(|datagram| {
        let is_last = datagram[0] == 20;
        lost += usize::from(is_last);
        is_last
    });
    assert!(lost > 0 && world.server.as_ref().is_some_and(Session::is_established));
    assert!(!world.client.is_established());
    world.wait();
    world.settle(|_| false);
    assert!(world.is_established());
    let sealed = world.seal([b"through", b"", b""]).remove(0);
    assert_eq!(world.serve(&sealed), [b"through"]);
}

#[test]
fn a_goodbye_is_heard() {
    let mut world = established();
    world.client.close(&mut world.exchange);
    let goodbye = world.take().remove(0);
    assert_eq!(world.serve(&goodbye), [b"closed"]);
    assert!(!world.client.write(&mut world.exchange, [b"x", b"", b""]));
}

#[test]
fn a_foreign_protocol_alone_is_refused_and_none_is_not() {
    let chain = chain(&PKCS_ECDSA_P256_SHA256);
    for (protocols, agrees) in [(&b""[..], true), (b"\x02h2\x12stun.nat-discovery", true), (b"\x02h2", false)]
    {
        let mut world =
            World::new(acceptor(&files(&chain)), &ClientFiles { protocols, ..ClientFiles::default() });
        world.settle(|_| false);
        assert_eq!((world.is_established(), world.failed), (agrees, !agrees), "{protocols:?}");
    }
}

#[test]
fn clients_show_a_certificate_where_the_server_asks_for_one() {
    let (server, client) = (chain(&PKCS_ECDSA_P256_SHA256), chain(&PKCS_ECDSA_P256_SHA256));
    let asking = |authority: &str| {
        let files = ServerFiles { client_authorities: Some(authority.as_bytes()), ..files(&server) };
        acceptor(&files)
    };
    let own = Some((client.chain.as_bytes(), client.key.as_bytes()));
    for (authority, certificate, agrees) in
        [(&client.root, own, true), (&client.root, None, false), (&server.root, own, false)]
    {
        let mut world = World::new(asking(authority), &ClientFiles { certificate, ..ClientFiles::default() });
        world.settle(|_| false);
        assert_eq!(world.is_established(), agrees);
    }
}

#[test]
fn a_new_certificate_is_for_new_sessions() {
    let (old, new) = (chain(&PKCS_ECDSA_P256_SHA256), chain(&PKCS_ECDSA_P256_SHA256));
    let mut world = World::new(acceptor(&files(&old)), &ClientFiles::default());
    world.settle(|_| false);
    let World { acceptor, .. } = &world;
    acceptor.set(ServerContext::new(&files(&new)).unwrap());
    let sealed = world.seal([b"still there", b"", b""]).remove(0);
    assert_eq!(world.serve(&sealed), [b"still there"]);
    let shown = world.client.peer_chain();
    let World { acceptor, .. } = world;
    let mut world = World::new(acceptor, &ClientFiles::default());
    world.settle(|_| false);
    assert!(world.is_established() && world.client.peer_chain() != shown);
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let (one, other) = (chain(&PKCS_ECDSA_P256_SHA256), chain(&PKCS_ECDSA_P256_SHA256));
    let key_of_another = ServerFiles { key: other.key.as_bytes(), ..files(&one) };
    assert!(ServerContext::new(&key_of_another).is_err());
    assert!(ServerContext::new(&ServerFiles { chain: b"nonsense", ..files(&one) }).is_err());
    assert!(ServerContext::new(&ServerFiles { key: b"nonsense", ..files(&one) }).is_err());
}
