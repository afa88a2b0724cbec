//! Health, as load balancers and those who get up at night see it.

use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::Value;

use crate::client::TurnClient;
use crate::harness::{Directory, Program, Server, TURNPIKE, free_ports, local_address, loopback_address};
use crate::http::{ask, get};
use crate::metrics::Scraped;

/// A server with health pages alone.
struct Watched {
    server: Server,
    health: SocketAddr,
}

fn watched(more: &[&str]) -> Watched {
    let ip = loopback_address();
    let port = free_ports(ip, 1);
    let (ip_text, port_text) = (ip.to_string(), port.to_string());
    let mut arguments = vec!["--health-address", &ip_text, "--health-port", &port_text];
    arguments.extend(more);
    if !more.contains(&"--no-auth") {
        arguments.extend(["--user", "hello:world"]);
    }
    let server = Server::start_at(SocketAddr::new(ip, 3478), &arguments);
    Watched { server, health: SocketAddr::new(ip, port) }
}

#[test]
fn the_pages_begin_with_the_state_and_metrics_are_not_among_them() {
    let Watched { mut server, health } = watched(&[]);
    for (path, word) in [("/", "ok"), ("/livez", "ok"), ("/readyz", "ready"), ("/healthz", "ok")] {
        let page = get(health, path);
        assert_eq!((page.status, page.body.split_whitespace().next()), (200, Some(word)), "{path}");
        assert!(page.head.contains("content-type: text/plain"), "{}", page.head);
    }
    assert_eq!(get(health, "/livez").status, 200, "asked again");
    assert_eq!(get(health, "/metrics").status, 404);
    assert_eq!(get(health, "/livez/").status, 404);
    let refused = ask(health, "POST / HTTP/1.1\r\nHost: turn\r\nContent-Length: 3\r\n");
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    let head = ask(health, "HEAD /readyz HTTP/1.1\r\nHost: turn\r\n");
    assert_eq!((head.status, &*head.body), (200, ""));
    server.program.signal("TERM");
    server.expect("Terminating");
}

#[test]
fn the_self_test_relays_data_by_the_external_address_whatever_the_rules_are() {
    let cases: &[&[&str]] = &[
        &["--external-ip=203.0.113.7"],
        // What operators do who fear for their own network, and quotas that are used up.
        &["--denied-peer-ip=127.0.0.0-127.255.255.255", "--total-quota=1", "--user-quota=1"],
        &["--no-udp"],
        &["--secure-stun", "--fingerprint", "--max-bps=1000"],
        &["--no-auth"],
        &["--static-auth-secret=s", "--use-auth-secret"],
    ];
    for case in cases {
        let Watched { server, health } = watched(case);
        let _one = case.contains(&"--total-quota=1").then(|| {
            let mut client = TurnClient::hello(server.address);
            client.allocate();
            client
        });
        let page = get(health, "/healthz");
        assert!(page.status == 200 && page.body.starts_with("ok\n"), "{case:?}: {}", page.body);
        let through = if case[0].contains("external") { "203.0.113.7" } else { "127." };
        assert!(page.body.contains(&format!("echo through {through}")), "{case:?}: {}", page.body);
    }
}

#[test]
fn what_a_server_does_not_do_is_not_tried() {
    for (case, said) in [
        (&["--stun-only"][..], "Binding in"),
        (&["--multiplex-peer"], "Allocate in"),
        (&["--alternate-server=203.0.113.9:3478"], "clients are sent to 203.0.113.9:3478"),
    ] {
        let page = get(watched(case).health, "/healthz");
        assert!(page.status == 200 && page.body.contains(said), "{case:?}: {}", page.body);
        assert!(!page.body.contains("echo"), "{case:?}: {}", page.body);
    }
}

