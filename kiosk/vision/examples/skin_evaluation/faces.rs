//! Where faces are, against boxes and landmarks that stand beside the pictures.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use vision::{Analyser, Face, FaceBox};

use crate::{
    on_processor::on_processor,
    rounded,
    sets::{Portrait, Sets, THIRDS, overlap},
    share,
    statistics::{interval_over_people, mean, quantile},
};

/// A box this far over the one written down is that face.
const OVERLAP_MIN: f64 = 0.5;
/// A mean error above this, in percent of the distance of the eyes, is a failure.
pub(crate) const FAILED_PCT: f64 = 15.0;

/// Faces found in small pictures, and found where there is none.
pub(crate) fn boxes(analyser: &Analyser, sets: &Sets) -> Result<Value> {
    let mut missed = Vec::new();
    let mut others = 0;
    for headshot in &sets.headshots {
        let found = analyser.face_boxes(&sets.picture(&headshot.file)?)?;
        // Where no box was written down, people still saw one face.
        let is_there =
            |found: &FaceBox| headshot.bounds.is_none_or(|b| OVERLAP_MIN <= overlap(corners(found), b));
        let right = found.iter().filter(|found| is_there(found)).count();
        others += found.len() - right.min(1);
        if right == 0 {
            missed.push(headshot);
        }
    }
    let mut false_faces = Vec::new();
    for file in &sets.negatives {
        let found = analyser.face_boxes(&sets.picture(file)?)?.len();
        if found != 0 {
            false_faces.push(json!({ "file": file, "faces": found }));
        }
    }
    let (all, easy) =
        (sets.headshots.len(), sets.headshots.iter().filter(|headshot| !headshot.is_hard).count());
    let easy_missed = missed.iter().filter(|headshot| !headshot.is_hard).count();
    let files: Vec<Value> = missed.iter().map(|h| json!({ "file": h.file, "hard": h.is_hard })).collect();
    Ok(json!({
        "all": share(all - missed.len(), all),
        "not_hard": share(easy - easy_missed, easy),
        "missed": files,
        "other_boxes": others,
        "negatives": share(false_faces.len(), sets.negatives.len()),
        "false_faces": false_faces,
    }))
}

fn corners(found: &FaceBox) -> [f64; 4] {
    [found.x, found.y, found.width, found.height]
}

/// The error of the five points of each portrait.
pub(crate) fn landmarks(analyser: &Analyser, sets: &Sets) -> Result<Value> {
    let mut errors: Vec<(&Portrait, [f64; 5])> = Vec::new();
    let mut failures = Vec::new();
    let (mut wall, mut processor) = (Vec::new(), Vec::new());
    for portrait in &sets.portraits {
        let (start, began) = (Instant::now(), on_processor()?);
        let faces = analyser.faces(&portrait.picture)?;
        wall.push(start.elapsed().as_secs_f64() * 1e3);
        processor.push(on_processor()? - began);
        let is_there = |face: &&Face| OVERLAP_MIN <= overlap(corners(&face.bounds), portrait.bounds);
        let Some(face) = faces.iter().find(is_there) else {
            failures.push(json!({ "file": portrait.file, "reason": "no face where one stands" }));
            continue;
        };
        let found = &face.landmarks;
        let points = [found.eye_left, found.eye_right, found.nose_tip, found.mouth_left, found.mouth_right];
        let each: [f64; 5] = std::array::from_fn(|at| {
            100.0 * points[at].distance(portrait.landmarks[at]) / portrait.eye_distance()
        });
        if FAILED_PCT < mean(&each) {
            failures.push(json!({ "file": portrait.file, "reason": format!("error {:.1} %", mean(&each)) }));
        }
        errors.push((portrait, each));
    }
    let summary = |part: &[&(&Portrait, [f64; 5])]| {
        let all: Vec<f64> = part.iter().map(|(_, each)| mean(each)).collect();
        let eyes: Vec<f64> = part.iter().map(|(_, each)| mean(&each[..2])).collect();
        let interval = |values: &[f64]| {
            interval_over_people(values.len(), |drawn| {
                Some(mean(&drawn.iter().map(|person| values[*person]).collect::<Vec<_>>()))
            })
            .map(|interval| interval.map(rounded))
        };
        json!({ "faces": all.len(), "mean_pct": rounded(mean(&all)), "mean_ci": interval(&all),
            "eyes_pct": rounded(mean(&eyes)), "eyes_ci": interval(&eyes),
            "worst_pct": rounded(all.iter().copied().fold(0.0, f64::max)) })
    };
    let mut report = summary(&errors.iter().collect::<Vec<_>>());
    for (third, name) in THIRDS.iter().enumerate() {
        let part: Vec<_> = errors.iter().filter(|(portrait, _)| portrait.third == third).collect();
        report["thirds"][*name] = summary(&part);
    }
    report["failed"] = share(failures.len(), sets.portraits.len());
    report["failures"] = json!(failures);
    report["ms_p50"] = json!(rounded(quantile(wall, 0.5)));
    report["processor_ms_p50"] = json!(rounded(quantile(processor, 0.5)));
    Ok(report)
}
