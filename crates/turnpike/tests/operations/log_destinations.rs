//! Where the log goes besides files: syslog, the journal; and that nothing of it stops the server.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::TurnClient;
use crate::harness::{Directory, PATIENCE, Program, Server, TURNSERVER, loopback_address};

/// A daemon that takes datagrams as fast as they come: the kernel keeps ten.
struct Daemon {
    datagrams: Receiver<String>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn at(path: &str) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        let (stops, (sender, datagrams)) = (stopping.clone(), channel());
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 16_384];
            while !stops.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut bytes) {
                    let _ = sender.send(String::from_utf8_lossy(&bytes[..length]).into_owned());
                }
            }
        });
        Daemon { datagrams, stopping, thread: Some(thread) }
    }

    /// The next datagram, if one comes soon.
    fn next(&self, patience: Duration) -> Option<String> {
        self.datagrams.recv_timeout(patience).ok()
    }

    /// The next datagram that holds `wanted`.
    fn expect(&self, wanted: &str) -> String {
        loop {
            let text = self.next(PATIENCE).unwrap_or_else(|| panic!("no {wanted:?}"));
            if text.contains(wanted) {
                return text;
            }
        }
    }
}

impl Drop for Daemon {
    /// Nobody listens any more when this is over.
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Relays one packet, so that it is seen that calls go on.
fn call(client: &mut TurnClient) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let to: SocketAddr = peer.local_addr().unwrap();
    client.permit(to.ip()).unwrap();
    client.send(to, b"data");
    assert_eq!(peer.recv_from(&mut [0; 100]).unwrap().0, 4);
}

#[test]
fn syslog_gets_every_record_with_facility_severity_and_name() {
    let directory = Directory::new();
    let path = directory.file("log");
    let daemon = Daemon::at(&path);
    let server = Server::start(&["--syslog", "--syslog-facility=LOG_LOCAL3", "--syslog-socket", &path]);
    let ready = daemon.expect("Total auth threads: 1");
    // LOG_LOCAL3 is 19, and informational 6 (RFC 5424 §6.2.1).
    assert!(ready.starts_with(&format!("<{}>", 19 * 8 + 6)), "{ready}");
    assert!(ready.contains(&format!(" turnserver[{}]: 20", server.program.id())), "{ready}");
    assert!(!ready.contains('\n'), "{ready}");
    let mut stranger = TurnClient::classic(server.address, "nobody", "x");
    assert!(stranger.try_allocate(Default::default()).is_err());
    let refused = daemon.expect("check_stun_auth");
    assert!(refused.starts_with(&format!("<{}>", 19 * 8 + 4)), "{refused}");
}

#[test]
fn a_syslog_that_goes_away_and_comes_back_is_told_how_many_lines_are_missing() {
    let directory = Directory::new();
    let path = directory.file("log");
    let daemon = Daemon::at(&path);
    let mut server = Server::start(&["--syslog", "--syslog-socket", &path]);
    daemon.expect("Total auth threads: 1");
    drop(daemon);
    std::fs::remove_file(&path).unwrap();
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    call(&mut client);
    let said = server.expect("cannot write the log to syslog");
    assert!(said.contains(" ERROR ") && said.contains(&path), "{said}");
    let daemon = Daemon::at(&path);
    // It is tried again once a second, with what there is to say.
    let deadline = Instant::now() + PATIENCE;
    let first = loop {
        client.refresh(None).unwrap();
        match daemon.next(Duration::from_millis(300)) {
            Some(first) => break first,
            None => assert!(Instant::now() < deadline, "nothing comes any more"),
        }
    };
    assert!(first.contains(" WARNING ") && first.contains(" log lines were lost since "), "{first}");
}

#[test]
fn the_journal_gets_fields_where_it_reads_standard_output() {
    if !can_unshare("the_journal_gets_fields_where_it_reads_standard_output") {
        return;
    }
    let directory = Directory::new();
    std::fs::create_dir_all(directory.path().join("systemd/journal")).unwrap();
    let journal = Daemon::at(&directory.file("systemd/journal/socket"));
    let ip = loopback_address();
    // As systemd starts services: it tells the file that standard output is.
    let script = format!(
        "mount --bind {} /run && export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/$$/fd/1) && \
         exec {TURNSERVER} -n -m 1 -v -r example.org -u hello:world -L {ip} --allow-loopback-peers",
        directory.path().display()
    );
    let program = Program::start("unshare", &["-rm", "sh", "-c", &script]);
    let ready = journal.expect("Total auth threads: 1");
    assert_eq!(ready.lines().next(), Some("MESSAGE=Total auth threads: 1"));
    assert!(
        ready.contains("\nPRIORITY=6\n") && ready.contains("\nSYSLOG_IDENTIFIER=turnserver\n"),
        "{ready}"
    );
    let mut client = TurnClient::hello(SocketAddr::new(ip, 3478));
    client.allocate();
    client.refresh(Some(0)).unwrap();
    let ended = journal.expect("TURNPIKE_EVENT=session_ended");
    assert!(
        ended.starts_with("MESSAGE=session 000000000000000001: closed (2nd stage), user <hello>"),
        "{ended}"
    );
    for field in ["USER=hello", "REALM=example.org", "REASON=deleted", "CLIENT_PACKETS=0"] {
        assert!(ended.contains(&format!("\nTURNPIKE_{field}\n")), "{field}: {ended}");
    }
    let finished = program.stop("TERM");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), ""), "{}", finished.stderr);
}

