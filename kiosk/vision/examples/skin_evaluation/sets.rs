//! The evaluation pictures and what people wrote down about them. Only to measure: nothing here is shown or copied.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use vision::{Picture, Point};

use crate::statistics::quantile;

/// The landmarks of `faces_hd.json`, in the order of [`Portrait::landmarks`].
const LANDMARKS: [&str; 5] =
    ["eye_image_left", "eye_image_right", "nose_tip", "mouth_image_left", "mouth_image_right"];

/// Thirds of the people by the lightness of their cheeks in the picture.
pub(crate) const THIRDS: [&str; 3] = ["darkest", "middle", "lightest"];

/// A head-and-shoulder picture of one person.
pub(crate) struct Portrait {
    pub(crate) file: String,
    pub(crate) picture: Picture,
    /// x, y, width and height of the face.
    pub(crate) bounds: [f64; 4],
    /// Eyes, nose tip and corners of the mouth, set by eye.
    pub(crate) landmarks: [Point; 5],
    /// What people would have a gate say: `accept`, `warn: …` or `reject: …`.
    pub(crate) expected: String,
    /// L* of the cheeks beside the nose, by the pixels as they are.
    pub(crate) cheek_lightness: f64,
    /// Of [`THIRDS`].
    pub(crate) third: usize,
}

/// A small picture of one head.
pub(crate) struct Headshot {
    pub(crate) file: String,
    pub(crate) is_hard: bool,
    /// `None` where the detector that made these boxes saw nothing.
    pub(crate) bounds: Option<[f64; 4]>,
}

/// All pictures.
pub(crate) struct Sets {
    pub(crate) folder: PathBuf,
    pub(crate) portraits: Vec<Portrait>,
    pub(crate) headshots: Vec<Headshot>,
    /// Without a human face.
    pub(crate) negatives: Vec<String>,
}

/// Where the pictures should be: the variable `STOREHUB_EVAL`, else `shared/eval` beside the checkout.
pub(crate) fn folder() -> PathBuf {
    env::var_os("STOREHUB_EVAL")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/eval"), PathBuf::from)
        .join("skin")
}

impl Sets {
    /// Everything in the folder.
    pub(crate) fn read(folder: PathBuf) -> Result<Self> {
        let portraits = list(&folder, "faces_hd.json")?
            .iter()
            .map(|entry| portrait(&folder, entry))
            .collect::<Result<Vec<_>>>()?;
        let headshots = list(&folder, "faces_lr.json")?.iter().map(headshot).collect::<Result<_>>()?;
        let path = folder.join("negatives");
        let mut negatives = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| format!("failed to list `{}`", path.display()))? {
            let name = entry?.file_name();
            let name = name.to_str().context("a negative picture's name is no UTF-8")?;
            if [".png", ".jpg", ".jpeg", ".webp"].iter().any(|end| name.ends_with(end)) {
                negatives.push(format!("negatives/{name}"));
            }
        }
        negatives.sort();
        Ok(Self { folder, portraits: in_thirds(portraits), headshots, negatives })
    }

    /// One of the pictures.
    pub(crate) fn picture(&self, file: &str) -> Result<Picture> {
        Ok(Picture::from_file(self.folder.join(file))?)
    }
}

impl Portrait {
    /// Itself, with the lightness of its cheeks.
    pub(crate) fn with_lightness(mut self) -> Self {
        let luminance = quantile(self.cheeks().iter().flatten().map(|rgb| luminance(*rgb)).collect(), 0.5);
        self.cheek_lightness = 116.0 * luminance.cbrt() - 16.0;
        self
    }

    pub(crate) fn eye_distance(&self) -> f64 {
        self.landmarks[0].distance(self.landmarks[1])
    }

    /// A place of the picture in the face's own frame: origin between the eyes, x along them, in distances of the eyes.
    pub(crate) fn in_face(&self, x: f64, y: f64) -> (f64, f64) {
        let [left, right, ..] = self.landmarks;
        let (middle, unit) = (left.middle(right), self.eye_distance().powi(2));
        let (across, down) = (right.x - left.x, right.y - left.y);
        let (x, y) = (x - middle.x, y - middle.y);
        ((x * across + y * down) / unit, (y * across - x * down) / unit)
    }

