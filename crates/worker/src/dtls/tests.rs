//! Against clients of the same crate, with a clock that the tests move.

use std::net::SocketAddr;

use turnpike_dtls::{ClientFiles, DtlsConnector, ServerContext, ServerFiles, Session};

use super::*;

const LIMITS: DtlsLimits = DtlsLimits {
    per_source: 6,
    total: 100,
    half_open_per_source: 3,
    half_open: 5,
    begun_in_a_turn: 2,
    waiting: 2,
    handshake: Duration::from_secs(30),
    idle: Duration::from_secs(60),
};

/// A worker's part, the time, and the messages that clients were read.
struct World {
    dtls: Dtls,
    now: Timestamp,
    messages: Vec<Vec<u8>>,
    closed: Vec<(Client, Parting)>,
}

/// A client at its address.
struct Caller {
    carrier: Client,
    session: Session,
    exchange: Exchange,
}

impl World {
    fn new(limits: DtlsLimits) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = ServerFiles { chain: chain.as_bytes(), key: key.as_bytes(), client_authorities: None };
        let acceptor = DtlsAcceptor::default();
        acceptor.set(ServerContext::new(&files).unwrap());
        let init = DtlsInit { acceptor: Arc::new(acceptor), cookie_secret: [7; 16], limits };
        World {
            dtls: Dtls::new(init),
            now: Timestamp(1_000_000_000),
            messages: Vec::new(),
            closed: Vec::new(),
        }
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        let taken = self.dtls.exchange().datagrams().map(<[u8]>::to_vec).collect();
        self.dtls.exchange().clear();
        taken
    }

    /// Takes a datagram in; what is answered.
    fn receive(&mut self, carrier: Client, datagram: &[u8]) -> Vec<Vec<u8>> {
        match self.dtls.hear(self.now, carrier, datagram) {
            Heard::Nothing => Vec::new(),
            Heard::Answer(answer) => vec![answer.to_vec()],
            Heard::Flight => self.take(),
            Heard::For(place) => {
                let links = [place.established, place.half_open].into_iter().flatten();
                links.for_each(|link| self.read(link, datagram));
                self.take()
            }
        }
    }

    fn read(&mut self, link: Link, datagram: &[u8]) {
        let mut room = vec![0; 1 << 14];
        self.dtls.handle_datagram(link, datagram);
        loop {
            match self.dtls.open(self.now, link, &mut room) {
                Opened::Message(_, length) => self.messages.push(room[..length].to_vec()),
                Opened::Established(None) => {}
                Opened::Established(Some(displaced)) => self.close(displaced, Parting::Displaced),
                Opened::Nothing => return,
                Opened::Close(parting) => return self.close(link, parting),
            }
        }
    }

    fn close(&mut self, link: Link, parting: Parting) {
        let (client, _) = self.dtls.close(link, parting).expect("it is there");
        self.closed.push((client, parting));
    }

    /// Time passes; whoever has nothing left to live for is closed.
    fn advance(&mut self, seconds: u64, is_used: bool) {
        self.now = self.now + Duration::from_secs(seconds);
        while let Some(link) = self.dtls.pop_due(self.now) {
            if let Some(parting) = self.dtls.handle_timeout(self.now, link, is_used) {
                self.close(link, parting);
            }
        }
        self.end_turn();
    }

    fn end_turn(&mut self) {
        while self.dtls.begin_waiting(self.now).is_some() {}
        self.dtls.end_turn(self.now);
        self.take();
    }
}

impl Caller {
    fn new(host: u8, port: u16) -> Self {
        let tuple = FiveTuple {
            transport: Transport::Udp,
            server: SocketAddr::from(([192, 0, 2, 1], 3478)),
            client: SocketAddr::from(([198, 51, 100, host], port)),
        };
        let mut exchange = Exchange::default();
        let session = DtlsConnector::new(&ClientFiles::default()).unwrap().begin(&mut exchange).unwrap();
        Caller { carrier: Client { link: Link(0), tuple }, session, exchange }
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        let taken = self.exchange.datagrams().map(<[u8]>::to_vec).collect();
        self.exchange.clear();
        taken
    }

