//! Frames against their formulas, and what is refused.

#![expect(clippy::cast_possible_truncation, reason = "sides and bytes of small pictures")]

use proptest::prelude::*;

use super::*;

/// One pixel as the recommendations write it, in floating point: slow, and what the integers are held against.
fn reference(encoding: Encoding, [y, cb, cr]: [u8; 3]) -> [f64; 3] {
    let (kr, kb) = if encoding.matrix == Matrix::Bt601 { (0.299, 0.114) } else { (0.2126, 0.0722) };
    let (y, cb, cr) = (f64::from(y), f64::from(cb) - 128.0, f64::from(cr) - 128.0);
    let (y, cb, cr) = match encoding.range {
        Range::Limited => ((y - 16.0) / 219.0, cb / 224.0, cr / 224.0),
        Range::Full => (y / 255.0, cb / 255.0, cr / 255.0),
    };
    let red = y + 2.0 * (1.0 - kr) * cr;
    let blue = y + 2.0 * (1.0 - kb) * cb;
    let green = (y - kr * red - kb * blue) / (1.0 - kr - kb);
    [red, green, blue].map(|value| (255.0 * value).clamp(0.0, 255.0))
}

fn frame(layout: Layout, width: u32, height: u32, bytes: &[u8]) -> Frame<'_> {
    let encoding = Encoding::default();
    Frame { layout, encoding, width, height, stride: 0, at: Instant::now(), sequence: 0, bytes }
}

fn close(found: [u8; 3], expected: [f64; 3]) -> bool {
    found.iter().zip(expected).all(|(found, expected)| (f64::from(*found) - expected).abs() <= 0.51)
}

fn encodings() -> impl Strategy<Value = Encoding> {
    prop::sample::select(Encoding::ALL.to_vec())
}

proptest! {
    #[test]
    fn yuyv_becomes_what_the_recommendations_say(
        encoding in encodings(),
        half_width in 1_u32..9,
        height in 1_u32..7,
        gap in 0_u32..6,
        seed in any::<u64>(),
    ) {
        let width = half_width * 2;
        let step = (width * 2 + gap) as usize;
        let bytes = noise(step * height as usize - gap as usize, seed);
        let frame = Frame { encoding, stride: step as u32, ..frame(Layout::Yuyv, width, height, &bytes) };
        let picture = frame.to_picture().unwrap();
        for y in 0..height {
            for x in 0..width {
                let pair = &bytes[y as usize * step + x as usize / 2 * 4..][..4];
                let luma = pair[(x as usize % 2) * 2];
                let expected = reference(encoding, [luma, pair[1], pair[3]]);
                prop_assert!(close(picture.pixel(x, y), expected), "{:?} {expected:?}", picture.pixel(x, y));
            }
        }
    }

    #[test]
    fn nv12_becomes_what_the_recommendations_say(
        encoding in encodings(),
        half_width in 1_u32..9,
        half_height in 1_u32..5,
        gap in 0_u32..6,
        seed in any::<u64>(),
    ) {
        let (width, height) = (half_width * 2, half_height * 2);
        let step = (width + gap) as usize;
        let bytes = noise(step * (height + half_height) as usize - gap as usize, seed);
        let frame = Frame { encoding, stride: step as u32, ..frame(Layout::Nv12, width, height, &bytes) };
        let picture = frame.to_picture().unwrap();
        for y in 0..height {
            for x in 0..width {
                let luma = bytes[y as usize * step + x as usize];
                let chroma = &bytes[step * height as usize + (y / 2) as usize * step + (x / 2 * 2) as usize..][..2];
                let expected = reference(encoding, [luma, chroma[0], chroma[1]]);
                prop_assert!(close(picture.pixel(x, y), expected), "{:?} {expected:?}", picture.pixel(x, y));
            }
        }
    }

    #[test]
    fn a_buffer_that_ends_too_early_is_refused(cut in 1_usize..200, layout in 0..2) {
        let layout = [Layout::Yuyv, Layout::Nv12][layout as usize];
        let needed = if layout == Layout::Yuyv { 16 * 8 * 2 } else { 16 * 12 };
        let bytes = vec![0; needed - cut.min(needed)];
        let refused = frame(layout, 16, 8, &bytes).to_picture();
        prop_assert!(matches!(refused, Err(FrameError::Short { .. })), "{refused:?}");
    }

    #[test]
    fn a_jpeg_that_was_cut_off_is_refused(share in 0.0_f64..1.0) {
        let jpeg = jpeg(64, 48);
        let cut = &jpeg[..((jpeg.len() - 1) as f64 * share) as usize];
        let refused = frame(Layout::Mjpg, 64, 48, cut).to_picture();
        prop_assert!(refused.is_err(), "{} of {} bytes", cut.len(), jpeg.len());
    }

    #[test]
    fn no_damage_to_a_jpeg_breaks_us_down(at in 0.0_f64..1.0, bits in 1_u8.., gone in 0_usize..400) {
        let mut jpeg = jpeg(64, 48);
        let at = ((jpeg.len() - 1) as f64 * at) as usize;
        jpeg[at] ^= bits;
        jpeg.drain(at..(at + gone).min(jpeg.len()));
        // Damage inside the data may decode to a picture; whatever comes is one or an error.
        if let Ok(picture) = frame(Layout::Mjpg, 64, 48, &jpeg).to_picture() {
            prop_assert_eq!((picture.width(), picture.height()), (64, 48));
        }
    }
}

/// Bytes that look like nothing.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

