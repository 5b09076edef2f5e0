//! What stands before a face: a hand, a mask, a cup; and glasses. Our own network on the crop that the landmarks lie in.
//!
//! Hair, beards and glasses are no cover: they are left out by the map of bare skin. The manifest beside the network says
//! everything about it.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;

use crate::{
    crop::{Crop, Refine},
    geometry::{Point, for_each_pixel_inside},
    inference::{Network, NetworkError},
    landmarks::FivePoints,
    model_file::{Header, ModelError, ModelFile, Output},
    picture::Picture,
    wiped::Wiped,
};

/// The manifest's name in the folder of models.
const MANIFEST_FILE: &str = "cover96.json";
/// Cells along a side of the map, at most.
const CELLS_MAX: usize = 96;

/// What is read besides the common part.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(flatten)]
    header: Header,
    outputs: ManifestOutputs,
    refine: Refine,
}

impl AsRef<Header> for Manifest {
    fn as_ref(&self) -> &Header {
        &self.header
    }
}

#[derive(Debug, Deserialize)]
struct ManifestOutputs {
    cover: Output,
    glasses: Output,
}

/// Where something stands before a face, as probabilities over the crop of its points, and whether it wears glasses.
#[derive(Debug, Clone, PartialEq)]
pub struct Cover {
    crop: Crop,
    side: u32,
    /// Comes from somebody's picture.
    cells: Wiped<f32>,
    pub(crate) glasses: f64,
}

impl Cover {
    /// Over a face with these points: hidden where `is_hidden` says so of a place of the picture.
    #[cfg(test)]
    pub(crate) fn told(points: &FivePoints, glasses: f64, is_hidden: impl Fn(Point) -> bool) -> Self {
        let crop = Refine { side_per_eyes_mouth_distance: 3.12, centre_from_eyes: 0.33 }.crop(points);
        let side = 24;
        let place =
            |at: u32, centre: f64| centre + ((f64::from(at) + 0.5) / f64::from(side) - 0.5) * crop.side;
        let cells = (0..side * side).map(|at| {
            let place = Point::new(place(at % side, crop.centre.x), place(at / side, crop.centre.y));
            f32::from(u8::from(is_hidden(place)))
        });
        Self { crop, side, cells: Wiped::new(cells.collect()), glasses }
    }

    /// The mean probability that a place inside this polygon of the picture is hidden; none of a polygon without a cell.
    pub(crate) fn share(&self, polygon: &[Point]) -> f64 {
        let scale = f64::from(self.side) / self.crop.side;
        let corner = |centre: f64| centre - self.crop.side / 2.0;
        let cell = |at: f64, centre: f64| (at - corner(centre)) * scale - 0.5;
        let polygon: Vec<Point> = polygon
            .iter()
            .map(|p| Point::new(cell(p.x, self.crop.centre.x), cell(p.y, self.crop.centre.y)))
            .collect();
        let (mut sum, mut count) = (0.0, 0.0);
        for_each_pixel_inside(&polygon, self.side, self.side, |x, y| {
            sum += f64::from(self.cells[(y * self.side + x) as usize]);
            count += 1.0;
        });
        if count == 0.0 { 0.0 } else { sum / count }
    }
}

/// The cover network.
pub(crate) struct Covers {
    network: Mutex<Network>,
    file: ModelFile<Manifest>,
    side: u32,
}

impl Covers {
    /// Reads and verifies the manifest and the network in `models_dir`. The runtime must be loaded.
    pub(crate) fn load(models_dir: &Path) -> Result<Self, ModelError> {
        let file = ModelFile::open(models_dir, MANIFEST_FILE)?;
        let side = check(&file)?;
        let network = file.network(&[
            ("cover", &file.manifest.outputs.cover),
            ("glasses", &file.manifest.outputs.glasses),
        ])?;
        Ok(Self { network: Mutex::new(network), file, side })
    }

    /// `sha256:…` of the network.
    pub(crate) fn identity(&self) -> String {
        self.file.identity()
    }

