//! Binding what clients come in by.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use turnpike_config::Config;
use turnpike_net::{TcpListener, UdpOptions, UdpSocket, holder_of_tcp_address, holder_of_udp_address};
use turnpike_worker::Listener;

use crate::certificates::Served;
use crate::upgrade::{Inherited, Listening};

/// Every listening socket: for each address one for each thread.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) udp: Vec<Vec<UdpSocket>>,
    /// Those on the port for DTLS. They come behind all others: NAT behaviour discovery counts on the links of those.
    pub(crate) dtls: Vec<Vec<UdpSocket>>,
    /// Whether plain UDP is served there as well.
    pub(crate) plain_beside_dtls: bool,
    pub(crate) tcp: Vec<Vec<TcpListener>>,
    /// All that are wanted, these and those that were bound before.
    pub(crate) wanted: Vec<Bound>,
    /// Those that were bound before.
    before: Vec<Bound>,
    /// What the process before this one has handed over, and is not taken yet.
    pub(crate) inherited: Inherited,
}

/// What is listened on: over UDP or TCP, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) transport: &'static str,
    pub(crate) address: SocketAddr,
}

impl Listeners {
    /// Binds them all before any is read, so that a client's 5-tuple never moves from one to another.
    ///
    /// # Errors
    /// One cannot be bound; the message says who holds it.
    pub(crate) fn bind(
        config: &Config,
        addresses: &[SocketAddr],
        threads: u16,
        (secure, inherited): (Served, Inherited),
    ) -> anyhow::Result<Self> {
        let listeners = Listeners { inherited, ..Listeners::default() };
        listeners.bind_rest(config, addresses, (threads, secure))
    }

    /// Likewise, but for those that were bound before.
    ///
    /// # Errors
    /// One cannot be bound; the message says who holds it.
    pub(crate) fn bind_beside(
        before: Vec<Bound>,
        config: &Config,
        addresses: &[SocketAddr],
        (threads, secure): (u16, Served),
    ) -> anyhow::Result<Self> {
        Listeners { before, ..Listeners::default() }.bind_rest(config, addresses, (threads, secure))
    }

    /// None but those that were bound before.
    pub(crate) fn as_before(wanted: Vec<Bound>) -> Self {
        Listeners { wanted, ..Listeners::default() }
    }

    fn bind_rest(
        self,
        config: &Config,
        addresses: &[SocketAddr],
        (threads, secure): (u16, Served),
    ) -> anyhow::Result<Self> {
        let mut listeners = Listeners { plain_beside_dtls: config.udp, ..self };
        for address in addresses {
            if config.udp {
                listeners.add_udp(config, *address, threads)?;
            }
            if config.tcp {
                listeners.add_tcp(config, *address, threads)?;
            }
        }
        // Behind all of these: a worker's links are numbered in this order, which is that of `addresses`.
        for address in addresses {
            listeners.bind_for_tls(config, addresses, *address, (threads, secure))?;
        }
        if let Some(port) = config.balancing.proxy_port {
            listeners.bind_proxy_port(config, addresses, port, threads)?;
        }
        for address in &config.balancing.auxiliary {
            if config.udp {
                listeners.add_udp(config, *address, threads)?;
            }
            if config.tcp {
                listeners.add_tcp(config, *address, threads)?;
            }
        }
        Ok(listeners)
    }

    /// Whether an address is to be bound now, and not bound already.
    fn is_new(&mut self, transport: &'static str, address: SocketAddr) -> bool {
        let bound = Bound { transport, address };
        self.wanted.push(bound);
        !self.before.contains(&bound)
    }

    fn add_udp(&mut self, config: &Config, address: SocketAddr, threads: u16) -> anyhow::Result<()> {
        if self.is_new("UDP", address) {
            let group = self.udp(config, address, threads)?;
            self.udp.push(group);
        }
        Ok(())
    }

    fn add_tcp(&mut self, config: &Config, address: SocketAddr, threads: u16) -> anyhow::Result<()> {
        if self.is_new("TCP", address) {
            let group = self.tcp(config, address, threads)?;
            self.tcp.push(group);
        }
        Ok(())
    }

    /// Whether there is nothing among them to hand out.
    pub(crate) fn is_empty(&self) -> bool {
        self.udp.is_empty() && self.dtls.is_empty() && self.tcp.is_empty()
    }

    /// The port for TLS and DTLS beside one for TCP and UDP, and a second one where that has a second port.
    fn bind_for_tls(
        &mut self,
        config: &Config,
        addresses: &[SocketAddr],
        address: SocketAddr,
        (threads, secure): (u16, Served),
    ) -> anyhow::Result<()> {
        let is_first = address.port() == config.listening_port;
        let port = match address.port() {
            _ if is_first => config.tls_port,
            port if config.rfc5780 && port == config.second_port() => config.second_tls_port(),
            _ => return Ok(()),
        };
        let for_tls = SocketAddr::new(address.ip(), port);
        let is_other = !addresses.contains(&for_tls);
        if secure.tls && (is_other || !config.tcp) {
            self.add_tcp(config, for_tls, threads)?;
        }
        if secure.dtls && is_first && (is_other || !config.udp) && self.is_new("UDP", for_tls) {
            let group = self.udp(config, for_tls, threads)?;
            self.dtls.push(group);
        }
        Ok(())
    }

