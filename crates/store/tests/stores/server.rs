//! Database servers of the tests' own: private directories and ports, stopped when they go out of scope.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// A running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) directory: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    account: Option<(u32, u32)>,
    ready: &'static str,
    child: Option<Child>,
}

impl Server {
    /// A directory and a port for a server that will run under this account, where the tests run as root, which
    /// database servers refuse to be.
    pub(crate) fn prepare(program: PathBuf, account: &str, ready: &'static str) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let account =
            (id(&["-u"]) == Some(0)).then(|| (id(&["-u", account]).unwrap(), id(&["-g", account]).unwrap()));
        if let Some((user, group)) = account {
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        Server { port: free_port(), directory, program, arguments: Vec::new(), account, ready, child: None }
    }

    /// A command under the server's account.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.directory.path()).stdin(Stdio::null()).env("PYTHONUNBUFFERED", "1");
        // A MariaDB that starts removes temporary tables of others from a directory that they share.
        command.env("TMPDIR", self.directory.path());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// Runs something to its end, which must be a good one.
    pub(crate) fn run(&self, program: impl AsRef<Path>, arguments: &[&str]) {
        let output = self.command(program.as_ref()).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", program.as_ref().display());
    }

    /// Lays out a PostgreSQL in the directory `data`, whose `turn` may do all with the password in a file.
    pub(crate) fn lay_out_postgres(&self, data: &str, password: &str) {
        let user = ["-U", "turn", "-A", "scram-sha-256", "--pwfile", password];
        // Several are there at once, and need little room each.
        let size = ["--no-sync", "-E", "UTF8", "--wal-segsize=1"];
        self.run(self.program.with_file_name("initdb"), &[&["-D", data], &user[..], &size].concat());
    }

    /// Lays out a MariaDB, and starts it with the same options later.
    pub(crate) fn lay_out_mariadb(&mut self, data: &str) {
        let options = ["--no-defaults", data, "--innodb-log-file-size=8M"];
        let first = ["--auth-root-authentication-method=normal", "--skip-test-db"];
        self.run("mariadb-install-db", &[&options[..], &first].concat());
        self.arguments(&options);
    }

    /// A file in its directory, which it may read.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        if let Some((user, group)) = self.account {
            chown(&path, Some(user), Some(group)).unwrap();
        }
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    /// Starts it, and returns when it says that it is ready.
    pub(crate) fn start(&mut self) {
        let mut child = self
            .command(&self.program)
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            // Reads on to the end, so that the server never waits for somebody to read what it says.
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        drop(sender);
        self.child = Some(child);
        let mut told = Vec::new();
        loop {
            let line = lines.recv_timeout(Duration::from_secs(60));
            let line =
                line.unwrap_or_else(|_| panic!("{} does not start: {told:#?}", self.program.display()));
            if line.contains(self.ready) {
                return;
            }
            told.push(line);
        }
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // PostgreSQL's processes outlive a killed parent for a moment; this signal ends all of them at once. The
            // others die of it.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            if !self.program.ends_with("postgres") {
                let _ = child.kill();
            }
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of 127.0.0.1 that nobody has, below those the system gives to whoever connects.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another run of these tests at the same time begins elsewhere.
    let start = std::process::id().wrapping_mul(97);
    let mut ports =
        (0..1000).map(|_| 30_000 + (start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 2_700) as u16);
    ports.find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()).expect("a free port")
}

/// The first of these programs that is installed; without one, the test says that it was skipped.
pub(crate) fn installed(test: &str, programs: &[&str]) -> Option<PathBuf> {
    let found = programs.iter().map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        println!("skipped: {test} needs {}", programs[0]);
    }
    found
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
