//! Counters of one worker: plain integers, read by copying.

use turnpike_wire::Method;

use crate::reason::Reason;

/// Everything a server counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Dropped packets and refused requests, by [`Reason`].
    refusals: [u64; Reason::ALL.len()],
    /// Requests by method.
    pub requests: Requests,
    /// Packets relayed from clients to peers.
    pub client_packets: u64,
    /// Bytes of application data relayed from clients to peers.
    pub client_bytes: u64,
    /// Packets relayed from peers to clients.
    pub peer_packets: u64,
    /// Bytes of application data relayed from peers to clients.
    pub peer_bytes: u64,
    /// Of all these packets, both ways, those relayed as flows in the core's place, such as by the kernel.
    pub flow_packets: u64,
    /// Their bytes.
    pub flow_bytes: u64,
    /// ICMP errors passed on to clients.
    pub icmp_errors: u64,
    /// Allocations made.
    pub allocations_created: u64,
    /// Allocations ended.
    pub allocations_ended: u64,
    /// Allocations that came from other workers (RFC 8016), or from the process before this one.
    pub allocations_arrived: u64,
    /// Allocations that went to other workers, or to the process after this one.
    pub allocations_departed: u64,
    /// 401 answers to requests without credentials.
    pub challenges: u64,
    /// Success responses sent.
    pub successes: u64,
    /// Error responses sent, challenges included.
    pub errors: u64,
}

/// Requests received, by method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Binding.
    pub binding: u64,
    /// Allocate.
    pub allocate: u64,
    /// Refresh.
    pub refresh: u64,
    /// CreatePermission.
    pub create_permission: u64,
    /// ChannelBind.
    pub channel_bind: u64,
    /// Connect.
    pub connect: u64,
    /// ConnectionBind.
    pub connection_bind: u64,
    /// Anything else.
    pub other: u64,
}

impl Stats {
    /// How often `reason` applied.
    pub fn refused(&self, reason: Reason) -> u64 {
        self.refusals[reason as usize]
    }

    /// Dropped packets and refused requests that ever were, with their counts.
    pub fn refusals(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|reason| (*reason, self.refused(*reason))).filter(|(_, count)| *count > 0)
    }

    /// Allocations alive now.
    pub fn allocations(&self) -> u64 {
        self.allocations_created + self.allocations_arrived
            - self.allocations_ended
            - self.allocations_departed
    }

    #[inline]
    pub(crate) fn count(&mut self, reason: Reason) {
        self.refusals[reason as usize] += 1;
    }

    pub(crate) fn count_request(&mut self, method: Method) {
        let counter = match method {
            Method::BINDING => &mut self.requests.binding,
            Method::ALLOCATE => &mut self.requests.allocate,
            Method::REFRESH => &mut self.requests.refresh,
            Method::CREATE_PERMISSION => &mut self.requests.create_permission,
            Method::CHANNEL_BIND => &mut self.requests.channel_bind,
            Method::CONNECT => &mut self.requests.connect,
            Method::CONNECTION_BIND => &mut self.requests.connection_bind,
            _ => &mut self.requests.other,
        };
        *counter += 1;
    }
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            refusals: [0; Reason::ALL.len()],
            requests: Requests::default(),
            client_packets: 0,
            client_bytes: 0,
            peer_packets: 0,
            peer_bytes: 0,
            flow_packets: 0,
            flow_bytes: 0,
            icmp_errors: 0,
            allocations_created: 0,
            allocations_ended: 0,
            allocations_arrived: 0,
            allocations_departed: 0,
            challenges: 0,
            successes: 0,
            errors: 0,
        }
    }
}
