//! Readings written as metrics.

use std::time::SystemTime;

use turnpike_control::metrics::families::*;
use turnpike_control::metrics::{Exposition, Family, Format, UserTraffic};
use turnpike_turn::{Answered, Kind, Transport, Usage};

use super::readings::Readings;
use crate::operations::Serving;

/// All of them as a text.
pub(super) fn write(readings: &Readings, format: Format) -> String {
    let mut text = Exposition::new(format);
    server(&mut text, readings);
    sessions(&mut text, readings);
    traffic(&mut text, readings);
    requests(&mut text, readings);
    drops(&mut text, readings);
    limits(&mut text, readings);
    connections(&mut text, readings);
    speed(&mut text, readings);
    coturn(&mut text, readings);
    coturn_traffic(&mut text, readings);
    text.finish()
}

fn server(text: &mut Exposition, readings: &Readings) {
    text.family(&BUILD_INFO).labelled(&[env!("CARGO_PKG_VERSION")], 1u64);
    text.family(&START_TIME).value(unix_time(readings.started));
    text.family(&PROCESSOR).value(readings.process.processor.as_secs_f64());
    text.family(&MEMORY).value(readings.process.memory);
    text.family(&DESCRIPTORS).value(readings.process.descriptors);
    text.family(&DESCRIPTOR_LIMIT).value(readings.process.descriptor_limit);
    let mut states = text.family(&STATE);
    for (word, state) in
        [("serving", Serving::Fully), ("draining", Serving::Draining), ("stopping", Serving::Stopping)]
    {
        states.labelled(&[word], readings.serving == state);
    }
    text.family(&WORKERS).value(readings.by_worker.len() as u64);
    if let Some(tried) = &readings.tried {
        text.family(&SELF_TEST).value(tried.succeeded());
        text.family(&SELF_TEST_DURATION).value(tried.took.as_secs_f64());
        text.family(&SELF_TEST_TIME).value(unix_time(tried.time));
    }
    if let Some(expires) = readings.certificate {
        text.family(&CERTIFICATE).value(expires);
    }
    if let Some(answers) = readings.database {
        text.family(&DATABASE).value(answers);
    }
    text.family(&LOST_LINES).value(readings.lost_lines);
    told(text, readings);
}

/// Absent where nobody is told.
fn told(text: &mut Exposition, readings: &Readings) {
    if !readings.records.is_empty() {
        let mut records = text.family(&RECORDS);
        for (kind, kept, lost) in &readings.records {
            records.labelled(&[kind, "kept"], *kept);
            records.labelled(&[kind, "lost"], *lost);
        }
    }
    if let Some((told, lost)) = readings.statsdb {
        let mut messages = text.family(&STATSDB);
        messages.labelled(&["told"], told);
        messages.labelled(&["lost"], lost);
    }
}

fn sessions(text: &mut Exposition, readings: &Readings) {
    let stats = &readings.counters.stats;
    let mut allocations = text.family(&ALLOCATIONS);
    for (transport, count) in stats.by_transport() {
        allocations.labelled(&[word_for(transport)], count);
    }
    let mut by_realm = text.family(&REALM_ALLOCATIONS);
    for (realm, counters) in stats.realms.iter() {
        by_realm.labelled(&[realm.unwrap_or(OTHER)], counters.allocations);
    }
    text.family(&CREATED).value(stats.allocations_created);
    let mut ended = text.family(&ENDED);
    for (cause, count) in stats.by_cause() {
        ended.labelled(&[cause.code()], count);
    }
    text.family(&MOVED).value(stats.allocations_arrived);
    text.family(&DURATION).histogram(&stats.durations);
}

fn traffic(text: &mut Exposition, readings: &Readings) {
    let stats = &readings.counters.stats;
    let mut packets = text.family(&PACKETS);
    for (realm, counters) in stats.realms.iter() {
        let realm = realm.unwrap_or(OTHER);
        packets.labelled(&["to_peer", realm], counters.usage.client_packets);
        packets.labelled(&["to_client", realm], counters.usage.peer_packets);
    }
    let mut bytes = text.family(&BYTES);
    for (realm, counters) in stats.realms.iter() {
        let realm = realm.unwrap_or(OTHER);
        bytes.labelled(&["to_peer", realm], counters.usage.client_bytes);
        bytes.labelled(&["to_client", realm], counters.usage.peer_bytes);
    }
    let relayed = stats.relayed();
    text.family(&KERNEL_PACKETS).value(relayed.flow_packets);
    text.family(&KERNEL_BYTES).value(relayed.flow_bytes);
    let mut workers = text.family(&WORKER_PACKETS);
    for (number, packets) in readings.by_worker.iter().enumerate() {
        workers.labelled(&[number.to_string().as_str()], *packets);
    }
    text.family(&ICMP).value(stats.icmp_errors);
}

