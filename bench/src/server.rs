//! The servers that are compared, started alike.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use turnpike_wire::{Class, Message, MessageWriter, Method, TransactionId};

use crate::certificate::Certificate;
use crate::lab::{Lab, PEER_ADDRESS, SERVER_ADDRESS, relay_address};
use crate::processor_time::Meter;
use crate::stop::Stop;

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one under test.
    Ours,
    /// What it is compared with.
    Coturn,
}

/// How to start one of the servers.
#[derive(Clone, Debug)]
pub(crate) struct ServerCommand {
    pub(crate) side: Side,
    pub(crate) program: PathBuf,
    /// Arguments beside those both servers get.
    pub(crate) extra: Vec<String>,
    /// The certificate's chain and key, where it serves TLS (and TCP): then everybody may allocate.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Whether it serves DTLS with it as well.
    pub(crate) dtls: bool,
}

impl ServerCommand {
    /// The same with TLS on the listening port.
    pub(crate) fn over_tls(&self, certificate: &Certificate) -> Self {
        ServerCommand {
            certificate: Some((certificate.chain.clone(), certificate.key.clone())),
            ..self.clone()
        }
    }

    /// The same with DTLS on the listening port.
    pub(crate) fn over_dtls(&self, certificate: &Certificate) -> Self {
        ServerCommand { dtls: true, ..self.over_tls(certificate) }
    }

    /// All arguments: one relay thread, UDP only, long-term credentials, no log.
    pub(crate) fn arguments(&self, relay_addresses: u8) -> Vec<String> {
        let mut arguments: Vec<String> = ["-n", "--no-cli", "-m", "1"]
            .into_iter()
            .chain(["--log-file=/dev/null", "--simple-log"])
            .map(str::to_owned)
            .collect();
        match (self.dtls, self.side) {
            (true, Side::Ours) => arguments.push("--dtls".to_owned()),
            // The coturn that is measured speaks it unless it is told not to.
            (true, Side::Coturn) => {}
            (false, _) => arguments.push("--no-dtls".to_owned()),
        }
        match &self.certificate {
            Some((chain, key)) => {
                arguments.push("--no-auth".to_owned());
                arguments.push(format!("--cert={}", chain.display()));
                arguments.push(format!("--pkey={}", key.display()));
            }
            None => {
                arguments.extend(["--no-tls", "--no-tcp", "--lt-cred-mech"].map(str::to_owned));
                arguments.extend(["-u".to_owned(), format!("{USERNAME}:{PASSWORD}")]);
            }
        }
        arguments.extend(["-r".to_owned(), REALM.to_owned()]);
        arguments.extend(["-p".to_owned(), PORT.to_string()]);
        arguments.extend(["-L".to_owned(), SERVER_ADDRESS.to_string()]);
        for number in 0..relay_addresses {
            arguments.extend(["-E".to_owned(), relay_address(number).to_string()]);
        }
        if self.side == Side::Ours {
            // Our server refuses private peers unless told otherwise; coturn does not.
            arguments.push(format!("--allowed-peer-ip={PEER_ADDRESS}"));
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }

    /// What the program says when asked for its version.
    pub(crate) fn version(&self) -> Result<String> {
        let output = Command::new(&self.program)
            .arg("--version")
            .output()
            .with_context(|| format!("run {}", self.program.display()))?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown").trim().to_owned())
    }
}

/// A server that answers. Dropping it ends it.
pub(crate) struct RunningServer {
    child: Child,
}

impl RunningServer {
    /// Starts the server on its core and waits for its first Binding answer: coturn is slow to begin.
    pub(crate) fn start(
        lab: &Lab,
        command: &ServerCommand,
        relay_addresses: u8,
        stop: &Stop,
    ) -> Result<Self> {
        let log_path = lab.directory.join("server.log");
        let log = File::create(&log_path)?;
        let program = command.program.to_str().context("the program's path is not UTF-8")?;
        // setpriv makes the server end if this process is killed; each of these replaces itself by the next.
        let child = lab
            .server
            .command("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "-c", &lab.cores.server.to_string(), program])
            .args(command.arguments(relay_addresses))
            .current_dir(&lab.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start the server")?;
        let mut server = RunningServer { child };
        if let Err(error) = server.wait_until_it_answers(lab, stop) {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(10).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            return Err(anyhow!("{error:#}; {program} said:\n{}", tail.join("\n")));
        }
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(SERVER_ADDRESS.into(), PORT)
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// A meter of its processor time.
    pub(crate) fn meter(&self, lab: &Lab) -> Result<Meter> {
        Meter::new(self.process(), &lab.server_receive_threads, lab.cores.server)
    }

    fn wait_until_it_answers(&mut self, lab: &Lab, stop: &Stop) -> Result<()> {
        let address = self.address();
        let deadline = Instant::now() + START_LIMIT;
        let socket = lab.client.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(address)?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok(socket)
        })?;
        let mut request = [0; 20];
        MessageWriter::new(&mut request, Class::Request, Method::BINDING, TransactionId(*b"are you up ?"))
            .finish()?;
        let mut answer = [0; 1500];
        while Instant::now() < deadline {
            stop.check()?;
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended while starting: {status}");
            }
            // While nobody listens the kernel reports "connection refused" here: just ask again.
            let answered = socket.send(&request).and_then(|_| socket.recv(&mut answer));
            match answered {
                Ok(length) if is_binding_success(&answer[..length]) => return Ok(()),
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("no Binding answer from the server within {} seconds", START_LIMIT.as_secs())
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        // It holds nothing worth a graceful end, and an error means that it already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_binding_success(bytes: &[u8]) -> bool {
    Message::parse(bytes)
        .is_ok_and(|message| message.class() == Class::Success && message.method() == Method::BINDING)
}

/// The user both servers know.
pub(crate) const USERNAME: &str = "bench";
/// Its password.
pub(crate) const PASSWORD: &str = "bench-password";
const REALM: &str = "bench.example";
const PORT: u16 = 3478;
const START_LIMIT: Duration = Duration::from_secs(15);
