//! Metrics, as whoever scrapes them sees them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::TurnClient;
use crate::harness::{Directory, Program, Server, TURNSERVER, free_ports, loopback_address};
use crate::http::{Response, ask, converse, get};

/// A server with metrics at an address of its own.
pub(crate) struct Scraped {
    pub(crate) server: Server,
    pub(crate) metrics: SocketAddr,
}

impl Scraped {
    pub(crate) fn start(more: &[&str]) -> Self {
        let ip = loopback_address();
        let port = free_ports(ip, 1);
        let (ip_text, port_text) = (ip.to_string(), port.to_string());
        let mut arguments = vec!["--user", "hello:world", "--allow-loopback-peers", "--prometheus"];
        arguments.extend(["--prometheus-address", &ip_text, "--prometheus-port", &port_text]);
        arguments.extend(more);
        let server = Server::start_at(SocketAddr::new(ip, 3478), &arguments);
        Scraped { server, metrics: SocketAddr::new(ip, port) }
    }

    pub(crate) fn scrape(&self) -> Response {
        get(self.metrics, "/metrics")
    }

    /// The metrics once this series has this value: workers publish once a second.
    #[track_caller]
    pub(crate) fn until(&self, series: &str, value: f64) -> Response {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let response = self.scrape();
            if response.sample(series) == Some(value) {
                return response;
            }
            assert!(Instant::now() < deadline, "no {series} {value} in:\n{}", response.body);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_session_shows_while_it_lives_and_so_does_what_goes_wrong() {
    let scraped = Scraped::start(&[]);
    let peer = std::net::UdpSocket::bind((scraped.metrics.ip(), 0)).unwrap();
    let mut client = TurnClient::hello(scraped.server.address);
    client.allocate();
    client.bind(0x4000, peer.local_addr().unwrap()).unwrap();
    for _ in 0..7 {
        client.send_on(0x4000, &[1; 100]);
    }
    let _ = TurnClient::new(scraped.server.address, "hello", "wrong").try_allocate(Default::default());
    client.send("127.9.9.9:9".parse().unwrap(), b"no permission");
    let page =
        scraped.until("turnpike_relayed_packets_total{direction=\"to_peer\",realm=\"example.org\"}", 7.0);
    for (series, value) in [
        ("turnpike_relayed_bytes_total{direction=\"to_peer\",realm=\"example.org\"}", 700.0),
        ("turnpike_allocations{transport=\"UDP\"}", 1.0),
        ("turnpike_allocations{transport=\"TLS\"}", 0.0),
        ("turnpike_realm_allocations{realm=\"example.org\"}", 1.0),
        ("turnpike_requests_total{method=\"channel_bind\"}", 1.0),
        ("turnpike_responses_total{method=\"channel_bind\",code=\"success\"}", 1.0),
        ("turnpike_relay_ports_used{family=\"ipv4\"}", 1.0),
        ("turnpike_state{state=\"serving\"}", 1.0),
        ("turn_traffic_rcvp{realm=\"example.org\"}", 7.0),
        ("turn_traffic_rcvb{realm=\"example.org\"}", 700.0),
        ("turn_traffic_peer_sentp{realm=\"example.org\"}", 7.0),
        ("turn_total_traffic_rcvb", 700.0),
        ("turn_total_allocations{type=\"UDP\"}", 1.0),
        ("turnpike_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert_eq!(page.sample(series), Some(value), "{series} in:\n{}", page.body);
    }
    let page = scraped.until("turnpike_authentication_failures_total{reason=\"wrong_password\"}", 1.0);
    assert!(page.sample("turnpike_challenges_total") >= Some(1.0));
    scraped.until("turnpike_packets_dropped_total{reason=\"no_permission\"}", 1.0);
    client.refresh(Some(0)).unwrap();
    // Nothing happens after this, and it shows all the same.
    let page = scraped.until("turnpike_allocations_ended_total{cause=\"deleted\"}", 1.0);
    assert_eq!(page.sample("turnpike_allocations{transport=\"UDP\"}"), Some(0.0));
    assert_eq!(page.sample("turnpike_allocation_duration_seconds_count"), Some(1.0));
    assert!(page.sample("turnpike_turn_duration_seconds_count").is_some());
    assert!(page.sample("process_open_fds") > Some(5.0));
    assert!(page.sample("process_resident_memory_bytes") > Some(1_000_000.0));
}

#[test]
fn every_name_of_coturn_is_there_and_each_format_has_the_same_series() {
    let scraped = Scraped::start(&[]);
    TurnClient::hello(scraped.server.address).allocate();
    let plain = scraped.until("turnpike_allocations_created_total", 1.0);
    for name in COTURNS {
        let is_it =
            |line: &str| line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}{{"));
        assert!(plain.body.lines().any(is_it), "{name} in:\n{}", plain.body);
    }
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", plain.head);
    let open = ask(
        scraped.metrics,
        "GET /metrics HTTP/1.1\r\nHost: turn\r\nAccept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n",
    );
    assert!(open.head.contains("application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"));
    assert_eq!(names(&open.body), names(&plain.body));
    assert!(open.body.contains("# TYPE turn_packet_dropped unknown"));
}

#[test]
fn users_are_labels_only_where_that_is_asked_for_and_without_their_times() {
    let scraped = Scraped::start(&["--static-auth-secret=s", "--prometheus-username-labels"]);
    for (name, count) in [("4000000000:alice", 2), ("4000000001:alice", 3)] {
        let password = turnpike_turn::rest_password(b"s", name);
        let mut client = TurnClient::classic(scraped.server.address, name, &password);
        client.allocate();
        client.bind(0x4000, SocketAddr::new(scraped.metrics.ip(), 9)).unwrap();
        (0..count).for_each(|_| client.send_on(0x4000, b"12345"));
        client.refresh(Some(0)).unwrap();
    }
    let series = "turn_traffic_rcvp{realm=\"example.org\",user=\"alice\"}";
    let page = scraped.until(series, 5.0);
    assert!(
        !page.body.contains("4000000000") && !page.body.contains("turn_traffic_rcvp{realm=\"example.org\"} ")
    );
    let without = Scraped::start(&[]);
    TurnClient::hello(without.server.address).allocate();
    let page = without.until("turnpike_allocations_created_total", 1.0);
    assert!(!page.body.contains("user=") && !page.body.contains("\"hello\""));
}

#[test]
fn ten_thousand_times_as_many_scrapes_are_no_more_work_than_some() {
    let scraped = Scraped::start(&[]);
    let (began, mut looks) = (Instant::now(), BTreeSet::new());
    for _ in 0..400 {
        let page = scraped.scrape();
        looks.insert(page.sample("process_cpu_seconds_total").unwrap().to_string());
    }
    // Each look at the server is good for 200 ms.
    let most = began.elapsed().as_millis() / 200 + 2;
    assert!(looks.len() as u128 <= most, "{} looks, where {most} are allowed", looks.len());
}

#[test]
fn a_password_and_tls_guard_the_metrics_and_leave_health_to_everybody() {
    let directory = Directory::new();
    let password = directory.write("password", "open sesame\n");
    let set_mode = |mode: &str| {
        let done = std::process::Command::new("chmod").args([mode, &password]).status().unwrap();
        assert!(done.success());
    };
    let made = rcgen::generate_simple_self_signed(vec!["turn.example.org".to_owned()]).unwrap();
    let certificate = directory.write("certificate.pem", &made.cert.pem());
    let key = directory.write("key.pem", &made.signing_key.serialize_pem());
    set_mode("644");
    let refused = Program::start(
        TURNSERVER,
        &[
            "-n",
            "--no-auth",
            "--prometheus",
            "--prometheus-port=9",
            "--prometheus-address=127.0.0.1",
            "--prometheus-password-file",
            &password,
        ],
    );
    let said = refused.finish();
    assert!(
        said.stderr.contains("chmod 600") || said.stdout.contains("chmod 600"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    set_mode("600");
    let scraped = Scraped::start(&[
        "--prometheus-tls",
        "--cert",
        &certificate,
        "--pkey",
        &key,
        "--prometheus-user=scraper",
        "--prometheus-password-file",
        &password,
    ]);
    let over_tls = |head: &str| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "turn.example.org".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        converse(
            rustls::StreamOwned::new(session, std::net::TcpStream::connect(scraped.metrics).unwrap()),
            head,
        )
    };
    let head = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: turn\r\n{more}");
    let refused = over_tls(&head("/metrics", ""));
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: basic realm="), "{}", refused.head);
    assert_eq!(over_tls(&head("/capacity", "")).status, 401);
    assert_eq!(over_tls(&head("/metrics", "Authorization: Basic c2NyYXBlcjp3cm9uZw==\r\n")).status, 401);
    // scraper:open sesame
    let page = over_tls(&head("/metrics", "Authorization: Basic c2NyYXBlcjpvcGVuIHNlc2FtZQ==\r\n"));
    assert_eq!(page.status, 200);
    assert!(page.sample("turnpike_certificate_expiry_timestamp_seconds") > Some(1e9), "{}", page.body);
    for path in ["/", "/livez", "/readyz"] {
        assert_eq!(over_tls(&head(path, "")).status, 200, "{path}");
    }
    assert!(!scraped.server.program.so_far().contains("sesame"));
}

#[test]
fn a_port_that_is_taken_is_said_with_who_has_it_and_what_to_do() {
    let ip = loopback_address();
    let holder = std::net::TcpListener::bind((ip, 0)).unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let ip = ip.to_string();
    let ended = Program::start(
        TURNSERVER,
        &[
            "-n",
            "--no-auth",
            "-L",
            &ip,
            "--prometheus",
            "--prometheus-address",
            &ip,
            "--prometheus-port",
            &port,
        ],
    )
    .finish();
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_ne!(ended.code, Some(0));
    assert!(said.contains(&format!("cannot listen on TCP {ip}:{port}: process ")), "{said}");
    assert!(said.contains("prometheus-port"), "{said}");
}

/// Names with labels of all series, without their values.
fn names(body: &str) -> BTreeSet<String> {
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

/// Of coturn 4.17.
const COTURNS: &[&str] = &[
    "stun_binding_request",
    "stun_binding_response",
    "stun_binding_error",
    "turn_unauthenticated_401_requests",
    "turn_unauthenticated_401_responses",
    "turn_unauthenticated_401_dropped_responses",
    "turn_ratelimit_hash_collisions",
    "turn_ratelimit_occupied_buckets",
    "turn_ratelimit_total_buckets",
    "turn_traffic_rcvp",
    "turn_traffic_rcvb",
    "turn_traffic_sentp",
    "turn_traffic_sentb",
    "turn_traffic_peer_rcvp",
    "turn_traffic_peer_rcvb",
    "turn_traffic_peer_sentp",
    "turn_traffic_peer_sentb",
    "turn_total_traffic_rcvp",
    "turn_total_traffic_rcvb",
    "turn_total_traffic_sentp",
    "turn_total_traffic_sentb",
    "turn_total_traffic_peer_rcvp",
    "turn_total_traffic_peer_rcvb",
    "turn_total_traffic_peer_sentp",
    "turn_total_traffic_peer_sentb",
    "turn_total_allocations",
    "turn_packet_processed",
    "turn_packet_dropped",
    "turn_udp_recvmmsg_calls",
    "turn_udp_recvmmsg_packets",
    "turn_udp_sendmmsg_flushes",
    "turn_udp_sendmmsg_datagrams",
    "turn_udp_sendmmsg_gso_datagrams",
];
