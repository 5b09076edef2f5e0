//! Pictures: RGB, eight bits a channel, upright, in memory only.
//!
//! Owns the way from bytes to pixels with its limits: size of the file, number of pixels, memory of the
//! decoder. Honours EXIF orientation. Does not write pictures anywhere, and wipes their pixels when they
//! are dropped.

use std::{
    fmt,
    fs::File,
    hint::black_box,
    io::{Cursor, Read as _},
    path::{Path, PathBuf},
};

use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits};

/// Larger files are refused unread; a 4K PNG is below 30 MiB.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Pictures with more pixels are refused before they are decoded; a 4K camera has 8.3 million.
pub const PIXELS_MAX: u64 = 50_000_000;
/// What a decoder may allocate besides: 50 million pixels of 8 bytes, rounded up.
const DECODER_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be opened or read.
    #[error("failed to read the picture `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The path is a directory, a device or a pipe.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// More than [`FILE_BYTES_MAX`].
    #[error("the picture has {bytes} bytes, at most {FILE_BYTES_MAX} are allowed")]
    FileTooLarge {
        /// Its size.
        bytes: u64,
    },
    /// Neither PNG nor JPEG nor WebP.
    #[error("the picture is not a PNG, JPEG or WebP file")]
    UnknownFormat,
    /// More than [`PIXELS_MAX`].
    #[error("the picture has {width} x {height} pixels, at most {PIXELS_MAX} in all are allowed")]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Width or height is zero.
    #[error("the picture is empty ({width} x {height} pixels)")]
    Empty {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A JPEG whose end is missing: the decoder would fill the rest with grey.
    #[error("the JPEG ends before its picture does: the file is cut off")]
    CutOff,
    /// Raw pixels whose number does not fit the size.
    #[error("{width} x {height} pixels need {expected} bytes, found {found}")]
    WrongLength {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Three bytes a pixel.
        expected: u64,
        /// What was given.
        found: usize,
    },
    /// The data are damaged, or the decoder gave up.
    #[error("failed to decode the picture")]
    Decode {
        /// What the decoder says.
        source: image::ImageError,
    },
    /// The decoder broke down on these bytes.
    #[error("the decoder of the picture broke down: {what}")]
    DecoderPanicked {
        /// Its message.
        what: String,
    },
}

/// A picture: RGB, eight bits a channel, sRGB encoding, upright, at least one pixel.
#[derive(Clone)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture from raw pixels, row by row from the top, three bytes a pixel.
    ///
    /// # Errors
    /// When the size is zero or above [`PIXELS_MAX`], or the bytes do not fit it.
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, PictureError> {
        check_size(width, height)?;
        let expected = u64::from(width) * u64::from(height) * 3;
        if rgb.len() as u64 != expected {
            return Err(PictureError::WrongLength { width, height, expected, found: rgb.len() });
        }
        Ok(Self { width, height, rgb })
    }

    /// Reads a PNG, JPEG or WebP file.
    ///
    /// # Errors
    /// When the file cannot be read, is too large, or is no picture of these formats.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PictureError> {
        let path = path.as_ref();
        let fail = |source| PictureError::Read { path: path.to_owned(), source };
        // Asked before opening: to open a pipe would wait for its writer.
        let metadata = std::fs::metadata(path).map_err(fail)?;
        if !metadata.is_file() {
            return Err(PictureError::NotAFile { path: path.to_owned() });
        }
        if FILE_BYTES_MAX < metadata.len() {
            return Err(PictureError::FileTooLarge { bytes: metadata.len() });
        }
        let mut bytes = Vec::new();
        // The file may grow while it is read, so the limit holds here too.
        File::open(path).map_err(fail)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(fail)?;
        Self::from_bytes(&bytes)
    }

    /// Decodes the bytes of a PNG, JPEG or WebP file; transparent parts become white.
    ///
    /// # Errors
    /// When the bytes are too many, hold too many pixels, or are no picture of these formats.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PictureError> {
        if FILE_BYTES_MAX < bytes.len() as u64 {
            return Err(PictureError::FileTooLarge { bytes: bytes.len() as u64 });
        }
        guarded(|| decode(bytes)).unwrap_or_else(|what| Err(PictureError::DecoderPanicked { what }))
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All pixels, row by row from the top, three bytes a pixel.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels' memory, wiped, for another picture.
    #[must_use]
    pub fn into_spare(mut self) -> Vec<u8> {
        let mut spare = std::mem::take(&mut self.rgb);
        wipe(&mut spare);
        spare
    }

    /// One pixel. Panics outside the picture.
    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        assert!(x < self.width && y < self.height, "pixel ({x}, {y}) is outside the picture");
        let at = (y as usize * self.width as usize + x as usize) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// A copy whose longer side has at most `side_max` pixels, each the mean of the area it covers.
    /// Never enlarges.
    #[must_use]
    pub fn shrunk_to(&self, side_max: u32) -> Self {
        let (width, height, rgb) = shrunk::<3>(&self.rgb, self.width, self.height, side_max);
        Self { width, height, rgb }
    }

    /// The picture in grey, by the luma weights of BT.601.
    #[must_use]
    pub fn to_grey(&self) -> Grey {
        let luma = self.rgb.chunks_exact(3).map(|p| luma(p[0], p[1], p[2])).collect();
        Grey { width: self.width, height: self.height, luma }
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        wipe(&mut self.rgb);
    }
}

