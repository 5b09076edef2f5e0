//! Where the eyes, the nose and the mouth are: our own network on a crop around the detector's box.
//!
//! The manifest beside the network says everything about it (shapes, normalisation, crop, names of the
//! points); nothing of that is typed again here.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    cover::Cover,
    crop::{Crop, Refine},
    face::FaceBox,
    geometry::{Point, hundredths},
    head::{Head, HeadTurn, Malformed},
    inference::{Network, NetworkError},
    model_file::{Header, ModelError, ModelFile, Output},
    picture::Picture,
    wiped::Wiped,
};

/// The manifest's name in the folder of models.
pub const MANIFEST_FILE: &str = "landmark96.json";
/// The points that everything else relies on, in the order of [`FivePoints`].
const NAMED: [&str; 5] = ["eye_left", "eye_right", "nose_tip", "mouth_left", "mouth_right"];

/// The five points that every face has; left and right as seen in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FivePoints {
    /// Middle of the eye on the left.
    pub eye_left: Point,
    /// Middle of the eye on the right.
    pub eye_right: Point,
    /// Tip of the nose.
    pub nose_tip: Point,
    /// Corner of the mouth on the left.
    pub mouth_left: Point,
    /// Corner of the mouth on the right.
    pub mouth_right: Point,
}

impl FivePoints {
    /// Distance between the eyes in pixels.
    #[must_use]
    pub fn eye_distance(&self) -> f64 {
        self.eye_left.distance(self.eye_right)
    }
}

/// A face with its points. Kept in memory only.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    /// The detector's box.
    pub bounds: FaceBox,
    /// The five points.
    pub landmarks: FivePoints,
    /// All points of the network, in the order of [`crate::Analyser::point_names`].
    pub points: Vec<Point>,
    /// How widely the network spreads each point, in pixels: large means unsure.
    pub spread: Vec<f64>,
    /// The mean spread of the five points in sides of the crop that they were found in: about 0.058 on a bare face.
    pub unsure: f64,
    /// How the head is turned; `None` where the points are no head's.
    pub turn: Option<HeadTurn>,
    /// What stands before the face, where that was looked at: of the largest one.
    pub cover: Option<Cover>,
}

/// As `{"box":[x,y,w,h],"landmarks":{…},"points":[[x,y],…],"turn_deg":{"yaw":…,"pitch":…,"roll":…}}`.
impl Serialize for Face {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let FaceBox { x, y, width, height, .. } = self.bounds;
        let mut face = serializer.serialize_struct("Face", 4)?;
        face.serialize_field("box", &[x, y, width, height].map(hundredths))?;
        face.serialize_field("landmarks", &self.landmarks)?;
        face.serialize_field("points", &self.points)?;
        face.serialize_field("turn_deg", &self.turn)?;
        face.end()
    }
}

/// What the kiosk reads besides the common part.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(flatten)]
    header: Header,
    outputs: ManifestOutputs,
    points: Vec<String>,
    crop: ManifestCrop,
    refine: Option<Refine>,
    face_check: ManifestFaceCheck,
    head: Head,
}

impl AsRef<Header> for Manifest {
    fn as_ref(&self) -> &Header {
        &self.header
    }
}

#[derive(Debug, Deserialize)]
struct ManifestOutputs {
    points: Output,
    spread: Output,
}

#[derive(Debug, Deserialize)]
struct ManifestCrop {
    side_per_box_side: f64,
    shift_y_per_box_side: f64,
}

#[derive(Debug, Deserialize)]
struct ManifestFaceCheck {
    /// Mean spread of the five named points, in sides of the crop.
    no_face_above: f64,
}

/// The landmark network.
pub(crate) struct Landmarker {
    network: Mutex<Network>,
    file: ModelFile<Manifest>,
    named: [usize; 5],
}

impl Landmarker {
    /// Reads and verifies the manifest and the network in `models_dir`. The runtime must be loaded.
    pub(crate) fn load(models_dir: &Path) -> Result<Self, ModelError> {
        let file = ModelFile::open(models_dir, MANIFEST_FILE)?;
        let named = check(&file)?;
        let outputs = &file.manifest.outputs;
        let network = file.network(&[("points", &outputs.points), ("spread", &outputs.spread)])?;
        Ok(Self { network: Mutex::new(network), file, named })
    }

