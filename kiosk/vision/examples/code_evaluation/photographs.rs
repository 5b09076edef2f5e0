//! Photographs whose text is known, and pictures without a code.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use vision::{
    Picture,
    codes::{self, CodeReader as _, Effort, Zxing},
};

use crate::quantile;

const KINDS: [&str; 3] = ["qr", "ean13", "datamatrix"];

fn folder() -> PathBuf {
    env::var_os("STOREHUB_EVAL")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/eval"), PathBuf::from)
        .join("ar")
}

/// How many texts each pass reads first, and what is read where nothing is.
pub(crate) fn read() -> Result<Value> {
    let folder = folder();
    if !folder.is_dir() {
        return Ok(
            json!({ "skipped": format!("no photographs at `{}` (set STOREHUB_EVAL)", folder.display()) }),
        );
    }
    let path = folder.join("manifest.json");
    let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let manifest: Vec<Value> =
        serde_json::from_slice(&bytes).with_context(|| format!("`{}`", path.display()))?;
    let mut document = BTreeMap::new();
    for kind in KINDS {
        let of_kind = |entry: &&Value| entry["kind"] == kind && entry["truth"].is_string();
        let (mut total, mut by_pass, mut wrong, mut missed) = (0, BTreeMap::new(), Vec::new(), Vec::new());
        let mut times = Vec::new();
        for entry in manifest.iter().filter(of_kind) {
            let file = entry["file"].as_str().context("an entry of the manifest has no `file`")?;
            let grey = Picture::from_file(folder.join(file))?.to_grey();
            total += 1;
            let start = Instant::now();
            let mut first = None;
            for effort in codes::SCHEDULE {
                let found = Zxing.read(&grey, effort)?;
                if found.is_empty() {
                    continue;
                }
                if found.iter().any(|code| entry["truth"] == code.text) {
                    first = Some(effort);
                } else {
                    wrong.push(json!({ "file": file, "text": found[0].text, "pass": format!("{effort:?}") }));
                }
                break;
            }
            times.push(start.elapsed().as_secs_f64() * 1e3);
            match first {
                Some(effort) => *by_pass.entry(format!("{effort:?}").to_lowercase()).or_insert(0) += 1,
                None => missed.push(file.to_owned()),
            }
        }
        document.insert(
            kind,
            json!({ "pictures": total, "read": by_pass.values().sum::<i32>(), "by_pass": by_pass, "misreads": wrong,
                "missed": missed, "ms_p50": quantile(&times, 0.5), "ms_max": quantile(&times, 1.0) }),
        );
    }
    let empty = folder.join("decode/falsepositives");
    let mut false_positives = Vec::new();
    let mut pictures = 0;
    let mut rescue_ms = Vec::new();
    for entry in fs::read_dir(&empty).with_context(|| format!("failed to list `{}`", empty.display()))? {
        let path = entry?.path();
        let grey = Picture::from_file(&path)?.to_grey();
        pictures += 1;
        for effort in codes::SCHEDULE {
            let start = Instant::now();
            let found = Zxing.read(&grey, effort)?;
            if effort == Effort::Rescue {
                rescue_ms.push(start.elapsed().as_secs_f64() * 1e3);
            }
            for code in found {
                false_positives.push(
                    json!({ "file": path.file_name().and_then(|name| name.to_str()), "text": code.text }),
                );
            }
        }
    }
    document.insert(
        "without_a_code",
        json!({ "pictures": pictures, "false_positives": false_positives, "rescue_ms_p50": quantile(&rescue_ms, 0.5),
            "rescue_ms_max": quantile(&rescue_ms, 1.0) }),
    );
    Ok(json!(document))
}
