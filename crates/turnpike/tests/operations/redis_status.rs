//! `redis-statsdb`: coturn's keys and messages in a real Redis, shared by several servers, and not needed by any call.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::TurnClient;
use crate::harness::{Directory, PATIENCE, Program, Server, UCLIENT, local_address, loopback_address, run};
use crate::upgrade::Successor;

/// A Redis of the test's own.
struct Redis {
    program: Program,
    port: String,
    directory: Directory,
}

impl Redis {
    /// `None` where it is not installed, which is said.
    fn start(test: &str) -> Option<Self> {
        if !Path::new("/usr/bin/redis-server").exists() {
            println!("skipped: {test} needs redis-server");
            return None;
        }
        let port = local_address().port().to_string();
        let directory = Directory::new();
        let program = Redis::run(&port, &directory);
        Some(Redis { program, port, directory })
    }

    fn run(port: &str, directory: &Directory) -> Program {
        let path = directory.path().to_str().unwrap();
        let arguments = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", path];
        let mut program = Program::start("/usr/bin/redis-server", &arguments);
        program.expect("Ready to accept connections");
        program
    }

    fn connection(&self) -> String {
        format!("ip=127.0.0.1 port={} dbname=3 connect_timeout=5", self.port)
    }

    fn command(&self, words: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.port, "-n", "3"]).args(words).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Everything that is published from here on.
    fn listen(&self) -> Program {
        let mut listener = Program::start("redis-cli", &["-p", &self.port, "psubscribe", "turn/*"]);
        listener.expect("psubscribe");
        listener
    }

    /// It dies, and then is there again with nothing in it.
    fn restart_after(self, meanwhile: impl FnOnce()) -> Self {
        let Redis { program, port, directory } = self;
        program.stop("KILL");
        meanwhile();
        let program = Redis::run(&port, &directory);
        Redis { program, port, directory }
    }
}

/// Channels and messages, as `redis-cli` prints them.
fn messages(printed: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = printed.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| **line == "pmessage");
    starts
        .filter_map(|(at, _)| Some(((*lines.get(at + 2)?).to_owned(), (*lines.get(at + 3)?).to_owned())))
        // coturn also tells of connections that never had an allocation.
        .filter(|(channel, _)| !channel.contains("/user//"))
        .collect()
}

/// A call of two packets out and one back; returns the client's address.
fn call(server: SocketAddr) -> SocketAddr {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let to: SocketAddr = peer.local_addr().unwrap();
    let mut client = TurnClient::classic(server, "hello", "world");
    let me = client.address();
    let relayed = client.allocate().relayed;
    client.permit(to.ip()).unwrap();
    client.bind(0x4001, to).unwrap();
    for _ in 0..2 {
        client.send_on(0x4001, b"twelve bytes");
        peer.recv_from(&mut [0; 100]).unwrap();
    }
    peer.send_to(b"answer", relayed).unwrap();
    assert_eq!(client.receive().data, b"answer");
    client.refresh(None).unwrap();
    client.refresh(Some(0)).unwrap();
    me
}

#[test]
fn a_call_is_told_with_coturns_keys_and_messages() {
    let Some(redis) = Redis::start("a_call_is_told_with_coturns_keys_and_messages") else { return };
    let server = Server::start(&["--redis-statsdb", &redis.connection()]);
    let mut listener = redis.listen();
    let me = call(server.address);
    listener.expect("/total_traffic/peer");
    listener.expect("rcvp=1");
    let told = messages(listener.so_far());
    let key = told[0].0.strip_suffix("/status").unwrap().to_owned();
    let session = key.strip_prefix("turn/realm/example.org/user/hello/allocation/").unwrap();
    assert!(session.len() == 18 && session.bytes().all(|byte| byte.is_ascii_digit()), "{session}");
    let who = format!("type=UDP, local={}, remote={me}, ssl=NONE, cipher=NONE", server.address);
    let (client, peers) = ("rcvp=2, rcvb=24, sentp=1, sentb=6", "rcvp=1, rcvb=6, sentp=2, sentb=24");
    let expected = [
        ("status", format!("new lifetime=600, {who}")),
        ("status", format!("refreshed lifetime=600, {who}")),
        ("status", format!("refreshed lifetime=0, {who}")),
        ("traffic", client.to_owned()),
        ("traffic/peer", peers.to_owned()),
        ("status", "deleted".to_owned()),
        ("total_traffic", client.to_owned()),
        ("total_traffic/peer", peers.to_owned()),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(what, text)| (format!("{key}/{what}"), text)).collect();
    assert_eq!(told, expected);
    assert_eq!(redis.command(&["DBSIZE"]), "0");
    let mut other = TurnClient::hello(server.address);
    other.allocate();
    listener.expect("new lifetime=600");
    let keys = redis.command(&["--scan"]);
    assert!(redis.command(&["GET", &keys]).starts_with("new lifetime=600, type=UDP, local="), "{keys}");
    let left: u32 = redis.command(&["TTL", &keys]).parse().unwrap();
    assert!((600..=660).contains(&left), "{left}");
    // A session that ends because the server does is told of too.
    assert_eq!(server.program.stop("TERM").code, Some(0));
    listener.expect("/total_traffic/peer");
    assert_eq!(redis.command(&["DBSIZE"]), "0");
}

