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
use crate::rows::NotMeasured;
use crate::stop::Stop;

/// Which of the two columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The server under test.
    Ours,
    /// What it is compared with: coturn, or an older one of ours.
    Theirs,
}

/// Which program, as far as its arguments differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Turnpike,
    Coturn,
}

/// How to start one of the servers.
#[derive(Clone, Debug)]
pub(crate) struct ServerCommand {
    pub(crate) side: Side,
    pub(crate) kind: Kind,
    pub(crate) program: PathBuf,
    /// Arguments beside those both servers get.
    pub(crate) extra: Vec<String>,
    /// The certificate's chain and key, where it serves TLS (and TCP): then everybody may allocate.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Whether it serves DTLS with it as well.
    pub(crate) dtls: bool,
    /// Where in the kernel it is to relay.
    pub(crate) fast_path: Option<&'static str>,
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

    /// The same relaying in the kernel, where the program can.
    pub(crate) fn in_the_kernel(&self, place: &'static str) -> Self {
        let fast_path = (self.kind == Kind::Turnpike).then_some(place);
        ServerCommand { fast_path, ..self.clone() }
    }

    /// The same with all relayed addresses on one port, where the program can.
    pub(crate) fn with_few_ports(&self) -> Self {
        let mut command = self.clone();
        if self.kind == Kind::Turnpike {
            command.extra.push("--multiplex-peer".to_owned());
        }
        command
    }

    /// All arguments: one relay thread, UDP only, long-term credentials, no log.
    pub(crate) fn arguments(&self, relay_addresses: u8) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["-n", "--no-cli", "-m", "1", "--simple-log"].into_iter().map(str::to_owned).collect();
        match self.fast_path {
            // What became of it stands in the log.
            Some(place) => {
                arguments.extend([format!("--fast-path={place}"), "--log-file=stdout".to_owned()]);
            }
            None => arguments.push("--log-file=/dev/null".to_owned()),
        }
        match (self.dtls, self.kind) {
            (true, Kind::Turnpike) => arguments.push("--dtls".to_owned()),
            // The coturn that is measured speaks it unless it is told not to.
            (true, Kind::Coturn) => {}
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
        if self.kind == Kind::Turnpike {
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
        if let Some(place) = command.fast_path {
            relays_in_the_kernel(&fs::read_to_string(&log_path)?, place)?;
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
        // Programs that come and go may have made the receive threads anew.
        Meter::new(self.process(), &lab.pin_server_receive_threads()?, lab.cores.server)
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

/// Whether a server said that it relays in the kernel, at this place; why not, else.
fn relays_in_the_kernel(log: &str, place: &str) -> Result<()> {
    let line = log.lines().find_map(|line| line.split_once(FAST_PATH_LINE)).map(|(_, said)| said.trim());
    let said = line.ok_or_else(|| NotMeasured("the server does not say where it relays".to_owned()))?;
    let there = said.to_lowercase().starts_with(&format!("{place} on "));
    if there { Ok(()) } else { Err(NotMeasured(format!("the kernel fast path is {said}")).into()) }
}

fn is_binding_success(bytes: &[u8]) -> bool {
    Message::parse(bytes)
        .is_ok_and(|message| message.class() == Class::Success && message.method() == Method::BINDING)
}

/// The user both servers know.
pub(crate) const USERNAME: &str = "bench";
/// Its password.
pub(crate) const PASSWORD: &str = "bench-password";
/// What stands in front of the place in the log of ours.
const FAST_PATH_LINE: &str = "Kernel fast path: ";
/// And its realm.
pub(crate) const REALM: &str = "bench.example";
const PORT: u16 = 3478;
const START_LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_relays_elsewhere_than_asked_is_not_measured_and_says_why() {
        let log = |said: &str| format!("started\nKernel fast path: {said}\n");
        assert!(relays_in_the_kernel(&log("tc on a, b, to IPv4 addresses"), "tc").is_ok());
        assert!(relays_in_the_kernel(&log("XDP on a, b, to IPv4 addresses"), "xdp").is_ok());
        let error =
            relays_in_the_kernel(&log("off, though fast-path=xdp: needs CAP_BPF"), "xdp").unwrap_err();
        assert!(error.downcast_ref::<NotMeasured>().unwrap().0.contains("CAP_BPF"));
        assert!(relays_in_the_kernel(&log("tc on a; no XDP: no driver"), "xdp").is_err());
        assert!(relays_in_the_kernel("started", "tc").is_err());
    }

    #[test]
    fn only_our_own_server_is_asked_for_what_only_it_has() {
        let command = |kind| ServerCommand {
            side: Side::Ours,
            kind,
            program: PathBuf::new(),
            extra: Vec::new(),
            certificate: None,
            dtls: false,
            fast_path: None,
        };
        let has = |command: ServerCommand, argument: &str| {
            command.arguments(1).iter().any(|given| given == argument)
        };
        assert!(has(command(Kind::Turnpike).in_the_kernel("tc"), "--fast-path=tc"));
        assert!(has(command(Kind::Turnpike).with_few_ports(), "--multiplex-peer"));
        assert!(!has(command(Kind::Coturn).in_the_kernel("tc"), "--fast-path=tc"));
        assert!(!has(command(Kind::Coturn).with_few_ports(), "--multiplex-peer"));
    }
}
