//! The server as a process among others: detached, without the rights of root, watched by a service manager, in an image.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use turnpike::rest::RestCredential;

use crate::client::{TurnClient, unix_now};
use crate::harness::{Directory, PATIENCE, Program, Server, TURNPIKE, TURNSERVER, loopback_address, run};

/// A process that no test is the parent of; ended with the value.
struct Detached(u32);

impl Detached {
    fn of(pidfile: &str) -> Self {
        Detached(fs::read_to_string(pidfile).unwrap().trim().parse().unwrap())
    }

    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Ends it and waits until it is gone.
    fn stop(self) {
        kill("TERM", self.0);
        let deadline = Instant::now() + PATIENCE;
        while is_running(self.0) {
            assert!(Instant::now() < deadline, "process {} does not end", self.0);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if is_running(self.0) {
            kill("KILL", self.0);
        }
    }
}

fn is_running(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    // Where nobody collects orphans, what is left of one stays.
    status.contains("turnserver") && !status.contains("State:\tZ")
}

fn kill(signal: &str, process: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status().unwrap();
    assert!(status.success());
}

fn is_root() -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        eprintln!("skipped: only root can give up the rights of root");
    }
    root
}

#[test]
fn a_detached_server_serves_when_the_command_returns_and_is_nobodys_child() {
    let directory = Directory::new();
    let (pidfile, log) = (directory.file("pid"), directory.file("log"));
    let ip = loopback_address();
    let address = ip.to_string();
    let arguments = ["-n", "--no-auth", "-o", "-m", "1", "-L", &address, "--pidfile", &pidfile, "--log-file"];
    let started = run(TURNSERVER, &[&arguments[..], &[&log, "--simple-log"]].concat());
    assert_eq!(started.code, Some(0), "{}{}", started.stdout, started.stderr);
    let server = Detached::of(&pidfile);
    // At once: what returned has waited for it.
    TurnClient::stranger(SocketAddr::new(ip, 3478)).allocate();
    assert_eq!(server.status("NSsid"), server.0.to_string(), "a session of its own");
    assert_ne!(server.status("PPid"), std::process::id().to_string());
    for descriptor in 0..3 {
        let open = fs::read_link(format!("/proc/{}/fd/{descriptor}", server.0)).unwrap();
        assert_eq!(open, Path::new("/dev/null"), "descriptor {descriptor}");
    }
    let process = server.0;
    server.stop();
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("Total auth threads") && said.contains("Terminating on signal 15"), "{said}");
    assert!(!Path::new(&pidfile).exists(), "the file of process {process} is left");
}

#[test]
fn a_detached_server_that_cannot_start_says_why_and_the_command_fails() {
    let directory = Directory::new();
    let pidfile = directory.file("pid");
    let other = Server::start(&[]);
    let address = other.address.ip().to_string();
    let arguments = ["-n", "--no-auth", "-o", "-L", &address, "--pidfile", &pidfile];
    let failed = run(TURNSERVER, &arguments);
    assert_eq!(failed.code, Some(255), "{}", failed.stdout);
    assert!(failed.stderr.contains("cannot listen on UDP"), "{}", failed.stderr);
    assert!(!Path::new(&pidfile).exists());
    TurnClient::hello(other.address).allocate();
}

#[test]
fn a_server_that_a_service_manager_waits_for_does_not_detach() {
    let manager = Manager::new();
    let address = loopback_address().to_string();
    let mut server = manager.start(&["-n", "--no-auth", "-o", "--pidfile=", "-L", &address], &[]);
    server.expect("Total auth threads");
    assert_eq!(manager.next(), "READY=1");
    // The process that was started is the one that serves.
    assert_eq!(server.stop("TERM").code, Some(0));
    assert_eq!(manager.next(), "STOPPING=1");
}

#[test]
fn root_is_given_up_once_everything_is_bound_and_the_groups_with_it() {
    if !is_root() {
        return;
    }
    let directory = Directory::new();
    let pidfile = directory.file("pid");
    let ip = loopback_address();
    let address = SocketAddr::new(ip, 443);
    let mut server = Server::start_at(address, &["--no-auth", "--proc-user=nobody", "--pidfile", &pidfile]);
    assert!(server.program.so_far().contains("INFO Runs as user nobody from here on"));
    let nobody = Detached(server.program.id());
    assert_eq!(nobody.status("Uid"), "65534 65534 65534 65534");
    assert_eq!(nobody.status("Gid"), "65534 65534 65534 65534");
    assert_eq!(nobody.status("Groups"), "65534");
    // Of what root may do: to listen below port 1024, should a reload ask for it.
    assert_eq!(nobody.status("CapPrm"), "0000000000000400");
    assert_eq!(nobody.status("CapInh"), "0000000000000000");
    for thread in fs::read_dir(format!("/proc/{}/task", nobody.0)).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "a thread is still root:\n{status}");
        assert!(status.contains("CapEff:\t0000000000000400"), "a thread may do more:\n{status}");
    }
    TurnClient::stranger(address).allocate();
    std::mem::forget(nobody);
    server.program.signal("TERM");
    server.expect("Terminating on signal 15");
    assert_eq!(server.program.finish().code, Some(0));
    // Its directory is root's, so it could not take the file away; nobody is to take another process for it.
    assert!(fs::read_to_string(&pidfile).is_ok_and(|text| text.is_empty()), "the process id is still there");
}