fn requests(text: &mut Exposition, readings: &Readings) {
    let stats = &readings.counters.stats;
    let mut requests = text.family(&REQUESTS);
    for (method, count) in stats.requests.iter() {
        requests.labelled(&[method], count);
    }
    let mut responses = text.family(&RESPONSES);
    for (method, answered, count) in stats.answers() {
        match answered {
            Answered::Success => responses.labelled(&[method, "success"], count),
            Answered::Error(number) => {
                responses.labelled(&[method, number.number().to_string().as_str()], count)
            }
        }
    }
    text.family(&CHALLENGES).value(stats.challenges);
    let is_challenge = |reason: turnpike_turn::Reason| reason == turnpike_turn::Reason::NoCredentials;
    for (family, kind) in [(&AUTHENTICATION, Kind::Credentials), (&REFUSALS, Kind::Request)] {
        let mut refusals = text.family(family);
        for (reason, count) in stats.refusals() {
            if reason.kind() == kind && !is_challenge(reason) {
                refusals.labelled(&[reason.code()], count);
            }
        }
    }
    text.family(&DATABASE_WAIT).histogram(&stats.database_waits);
}

fn drops(text: &mut Exposition, readings: &Readings) {
    let mut drops = text.family(&DROPS);
    for (reason, count) in readings.counters.stats.refusals() {
        if reason.kind() == Kind::Packet {
            drops.labelled(&[reason.code()], count);
        }
    }
    let sent = &readings.counters.sent;
    let mut unsent = text.family(&SEND_DROPS);
    for (reason, count) in [
        ("buffer_full", sent.buffer_full),
        ("unreachable", sent.unreachable),
        ("forbidden", sent.forbidden),
        ("too_large", sent.too_large),
        ("stale", sent.stale),
        ("failed", sent.failed),
    ] {
        unsent.labelled(&[reason], count);
    }
    text.family(&LISTENER_DROPS).value(readings.counters.dropped_by_kernel);
    for (family, counts) in
        [(&MACHINE_RECEIVE_DROPS, readings.drops.received), (&MACHINE_SEND_DROPS, readings.drops.sent)]
    {
        let mut samples = text.family(family);
        FAMILIES.into_iter().zip(counts).for_each(|(name, count)| samples.labelled(&[name], count));
    }
}

fn limits(text: &mut Exposition, readings: &Readings) {
    let mut taken = text.family(&PORTS);
    FAMILIES.into_iter().zip(readings.ports).for_each(|(name, (count, _))| taken.labelled(&[name], count));
    let mut all = text.family(&PORT_LIMIT);
    FAMILIES.into_iter().zip(readings.ports).for_each(|(name, (_, count))| all.labelled(&[name], count));
    text.family(&QUOTA).value(readings.quota);
    text.family(&QUOTA_USED).value(readings.quota_used);
    text.family(&LIMITED_SOURCES).value(readings.counters.stats.limited_sources);
}

fn connections(text: &mut Exposition, readings: &Readings) {
    let streams = &readings.counters.streams;
    text.family(&ACCEPTED).value(streams.accepted);
    let mut closed = text.family(&CLOSED);
    for (reason, count) in [
        ("refused", streams.refused),
        ("idle", streams.idle),
        ("invalid", streams.invalid),
        ("stuck", streams.stuck),
    ] {
        closed.labelled(&[reason], count);
    }
    text.family(&STREAM_DROPS).value(streams.dropped);
    let dtls = &readings.counters.dtls;
    let mut handshakes = text.family(&DTLS);
    for (outcome, count) in [
        ("challenged", dtls.challenged),
        ("begun", dtls.begun),
        ("established", dtls.established),
        ("refused", dtls.refused),
        ("failed", dtls.failed),
        ("abandoned", dtls.abandoned),
    ] {
        handshakes.labelled(&[outcome], count);
    }
    text.family(&DTLS_IDLE).value(dtls.idle);
    let mut dropped = text.family(&DTLS_DROPS);
    dropped.labelled(&["ignored"], dtls.ignored);
    dropped.labelled(&["unsent"], dtls.unsent);
}

fn speed(text: &mut Exposition, readings: &Readings) {
    let counters = &readings.counters;
    text.family(&TURNS).histogram(&counters.turns);
    text.family(&RECEIVE_CALLS).value(counters.received.calls);
    text.family(&RECEIVE_MESSAGES).value(counters.received.messages);
    text.family(&SEND_CALLS).value(counters.sent.calls);
    text.family(&SENT).value(counters.sent.sent);
    text.family(&SEGMENTED).value(counters.sent.segmented);
}

