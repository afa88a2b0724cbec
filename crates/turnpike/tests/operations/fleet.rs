//! Several servers that clients are spread over: one that is gone is handed to nobody, the least loaded comes first, and
//! one's nonces are good at the others.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use turnpike_client::{AllocateOptions, Failure};

use crate::client::{Identity, TurnClient, allocate_by_hand};
use crate::harness::{Directory, Server, UCLIENT, loopback_address, run};

/// A server that serves whoever comes.
fn back_end(ip: IpAddr, more: &[&str]) -> Server {
    let mut arguments = vec!["--user", "hello:world", "--allow-loopback-peers", "-v"];
    arguments.extend(more);
    Server::start_at(SocketAddr::new(ip, 3478), &arguments)
}

/// A server that sends clients on, and asks once a second where to.
fn front(more: &[&str]) -> Server {
    let mut arguments = vec!["--alternate-check=1"];
    arguments.extend(more);
    Server::start(&arguments)
}

/// Where a client is sent; `None` if it is served.
fn sent_to(front: &Server) -> Option<IpAddr> {
    let mut client = TurnClient::hello(front.address);
    match client.try_allocate(AllocateOptions::default()) {
        Err(Failure::TryAlternate { server, .. }) => Some(server.ip()),
        Ok(_) => None,
        Err(other) => panic!("{other}"),
    }
}

fn all_sent_to(front: &Server) -> BTreeSet<Option<IpAddr>> {
    (0..8).map(|_| sent_to(front)).collect()
}

#[test]
fn a_server_that_is_gone_is_handed_to_nobody_until_it_is_back_and_where_all_are_the_front_serves() {
    let [one, other] = [loopback_address(), loopback_address()];
    let (staying, leaving) = (back_end(one, &[]), back_end(other, &[]));
    let lists = [one, other].map(|ip| format!("--alternate-server={ip}"));
    let mut front = front(&[&lists[0], &lists[1]]);
    assert_eq!(all_sent_to(&front), BTreeSet::from([Some(one), Some(other)]));
    leaving.program.stop("KILL");
    front.expect(&format!("WARNING ALTERNATE-SERVER: {other}:3478 does not answer by UDP"));
    assert_eq!(all_sent_to(&front), BTreeSet::from([Some(one)]));
    let returned = back_end(other, &[]);
    front.expect(&format!("{other}:3478 answers by UDP again"));
    assert_eq!(all_sent_to(&front), BTreeSet::from([Some(one), Some(other)]));
    staying.program.stop("KILL");
    returned.program.stop("KILL");
    for _ in 0..2 {
        front.expect("does not answer by UDP");
    }
    assert_eq!(all_sent_to(&front), BTreeSet::from([None]));
}

#[test]
fn each_list_is_asked_over_its_own_transport() {
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let ip = loopback_address();
    let without = back_end(ip, &["--no-tcp"]);
    let lists = ["udp", "tcp", "tls"].map(|kind| format!("--{kind}-alternate-server={ip}"));
    let mut front = front(&[&lists[0], &lists[1], &lists[2]]);
    let mut dead = [front.expect("does not answer by T"), front.expect("does not answer by T")];
    dead.sort();
    assert!(dead[0].contains(&format!("{ip}:3478")) || dead[1].contains(&format!("{ip}:3478")), "{dead:?}");
    assert_eq!(sent_to(&front), Some(ip), "by UDP it is there");
    // Clients of the others are served where they came.
    let here = front.address.ip().to_string();
    let finished =
        run(UCLIENT, &["-u", "hello", "-w", "world", "-y", "-c", "-t", "-n", "2", "-z", "5", &here]);
    assert!(finished.stdout.contains("Total lost packets 0 (0.000000%)"), "{}", finished.stdout);
    front.expect("transport TCP");
    without.program.stop("TERM");
    let _with = back_end(ip, &["--cert", &cert, "--pkey", &key]);
    for _ in 0..2 {
        let line = front.expect(" again, and clients are sent there");
        assert!(!line.contains("by UDP"), "{line}");
        if line.contains("by TLS") {
            return;
        }
    }
    panic!("it never answered by TLS");
}

