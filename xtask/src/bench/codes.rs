//! `cargo xtask bench codes`: code reading and poses on photographs and drawn frames, and the page about them.
//!
//! What is measured stands in `kiosk/vision/examples/code_evaluation`; whether a goal is met is computed here from its numbers.

use std::fmt::Write as _;
use std::fs::{self, File};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{places::Places, steps};

const PAGE: &str = "docs/codes-report.md";

/// Least share of drawn frames that is read, by the name of their set.
const READ_MIN: [(&str, f64); 3] = [("flat", 0.75), ("tin", 0.74), ("bottle", 0.70)];
/// Least number of photographs whose text is read, by kind; of all of the evaluation set.
const PHOTOGRAPHS_MIN: [(&str, f64); 2] = [("ean13", 42.0), ("datamatrix", 92.0)];
/// Most degrees that poses are turned against the truth, in the median and at the 95th percentile.
const TURNED_MAX: [(&str, f64, f64); 2] = [("flat", 0.06, 0.25), ("bottle", 0.15, 0.5)];
/// Most milliseconds to follow a symbol into the next frame.
const FOLLOW_MS_MAX: f64 = 4.0;

/// Measures and writes the page.
pub(super) fn run(places: &Places) -> Result<()> {
    let mut build = places.cargo();
    build.args(["build", "--release", "--locked", "-p", "storehub-vision", "--example", "code_evaluation"]);
    steps::call(&mut build)?;
    let codes = document(places, "codes")?;
    let poses = document(places, "poses")?;
    let page = page(&codes, &poses);
    print!("\n{}", goals(&codes, &poses));
    let path = places.root.join(PAGE);
    fs::write(&path, page).with_context(|| format!("failed to write `{}`", path.display()))?;
    println!("\n    {PAGE}");
    Ok(())
}

fn document(places: &Places, part: &str) -> Result<Value> {
    let folder = places.target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
    let path = folder.join(format!("{part}.json"));
    let out = File::create(&path).with_context(|| format!("failed to create `{}`", path.display()))?;
    let mut program = places.command(places.program("release", "examples/code_evaluation"));
    steps::call(program.arg(part).stdout(out))?;
    let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("`{}` is no JSON", path.display()))
}

fn number(document: &Value, pointer: &str) -> Option<f64> {
    document.pointer(pointer).and_then(Value::as_f64)
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(
        || "–".to_owned(),
        |value| {
            let digits = if value.abs() < 1.0 { 3 } else { 1 };
            format!("{value:.digits$}")
        },
    )
}

fn verdict(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "met",
        Some(false) => "**not met**",
        None => "not measurable here",
    }
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn goals(codes: &Value, poses: &Value) -> String {
    let mut rows = Vec::new();
    let mut goal = |what: String, goal: String, found: Option<f64>, holds: Option<bool>| {
        rows.push(vec![what, goal, shown(found), verdict(holds).to_owned()]);
    };
    for (set, least) in READ_MIN {
        let found = number(codes, &format!("/drawn/{set}/storehub"));
        goal(format!("read: {set}"), format!("≥ {least}"), found, found.map(|found| least <= found));
    }
    for (kind, least) in PHOTOGRAPHS_MIN {
        let found = number(codes, &format!("/photographs/{kind}/read"));
        goal(
            format!("photographs read: {kind}"),
            format!("≥ {least}"),
            found,
            found.map(|found| least <= found),
        );
    }
    let misreads: Option<f64> = ["flat", "tin", "bottle", "lipstick"]
        .iter()
        .map(|set| number(codes, &format!("/drawn/{set}/misreads")))
        .sum();
    goal(
        "other texts read in drawn frames".to_owned(),
        "0".to_owned(),
        misreads,
        misreads.map(|found| found == 0.0),
    );
    let false_positives = codes
        .pointer("/photographs/without_a_code/false_positives")
        .and_then(Value::as_array)
        .map(|list| list.len() as f64);
    goal(
        "texts read in pictures without a code".to_owned(),
        "0".to_owned(),
        false_positives,
        false_positives.map(|found| found == 0.0),
    );
    for (set, median, most) in TURNED_MAX {
        for (name, limit) in [("p50", median), ("p95", most)] {
            let found = number(poses, &format!("/drawn/{set}/turned_deg/{name}"));
            goal(
                format!("pose: {set}, turned by degrees, {name}"),
                format!("≤ {limit}"),
                found,
                found.map(|found| found <= limit),
            );
        }
    }
    for set in ["flat", "bottle"] {
        let found = number(poses, &format!("/drawn/{set}/followed/ms/p50"));
        goal(
            format!("pose: {set}, followed into the next frame, ms"),
            format!("≤ {FOLLOW_MS_MAX}"),
            found,
            found.map(|found| found <= FOLLOW_MS_MAX),
        );
    }
    table(&["What", "Goal", "Found", ""], rows)
}