    /// The two patches between eye and corner of the mouth that tell how light the cheeks are: their pixels.
    pub(crate) fn cheeks(&self) -> [Vec<[u8; 3]>; 2] {
        let half = (0.12 * self.eye_distance()).max(2.0);
        [(0, 3), (1, 4)].map(|(eye, mouth)| {
            let (eye, mouth) = (self.landmarks[eye], self.landmarks[mouth]);
            let centre = Point::new(0.45 * eye.x + 0.55 * mouth.x, 0.45 * eye.y + 0.55 * mouth.y);
            let within = |x: u32, y: u32, centre: Point| {
                (f64::from(x) - centre.x).abs() <= half && (f64::from(y) - centre.y).abs() <= half
            };
            let mut pixels = Vec::new();
            for (at, rgb) in self.picture.rgb().chunks_exact(3).enumerate() {
                let (x, y) = place(at, self.picture.width());
                if within(x, y, centre) {
                    pixels.push([rgb[0], rgb[1], rgb[2]]);
                }
            }
            pixels
        })
    }
}

/// Column and row of the pixel with this number.
pub(crate) fn place(at: usize, width: u32) -> (u32, u32) {
    let at = u32::try_from(at).expect("a picture has at most 50 million pixels");
    (at % width, at / width)
}

/// Intersection over union of two boxes.
pub(crate) fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let along = |at: usize| ((a[at] + a[at + 2]).min(b[at] + b[at + 2]) - a[at].max(b[at])).max(0.0);
    let both = along(0) * along(1);
    both / (a[2] * a[3] + b[2] * b[3] - both)
}

/// The thirds that portraits belong to, by the lightness of their cheeks.
pub(crate) fn in_thirds(mut portraits: Vec<Portrait>) -> Vec<Portrait> {
    let mut order: Vec<usize> = (0..portraits.len()).collect();
    order.sort_by(|a, b| portraits[*a].cheek_lightness.total_cmp(&portraits[*b].cheek_lightness));
    for (rank, at) in order.into_iter().enumerate() {
        portraits[at].third = rank * THIRDS.len() / portraits.len();
    }
    portraits
}

fn list(folder: &Path, file: &str) -> Result<Vec<Value>> {
    let path = folder.join(file);
    let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("`{}` is no list", path.display()))
}

fn portrait(folder: &Path, entry: &Value) -> Result<Portrait> {
    let file = text(entry, "file")?;
    let fail = |field: &str| format!("`faces_hd.json`, `{file}`: `{field}` is not as expected");
    let point = |name: &str| -> Result<Point> {
        let [x, y]: [f64; 2] =
            serde_json::from_value(entry["landmarks5"][name].clone()).with_context(|| fail(name))?;
        Ok(Point::new(x, y))
    };
    let mut landmarks = [Point::new(0.0, 0.0); 5];
    for (place, name) in landmarks.iter_mut().zip(LANDMARKS) {
        *place = point(name)?;
    }
    let portrait = Portrait {
        picture: Picture::from_file(folder.join(&file))?,
        bounds: serde_json::from_value(entry["rustface_box"].clone())
            .with_context(|| fail("rustface_box"))?,
        landmarks,
        expected: text(entry, "gate_expect")?,
        cheek_lightness: 0.0,
        third: 0,
        file,
    };
    Ok(portrait.with_lightness())
}

/// Relative luminance of an sRGB pixel.
pub(crate) fn luminance(rgb: [u8; 3]) -> f64 {
    let linear = rgb.map(|channel| {
        let value = f64::from(channel) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

fn headshot(entry: &Value) -> Result<Headshot> {
    let file = text(entry, "file")?;
    let boxes: Vec<[f64; 5]> = serde_json::from_value(entry["rustface"].clone())
        .with_context(|| format!("`faces_lr.json`, `{file}`: `rustface` is no list of boxes with scores"))?;
    let best = boxes.iter().max_by(|a, b| a[4].total_cmp(&b[4]));
    Ok(Headshot {
        is_hard: entry["hard"] == true,
        bounds: best.map(|[x, y, width, height, _]| [*x, *y, *width, *height]),
        file,
    })
}

fn text(entry: &Value, field: &str) -> Result<String> {
    let found = entry[field].as_str().with_context(|| format!("an entry has no text `{field}`: {entry}"))?;
    Ok(found.to_owned())
}
