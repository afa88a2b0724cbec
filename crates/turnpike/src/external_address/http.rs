//! One short question to a metadata service: HTTP/1.1, plain, straight to an address. Proxies of the environment are never
//! heeded, redirections never followed, and an answer has a bounded size.

use std::net::SocketAddr;
use std::pin::pin;

use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Trouble;

/// Where a metadata service is, and by which name it is spoken to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) address: SocketAddr,
    pub(super) host: &'static str,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Service {
    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
        self.ask(Method::GET, path, headers).await
    }

    pub(super) async fn put(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
        self.ask(Method::PUT, path, headers).await
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Trouble> {
        // No route, or nobody listens: this is another cloud, or none.
        let stream = TcpStream::connect(self.address).await.map_err(|_| Trouble::Absent)?;
        let nonsense = |error: hyper::Error| Trouble::Nonsense(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(nonsense)?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .header("connection", "close")
            .body(String::new())
            .map_err(|error| Trouble::Nonsense(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(nonsense)?;
        let (head, body) = response.into_parts();
        let body = read(body).await;
        connection.abort();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body? })
    }
}

impl Answer {
    /// The body of a success; what else it may be is for the caller to say.
    pub(super) fn success(self) -> Result<String, Trouble> {
        match self.status {
            200 => Ok(self.body),
            404 | 405 => Err(Trouble::Absent),
            status => Err(Trouble::Denied(format!("HTTP status {status}"))),
        }
    }
}

async fn read(body: hyper::body::Incoming) -> Result<String, Trouble> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|error| Trouble::Nonsense(error.to_string()))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > LARGEST_BODY {
            return Err(Trouble::Nonsense(format!("more than {LARGEST_BODY} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|_| Trouble::Nonsense("it is no text".to_owned()))
}

/// DigitalOcean's and Oracle's documents are a few KiB.
const LARGEST_BODY: usize = 256 << 10;