#[test]
fn a_group_alone_is_taken_and_root_goes_only_where_a_user_is_named() {
    if !is_root() {
        return;
    }
    let server = Server::start(&["--proc-group=nogroup"]);
    let process = Detached(server.program.id());
    assert_eq!(
        (process.status("Uid").as_str(), process.status("Gid").as_str()),
        ("0 0 0 0", "65534 65534 65534 65534")
    );
    assert_eq!(process.status("Groups"), "65534");
    std::mem::forget(process);
}

#[test]
fn a_server_that_cannot_give_up_its_rights_does_not_start_with_them() {
    let address = loopback_address().to_string();
    let unknown = run(TURNSERVER, &["-n", "--no-auth", "-L", &address, "--proc-user=no-such-user"]);
    assert_eq!(unknown.code, Some(255));
    assert!(unknown.stderr.contains("proc-user") && unknown.stderr.contains("there is no user no-such-user"));
    let unknown = run(TURNSERVER, &["-n", "--no-auth", "-L", &address, "--proc-group=no-such-group"]);
    assert!(unknown.stderr.contains("there is no group no-such-group"), "{}", unknown.stderr);
    if !is_root() {
        return;
    }
    // Somebody else than root cannot become a third one; to be who one is already is no change.
    let as_nobody = |user: &str| {
        let words = [
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            TURNSERVER,
            "-n",
            "--no-auth",
            "-L",
            &address,
        ];
        let user = format!("--proc-user={user}");
        Program::start("setpriv", &[&words[..], &[&user]].concat())
    };
    let refused = as_nobody("daemon").finish();
    assert_eq!(refused.code, Some(255), "{}", refused.stdout);
    assert!(refused.stderr.contains("cannot become user daemon: only root can"), "{}", refused.stderr);
    let mut same = as_nobody("nobody");
    same.expect("Runs as user nobody already");
    same.expect("Total auth threads");
}

#[test]
fn a_database_is_made_by_the_user_who_has_to_write_to_it() {
    if !is_root() {
        return;
    }
    let directory = Directory::new();
    let file = directory.file("turndb");
    std::os::unix::fs::chown(directory.path(), Some(65_534), Some(65_534)).unwrap();
    let server = Server::start(&["--proc-user=nobody", "--userdb", &file]);
    assert_eq!(fs::metadata(&file).unwrap().uid(), 65_534);
    drop(server);
}

#[test]
fn a_certificate_that_the_user_could_not_read_again_is_warned_of() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = directory.write("cert.pem", &signed.cert.pem());
    let key = directory.write("key.pem", &signed.signing_key.serialize_pem());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start(&["--proc-user=nobody", "--cert", &certificate, "--pkey", &key]);
    let said = server.program.so_far();
    assert!(said.contains("TLS clients: on"), "root read it once:\n{said}");
    assert!(
        said.contains(&format!(
            "WARNING {key} cannot be read by user nobody, so its renewal needs a restart"
        ))
    );
    assert!(!said.contains(&format!("{certificate} cannot be read")), "{said}");
}

/// What a service manager hears.
struct Manager {
    socket: UnixDatagram,
    directory: Directory,
}

