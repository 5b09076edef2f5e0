//! How long an analysis takes, how much memory it adds, and whether it gives the same twice.

use std::{
    env,
    io::{self, Read as _, Write as _},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vision::{Analyser, Picture};

use crate::{
    changes,
    on_processor::{forget_peak, memory_mib, on_processor},
    rounded,
    sets::Sets,
    statistics::quantile,
};

/// A camera's still, and a frame of its live picture.
const STILL: (u32, u32) = (1920, 1080);
const LIVE: (u32, u32) = (1280, 720);
/// Turns over all pictures.
const ROUNDS: usize = 3;

/// The most that the first analysis of one still holds above what was there before, in a process that has done nothing else:
/// memory that was used once is used again and would not be seen.
pub(crate) fn memory(analyser: &Analyser, sets: &Sets) -> Result<Value> {
    // One that the gate accepts, because a refused one is not measured to the end.
    let mut picture = None;
    for portrait in &sets.portraits {
        let still = changes::in_frame(&portrait.picture, STILL)?;
        if analyser.skin(&still)?.capture.ok {
            picture = Some(still);
            break;
        }
    }
    let picture = picture.context("the gate accepts no portrait as a still")?;
    let mut child = Command::new(env::current_exe()?)
        .arg("--memory")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start a process to measure its memory")?;
    child.stdin.take().context("the process has no input")?.write_all(picture.rgb())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the process whose memory is measured ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("the process whose memory is measured wrote no JSON")
}

/// The other side of [`memory`]: a still from standard input, analysed once.
pub(crate) fn memory_of_one_analysis(analyser: &Analyser) -> Result<Value> {
    let (width, height) = STILL;
    let mut rgb = vec![0; width as usize * height as usize * 3];
    io::stdin().read_exact(&mut rgb).context("failed to read a still from standard input")?;
    let picture = Picture::from_rgb(width, height, rgb)?;
    forget_peak()?;
    let (_, before) = memory_mib()?;
    analyser.skin(&picture)?;
    let (peak, _) = memory_mib()?;
    Ok(json!({ "before_mib": rounded(before), "added_mib": rounded(peak - before) }))
}

/// Times of stills and of live frames.
pub(crate) fn times(analyser: &Analyser, sets: &Sets) -> Result<Value> {
    let pictures: Vec<&Picture> = sets.portraits.iter().map(|portrait| &portrait.picture).collect();
    let accepted: Result<Vec<&Picture>> = pictures
        .iter()
        .filter_map(|picture| match analyser.skin(picture) {
            Ok(report) => report.capture.ok.then_some(Ok(*picture)),
            Err(error) => Some(Err(error.into())),
        })
        .collect();
    let frames =
        |size| pictures.iter().map(|picture| changes::in_frame(picture, size)).collect::<Result<Vec<_>>>();
    let (stills, live) = (frames(STILL)?, frames(LIVE)?);
    let skin = |picture: &Picture| Ok(analyser.skin(picture).map(|_| ())?);
    Ok(json!({
        "still": timed(&accepted?, skin)?,
        "still_1080p": timed(&stills.iter().collect::<Vec<_>>(), skin)?,
        "live_boxes": timed(&live.iter().collect::<Vec<_>>(), |picture| Ok(analyser.face_boxes(picture).map(|_| ())?))?,
        "live_faces": timed(&live.iter().collect::<Vec<_>>(), |picture| Ok(analyser.faces(picture).map(|_| ())?))?,
    }))
}

fn timed(pictures: &[&Picture], work: impl Fn(&Picture) -> Result<()>) -> Result<Value> {
    let (mut wall, mut processor) = (Vec::new(), Vec::new());
    for picture in (0..ROUNDS).flat_map(|_| pictures) {
        let (start, began) = (Instant::now(), on_processor()?);
        work(picture)?;
        wall.push(start.elapsed().as_secs_f64() * 1e3);
        processor.push(on_processor()? - began);
    }
    let (p50, p99) = (quantile(wall.clone(), 0.5), quantile(wall, 0.99));
    Ok(json!({ "pictures": pictures.len(), "runs": pictures.len() * ROUNDS, "ms_p50": rounded(p50),
        "ms_p99": rounded(p99), "per_second": rounded(1e3 / p50), "processor_ms_p50": rounded(quantile(processor, 0.5)) }))
}

/// The reports on all pictures, one a line, without their times.
pub(crate) fn reports(analyser: &Analyser, sets: &Sets) -> Result<Vec<String>> {
    let report = |picture: &Picture| -> Result<String> {
        let mut report = analyser.skin(picture)?;
        report.timing_ms.clear();
        Ok(serde_json::to_string(&report)?)
    };
    sets.portraits.iter().map(|portrait| report(&portrait.picture)).collect()
}

/// The reports of this process beside those of another one.
pub(crate) fn determinism(analyser: &Analyser, sets: &Sets) -> Result<Value> {
    let other = Command::new(env::current_exe()?)
        .arg("--reports")
        .output()
        .context("failed to start a second run")?;
    if !other.status.success() {
        bail!("the second run ended with {}: {}", other.status, String::from_utf8_lossy(&other.stderr));
    }
    let other = String::from_utf8(other.stdout).context("the second run wrote no UTF-8")?;
    let (ours, theirs) = (reports(analyser, sets)?, other.lines().collect::<Vec<_>>());
    if ours.len() != theirs.len() {
        bail!("the second run gave {} reports, expected {}", theirs.len(), ours.len());
    }
    let differing: Vec<&String> = sets
        .portraits
        .iter()
        .zip(ours.iter().zip(theirs))
        .filter(|(_, (ours, theirs))| ours != theirs)
        .map(|(portrait, _)| &portrait.file)
        .collect();
    Ok(json!({ "reports": ours.len(), "differing": differing }))
}
