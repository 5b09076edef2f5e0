//! Drawn frames of labels on goods, of which everything is known: what they say, where they are and how they are bent.
//!
//! For tests, for measurements and for screens without a camera. A ray through each part of a pixel meets the label or what
//! stands behind; the frame is then lit from one side, shaken, blurred as by a lens, and gets the noise of a sensor.
//! The same scene gives the same frame.

use glam::{DVec2, DVec3};

use crate::{
    geometry::Point,
    modules::Modules,
    picture::Grey,
    pose::{Axis, Intrinsics, Rigid, Surface},
};

/// The light border that is printed around a symbol, in modules: what the standard asks for.
pub const QUIET_MODULES: f64 = 4.0;
/// Rays along each side of a pixel.
const RAYS: u32 = 3;
/// Levels of ink and paper.
const INK: f32 = 56.0;
const PAPER: f32 = 224.0;
/// The blur of what stands behind, in pixels, and how many things stand there.
const BEHIND_BLUR_PX: f64 = 4.0;
const BEHIND_THINGS: u32 = 60;

/// One label before one camera.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Of the frame, in pixels.
    pub width: u32,
    /// Of the frame, in pixels.
    pub height: u32,
    /// The camera.
    pub camera: Intrinsics,
    /// What is printed.
    pub symbol: Modules,
    /// Width of the symbol; the unit of `surface` and of the pose's translation.
    pub symbol_width: f64,
    /// What the label is stuck to.
    pub surface: Surface,
    /// Where the symbol's centre is and how it is turned.
    pub camera_from_symbol: Rigid,
    /// By how much the light changes from one side of the frame to the other, as a share.
    pub light_slope: f64,
    /// Standard deviation of the lens's blur, in pixels.
    pub blur_px: f64,
    /// How far the camera moves while it looks, in pixels and along which direction.
    pub shake_px: DVec2,
    /// Standard deviation of the noise, in levels of a byte.
    pub noise: f64,
    /// What stands behind and how the noise falls.
    pub seed: u64,
}

/// SplitMix64, by its public definition.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// At least `least` and below `end`.
    fn between(&mut self, least: u32, end: u32) -> u32 {
        let span = u64::from(end - least);
        least + u32::try_from(self.next() % span).expect("less than a u32")
    }

    /// Nearly normal: the sum of four even ones; deviation 1.
    fn normal(&mut self) -> f32 {
        let sum: u64 = self.next().to_le_bytes()[..4].iter().map(|byte| u64::from(*byte)).sum();
        (sum as f32 - 510.0) / 147.8
    }
}

impl Scene {
    /// The frame.
    #[must_use]
    pub fn frame(&self) -> Grey {
        let mut random = Random(self.seed);
        let mut levels = self.behind(&mut random);
        self.draw_label(&mut levels);
        for (at, level) in levels.iter_mut().enumerate() {
            let side =
                f64::from(u32::try_from(at).expect("a frame's size") % self.width) / f64::from(self.width);
            #[expect(clippy::cast_possible_truncation, reason = "a gain of about one")]
            let gain = (1.0 + self.light_slope * (side - 0.5)) as f32;
            *level *= gain;
        }
        let levels = self.shaken(levels);
        let levels = blurred(&levels, self.width as usize, self.blur_px);
        #[expect(clippy::cast_possible_truncation, reason = "some levels")]
        let noise = self.noise as f32;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let luma = levels.iter().map(|l| (l + noise * random.normal()).round().clamp(0.0, 255.0) as u8);
        Grey::from_luma(self.width, self.height, luma.collect())
    }

    /// Boxes of any level, out of focus.
    fn behind(&self, random: &mut Random) -> Vec<f32> {
        let mut levels = vec![120.0; self.width as usize * self.height as usize];
        for _ in 0..BEHIND_THINGS {
            let (left, top) = (random.between(0, self.width), random.between(0, self.height));
            let (width, height) = (random.between(10, 300), random.between(10, 300));
            let level = random.between(30, 225) as f32;
            for y in top..(top + height).min(self.height) {
                let row = y as usize * self.width as usize;
                levels[row + left as usize..row + (left + width).min(self.width) as usize].fill(level);
            }
        }
        blurred(&levels, self.width as usize, BEHIND_BLUR_PX)
    }

    fn draw_label(&self, levels: &mut [f32]) {
        let pose = &self.camera_from_symbol;
        let (back, eye) = (pose.rotation.transpose(), pose.rotation.transpose() * -pose.translation);
        let ray = |x: f64, y: f64| {
            let direction = back * self.camera.normalised(Point::new(x, y)).extend(1.0);
            let at = self.met(eye, direction)?;
            self.printed(at)
        };
        for y in 0..self.height {
            for x in 0..self.width {
                let at = (y * self.width + x) as usize;
                let part = |number: u32| (f64::from(number) + 0.5) / f64::from(RAYS) - 0.5;
                let (mut sum, mut hits) = (0.0, 0.0);
                for number in 0..RAYS * RAYS {
                    let met = ray(f64::from(x) + part(number % RAYS), f64::from(y) + part(number / RAYS));
                    // Far from the label one ray is as good as nine.
                    if number == 0 && met.is_none() && self.is_far(x, y) {
                        break;
                    }
                    if let Some(level) = met {
                        sum += level;
                        hits += 1.0;
                    }
                }
                let rays = (RAYS * RAYS) as f32;
                levels[at] = levels[at] * (1.0 - hits / rays) + sum / rays;
            }
        }
    }