fn page(codes: &Value, poses: &Value) -> String {
    let sets = ["flat", "tin", "bottle", "lipstick"];
    let read = sets.map(|set| {
        let at = |name: &str| shown(number(codes, &format!("/drawn/{set}/{name}")));
        let ratio = number(codes, &format!("/drawn/{set}/storehub"))
            .zip(number(codes, &format!("/drawn/{set}/zxing_cpp")).filter(|share| 0.0 < *share))
            .map_or_else(|| "–".to_owned(), |(ours, theirs)| format!("{:.2}x", ours / theirs));
        vec![
            set.to_owned(),
            at("frames"),
            at("storehub"),
            at("zxing_cpp"),
            ratio,
            at("misreads"),
            at("fast_ms_p50"),
            at("ms_p50"),
            at("ms_max"),
        ]
    });
    let photographs = ["qr", "ean13", "datamatrix"].map(|kind| {
        let part = &codes["photographs"][kind];
        let pass = |name: &str| part["by_pass"][name].as_u64().unwrap_or(0).to_string();
        let misreads = part["misreads"].as_array().map_or(0, Vec::len);
        vec![
            kind.to_owned(),
            part["pictures"].to_string(),
            part["read"].to_string(),
            pass("fast"),
            pass("full"),
            pass("rescue"),
            misreads.to_string(),
            shown(part["ms_p50"].as_f64()),
            shown(part["ms_max"].as_f64()),
        ]
    });
    let placed = sets.map(|set| {
        let at = |name: &str| shown(number(poses, &format!("/drawn/{set}/{name}")));
        vec![
            set.to_owned(),
            at("poses"),
            at("none"),
            at("other_surface"),
            at("flips"),
            format!("{} / {} / {}", at("turned_deg/p50"), at("turned_deg/p95"), at("turned_deg/max")),
            format!("{} / {}", at("off_mm/p50"), at("off_mm/p95")),
            format!("{} / {}", at("radius_off/p50"), at("radius_off/p95")),
            format!("{} / {}", at("ms/p50"), at("ms/max")),
            format!("{} / {}", at("followed/ms/p50"), at("followed/ms/max")),
        ]
    });
    let files = |pointer: &str| -> String {
        let list = codes.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&str> = list
            .iter()
            .filter_map(|entry| entry.as_str().or_else(|| entry["file"].as_str()))
            .filter_map(|file| file.rsplit("zxing-cpp/").next())
            .collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let mut failures = String::new();
    for kind in ["qr", "ean13", "datamatrix"] {
        _ = writeln!(failures, "- {kind}, not read: {}.", files(&format!("/photographs/{kind}/missed")));
        _ = writeln!(
            failures,
            "- {kind}, another text: {}.",
            files(&format!("/photographs/{kind}/misreads"))
        );
    }
    format!(
        "<!-- Written by `cargo xtask bench codes`; change `xtask/src/bench/codes.rs` instead. -->
# Codes on goods: what is read, and how well it is placed

## Goals

{goals}
## Drawn frames

A QR code of version 4 with a Digital Link, 22 mm wide, on paper, on a tin (radius 63.5 mm), a bottle (37.5 mm) and a lipstick
(12.5 mm), 0.10 to 0.32 m before a camera of 1280 x 720, tilted by up to 50°, two of five shaken, blur of 0.7 pixels, noise of 3
levels. They are drawn by `kiosk/vision/src/synthetic.rs`; a real lens, glare and crumpled labels are not in them. *Decoder alone* is
zxing-cpp as this crate binds it, fast and then with all its options, in the same run on the same frames.

{read}
## Photographs

All passes in their order on the photographs of the zxing-cpp project, exact text. The even-light pass was chosen on these very
pictures, the bend on drawn frames alone.

{photographs}
## Poses

Against the truth of the drawn frames that are read. *Followed* is one alignment from the pose of the frame before, after a move of
2.7 mm and 1.7°.

{placed}
## Failures

{failures}",
        goals = goals(codes, poses),
        read = table(
            &["Surface", "Frames", "Storehub", "Decoder alone", "Ratio", "Other texts", "Fast pass, ms", "All, ms", "Longest, ms"],
            read.to_vec()
        ),
        photographs = table(
            &["Kind", "Pictures", "Read", "Fast", "Full", "Rescue", "Other texts", "ms", "Longest, ms"],
            photographs.to_vec()
        ),
        placed = table(
            &[
                "Surface",
                "Poses",
                "None",
                "Other surface",
                "Turned by over 15°",
                "Turned, ° (p50 / p95 / most)",
                "Off, mm (p50 / p95)",
                "Radius off, share (p50 / p95)",
                "First, ms (p50 / most)",
                "Followed, ms (p50 / most)"
            ],
            placed.to_vec()
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn goals_are_told_apart_by_their_numbers_and_by_numbers_that_are_not_there() {
        let set = |share: f64| json!({ "storehub": share, "zxing_cpp": 0.2, "misreads": 0, "frames": 160 });
        let codes = json!({
            "drawn": { "flat": set(0.9), "tin": set(0.7399), "bottle": set(0.7), "lipstick": set(0.3) },
            "photographs": { "skipped": "no photographs" },
        });
        let pose =
            json!({ "turned_deg": { "p50": 0.06, "p95": 0.26 }, "followed": { "ms": { "p50": 4.0 } } });
        let poses = json!({ "drawn": { "flat": pose, "bottle": pose } });
        let found = goals(&codes, &poses);
        for line in [
            "| read: bottle | ≥ 0.7 | 0.700 | met |",
            "| read: tin | ≥ 0.74 | 0.740 | **not met** |",
            "| photographs read: ean13 | ≥ 42 | – | not measurable here |",
            "| pose: flat, turned by degrees, p95 | ≤ 0.25 | 0.260 | **not met** |",
            "| pose: flat, followed into the next frame, ms | ≤ 4 | 4.0 | met |",
        ] {
            assert!(found.contains(line), "{line} in\n{found}");
        }
        let page = page(&codes, &poses);
        assert!(page.contains("| bottle | 160.0 | 0.700 | 0.200 | 3.50x |"), "{page}");
    }
}