/// The size alone: a picture's pixels never reach a log.
impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}

/// A grey picture, one byte a pixel.
#[derive(Clone)]
pub struct Grey {
    width: u32,
    height: u32,
    luma: Vec<u8>,
}

impl Grey {
    /// Rows of `width` pixels each.
    pub(crate) fn from_luma(width: u32, height: u32, luma: Vec<u8>) -> Self {
        assert_eq!(luma.len(), width as usize * height as usize, "whole rows");
        Self { width, height, luma }
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All pixels, row by row from the top.
    #[must_use]
    pub fn luma(&self) -> &[u8] {
        &self.luma
    }

    /// A part of it; `None` where that has no pixel or leaves the picture.
    pub(crate) fn cropped(&self, left: u32, top: u32, width: u32, height: u32) -> Option<Self> {
        let fits =
            |from: u32, size: u32, all: u32| 0 < size && from.checked_add(size).is_some_and(|end| end <= all);
        if !(fits(left, width, self.width) && fits(top, height, self.height)) {
            return None;
        }
        let row = |y: u32| {
            let start = y as usize * self.width as usize + left as usize;
            &self.luma[start..start + width as usize]
        };
        let luma = (top..top + height).flat_map(|y| row(y).iter().copied()).collect();
        Some(Self { width, height, luma })
    }

    /// A copy whose longer side has at most `side_max` pixels, each the mean of the area it covers.
    /// Never enlarges.
    #[must_use]
    pub fn shrunk_to(&self, side_max: u32) -> Self {
        let (width, height, luma) = shrunk::<1>(&self.luma, self.width, self.height, side_max);
        Self { width, height, luma }
    }
}

impl Drop for Grey {
    fn drop(&mut self) {
        wipe(&mut self.luma);
    }
}

impl fmt::Debug for Grey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grey({} x {})", self.width, self.height)
    }
}

/// Bytes of `CHANNELS` a pixel, made smaller until the longer side has at most `side_max` pixels; with their new size.
fn shrunk<const CHANNELS: usize>(
    bytes: &[u8],
    width_now: u32,
    height_now: u32,
    side_max: u32,
) -> (u32, u32, Vec<u8>) {
    let longer = width_now.max(height_now);
    if longer <= side_max {
        return (width_now, height_now, bytes.to_vec());
    }
    let scaled = |side: u32| {
        u32::try_from((u64::from(side) * u64::from(side_max) + u64::from(longer) / 2) / u64::from(longer))
            .expect("not larger than side_max")
            .max(1)
    };
    let (width, height) = (scaled(width_now), scaled(height_now));
    let (stride_now, stride) = (width_now as usize * CHANNELS, width as usize * CHANNELS);
    // First along the rows, then along the columns: the mean over an area splits into the two.
    let columns = spans(width_now, width);
    let mut narrow = vec![0.0_f32; stride * height_now as usize];
    for (row, out) in bytes.chunks_exact(stride_now).zip(narrow.chunks_exact_mut(stride)) {
        for (span, out) in columns.iter().zip(out.chunks_exact_mut(CHANNELS)) {
            for (channel, out) in out.iter_mut().enumerate() {
                *out = span.mean(|at| f32::from(row[at * CHANNELS + channel]));
            }
        }
    }
    let mut small = vec![0_u8; stride * height as usize];
    for (span, out) in spans(height_now, height).iter().zip(small.chunks_exact_mut(stride)) {
        for (x, out) in out.iter_mut().enumerate() {
            *out = to_byte(span.mean(|at| narrow[at * stride + x]));
        }
    }
    (width, height, small)
}

/// The source pixels that one target pixel covers, with the weight of the first and the last.
struct Span {
    first: usize,
    last: usize,
    first_weight: f32,
    last_weight: f32,
}

