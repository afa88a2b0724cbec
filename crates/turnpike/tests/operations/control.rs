//! The control socket and the verbs of `turnpike` that speak with it.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::call::Call;
use crate::client::{TurnClient, allocate_by_hand};
use crate::controlled::Controlled;
use crate::harness::{Directory, OnTerminal, PATIENCE, Program, Server, TURNPIKE, loopback_address, run};

#[test]
fn sessions_are_listed_with_live_counters_and_found_by_what_is_known_of_them() {
    let control = Controlled::start(&["--user", "other:pass"]);
    let address = control.server.address;
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = peer.local_addr().unwrap();
    let mut hello = TurnClient::hello(address);
    let relayed = hello.allocate().relayed;
    hello.bind(0x4001, to).unwrap();
    let mut other = TurnClient::new(address, "other", "pass");
    other.allocate();
    for (client_bytes, packets) in [(100, 1), (250, 2)] {
        hello.send_on(0x4001, &vec![7; client_bytes - 100 * (packets - 1)]);
        let mut buffer = [0; 2000];
        peer.recv_from(&mut buffer).unwrap();
        let listed = control.json(&["sessions", "--user", "hello", "--peers"]);
        let session = &listed["sessions"][0];
        assert_eq!((listed["total"].as_u64(), &session["user"]), (Some(1), &json!("hello")), "{listed:#}");
        assert_eq!(session["realm"], json!("example.org"));
        assert_eq!(session["client"], json!(hello.address().to_string()));
        assert_eq!(session["server"], json!(address.to_string()));
        assert_eq!(session["relayed"], json!([relayed.to_string()]));
        assert_eq!((&session["transport"], &session["peerTransport"]), (&json!("UDP"), &json!("UDP")));
        assert_eq!(session["peers"], json!([to.to_string()]));
        assert_eq!(
            (&session["clientBytes"], &session["clientPackets"]),
            (&json!(client_bytes), &json!(packets))
        );
        assert!(session["expiresIn"].as_u64().is_some_and(|left| (500..=600).contains(&left)), "{session}");
    }
    let total =
        |filter: &[&str]| control.json(&[&["sessions"][..], filter].concat())["total"].as_u64().unwrap();
    assert_eq!(total(&[]), 2);
    assert_eq!(total(&["--user-prefix", "o"]), 1);
    assert_eq!(total(&["--realm", "example.org"]), 2);
    assert_eq!(total(&["--realm", "elsewhere"]), 0);
    assert_eq!(total(&["--transport", "udp"]), 2);
    assert_eq!(total(&["--transport", "tls"]), 0);
    assert_eq!(
        total(&["--address", &to.ip().to_string(), "--user", "other"]),
        1,
        "it is the client's as well"
    );
    let table = control.told(&["sessions", "--sort", "user"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("SESSION") && lines[0].ends_with("PATH"), "{table}");
    assert!(lines[1].contains("hello@example.org") && lines[2].contains("other@example.org"), "{table}");
    assert_eq!(lines[3], "2 sessions");
    let limited = control.told(&["sessions", "--limit", "1"]);
    assert!(
        limited.contains("hello@") && limited.ends_with("1 of 2 sessions\n"),
        "the busiest first: {limited}"
    );
    for (filter, why) in [(["--address", "x"], "no IP address"), (["--transport", "sctp"], "none of udp")] {
        let refused = control.turnpike(&[&["sessions"][..], &filter].concat());
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}

#[test]
fn sessions_are_ended_by_name_and_by_user_and_the_log_says_by_whom() {
    let mut control = Controlled::start(&["--user", "other:pass"]);
    let address = control.server.address;
    let mut clients: Vec<TurnClient> = (0..3).map(|_| TurnClient::hello(address)).collect();
    clients.push(TurnClient::new(address, "other", "pass"));
    for client in &mut clients {
        client.allocate();
    }
    let name = |client: &TurnClient| {
        let listed = control.json(&["sessions"]);
        let own = json!(client.address().to_string());
        let found =
            listed["sessions"].as_array().unwrap().iter().find(|session| session["client"] == own).cloned();
        found.map(|session| session["id"].as_str().unwrap().to_owned())
    };
    let first = name(&clients[0]).unwrap();
    assert_eq!(control.told(&["kill", &first]), "1 session ended\n");
    assert_eq!(name(&clients[0]), None);
    assert!(clients[0].refresh(None).unwrap_err().to_string().starts_with("error 437"));
    let again = control.turnpike(&["kill", &first]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), "0 sessions ended\n"));
    assert_eq!(control.json(&["kill", "--user", "hello"])["ended"], json!(2));
    assert_eq!(control.json(&["sessions"])["total"], json!(1), "the other user's goes on");
    clients[3].refresh(None).unwrap();
    let nobody = control.turnpike(&["kill"]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("say whose"), "{}", nobody.stderr);
    control.server.expect("reason: Forceful shutdown by an operator");
    let line = control.server.expect("2 session(s) ended (control, user ");
    assert!(line.contains("user <hello>"), "{line}");
}