    pub(crate) fn point_names(&self) -> &[String] {
        &self.file.manifest.points
    }

    /// `sha256:…` of the network.
    pub(crate) fn identity(&self) -> String {
        self.file.identity()
    }

    /// The points of the face in this box: a first pass on the box's crop, a second one on the crop that
    /// the first one gives, which is steadier because the detector's boxes jump by its window's step.
    pub(crate) fn locate(&self, picture: &Picture, bounds: FaceBox) -> Result<Face, NetworkError> {
        let crop = self.crop_of_box(bounds);
        let mut located = self.points_in(picture, crop, bounds)?;
        if let Some(refined) = self.refined(&located.landmarks, crop) {
            located = self.points_in(picture, refined, bounds)?;
        }
        Ok(located)
    }

    /// The face's points in the next frame, by the crop that its last ones give; `None` when it is lost.
    pub(crate) fn follow(&self, picture: &Picture, face: &Face) -> Result<Option<Face>, NetworkError> {
        let whole = Crop { centre: Point::new(0.0, 0.0), side: 2.0 * face.bounds.width };
        let Some(crop) = self.refined(&face.landmarks, whole) else { return Ok(None) };
        let mut now = self.points_in(picture, crop, face.bounds)?;
        let scale = now.landmarks.eye_distance() / face.landmarks.eye_distance();
        if self.file.manifest.face_check.no_face_above < now.unsure || !(0.8..1.25).contains(&scale) {
            return Ok(None);
        }
        // The box goes along with the points.
        let (from, to) = (face.landmarks.nose_tip, now.landmarks.nose_tip);
        let FaceBox { x, y, width, height, score } = face.bounds;
        now.bounds = FaceBox {
            x: to.x + (x - from.x) * scale,
            y: to.y + (y - from.y) * scale,
            width: width * scale,
            height: height * scale,
            score,
        };
        Ok(Some(now))
    }

    /// As [`Network::forget`].
    pub(crate) fn forget(&self) -> Result<(), NetworkError> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).forget()
    }

    fn crop_of_box(&self, bounds: FaceBox) -> Crop {
        let side = f64::midpoint(bounds.width, bounds.height);
        Crop {
            centre: Point::new(
                bounds.x + 0.5 * bounds.width,
                bounds.y + 0.5 * bounds.height + self.file.manifest.crop.shift_y_per_box_side * side,
            ),
            side: self.file.manifest.crop.side_per_box_side * side,
        }
    }

    /// The crop of the second pass; `None` where the first pass saw no face in its crop worth refining.
    fn refined(&self, points: &FivePoints, first: Crop) -> Option<Crop> {
        let refined = self.file.manifest.refine.as_ref()?.crop(points);
        (0.5 * first.side..=2.0 * first.side).contains(&refined.side).then_some(refined)
    }

    fn points_in(&self, picture: &Picture, crop: Crop, bounds: FaceBox) -> Result<Face, NetworkError> {
        let pixels = Wiped::new(crop.sample(picture, self.file.side()));
        let input = self.file.manifest.header.input.normalised(&pixels);
        let outputs = self.network.lock().unwrap_or_else(PoisonError::into_inner).run(&input)?;
        let [points, spread] = outputs.as_slice() else { unreachable!("two outputs were asked for") };
        let points: Vec<Point> = points
            .chunks_exact(2)
            .map(|p| {
                Point::new(
                    crop.centre.x + (f64::from(p[0]) - 0.5) * crop.side,
                    crop.centre.y + (f64::from(p[1]) - 0.5) * crop.side,
                )
            })
            .collect();
        let [eye_left, eye_right, nose_tip, mouth_left, mouth_right] = self.named.map(|at| points[at]);
        Ok(Face {
            bounds,
            landmarks: FivePoints { eye_left, eye_right, nose_tip, mouth_left, mouth_right },
            unsure: self.named.iter().map(|at| f64::from(spread[*at])).sum::<f64>() / self.named.len() as f64,
            spread: spread.iter().map(|s| f64::from(*s) * crop.side).collect(),
            turn: self.file.manifest.head.turn(&points),
            points,
            cover: None,
        })
    }
}

