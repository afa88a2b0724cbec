//! No switch is silently without effect: each changes what a client sees, and in the way it says.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use turnpike_wire::attributes::{ErrorCode, Lifetime, Nonce, Origin, Realm, RequestedTransport, Username};
use turnpike_wire::{
    AttributeType, Class, LongTermKey, Message, MessageWriter, Method, PasswordDigest, TransactionId,
};

use crate::client::{TurnClient, binding_request, exchange};
use crate::harness::{Directory, Server};

/// A switch, what a test looks at, and what it sees without the switch and with it.
type Row = (&'static str, fn(&Server) -> String, &'static str, &'static str);

const SWITCHES: &[Row] = &[
    ("--no-udp", binding_class, "success", "silence"),
    ("--no-tcp", |server| connects(server, 3478), "connected", "refused"),
    ("--no-tls", |server| connects(server, 5349), "connected", "refused"),
    ("--stun-only", |server| answer(server, &bare(Method::ALLOCATE), error_of), "401", "silence"),
    ("--no-stun", binding_class, "success", "silence"),
    ("--secure-stun", binding_class, "success", "401"),
    ("--stun-backward-compatibility", |server| has(server, AttributeType::MAPPED_ADDRESS), "no", "yes"),
    ("--fingerprint", |server| has(server, AttributeType::FINGERPRINT), "no", "yes"),
    ("--software-attribute", |server| has(server, AttributeType::SOFTWARE), "no", "yes"),
    (
        "--include-reason-string",
        |server| answer(server, &bare(Method::ALLOCATE), phrase_of),
        "",
        "Unauthorized",
    ),
    ("--rfc5766-channel-numbers", high_channel, "error 400", "bound"),
    ("--rfc3489-compatibility", classic_binding, "silence", "the id, and 12 bytes"),
    ("--check-origin-consistency", another_origin, "success", "441"),
    ("--server-relay", unpermitted_data, "silence", "relayed"),
    ("--unauthorized-ratelimit", answers_to_a_flood, "200", "10"),
];

#[test]
fn every_switch_does_what_it_says() {
    for (switch, look, without, with) in SWITCHES {
        let directory = Directory::new();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = directory.write("cert.pem", &made.cert.pem());
        let key = directory.write("key.pem", &made.signing_key.serialize_pem());
        let tls = ["--cert", &certificate, "--pkey", &key];
        assert_eq!(look(&Server::start(&tls)), *without, "without {switch}");
        assert_eq!(look(&Server::start(&[&tls[..], &[switch]].concat())), *with, "with {switch}");
        let off = format!("{switch}=no");
        assert_eq!(look(&Server::start(&[&tls[..], &[&off]].concat())), *without, "with {off}");
    }
}

#[test]
fn a_server_that_relays_without_permissions_says_so_loudly() {
    let server = Server::start(&["--server-relay"]);
    let line = server.program.so_far().lines().find(|line| line.contains("WITHOUT PERMISSIONS")).unwrap();
    assert!(line.contains(" WARNING ") && line.contains("server-relay"), "{line}");
}

fn socket(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket
}

fn bare(method: Method) -> Vec<u8> {
    let mut buffer = [0; 100];
    let writer = MessageWriter::new(&mut buffer, Class::Request, method, TransactionId([9; 12]));
    writer.finish().unwrap().to_vec()
}

/// Looks at the answer to a request, which comes at once on loopback or not at all.
fn answer(server: &Server, request: &[u8], look: fn(&[u8]) -> String) -> String {
    let socket = socket(server);
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    for _ in 0..3 {
        // Where nobody listens the next call says so.
        let _ = socket.send(request);
        let mut reply = [0; 1500];
        if let Ok(length) = socket.recv(&mut reply) {
            return look(&reply[..length]);
        }
    }
    "silence".to_owned()
}

fn error_of(reply: &[u8]) -> String {
    let message = Message::parse(reply).unwrap();
    let error = message.get::<ErrorCode<'_>>().unwrap();
    error.map_or("success".to_owned(), |error| error.number.number().to_string())
}

fn phrase_of(reply: &[u8]) -> String {
    Message::parse(reply).unwrap().get::<ErrorCode<'_>>().unwrap().unwrap().reason.to_owned()
}

fn binding_class(server: &Server) -> String {
    answer(server, &binding_request(), error_of)
}

fn has(server: &Server, kind: AttributeType) -> String {
    let reply = exchange(&socket(server), &binding_request()).unwrap();
    if Message::parse(&reply).unwrap().attributes().any(|it| it.kind == kind)
        || kind == AttributeType::FINGERPRINT
            && Message::parse(&reply).unwrap().fingerprint_is_valid() == Some(true)
    {
        "yes".to_owned()
    } else {
        "no".to_owned()
    }
}

fn connects(server: &Server, port: u16) -> String {
    let address = SocketAddr::new(server.address.ip(), port);
    TcpStream::connect(address).map_or("refused", |_| "connected").to_owned()
}

fn high_channel(server: &Server) -> String {
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    match client.bind(0x5000, SocketAddr::from(([127, 0, 0, 1], 9))) {
        Ok(()) => "bound".to_owned(),
        Err(failure) => failure.to_string()[..9].to_owned(),
    }
}

fn classic_binding(server: &Server) -> String {
    let mut request = bare(Method::BINDING);
    request[4..8].copy_from_slice(b"3489");
    answer(server, &request, |reply| {
        let same = reply[..2] == [1, 1] && &reply[4..8] == b"3489" && reply[8..20] == [9; 12];
        format!("{}, and {} bytes", if same { "the id" } else { "nonsense" }, reply.len() - 20)
    })
}

/// Allocates with one origin and refreshes with another.
fn another_origin(server: &Server) -> String {
    let socket = socket(server);
    let challenge = exchange(&socket, &bare(Method::ALLOCATE)).unwrap();
    let challenge = Message::parse(&challenge).unwrap();
    let Nonce(nonce) = challenge.get().unwrap().unwrap();
    let key = LongTermKey::derive(PasswordDigest::Md5, b"hello", b"example.org", b"world");
    let mut last = Vec::new();
    for (method, origin) in
        [(Method::ALLOCATE, "https://example.org"), (Method::REFRESH, "https://example.com")]
    {
        let mut buffer = [0; 500];
        let id = TransactionId([origin.len() as u8 ^ method.number() as u8; 12]);
        let mut writer = MessageWriter::new(&mut buffer, Class::Request, method, id);
        writer.add(&RequestedTransport::UDP).add(&Lifetime(600)).add(&Origin(origin.as_bytes()));
        writer.add(&Username(b"hello")).add(&Realm(b"example.org")).add(&Nonce(nonce)).integrity_sha1(&key);
        last = exchange(&socket, writer.finish().unwrap()).unwrap();
        if method == Method::ALLOCATE {
            assert_eq!(error_of(&last), "success");
        }
    }
    error_of(&last)
}

fn unpermitted_data(server: &Server) -> String {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(SILENCE)).unwrap();
    let mut client = TurnClient::hello(server.address);
    let relayed = client.allocate().relayed;
    let mut buffer = [0; 100];
    let mut arrived = (0..3).filter_map(|_| {
        client.send(peer.local_addr().unwrap(), b"out");
        peer.recv_from(&mut buffer).ok()
    });
    let Some((length, from)) = arrived.next() else { return "silence".to_owned() };
    drop(arrived);
    assert_eq!((&buffer[..length], from), (&b"out"[..], relayed));
    peer.send_to(b"in", relayed).unwrap();
    let received = client.receive();
    assert_eq!((received.data.as_slice(), received.peer), (&b"in"[..], peer.local_addr().unwrap()));
    "relayed".to_owned()
}

/// How many of 250 requests without credentials are answered, sent together from one source.
fn answers_to_a_flood(server: &Server) -> String {
    let socket = socket(server);
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let mut answered = 0;
    let (mut reply, binding) = ([0; 1500], binding_request());
    for _ in 0..25 {
        (0..10).for_each(|_| _ = socket.send(&bare(Method::ALLOCATE)).unwrap());
        // Binding is outside the budget, and answered after what was sent before it.
        socket.send(&binding).unwrap();
        loop {
            let length = socket.recv(&mut reply).expect("the answer to Binding");
            assert!(length >= 20);
            match reply[8..20] == binding[8..20] {
                true => break,
                false => answered += 1,
            }
        }
    }
    // Tokens come back while the test runs: with 100 a second some, with 10 hardly any.
    match answered {
        10..=100 => "10".to_owned(),
        200..=250 => "200".to_owned(),
        _ => answered.to_string(),
    }
}

/// What is not answered on loopback by then will not be.
const SILENCE: Duration = Duration::from_millis(400);
