//! The attackers' sockets: whole windows of packets go out in few system calls.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use turnpike_net::{
    Body, Datagram, Egress, FlushReport, PacketPool, Received, Receiver, SocketId, Sockets, UdpOptions,
    UdpSocket,
};

use crate::wire;

/// Sockets of many addresses, and how to send from and read at them.
pub(crate) struct Attackers {
    sockets: Sockets,
    names: Vec<SocketId>,
    egress: Egress,
    receiver: Receiver,
    pool: PacketPool,
    received: Vec<Received>,
}

impl Attackers {
    /// One socket on each address.
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        let options = UdpOptions { receive_buffer: 4 << 20, send_buffer: 4 << 20, ..UdpOptions::default() };
        let mut sockets = Sockets::default();
        let bind = |address: &SocketAddr| sockets.insert(UdpSocket::bind(*address, &options).unwrap());
        let names = addresses.iter().map(bind).collect();
        Attackers {
            sockets,
            names,
            egress: Egress::new(1024),
            receiver: Receiver::new(64),
            pool: PacketPool::new(64),
            received: Vec::new(),
        }
    }

    /// Queues a packet.
    pub(crate) fn push(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) -> FlushReport {
        let report = if self.egress.is_full() { self.flush() } else { FlushReport::default() };
        self.egress.push(&Datagram {
            socket: self.names[from],
            to,
            source: None,
            head: &[],
            body: Body::Built(bytes),
            tail: &[],
            dont_fragment: false,
        });
        report
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self) -> FlushReport {
        self.egress.flush(&self.sockets, &self.pool)
    }

    /// Reads what has come to a socket; returns the response to `id`, should it be among it.
    pub(crate) fn read(&mut self, at: usize, id: [u8; 12]) -> Option<Vec<u8>> {
        let socket = self.sockets.get(self.names[at])?;
        let mut answer = None;
        loop {
            self.pool.clear();
            self.received.clear();
            let count = self.receiver.receive(socket, 64, &mut self.pool, &mut self.received).unwrap();
            for span in self.received.iter().flat_map(Received::datagrams) {
                let bytes = self.pool.bytes(span);
                if wire::answers(bytes, id) {
                    answer = Some(bytes.to_vec());
                }
            }
            if count == 0 {
                return answer;
            }
        }
    }

    /// Waits for the response to `id`; `None` if it does not come in time.
    pub(crate) fn wait(&mut self, at: usize, id: [u8; 12], patience: Duration) -> Option<Vec<u8>> {
        let began = Instant::now();
        loop {
            let answer = self.read(at, id);
            if answer.is_some() || began.elapsed() >= patience {
                return answer;
            }
            // Both processors belong to the server now.
            std::thread::yield_now();
        }
    }

    /// Asks until there is an answer.
    pub(crate) fn ask(&mut self, from: usize, to: SocketAddr, id: [u8; 12], request: &[u8]) -> Vec<u8> {
        for _ in 0..100 {
            self.push(from, to, request);
            self.flush();
            if let Some(answer) = self.wait(from, id, Duration::from_millis(100)) {
                return answer;
            }
        }
        panic!("the server has stopped answering");
    }
}
