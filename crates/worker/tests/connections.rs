//! Connections that never become clients: the worker closes them in time and admits only so many.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use socket2::{Domain, Socket, Type};
use turnpike_net::{TcpListener, UdpOptions};
use turnpike_turn::{Config, Credentials, Init, NonceKey, PeerRules, Ports, Quotas, RelayAddress};
use turnpike_wire::attributes::RequestedTransport;
use turnpike_wire::framing::{Frame, next_frame};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};
use turnpike_worker::{
    Command, HeldPorts, HttpAnswers, Mailbox, ProxyRules, Siblings, Snapshot, StreamLimits, TlsAcceptor,
    Worker, WorkerInit,
};

#[test]
fn a_silent_connection_is_closed_and_one_with_an_allocation_is_not() {
    let worker = RunningWorker::start(StreamLimits { idle: IDLE, ..GENEROUS });
    let mut client = worker.connect(HOST);
    ask(&mut client, Method::ALLOCATE);
    let mut silent = worker.connect(HOST);
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "closed");
    // By now the client has been silent for longer than that as well.
    ask(&mut client, Method::BINDING);
    assert_eq!(worker.counters().idle, 1);
}

#[test]
fn bytes_that_never_become_a_message_do_not_keep_a_connection_open() {
    let worker = RunningWorker::start(StreamLimits { idle: IDLE, ..GENEROUS });
    // A header that announces 200 bytes, and then one of them now and then; likewise a TLS record of 512.
    let mut announced = binding();
    announced[3] = 200;
    for beginning in [announced.as_slice(), &[22, 3, 1, 2, 0, 1, 0, 1, 252]] {
        let mut dribbling = worker.connect(HOST);
        dribbling.write_all(beginning).unwrap();
        dribbling.set_read_timeout(Some(IDLE / 20)).unwrap();
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "it stays open");
            match dribbling.read(&mut [0; 1]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let _ = dribbling.write(&[0]);
                }
                Ok(0) | Err(_) => break,
                // The goodbye of TLS.
                Ok(_) => {}
            }
        }
    }
    assert_eq!(worker.counters().idle, 2);
}

#[test]
fn one_source_has_only_so_many_connections_and_others_have_theirs() {
    let worker = RunningWorker::start(StreamLimits { per_source: 3, ..GENEROUS });
    let mut open: Vec<TcpStream> = (0..3).map(|_| worker.connect(HOST)).collect();
    open.iter_mut().for_each(|client| drop(ask(client, Method::BINDING)));
    assert_eq!(worker.connect(HOST).read(&mut [0; 1]).unwrap_or(0), 0, "one too many");
    ask(&mut worker.connect(OTHER), Method::BINDING);
    drop(open.pop());
    worker.until_served(HOST);
    assert!(worker.counters().refused >= 1);
}

#[test]
fn there_are_only_so_many_connections_in_all_and_room_again_when_one_ends() {
    let worker = RunningWorker::start(StreamLimits { total: 2, ..GENEROUS });
    let mut open = [worker.connect(HOST), worker.connect(OTHER)];
    open.iter_mut().for_each(|client| drop(ask(client, Method::BINDING)));
    assert_eq!(worker.connect(HOST).read(&mut [0; 1]).unwrap_or(0), 0, "one too many");
    drop(open);
    worker.until_served(HOST);
}

/// A worker in a thread of its own that lets everybody in; it ends with its owner.
struct RunningWorker {
    address: SocketAddr,
    mailbox: Mailbox,
    snapshot: Snapshot,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl RunningWorker {
    fn start(stream_limits: StreamLimits) -> Self {
        let listeners = TcpListener::bind_group(SocketAddr::new(HOST, 0), 1, None).unwrap();
        let address = listeners[0].local_address();
        let mut config = Config::new(Arc::new(Credentials::anonymous("example.org")));
        config.peers = PeerRules {
            relays: vec![RelayAddress { address: HOST, external: None }],
            ..PeerRules::default()
        };
        let ports = Ports::new(&config.peers.relays, 49_152..=65_535);
        let worker = Worker::new(WorkerInit {
            server: Init {
                config: Arc::new(config),
                worker: 0,
                workers: 1,
                ports,
                quotas: Quotas::new(0, 0),
                nonce_key: NonceKey::new([1; 16]),
                seed: [2; 32],
            },
            listeners: Vec::new(),
            stream_listeners: listeners,
            tls: Some(acceptor()),
            dtls: None,
            proxies: ProxyRules::default(),
            stream_limits,
            http: HttpAnswers::default(),
            relay_options: UdpOptions::default(),
            held_ports: HeldPorts::default(),
            siblings: Siblings::default(),
            flows: None,
            dropped: None,
            ask: None,
            report: Box::new(|_| {}),
        });
        let worker = worker.unwrap();
        let (mailbox, snapshot) = (worker.mailbox(), worker.snapshot());
        let thread = Some(std::thread::spawn(move || worker.run()));
        RunningWorker { address, mailbox, snapshot, thread }
    }

    /// A connection from this address.
    fn connect(&self, source: IpAddr) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Tries until a connection from this address is let in.
    fn until_served(&self, source: IpAddr) {
        let started = Instant::now();
        while try_ask(&mut self.connect(source), Method::BINDING).is_none() {
            assert!(started.elapsed() < PATIENCE, "nobody is let in any more");
        }
    }

    /// The counters at the end.
    fn counters(mut self) -> turnpike_worker::StreamCounters {
        self.stop();
        self.snapshot.read().streams
    }

    fn stop(&mut self) {
        self.mailbox.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

fn acceptor() -> Arc<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::default();
    acceptor.set(Arc::new(config));
    Arc::new(acceptor)
}

fn ask(client: &mut TcpStream, method: Method) -> Vec<u8> {
    try_ask(client, method).expect("an answer")
}

/// The answer, or `None` if the connection has ended.
fn try_ask(client: &mut TcpStream, method: Method) -> Option<Vec<u8>> {
    let mut buffer = [0; 64];
    let mut writer = MessageWriter::new(&mut buffer, Class::Request, method, TransactionId([5; 12]));
    if method == Method::ALLOCATE {
        writer.add(&RequestedTransport::UDP);
    }
    client.write_all(writer.finish().unwrap()).ok()?;
    let mut input = Vec::new();
    while !matches!(next_frame(&input), Frame::Whole { .. }) {
        let mut bytes = [0; 512];
        match client.read(&mut bytes) {
            Ok(0) | Err(_) => return None,
            Ok(length) => input.extend_from_slice(&bytes[..length]),
        }
    }
    assert_eq!(Message::parse(&input).unwrap().class(), Class::Success);
    Some(input)
}

fn binding() -> Vec<u8> {
    let mut buffer = [0; 64];
    let writer = MessageWriter::new(&mut buffer, Class::Request, Method::BINDING, TransactionId([6; 12]));
    writer.finish().unwrap().to_vec()
}

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const GENEROUS: StreamLimits = StreamLimits { per_source: 100, total: 100, idle: Duration::from_secs(60) };
const IDLE: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(15);