    /// On each address. Where the port is bound for TCP or TLS anyway, that is where proxies come.
    fn bind_proxy_port(
        &mut self,
        config: &Config,
        addresses: &[SocketAddr],
        port: u16,
        threads: u16,
    ) -> anyhow::Result<()> {
        for ip in addresses.iter().map(SocketAddr::ip) {
            let address = SocketAddr::new(ip, port);
            let bound = self.wanted.contains(&Bound { transport: "TCP", address });
            if !bound {
                self.add_tcp(config, address, threads)?;
            }
        }
        Ok(())
    }

    /// A descriptor of each, to hand over to the process after this one; in the order of the workers' numbers for them.
    pub(crate) fn noted(&self) -> anyhow::Result<Listening> {
        let mut listening = Listening::default();
        for group in self.udp.iter().chain(&self.dtls) {
            if let Some(first) = group.first() {
                listening.note(false, first.local_address(), group)?;
            }
        }
        for group in &self.tcp {
            if let Some(first) = group.first() {
                listening.note(true, first.local_address(), group)?;
            }
        }
        Ok(listening)
    }

    /// The sockets of an address: those that were handed over, or new ones.
    fn udp(&mut self, config: &Config, address: SocketAddr, threads: u16) -> anyhow::Result<Vec<UdpSocket>> {
        match self.inherited.take(false, address) {
            Some(sockets) => {
                let options = udp_options(config, address);
                let adopted = sockets.into_iter().map(|socket| UdpSocket::adopt(socket, &options));
                adopted.collect::<io::Result<_>>().with_context(|| format!("cannot take over UDP {address}"))
            }
            None => bind_udp(config, address, threads),
        }
    }

    fn tcp(
        &mut self,
        config: &Config,
        address: SocketAddr,
        threads: u16,
    ) -> anyhow::Result<Vec<TcpListener>> {
        match self.inherited.take(true, address) {
            Some(sockets) => {
                let adopted = sockets.into_iter().map(TcpListener::adopt);
                adopted.collect::<io::Result<_>>().with_context(|| format!("cannot take over TCP {address}"))
            }
            None => bind_tcp(config, address, threads),
        }
    }

    /// Takes one thread's share.
    pub(crate) fn share(&mut self) -> (Vec<Listener>, Vec<TcpListener>) {
        let udp = self.udp.iter_mut().filter_map(Vec::pop);
        let dtls = self.dtls.iter_mut().filter_map(Vec::pop);
        let udp = udp.map(|socket| Listener { socket, plain: true });
        let dtls = dtls.map(|socket| Listener { socket, plain: self.plain_beside_dtls });
        let datagrams = udp.chain(dtls).collect();
        let tcp = self.tcp.iter_mut().filter_map(Vec::pop).collect();
        (datagrams, tcp)
    }

    /// The least buffers that the system granted.
    pub(crate) fn buffers(&self) -> Option<(usize, usize)> {
        self.udp.iter().chain(&self.dtls).flatten().map(UdpSocket::buffer_sizes).min()
    }
}

fn udp_options(config: &Config, address: SocketAddr) -> UdpOptions {
    UdpOptions {
        receive_buffer: config.socket_buffer,
        send_buffer: config.socket_buffer,
        packet_info: address.ip().is_unspecified(),
        device: config.listening_device.clone(),
        ..UdpOptions::default()
    }
}

fn bind_udp(config: &Config, address: SocketAddr, threads: u16) -> anyhow::Result<Vec<UdpSocket>> {
    let options = udp_options(config, address);
    // Sockets that share an address let a second server in unnoticed: look first, sharing nothing.
    let bound = UdpSocket::bind(address, &options).and_then(|probe| {
        drop(probe);
        UdpSocket::bind_group(address, threads.into(), &options)
    });
    bound.map_err(|error| {
        let holder = holder_of_udp_address(address)
            .map(|holder| format!("process {} ({})", holder.process, holder.name));
        explain(error, config, "UDP", address, holder)
    })
}

fn bind_tcp(config: &Config, address: SocketAddr, threads: u16) -> anyhow::Result<Vec<TcpListener>> {
    let device = config.listening_device.as_deref();
    let bound = TcpListener::bind_group(address, 1, device).and_then(|probe| {
        drop(probe);
        TcpListener::bind_group(address, threads.into(), device)
    });
    bound.map_err(|error| {
        let holder = holder_of_tcp_address(address)
            .map(|holder| format!("process {} ({})", holder.process, holder.name));
        explain(error, config, "TCP", address, holder)
    })
}

fn explain(
    error: io::Error,
    config: &Config,
    transport: &str,
    address: SocketAddr,
    holder: Option<String>,
) -> anyhow::Error {
    let second = config.rfc5780 && address.port() == config.second_port();
    let second_for_tls = config.rfc5780 && address.port() == config.second_tls_port();
    let remedy = match transport {
        "TCP" if config.balancing.proxy_port == Some(address.port()) => {
            "stop that or choose another tcp-proxy-port"
        }
        _ if config.balancing.auxiliary.contains(&address) => "stop that or give aux-server another port",
        _ if second_for_tls => "stop that or choose another second port for TLS with alt-tls-listening-port",
        _ if second => "stop that or choose another second port for rfc5780 with alt-listening-port",
        "TCP" => "stop that, choose another port with listening-port or tls-listening-port, or set no-tcp",
        _ if address.port() == config.tls_port => {
            "stop that, choose another port with tls-listening-port, or leave dtls away"
        }
        _ => "stop that or choose another port with listening-port",
    };
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{} holds it; {remedy}", holder.as_deref().unwrap_or("another process"))
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege: run as root, or grant CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => "is it an address of this machine?".to_owned(),
    };
    anyhow::Error::new(error).context(format!("cannot listen on {transport} {address}: {why}"))
}