    fn hear(&mut self, datagrams: &[Vec<u8>]) {
        let mut room = vec![0; 1 << 14];
        for datagram in datagrams {
            self.session.handle_datagram(&mut self.exchange, datagram);
            while self.session.read(&mut self.exchange, &mut room) != Unsealed::Nothing {}
        }
    }

    /// Brings its cookie; what is answered.
    fn begin(&mut self, world: &mut World) -> Vec<Vec<u8>> {
        let hello = self.take().remove(0);
        let challenge = world.receive(self.carrier, &hello);
        self.hear(&challenge);
        let hello = self.take().remove(0);
        world.receive(self.carrier, &hello)
    }

    /// Shakes hands, each time in a turn of its own.
    fn associate(&mut self, world: &mut World) {
        let flight = self.begin(world);
        self.hear(&flight);
        for datagram in self.take() {
            let answers = world.receive(self.carrier, &datagram);
            self.hear(&answers);
        }
        world.end_turn();
        assert!(self.session.is_established());
    }

    fn say(&mut self, world: &mut World, message: &[u8]) {
        assert!(self.session.write(&mut self.exchange, [message, &[], &[]]));
        for datagram in self.take() {
            world.receive(self.carrier, &datagram);
        }
    }
}

#[test]
fn who_is_silent_without_an_allocation_is_closed_after_a_minute() {
    let mut world = World::new(LIMITS);
    let (mut silent, mut talking) = (Caller::new(1, 1), Caller::new(1, 2));
    silent.associate(&mut world);
    talking.associate(&mut world);
    world.advance(59, false);
    talking.say(&mut world, b"hello");
    assert_eq!((&world.messages[..], world.closed.len()), (&[b"hello".to_vec()][..], 0));
    world.advance(1, false);
    let closed: Vec<_> =
        world.closed.iter().map(|(client, parting)| (client.tuple.client, *parting)).collect();
    assert_eq!(closed, [(silent.carrier.tuple.client, Parting::Idle)]);
    world.advance(59, false);
    assert_eq!((world.closed.len(), world.dtls.links().len(), world.dtls.counters().idle), (2, 0, 2));
    assert_eq!(world.dtls.next_deadline(), None);
}

#[test]
fn who_has_an_allocation_may_be_silent() {
    let mut world = World::new(LIMITS);
    Caller::new(1, 1).associate(&mut world);
    (0..100).for_each(|_| world.advance(60, true));
    assert_eq!(world.closed, []);
}

#[test]
fn a_handshake_that_does_not_end_is_given_up() {
    let mut world = World::new(LIMITS);
    let mut caller = Caller::new(1, 1);
    assert!(!caller.begin(&mut world).is_empty());
    let due = world.dtls.next_deadline().expect("the flight is to be repeated").since(world.now);
    assert!(due <= Duration::from_secs(1), "{due:?}");
    world.advance(29, false);
    assert_eq!(world.closed, []);
    world.advance(1, false);
    assert_eq!((world.closed.len(), world.dtls.counters().abandoned), (1, 1));
    assert_eq!((world.dtls.links().len(), world.dtls.associations.half_open()), (0, 0));
}

#[test]
fn one_source_has_its_share_of_handshakes_and_the_oldest_of_all_makes_room() {
    let mut world = World::new(LIMITS);
    let begin = |world: &mut World, host, port| {
        let begun = !Caller::new(host, port).begin(world).is_empty();
        world.end_turn();
        begun
    };
    let begun: Vec<bool> = (1..=5).map(|port| begin(&mut world, 1, port)).collect();
    assert_eq!(begun, [true, true, true, false, false]);
    assert_eq!((2..=4).map(|host| begin(&mut world, host, 1)).collect::<Vec<_>>(), [true; 3]);
    let counters = world.dtls.counters();
    assert_eq!((counters.refused, counters.abandoned, world.dtls.associations.half_open()), (2, 1, 5));
    // The oldest one was the first source's, which may begin one again.
    assert!(begin(&mut world, 1, 9));
}

