//! What our own network sees on a face: where bare skin is, and on it lines, pigment spots, redness and shine.
//!
//! Owns the network and what its outputs are called. The manifest beside it says how the face is framed and from which
//! probability on a line or a spot is one; nothing of that is typed again here.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;

use crate::{
    geometry::Point,
    inference::{Network, NetworkError},
    landmarks::FivePoints,
    model_file::{Header, ModelError, ModelFile, Output},
    picture::Picture,
    skin::{Decoding, frame::FaceFrame},
    wiped::Wiped,
};

/// The manifest's name in the folder of models.
pub(crate) const MANIFEST_FILE: &str = "skinmap.json";
/// What the network answers with, in this order.
const CHANNELS: [&str; 4] = ["skin", "line", "spot", "shine"];

/// Less linear light than this has no logarithm worth anything: two steps of a byte.
const LIGHT_MIN: f64 = 6e-4;

/// Where more of the light is mirrored, the colour is the lamp's as well.
const PLAIN_SHINE_MAX: f32 = 0.3;

/// One of the network's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Probability of bare skin of the face: no eye, brow, lip, hair, beard, glasses.
    Skin,
    /// Probability of a line.
    Line,
    /// Probability of a spot of pigment.
    Spot,
    /// Share of the light that the surface mirrors, 0 to 1.
    Shine,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(flatten)]
    header: Header,
    outputs: Outputs,
    frame: Framing,
    pigments: Pigments,
    thresholds: Thresholds,
}

/// Weights of the optical densities of red, green and blue, by the renderer's model of skin.
#[derive(Debug, Deserialize)]
struct Pigments {
    /// Tell the logarithm of blood, blind to shading and to melanin.
    blood: [f64; 3],
}

#[derive(Debug, Deserialize)]
struct Outputs {
    maps: MapsOutput,
}

#[derive(Debug, Deserialize)]
struct MapsOutput {
    #[serde(flatten)]
    form: Output,
    channels: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Framing {
    view_mm: f64,
    centre_below_eyes_mm: f64,
}

/// From which probability on something is there.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Thresholds {
    pub(crate) skin: f32,
    pub(crate) line: f32,
    pub(crate) spot: f32,
}

impl AsRef<Header> for Manifest {
    fn as_ref(&self) -> &Header {
        &self.header
    }
}

/// The skin network.
pub(crate) struct Skinmap {
    network: Mutex<Network>,
    file: ModelFile<Manifest>,
}

/// A face's maps. All of it comes from a picture of somebody: it is wiped when it goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SkinMaps {
    /// Which part of the picture was looked at.
    pub(crate) frame: FaceFrame,
    /// Side of the maps: half of the frame's.
    pub(crate) side: usize,
    planes: Wiped<f32>,
    /// The logarithm of blood, up to a constant of the whole face, in natural units.
    pub(crate) blood: Wiped<f32>,
    pub(crate) thresholds: Thresholds,
}

impl Skinmap {
    /// Reads and verifies the manifest and the network in `models_dir`. The runtime must be loaded.
    pub(crate) fn load(models_dir: &Path) -> Result<Self, ModelError> {
        let file: ModelFile<Manifest> = ModelFile::open(models_dir, MANIFEST_FILE)?;
        let manifest = &file.manifest;
        let half = file.side() / 2;
        let maps = &manifest.outputs.maps;
        let expected = vec![1, CHANNELS.len(), half, half];
        if maps.form.shape != expected {
            return file.wrong(
                "`outputs.maps.shape`",
                format!("{:?}", maps.form.shape),
                format!("{expected:?}"),
            );
        }
        if maps.channels != CHANNELS {
            let found = format!("{:?}", maps.channels);
            return file.wrong("`outputs.maps.channels`", found, format!("{CHANNELS:?}"));
        }
        let Framing { view_mm, centre_below_eyes_mm } = manifest.frame;
        if !((50.0..=500.0).contains(&view_mm) && (-100.0..=100.0).contains(&centre_below_eyes_mm)) {
            let found = format!("{view_mm} {centre_below_eyes_mm}");
            let expected = "50 to 500 mm and -100 to 100 mm";
            return file.wrong("`frame.view_mm` and `frame.centre_below_eyes_mm`", found, expected);
        }
        let blood = manifest.pigments.blood;
        // Weights that do not sum to nought would take shade for blood.
        if !(blood.iter().all(|weight| weight.abs() < 100.0) && blood.iter().sum::<f64>().abs() < 0.01) {
            return file.wrong("`pigments.blood`", format!("{blood:?}"), "weights that sum to nought");
        }
        let Thresholds { skin, line, spot } = manifest.thresholds;
        if ![skin, line, spot].iter().all(|threshold| (0.05..=0.95).contains(threshold)) {
            return file.wrong("`thresholds`", format!("{skin} {line} {spot}"), "0.05 to 0.95");
        }
        let network = file.network(&[("maps", &maps.form)])?;
        Ok(Self { network: Mutex::new(network), file })
    }

