//! A server with a control socket, and what the tools say of it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::harness::{Directory, Finished, PATIENCE, Server, TURNPIKE, run};

/// A server with a control socket in a directory of its own.
pub(crate) struct Controlled {
    pub(crate) server: Server,
    pub(crate) socket: String,
    pub(crate) directory: Directory,
}

impl Controlled {
    pub(crate) fn start(more: &[&str]) -> Self {
        Controlled::start_as(&[&["--user", "hello:world", "--allow-loopback-peers", "-v"][..], more].concat())
    }

    /// With these arguments and no others but realm, address, port and socket.
    pub(crate) fn start_as(arguments: &[&str]) -> Self {
        let directory = Directory::new();
        let socket = directory.file("control.sock");
        let address = std::net::SocketAddr::new(crate::harness::loopback_address(), 3478);
        let option = format!("--control-socket={socket}");
        let server = Server::start_at(address, &[&[option.as_str()][..], arguments].concat());
        Controlled { server, socket, directory }
    }

    /// What `turnpike` says to this.
    pub(crate) fn turnpike(&self, arguments: &[&str]) -> Finished {
        let (verb, rest) = arguments.split_first().expect("a verb");
        run(TURNPIKE, &[&[*verb, "--control-socket", self.socket.as_str()][..], rest].concat())
    }

    /// Likewise, when it is to succeed.
    #[track_caller]
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let finished = self.turnpike(arguments);
        assert_eq!(finished.code, Some(0), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.told(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn connect(&self) -> Raw {
        Raw::new(UnixStream::connect(&self.socket).expect("the socket listens"))
    }
}

/// The socket without a tool in between.
pub(crate) struct Raw {
    pub(crate) stream: BufReader<UnixStream>,
}

impl Raw {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw { stream: BufReader::new(stream) }
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("it is read");
    }

    /// The next answer; `None` when the connection was closed.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(1..) if line.ends_with('\n') => Some(serde_json::from_str(&line).expect("JSON")),
            // One that is cut off has a part of an answer; one that is closed over unread questions is reset.
            _ => None,
        }
    }

    /// The code of the error that a question gets.
    pub(crate) fn refusal(&mut self, question: &str) -> String {
        self.say(&format!("{question}\n"));
        let answer = self.hear().expect("an answer");
        assert_eq!(answer["version"], json!(1));
        answer["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {answer}")).to_owned()
    }
}
