//! Pores: no picture of a person here resolves them, so dots of a known number are drawn into faces that were rendered from
//! near. How well their number repeats, and how many of them are counted.
//!
//! What real pores look like between one another, in relief and under other lamps, is not simulated.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use vision::{Analyser, Picture, Point, skin::MetricId};

use crate::{
    changes::Light,
    in_parallel,
    recapture::{self, Made},
    rounded,
    sets::{Portrait, in_thirds},
    statistics::{SplitMix, quantile},
};

/// A face's own number of dots on a square centimetre, drawn evenly in its logarithm.
const DENSITY: (f64, f64) = (8.0, 80.0);
/// A dot's standard deviation in mm: 0.25 to 0.4 mm between the points of half its depth.
const SIGMA_MM: (f64, f64) = (0.11, 0.17);
/// A share of the light in a dot's middle.
const DEPTH: (f64, f64) = (0.12, 0.35);
/// The distance of the eyes that the analysis takes for its scale.
const EYES_MM: f64 = 63.0;
/// Lashes: how many on an eye, how far to each side of its middle they stand, where they begin above it and how long they
/// are, in mm, and the standard deviation of one across.
const LASHES: u32 = 36;
const LASHES_SIDE_MM: f64 = 12.0;
const LASHES_ABOVE_MM: f64 = 4.0;
const LASH_MM: f64 = 6.0;
const LASH_SIGMA_MM: f64 = 0.06;

/// Measures the faces of a folder of PNG files.
pub(crate) fn measure(analyser: &Analyser, folder: &Path) -> Result<Value> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list `{}`", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "png") {
            files.push(path);
        }
    }
    files.sort();
    let drawn = in_parallel(files.len(), |at| dotted(analyser, &files[at], at as u64))?;
    let without_a_face = drawn.iter().filter(|face| face.is_none()).count();
    let (told, portraits): (Vec<Told>, Vec<Portrait>) = drawn.into_iter().flatten().unzip();
    if portraits.is_empty() {
        bail!("`{}` has no picture with a face", folder.display());
    }
    // Thirds are told by rank and keep the order.
    let portraits = in_thirds(portraits);
    let Made { table, rows } = recapture::measure_made(analyser, &portraits)?;
    let counted: Vec<f64> = rows
        .iter()
        .zip(&told)
        .filter_map(|(row, told)| Some((row, told.without?, told.density)))
        .flat_map(|(row, without, density)| {
            row.iter().flatten().map(move |found| (found - without) / density)
        })
        .collect();
    let without: Vec<f64> = told.iter().filter_map(|told| told.without).collect();
    let ratio = |share: f64| (!counted.is_empty()).then(|| rounded(quantile(counted.clone(), share)));
    Ok(json!({
        "faces": portraits.len(),
        "without_a_face": without_a_face,
        "captures": rows.len() * rows.first().map_or(0, Vec::len),
        "captures_with_a_value": counted.len(),
        "density_cm2": DENSITY,
        "without_dots_cm2": (!without.is_empty()).then(|| rounded(quantile(without, 0.5))),
        "counted_of_drawn": { "p10": ratio(0.1), "p50": ratio(0.5), "p90": ratio(0.9) },
        "metric": table["metrics"]["pores"],
        "refusal_reasons": table["refusal_reasons"],
    }))
}

/// The lashes of an eye. The renderer has none, and the edges of lashes are what sharpness is told by.
fn lashes(eye: Point, px_per_mm: f64) -> impl Iterator<Item = (f64, f64, f64, f64)> {
    let steps = (LASH_MM / LASH_SIGMA_MM).round();
    (0..LASHES).flat_map(move |number| {
        let side = 2.0 * f64::from(number) / f64::from(LASHES - 1) - 1.0;
        (0_u32..).map(f64::from).take_while(move |step| *step < steps).map(move |step| {
            let along = step / steps;
            // Outer ones lean outwards, all of them grow from the arch of the lid.
            let x = LASHES_SIDE_MM * side + 0.5 * LASH_MM * side * along;
            let y = -LASHES_ABOVE_MM * (1.0 - 0.5 * side * side) - LASH_MM * along;
            (eye.x + px_per_mm * x, eye.y + px_per_mm * y, px_per_mm * LASH_SIGMA_MM, 0.45)
        })
    })
}

/// What is known of a face.
struct Told {
    /// Dots on a square centimetre.
    density: f64,
    /// What is counted without them: the skin's own grain.
    without: Option<f64>,
}

/// A face with dots; `None` where no face is found.
fn dotted(analyser: &Analyser, path: &Path, seed: u64) -> Result<Option<(Told, Portrait)>> {
    let picture = Picture::from_file(path)?;
    let Some(face) = analyser.faces(&picture)?.into_iter().next() else { return Ok(None) };
    let found = &face.landmarks;
    let px_per_mm = found.eye_distance() / EYES_MM;
    let mut random = SplitMix(seed);
    let density = DENSITY.0 * (DENSITY.1 / DENSITY.0).powf(random.between(0.0, 1.0));
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some ten thousand dots")]
    let count = (density * width * height / (px_per_mm * px_per_mm) / 100.0) as usize;
    let dots: Vec<_> = (0..count)
        .map(|_| {
            let (x, y) = (random.between(0.0, width), random.between(0.0, height));
            (x, y, px_per_mm * random.between(SIGMA_MM.0, SIGMA_MM.1), random.between(DEPTH.0, DEPTH.1))
        })
        .collect();
    let mut bare = Light::of(&picture);
    bare.dot([found.eye_left, found.eye_right].into_iter().flat_map(|eye| lashes(eye, px_per_mm)));
    let picture = bare.to_picture()?;
    let mut light = bare;
    light.dot(dots);
    let portrait = Portrait {
        file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        picture: light.to_picture()?,
        bounds: [face.bounds.x, face.bounds.y, face.bounds.width, face.bounds.height],
        landmarks: [found.eye_left, found.eye_right, found.nose_tip, found.mouth_left, found.mouth_right],
        expected: "accept".to_owned(),
        cheek_lightness: 0.0,
        third: 0,
    };
    let report = analyser.skin(&picture)?;
    let pores = report.metrics.iter().find(|metric| metric.id == MetricId::Pores);
    let without = pores.and_then(|pores| Some(pores.measured.as_ref()?.value));
    Ok(Some((Told { density, without }, portrait.with_lightness())))
}