#[test]
fn the_least_loaded_gets_the_clients_and_one_that_drains_none() {
    let servers = [loopback_address(), loopback_address()];
    let _back_ends = servers.map(|ip| back_end(ip, &[]));
    let said = servers.map(Capacity::start);
    said[0].say(900, false);
    said[1].say(100, false);
    let lists = servers.map(|ip| format!("--alternate-server={ip}"));
    let url = "--alternate-capacity-url=http://{ip}:9641/capacity";
    let front = front(&[&lists[0], &lists[1], "--alternate-selection=least-loaded", url]);
    await_all(&front, servers[1]);
    said[0].say(100, false);
    said[1].say(900, false);
    await_all(&front, servers[0]);
    said[0].say(0, true);
    await_all(&front, servers[1]);
}

#[test]
fn servers_that_say_themselves_how_much_they_have_to_do_are_filled_up_evenly() {
    let servers = [loopback_address(), loopback_address()];
    let back_ends = servers.map(|ip| {
        let metrics = format!("--prometheus-address={ip}");
        back_end(ip, &["--prometheus", &metrics])
    });
    let mut sessions: Vec<TurnClient> = (0..20).map(|_| TurnClient::hello(back_ends[0].address)).collect();
    for session in &mut sessions {
        session.allocate();
    }
    let lists = servers.map(|ip| format!("--alternate-server={ip}"));
    let front = front(&[&lists[0], &lists[1], "--alternate-selection=least-loaded"]);
    await_all(&front, servers[1]);
    sessions.extend((0..40).map(|_| TurnClient::hello(back_ends[1].address)));
    for session in &mut sessions[20..] {
        session.allocate();
    }
    await_all(&front, servers[0]);
}

#[test]
fn a_server_that_drains_says_so_itself_and_gets_no_client() {
    let servers = [loopback_address(), loopback_address()];
    let [_staying, draining] = servers.map(|ip| {
        let metrics = format!("--prometheus-address={ip}");
        back_end(ip, &["--prometheus", &metrics])
    });
    let lists = servers.map(|ip| format!("--alternate-server={ip}"));
    let mut front = front(&[&lists[0], &lists[1], "--alternate-selection=least-loaded"]);
    // It has somebody to wait for.
    let mut session = TurnClient::hello(draining.address);
    session.allocate();
    draining.program.signal("USR1");
    front.expect(&format!("{}:3478 drains, and no client is sent there", servers[1]));
    assert_eq!(all_sent_to(&front), BTreeSet::from([Some(servers[0])]));
}

/// Waits until every client is sent to one server.
fn await_all(front: &Server, server: IpAddr) {
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while all_sent_to(front) != BTreeSet::from([Some(server)]) {
        assert!(std::time::Instant::now() < deadline, "all are sent to {server}");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}

/// What a server with a thousand ports says of how much it has to do.
struct Capacity(Arc<Mutex<(u32, bool)>>);

impl Capacity {
    fn start(ip: IpAddr) -> Self {
        let said = Arc::new(Mutex::new((0, false)));
        let saying = said.clone();
        let listener = TcpListener::bind((ip, 9641)).unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else { return };
                let mut request = [0; 1024];
                let length = connection.read(&mut request).unwrap_or(0);
                assert!(request[..length].starts_with(b"GET /capacity HTTP/1.1\r\n"));
                let (allocations, draining) = *saying.lock().unwrap();
                let load = f64::from(allocations) / 1000.0;
                let body = format!(
                    "{{\"state\":\"ready\",\"draining\":{draining},\"load\":{load},\"allocations\":{allocations},\
                     \"allocationQuota\":null,\"ports\":1000,\"portsFree\":{}}}\n",
                    1000 - allocations
                );
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = connection.write_all((head + &body).as_bytes());
            }
        });
        Capacity(said)
    }

    fn say(&self, allocations: u32, draining: bool) {
        *self.0.lock().unwrap() = (allocations, draining);
    }
}

#[test]
fn a_nonce_of_one_server_is_good_at_another_with_the_same_secret_alone() {
    let [first, second, stranger] = ["fleet", "fleet", "other"].map(|secret| {
        let option = format!("--stateless-nonce-secret={secret}");
        back_end(loopback_address(), &[&option])
    });
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let ask = |server: &Server, nonce: Option<&[u8]>| {
        socket.connect(server.address).unwrap();
        let identity =
            nonce.map(|nonce| Identity { username: "hello", realm: "example.org", password: "world", nonce });
        allocate_by_hand(&socket, identity.as_ref())
    };
    let challenge = ask(&first, None);
    assert_eq!(challenge.error, Some(401));
    assert_eq!(ask(&stranger, Some(&challenge.nonce)).error, Some(438));
    assert_eq!(ask(&second, Some(&challenge.nonce)).error, None);
}
