//! How well the numbers repeat when the same person is captured again, simulated from one picture.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Map, Value, json};
use vision::{Analyser, Picture, Point, SkinReport};

use crate::{
    changes::{self, Recapture},
    gate, in_parallel, rounded,
    sets::{Portrait, Sets, THIRDS},
    share,
    statistics::{Agreement, mean},
};

const CONDITIONS: usize = 20;
/// People count whose gate accepts this share of their captures.
const ACCEPTED_SHARE_MIN: f64 = 0.5;
/// The second table: smaller faces are first enlarged to this width, in pixels.
const FACE_PX: f64 = 700.0;
/// The gate refuses narrower faces.
const FACE_PX_MIN: f64 = 500.0;
/// Jumps that are listed of each metric.
const JUMPS: usize = 3;

/// One person's captures under every condition.
struct Person<'a> {
    portrait: &'a Portrait,
    captures: Vec<Capture>,
}

struct Capture {
    values: BTreeMap<String, f64>,
    refusals: Vec<&'static str>,
    leaks: Vec<String>,
}

/// Agreement of what was measured on people whose pictures are made: one table, pictures as they are.
pub(crate) fn measure_made(analyser: &Analyser, portraits: &[Portrait]) -> Result<Made> {
    let conditions: Vec<Recapture> = (0..CONDITIONS as u64).map(Recapture::drawn).collect();
    let people = captures(analyser, &portraits.iter().collect::<Vec<_>>(), &conditions)?;
    Ok(Made { table: table(&people), rows: people.iter().map(|person| person.row("pores")).collect() })
}

/// What [`measure_made`] found.
pub(crate) struct Made {
    pub(crate) table: Value,
    /// Pores of each portrait under each condition.
    pub(crate) rows: Vec<Vec<Option<f64>>>,
}

/// Both tables: pictures as they are, and enlarged where the face is small.
pub(crate) fn measure(analyser: &Analyser, sets: &Sets) -> Result<Value> {
    let conditions: Vec<Recapture> = (0..CONDITIONS as u64).map(Recapture::drawn).collect();
    let as_is = captures(analyser, &sets.portraits.iter().collect::<Vec<_>>(), &conditions)?;
    let small: Vec<&Portrait> = sets.portraits.iter().filter(|portrait| is_small(portrait)).collect();
    let enlarged = in_parallel(small.len(), |at| enlarged(small[at]))?;
    let again = captures(analyser, &enlarged.iter().collect::<Vec<_>>(), &conditions)?;
    let as_is_table = table(&as_is);
    // Large faces are the same in both tables.
    let large = as_is.into_iter().filter(|person| !is_small(person.portrait));
    let upscaled: Vec<Person> = large.chain(again).collect();
    let below = sets.portraits.iter().filter(|portrait| portrait.bounds[2] < FACE_PX_MIN).count();
    Ok(json!({
        "conditions": conditions.iter().map(|condition| condition.to_json()).collect::<Vec<_>>(),
        "faces_below_the_gates_size": below,
        "faces_enlarged": small.len(),
        "as_is": as_is_table,
        "upscaled": table(&upscaled),
    }))
}

fn is_small(portrait: &Portrait) -> bool {
    portrait.bounds[2] < FACE_PX
}

fn enlarged(portrait: &Portrait) -> Result<Portrait> {
    let factor = FACE_PX / portrait.bounds[2];
    let picture: Picture = changes::resized(&portrait.picture, factor)?;
    Ok(Portrait {
        file: portrait.file.clone(),
        picture,
        bounds: portrait.bounds.map(|length| length * factor),
        landmarks: portrait.landmarks.map(|point| Point::new(point.x * factor, point.y * factor)),
        expected: portrait.expected.clone(),
        ..*portrait
    })
}

fn captures<'a>(
    analyser: &Analyser,
    portraits: &[&'a Portrait],
    conditions: &[Recapture],
) -> Result<Vec<Person<'a>>> {
    let mut all = in_parallel(portraits.len() * conditions.len(), |at| {
        let (portrait, condition) = (portraits[at / conditions.len()], &conditions[at % conditions.len()]);
        let report = analyser.skin(&condition.of(portrait)?)?;
        Ok(Capture {
            values: values(&report),
            refusals: gate::refusals(&report),
            leaks: gate::leaks(&report)?,
        })
    })?
    .into_iter();
    let of = |portrait: &&'a Portrait| Person {
        portrait,
        captures: all.by_ref().take(conditions.len()).collect(),
    };
    Ok(portraits.iter().map(of).collect())
}

/// Everything that a report gives a number for, by name.
fn values(report: &SkinReport) -> BTreeMap<String, f64> {
    let metrics = report
        .metrics
        .iter()
        .filter_map(|metric| Some((metric.id.name().to_owned(), metric.measured.as_ref()?.value)));
    let tone = report.tone.values.iter().flat_map(|tone| {
        [("L*", tone.lightness), ("ITA", tone.ita_deg)].map(|(name, value)| (format!("tone {name}"), value))
    });
    tone.chain(metrics).collect()
}