fn scene(width: u32, height: u32) -> image::RgbImage {
    image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x ^ y) * 3) as u8])
    })
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 92);
    scene(width, height).write_with_encoder(encoder).unwrap();
    bytes
}

#[test]
fn the_ends_of_the_range_are_black_and_white_and_primaries_are_themselves() {
    let limited = Encoding::default();
    let full = Encoding { range: Range::Full, ..limited };
    // BT.601 in limited range: the byte triples of 100 % colour bars.
    let cases = [
        (limited, [16, 128, 128], [0, 0, 0]),
        (limited, [235, 128, 128], [255, 255, 255]),
        (limited, [81, 90, 240], [255, 0, 0]),
        (limited, [145, 54, 34], [0, 255, 0]),
        (limited, [41, 240, 110], [0, 0, 255]),
        (full, [0, 128, 128], [0, 0, 0]),
        (full, [255, 128, 128], [255, 255, 255]),
        (full, [76, 85, 255], [255, 0, 0]),
    ];
    for (encoding, [y, cb, cr], expected) in cases {
        let bytes = [y, cb, y, cr];
        let picture = Frame { encoding, ..frame(Layout::Yuyv, 2, 1, &bytes) }.to_picture().unwrap();
        for (found, expected) in picture.pixel(1, 0).into_iter().zip(expected) {
            assert!(found.abs_diff(expected) <= 2, "{y} {cb} {cr}: {:?}", picture.pixel(1, 0));
        }
    }
}

#[test]
fn a_jpeg_gives_the_picture_that_was_put_in() {
    let jpeg = jpeg(64, 48);
    let picture = frame(Layout::Mjpg, 64, 48, &jpeg).to_picture().unwrap();
    let scene = scene(64, 48);
    let difference: u32 = picture
        .rgb()
        .iter()
        .zip(scene.as_raw())
        .map(|(found, expected)| u32::from(found.abs_diff(*expected)))
        .sum();
    assert!(difference / (64 * 48 * 3) < 6, "{}", difference / (64 * 48 * 3));
}

#[test]
fn a_jpeg_without_huffman_tables_means_the_standard_ones() {
    let jpeg = jpeg(64, 48);
    let whole = frame(Layout::Mjpg, 64, 48, &jpeg).to_picture().unwrap();
    let mut bare = Vec::new();
    let mut at = 2;
    bare.extend_from_slice(&jpeg[..2]);
    while jpeg[at + 1] != 0xDA {
        let length = 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != 0xC4 {
            bare.extend_from_slice(&jpeg[at..at + length]);
        }
        at += length;
    }
    bare.extend_from_slice(&jpeg[at..]);
    assert!(bare.len() < jpeg.len(), "the tables are gone");
    let read = frame(Layout::Mjpg, 64, 48, &bare).to_picture().unwrap();
    assert_eq!(read.rgb(), whole.rgb());
}

#[test]
fn padding_after_a_jpeg_is_nothing_and_a_second_beginning_is_damage() {
    let jpeg = jpeg(64, 48);
    let padded = [&jpeg[..], &[0; 100]].concat();
    assert!(frame(Layout::Mjpg, 64, 48, &padded).to_picture().is_ok());
    let torn = [&jpeg[..jpeg.len() / 2], &jpeg[..]].concat();
    let refused = frame(Layout::Mjpg, 64, 48, &torn).to_picture();
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_jpeg_of_another_size_is_named_with_both() {
    let jpeg = jpeg(64, 48);
    let refused = frame(Layout::Mjpg, 32, 48, &jpeg).to_picture().unwrap_err().to_string();
    assert!(refused.contains("64 x 48") && refused.contains("32 x 48"), "{refused}");
}

#[test]
fn what_no_camera_sends_is_refused_with_its_reason() {
    let big = vec![0; 64];
    let cases = [
        (frame(Layout::Yuyv, 0, 4, &big), "out of bounds"),
        (frame(Layout::Yuyv, 3, 4, &big), "even sides"),
        (frame(Layout::Nv12, 4, 3, &big), "even sides"),
        (frame(Layout::Nv12, FRAME_SIDE_MAX + 2, 4, &big), "out of bounds"),
        (Frame { stride: 7, ..frame(Layout::Yuyv, 4, 4, &big) }, "rows 7 bytes apart"),
        (frame(Layout::Mjpg, 4, 4, &big), "start marker"),
        (frame(Layout::Mjpg, 4, 4, &[]), "start marker"),
    ];
    for (frame, reason) in cases {
        let error = frame.to_picture().unwrap_err().to_string();
        assert!(error.contains(reason), "{frame:?}: {error}");
    }
}

#[test]
fn the_memory_of_an_earlier_picture_is_used_again() {
    let bytes = vec![128; 8 * 4 * 2];
    let spare = Vec::with_capacity(8 * 4 * 3);
    let place = spare.as_ptr();
    let picture = frame(Layout::Yuyv, 8, 4, &bytes).to_picture_in(spare).unwrap();
    assert_eq!(picture.rgb().as_ptr(), place);
    let spare = picture.into_spare();
    assert_eq!(spare.as_ptr(), place);
    assert!(spare.iter().all(|byte| *byte == 0), "it is wiped");
}

#[test]
fn names_lead_back_to_what_they_name() {
    for layout in Layout::ALL {
        assert_eq!(Layout::parse(layout.name()), Some(layout));
    }
    for encoding in Encoding::ALL {
        assert_eq!(Encoding::parse(encoding.name()), Some(encoding));
    }
    assert_eq!(Layout::parse("H264"), None);
}