impl Span {
    fn mean(&self, value: impl Fn(usize) -> f32) -> f32 {
        if self.first == self.last {
            return value(self.first);
        }
        let mut sum = value(self.first) * self.first_weight + value(self.last) * self.last_weight;
        let mut weight = self.first_weight + self.last_weight;
        for at in self.first + 1..self.last {
            sum += value(at);
            weight += 1.0;
        }
        sum / weight
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions lie within 0..=from, weights within 0..=1"
)]
fn spans(from: u32, to: u32) -> Vec<Span> {
    let step = f64::from(from) / f64::from(to);
    (0..to)
        .map(|at| {
            let start = f64::from(at) * step;
            let end = (f64::from(at + 1) * step).min(f64::from(from));
            let first = start.floor() as usize;
            let last = ((end.ceil() as usize).max(1) - 1).max(first);
            Span {
                first,
                last,
                first_weight: (first as f64 + 1.0 - start) as f32,
                last_weight: (end - last as f64) as f32,
            }
        })
        .collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
pub(crate) fn to_byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// BT.601 luma in integers: the weights are 0.299, 0.587 and 0.114 of 1024.
#[expect(clippy::cast_possible_truncation, reason = "the weights sum to 1024, so the mean fits a byte")]
pub(crate) fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((306 * u32::from(r) + 601 * u32::from(g) + 117 * u32::from(b) + 512) >> 10) as u8
}

/// Overwrites what somebody might look for in memory later. `black_box` keeps the compiler from
/// dropping stores that nobody reads.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    black_box(bytes);
}

/// As [`wipe`], for numbers that were made from pixels.
pub(crate) fn wipe_values(values: &mut [f32]) {
    values.fill(0.0);
    black_box(values);
}

fn check_size(width: u32, height: u32) -> Result<(), PictureError> {
    if width == 0 || height == 0 {
        return Err(PictureError::Empty { width, height });
    }
    if PIXELS_MAX < u64::from(width) * u64::from(height) {
        return Err(PictureError::TooManyPixels { width, height });
    }
    Ok(())
}

/// Whether a JPEG ends before its end marker (EOI), by its own structure (ITU-T T.81, annex B): thumbnails inside of its
/// segments and whatever a telephone appends do not count.
fn is_cut_off(jpeg: &[u8]) -> bool {
    const SCAN: u8 = 0xDA;
    const END: u8 = 0xD9;
    let mut at = 2;
    loop {
        // In a scan, 0xFF before a nought is data and 0xD0 to 0xD7 are restarts; before another marker it may be repeated.
        let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xD0..=0xD7 | 0xFF);
        let Some(found) = jpeg.get(at..).and_then(|rest| rest.windows(2).position(is_marker)) else {
            return true;
        };
        at += found + 2;
        match jpeg[at - 1] {
            END => return false,
            // Its header is short, and what follows it is searched for the next marker.
            SCAN => {}
            _ => match jpeg.get(at..at + 2) {
                Some(length) => at += usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return true,
            },
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    let fail = |source| PictureError::Decode { source };
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|source| fail(image::ImageError::IoError(source)))?;
    let format = reader.format();
    if format.is_none() {
        return Err(PictureError::UnknownFormat);
    }
    let mut decoder = reader.into_decoder().map_err(|source| match source {
        image::ImageError::Unsupported(_) => PictureError::UnknownFormat,
        source => fail(source),
    })?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    decoder.set_limits(limits).map_err(fail)?;
    if format == Some(ImageFormat::Jpeg) && is_cut_off(bytes) {
        return Err(PictureError::CutOff);
    }
    let orientation = decoder.orientation().map_err(fail)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    picture.apply_orientation(orientation);
    let rgb = if picture.color().has_alpha() {
        let rgba = picture.into_rgba8();
        let (width, height) = rgba.dimensions();
        let rgb = rgba.pixels().flat_map(|pixel| over_white(pixel.0)).collect();
        return Picture::from_rgb(width, height, rgb);
    } else {
        picture.into_rgb8()
    };
    let (width, height) = rgb.dimensions();
    Picture::from_rgb(width, height, rgb.into_raw())
}

fn over_white([r, g, b, alpha]: [u8; 4]) -> [u8; 3] {
    let alpha = u32::from(alpha);
    [r, g, b].map(|channel| {
        u8::try_from((u32::from(channel) * alpha + 255 * (255 - alpha) + 127) / 255)
            .expect("a weighted mean of bytes is a byte")
    })
}