#[test]
fn a_server_without_a_free_port_is_full_and_fails_its_test_until_one_is_free() {
    let ip = loopback_address();
    let first = free_ports(ip, 1).to_string();
    let watched = watched(&["--min-port", &first, "--max-port", &first]);
    let mut client = TurnClient::hello(watched.server.address);
    client.allocate();
    let full = get(watched.health, "/readyz");
    assert_eq!((full.status, full.body.split_whitespace().next()), (503, Some("full:")));
    let failing = get(watched.health, "/healthz");
    assert_eq!(failing.status, 503);
    assert!(
        failing.body.starts_with("failing: Allocate: error 508: no relayed port is free"),
        "{}",
        failing.body
    );
    let capacity: Value = serde_json::from_str(&get(watched.health, "/capacity").body).unwrap();
    assert_eq!(
        (&capacity["state"], &capacity["load"], &capacity["portsFree"]),
        (&"full".into(), &1.0.into(), &0.into())
    );
    client.refresh(Some(0)).unwrap();
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while get(watched.health, "/readyz").status != 200 {
        assert!(std::time::Instant::now() < deadline, "it is ready again");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_flood_of_requests_for_a_test_makes_one_test_and_leaves_nothing_behind() {
    let scraped = Scraped::start(&[]);
    let began = std::time::Instant::now();
    let askers: Vec<_> = (0..8)
        .map(|_| {
            let address = scraped.metrics;
            std::thread::spawn(move || {
                for _ in 0..25 {
                    assert!(get(address, "/healthz").body.starts_with("ok\n"));
                }
            })
        })
        .collect();
    askers.into_iter().for_each(|asker| asker.join().unwrap());
    // One in five seconds, of two allocations each.
    let most = 2 * (began.elapsed().as_secs() / 5 + 1);
    let page = scraped.until("turnpike_self_test_success", 1.0);
    let created = scraped.until("turnpike_relay_ports_used{family=\"ipv4\"}", 0.0);
    let count = created.sample("turnpike_allocations_created_total").unwrap();
    assert!(count <= most as f64, "{count} allocations, where {most} are allowed");
    assert!(page.sample("turnpike_self_test_duration_seconds") < Some(5.0));
    let said = scraped.server.program.so_far();
    assert!(!said.contains("self-test/"), "the log is for users: {said}");
}

#[test]
fn nobody_gets_in_by_the_name_of_the_test() {
    let Watched { server, health } = watched(&[]);
    assert_eq!(get(health, "/healthz").status, 200);
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 8;
    let name = format!("self-test/{until}");
    for password in ["", "world", "self-test"] {
        let mut client = TurnClient::classic(server.address, &name, password);
        assert!(client.try_allocate(Default::default()).is_err(), "{password:?}");
    }
}

#[test]
fn capacity_says_how_much_there_is_to_do_and_how_much_is_left() {
    let scraped = Scraped::start(&["--total-quota=10", "--min-port=20000", "--max-port=20099"]);
    let mut client = TurnClient::hello(scraped.server.address);
    client.allocate();
    scraped.until("turnpike_allocations{transport=\"UDP\"}", 1.0);
    let page = get(scraped.metrics, "/capacity");
    assert!(page.head.contains("content-type: application/json"), "{}", page.head);
    let capacity: Value = serde_json::from_str(&page.body).unwrap();
    for (field, value) in [
        ("state", Value::from("ready")),
        ("draining", false.into()),
        ("allocations", 1.into()),
        ("allocationQuota", 10.into()),
        ("ports", 100.into()),
        ("portsFree", 99.into()),
    ] {
        assert_eq!(capacity[field], value, "{field} of {capacity}");
    }
    let load = capacity["load"].as_f64().unwrap();
    assert!((0.1..=4.0).contains(&load), "a tenth of the quota is used: {load}");
}

#[test]
fn somebody_who_holds_connections_open_keeps_nobody_else_from_an_answer() {
    let Watched { server: _server, health } = watched(&[]);
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        held.extend(TcpStream::connect(health));
    }
    let from: IpAddr = loopback_address();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&health.into()).unwrap();
    let page = crate::http::converse(TcpStream::from(socket), "GET /livez HTTP/1.1\r\nHost: turn\r\n");
    assert_eq!(page.status, 200);
    drop(held);
}

#[test]
fn up_serves_both_when_told_so_and_prints_where() {
    let (directory, ip) = (Directory::new(), loopback_address());
    let port = free_ports(ip, 2);
    let http = local_address();
    let (state, http_port) = (directory.file("state"), http.port().to_string());
    let (ip_text, port_text) = (ip.to_string(), port.to_string());
    let mut up = Program::start(
        TURNPIKE,
        &[
            "up",
            "--state-dir",
            &state,
            "--listening-ip",
            &ip_text,
            "--port",
            &port_text,
            "--http-port",
            &http_port,
        ],
    );
    up.expect(&format!("http://{http}/healthz"));
    up.expect(&format!("http://{http}/metrics"));
    up.expect("Ctrl-C");
    assert!(get(http, "/healthz").body.starts_with("ok\n"));
    assert!(get(http, "/metrics").sample("turnpike_workers").is_some());
}
