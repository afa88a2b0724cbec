//! Binding what clients come in by.

use std::io;
use std::net::SocketAddr;

use turnpike_config::Config;
use turnpike_net::{TcpListener, UdpOptions, UdpSocket, holder_of_tcp_address, holder_of_udp_address};
use turnpike_worker::Listener;

use crate::certificates::Served;

/// Every listening socket: for each address one for each thread.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) udp: Vec<Vec<UdpSocket>>,
    /// Those on the port for DTLS. They come behind all others: NAT behaviour discovery counts on the links of those.
    pub(crate) dtls: Vec<Vec<UdpSocket>>,
    /// Whether plain UDP is served there as well.
    pub(crate) plain_beside_dtls: bool,
    pub(crate) tcp: Vec<Vec<TcpListener>>,
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
        secure: Served,
    ) -> anyhow::Result<Self> {
        let mut listeners = Listeners { plain_beside_dtls: config.udp, ..Listeners::default() };
        for address in addresses {
            if config.udp {
                listeners.udp.push(bind_udp(config, *address, threads)?);
            }
            if config.tcp {
                listeners.tcp.push(bind_tcp(config, *address, threads)?);
            }
            // Once for each address, also where it has a second port.
            let for_tls = SocketAddr::new(address.ip(), config.tls_port);
            let is_other = !addresses.contains(&for_tls);
            if address.port() != config.listening_port {
                continue;
            }
            if secure.tls && (is_other || !config.tcp) {
                listeners.tcp.push(bind_tcp(config, for_tls, threads)?);
            }
            if secure.dtls && (is_other || !config.udp) {
                listeners.dtls.push(bind_udp(config, for_tls, threads)?);
            }
        }
        Ok(listeners)
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

fn bind_udp(config: &Config, address: SocketAddr, threads: u16) -> anyhow::Result<Vec<UdpSocket>> {
    let options = UdpOptions {
        receive_buffer: config.socket_buffer,
        send_buffer: config.socket_buffer,
        packet_info: address.ip().is_unspecified(),
        device: config.listening_device.clone(),
        ..UdpOptions::default()
    };
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
    let remedy = match transport {
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
