//! Every syscall of the data plane: batches of datagrams between kernel and buffers, polling, clocks, limits.
//!
//! Linux only. The API is safe; `unsafe` stays in small islands that each say why they are sound.
//! Received bytes are never written: what goes before and after them leaves in iovecs of its own.

#[cfg(not(target_os = "linux"))]
compile_error!("turnpike-net speaks recvmmsg, UDP_SEGMENT and epoll: it builds on Linux only");

mod address;
mod clock;
mod control_message;
mod egress;
mod gro_policy;
mod interfaces;
mod limits;
mod packet_pool;
mod poller;
mod port_holder;
mod receive;
mod sockets;
mod udp;

pub use clock::{Clock, Reading};
pub use egress::{Body, Datagram, Egress, FlushReport};
pub use gro_policy::GroPolicy;
pub use interfaces::{InterfaceAddress, default_route_source, local_addresses};
pub use limits::{DescriptorLimit, pin_to_core, raise_descriptor_limit};
pub use packet_pool::{PacketPool, Span};
pub use poller::{Events, Poller, Waker};
pub use port_holder::{Holder, holder_of_udp_port};
pub use receive::{Received, Receiver};
pub use sockets::{SocketId, Sockets};
pub use udp::{UdpOptions, UdpSocket};
