//! Metrics and health, served by HTTP to those who look after this server.
//!
//! Nobody here asks a worker for more than it publishes, but for a sign of life once in a while; and whatever is asked
//! for however often is made a few times a second at most.

mod collect;
mod heartbeat;
mod machine;
mod readings;
mod self_test;
mod site;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use turnpike_config::{Config, MonitoringSettings};
use turnpike_control::Log;
use turnpike_control::http::{self, BasicAuthorization, HttpListener, HttpServer, TlsSource};
use turnpike_control::metrics::TopUsers;
use turnpike_net::holder_of_tcp_address;
use turnpike_turn::SelfTest;

use crate::operations::Operations;
use crate::randomness::random;
use crate::state::StateDirectory;
use crate::upgrade::takes_over;
use site::{Looks, MonitoringSite};

/// What is served, bound before anything else runs.
pub(crate) struct Monitoring {
    metrics: Option<(TcpListener, Option<TlsSource>)>,
    health: Option<TcpListener>,
    authorization: Option<BasicAuthorization>,
    /// By what the server tries itself.
    pub(crate) self_test: Option<Arc<SelfTest>>,
    /// Traffic by user, where that is asked for.
    pub(crate) users: Option<TopUsers>,
}

impl Monitoring {
    /// Binds what is configured.
    ///
    /// # Errors
    /// An address cannot be bound, or a file cannot be read; the message says what to do.
    pub(crate) fn bind(config: &Config, log: &Arc<Log>) -> anyhow::Result<Self> {
        let settings = &config.monitoring;
        let metrics = settings.prometheus.then(|| bind_metrics(settings)).transpose()?;
        let tls = match &metrics {
            Some(_) if settings.prometheus_tls => Some(tls::source(config, log)?),
            _ => None,
        };
        let health = settings.health_port.map(|port| {
            let address = SocketAddr::new(settings.health_address, port);
            bind(address, "health-port and health-address")
        });
        let password = settings.prometheus_password_file.as_deref().map(|path| {
            let password =
                StateDirectory::read_secret(Path::new(path)).context("prometheus-password-file")?;
            Ok::<_, anyhow::Error>(BasicAuthorization::new(&settings.prometheus_user, &password))
        });
        let secret = settings.is_served().then(random).transpose()?;
        Ok(Monitoring {
            metrics: metrics.map(|socket| (socket, tls)),
            health: health.transpose()?,
            authorization: password.transpose()?,
            self_test: secret.map(SelfTest::new).map(Arc::new),
            users: (settings.prometheus && settings.username_labels).then(TopUsers::default),
        })
    }

    /// Begins to serve, until what this gives is dropped; `lost` counts the reports that the log could not take.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        self,
        operations: &Arc<Operations>,
        lost: Arc<AtomicU64>,
    ) -> io::Result<Option<HttpServer>> {
        let Some(self_test) = self.self_test else { return Ok(None) };
        let looks = Arc::new(Looks::new(operations.clone(), self_test, (lost, self.users)));
        let settings = operations.rulebook.read(|parts| parts.settings.monitoring.clone());
        let site = |metrics: bool| {
            Arc::new(MonitoringSite {
                looks: looks.clone(),
                metrics_path: metrics.then(|| settings.prometheus_path.clone()),
                authorization: self.authorization.clone(),
            })
        };
        let mut listeners = Vec::new();
        if let Some((socket, tls)) = self.metrics {
            let scheme = if tls.is_some() { "https" } else { "http" };
            let (address, path) = (socket.local_addr()?, &settings.prometheus_path);
            operations.log.info(&format!("Metrics: {scheme}://{address}{path}, health beside them"));
            operations.log.info("prometheus collector started successfully");
            listeners.push(HttpListener { socket, tls, site: site(true) });
        }
        if let Some(socket) = self.health {
            operations.log.info(&format!("Health: http://{}/healthz", socket.local_addr()?));
            listeners.push(HttpListener { socket, tls: None, site: site(false) });
        }
        http::serve(listeners).map(Some)
    }
}

/// For every address of both families, unless one is named; for those of IPv4 where there is no IPv6.
fn bind_metrics(settings: &MonitoringSettings) -> anyhow::Result<TcpListener> {
    let at = |ip: IpAddr| SocketAddr::new(ip, settings.prometheus_port);
    let what = "prometheus-port and prometheus-address";
    match settings.prometheus_address {
        Some(ip) => bind(at(ip), what),
        None => match listener(at(Ipv6Addr::UNSPECIFIED.into())) {
            Ok(socket) => Ok(socket),
            Err(_) => bind(at(Ipv4Addr::UNSPECIFIED.into()), what),
        },
    }
}

fn bind(address: SocketAddr, options: &str) -> anyhow::Result<TcpListener> {
    listener(address).with_context(|| {
        let holder = holder_of_tcp_address(address)
            .map(|holder| format!("process {} ({}) holds it; ", holder.process, holder.name))
            .unwrap_or_default();
        format!("cannot listen on TCP {address}: {holder}choose others with {options}")
    })
}

/// One that the process after this one may have as well, so that it can take over. Sockets that share an address let a
/// second server in unnoticed: it is looked first, sharing nothing, unless another process is about to hand over.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    if !takes_over() {
        TcpListener::bind(address)?;
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `::` is for both families, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
