//! `turnpike load` against the server: what it measures, what it writes, and how it says what is wrong.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::harness::{
    Directory, Finished, OnTerminal, Program, Server, TURNPIKE, free_ports, loopback_address, run,
};
use crate::streams::write_certificate;

/// Runs it as the user every server knows; `flags` are separated by blanks.
fn load(uri: &str, flags: &str) -> Finished {
    let mut arguments = vec!["load", uri, "--user", "hello", "--password", "world"];
    arguments.extend(flags.split_ascii_whitespace());
    run(TURNPIKE, &arguments)
}

fn turn(address: SocketAddr) -> String {
    format!("turn:{address}")
}

/// The JSON written by a run that ended well.
fn results(directory: &Directory, finished: &Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    read_json(directory, "run.json")
}

fn read_json(directory: &Directory, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(directory.file(name)).unwrap()).unwrap()
}

/// That everything was sent, relayed and measured both ways.
fn assert_lossless(result: &Value, series: &[&str]) {
    assert_eq!(result["schema"], "turnpike-load/1");
    let found = result["series"].as_array().unwrap();
    let names: Vec<&str> = found.iter().map(|series| series["name"].as_str().unwrap()).collect();
    assert_eq!(names, series);
    for series in found {
        assert!(series["sent"].as_u64().unwrap() > 0, "{series}");
        assert_eq!(series["lost"], 0, "{series}");
        assert_eq!(series["received"], series["sent"], "{series}");
        assert_eq!(series["duplicated"], 0, "{series}");
        let latency = &series["latency"];
        let at = |name: &str| latency[name].as_f64().unwrap();
        assert!(at("min") > 0.0 && at("min") <= at("p50"), "{latency}");
        assert!(at("p50") <= at("p99") && at("p99") <= at("p999") && at("p999") <= at("max"), "{latency}");
        let counted: u64 =
            series["histogram"].as_array().unwrap().iter().map(|place| place[2].as_u64().unwrap()).sum();
        assert_eq!(counted, series["received"].as_u64().unwrap());
    }
}

const BOTH_WAYS: [&str; 2] = ["client to peer", "peer to client"];

