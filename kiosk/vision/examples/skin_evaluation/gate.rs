//! What the gate says of pictures as they are and of pictures with a fault put into them.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use vision::{Analyser, SkinReport, skin::Severity};

use crate::{
    changes::FAULTS,
    in_parallel, rounded,
    sets::{Portrait, Sets},
    share,
    statistics::quantile,
};

/// The size of a face says nothing about pictures that no kiosk made.
const SIZE: &str = "face_too_small";
/// What a refused report must not have, in its tone or in any metric.
const NUMBERS: [&str; 9] = ["L", "a", "b", "hue", "ita_deg", "value", "score", "ci", "regions"];

/// Numbers in the report of a picture that was refused, by name.
pub(crate) fn leaks(report: &SkinReport) -> Result<Vec<String>> {
    if report.capture.ok {
        return Ok(Vec::new());
    }
    let written = serde_json::to_value(report)?;
    let metrics = written["metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parts = metrics.iter().map(|metric| (metric["id"].as_str().unwrap_or("?"), metric));
    Ok(parts
        .chain([("tone", &written["tone"])])
        .flat_map(|(id, part)| {
            NUMBERS.iter().filter(|name| !part[**name].is_null()).map(move |name| format!("{id}.{name}"))
        })
        .collect())
}

/// Names of what refused a picture.
pub(crate) fn refusals(report: &SkinReport) -> Vec<&'static str> {
    report.capture.problems.iter().filter(|p| p.severity == Severity::Reject).map(|p| p.id).collect()
}

fn problems(report: &SkinReport) -> Vec<&'static str> {
    report.capture.problems.iter().map(|problem| problem.id).filter(|id| *id != SIZE).collect()
}

/// The verdicts on the pictures as they are, beside people's, and on the faults.
pub(crate) fn judge(analyser: &Analyser, sets: &Sets) -> Result<Value> {
    let reports = in_parallel(sets.portraits.len(), |at| Ok(analyser.skin(&sets.portraits[at].picture)?))?;
    let judged: Vec<(&Portrait, &SkinReport)> = sets.portraits.iter().zip(&reports).collect();
    let is_expected = |portrait: &Portrait| portrait.expected != "accept";
    let (mut flagged, mut expected, mut both) = (0, 0, 0);
    let (mut missed, mut alarms, mut leaking) = (Vec::new(), Vec::new(), Vec::new());
    for (portrait, report) in &judged {
        let found = problems(report);
        flagged += usize::from(!found.is_empty());
        expected += usize::from(is_expected(portrait));
        both += usize::from(!found.is_empty() && is_expected(portrait));
        if found.is_empty() && is_expected(portrait) {
            missed.push(json!({ "file": portrait.file, "expected": portrait.expected }));
        }
        if !found.is_empty() && !is_expected(portrait) {
            alarms.push(json!({ "file": portrait.file, "problems": found }));
        }
        let leaks = leaks(report)?;
        if !leaks.is_empty() {
            leaking.push(json!({ "file": portrait.file, "numbers": leaks }));
        }
    }
    let accepted: Vec<usize> = (0..judged.len()).filter(|at| judged[*at].1.capture.ok).collect();
    let refused: Vec<Value> = judged
        .iter()
        .filter(|(_, report)| !report.capture.ok)
        .map(|(portrait, report)| json!({ "file": portrait.file, "problems": refusals(report) }))
        .collect();
    let faults: Result<Vec<Value>> =
        (0..FAULTS.len()).map(|fault| with_fault(analyser, sets, &accepted, fault)).collect();
    Ok(json!({
        "pictures": judged.len(),
        "precision": share(both, flagged),
        "recall": share(both, expected),
        "missed": missed,
        "false_alarms": alarms,
        "accepted": accepted.len(),
        "refused": refused,
        "leaks": leaking,
        "scores": scores(&reports),
        "faults": faults?,
    }))
}

/// Where the scores of the accepted pictures lie: on people who look like the reference's faces half are below 50.
fn scores(reports: &[SkinReport]) -> Value {
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for metric in reports.iter().flat_map(|report| &report.metrics) {
        if let Some(score) = metric.measured.as_ref().and_then(|measured| measured.score) {
            all.entry(metric.id.name()).or_default().push(f64::from(score));
        }
    }
    let found = |scores: Vec<f64>| {
        let at = |share| rounded(quantile(scores.clone(), share));
        json!({ "people": scores.len(), "p25": at(0.25), "p50": at(0.5), "p75": at(0.75) })
    };
    json!(all.into_iter().map(|(name, scores)| (name, found(scores))).collect::<BTreeMap<_, _>>())
}

/// One fault put into every picture that was accepted without it.
fn with_fault(analyser: &Analyser, sets: &Sets, accepted: &[usize], fault: usize) -> Result<Value> {
    let fault = &FAULTS[fault];
    let reports = in_parallel(accepted.len(), |at| {
        let (portrait, other) =
            (&sets.portraits[accepted[at]], &sets.portraits[accepted[(at + 1) % accepted.len()]]);
        Ok(analyser.skin(&(fault.make)(portrait, other)?)?)
    })?;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut warned, mut passed, mut leaking) = (0, Vec::new(), Vec::new());
    for (report, at) in reports.iter().zip(accepted) {
        let file = &sets.portraits[*at].file;
        for reason in refusals(report) {
            *reasons.entry(reason).or_default() += 1;
        }
        if report.capture.ok {
            warned += usize::from(!problems(report).is_empty());
            passed.push(file);
        }
        let leaks = leaks(report)?;
        if !leaks.is_empty() {
            leaking.push(json!({ "file": file, "numbers": leaks }));
        }
    }
    Ok(json!({
        "id": fault.id,
        "what": fault.what,
        "refused": share(accepted.len() - passed.len(), accepted.len()),
        "reasons": reasons,
        "warned_only": warned,
        "not_refused": passed,
        "leaks": leaking,
    }))
}
