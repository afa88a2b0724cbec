//! Nothing is allocated for a packet that a worker relays or a Binding request that it answers: a real worker, real
//! sockets, and an allocator that counts what the whole process asks of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unsafe_code, reason = "an allocator can be written in no other way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use turnpike_net::{UdpOptions, UdpSocket as ServerSocket};
use turnpike_turn::{Config, Credentials, Init, NonceKey, PeerRules, Ports, Quotas, RelayAddress};
use turnpike_wire::attributes::{
    ChannelNumber, Data, RequestedTransport, XorMappedAddress, XorPeerAddress, XorRelayedAddress,
};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId, channel_data_header};
use turnpike_worker::{
    Command, HeldPorts, HttpAnswers, Listener, ProxyRules, Siblings, StreamLimits, Worker, WorkerInit,
};

#[test]
fn a_worker_allocates_nothing_for_what_it_relays_and_answers() {
    let server = Server::start();
    let client = socket();
    client.connect(server.address).unwrap();
    let (bound, unbound) = (socket(), socket());
    let relayed = allocate(&client);
    bind_channel(&client, bound.local_addr().unwrap());
    permit(&client, unbound.local_addr().unwrap());
    let exchange = || {
        by_channel(&client, &bound, relayed);
        by_indication(&client, &unbound, relayed);
        binding(&client);
    };
    (0..200).for_each(|_| exchange());
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    (0..2000).for_each(|_| exchange());
    let during = ALLOCATIONS.load(Ordering::SeqCst) - before;
    // 10,000 packets went through; whatever costs a packet an allocation costs thousands. The few that are let pass
    // belong to the test harness's own threads.
    assert!(during < 20, "{during} allocations");
    server.stop();
}

struct Server {
    address: SocketAddr,
    stop: Box<dyn FnOnce()>,
}

impl Server {
    fn start() -> Self {
        let loopback = [127, 0, 0, 1].into();
        let listener = ServerSocket::bind(SocketAddr::new(loopback, 0), &UdpOptions::default()).unwrap();
        let address = listener.local_address();
        let relay = RelayAddress { address: loopback, external: None };
        let mut config = Config::new(Arc::new(Credentials::anonymous("test")));
        config.peers = PeerRules {
            allow_loopback: true,
            relays: vec![relay],
            listening_ports: vec![address.port()],
            ..PeerRules::default()
        };
        let worker = Worker::new(WorkerInit {
            server: Init {
                config: Arc::new(config),
                worker: 0,
                workers: 1,
                ports: Ports::new(&[relay], 49_152..=65_535),
                quotas: Quotas::new(0, 0),
                nonce_key: NonceKey::new([1; 16]),
                seed: [2; 32],
            },
            listeners: vec![Listener { socket: listener, plain: true }],
            stream_listeners: Vec::new(),
            tls: None,
            dtls: None,
            http: HttpAnswers::default(),
            proxies: ProxyRules::default(),
            stream_limits: StreamLimits { per_source: 1, total: 1, idle: Duration::from_secs(60) },
            relay_options: UdpOptions::default(),
            held_ports: HeldPorts::default(),
            siblings: Siblings::default(),
            flows: None,
            dropped: None,
            ask: None,
            report: Box::new(drop),
        })
        .unwrap();
        let mailbox = worker.mailbox();
        let thread = thread::spawn(move || worker.run());
        let stop = Box::new(move || {
            mailbox.send(Command::Stop);
            thread.join().unwrap().unwrap();
        });
        Server { address, stop }
    }

    fn stop(self) {
        (self.stop)();
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// A request, and what is read from its answer.
fn ask<T>(
    client: &UdpSocket,
    method: Method,
    build: impl FnOnce(&mut MessageWriter<'_>),
    read: impl FnOnce(&Message<'_>) -> T,
) -> T {
    let (mut request, mut answer) = ([0; 256], [0; 1024]);
    let mut writer = MessageWriter::new(&mut request, Class::Request, method, TransactionId([7; 12]));
    build(&mut writer);
    client.send(writer.finish().unwrap()).unwrap();
    let length = client.recv(&mut answer).unwrap();
    let message = Message::parse(&answer[..length]).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Success, method));
    read(&message)
}

fn allocate(client: &UdpSocket) -> SocketAddr {
    let transport = |writer: &mut MessageWriter<'_>| {
        writer.add(&RequestedTransport::UDP);
    };
    ask(client, Method::ALLOCATE, transport, |message| message.get::<XorRelayedAddress>().unwrap().unwrap().0)
}

fn bind_channel(client: &UdpSocket, peer: SocketAddr) {
    let channel = |writer: &mut MessageWriter<'_>| {
        writer.add(&ChannelNumber(CHANNEL)).add(&XorPeerAddress(peer));
    };
    ask(client, Method::CHANNEL_BIND, channel, |_| ());
}

fn permit(client: &UdpSocket, peer: SocketAddr) {
    let address = |writer: &mut MessageWriter<'_>| {
        writer.add(&XorPeerAddress(peer));
    };
    ask(client, Method::CREATE_PERMISSION, address, |_| ());
}

fn binding(client: &UdpSocket) {
    let mapped =
        ask(client, Method::BINDING, |_| (), |message| message.get::<XorMappedAddress>().unwrap().unwrap().0);
    assert_eq!(mapped, client.local_addr().unwrap());
}

fn by_channel(client: &UdpSocket, peer: &UdpSocket, relayed: SocketAddr) {
    let mut buffer = [0; 1024];
    let mut sent = [0x55; 164];
    sent[..4].copy_from_slice(&channel_data_header(CHANNEL, 160));
    client.send(&sent).unwrap();
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&sent[4..], relayed));
    peer.send_to(&sent[4..], relayed).unwrap();
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], sent);
}

fn by_indication(client: &UdpSocket, peer: &UdpSocket, relayed: SocketAddr) {
    let (mut indication, mut buffer) = ([0; 256], [0; 1024]);
    let id = TransactionId([9; 12]);
    let mut writer = MessageWriter::new(&mut indication, Class::Indication, Method::SEND, id);
    writer.add(&XorPeerAddress(peer.local_addr().unwrap())).add(&Data(PAYLOAD));
    client.send(writer.finish().unwrap()).unwrap();
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (PAYLOAD, relayed));
    peer.send_to(PAYLOAD, relayed).unwrap();
    let length = client.recv(&mut buffer).unwrap();
    let message = Message::parse(&buffer[..length]).unwrap();
    assert_eq!(message.get::<Data>().unwrap().unwrap().0, PAYLOAD);
}

/// The system's allocator, counting what is asked of it.
struct Counting;

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises; it came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

const CHANNEL: u16 = 0x4000;
const PAYLOAD: &[u8] = b"twenty bytes of data";
