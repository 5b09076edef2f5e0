//! Measures the face finder, the gate and the skin analysis on the evaluation pictures and prints one JSON document with
//! everything. `cargo xtask bench skin` runs it and writes the report.
//!
//! The pictures are not part of the repository: the variable `STOREHUB_EVAL` names them, else `shared/eval` beside the
//! checkout. Without them the document says so and has nothing else. No picture is shown, copied or written; failures are
//! named by file.

mod changes;
mod faces;
mod gate;
mod on_processor;
mod pores;
mod recapture;
mod sets;
mod speed;
mod statistics;

use std::{
    env,
    num::NonZero,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vision::Analyser;

use sets::Sets;

const FORM: &str = "skin-evaluation/1";
/// Measures one part of the document.
type Part = fn(&Analyser, &Sets) -> Result<Value>;
/// The document's parts in their order.
const PARTS: [(&str, Part); 7] = [
    ("memory", speed::memory),
    ("times", speed::times),
    ("determinism", speed::determinism),
    ("boxes", faces::boxes),
    ("landmarks", faces::landmarks),
    ("gate", gate::judge),
    ("recapture", recapture::measure),
];

fn main() -> Result<()> {
    vision::start_quietly()?;
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/weights");
    let analyser = Analyser::load(Some(&weights), None).context("failed to load the models")?;
    let args: Vec<String> = env::args().skip(1).collect();
    if args == ["--memory"] {
        println!("{}", speed::memory_of_one_analysis(&analyser)?);
        return Ok(());
    }
    if let [flag, folder] = args.as_slice()
        && flag == "--pores"
    {
        println!("{:#}", pores::measure(&analyser, Path::new(folder))?);
        return Ok(());
    }
    let folder = sets::folder();
    if !folder.is_dir() {
        eprintln!("skipped: no evaluation pictures at `{}` (set STOREHUB_EVAL)", folder.display());
        println!("{}", json!({ "form": FORM, "skipped": "no evaluation pictures" }));
        return Ok(());
    }
    let sets = Sets::read(folder)?;
    match args.as_slice() {
        [part] if PARTS.iter().any(|(name, _)| name == part) => {
            println!("{:#}", document(&analyser, &sets, |name| name == part)?);
            Ok(())
        }
        [] => {
            println!("{:#}", document(&analyser, &sets, |_| true)?);
            Ok(())
        }
        [flag] if flag == "--reports" => {
            for line in speed::reports(&analyser, &sets)? {
                println!("{line}");
            }
            Ok(())
        }
        other => {
            let parts = PARTS.map(|(name, _)| name).join("`, `");
            bail!(
                "takes `--reports`, `--memory`, `--pores FOLDER`, one of `{parts}` or nothing, found `{}`",
                other.join(" ")
            )
        }
    }
}

fn document(analyser: &Analyser, sets: &Sets, is_wanted: impl Fn(&str) -> bool) -> Result<Value> {
    let mut document = json!({ "form": FORM, "people": sets.portraits.len() });
    for (name, part) in PARTS.into_iter().filter(|(name, _)| is_wanted(name)) {
        eprintln!("measuring: {name}");
        document[name] = part(analyser, sets).with_context(|| format!("failed to measure `{name}`"))?;
    }
    Ok(document)
}

/// Does independent work on all processors; results in order.
pub(crate) fn in_parallel<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let some = || -> Result<Vec<(usize, T)>> {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if count <= at {
                return Ok(done);
            }
            done.push((at, work(at)?));
        }
    };
    let mut all = thread::scope(|scope| -> Result<Vec<(usize, T)>> {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??);
        }
        Ok(all)
    })?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

/// A share with its 95 % interval.
pub(crate) fn share(counted: usize, of: usize) -> Value {
    let share = (of != 0).then(|| rounded(counted as f64 / of as f64));
    json!({ "counted": counted, "of": of, "share": share, "ci": statistics::share_interval(counted, of).map(rounded) })
}

/// Four digits after the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