#[test]
fn coturn_tells_of_the_same_call_in_the_same_words() {
    const COTURN: &str = "/usr/bin/turnserver";
    let Some(redis) = Redis::start("coturn_tells_of_the_same_call_in_the_same_words") else { return };
    if !Path::new(COTURN).exists() {
        println!("skipped: this test needs coturn");
        return;
    }
    let directory = Directory::new();
    let address = SocketAddr::new(loopback_address(), 3478);
    let (ip, connection, pid) = (address.ip().to_string(), redis.connection(), directory.file("pid"));
    let arguments = [
        "-n",
        "-m",
        "1",
        "-r",
        "example.org",
        "-a",
        "-u",
        "hello:world",
        "-L",
        &ip,
        "-E",
        &ip,
        "-v",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--allow-loopback-peers",
        "--pidfile",
        &pid,
        "--log-file",
        "stdout",
        "--redis-statsdb",
        &connection,
    ];
    let mut coturn = Program::start_in(COTURN, &arguments, directory.path(), &[]);
    coturn.expect("IO method (admin thread)");
    let mut listener = redis.listen();
    call(address);
    listener.expect("/total_traffic/peer");
    listener.expect("rcvp=");
    let theirs = messages(listener.so_far());
    drop(coturn);
    let server = Server::start(&["--redis-statsdb", &connection]);
    let mut listener = redis.listen();
    call(server.address);
    listener.expect("/total_traffic/peer");
    listener.expect("rcvp=");
    let ours = messages(listener.so_far());
    let plain = |told: &[(String, String)]| -> Vec<(String, String)> {
        told.iter().map(|(channel, text)| (without_numbers(channel), without_numbers(text))).collect()
    };
    assert_eq!(plain(&ours), plain(&theirs), "{ours:?}\n{theirs:?}");
    // Towards peers there is nothing but data; on the client's side coturn counts headers and requests too.
    let to_peers = |told: &[(String, String)]| -> Vec<String> {
        told.iter().filter(|(channel, _)| channel.ends_with("/peer")).map(|(_, text)| text.clone()).collect()
    };
    assert_eq!(to_peers(&ours), to_peers(&theirs));
}

/// Every run of digits is one `#`: sessions, ports and amounts differ.
fn without_numbers(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' if plain.ends_with('#') => {}
            '0'..='9' => plain.push('#'),
            character => plain.push(character),
        }
    }
    plain
}

#[test]
fn two_servers_share_one_redis_and_each_cleans_up_after_itself_alone() {
    let Some(redis) = Redis::start("two_servers_share_one_redis_and_each_cleans_up_after_itself_alone")
    else {
        return;
    };
    let connection = redis.connection();
    let start = |address| {
        let arguments = ["-u", "hello:world", "-v", "--allow-loopback-peers", "--redis-statsdb", &connection];
        Server::start_at(address, &arguments)
    };
    let mut listener = redis.listen();
    let first = Server::start(&["--redis-statsdb", &connection]);
    let mut at_first = TurnClient::hello(first.address);
    at_first.allocate();
    listener.expect("new lifetime=600");
    let second = Server::start(&["--redis-statsdb", &connection]);
    let mut at_second = TurnClient::hello(second.address);
    at_second.allocate();
    listener.expect("new lifetime=600");
    assert_eq!(redis.command(&["DBSIZE"]), "2");
    let address = second.address;
    second.program.stop("KILL");
    assert_eq!(redis.command(&["DBSIZE"]), "2", "a server that was killed leaves its key");
    let mut second = start(address);
    // That may come before the last line of the start.
    let removed = "redis-statsdb: 1 keys of an earlier run were removed";
    if !second.program.so_far().contains(removed) {
        second.expect(removed);
    }
    let left = redis.command(&["--scan"]);
    assert!(redis.command(&["GET", &left]).contains(&format!("local={}", first.address)), "{left}");
    let used = redis.command(&["INFO", "commandstats"]);
    assert!(used.contains("cmdstat_scan:"), "{used}");
    for word in ["cmdstat_keys:", "cmdstat_save:", "cmdstat_bgsave:", "cmdstat_flush"] {
        assert!(!used.contains(word), "{used}");
    }
}

