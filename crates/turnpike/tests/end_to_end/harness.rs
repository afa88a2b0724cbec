//! Starts programs, reads their lines as events with a deadline, and ends them by their process id.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub(crate) const TURNSERVER: &str = env!("CARGO_BIN_EXE_turnserver");
pub(crate) const TURNPIKE: &str = env!("CARGO_BIN_EXE_turnpike");
pub(crate) const TURNADMIN: &str = env!("CARGO_BIN_EXE_turnadmin");
pub(crate) const UCLIENT: &str = env!("CARGO_BIN_EXE_turnutils_uclient");
pub(crate) const PEER: &str = env!("CARGO_BIN_EXE_turnutils_peer");
pub(crate) const STUNCLIENT: &str = env!("CARGO_BIN_EXE_turnutils_stunclient");
pub(crate) const NATDISCOVERY: &str = env!("CARGO_BIN_EXE_turnutils_natdiscovery");
pub(crate) const OAUTH: &str = env!("CARGO_BIN_EXE_turnutils_oauth");
pub(crate) const RFC5769CHECK: &str = env!("CARGO_BIN_EXE_turnutils_rfc5769check");

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A running program.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<(Stream, String)>,
    /// Lines that came and were not asked for yet.
    unread: VecDeque<String>,
    stdout: String,
    stderr: String,
}

/// How a program ended, and everything it wrote.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Error,
}

impl Program {
    /// Starts a program in an empty world: no configuration file is found, and the environment says nothing.
    pub(crate) fn start(path: &str, arguments: &[&str]) -> Self {
        Program::start_in(path, arguments, &std::env::temp_dir(), &[])
    }

    pub(crate) fn start_in(
        path: &str,
        arguments: &[&str],
        directory: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(path)
            .args(arguments)
            .current_dir(directory)
            .env_remove("XDG_STATE_HOME")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{path} does not start: {error}"));
        let (sender, lines) = channel();
        let pipes: [(Stream, Option<Box<dyn Read + Send>>); 2] = [
            (Stream::Out, child.stdout.take().map(|pipe| Box::new(pipe) as _)),
            (Stream::Error, child.stderr.take().map(|pipe| Box::new(pipe) as _)),
        ];
        for (stream, pipe) in pipes {
            let (pipe, sender) = (pipe.expect("piped"), sender.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send((stream, line)).is_err() {
                        return;
                    }
                }
            });
        }
        Program { child, lines, unread: VecDeque::new(), stdout: String::new(), stderr: String::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line, of those not passed yet, that holds `wanted`.
    pub(crate) fn expect(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(line) = self.unread.pop_front() {
                if line.contains(wanted) {
                    return line;
                }
            }
            if let Err(why) = self.read_line(deadline) {
                panic!("no line with {wanted:?} ({why:?}) in:\n{}{}", self.stdout, self.stderr);
            }
        }
    }

    /// Waits until it ends by itself.
    pub(crate) fn finish(mut self) -> Finished {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.read_line(deadline) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end:\n{}{}", self.stdout, self.stderr)
                }
            }
        }
        let status = self.child.wait().expect("a child can be waited for");
        let (stdout, stderr) = (std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr));
        Finished { code: status.code(), stdout, stderr }
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(name, self.id());
    }

    /// Stops it with a signal and waits for its end.
    pub(crate) fn stop(self, signal: &str) -> Finished {
        self.signal(signal);
        self.finish()
    }

    /// Everything written so far, as far as it was read.
    pub(crate) fn so_far(&self) -> &str {
        &self.stdout
    }

    fn read_line(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        let (stream, line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))?;
        let text = match stream {
            Stream::Out => &mut self.stdout,
            Stream::Error => &mut self.stderr,
        };
        text.push_str(&line);
        text.push('\n');
        self.unread.push_back(line);
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended already is only waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(path: &str, arguments: &[&str]) -> Finished {
    Program::start(path, arguments).finish()
}

/// A turnserver that is ready: static user `hello` with password `world` of realm `example.org`, loopback peers
/// allowed, verbose.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// On a loopback address of its own.
    pub(crate) fn start(more: &[&str]) -> Self {
        let ip = loopback_address();
        let mut arguments = vec!["--user", "hello:world", "--allow-loopback-peers", "-v"];
        arguments.extend(more);
        Server::start_at(SocketAddr::new(ip, 3478), &arguments)
    }

    /// With these arguments and no others but realm, address and port.
    pub(crate) fn start_at(address: SocketAddr, arguments: &[&str]) -> Self {
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let mut all = vec!["-n", "-m", "1", "--realm", "example.org", "-L", &ip, "-p", &port];
        all.extend(arguments);
        let fast_path =
            fast_path_of_this_run().filter(|_| !arguments.iter().any(|it| it.contains("fast-path")));
        all.extend(fast_path.as_deref());
        let mut program = Program::start(TURNSERVER, &all);
        program.expect("Total auth threads:");
        Server { program, address }
    }

    /// The next line of its log, of those not passed yet, that holds `wanted`.
    pub(crate) fn expect(&mut self, wanted: &str) -> String {
        self.program.expect(wanted)
    }
}