#[test]
fn one_source_has_its_share_of_associations() {
    let mut world = World::new(LIMITS);
    let mut callers: Vec<Caller> = (1..=7).map(|port| Caller::new(1, port)).collect();
    for caller in &mut callers[..6] {
        caller.associate(&mut world);
    }
    assert!(callers[6].begin(&mut world).is_empty());
    Caller::new(2, 1).associate(&mut world);
    // An end makes room.
    let leaving = &mut callers[0];
    leaving.session.close(&mut leaving.exchange);
    for datagram in leaving.take() {
        world.receive(leaving.carrier, &datagram);
    }
    assert_eq!(world.closed.last().map(|(_, parting)| *parting), Some(Parting::Goodbye));
    Caller::new(1, 8).associate(&mut world);
}

#[test]
fn in_one_turn_few_begin_and_some_wait_for_the_next() {
    let mut world = World::new(LIMITS);
    let mut callers: Vec<Caller> = (1..=5).map(|host| Caller::new(host, 1)).collect();
    let begun: Vec<bool> = callers.iter_mut().map(|caller| !caller.begin(&mut world).is_empty()).collect();
    assert_eq!(begun, [true, true, false, false, false]);
    assert_eq!(world.dtls.next_deadline(), Some(Timestamp(0)), "the loop does not sleep");
    world.end_turn();
    assert_eq!((world.dtls.links().len(), world.dtls.counters().refused), (2, 1));
    world.end_turn();
    assert_eq!(world.dtls.links().len(), 4);
}

#[test]
fn a_hello_that_comes_twice_begins_nothing_new() {
    let mut world = World::new(LIMITS);
    let mut caller = Caller::new(1, 1);
    let hello = caller.take().remove(0);
    let challenge = world.receive(caller.carrier, &hello);
    caller.hear(&challenge);
    let hello = caller.take().remove(0);
    let flight = world.receive(caller.carrier, &hello);
    assert!(!flight.is_empty() && world.receive(caller.carrier, &hello).is_empty());
    caller.hear(&flight);
    for datagram in caller.take() {
        world.receive(caller.carrier, &datagram);
    }
    assert!(world.receive(caller.carrier, &hello).is_empty());
    let counters = world.dtls.counters();
    assert_eq!((counters.begun, counters.established, counters.ignored), (1, 1, 2));
}

#[test]
fn an_association_stays_until_another_of_its_address_has_shaken_hands() {
    let mut world = World::new(LIMITS);
    let (mut old, mut new) = (Caller::new(1, 1), Caller::new(1, 1));
    old.associate(&mut world);
    let flight = new.begin(&mut world);
    old.say(&mut world, b"still there");
    assert_eq!(world.messages, [b"still there"]);
    new.hear(&flight);
    for datagram in new.take() {
        let answers = world.receive(new.carrier, &datagram);
        new.hear(&answers);
    }
    assert_eq!(world.closed.iter().map(|(_, parting)| *parting).collect::<Vec<_>>(), [Parting::Displaced]);
    old.say(&mut world, b"gone");
    new.say(&mut world, b"here");
    assert_eq!(world.messages, [&b"still there"[..], b"here"]);
}

#[test]
fn a_busy_session_is_put_to_rest_once_it_is_quiet() {
    let mut world = World::new(LIMITS);
    let mut caller = Caller::new(1, 1);
    caller.associate(&mut world);
    (0..100).for_each(|_| caller.say(&mut world, b"data"));
    let link = world.dtls.links()[0];
    let is_busy =
        |world: &World| world.dtls.associations.get(link).unwrap().session.records_while_busy().is_some();
    world.end_turn();
    assert!(is_busy(&world));
    caller.say(&mut world, b"more");
    world.advance(1, true);
    assert!(is_busy(&world), "there was more since the last look");
    world.advance(1, true);
    assert!(!is_busy(&world));
    caller.say(&mut world, b"again");
    assert_eq!(world.messages.len(), 102);
}
