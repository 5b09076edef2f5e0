//! A scene that we draw ourselves: a wall with a lamp that wanders, a head that sways, bars of known colours.
//!
//! A function of time and size, so that a picture can be made again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Feed, FeedError, Next, Seen, still::Pace};
use crate::picture::Picture;

/// The bars at the lower edge, 75 % of full: grey, yellow, cyan, green, magenta, red, blue.
const BARS: [[u8; 3]; 7] =
    [[191, 191, 191], [191, 191, 0], [0, 191, 191], [0, 191, 0], [191, 0, 191], [191, 0, 0], [0, 0, 191]];

/// The scene as a camera.
pub(super) struct Scene {
    size: (u32, u32),
    pace: Pace,
    began: Instant,
}

impl Scene {
    pub(super) fn new(size: (u32, u32), rate: u32) -> Self {
        Self { size, pace: Pace::new(rate), began: Instant::now() }
    }
}

impl Feed for Scene {
    fn next(&mut self, _: Duration, sink: &mut dyn FnMut(Seen<'_>)) -> Result<Next, FeedError> {
        if let Some(left) = self.pace.left() {
            return Ok(Next::Due(left));
        }
        sink(Seen::Picture(Arc::new(draw(self.size, self.began.elapsed()))));
        Ok(Next::Taken)
    }
}

/// The scene after `time`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "places in a picture of bounded size, and colours that are clamped"
)]
fn draw((width, height): (u32, u32), time: Duration) -> Picture {
    let seconds = time.as_secs_f32();
    let (w, h) = (width as f32, height as f32);
    let head = (w * (0.5 + 0.06 * (seconds * 1.1).sin()), h * (0.42 + 0.02 * (seconds * 2.3).sin()));
    let (head_x, head_y) = (h * 0.20, h * 0.27);
    let lamp = w * (0.5 + 0.4 * (seconds * 0.4).cos());
    let bars_from = (h * 0.9) as u32;
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        let down = y as f32 / h;
        for x in 0..width {
            if bars_from <= y {
                rgb.extend(BARS[(x as usize * BARS.len() / width as usize).min(BARS.len() - 1)]);
                continue;
            }
            let (dx, dy) = ((x as f32 - head.0) / head_x, (y as f32 - head.1) / head_y);
            let inside = 1.0 - (dx * dx + dy * dy);
            let light = 0.75 + 0.25 * (1.0 - ((x as f32 - lamp) / w).abs());
            let colour = if 0.0 < inside {
                let shade = light * (0.7 + 0.3 * inside);
                [214.0 * shade, 168.0 * shade, 146.0 * shade]
            } else {
                [168.0 * light * (1.1 - 0.4 * down), 176.0 * light * (1.1 - 0.4 * down), 172.0 * light]
            };
            rgb.extend(colour.map(|value| value.clamp(0.0, 255.0) as u8));
        }
    }
    Picture::from_rgb(width, height, rgb).expect("three bytes were drawn for each pixel of a bounded size")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scene_moves_and_is_the_same_at_the_same_time() {
        let at = |ms| draw((64, 48), Duration::from_millis(ms));
        assert_eq!(at(1234).rgb(), at(1234).rgb());
        assert_ne!(at(1234).rgb(), at(1734).rgb());
        assert_eq!(at(0).pixel(2, 47), BARS[0]);
    }
}
