//! HAProxy in front of two servers, as in docs/high-availability.md: clients of TCP and TLS find one that lives, whichever
//! has died. Where HAProxy is not installed, there is nothing to try.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::harness::{Directory, Finished, Program, Server, UCLIENT, free_ports, loopback_address, run};

#[test]
fn behind_haproxy_clients_find_the_server_that_lives_whichever_has_died() {
    if !Path::new(HAPROXY).exists() {
        eprintln!("haproxy is not installed");
        return;
    }
    let directory = Directory::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = directory.write("cert.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    let servers = [loopback_address(), loopback_address()];
    let start = |ip: IpAddr| {
        let arguments = [
            "--user",
            "hello:world",
            "--allow-loopback-peers",
            "-v",
            "--proxy-from=127.0.0.1",
            "--stateless-nonce-secret=fleet",
            "--cert",
            &cert,
            "--pkey",
            &key,
        ];
        Server::start_at(SocketAddr::new(ip, 3478), &arguments)
    };
    let [one, other] = servers.map(start);
    let front = loopback_address();
    let ports = [free_ports(front, 1), free_ports(front, 1)];
    let file = directory.write("haproxy.cfg", &configuration(front, ports, servers));
    let mut haproxy = Program::start(HAPROXY, &["-db", "-f", &file]);
    expect_all(&mut haproxy, &["turn/one", "turn/other", "turns/one", "turns/other"], "succeeded");
    let all = |why: &str| {
        for (port, flags) in [(ports[0], &["-t"][..]), (ports[1], &["-t", "-S"])] {
            // Whichever it comes to by itself: several, so that both have some while both live.
            for _ in 0..2 {
                assert_lossless(&uclient(front, port, flags), why);
            }
        }
    };
    all("both live");
    one.program.stop("KILL");
    expect_all(&mut haproxy, &["turn/one", "turns/one"], "is DOWN");
    all("the first has died");
    let _one = start(servers[0]);
    expect_all(&mut haproxy, &["turn/one", "turns/one"], "is UP");
    other.program.stop("KILL");
    expect_all(&mut haproxy, &["turn/other", "turns/other"], "is DOWN");
    all("the second has died");
    haproxy.stop("TERM");
}

/// Waits until HAProxy has said so of all of these, in whichever order.
fn expect_all(haproxy: &mut Program, servers: &[&str], what: &str) {
    let mut waiting = servers.to_vec();
    while !waiting.is_empty() {
        let line = haproxy.expect(what);
        waiting.retain(|server| !line.contains(&format!(" {server} ")));
    }
}

fn uclient(ip: IpAddr, port: u16, flags: &[&str]) -> Finished {
    let (ip, port) = (ip.to_string(), port.to_string());
    let mut arguments = vec!["-u", "hello", "-w", "world", "-y", "-c", "-n", "3", "-z", "5", "-p", &port];
    arguments.extend(flags);
    arguments.push(&ip);
    run(UCLIENT, &arguments)
}

fn assert_lossless(finished: &Finished, why: &str) {
    let lossless = finished.stdout.contains("Total lost packets 0 (0.000000%)");
    assert!(finished.code == Some(0) && lossless, "{why}: {}{}", finished.stdout, finished.stderr);
}

/// That of docs/high-availability.md, with quicker checks. A server is there if it answers a Binding request.
fn configuration(front: IpAddr, [port, tls_port]: [u16; 2], [one, other]: [IpAddr; 2]) -> String {
    let listen = |name: &str, port: u16, to: u16, connect: &str| {
        format!(
            "listen {name}\n  bind {front}:{port}\n  balance roundrobin\n  option tcp-check\n{connect}\n\
             \x20 tcp-check send-binary 000100002112a442000102030405060708090a0b\n\
             \x20 tcp-check expect binary 0101\n\
             \x20 default-server send-proxy-v2 check verify none inter 500ms fall 2 rise 2\n\
             \x20 server one {one}:{to} source 127.0.0.1\n\
             \x20 server other {other}:{to} source 127.0.0.1\n"
        )
    };
    let head = "global\n  log stdout format raw local0\ndefaults\n  mode tcp\n  log global\n  option log-health-checks\n  \
                timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n";
    let plain = listen("turn", port, 3478, "  tcp-check connect send-proxy");
    let secure = listen("turns", tls_port, 5349, "  tcp-check connect ssl send-proxy alpn stun.turn");
    format!("{head}{plain}{secure}")
}

const HAPROXY: &str = "/usr/sbin/haproxy";
