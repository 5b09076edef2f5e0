//! What one frame of 1280 × 720 costs from the camera's bytes to RGB, by layout: time of this thread on its processor,
//! median of 200, so that a busy machine gives the same figures.

use std::time::Instant;

use vision::frame::{Encoding, Frame, Layout};

const SIZE: (u32, u32) = (1280, 720);
const FRAMES: u64 = 200;

fn main() {
    let (width, height) = SIZE;
    let scene = image::RgbImage::from_fn(width, height, |x, y| {
        let grain = x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503);
        image::Rgb([x / 6, y / 4, (x + y) / 8].map(|value| value.wrapping_add(grain >> 28).to_le_bytes()[0]))
    });
    let mut jpeg = Vec::new();
    scene
        .write_with_encoder(image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 85))
        .expect("a picture in memory is encoded");
    let yuyv: Vec<u8> = scene.as_raw().iter().copied().take(scene.len() / 3 * 2).collect();
    let nv12: Vec<u8> = scene.as_raw().iter().copied().take(scene.len() / 2).collect();
    for (layout, bytes) in [(Layout::Mjpg, &jpeg), (Layout::Yuyv, &yuyv), (Layout::Nv12, &nv12)] {
        let mut spare = Vec::new();
        let mut times = Vec::new();
        for sequence in 0..FRAMES {
            let (encoding, at) = (Encoding::default(), Instant::now());
            let began = on_processor();
            let frame = Frame { layout, encoding, width, height, stride: 0, at, sequence, bytes };
            let picture = frame.to_picture_in(spare).expect("the frame is whole");
            times.push(on_processor() - began);
            spare = picture.into_spare();
        }
        times.sort_by(f64::total_cmp);
        let (median, late) = (times[times.len() / 2], times[times.len() * 19 / 20]);
        println!("{}: {median:.2} ms, p95 {late:.2} ms ({} bytes)", layout.name(), bytes.len());
    }
}

/// Milliseconds that this thread has run.
fn on_processor() -> f64 {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long a thread ran");
    let nanos: f64 =
        text.split(' ').next().and_then(|word| word.parse().ok()).expect("its first word is a number");
    nanos / 1e6
}