impl Person<'_> {
    fn accepted(&self) -> usize {
        self.captures.iter().filter(|capture| capture.refusals.is_empty()).count()
    }

    fn counts(&self) -> bool {
        ACCEPTED_SHARE_MIN * self.captures.len() as f64 <= self.accepted() as f64
    }

    fn row(&self, metric: &str) -> Vec<Option<f64>> {
        self.captures.iter().map(|capture| capture.values.get(metric).copied()).collect()
    }
}

fn table(people: &[Person]) -> Value {
    let counted: Vec<&Person> = people.iter().filter(|person| person.counts()).collect();
    let names: BTreeSet<&String> =
        people.iter().flat_map(|person| &person.captures).flat_map(|capture| capture.values.keys()).collect();
    let metrics: Map<String, Value> =
        names.into_iter().map(|name| (name.clone(), metric(&counted, name))).collect();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in people.iter().flat_map(|person| &person.captures).flat_map(|capture| &capture.refusals) {
        *reasons.entry(reason).or_default() += 1;
    }
    let left_out: Vec<Value> = people
        .iter()
        .filter(|person| !person.counts())
        .map(|person| {
            let reasons: BTreeSet<_> = person.captures.iter().flat_map(|capture| &capture.refusals).collect();
            json!({ "file": person.portrait.file, "accepted": person.accepted(), "reasons": reasons })
        })
        .collect();
    let refused: Map<String, Value> = THIRDS
        .iter()
        .enumerate()
        .map(|(third, name)| {
            let part: Vec<&Person> = people.iter().filter(|person| person.portrait.third == third).collect();
            let of: usize = part.iter().map(|person| person.captures.len()).sum();
            let accepted: usize = part.iter().map(|person| person.accepted()).sum();
            ((*name).to_owned(), share(of - accepted, of))
        })
        .collect();
    let leaks: Vec<&String> =
        people.iter().flat_map(|person| &person.captures).flat_map(|capture| &capture.leaks).collect();
    json!({
        "people": people.len(),
        "people_counted": counted.len(),
        "left_out": left_out,
        "refused": refused,
        "refusal_reasons": reasons,
        "leaks": leaks,
        "metrics": metrics,
    })
}

fn metric(people: &[&Person], name: &str) -> Value {
    let rows: Vec<Vec<Option<f64>>> = people.iter().map(|person| person.row(name)).collect();
    let mut report = agreement(&rows);
    for (third, group) in THIRDS.iter().enumerate() {
        let part: Vec<Vec<Option<f64>>> = people
            .iter()
            .zip(&rows)
            .filter(|(person, _)| person.portrait.third == third)
            .map(|(_, row)| row.clone())
            .collect();
        report["groups"][*group] = agreement(&part);
        report["groups"][*group]["icc_of_all"] =
            json!(Agreement::of(&part).among(&Agreement::of(&rows)).map(rounded));
    }
    let iccs: Option<Vec<f64>> =
        THIRDS.iter().map(|group| report["groups"][*group]["icc_of_all"].as_f64()).collect();
    report["worst_over_best"] = json!(iccs.and_then(|iccs| {
        let best = iccs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let worst = iccs.iter().copied().fold(f64::INFINITY, f64::min);
        // Agreement below chance is none.
        (0.0 < best).then(|| rounded(worst.max(0.0) / best))
    }));
    report["jumps"] = json!(jumps(people, &rows));
    report
}

fn agreement(rows: &[Vec<Option<f64>>]) -> Value {
    let agreement = Agreement::of(rows);
    let values = rows.iter().map(|row| row.iter().flatten().count()).sum::<usize>();
    let round = |interval: Option<[f64; 2]>| interval.map(|interval| interval.map(rounded));
    json!({
        "people": agreement.people(),
        "values": values,
        "icc": agreement.icc().map(rounded),
        "icc_ci": round(agreement.icc_interval()),
        "within_sd": rounded(agreement.within_sd()),
        "variation_pct": agreement.variation_pct().map(rounded),
        "variation_ci": round(agreement.variation_interval()),
    })
}

/// The captures that lie farthest from their person's mean.
fn jumps(people: &[&Person], rows: &[Vec<Option<f64>>]) -> Vec<Value> {
    let mut all: Vec<(f64, Value)> = Vec::new();
    for (person, row) in people.iter().zip(rows) {
        let usual = mean(&row.iter().flatten().copied().collect::<Vec<_>>());
        for (condition, value) in row.iter().enumerate() {
            if let Some(value) = value {
                let by = value - usual;
                let entry =
                    json!({ "file": person.portrait.file, "condition": condition, "by": rounded(by) });
                all.push((by.abs(), entry));
            }
        }
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.into_iter().take(JUMPS).map(|(_, entry)| entry).collect()
}
