//! A small HTTP server for people and their tools: on a thread of its own, so that it answers however busy the workers
//! are, and never keeps them waiting.
//!
//! Invariants: at most `MOST_CONNECTIONS` connections, at most `MOST_OF_SOURCE` of one source, none for longer than
//! `LONGEST_CONNECTION`; a request's head comes within `PATIENCE` and has at most `LARGEST_HEAD` bytes; bodies are
//! not read. What a page costs is its site's to bound.

mod authorization;
mod connections;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub use authorization::BasicAuthorization;
use connections::Connections;

/// What answers requests.
pub trait Site: Send + Sync + 'static {
    /// The page that somebody asks for; must not block.
    fn page<'s>(&'s self, asked: Asked<'s>) -> Answer<'s>;
}

/// A page that may take a while.
pub type Answer<'s> = Pin<Box<dyn Future<Output = Page> + Send + 's>>;

/// What is asked for. The method is GET, or HEAD, of which the page is none the wiser.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'r> {
    /// The path, without what follows a question mark.
    pub path: &'r str,
    /// The Accept header.
    pub accept: Option<&'r str>,
    /// The Authorization header.
    pub authorization: Option<&'r str>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// What kind of text it is.
    pub content_type: &'static str,
    /// The WWW-Authenticate header, where a password is asked for.
    pub authenticate: Option<&'static str>,
    /// The text.
    pub body: Bytes,
}

impl Page {
    /// A page of plain text.
    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Page { status, content_type: "text/plain; charset=utf-8", authenticate: None, body: body.into() }
    }
}

/// An address that is served.
pub struct HttpListener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// How TLS is spoken there; `None` for not at all.
    pub tls: Option<TlsSource>,
    /// What answers.
    pub site: Arc<dyn Site>,
}

/// What a connection's TLS is set up with. It is asked for each, so that a renewed certificate is seen.
pub type TlsSource = Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

/// Listeners that are served: until this is dropped.
#[derive(Debug)]
pub struct HttpServer {
    _until: oneshot::Sender<()>,
}

/// Serves these listeners until what it gives is dropped.
///
/// # Errors
/// The system gives no thread, or a socket is of no use.
pub fn serve(listeners: Vec<HttpListener>) -> io::Result<HttpServer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // What blocks is done there, such as a self-test.
        .max_blocking_threads(2)
        .build()?;
    let (until, dropped) = oneshot::channel();
    let mut serving = Vec::new();
    {
        let _inside = runtime.enter();
        for HttpListener { socket, tls, site } in listeners {
            socket.set_nonblocking(true)?;
            serving.push((tokio::net::TcpListener::from_std(socket)?, tls, site));
        }
    }
    std::thread::Builder::new().name("http".into()).spawn(move || {
        let connections = Connections::default();
        runtime.block_on(async {
            let (end, ended) = watch::channel(());
            for (socket, tls, site) in serving {
                let listener = HttpSocket { socket, tls, site, connections: connections.clone() };
                tokio::spawn(listener.serve(ended.clone()));
            }
            drop(ended);
            // Never sent anything: it is about the end of the sender.
            let _ = dropped.await;
            let _ = end.send(());
            end.closed().await;
            // Whoever has come is answered yet.
            let deadline = Instant::now() + LAST_WORDS;
            while !connections.are_over() && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    })?;
    Ok(HttpServer { _until: until })
}

/// One listener that is served.
struct HttpSocket {
    socket: tokio::net::TcpListener,
    tls: Option<TlsSource>,
    site: Arc<dyn Site>,
    connections: Connections,
}

impl HttpSocket {
    /// Accepts until the end is told, and then whoever has come by then: the process that takes over listens there too.
    async fn serve(self, mut ended: watch::Receiver<()>) {
        loop {
            tokio::select! {
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, from)) => self.begin(stream, from),
                    // No descriptors, say: it may pass, and until then nothing is gained by asking at once again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                _ = ended.changed() => break,
            }
        }
        while let Ok(Ok((stream, from))) = timeout(LINGER, self.socket.accept()).await {
            self.begin(stream, from);
        }
    }

    fn begin(&self, stream: TcpStream, from: SocketAddr) {
        // One too many is closed at once: whoever has the others may come again, and nobody else waits for him.
        let Some(place) = self.connections.take(from.ip()) else { return };
        let (tls, site) = (self.tls.clone(), self.site.clone());
        tokio::spawn(async move {
            let serving = async {
                match tls {
                    None => converse(stream, site).await,
                    Some(tls) => {
                        let acceptor = tokio_rustls::TlsAcceptor::from(tls());
                        if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                            converse(stream, site).await;
                        }
                    }
                }
            };
            let _ = timeout(LONGEST_CONNECTION, serving).await;
            drop(place);
        });
    }
}

/// Answers the requests of one connection. What goes wrong with it is its client's affair.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, site: Arc<dyn Site>) {
    let service = service_fn(move |request| {
        let site = site.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(request, &*site).await) }
    });
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, site: &dyn Site) -> Response<Full<Bytes>> {
    let (request, _) = request.into_parts();
    let header = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
    let asked = Asked {
        path: request.uri.path(),
        accept: header(header::ACCEPT),
        authorization: header(header::AUTHORIZATION),
    };
    let is_read = matches!(request.method, Method::GET | Method::HEAD);
    let page = match is_read {
        true => site.page(asked).await,
        false => Page::text(405, "only GET and HEAD are answered\n"),
    };
    let mut response = Response::new(Full::new(page.body));
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(authenticate) = page.authenticate {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(authenticate));
    }
    if !is_read {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        // A body may follow that nobody will read.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// For the next request's head: longer than anybody waits between two scrapes.
const PATIENCE: Duration = Duration::from_secs(90);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long whoever ends waits for one more connection that has come before.
const LINGER: Duration = Duration::from_millis(20);
/// How long it waits for what is under way.
const LAST_WORDS: Duration = Duration::from_secs(5);
const LONGEST_CONNECTION: Duration = Duration::from_secs(3600);
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
const MOST_CONNECTIONS: u32 = 512;
const MOST_OF_SOURCE: u32 = 64;