#[test]
fn a_call_that_has_moved_to_another_process_keeps_its_key() {
    let Some(redis) = Redis::start("a_call_that_has_moved_to_another_process_keeps_its_key") else { return };
    let mut server = Server::start(&["--redis-statsdb", &redis.connection()]);
    let mut listener = redis.listen();
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    listener.expect("new lifetime=600");
    let key = redis.command(&["--scan"]);
    server.program.signal("URG");
    let _successor = Successor::of(&mut server);
    server.expect("nothing is left here");
    assert_eq!(redis.command(&["--scan"]), key);
    // The new process knows the session, and has it there.
    redis.command(&["DEL", &key]);
    let deadline = Instant::now() + PATIENCE;
    while redis.command(&["--scan"]) != key {
        assert!(Instant::now() < deadline, "its key is there again");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(redis.command(&["GET", &key]).starts_with("refreshed lifetime="));
    client.refresh(Some(0)).unwrap();
    listener.expect("deleted");
    assert_eq!(redis.command(&["DBSIZE"]), "0");
}

#[test]
fn a_dead_redis_matters_to_no_call_and_knows_the_living_when_it_is_back() {
    let test = "a_dead_redis_matters_to_no_call_and_knows_the_living_when_it_is_back";
    let Some(redis) = Redis::start(test) else { return };
    let mut server = Server::start(&["--redis-statsdb", &redis.connection()]);
    let mut listener = redis.listen();
    let mut lasting = TurnClient::hello(server.address);
    lasting.allocate();
    listener.expect("new lifetime=600");
    drop(listener);
    let address = server.address;
    let redis = redis.restart_after(|| {
        call(address);
        server.expect("redis-statsdb: calls go on, and messages are lost");
    });
    let said = server.expect("answers again");
    assert!(said.contains(" messages were lost"), "{said}");
    assert_eq!(redis.command(&["DBSIZE"]), "1");
    let key = redis.command(&["--scan"]);
    assert!(redis.command(&["GET", &key]).contains(&format!("remote={}", lasting.address())), "{key}");
}

#[test]
fn what_tls_agreed_on_is_told_as_openssl_names_it() {
    let Some(redis) = Redis::start("what_tls_agreed_on_is_told_as_openssl_names_it") else { return };
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let ip = loopback_address();
    let connection = redis.connection();
    let address = SocketAddr::new(ip, 3478);
    let arguments = [
        "-u",
        "hello:world",
        "-v",
        "--allow-loopback-peers",
        "--dtls",
        "--cert",
        &certificate,
        "--pkey",
        &key,
        "--redis-statsdb",
        &connection,
    ];
    let mut server = Server::start_at(address, &arguments);
    let mut listener = redis.listen();
    for (kind, version, cipher) in [("TLS/TCP", "TLSv1.3", "TLS_"), ("DTLS", "DTLSv1.2", "ECDHE-ECDSA-")] {
        let ip = ip.to_string();
        let mut words =
            vec!["-S", "-u", "hello", "-w", "world", "-p", "5349", "-y", "-n", "1", "-m", "2", "-c"];
        words.extend((kind != "DTLS").then_some("-t"));
        words.push(&ip);
        let finished = run(UCLIENT, &words);
        assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
        let told = listener.expect(&format!("type={kind}, "));
        assert!(told.contains(&format!("ssl={version}, cipher={cipher}")), "{told}");
        let line = server.expect(&format!(", method={version}, client "));
        assert!(line.contains(": new, ") && line.contains(&format!(", cipher={cipher}")), "{line}");
    }
}