    /// `sha256:…` of the network.
    pub(crate) fn identity(&self) -> String {
        self.file.identity()
    }

    /// The maps of the face with these landmarks; `None` when the landmarks lay no frame.
    pub(crate) fn look(
        &self,
        picture: &Picture,
        decoding: &Decoding,
        points: &FivePoints,
    ) -> Result<Option<SkinMaps>, NetworkError> {
        let manifest = &self.file.manifest;
        let Framing { view_mm, centre_below_eyes_mm } = manifest.frame;
        let Some(frame) = FaceFrame::lay(points, self.file.side(), view_mm, centre_below_eyes_mm) else {
            return Ok(None);
        };
        let pixels = frame.sample(picture);
        let input = manifest.header.input.normalised(&pixels);
        let mut network = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outputs = network.run(&input)?;
        let planes = Wiped::new(outputs.remove(0));
        let side = self.file.side() / 2;
        let blood = blood(&pixels, decoding, side, manifest.pigments.blood);
        Ok(Some(SkinMaps { frame, side, planes, blood, thresholds: manifest.thresholds }))
    }

    /// As [`Network::forget`].
    pub(crate) fn forget(&self) -> Result<(), NetworkError> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).forget()
    }
}

/// The weighted optical densities of each four pixels of the frame.
fn blood(pixels: &[u8], decoding: &Decoding, side: usize, weights: [f64; 3]) -> Wiped<f32> {
    let row = 2 * side * 3;
    let mut values = Vec::with_capacity(side * side);
    for (y, x) in (0..side).flat_map(|y| (0..side).map(move |x| (y, x))) {
        let first = 2 * y * row + 2 * x * 3;
        let four = [first, first + 3, first + row, first + row + 3];
        let light = four
            .map(|at| decoding.linear([pixels[at], pixels[at + 1], pixels[at + 2]]))
            .into_iter()
            .fold([0.0; 3], |sum, pixel| std::array::from_fn(|channel| sum[channel] + pixel[channel] / 4.0));
        let density = |channel: usize| -light[channel].max(LIGHT_MIN).ln();
        #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a byte fits an f32")]
        values.push((0..3).map(|channel| weights[channel] * density(channel)).sum::<f64>() as f32);
    }
    Wiped::new(values)
}

impl SkinMaps {
    /// One map, row by row.
    pub(crate) fn plane(&self, channel: Channel) -> &[f32] {
        let size = self.side * self.side;
        &self.planes[channel as usize * size..][..size]
    }

    /// Millimetres a pixel of the maps.
    pub(crate) fn mm(&self) -> f64 {
        2.0 * self.frame.mm()
    }

    /// A place of the picture on the maps, pixel centres at integers.
    pub(crate) fn place(&self, picture: Point) -> Point {
        let own = self.frame.to_own(picture);
        Point::new((own.x - 0.5) / 2.0, (own.y - 0.5) / 2.0)
    }

    /// A map's value at a place of the picture, between its neighbours; nought outside the frame.
    pub(crate) fn at(&self, channel: Channel, picture: Point) -> f32 {
        self.between(self.plane(channel), picture).unwrap_or(0.0)
    }