    /// What stands before the face with these points.
    pub(crate) fn look(&self, picture: &Picture, points: &FivePoints) -> Result<Cover, NetworkError> {
        let crop = self.file.manifest.refine.crop(points);
        let pixels = Wiped::new(crop.sample(picture, self.file.side()));
        let input = self.file.manifest.header.input.normalised(&pixels);
        let outputs = self.network.lock().unwrap_or_else(PoisonError::into_inner).run(&input)?;
        let [cells, glasses] = outputs.as_slice() else { unreachable!("two outputs were asked for") };
        let glasses = glasses.iter().copied().map(f64::from).sum();
        Ok(Cover { crop, side: self.side, cells: Wiped::new(cells.clone()), glasses })
    }

    /// As [`Network::forget`].
    pub(crate) fn forget(&self) -> Result<(), NetworkError> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).forget()
    }
}

/// What we rely on besides the common part: a square map, one number, and a crop of a sane size.
fn check(file: &ModelFile<Manifest>) -> Result<u32, ModelError> {
    file.check_refine(&file.manifest.refine)?;
    if file.manifest.outputs.glasses.shape != [1] {
        let found = format!("{:?}", file.manifest.outputs.glasses.shape);
        return file.wrong("`outputs.glasses.shape`", found, "[1]");
    }
    match file.manifest.outputs.cover.shape.as_slice() {
        [1, height, width] if height == width && (1..=CELLS_MAX).contains(width) => {
            Ok(u32::try_from(*width).expect("it is small"))
        }
        shape => file.wrong("`outputs.cover.shape`", format!("{shape:?}"), "[1, cells, cells]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(hidden: impl Fn(u32, u32) -> bool) -> Cover {
        let crop = Crop { centre: Point::new(100.0, 200.0), side: 80.0 };
        let cells = (0..16 * 16).map(|at| f32::from(u8::from(hidden(at % 16, at / 16)))).collect();
        Cover { crop, side: 16, cells: Wiped::new(cells), glasses: 0.0 }
    }

    #[test]
    fn a_part_is_hidden_as_far_as_its_cells_are() {
        // Cells are 5 pixels wide; the left half of the crop ends at the column of pixel 100.
        let left = cover(|x, _| x < 8);
        let part = |x0: f64, x1: f64| {
            [(x0, 180.0), (x1, 180.0), (x1, 220.0), (x0, 220.0)].map(|(x, y)| Point::new(x, y))
        };
        assert_eq!(left.share(&part(70.0, 95.0)), 1.0);
        assert_eq!(left.share(&part(105.0, 130.0)), 0.0);
        assert!((left.share(&part(80.0, 120.0)) - 0.5).abs() < 0.01);
        assert_eq!(
            left.share(&part(500.0, 600.0)),
            0.0,
            "what lies outside the crop is not known to be hidden"
        );
        assert_eq!(cover(|_, _| true).share(&[]), 0.0);
    }

    /// The goldens of the models' own export: the same crop must give the same map here.
    #[test]
    fn the_network_gives_here_what_it_gave_where_it_was_exported() {
        let Some((weights, goldens)) = crate::inference::testing::goldens("cover96.json") else { return };
        let covers = Covers::load(&weights).unwrap();
        let tolerance = goldens["tolerance"].as_f64().unwrap();
        let refine = covers.file.manifest.refine;
        let side = covers.file.side() as f64;
        for case in goldens["crops"].as_array().unwrap() {
            let file = case["file"].as_str().unwrap();
            let picture = Picture::from_file(weights.join("goldens").join(file)).unwrap();
            // Points that lay the whole picture as their crop.
            let distance = side / refine.side_per_eyes_mouth_distance;
            let (x, y) = (side / 2.0 - 0.5, side / 2.0 - 0.5 - refine.centre_from_eyes * distance);
            let points = FivePoints {
                eye_left: Point::new(x - 10.0, y),
                eye_right: Point::new(x + 10.0, y),
                nose_tip: Point::new(x, y + distance / 2.0),
                mouth_left: Point::new(x - 8.0, y + distance),
                mouth_right: Point::new(x + 8.0, y + distance),
            };
            let found = covers.look(&picture, &points).unwrap();
            let expected: Vec<f64> = serde_json::from_value(case["cover"].clone()).unwrap();
            assert_eq!(found.cells.len(), expected.len(), "{file}");
            for (found, expected) in found.cells.iter().zip(expected) {
                assert!(
                    (f64::from(*found) - expected).abs() <= tolerance,
                    "{file}: {found}, expected {expected}"
                );
            }
            assert!((found.glasses - case["glasses"].as_f64().unwrap()).abs() <= tolerance, "{file}");
        }
    }
}
