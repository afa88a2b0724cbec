//! Every syscall of the data plane: batches of datagrams between kernel and buffers, polling, clocks, limits.
//!
//! Linux only. The API is safe; `unsafe` stays in small islands that each say why they are sound.
//! Received bytes are never written: in a train that the kernel joined, the place before one datagram is the end of
//! another. Nothing here logs, and nothing allocates or locks per packet; what happens is counted in reports.

#[cfg(not(target_os = "linux"))]
compile_error!("turnpike-net speaks recvmmsg, UDP_SEGMENT and epoll: it builds on Linux only");

mod address;
mod clock;
mod control_message;
mod egress;
mod gro_policy;
mod icmp_error;
mod interfaces;
mod limits;
mod line;
mod pace;
mod packet_pool;
mod poller;
mod port_holder;
mod process;
mod proxy_header;
mod receive;
mod shared_words;
mod sockets;
mod tcp;
mod udp;

pub use clock::{Clock, Reading};
pub use egress::{Body, Datagram, Egress, FlushReport, IpFields};
pub use gro_policy::GroPolicy;
pub use icmp_error::IcmpError;
pub use interfaces::{InterfaceAddress, default_route_source, local_addresses};
pub use limits::{DescriptorLimit, pin_to_core, raise_descriptor_limit};
pub use line::{Line, Parcel};
pub use packet_pool::{PacketPool, Span};
pub use poller::{Events, Interest, Poller, Waker};
pub use port_holder::{Holder, holder_of_tcp_address, holder_of_udp_address};
pub use process::{Forked, Identity, fork};
pub use proxy_header::{Carrier, ProxiedPath, ProxyHeader, ProxyHeaderError};
pub use receive::{ReceiveReport, Received, Receiver};
pub use shared_words::SharedWords;
pub use sockets::{SocketId, Sockets};
pub use tcp::{TcpConnection, TcpListener};
pub use udp::{UdpOptions, UdpSocket};
