//! The results for programs.

use serde_json::{Map, Value, json};

use crate::report::Report;
use crate::rounds::{Round, RowResult};
use crate::rows::Sample;
use crate::targets::is_met;

/// The whole report.
pub(crate) fn of(report: &Report) -> Value {
    let rows: Vec<Value> = report.results.iter().map(|result| row_json(report, result)).collect();
    json!({
        "facts": report.facts.json(),
        "verdict": report.verdict(),
        "method": report.method(),
        "warnings": report.warnings(),
        "rows": rows,
    })
}

fn row_json(report: &Report, result: &RowResult) -> Value {
    let [ours, theirs] = report.facts.against.names();
    let metrics: Vec<Value> = result
        .row
        .metrics
        .iter()
        .filter_map(|metric| {
            let summary = result.summary(metric)?;
            let (ratio, smallest, largest) =
                summary.ratio.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
            let target = report.target(result, metric).map(|target| {
                let reached = target.reached(&summary);
                json!({ "words": target.words(metric), "reached": reached, "met": reached.map(is_met) })
            });
            Some(json!({
                "key": metric.key,
                "title": metric.title,
                "unit": metric.unit,
                (ours): summary.ours,
                (theirs): summary.theirs,
                "ratio": ratio,
                "ratio_min": smallest,
                "ratio_max": largest,
                "target": target,
            }))
        })
        .collect();
    let round = |round: &Round| json!({ (ours): sample_json(&round.ours), (theirs): round.theirs.as_ref().map(sample_json) });
    let rounds: Vec<Value> = result.rounds.iter().map(round).collect();
    json!({
        "name": result.row.name,
        "about": result.row.about,
        "metrics": metrics,
        "rounds": rounds,
        "disturbed_rounds": result.disturbed,
        "not_measured": result.stopped.as_ref().map(|stopped| &stopped.why),
    })
}

fn sample_json(sample: &Sample) -> Value {
    let entries = sample.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
    Value::Object(entries.collect::<Map<String, Value>>())
}