#[test]
fn a_short_run_over_udp_loses_nothing_and_says_so_in_words_json_and_html() {
    let server = Server::start(&[]);
    let directory = Directory::new();
    let (json, html) = (directory.file("run.json"), directory.file("run.html"));
    let flags = format!("--calls 4 --duration 1s --json {json} --html {html}");
    let finished = load(&turn(server.address), &flags);
    let result = results(&directory, &finished);
    assert_lossless(&result, &BOTH_WAYS);
    // Four calls of 50 packets a second, for a second.
    let sent = result["series"][0]["sent"].as_u64().unwrap();
    assert!((180..=220).contains(&sent), "{sent}");
    assert_eq!(result["setUp"]["established"], 4);
    assert_eq!(result["target"]["locality"], "loopback");
    assert_eq!(result["server"]["process"], server.program.id());
    assert!(result["overTime"].as_array().unwrap().len() >= 10);
    for part in
        ["4 calls were carried without loss.", "loopback: says nothing about a network", "latency p99"]
    {
        assert!(finished.stdout.contains(part), "{part} in:\n{}", finished.stdout);
    }
    assert!(finished.stdout.lines().all(|line| line.chars().count() <= 120 && !line.contains('\u{1b}')));
    // Nobody looks: a line now and then instead of a moving picture.
    assert!(
        finished.stderr.contains("measuring") && !finished.stderr.contains('\u{1b}'),
        "{}",
        finished.stderr
    );
    let page = std::fs::read_to_string(html).unwrap();
    assert_is_whole_page(&page);
    for part in
        ["4 calls were carried without loss.", "loopback: says nothing about a network", "<svg", "p99.9"]
    {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn tcp_and_tls_carry_the_same_load() {
    let certificates = Directory::new();
    let server = secure_server(&certificates, None);
    let cert = certificates.file("cert.pem");
    let directory = Directory::new();
    let flags = format!("--calls 3 --duration 1s --json {}", directory.file("run.json"));
    let authority = format!(" --ca-file {cert}");
    for (uri, more) in [
        (format!("turn:{}?transport=tcp", server.address), ""),
        (format!("turns:{}:5349", server.address.ip()), &authority),
        (format!("turns:{}:5349", server.address.ip()), " --insecure"),
    ] {
        let finished = load(&uri, &(flags.clone() + more));
        let result = results(&directory, &finished);
        assert_lossless(&result, &BOTH_WAYS);
        assert_eq!(result["target"]["uri"], uri.as_str());
    }
}

#[test]
fn a_certificate_that_nobody_vouches_for_or_for_another_name_is_refused() {
    let (own, strange) = (Directory::new(), Directory::new());
    write_certificate(&strange, "elsewhere.example");
    let refused = |server: &Server, ca: &str, said: &str| {
        let uri = format!("turns:{}:5349", server.address.ip());
        let finished = load(&uri, &format!("--calls 1 --duration 1s {ca}"));
        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
        assert!(finished.stderr.contains("--insecure"), "{}", finished.stderr);
    };
    let server = secure_server(&own, None);
    // Neither those of another file nor the system's know it.
    refused(&server, &format!("--ca-file {}", strange.file("cert.pem")), "invalid peer certificate");
    refused(&server, "", "UnknownIssuer");
    let elsewhere = secure_server(&own, Some("elsewhere.example"));
    refused(&elsewhere, &format!("--ca-file {}", own.file("cert.pem")), "not valid for name");
}

/// A server by TLS, its certificate in this directory: for its own address, or for another name.
fn secure_server(directory: &Directory, name: Option<&str>) -> Server {
    let address = SocketAddr::new(loopback_address(), 3478);
    let ip = address.ip().to_string();
    write_certificate(directory, name.unwrap_or(&ip));
    let (cert, key) = (directory.file("cert.pem"), directory.file("key.pem"));
    let user = ["--user", "hello:world", "--allow-loopback-peers", "-v"];
    Server::start_at(address, &[&user[..], &["--cert", &cert, "--pkey", &key]].concat())
}

#[test]
fn video_mixed_churn_and_binding_load_what_they_are_named_for() {
    let server = Server::start(&[]);
    let directory = Directory::new();
    let profile = |flags: &str| {
        let flags = format!("--duration 1s --json {} {flags}", directory.file("run.json"));
        results(&directory, &load(&turn(server.address), &flags))
    };
    let video = profile("--profile video --calls 1");
    assert_lossless(&video, &BOTH_WAYS);
    assert_eq!(video["profile"]["streams"][0]["payloadBytes"], 1200);
    let mixed = profile("--profile mixed --calls 1");
    assert_lossless(&mixed, &BOTH_WAYS);
    assert_eq!(mixed["profile"]["streams"].as_array().unwrap().len(), 2);
    let churn = profile("--profile churn --rate 20");
    assert_lossless(&churn, &["allocate", "channel bind", "refresh", "delete"]);
    let binding = profile("--profile binding --rate 200 --clients 4");
    assert_lossless(&binding, &["binding"]);
    assert_eq!(binding["profile"]["unit"], "requests/s");
}

#[test]
fn payload_and_rate_can_be_chosen() {
    let server = Server::start(&[]);
    let directory = Directory::new();
    let flags =
        format!("--calls 1 --duration 1s --payload 24 --rate 100 --json {}", directory.file("run.json"));
    let result = results(&directory, &load(&turn(server.address), &flags));
    assert_lossless(&result, &BOTH_WAYS);
    assert_eq!(result["profile"]["streams"][0]["payloadBytes"], 24);
    let sent = result["series"][1]["sent"].as_u64().unwrap();
    assert!((90..=110).contains(&sent), "{sent}");
}

#[test]
fn a_server_that_drops_is_found_out_and_ends_in_status_2() {
    // A call of voice is 8,000 bytes a second each way.
    let server = Server::start(&["--max-bps", "2000"]);
    let directory = Directory::new();
    let json = directory.file("run.json");
    let finished = load(&turn(server.address), &format!("--calls 1 --duration 2s --json {json}"));
    assert_eq!(finished.code, Some(2), "{}{}", finished.stdout, finished.stderr);
    let result = read_json(&directory, "run.json");
    assert!(result["measured"]["worstLoss"].as_f64().unwrap() > 0.3, "{}", result["series"]);
    assert!(finished.stdout.contains("1 call was carried with"), "{}", finished.stdout);
    let forgiving = load(&turn(server.address), "--calls 1 --duration 1s --max-loss 100");
    assert_eq!(forgiving.code, Some(0), "{}", forgiving.stdout);
}

#[test]
fn the_search_for_the_knee_reports_each_step() {
    let server = Server::start(&["--user-quota", "3"]);
    let directory = Directory::new();
    let json = directory.file("run.json");
    let finished = load(&turn(server.address), &format!("--ramp --calls 8 --step 1s --json {json}"));
    let result = results(&directory, &finished);
    assert_eq!(result["plan"]["kind"], "ramp");
    // Whoever may have three allocations carries three calls; fewer where others keep the machine from answering in time.
    assert!(result["knee"]["carried"].as_u64().unwrap() <= 3, "{}", result["knee"]);
    let steps = result["steps"].as_array().unwrap();
    assert!(steps.len() >= 3);
    for step in steps.iter().filter(|step| step["level"].as_u64().unwrap() > 3) {
        assert!(step["refusedCalls"].as_u64().unwrap() > 0 && !step["limit"].is_null(), "{step}");
    }
    let why = result["setUp"]["failures"][0]["why"].as_str().unwrap();
    assert!(why.contains("486"), "{why}");
    assert!(finished.stdout.contains("The knee: "), "{}", finished.stdout);
}

#[test]
fn ipv6_works_end_to_end() {
    let six = "::1".parse().unwrap();
    let address = SocketAddr::new(six, free_ports(six, 1));
    let arguments = ["--user", "hello:world", "--allow-loopback-peers", "--relay-ip=::1"];
    let _server = Server::start_at(address, &arguments);
    let directory = Directory::new();
    let flags = format!("--calls 2 --duration 1s --json {}", directory.file("run.json"));
    let result = results(&directory, &load(&turn(address), &flags));
    assert_lossless(&result, &BOTH_WAYS);
    assert_eq!(result["target"]["address"], address.to_string());
}

#[test]
fn a_secret_mints_the_credential() {
    let address = SocketAddr::new(loopback_address(), 3478);
    let arguments = ["--use-auth-secret", "--static-auth-secret=north", "--allow-loopback-peers"];
    let _server = Server::start_at(address, &arguments);
    let directory = Directory::new();
    let file = directory.write("secret", "north\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    for secret in [["--secret", "north"], ["--secret-file", &file]] {
        let mut words = vec!["load", "--calls", "1", "--duration", "1s"];
        let uri = turn(address);
        words.extend(secret);
        words.push(&uri);
        let finished = run(TURNPIKE, &words);
        assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    }
}

#[test]
fn whatever_keeps_a_load_from_working_is_said_before_it_begins() {
    let server = Server::start(&[]);
    let closed = Server::start_at(SocketAddr::new(loopback_address(), 3478), &["--user", "hello:world"]);
    let nobody = SocketAddr::new(loopback_address(), 3478);
    let quick = ["--calls", "1", "--duration", "1s"];
    let known = ["--user", "hello", "--password", "world"];
    let expected: [(String, &[&str], &str); 10] = [
        (turn(server.address), &["--user", "hello", "--password", "no"], "does not accept the credentials"),
        (turn(server.address), &[], "asks for credentials (realm example.org): give --user and --password"),
        (turn(closed.address), &known, "--allow-loopback-peers"),
        (turn(nobody), &known, "nobody listens at"),
        (format!("turn:{nobody}?transport=tcp"), &known, "nobody listens at"),
        ("turn:192.0.2.1".to_owned(), &[], "loading it takes credentials"),
        ("turn:192.0.2.1".to_owned(), &["--profile", "binding"], "loading it takes credentials"),
        ("turn:127.0.0.1:nonsense".to_owned(), &known, "try turn:HOST"),
        (turn(server.address), &["--user", "hello"], "--user without a password"),
        (turn(server.address), &["--password", "world"], "add --user"),
    ];
    for (uri, arguments, said) in &expected {
        let mut words = vec!["load", uri.as_str()];
        words.extend(arguments.iter().copied());
        words.extend(quick.iter().filter(|_| !arguments.contains(&"binding")));
        // The secret of a `turnpike up` of whoever runs the tests is not to be found.
        let nowhere = Directory::new();
        let home = nowhere.file("state");
        let program = Program::start_in(TURNPIKE, &words, nowhere.path(), &[("XDG_STATE_HOME", &home)]);
        let finished = program.finish();
        assert_eq!(finished.code, Some(1), "{uri} {arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(said), "{said} in: {}", finished.stderr);
    }
}

#[test]
fn options_that_do_not_fit_are_refused_with_those_that_do() {
    let uri = "turn:127.0.0.1";
    for (flags, code, said) in [
        ("--profile binding --calls 5", 1, "takes --rate, in requests/s"),
        ("--profile churn --payload 100", 1, "--payload is for profiles that carry media"),
        ("--profile mixed --rate 10", 1, "use --profile audio or video"),
        ("--payload 5", 1, "24 to 1400 bytes"),
        ("--step 2s", 1, "--step is for --ramp"),
        ("--duration 4w", 1, "is no unit of time"),
        ("--duration 2d", 1, "is too long"),
        ("--json /nonexistent/run.json", 1, "cannot write /nonexistent/run.json"),
        ("--peer-address 192.0.2.1", 1, "192.0.2.1 is no address of this machine"),
        ("--threads 9999", 1, "cores"),
        ("--insecure", 1, "--ca-file and --insecure are for TLS"),
        ("--transport tls --ca-file /nonexistent/ca.pem", 1, "--ca-file: /nonexistent/ca.pem cannot be read"),
        ("--transport tls --ca-file x --insecure", 2, "cannot be used with"),
        ("--profile fax", 2, "audio, video, mixed, churn, binding"),
        ("--max-loss 101", 2, "a percentage, 0 to 100"),
        ("--calls 0", 2, "1..=50000"),
        ("--peer-address nowhere", 2, "invalid"),
    ] {
        let finished = load(uri, flags);
        assert_eq!(finished.code, Some(code), "{flags}: {}", finished.stderr);
        assert!(finished.stderr.contains(said), "{flags}: {}", finished.stderr);
    }
}

#[test]
fn two_results_are_compared_and_a_worse_one_ends_in_status_2() {
    let (server, slow) = (Server::start(&[]), Server::start(&["--max-bps", "2000"]));
    let directory = Directory::new();
    let (old, new) = (directory.file("old.json"), directory.file("new.json"));
    load(&turn(server.address), &format!("--calls 1 --duration 1s --json {old}"));
    load(&turn(slow.address), &format!("--calls 1 --duration 2s --json {new}"));
    let compared = run(TURNPIKE, &["load", "compare", &old, &new]);
    assert_eq!(compared.code, Some(2), "{}{}", compared.stdout, compared.stderr);
    let worse =
        compared.stdout.lines().any(|line| line.contains("client to peer: lost") && line.contains("WORSE"));
    assert!(worse, "{}", compared.stdout);
    let same = run(TURNPIKE, &["load", "compare", &old, &old]);
    assert_eq!(same.code, Some(0), "{}", same.stdout);
    assert!(same.stdout.contains("No difference beyond noise."), "{}", same.stdout);
    let foreign = directory.write("foreign.json", "{\"schema\": \"other/9\"}");
    let refused = run(TURNPIKE, &["load", "compare", &old, &foreign]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("of schema other/9"), "{}", refused.stderr);
}

#[test]
fn on_a_terminal_there_is_a_moving_picture_and_no_trace_of_it_remains() {
    let server = Server::start(&[]);
    let uri = turn(server.address);
    let words = ["load", &uri, "--user", "hello", "--password", "world", "--calls", "2", "--duration", "1s"];
    let mut terminal = OnTerminal::start(TURNPIKE, &words, &[]);
    terminal.read_until("carried without loss");
    for part in ["audio over UDP", "of 2 calls", "packets", "loss", "p99", "█", "\u{1b}[J", "\u{1b}[36m"] {
        assert!(terminal.output.contains(part), "{part} in:\n{}", terminal.output);
    }
    assert_eq!(terminal.finish(), Some(0));
}

#[test]
fn an_interrupted_run_gives_the_results_it_has_and_its_allocations_back() {
    let mut server = Server::start(&[]);
    let uri = turn(server.address);
    let words = ["load", &uri, "--user", "hello", "--password", "world", "--calls", "2", "--duration", "5m"];
    let mut program = Program::start(TURNPIKE, &words);
    program.expect("measuring");
    program.signal("INT");
    let finished = program.finish();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains("The run was interrupted"), "{}", finished.stdout);
    // The trial call's, and two more.
    for _ in 0..3 {
        server.expect("lifetime=0");
    }
}

/// That a page's elements open and close in order, and that it asks nobody else for anything.
fn assert_is_whole_page(page: &str) {
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let (mut open, mut rest) = (Vec::new(), page.strip_prefix("<!DOCTYPE html>").unwrap());
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag that ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<'), "{tag}");
        let name = |tag: &str| tag.split_ascii_whitespace().next().unwrap().to_owned();
        match tag.strip_prefix('/') {
            Some(closing) => assert_eq!(open.pop().as_deref(), Some(closing.trim()), "of {open:?}"),
            None if tag.ends_with('/') => {}
            None => open.push(name(tag)),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && !rest.contains('>'), "{open:?}");
}