/// The option that a whole run of the tests gives to every server, to see that nothing changes by it.
fn fast_path_of_this_run() -> Option<String> {
    let place = std::env::var("TURNPIKE_TEST_FAST_PATH").ok()?;
    Some(format!("--fast-path={place}"))
}

/// A loopback address that no other test uses, here or in another run of the tests at the same time.
pub(crate) fn loopback_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (page, last) = (number / 253, number % 253);
    assert!(page < 3, "the tests need more loopback addresses: spread them over another byte");
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, ((page as u8 + 1) << 6) | (high & 0x3f), low, last as u8 + 2).into()
}

/// The first of `count` ports of `ip` that are free for UDP and TCP, below those the system hands out by itself: of
/// those a connection that ended a minute ago may still hold one.
pub(crate) fn free_ports(ip: IpAddr, count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of these tests at the same time begins elsewhere.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..1000 {
        let step = u32::from(NEXT.fetch_add(count, Ordering::Relaxed));
        let first = 12_000 + (start.wrapping_add(step) % 18_000) as u16;
        let is_free = |port| UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok();
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no free ports");
}

/// A free address for a server that listens on 127.0.0.1.
#[allow(dead_code, reason = "only tests of operations and of endurance listen there")]
pub(crate) fn local_address() -> SocketAddr {
    let ip = Ipv4Addr::LOCALHOST.into();
    SocketAddr::new(ip, free_ports(ip, 1))
}

/// A directory of its own that goes away with the value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("turnpike-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory can be made");
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).expect("a file can be written");
        self.file(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A program whose outputs are a terminal.
pub(crate) struct OnTerminal {
    child: Child,
    control: std::fs::File,
    pub(crate) output: String,
}

impl OnTerminal {
    pub(crate) fn start(path: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        OnTerminal::spawn(path, arguments, variables, false)
    }

    /// Likewise, and its input is that terminal too.
    pub(crate) fn start_typing(path: &str, arguments: &[&str]) -> Self {
        OnTerminal::spawn(path, arguments, &[], true)
    }

    fn spawn(path: &str, arguments: &[&str], variables: &[(&str, &str)], types: bool) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&control).expect("it can be used");
        unlockpt(&control).expect("it can be opened");
        let name = ptsname(&control, Vec::new()).expect("it has a name").into_string().expect("UTF-8");
        let terminal = std::fs::File::options().read(types).write(true).open(name).expect("it can be opened");
        let input =
            if types { terminal.try_clone().expect("a second descriptor").into() } else { Stdio::null() };
        let child = Command::new(path)
            .args(arguments)
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .stdin(input)
            .stdout(terminal.try_clone().expect("a second descriptor"))
            .stderr(terminal)
            .spawn()
            .expect("it starts");
        OnTerminal { child, control: control.into(), output: String::new() }
    }

    /// Reads until `wanted` was written, or to the end, whichever comes first.
    pub(crate) fn read_until(&mut self, wanted: &str) {
        let mut bytes = [0; 4096];
        // The end of the last writer is an error of the reader's, as terminals have it.
        while !self.output.contains(wanted)
            && let Ok(length @ 1..) = self.control.read(&mut bytes)
        {
            self.output.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.control.write_all(format!("{line}\n").as_bytes()).expect("a terminal that can be written to");
    }

    pub(crate) fn signal(&self, name: &str) {
        send_signal(name, self.child.id());
    }

    /// Its exit status, once it has ended by itself.
    pub(crate) fn finish(mut self) -> Option<i32> {
        self.read_until("\u{0}");
        self.child.wait().expect("a child can be waited for").code()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program writes when both its outputs are a terminal.
pub(crate) fn on_a_terminal(path: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut program = OnTerminal::start(path, arguments, variables);
    program.read_until("\u{0}");
    std::mem::take(&mut program.output)
}

fn send_signal(name: &str, process: u32) {
    let command = format!("kill -{name} {process}");
    let status = Command::new("sh").args(["-c", &command]).status().expect("a shell");
    assert!(status.success(), "{command}");
}