    /// As [`Self::at`], of values in the order of the maps; `None` outside the frame.
    pub(crate) fn between(&self, plane: &[f32], picture: Point) -> Option<f32> {
        let Point { x, y } = self.place(picture);
        let last = self.side as f64 - 1.0;
        if !((-0.5..=last + 0.5).contains(&x) && (-0.5..=last + 0.5).contains(&y)) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "inside the map")]
        let along = |position: f64| {
            let position = position.clamp(0.0, last);
            (position as usize, (position as usize + 1).min(last as usize), position.fract() as f32)
        };
        let ((left, right, across), (top, bottom, down)) = (along(x), along(y));
        let row = |y: usize| {
            let row = &plane[y * self.side..][..self.side];
            row[left] * (1.0 - across) + row[right] * across
        };
        Some(row(top) * (1.0 - down) + row(bottom) * down)
    }

    /// Whether bare skin is seen at a place of the picture.
    pub(crate) fn is_skin(&self, picture: Point) -> bool {
        self.thresholds.skin <= self.at(Channel::Skin, picture)
    }

    /// As [`Self::is_plain`], for a place of the picture.
    pub(crate) fn is_plain_at(&self, picture: Point) -> bool {
        self.is_skin(picture)
            && self.at(Channel::Spot, picture) < self.thresholds.spot
            && self.at(Channel::Shine, picture) < PLAIN_SHINE_MAX
    }

    /// Whether the colour of a cell of the maps is the skin's own: bare, no spot, no highlight.
    pub(crate) fn is_plain(&self, cell: usize) -> bool {
        self.thresholds.skin <= self.plane(Channel::Skin)[cell]
            && self.plane(Channel::Spot)[cell] < self.thresholds.spot
            && self.plane(Channel::Shine)[cell] < PLAIN_SHINE_MAX
    }

    /// Takes the skin out of some rows.
    #[cfg(test)]
    pub(crate) fn cover(&mut self, from: usize, rows: usize) {
        self.cover_columns(from..from + rows, 0..self.side);
    }

    /// Takes the skin out of a part.
    #[cfg(test)]
    pub(crate) fn cover_columns(&mut self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) {
        self.fill(Channel::Skin, rows, columns, 0.0);
    }

    /// Gives every cell of a part the same value in one channel.
    #[cfg(test)]
    pub(crate) fn fill(
        &mut self,
        channel: Channel,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        value: f32,
    ) {
        let mut planes = self.planes.to_vec();
        for row in rows {
            planes[(channel as usize * self.side + row) * self.side..][..self.side][columns.clone()]
                .fill(value);
        }
        self.planes = Wiped::new(planes);
    }

    /// Maps of nothing but plain skin in the frame of a face, with the blood of a picture.
    #[cfg(test)]
    pub(crate) fn plain(picture: &Picture, points: &FivePoints) -> Option<Self> {
        let frame = FaceFrame::lay(points, 512, 176.0, 18.0)?;
        let side = 256;
        let mut planes = vec![0.0; CHANNELS.len() * side * side];
        planes[..side * side].fill(1.0);
        Some(Self {
            frame,
            side,
            planes: Wiped::new(planes),
            blood: blood(&frame.sample(picture), &Decoding::Srgb, side, [-3.98, 7.43, -3.45]),
            thresholds: Thresholds { skin: 0.5, line: 0.5, spot: 0.5 },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The goldens of the models' own export: the same frame must give the same maps here.
    #[test]
    fn the_network_gives_here_what_it_gave_where_it_was_exported() {
        let Some((weights, goldens)) = crate::inference::testing::goldens("skinmap.json") else { return };
        let skinmap = Skinmap::load(&weights).unwrap();
        let number = |field: &str| usize::try_from(goldens[field].as_u64().unwrap()).unwrap();
        let (first, step, side) = (number("first"), number("step"), skinmap.file.side() / 2);
        let cells: Vec<usize> = (first..side)
            .step_by(step)
            .flat_map(|y| (first..side).step_by(step).map(move |x| y * side + x))
            .collect();
        for frame in goldens["frames"].as_array().unwrap() {
            let file = frame["file"].as_str().unwrap();
            let picture = Picture::from_file(weights.join("goldens").join(file)).unwrap();
            let input = skinmap.file.manifest.header.input.normalised(picture.rgb());
            let found = skinmap.network.lock().unwrap().run(&input).unwrap().remove(0);
            let expected: Vec<Vec<f64>> = serde_json::from_value(frame["maps"].clone()).unwrap();
            for ((plane, expected), name) in found.chunks_exact(side * side).zip(&expected).zip(CHANNELS) {
                for (cell, expected) in cells.iter().zip(expected) {
                    let off = (f64::from(plane[*cell]) - expected).abs();
                    assert!(
                        off <= goldens["tolerance"].as_f64().unwrap(),
                        "{file} {name} {cell}: off by {off}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_manifest_that_says_something_else_is_refused_with_field_and_value() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(Change, &str); 5] = [
            (|m| m["outputs"]["maps"]["shape"] = serde_json::json!([1, 7, 256, 256]), "[1, 7, 256, 256]"),
            (|m| m["outputs"]["maps"]["channels"][1] = "charm".into(), "`outputs.maps.channels`"),
            (|m| m["frame"]["view_mm"] = 9.into(), "9 18, expected 50 to 500 mm"),
            (|m| m["pigments"]["blood"][0] = 9.into(), "expected weights that sum to nought"),
            (|m| m["thresholds"]["spot"] = 1.5.into(), "0.5 0.4 1.5, expected 0.05 to 0.95"),
        ];
        let manifest = serde_json::json!({
            "schema": "storehub-model/1", "name": "skinmap", "file": "skinmap.onnx", "sha256": "00",
            "input": {"name": "image", "shape": [1, 3, 512, 512], "layout": "NCHW", "colour": "RGB",
                "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
            "outputs": {"maps": {"shape": [1, 4, 256, 256], "channels": CHANNELS}},
            "frame": {"view_mm": 176.0, "centre_below_eyes_mm": 18.0},
            "pigments": {"blood": [-4.0, 7.5, -3.5]},
            "thresholds": {"skin": 0.5, "line": 0.4, "spot": 0.6},
        });
        let folder = tempfile::tempdir().unwrap();
        for (change, expected) in cases {
            let mut changed = manifest.clone();
            change(&mut changed);
            fs::write(folder.path().join(MANIFEST_FILE), changed.to_string()).unwrap();
            let error = Skinmap::load(folder.path()).err().unwrap().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