/// Runs foreign code whose panics must not reach the caller; the error is the panic's message.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn png_jpeg_and_webp_are_read() {
        let picture = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(9, 5, image::Rgb([200, 100, 50])));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let read = Picture::from_bytes(&encoded(&picture, format)).unwrap();
            assert_eq!((read.width(), read.height()), (9, 5), "{format:?}");
            for (found, expected) in read.pixel(8, 4).into_iter().zip([200_u8, 100, 50]) {
                assert!(found.abs_diff(expected) <= 3, "{format:?}: {:?}", read.pixel(8, 4));
            }
        }
    }

    #[test]
    fn transparent_parts_become_white() {
        let picture = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(2, 2, image::Rgba([0, 0, 0, 0])));
        let read = Picture::from_bytes(&encoded(&picture, ImageFormat::Png)).unwrap();
        assert_eq!(read.pixel(1, 1), [255, 255, 255]);
    }

    #[test]
    fn a_picture_is_turned_as_its_exif_says() {
        let mut rgb = image::RgbImage::from_pixel(16, 8, image::Rgb([0, 0, 0]));
        for y in 0..8 {
            for x in 0..8 {
                rgb.put_pixel(x, y, image::Rgb([255, 255, 255]));
            }
        }
        let jpeg = encoded(&DynamicImage::ImageRgb8(rgb), ImageFormat::Jpeg);
        // APP1 with one IFD entry: orientation (0x0112), short, one value, 6 = turn clockwise.
        let exif: [u8; 36] =
            *b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let turned = [&jpeg[..2], &exif, &jpeg[2..]].concat();
        let read = Picture::from_bytes(&turned).unwrap();
        assert_eq!((read.width(), read.height()), (8, 16));
        assert!(200 < read.pixel(4, 2)[0] && read.pixel(4, 13)[0] < 50, "the white half is on top");
    }

    #[test]
    fn what_is_no_picture_is_refused_with_its_reason() {
        let cases: [(&[u8], &str); 4] = [
            (b"", "not a PNG, JPEG or WebP"),
            (b"hello world, this is text", "not a PNG, JPEG or WebP"),
            (b"GIF89a\x01\0\x01\0\0\0\0", "not a PNG, JPEG or WebP"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", "failed to decode"),
        ];
        for (bytes, reason) in cases {
            let error = Picture::from_bytes(bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{bytes:?}: {error}");
        }
    }

    #[test]
    fn a_decompression_bomb_is_refused_before_it_is_unpacked() {
        let mut png = encoded(&DynamicImage::ImageLuma8(image::GrayImage::new(1, 1)), ImageFormat::Png);
        // The size stands in the first chunk; its checksum must fit, or the decoder stops earlier.
        png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = Picture::from_bytes(&png).unwrap_err();
        assert!(matches!(error, PictureError::TooManyPixels { width: 60_000, height: 60_000 }), "{error:?}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    #[test]
    fn missing_files_and_directories_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Picture::from_file(folder.path()).unwrap_err();
        assert!(matches!(error, PictureError::NotAFile { .. }), "{error}");
        let error = Picture::from_file(folder.path().join("none.png")).unwrap_err().to_string();
        assert!(error.contains("none.png"), "{error}");
    }

    #[test]
    fn raw_pixels_must_fit_their_size() {
        assert!(Picture::from_rgb(2, 2, vec![0; 12]).is_ok());
        assert!(matches!(Picture::from_rgb(2, 2, vec![0; 11]), Err(PictureError::WrongLength { .. })));
        assert!(matches!(Picture::from_rgb(0, 2, vec![]), Err(PictureError::Empty { .. })));
        assert!(matches!(
            Picture::from_rgb(u32::MAX, u32::MAX, vec![]),
            Err(PictureError::TooManyPixels { .. })
        ));
    }

    #[test]
    fn a_shrunk_copy_keeps_the_mean() {
        let rgb = (0..=255).cycle().take(30 * 20).flat_map(|value| [value; 3]).collect();
        let grey = Picture::from_rgb(30, 20, rgb).unwrap().to_grey();
        let small = grey.shrunk_to(7);
        assert_eq!((small.width(), small.height()), (7, 5));
        let mean =
            |grey: &Grey| grey.luma().iter().map(|v| f64::from(*v)).sum::<f64>() / grey.luma().len() as f64;
        assert!((mean(&grey) - mean(&small)).abs() < 1.0, "{} {}", mean(&grey), mean(&small));
        assert_eq!(grey.shrunk_to(30).luma(), grey.luma());
    }
}