/// What we rely on besides the common part: crops of a sane size, outputs of fitting shape, the five names.
fn check(file: &ModelFile<Manifest>) -> Result<[usize; 5], ModelError> {
    let manifest = &file.manifest;
    let ManifestCrop { side_per_box_side, shift_y_per_box_side } = manifest.crop;
    file.within("`crop.side_per_box_side`", side_per_box_side, 0.5..=4.0)?;
    file.within("`crop.shift_y_per_box_side`", shift_y_per_box_side, -1.0..=1.0)?;
    file.within("`face_check.no_face_above`", manifest.face_check.no_face_above, 0.0..=1.0)?;
    if let Some(refine) = &manifest.refine {
        file.check_refine(refine)?;
    }
    let count = manifest.points.len();
    for (field, output, expected) in [
        ("`outputs.points.shape`", &manifest.outputs.points, vec![1, count, 2]),
        ("`outputs.spread.shape`", &manifest.outputs.spread, vec![1, count]),
    ] {
        if output.shape != expected {
            let found = format!("{:?}", output.shape);
            return file.wrong(field, found, format!("{expected:?} ({count} `points`)"));
        }
    }
    match manifest.head.check(count) {
        Ok(()) => {}
        Err(Malformed::Count { points, weights }) => {
            let found = format!("{points} points and {weights} weights");
            return file.wrong("`head`", found, format!("{count} of each"));
        }
        Err(Malformed::Value) => {
            return file.wrong("`head`", "of other values".to_owned(), "places in mm and weights above 0");
        }
    }
    let mut named = [0; 5];
    for (at, name) in named.iter_mut().zip(NAMED) {
        match manifest.points.iter().position(|point| point == name) {
            Some(found) => *at = found,
            None => {
                return file.wrong(
                    "`points`",
                    format!("of {}", manifest.header.name),
                    format!("a point `{name}`"),
                );
            }
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn manifest(change: impl Fn(&mut serde_json::Value)) -> serde_json::Value {
        let mut manifest = serde_json::json!({
            "schema": "storehub-model/1", "name": "test", "file": "test.onnx", "sha256": "00",
            "input": {"name": "image", "shape": [1, 3, 96, 96], "layout": "NCHW", "colour": "RGB",
                "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
            "outputs": {"points": {"shape": [1, 5, 2]}, "spread": {"shape": [1, 5]}},
            "points": NAMED, "crop": {"side_per_box_side": 1.3, "shift_y_per_box_side": 0.0},
            "face_check": {"no_face_above": 0.15},
            "head": {"points_mm": vec![[0.0; 3]; 5], "weights": vec![1.0; 5]},
        });
        change(&mut manifest);
        manifest
    }

    #[test]
    fn a_damaged_or_wrong_model_is_named_with_what_was_expected() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(Change, &str); 14] = [
            (|m| m["schema"] = "other/9".into(), "has `schema` `other/9`, expected `storehub-model/1`"),
            (|m| m["file"] = "../x.onnx".into(), "expected a plain file name"),
            (|m| m["input"]["shape"] = serde_json::json!([1, 1, 96, 96]), "`input.shape` [1, 1, 96, 96]"),
            (|m| m["input"]["colour"] = "BGR".into(), "expected `NCHW` `RGB`"),
            (|m| m["input"]["std"][1] = 0.into(), "expected -10.0..=10.0 and 0.01..=100.0"),
            (|m| m["input"]["std"][1] = 1e308.into(), "`input.std` [0.5, 0.5, 0.5] [0.25, inf, 0.25]"),
            (|m| m["input"]["mean"][0] = 1e30.into(), "`input.mean` and"),
            (
                |m| m["crop"]["side_per_box_side"] = 0.into(),
                "`crop.side_per_box_side` 0e0, expected 0.5 to 4",
            ),
            (
                |m| {
                    m["refine"] =
                        serde_json::json!({"side_per_eyes_mouth_distance": 3, "centre_from_eyes": 1e308})
                },
                "`refine.centre_from_eyes` 1e308, expected -1 to 2",
            ),
            (|m| m["points"][2] = "nose".into(), "expected a point `nose_tip`"),
            (|m| m["outputs"]["spread"]["shape"] = serde_json::json!([1, 7]), "[1, 7], expected [1, 5]"),
            (
                |m| m["head"]["weights"] = serde_json::json!([1.0]),
                "5 points and 1 weights, expected 5 of each",
            ),
            (|m| m["head"]["weights"][2] = 0.into(), "expected places in mm and weights above 0"),
            (|_| (), "has sha256 e3b0c442"),
        ];
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("test.onnx"), b"").unwrap();
        for (change, expected) in cases {
            fs::write(folder.path().join(MANIFEST_FILE), manifest(change).to_string()).unwrap();
            let error = Landmarker::load(folder.path()).err().unwrap().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        fs::write(folder.path().join(MANIFEST_FILE), "{").unwrap();
        let error = Landmarker::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains("failed to parse the manifest"), "{error}");
        fs::remove_file(folder.path().join(MANIFEST_FILE)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(MANIFEST_FILE)).unwrap();
        let error = Landmarker::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains("is not a regular file") && error.contains(MANIFEST_FILE), "{error}");
        fs::remove_file(folder.path().join(MANIFEST_FILE)).unwrap();
        let error = Landmarker::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains("failed to read") && error.contains(MANIFEST_FILE), "{error}");
    }

    /// The goldens of the models' own export: the same crop must give the same points here.
    #[test]
    fn the_network_gives_here_what_it_gave_where_it_was_exported() {
        let Some((weights, goldens)) = crate::inference::testing::goldens("goldens.json") else { return };
        let landmarker = Landmarker::load(&weights).unwrap();
        let bounds = |values: [f64; 4]| FaceBox {
            // Goldens count from the corner of the first pixel, we from its centre.
            x: values[0] - 0.5,
            y: values[1] - 0.5,
            width: values[2],
            height: values[3],
            score: 0.0,
        };
        let check = |found: &Face, expected: &serde_json::Value, scale: f64, tolerance: f64, what: &str| {
            let expected: Vec<[f64; 2]> = serde_json::from_value(expected.clone()).unwrap();
            assert_eq!(found.points.len(), expected.len());
            for ((found, [x, y]), name) in found.points.iter().zip(expected).zip(landmarker.point_names()) {
                let expected = Point::new(x * scale - 0.5, y * scale - 0.5);
                let off = found.distance(expected);
                assert!(off <= tolerance, "{what} {name}: {found:?}, expected {expected:?}, off {off} px");
            }
        };
        let side = landmarker.file.side() as f64;
        let tolerance = goldens["tolerance"]["points"].as_f64().unwrap() * side;
        for case in goldens["crops"].as_array().unwrap() {
            let file = case["file"].as_str().unwrap();
            let picture = Picture::from_file(weights.join("goldens").join(file)).unwrap();
            let whole = Crop { centre: Point::new(side / 2.0 - 0.5, side / 2.0 - 0.5), side };
            let found = landmarker.points_in(&picture, whole, bounds([0.0; 4])).unwrap();
            check(&found, &case["points"], side, tolerance, file);
        }
        for case in goldens["scenes"].as_array().unwrap() {
            let file = case["file"].as_str().unwrap();
            let picture = Picture::from_file(weights.join("goldens").join(file)).unwrap();
            let bounds = bounds(serde_json::from_value(case["box"].clone()).unwrap());
            let found = landmarker.points_in(&picture, landmarker.crop_of_box(bounds), bounds).unwrap();
            let tolerance = goldens["tolerance"]["scene_points_box_sides"].as_f64().unwrap() * bounds.width;
            check(&found, &case["points"], 1.0, tolerance, file);
        }
    }
}