    /// Whether a pixel is further from the symbol's centre than the label can reach.
    fn is_far(&self, x: u32, y: u32) -> bool {
        let centre = self.camera.project(self.camera_from_symbol.translation);
        let nearest =
            (self.camera_from_symbol.translation.z - self.symbol_width).max(self.symbol_width / 4.0);
        let reach = self.camera.to_array()[0] * 2.0 * self.symbol_width / nearest;
        centre.distance(DVec2::new(f64::from(x), f64::from(y))) > reach
    }

    /// Where on the label a ray from `eye` meets it, from the symbol's centre; both in the symbol's frame.
    fn met(&self, eye: DVec3, direction: DVec3) -> Option<DVec2> {
        match self.surface {
            Surface::Flat => {
                let distance = -eye.z / direction.z;
                (0.0 < distance).then(|| (eye + direction * distance).truncate())
            }
            Surface::Bent { axis, radius } => {
                let turned = |v: DVec3| match axis {
                    Axis::Upright => v,
                    Axis::Lying => DVec3::new(v.y, v.x, v.z),
                };
                let (eye, direction) = (turned(eye), turned(direction));
                // x² + (z - radius)² = radius², the nearer of the two.
                let (across, from_axis) =
                    (DVec2::new(direction.x, direction.z), DVec2::new(eye.x, eye.z - radius));
                let (a, b) = (across.length_squared(), across.dot(from_axis));
                let root = b * b - a * (from_axis.length_squared() - radius * radius);
                if root < 0.0 {
                    return None;
                }
                let distance = (-b - root.sqrt()) / a;
                let place = eye + direction * distance;
                let label = DVec2::new(radius * place.x.atan2(radius - place.z), place.y);
                (0.0 < distance).then(|| match axis {
                    Axis::Upright => label,
                    Axis::Lying => DVec2::new(label.y, label.x),
                })
            }
        }
    }

    /// The level of ink or paper at a place of the label; `None` beside it.
    fn printed(&self, at: DVec2) -> Option<f32> {
        let (columns, rows) = (f64::from(self.symbol.columns()), f64::from(self.symbol.rows()));
        let at = at * columns / self.symbol_width + DVec2::new(columns, rows) / 2.0;
        let on_paper = (at + QUIET_MODULES).min_element() >= 0.0
            && (DVec2::new(columns, rows) + QUIET_MODULES - at).min_element() >= 0.0;
        let at = at.floor();
        #[expect(clippy::cast_possible_truncation, reason = "a few hundred modules")]
        let is_dark = self.symbol.is_dark(at.x as i64, at.y as i64);
        on_paper.then_some(if is_dark { INK } else { PAPER })
    }

    /// The mean along the path of the shake.
    fn shaken(&self, levels: Vec<f32>) -> Vec<f32> {
        let length = self.shake_px.length();
        if length < 1.0 {
            return levels;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some pixels")]
        let steps = (2.0 * length).ceil() as u32 + 1;
        let (width, height) = (self.width as usize, self.height as usize);
        #[expect(clippy::cast_possible_truncation, reason = "some pixels")]
        let offsets: Vec<(isize, isize)> = (0..steps)
            .map(|step| {
                let by = self.shake_px * (f64::from(step) / f64::from(steps - 1) - 0.5);
                (by.x.round() as isize, by.y.round() as isize)
            })
            .collect();
        (0..levels.len())
            .map(|at| {
                let (x, y) = (at % width, at / width);
                let sum: f32 = offsets
                    .iter()
                    .map(|(dx, dy)| {
                        let x = x.saturating_add_signed(*dx).min(width - 1);
                        let y = y.saturating_add_signed(*dy).min(height - 1);
                        levels[y * width + x]
                    })
                    .sum();
                sum / offsets.len() as f32
            })
            .collect()
    }
}

/// A Gaussian blur; at the edge the nearest level counts again.
fn blurred(levels: &[f32], width: usize, sigma: f64) -> Vec<f32> {
    if sigma <= 0.0 {
        return levels.to_vec();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some pixels")]
    let reach = (3.0 * sigma).ceil() as usize;
    #[expect(clippy::cast_possible_truncation, reason = "weights")]
    let weights: Vec<f32> = (0..=2 * reach)
        .map(|at| (-0.5 * ((at as f64 - reach as f64) / sigma).powi(2)).exp() as f32)
        .collect();
    let sum: f32 = weights.iter().sum();
    let height = levels.len() / width;
    let mut rows = vec![0.0; levels.len()];
    for (line, out) in levels.chunks_exact(width).zip(rows.chunks_exact_mut(width)) {
        for (x, out) in out.iter_mut().enumerate() {
            let near = weights.iter().enumerate();
            let total: f32 =
                near.map(|(off, weight)| weight * line[(x + off).saturating_sub(reach).min(width - 1)]).sum();
            *out = total / sum;
        }
    }
    let mut columns = vec![0.0; levels.len()];
    for (y, out) in columns.chunks_exact_mut(width).enumerate() {
        for (off, weight) in weights.iter().enumerate() {
            let from = (y + off).saturating_sub(reach).min(height - 1);
            for (out, level) in out.iter_mut().zip(&rows[from * width..]) {
                *out += weight / sum * level;
            }
        }
    }
    columns
}