#[test]
fn ten_thousand_sessions_are_listed_while_a_call_goes_on_and_a_reader_that_does_not_read_is_cut_off() {
    let control = Controlled::start_as(&["--no-auth", "--allow-loopback-peers"]);
    let address = control.server.address;
    let clients = loopback_address();
    for number in 0..SESSIONS {
        let socket = UdpSocket::bind((clients, 20_000 + number)).unwrap();
        socket.connect(address).unwrap();
        assert_eq!(allocate_by_hand(&socket, None).error, None, "session {number}");
    }
    let call = Call::of(TurnClient::stranger(address));
    // It asks for page after page and reads none.
    let mut deaf = control.connect();
    for _ in 0..40 {
        deaf.say("{\"version\":1,\"verb\":\"sessions\",\"peers\":true}\n");
    }
    for _ in 0..2 {
        let listed = control.json(&["sessions"]);
        assert_eq!(listed["total"].as_u64(), Some(u64::from(SESSIONS) + 1));
        let mut ids: Vec<&str> = listed["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|session| session["id"].as_str())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), usize::from(SESSIONS) + 1, "each once");
    }
    let one = control.json(&["sessions", "--address", &call_peer(&call)]);
    assert!(one["total"].as_u64().is_some_and(|total| total >= 1));
    let top = control.told(&["top", "--once", "--interval", "0.3", "--rows", "5"]);
    assert!(top.contains("10,001"), "{top}");
    // It is waited for longer than the server waits for it.
    std::thread::sleep(Duration::from_secs(7));
    let heard = std::iter::from_fn(|| deaf.hear()).count();
    assert!(heard < 40, "it was cut off, after {heard} answers that had found room");
    call.goes_on(10);
    call.hang_up().assert_lossless(20);
    assert_eq!(
        control.json(&["kill", "--realm", "example.org"])["ended"].as_u64(),
        Some(u64::from(SESSIONS))
    );
    assert_eq!(control.json(&["status"])["allocations"], json!(0));
}

fn call_peer(call: &Call) -> String {
    call.relayed.ip().to_string()
}

#[test]
fn top_shows_rates_and_the_busiest_session() {
    let control = Controlled::start(&[]);
    let mut idle = TurnClient::hello(control.server.address);
    idle.allocate();
    let call = Call::begin(control.server.address);
    let picture = control.told(&["top", "--once", "--interval", "1"]);
    assert!(picture.contains("sessions") && picture.contains("Serving"), "{picture}");
    let rate =
        |label: &str| picture.lines().find(|line| line.trim_start().starts_with(label)).unwrap().to_owned();
    // Fifty packets of 160 bytes a second each way: 64 kbit/s, give or take what a busy machine does to a second.
    for label in ["to peers", "to clients"] {
        let line = rate(label);
        assert!(
            line.contains("kbit/s") && !line.contains(" 0 kbit/s") && !line.contains(" 0 packets/s"),
            "{line}"
        );
    }
    let rows: Vec<&str> = picture.lines().skip_while(|line| !line.starts_with("SESSION")).skip(1).collect();
    assert_eq!(rows.len(), 2, "{picture}");
    assert!(rows[1].contains(&idle.address().to_string()), "the idle one is last: {picture}");
    call.hang_up().assert_lossless(10);
}

#[test]
fn top_gives_the_terminal_back_as_it_was() {
    let control = Controlled::start(&[]);
    for ends in ["INT", "TERM"] {
        let mut top = OnTerminal::start(TURNPIKE, &["top", "--control-socket", &control.socket], &[]);
        top.read_until("to clients");
        assert!(top.output.contains("\u{1b}[?1049h") && top.output.contains("\u{1b}[?25l"), "{}", top.output);
        top.signal(ends);
        top.read_until("\u{1b}[?1049l");
        assert!(top.output.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{ends}: {:?}", top.output);
        assert_eq!(top.finish(), Some(0), "{ends}");
    }
}

#[test]
fn what_is_logged_can_be_changed_while_it_runs() {
    let mut control = Controlled::start(&["--log-min-level=info"]);
    assert_eq!(control.told(&["log-level"]), "info\n");
    assert_eq!(control.told(&["log-level", "error"]), "error (was info)\n");
    control.server.expect("log-min-level is error now (control, user ");
    TurnClient::hello(control.server.address).allocate();
    // Reports are written in order, so that this one would come behind what must not come.
    assert_eq!(control.told(&["log-level", "debug"]), "debug (was error)\n");
    control.server.expect("log-min-level is debug now");
    let mut second = TurnClient::hello(control.server.address);
    second.allocate();
    control.server.expect("session 000000000000000002: new");
    assert!(!control.server.program.so_far().contains("session 000000000000000001: new"));
    let wrong = control.turnpike(&["log-level", "loud"]);
    assert_eq!(wrong.code, Some(2));
    assert_eq!(control.json(&["status"])["logLevel"], json!("debug"));
}

#[test]
fn status_tells_what_it_is_and_reload_asks_for_it() {
    let mut control = Controlled::start(&[]);
    let mut client = TurnClient::hello(control.server.address);
    client.allocate();
    let status = control.json(&["status"]);
    assert_eq!((&status["stage"], &status["allocations"]), (&json!("serving"), &json!(1)), "{status:#}");
    assert_eq!(status["process"].as_u64(), Some(control.server.program.id().into()));
    assert_eq!(status["listening"], json!([control.server.address.to_string()]));
    assert_eq!(status["drain"], Value::Null);
    let text = control.told(&["status"]);
    assert!(text.starts_with("Turnpike ") && text.contains("serving"), "{text}");
    let said = control.told(&["reload", "--dry-run"]);
    assert!(said.contains("no option is different"), "{said}");
    let said = control.told(&["reload"]);
    assert!(said.contains("no option is different"), "{said}");
    control.server.expect("Reload (control, user ");
}

#[test]
fn an_upgrade_by_turnpike_takes_the_socket_along_and_loses_no_packet() {
    let control = Controlled::start(&[]);
    let call = Call::begin(control.server.address);
    control.told(&["upgrade"]);
    let deadline = Instant::now() + PATIENCE;
    let has_moved = || {
        let finished = control.turnpike(&["status", "--json"]);
        let status = serde_json::from_str::<Value>(&finished.stdout).unwrap_or_default();
        status["process"].as_u64().is_some_and(|process| process != u64::from(control.server.program.id()))
    };
    while !has_moved() {
        assert!(Instant::now() < deadline, "the new process takes the socket");
        std::thread::sleep(Duration::from_millis(50));
    }
    call.goes_on(25);
    call.hang_up().assert_lossless(25);
    control.told(&["drain", "--wait"]);
}

#[test]
fn the_socket_is_its_owners_and_others_are_refused_even_if_they_can_open_it() {
    let mut control = Controlled::start(&[]);
    let found = std::fs::symlink_metadata(&control.socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    if !is_root() {
        println!("skipped: another user can be had by root alone");
        return;
    }
    std::fs::set_permissions(&control.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(control.directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // Where others may not run the program, they may run one that says the same.
    let question = format!(
        "printf '{{\"version\":1,\"verb\":\"status\"}}\\n' | socat -t5 - UNIX-CONNECT:{}",
        control.socket
    );
    let others = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let by_tool = [&others[..], &[TURNPIKE, "status", "--control-socket", &control.socket]].concat();
    let mut finished = run("setpriv", &by_tool);
    if finished.stderr.contains("failed to execute") {
        finished = run("setpriv", &[&others[..], &["sh", "-c", &question]].concat());
    }
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(said.contains("only root and user 0"), "{said}");
    control.server.expect("WARNING Control socket: user 65534 was refused");
}

#[test]
fn what_is_no_question_gets_a_clear_answer_and_harms_nobody() {
    let control = Controlled::start(&[]);
    let mut raw = control.connect();
    for (question, code) in [
        ("hello", "bad_request"),
        ("[]", "bad_request"),
        ("{\"verb\":\"status\"}", "bad_request"),
        ("{\"version\":2,\"verb\":\"status\"}", "version"),
        ("{\"version\":1}", "unknown_verb"),
        ("{\"version\":1,\"verb\":\"reboot\"}", "unknown_verb"),
        ("{\"version\":1,\"verb\":\"kill\"}", "bad_request"),
        ("{\"version\":1,\"verb\":\"kill\",\"peers\":true}", "bad_request"),
        ("{\"version\":1,\"verb\":\"kill\",\"user\":7}", "bad_request"),
        ("{\"version\":1,\"verb\":\"kill\",\"session\":\"12x\"}", "bad_request"),
        ("{\"version\":1,\"verb\":\"sessions\",\"from\":\"9\"}", "bad_request"),
        ("{\"version\":1,\"verb\":\"drain\",\"timeout\":-1}", "bad_request"),
        ("{\"version\":1,\"verb\":\"log-level\",\"level\":\"loud\"}", "bad_request"),
    ] {
        assert_eq!(raw.refusal(question), code, "{question}");
    }
    // Fields of a later version, and a page where no worker is.
    raw.say("{\"version\":1,\"verb\":\"sessions\",\"colour\":\"red\",\"from\":\"99:0\"}\n");
    assert_eq!(raw.hear().unwrap()["answer"], json!({ "sessions": [], "next": null }));
    assert_eq!(raw.refusal(&" ".repeat(5000)), "too_long");
    assert!(raw.hear().is_none(), "closed");
    // Two questions at once get two answers.
    let mut both = control.connect();
    both.say("{\"version\":1,\"verb\":\"status\"}\n{\"version\":1,\"verb\":\"log-level\"}\n");
    assert!(
        both.hear().unwrap()["answer"]["stage"].is_string()
            && both.hear().unwrap()["answer"]["level"].is_string()
    );
    let mut guests: Vec<_> = (0..31).map(|_| control.connect()).collect();
    let mut refused = control.connect();
    assert_eq!(refused.hear().unwrap()["error"]["code"], json!("too_many"));
    drop((guests.pop(), both));
    let deadline = Instant::now() + PATIENCE;
    // A place is free once the server has seen that they are gone.
    while control.turnpike(&["status"]).code != Some(0) {
        assert!(Instant::now() < deadline, "no place becomes free");
    }
}

#[test]
fn a_socket_that_was_left_is_replaced_and_that_of_a_running_server_is_not() {
    let first = Controlled::start(&[]);
    let option = format!("--control-socket={}", first.socket);
    let start = |option: &str| {
        let address = SocketAddr::new(loopback_address(), 3478);
        Server::start_at(address, &["--user", "hello:world", option])
    };
    let second = start(&option);
    let process = |socket: &str| {
        let finished = run(TURNPIKE, &["status", "--control-socket", socket, "--json"]);
        serde_json::from_str::<Value>(&finished.stdout)
            .map_or(0, |status| status["process"].as_u64().unwrap())
    };
    assert!(second.program.so_far().contains("is another running server's"), "{}", second.program.so_far());
    assert_eq!(process(&first.socket), u64::from(first.server.program.id()));
    // Killed, it leaves its socket; the other one takes its place.
    first.server.program.signal("KILL");
    let deadline = Instant::now() + PATIENCE;
    while process(&first.socket) != u64::from(second.program.id()) {
        assert!(Instant::now() < deadline, "the second server takes the socket");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(second.program.stop("TERM").code, Some(0));
    assert!(!std::path::Path::new(&first.socket).exists(), "and takes it away at its end");
    let in_the_way = first.directory.write("file", "not a socket");
    let mut third = start(&format!("--control-socket={in_the_way}"));
    assert!(third.program.so_far().contains("there is something that is no socket"));
    assert_eq!(std::fs::read_to_string(&in_the_way).unwrap(), "not a socket");
    TurnClient::hello(third.address).allocate();
    third.program.signal("HUP");
    third.expect("SIGHUP");
}

#[test]
fn without_a_server_it_is_said_where_one_was_looked_for() {
    let directory = Directory::new();
    let nowhere = directory.file("none.sock");
    let named = run(TURNPIKE, &["status", "--control-socket", &nowhere]);
    assert_eq!(named.code, Some(1));
    assert!(
        named.stderr.contains(&nowhere) && named.stderr.contains("no running server"),
        "{}",
        named.stderr
    );
    let variables = [("TURNPIKE_CONTROL_SOCKET", nowhere.as_str())];
    let by_variable = Program::start_in(TURNPIKE, &["sessions"], directory.path(), &variables).finish();
    assert!(by_variable.stderr.contains(&nowhere), "{}", by_variable.stderr);
}

#[test]
fn a_server_puts_its_socket_into_the_directory_its_unit_gives_it_and_up_into_its_own() {
    let directory = Directory::new();
    let ip = loopback_address().to_string();
    let arguments = ["-n", "-m", "1", "--user=hello:world", "--realm=example.org", "-L", &ip];
    let run_time = directory.path().to_str().unwrap();
    let variables = [("RUNTIME_DIRECTORY", run_time)];
    let mut server = Program::start_in(crate::harness::TURNSERVER, &arguments, directory.path(), &variables);
    server.expect(&format!("Control socket: {}", directory.file("control.sock")));
    server.expect("Total auth threads:");
    let status = run(TURNPIKE, &["status", "--json", "--control-socket", &directory.file("control.sock")]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    let state = directory.file("state");
    let ip = loopback_address().to_string();
    let mut up = Program::start(TURNPIKE, &["up", "--listening-ip", &ip, "--state-dir", &state]);
    up.expect("Ctrl-C");
    let socket = format!("{state}/control.sock");
    let status = run(TURNPIKE, &["status", "--control-socket", &socket]);
    assert_eq!(status.code, Some(0), "{}", status.stderr);
    assert_eq!(up.stop("INT").code, Some(0));
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

const SESSIONS: u16 = 10_000;
