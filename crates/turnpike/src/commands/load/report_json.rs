//! The results as JSON, for scripts and for comparing: see `docs/load-testing.md` for what each field means.

use std::time::Duration;

use serde_json::{Value, json};

use super::conductor::Script;
use super::histogram::Histogram;
use super::ramp::{Knee, Step};
use super::recorder::Tally;
use super::report::{Point, Report};

/// The whole result. Times are in microseconds, shares between 0 and 1, unless a name says otherwise.
pub(super) fn of(report: &Report) -> Value {
    let task = &report.task;
    let series = task.profile.series().iter().zip(&report.sum.tallies);
    json!({
        "schema": SCHEMA,
        "tool": { "name": "turnpike load", "version": env!("CARGO_PKG_VERSION") },
        "started": report.started,
        "target": target(report),
        "machine": {
            "processor": report.machine.processor,
            "cores": report.machine.cores,
            "kernel": report.machine.kernel,
        },
        "profile": profile(report),
        "plan": plan(report),
        "measured": {
            "level": report.level,
            "fromSeconds": report.from,
            "toSeconds": report.to,
            "perSecond": report.rate(),
            "worstLoss": report.worst_loss(),
        },
        "series": series.map(|(name, tally)| tally_of(name, tally)).collect::<Vec<_>>(),
        "setUp": set_up(report),
        "server": server(report),
        "generator": generator(report),
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
        "knee": report.knee.as_ref().map(knee),
        "overTime": report.points.iter().map(point).collect::<Vec<_>>(),
        "interrupted": report.interrupted,
        "warnings": report.warnings,
        "verdict": report.verdict(),
    })
}

fn target(report: &Report) -> Value {
    let target = &report.task.target;
    json!({
        "uri": target.uri,
        "address": target.address.to_string(),
        "transport": target.transport.word(),
        "locality": target.locality.word(),
        "note": report.locality_note(),
    })
}

fn profile(report: &Report) -> Value {
    let streams = report.task.streams.iter().map(|stream| {
        json!({
            "payloadBytes": stream.payload,
            "burst": stream.burst,
            "packetsPerSecond": stream.packets_per_second(),
        })
    });
    let profile = report.task.profile;
    json!({ "name": profile.name(), "unit": profile.unit(), "streams": streams.collect::<Vec<_>>() })
}

fn server(report: &Report) -> Option<Value> {
    let cost = report.server.as_ref()?;
    Some(json!({
        "process": cost.server.process,
        "name": cost.server.name,
        "cores": cost.cores,
        "each": cost.each.map(microseconds),
        "memoryBytes": cost.memory,
    }))
}

fn generator(report: &Report) -> Value {
    json!({
        "threads": report.task.threads,
        "cores": report.generator.cores,
        "waiting": report.generator.waiting,
        "keptUp": report.generator_kept_up(),
        "lateness": quantiles(&report.sum.lateness),
        "unsent": report.sum.total().unsent,
        "dropped": report.generator.dropped,
        "overrun": report.generator.overrun,
    })
}

fn plan(report: &Report) -> Value {
    let interval = report.task.interval.as_secs_f64();
    match report.script {
        Script::Hold { level, warm_up, hold } => json!({
            "kind": "hold",
            "level": level,
            "warmUpSeconds": warm_up.as_secs_f64(),
            "holdSeconds": hold.as_secs_f64(),
            "intervalSeconds": interval,
        }),
        Script::Ramp { first, most, step } => json!({
            "kind": "ramp",
            "first": first,
            "most": most,
            "stepSeconds": step.as_secs_f64(),
            "intervalSeconds": interval,
        }),
    }
}

fn tally_of(name: &str, tally: &Tally) -> Value {
    json!({
        "name": name,
        "sent": tally.sent,
        "received": tally.received,
        "lost": tally.lost(),
        "loss": tally.loss(),
        "reordered": tally.reordered,
        "duplicated": tally.duplicated,
        "damaged": tally.damaged,
        "refused": tally.failed,
        "noRoom": tally.no_room,
        "latency": quantiles(&tally.latency),
        "jitter": {
            "mean": tally.jitter_mean().map(Duration::from_nanos).map(microseconds),
            "max": (tally.received > 0).then(|| microseconds(Duration::from_nanos(tally.jitter_max))),
        },
        "histogram": tally.latency.places().map(|(from, to, count)| {
            json!([microseconds(Duration::from_nanos(from)), microseconds(Duration::from_nanos(to)), count])
        }).collect::<Vec<_>>(),
    })
}

fn quantiles(histogram: &Histogram) -> Value {
    let at = |share| histogram.quantile(share).map(microseconds);
    json!({
        "count": histogram.count(),
        "min": histogram.min().map(microseconds),
        "mean": histogram.mean().map(microseconds),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": histogram.max().map(microseconds),
    })
}

fn set_up(report: &Report) -> Value {
    let failures = &report.recorder.failures;
    json!({
        "established": report.established,
        "failed": report.failed,
        "latency": quantiles(&report.recorder.set_up),
        "failures": failures.iter().map(|(why, count)| json!({ "why": why, "count": count })).collect::<Vec<_>>(),
    })
}

fn step(step: &Step) -> Value {
    let total = step.sum.total();
    json!({
        "level": step.level,
        "fromSeconds": step.from,
        "toSeconds": step.to,
        "sent": total.sent,
        "received": total.received,
        "worstLoss": step.worst_loss(),
        "p50": total.latency.quantile(0.5).map(microseconds),
        "worstP99": step.worst_p99().map(microseconds),
        "refusedCalls": step.refused,
        "limit": step.limit.map(super::ramp::Limit::word),
    })
}

fn knee(knee: &Knee) -> Value {
    json!({
        "carried": knee.level,
        "notCarried": knee.beyond.map(|(level, _)| level),
        "limit": knee.beyond.map(|(_, limit)| limit.word()),
    })
}

fn point(point: &Point) -> Value {
    json!({
        "at": point.at,
        "established": point.established,
        "sentPerSecond": point.sent,
        "receivedPerSecond": point.received,
        "loss": point.loss,
        "p50": point.p50.map(microseconds),
        "p99": point.p99.map(microseconds),
        "lateP99": point.late.map(microseconds),
        "serverCores": point.server_cores,
        "generatorCores": point.generator_cores,
    })
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// Changes when a field changes its meaning or goes; fields that are added leave it as it is.
pub(super) const SCHEMA: &str = "turnpike-load/1";