impl Manager {
    fn new() -> Self {
        let directory = Directory::new();
        let socket = UnixDatagram::bind(directory.file("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, directory }
    }

    fn start(&self, arguments: &[&str], more: &[(&str, &str)]) -> Program {
        let path = self.directory.file("notify");
        let variables = [&[("NOTIFY_SOCKET", path.as_str())], more].concat();
        Program::start_in(TURNSERVER, arguments, &std::env::temp_dir(), &variables)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the server says something");
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    }

    /// Takes what was said already.
    fn forget(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}

/// A thread that another process holds still.
struct Held {
    holder: std::process::Child,
}

impl Held {
    /// Stops this thread and no other of its process, as a debugger does. `None` where that is not allowed.
    fn thread(task: u32) -> Option<Self> {
        use std::io::{BufRead, BufReader};
        let mut holder = Command::new("python3")
            .args(["-c", HOLD, &task.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take()?).read_line(&mut line).ok()?;
        (line.trim() == "held").then_some(Held { holder })
    }

    fn release(mut self) {
        // The end of its input.
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
    }
}

const HOLD: &str = "
import ctypes, os, sys
task = int(sys.argv[1])
trace = ctypes.CDLL(None, use_errno=True).ptrace
trace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
if trace(16, task, None, None) != 0:
    sys.exit('ptrace is not allowed')
os.waitpid(task, 0x40000000)
print('held', flush=True)
sys.stdin.read()
trace(17, task, None, None)
";

#[test]
fn the_service_manager_hears_that_all_is_well_for_as_long_as_every_worker_comes_round() {
    let manager = Manager::new();
    let address = loopback_address().to_string();
    let patience = [("WATCHDOG_USEC", "300000")];
    let mut server = manager.start(&["-n", "--no-auth", "-m", "2", "-L", &address], &patience);
    server.expect("Total auth threads");
    assert_eq!(manager.next(), "READY=1");
    // Workers that nobody asks anything of come round all the same.
    for _ in 0..5 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let worker = tasks
        .map(|task| task.unwrap().path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "worker-1"));
    let task = worker.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    let Some(held) = Held::thread(task) else {
        eprintln!("skipped: no thread may be held still here");
        return;
    };
    server.expect("watchdog: worker [1] has not come round within 100ms");
    // One word may have been under way. Then there is silence, for longer than the manager waits.
    server.expect("watchdog: worker [1]");
    manager.forget();
    server.expect("watchdog: worker [1]");
    server.expect("watchdog: worker [1]");
    server.expect("watchdog: worker [1]");
    manager.socket.set_nonblocking(true).unwrap();
    let heard = manager.socket.recv(&mut [0; 64]);
    assert_eq!(heard.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "all is not well");
    manager.socket.set_nonblocking(false).unwrap();
    held.release();
    assert_eq!(manager.next(), "WATCHDOG=1", "it is told again once the worker is back");
    assert_eq!(server.stop("TERM").code, Some(0));
}

#[test]
fn nobody_is_told_who_did_not_ask() {
    let manager = Manager::new();
    let address = loopback_address().to_string();
    let other = [("WATCHDOG_USEC", "10000"), ("WATCHDOG_PID", "1")];
    let mut server = manager.start(&["-n", "--no-auth", "-L", &address], &other);
    server.expect("Total auth threads");
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(server.stop("TERM").code, Some(0));
    assert_eq!(manager.next(), "STOPPING=1", "and nothing in between");
}

#[test]
fn an_image_takes_options_from_variables_and_secrets_from_files_as_they_are() {
    let directory = Directory::new();
    let secret = "it costs $5 `id` $(id) \"quoted\" and more";
    let file = directory.write("secret", &format!("{secret}\n"));
    let ip = loopback_address();
    let variables = [
        ("TURNPIKE_LISTENING_IP", ip.to_string()),
        ("TURNPIKE_STATIC_AUTH_SECRET_FILE", file),
        ("TURNPIKE_REALM", "example.org".to_owned()),
        ("TURNPIKE_ALLOW_LOOPBACK_PEERS", "yes".to_owned()),
    ];
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let arguments = ["container", "-n", "-m", "1", "--log-file=stdout"];
    let mut server = Program::start_in(TURNPIKE, &arguments, directory.path(), &variables);
    server.expect("Total auth threads");
    let credential = RestCredential::mint(secret, "ada", ':', unix_now(), Duration::from_secs(60));
    let address = SocketAddr::new(ip, 3478);
    TurnClient::new(address, &credential.username, &credential.password).allocate();
    assert_eq!(server.stop("TERM").code, Some(0));
    let tool = run(TURNPIKE, &["container", "turnutils_rfc5769check"]);
    assert!(tool.code == Some(0) && tool.stdout.contains("success"), "{}", tool.stdout);
    let typo = [("TURNPIKE_LISTENNING_PORT", "1")];
    let refused = Program::start_in(TURNPIKE, &["container"], directory.path(), &typo).finish();
    assert!(refused.stderr.contains("did you mean TURNPIKE_LISTENING_PORT?"), "{}", refused.stderr);
    assert_eq!(refused.code, Some(1));
}

#[test]
fn one_file_is_every_program_by_the_name_it_is_called() {
    let directory = Directory::new();
    for name in ["turnserver", "turnadmin", "turnutils_uclient"] {
        let path = directory.file(name);
        fs::hard_link(TURNPIKE, &path).or_else(|_| fs::copy(TURNPIKE, &path).map(|_| ())).unwrap();
        let help = run(&path, &["--help"]);
        assert!(help.stdout.contains(name), "{name}: {}", help.stdout);
    }
    assert!(run(TURNPIKE, &["--help"]).stdout.contains("turnpike"));
}

#[test]
fn pages_of_the_manual_are_printed_and_misspelt_ones_are_found() {
    let page = run(TURNPIKE, &["man", "turnserver"]).stdout;
    assert!(page.contains(".TH TURNSERVER 1") && page.contains("\\-\\-static\\-auth\\-secret"), "{page}");
    let missing = run(TURNPIKE, &["man", "turnsever"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("did you mean turnserver?"), "{}", missing.stderr);
    let directory = Directory::new();
    let written = run(TURNPIKE, &["man", "--into", directory.path().to_str().unwrap()]);
    assert!(written.stdout.contains("pages in"), "{}", written.stderr);
    assert!(Path::new(&directory.file("turnserver.conf.5")).exists());
    let script = run(TURNPIKE, &["completions", "bash", "turnadmin"]).stdout;
    assert!(script.contains("--rotate-secret"), "{script}");
}