#[test]
fn a_full_disk_costs_lines_alone_and_they_are_counted_when_there_is_room() {
    if !can_unshare("a_full_disk_costs_lines_alone_and_they_are_counted_when_there_is_room") {
        return;
    }
    let directory = Directory::new();
    let (ip, path) = (loopback_address(), directory.path().display());
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs {path} && exec {TURNSERVER} -n -m 1 -v -r example.org -u hello:world \
         -L {ip} --allow-loopback-peers -l {path}/turn.log --simple-log --session-record-file {path}/records"
    );
    let mut program = Program::start("unshare", &["-rm", "sh", "-c", &script]);
    program.expect("Total auth threads: 1");
    // The server's own view of the directory.
    let inside = format!("/proc/{}/root{path}", program.id());
    let mut log = File::open(format!("{inside}/turn.log")).unwrap();
    let mut records = File::open(format!("{inside}/records")).unwrap();
    let filler = format!("{inside}/filler");
    let mut filling = File::create(&filler).unwrap();
    while filling.write_all(&[0; 1024]).is_ok() {}
    drop(filling);
    let mut client = TurnClient::hello(SocketAddr::new(ip, 3478));
    client.allocate();
    // The last page of the log has room for some lines.
    for _ in 0..60 {
        client.refresh(None).unwrap();
    }
    let said = program.expect("cannot write the log to");
    assert!(said.contains("No space left on device"), "{said}");
    call(&mut client);
    client.refresh(Some(0)).unwrap();
    program.expect("Session records:");
    std::fs::remove_file(&filler).unwrap();
    program.expect("takes them again");
    let finished = program.stop("TERM");
    assert_eq!(finished.code, Some(0));
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    let told = text.lines().find(|line| line.contains(" log lines were lost since ")).expect(&text);
    let count: usize = told.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(count > 0 && told.contains("No space left on device"), "{told}");
    assert!(text.contains("takes them again") && text.contains("Terminating on signal 15"), "{text}");
    let mut kept = String::new();
    records.read_to_string(&mut kept).unwrap();
    assert_eq!(kept.matches("\"reason\":\"deleted\"").count(), 1, "{kept}");
}

#[test]
fn a_reader_of_the_log_that_is_stuck_stops_neither_calls_nor_the_end() {
    let ip = loopback_address();
    let arguments =
        ["-n", "-m", "1", "-V", "-r", "example.org", "-u", "hello:world", "--allow-loopback-peers", "-L"];
    let mut child = Command::new(TURNSERVER)
        .args(arguments)
        .arg(ip.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It is read until the server is there, and from then on no more.
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("Total auth threads:") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it has ended");
    }
    let mut client = TurnClient::hello(SocketAddr::new(ip, 3478));
    client.allocate();
    // More lines than a pipe has room for.
    for _ in 0..1500 {
        client.refresh(None).unwrap();
    }
    call(&mut client);
    let status = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
    // Its end is waited for while nobody reads; what it has said by then is in the pipe.
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    // As much as a pipe has room for, and not the whole log by far.
    assert!(said.contains("session 000000000000000001: refreshed") && said.len() < 100_000, "{}", said.len());
    assert!(!said.contains("Terminating on signal"), "it did not fit any more");
}

#[test]
fn a_log_file_that_has_grown_is_begun_anew_and_so_many_old_ones_are_kept() {
    let directory = Directory::new();
    let log = directory.file("turn.log");
    let server = Server::start(&[
        "-l",
        &log,
        "--simple-log",
        "--log-rotate-size=8K",
        "--log-rotate-keep=2",
        "--no-stdout-log=no",
    ]);
    let mut client = TurnClient::hello(server.address);
    client.allocate();
    for _ in 0..200 {
        client.refresh(None).unwrap();
    }
    assert_eq!(server.program.stop("TERM").code, Some(0));
    let mut names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["turn.log", "turn.log.1", "turn.log.2"]);
    let length = |name: &String| std::fs::metadata(directory.path().join(name)).unwrap().len();
    assert!(
        names.iter().all(|name| length(name) <= 8192),
        "{:?}",
        names.iter().map(length).collect::<Vec<_>>()
    );
    assert!(std::fs::read_to_string(&log).unwrap().contains("Terminating on signal 15"));
}

/// Whether file systems can be mounted that only one process sees.
pub(crate) fn can_unshare(test: &str) -> bool {
    let can = Command::new("unshare").args(["-rm", "true"]).stderr(Stdio::null()).status();
    let can = can.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: {test} needs user and mount namespaces (unshare -rm)");
    }
    can
}