fn coturn(text: &mut Exposition, readings: &Readings) {
    let (counters, stats) = (&readings.counters, &readings.counters.stats);
    let of_binding = |wanted: fn(Answered) -> bool| -> u64 {
        let binding =
            stats.answers().filter(|(method, answered, _)| *method == "binding" && wanted(*answered));
        binding.map(|(_, _, count)| count).sum()
    };
    let withheld = stats.refused(turnpike_turn::Reason::RateLimited);
    let dropped = stats.refusals().filter(|(reason, _)| reason.kind() == Kind::Packet);
    let dropped: u64 = dropped.map(|(_, count)| count).sum();
    let relayed = stats.relayed();
    let answered = stats.successes + stats.errors;
    let mut values: Vec<(&'static Family, u64)> = vec![
        (&COTURN_BINDING, stats.requests.binding),
        (&COTURN_BINDING_RESPONSE, of_binding(|answered| answered == Answered::Success)),
        (&COTURN_BINDING_ERROR, of_binding(|answered| answered != Answered::Success)),
        (&COTURN_401_REQUESTS, stats.challenges + withheld),
        (&COTURN_401_RESPONSES, stats.challenges),
        (&COTURN_401_DROPPED, withheld),
        (&COTURN_COLLISIONS, 0),
        (&COTURN_OCCUPIED, stats.limited_sources),
        (&COTURN_BUCKETS, stats.source_places),
        (&COTURN_PROCESSED, relayed.client_packets + relayed.peer_packets + answered),
        (&COTURN_DROPPED, dropped),
        (&COTURN_RECEIVE_CALLS, counters.received.calls),
        (&COTURN_RECEIVE_PACKETS, counters.received.messages),
        (&COTURN_FLUSHES, counters.sent.calls),
        (&COTURN_SENT, counters.sent.sent),
        (&COTURN_SEGMENTED, counters.sent.segmented),
    ];
    let of_all = [
        &COTURN_ALL_RCVP,
        &COTURN_ALL_RCVB,
        &COTURN_ALL_SENTP,
        &COTURN_ALL_SENTB,
        &COTURN_ALL_PEER_RCVP,
        &COTURN_ALL_PEER_RCVB,
        &COTURN_ALL_PEER_SENTP,
        &COTURN_ALL_PEER_SENTB,
    ];
    values.extend(of_all.into_iter().zip(in_coturns_order(&relayed)));
    for (family, value) in values {
        text.family(family).value(value);
    }
    let mut allocations = text.family(&COTURN_ALLOCATIONS);
    for (transport, count) in stats.by_transport() {
        let coturns = match transport {
            Transport::Tls => "TLS/TCP",
            other => word_for(other),
        };
        allocations.labelled(&[coturns], count);
    }
}

/// By realm as it happens; by user of sessions that have ended.
fn coturn_traffic(text: &mut Exposition, readings: &Readings) {
    let by_realm = [
        &COTURN_RCVP,
        &COTURN_RCVB,
        &COTURN_SENTP,
        &COTURN_SENTB,
        &COTURN_PEER_RCVP,
        &COTURN_PEER_RCVB,
        &COTURN_PEER_SENTP,
        &COTURN_PEER_SENTB,
    ];
    let by_user = [
        &USER_RCVP,
        &USER_RCVB,
        &USER_SENTP,
        &USER_SENTB,
        &USER_PEER_RCVP,
        &USER_PEER_RCVB,
        &USER_PEER_SENTP,
        &USER_PEER_SENTB,
    ];
    match &readings.users {
        Some(users) => {
            for (place, family) in by_user.into_iter().enumerate() {
                let mut samples = text.family(family);
                for UserTraffic { realm, user, usage } in users {
                    let labels = [or_other(realm), user.as_deref().unwrap_or(OTHER)];
                    samples.labelled(&labels, in_coturns_order(usage)[place]);
                }
            }
        }
        None => {
            for (place, family) in by_realm.into_iter().enumerate() {
                let mut samples = text.family(family);
                for (realm, counters) in readings.counters.stats.realms.iter() {
                    samples.labelled(&[realm.unwrap_or(OTHER)], in_coturns_order(&counters.usage)[place]);
                }
            }
        }
    }
}

/// Received from clients, sent to them, received from peers, sent to them: packets and bytes each.
fn in_coturns_order(usage: &Usage) -> [u64; 8] {
    let Usage { client_packets, client_bytes, peer_packets, peer_bytes, .. } = *usage;
    [
        client_packets,
        client_bytes,
        peer_packets,
        peer_bytes,
        peer_packets,
        peer_bytes,
        client_packets,
        client_bytes,
    ]
}

fn or_other(realm: &str) -> &str {
    if realm.is_empty() { OTHER } else { realm }
}

fn word_for(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
        Transport::Dtls => "DTLS",
    }
}

fn unix_time(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];
/// What has no series of its own.
const OTHER: &str = "(other)";
