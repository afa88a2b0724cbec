//! An HTTP client as plain as can be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::PATIENCE;

pub(crate) struct Response {
    pub(crate) status: u16,
    /// The head in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks for a page.
pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: turn\r\n"))
}

/// Sends a request's head, without the empty line at its end, and reads all that is answered.
pub(crate) fn ask(address: SocketAddr, head: &str) -> Response {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    converse(stream, head)
}

pub(crate) fn converse(mut stream: impl Read + Write, head: &str) -> Response {
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    // Whoever ends TLS without saying so has said all the same what the length announces.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Response { status, head: head.to_lowercase(), body: body.to_owned() }
}

impl Response {
    /// The value of a series, written as it is in the text; `None` where there is none.
    pub(crate) fn sample(&self, series: &str) -> Option<f64> {
        let line = self.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().expect("a number"))
    }
}
