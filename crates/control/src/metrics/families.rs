//! Every metric there is: its name, its labels and what it means. The reference page is made from this list, so that it
//! is never out of date.
//!
//! Labels come from the configuration or from lists in the code, never from a client: no user, address or session is
//! one. The one exception, users, is off unless asked for, and bounded by [`TopUsers`](crate::metrics::TopUsers).

/// A metric, or several of one name told apart by labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What kind of values it has.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it is, in a sentence.
    pub help: &'static str,
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows until the server is started anew.
    Counter,
    /// Likewise, under the name that coturn gave it.
    CoturnCounter,
    /// As it is now.
    Gauge,
    /// Durations in seconds.
    Histogram,
}

macro_rules! families {
    ($($group:literal { $($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)* })*) => {
        $($(
            #[doc = $help]
            pub static $constant: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*)*

        /// All of them, by what they are about.
        pub const GROUPS: &[(&str, &[&Family])] = &[$(($group, &[$(&$constant),*])),*];
    };
}

families! {
    "The server" {
        BUILD_INFO = Gauge "turnpike_build_info" ["version"] "Always 1; the label says which version runs.";
        START_TIME = Gauge "process_start_time_seconds" [] "When the server was started, in seconds since 1970.";
        PROCESSOR = Counter "process_cpu_seconds_total" [] "Processor time used, in the kernel and out of it.";
        MEMORY = Gauge "process_resident_memory_bytes" [] "Memory that is really there.";
        DESCRIPTORS = Gauge "process_open_fds" [] "Open file descriptors; each relayed address takes one.";
        DESCRIPTOR_LIMIT = Gauge "process_max_fds" [] "How many there may be.";
        STATE = Gauge "turnpike_state" ["state"] "1 for the state the server is in (serving, draining, stopping), 0 for the others.";
        WORKERS = Gauge "turnpike_workers" [] "Threads that serve clients and relay.";
        SELF_TEST = Gauge "turnpike_self_test_success" [] "Whether the last self-test succeeded: Binding, Allocate, and data through the relay. Absent until somebody has asked /healthz for one.";
        SELF_TEST_DURATION = Gauge "turnpike_self_test_duration_seconds" [] "How long the last self-test took.";
        SELF_TEST_TIME = Gauge "turnpike_self_test_timestamp_seconds" [] "When it was made, in seconds since 1970.";
        CERTIFICATE = Gauge "turnpike_certificate_expiry_timestamp_seconds" [] "When the certificate that clients see ends, in seconds since 1970.";
        DATABASE = Gauge "turnpike_database_up" [] "Whether the database answers. Absent where there is none.";
        LOST_LINES = Counter "turnpike_log_lines_lost_total" [] "Reports that were lost because they came faster than they were heard, and lines that the log could not write.";
        RECORDS = Counter "turnpike_session_records_total" ["keeper", "outcome"] "Records of sessions, by who keeps them (file, database, webhook) and what became of them: kept or lost. Absent where nobody keeps any.";
        STATSDB = Counter "turnpike_statsdb_messages_total" ["outcome"] "Keys and messages for redis-statsdb: told, or lost. Absent without it.";
    }
    "Sessions" {
        ALLOCATIONS = Gauge "turnpike_allocations" ["transport"] "Allocations alive now, by what their clients come by (UDP, TCP, TLS, DTLS).";
        REALM_ALLOCATIONS = Gauge "turnpike_realm_allocations" ["realm"] "Allocations alive now, by realm; those of realms beyond the first 63 as `(other)`.";
        CREATED = Counter "turnpike_allocations_created_total" [] "Allocations made.";
        ENDED = Counter "turnpike_allocations_ended_total" ["cause"] "Allocations ended, by why.";
        MOVED = Counter "turnpike_allocations_moved_total" [] "Allocations that came from another thread with their clients (RFC 8016), and from another process with an upgrade.";
        DURATION = Histogram "turnpike_allocation_duration_seconds" [] "How long allocations lived that have ended.";
    }
    "Traffic" {
        PACKETS = Counter "turnpike_relayed_packets_total" ["direction", "realm"] "Packets relayed, as it happens: `to_peer` from clients, `to_client` from peers.";
        BYTES = Counter "turnpike_relayed_bytes_total" ["direction", "realm"] "Application data in them, without any headers.";
        KERNEL_PACKETS = Counter "turnpike_kernel_relayed_packets_total" [] "Of these, packets that the kernel fast path relayed.";
        KERNEL_BYTES = Counter "turnpike_kernel_relayed_bytes_total" [] "Application data in them.";
        WORKER_PACKETS = Counter "turnpike_worker_relayed_packets_total" ["worker"] "Packets relayed by each thread: whether the load is spread evenly.";
        ICMP = Counter "turnpike_icmp_errors_passed_total" [] "ICMP errors from peers that clients were told of.";
    }
    "Requests" {
        REQUESTS = Counter "turnpike_requests_total" ["method"] "Requests received, by method.";
        RESPONSES = Counter "turnpike_responses_total" ["method", "code"] "Responses sent, by method and error code; `success` for none.";
        CHALLENGES = Counter "turnpike_challenges_total" [] "401 responses to requests without credentials: the first one of every client, and no failure.";
        AUTHENTICATION = Counter "turnpike_authentication_failures_total" ["reason"] "Requests whose credentials were no good, by why; `turnpike explain REASON` says more. Challenges are not among them.";
        REFUSALS = Counter "turnpike_requests_refused_total" ["reason"] "Requests with good credentials that could not be granted, by why.";
        DATABASE_WAIT = Histogram "turnpike_database_wait_seconds" [] "How long requests waited for the database to say who sent them.";
    }
    "Drops" {
        DROPS = Counter "turnpike_packets_dropped_total" ["reason"] "Packets that were dropped without an answer, by why; `turnpike explain REASON` says more.";
        SEND_DROPS = Counter "turnpike_send_failures_total" ["reason"] "Datagrams that could not be sent: a full socket buffer, no route, a firewall, too large, a socket or connection that was gone meanwhile (`stale`), or another error.";
        LISTENER_DROPS = Counter "turnpike_listener_drops_total" [] "Datagrams from clients that the kernel dropped because a listener's buffer was full: the server is too slow, or sock-buf-size too small.";
        MACHINE_RECEIVE_DROPS = Counter "turnpike_machine_udp_receive_buffer_errors_total" ["family"] "Datagrams that the kernel dropped in front of any full socket in this network namespace, other programs' included.";
        MACHINE_SEND_DROPS = Counter "turnpike_machine_udp_send_buffer_errors_total" ["family"] "Likewise for what was to be sent.";
    }
    "Limits" {
        PORTS = Gauge "turnpike_relay_ports_used" ["family"] "Relayed ports in use or reserved.";
        PORT_LIMIT = Gauge "turnpike_relay_ports" ["family"] "How many there are: min-port to max-port on each relay address.";
        QUOTA = Gauge "turnpike_allocation_quota" [] "total-quota; 0 for no limit.";
        QUOTA_USED = Gauge "turnpike_allocation_quota_used" [] "Allocations that count towards quotas.";
        LIMITED_SOURCES = Gauge "turnpike_limited_sources" [] "Sources of requests without credentials that have not come back with a nonce, seen over some seconds.";
    }
    "Connections" {
        ACCEPTED = Counter "turnpike_connections_accepted_total" [] "TCP and TLS connections accepted.";
        CLOSED = Counter "turnpike_connections_closed_total" ["reason"] "Connections that the server refused or closed: too many, idle, not STUN, or the client does not take its answers.";
        STREAM_DROPS = Counter "turnpike_connection_messages_dropped_total" [] "Messages dropped because a client did not take those before.";
        DTLS = Counter "turnpike_dtls_handshakes_total" ["outcome"] "DTLS handshakes by what came of them: `challenged` hellos without a cookie, `begun`, `established`, `refused`, `failed`, `abandoned`.";
        DTLS_IDLE = Counter "turnpike_dtls_idle_total" [] "DTLS associations closed because they were silent for too long.";
        DTLS_DROPS = Counter "turnpike_dtls_datagrams_dropped_total" ["reason"] "Datagrams of no DTLS association (`ignored`), and messages that no record had room for (`unsent`).";
    }
    "How fast" {
        TURNS = Histogram "turnpike_turn_duration_seconds" [] "How long a turn of a thread's loop takes, of one turn in 32: no packet waits in the server for longer.";
        RECEIVE_CALLS = Counter "turnpike_receive_calls_total" [] "System calls that brought datagrams.";
        RECEIVE_MESSAGES = Counter "turnpike_receive_messages_total" [] "Messages that they brought: datagrams, or trains of them joined by the kernel.";
        SEND_CALLS = Counter "turnpike_send_calls_total" [] "System calls that sent datagrams.";
        SENT = Counter "turnpike_sent_datagrams_total" [] "Datagrams sent.";
        SEGMENTED = Counter "turnpike_sent_segmented_datagrams_total" [] "Of these, datagrams that went in trains (UDP_SEGMENT).";
    }
    "coturn's" {
        COTURN_BINDING = CoturnCounter "stun_binding_request" [] "Binding requests received.";
        COTURN_BINDING_RESPONSE = CoturnCounter "stun_binding_response" [] "Binding requests answered.";
        COTURN_BINDING_ERROR = CoturnCounter "stun_binding_error" [] "Binding requests answered with an error.";
        COTURN_401_REQUESTS = CoturnCounter "turn_unauthenticated_401_requests" [] "Requests without credentials.";
        COTURN_401_RESPONSES = CoturnCounter "turn_unauthenticated_401_responses" [] "Of these, requests that were answered.";
        COTURN_401_DROPPED = CoturnCounter "turn_unauthenticated_401_dropped_responses" [] "Answers to unauthenticated requests that were withheld.";
        COTURN_COLLISIONS = CoturnCounter "turn_ratelimit_hash_collisions" [] "Always 0: sources that share a place share what they may have.";
        COTURN_OCCUPIED = Gauge "turn_ratelimit_occupied_buckets" [] "Places of the limit on unauthenticated requests that are in use.";
        COTURN_BUCKETS = Gauge "turn_ratelimit_total_buckets" [] "How many there are.";
        COTURN_RCVP = CoturnCounter "turn_traffic_rcvp" ["realm"] "Packets received from clients and relayed.";
        COTURN_RCVB = CoturnCounter "turn_traffic_rcvb" ["realm"] "Bytes of data in them.";
        COTURN_SENTP = CoturnCounter "turn_traffic_sentp" ["realm"] "Packets relayed to clients.";
        COTURN_SENTB = CoturnCounter "turn_traffic_sentb" ["realm"] "Bytes of data in them.";
        COTURN_PEER_RCVP = CoturnCounter "turn_traffic_peer_rcvp" ["realm"] "Packets received from peers and relayed.";
        COTURN_PEER_RCVB = CoturnCounter "turn_traffic_peer_rcvb" ["realm"] "Bytes of data in them.";
        COTURN_PEER_SENTP = CoturnCounter "turn_traffic_peer_sentp" ["realm"] "Packets relayed to peers.";
        COTURN_PEER_SENTB = CoturnCounter "turn_traffic_peer_sentb" ["realm"] "Bytes of data in them.";
        COTURN_ALL_RCVP = CoturnCounter "turn_total_traffic_rcvp" [] "Packets received from clients and relayed, of all realms.";
        COTURN_ALL_RCVB = CoturnCounter "turn_total_traffic_rcvb" [] "Bytes of data in them.";
        COTURN_ALL_SENTP = CoturnCounter "turn_total_traffic_sentp" [] "Packets relayed to clients, of all realms.";
        COTURN_ALL_SENTB = CoturnCounter "turn_total_traffic_sentb" [] "Bytes of data in them.";
        COTURN_ALL_PEER_RCVP = CoturnCounter "turn_total_traffic_peer_rcvp" [] "Packets received from peers and relayed, of all realms.";
        COTURN_ALL_PEER_RCVB = CoturnCounter "turn_total_traffic_peer_rcvb" [] "Bytes of data in them.";
        COTURN_ALL_PEER_SENTP = CoturnCounter "turn_total_traffic_peer_sentp" [] "Packets relayed to peers, of all realms.";
        COTURN_ALL_PEER_SENTB = CoturnCounter "turn_total_traffic_peer_sentb" [] "Bytes of data in them.";
        COTURN_ALLOCATIONS = Gauge "turn_total_allocations" ["type"] "Allocations alive now, by coturn's words for what their clients come by: UDP, TCP, TLS/TCP, DTLS.";
        COTURN_PROCESSED = CoturnCounter "turn_packet_processed" [] "Packets relayed and requests answered.";
        COTURN_DROPPED = CoturnCounter "turn_packet_dropped" [] "Packets dropped.";
        COTURN_RECEIVE_CALLS = CoturnCounter "turn_udp_recvmmsg_calls" [] "System calls that brought datagrams.";
        COTURN_RECEIVE_PACKETS = CoturnCounter "turn_udp_recvmmsg_packets" [] "Messages that they brought.";
        COTURN_FLUSHES = CoturnCounter "turn_udp_sendmmsg_flushes" [] "System calls that sent datagrams.";
        COTURN_SENT = CoturnCounter "turn_udp_sendmmsg_datagrams" [] "Datagrams sent.";
        COTURN_SEGMENTED = CoturnCounter "turn_udp_sendmmsg_gso_datagrams" [] "Of these, datagrams that went in trains.";
    }
    "coturn's, with prometheus-username-labels in place of those of the same name" {
        USER_RCVP = CoturnCounter "turn_traffic_rcvp" ["realm", "user"] "As above, by user, of sessions that have ended; users beyond the 100 with the most traffic as `(other)`.";
        USER_RCVB = CoturnCounter "turn_traffic_rcvb" ["realm", "user"] "Likewise.";
        USER_SENTP = CoturnCounter "turn_traffic_sentp" ["realm", "user"] "Likewise.";
        USER_SENTB = CoturnCounter "turn_traffic_sentb" ["realm", "user"] "Likewise.";
        USER_PEER_RCVP = CoturnCounter "turn_traffic_peer_rcvp" ["realm", "user"] "Likewise.";
        USER_PEER_RCVB = CoturnCounter "turn_traffic_peer_rcvb" ["realm", "user"] "Likewise.";
        USER_PEER_SENTP = CoturnCounter "turn_traffic_peer_sentp" ["realm", "user"] "Likewise.";
        USER_PEER_SENTB = CoturnCounter "turn_traffic_peer_sentb" ["realm", "user"] "Likewise.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_what_they_are() {
        let all = || GROUPS.iter().flat_map(|(_, families)| families.iter());
        for family in all() {
            let same =
                all().filter(|other| other.name == family.name && other.labels == family.labels).count();
            assert_eq!(same, 1, "{}", family.name);
            assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{}", family.name);
            let suffixes = match family.kind {
                Kind::Counter => &["_total"][..],
                Kind::Histogram => &["_seconds"],
                Kind::Gauge | Kind::CoturnCounter => &[""],
            };
            assert!(suffixes.iter().any(|suffix| family.name.ends_with(suffix)), "{}", family.name);
        }
    }
}
