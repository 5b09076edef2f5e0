//! Code reading: which codes a picture holds, what they say, and where they are.
//!
//! The decoder is foreign (zxing-cpp, C++ behind a Rust face) and stands behind [`CodeReader`]; its
//! panics are caught here. What a code *means* is `gs1`'s business.
//!
//! Corners: pixels, pixel centres at integers, clockwise from the top left one as seen in the picture.

mod bent;
mod finder;
mod local;

use serde::{Serialize, Serializer};
use zxingcpp::{BarcodeFormat, Binarizer, ContentType, ImageFormat, ImageView, TextMode};

pub use crate::modules::Modules;
use crate::{
    geometry::{Point, doubled_area},
    picture::{Grey, Picture, guarded},
    pose::{Intrinsics, Surface},
};

/// More codes than this in one picture are not reported; a shelf has a dozen.
pub const CODES_MAX: usize = 64;

/// The formats that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// QR code, model 2.
    Qr,
    /// EAN-13: the retail code with 13 digits.
    Ean13,
    /// EAN-8: the retail code with 8 digits.
    Ean8,
    /// UPC-A: the retail code of North America with 12 digits.
    UpcA,
    /// DataMatrix ECC 200.
    DataMatrix,
}

impl Format {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qr => "qr",
            Self::Ean13 => "ean13",
            Self::Ean8 => "ean8",
            Self::UpcA => "upca",
            Self::DataMatrix => "datamatrix",
        }
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One code found in a picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Code {
    /// Its symbology.
    pub format: Format,
    /// What it says; FNC1 separators are the character 0x1D.
    pub text: String,
    /// Its corners: top left, top right, bottom right, bottom left as seen in the picture.
    pub corners: [Point; 4],
    /// Which of `corners` is the symbol's own top left one: tells how the symbol is turned.
    #[serde(skip)]
    pub symbol_origin: usize,
    /// Whether the symbol is seen mirrored, as through glass.
    #[serde(skip)]
    pub mirrored: bool,
    /// The symbology identifier of ISO/IEC 15424, such as `]Q1` or `]d2`.
    #[serde(skip)]
    pub symbology: String,
    /// Whether the symbol itself says that it holds GS1 element strings (FNC1 in first position).
    #[serde(skip)]
    pub is_gs1: bool,
    /// The modules of a matrix symbol, as they were read; `None` for bar codes.
    #[serde(skip)]
    pub modules: Option<Modules>,
    /// What it is stuck to, where that had to be known to read it; lengths in widths of the symbol.
    #[serde(skip)]
    pub surface: Option<Surface>,
}

impl Code {
    /// Whether both are one symbol, read twice.
    fn is_same_as(&self, other: &Self) -> bool {
        let [a, _, c, _] = self.corners;
        let reach = a.distance(c) / 4.0;
        let centre = |code: &Self| code.corners[0].middle(code.corners[2]);
        self.format == other.format
            && self.text == other.text
            && centre(self).distance(centre(other)) <= reach
    }
}

/// How hard a reader tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For every frame of a camera: about 2 ms for 1280 x 720.
    Fast,
    /// Turned, inverted, small and damaged codes too: about ten times as long.
    Full,
    /// What both others miss: QR codes on bottles, tins and tubes, which no flat grid fits, and codes in uneven light. Some
    /// three times as long as `Full`.
    Rescue,
}

/// The decoder could not look at the picture at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The decoder refused the picture.
    #[error("the code reader refused a picture of {width} x {height} pixels: {reason}")]
    Refused {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What the decoder says.
        reason: String,
    },
    /// The decoder broke down.
    #[error("the code reader broke down: {what}")]
    Panicked {
        /// Its message.
        what: String,
    },
}

/// A decoder.
pub trait CodeReader {
    /// All codes that one pass at this effort finds.
    ///
    /// # Errors
    /// When the decoder cannot work on the picture. To find no code is no error.
    fn read(&self, grey: &Grey, effort: Effort) -> Result<Vec<Code>, ReadError>;
}

/// Each pass when those before it find nothing.
pub const SCHEDULE: [Effort; 3] = [Effort::Fast, Effort::Full, Effort::Rescue];

/// All codes in a picture, by [`SCHEDULE`].
///
/// A decoder that breaks down counts as one that finds nothing; use [`read_with`] to be told.
#[must_use]
pub fn read(picture: &Picture) -> Vec<Code> {
    read_with(&Zxing, &picture.to_grey(), &SCHEDULE).unwrap_or_default()
}

/// Runs passes in this order until one finds a code.
///
/// # Errors
/// When no pass found a code and at least one could not work.
pub fn read_with(reader: &dyn CodeReader, grey: &Grey, schedule: &[Effort]) -> Result<Vec<Code>, ReadError> {
    let mut first_error = None;
    for effort in schedule {
        match guarded(|| reader.read(grey, *effort)) {
            Ok(Ok(codes)) if !codes.is_empty() => return Ok(codes),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => first_error = first_error.or(Some(error)),
            Err(what) => first_error = first_error.or(Some(ReadError::Panicked { what })),
        }
    }
    first_error.map_or(Ok(Vec::new()), Err)
}

/// What all passes find together: each finds some that the others do not.
///
/// # Errors
/// When no pass found a code and at least one could not work.
pub fn read_all(reader: &dyn CodeReader, grey: &Grey) -> Result<Vec<Code>, ReadError> {
    let mut unlike: Vec<Code> = Vec::new();
    let mut first_error = None;
    for effort in SCHEDULE {
        match read_with(reader, grey, &[effort]) {
            Ok(found) => {
                for code in found {
                    if unlike.len() < CODES_MAX && !unlike.iter().any(|known| known.is_same_as(&code)) {
                        unlike.push(code);
                    }
                }
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    match first_error {
        Some(error) if unlike.is_empty() => Err(error),
        _ => Ok(unlike),
    }
}

/// The decoder of the zxing-cpp project.
#[derive(Debug, Clone, Copy, Default)]
pub struct Zxing;

const FORMATS: [BarcodeFormat; 5] = [
    BarcodeFormat::QRCode,
    BarcodeFormat::EAN13,
    BarcodeFormat::EAN8,
    BarcodeFormat::UPCA,
    BarcodeFormat::DataMatrix,
];

impl CodeReader for Zxing {
    fn read(&self, grey: &Grey, effort: Effort) -> Result<Vec<Code>, ReadError> {
        match effort {
            Effort::Fast => pass(grey, false, Binarizer::LocalAverage),
            Effort::Full => pass(grey, true, Binarizer::LocalAverage),
            Effort::Rescue => {
                let smaller = grey.shrunk_to(RESCUE_SIDE_MAX);
                let scale = f64::from(grey.width()) / f64::from(smaller.width());
                let mut found = rescued(&smaller)?;
                for corner in found.iter_mut().flat_map(|code| &mut code.corners) {
                    *corner = Point::new((corner.x + 0.5) * scale - 0.5, (corner.y + 0.5) * scale - 0.5);
                }
                Ok(found)
            }
        }
    }
}

/// Longer sides are shrunk to this before a rescue, in pixels.
const RESCUE_SIDE_MAX: u32 = 2048;

/// What neither a flat grid nor one threshold for the whole picture reads.
fn rescued(grey: &Grey) -> Result<Vec<Code>, ReadError> {
    let camera = Intrinsics::assumed(grey.width(), grey.height());
    let decode = |flat: &Grey| {
        let codes = pass(flat, false, Binarizer::LocalAverage).ok()?;
        codes.into_iter().find(|code| code.format == Format::Qr)
    };
    let bent = bent::read(grey, &camera, decode);
    if !bent.is_empty() {
        return Ok(bent);
    }
    let even = local::even(grey);
    let found = pass(&even, true, Binarizer::LocalAverage)?;
    if found.is_empty() { pass(&even, true, Binarizer::GlobalHistogram) } else { Ok(found) }
}

/// One pass of the decoder over a picture.
fn pass(grey: &Grey, full: bool, binarizer: Binarizer) -> Result<Vec<Code>, ReadError> {
    let (width, height) = (grey.width(), grey.height());
    let refused = |error: zxingcpp::Error| ReadError::Refused { width, height, reason: error.to_string() };
    let reader = zxingcpp::read()
        .formats(FORMATS)
        .text_mode(TextMode::Plain)
        .max_number_of_symbols(i32::try_from(CODES_MAX).expect("a small constant"))
        .try_harder(full)
        .try_rotate(full)
        .try_invert(full)
        .try_downscale(full)
        .binarizer(binarizer);
    let view = ImageView::from_slice(grey.luma(), width, height, ImageFormat::Lum).map_err(refused)?;
    let found = reader.from(&view).map_err(refused)?;
    Ok(found.iter().filter(|found| found.is_valid()).filter_map(code).take(CODES_MAX).collect())
}

fn code(found: &zxingcpp::Barcode) -> Option<Code> {
    let format = match found.format() {
        BarcodeFormat::QRCode | BarcodeFormat::QRCodeModel1 | BarcodeFormat::QRCodeModel2 => Format::Qr,
        BarcodeFormat::EAN13 => Format::Ean13,
        BarcodeFormat::EAN8 => Format::Ean8,
        BarcodeFormat::UPCA => Format::UpcA,
        BarcodeFormat::DataMatrix => Format::DataMatrix,
        _ => return None,
    };
    let position = found.position();
    let at = |p: zxingcpp::PointI| {
        // zxing-cpp counts from the corner of the first pixel, we from its centre.
        Point::new(f64::from(p.x) - 0.5, f64::from(p.y) - 0.5)
    };
    let symbol_corners =
        [at(position.top_left), at(position.top_right), at(position.bottom_right), at(position.bottom_left)];
    let (corners, symbol_origin, reversed) = as_seen(symbol_corners);
    Some(Code {
        format,
        text: found.text(),
        corners,
        symbol_origin,
        // zxing-cpp gives the corners of a mirrored symbol in clockwise order, too, and says so.
        mirrored: reversed || found.is_mirrored(),
        symbology: found.symbology_identifier(),
        is_gs1: found.content_type() == ContentType::GS1,
        modules: matches!(format, Format::Qr | Format::DataMatrix).then(|| modules(found)).flatten(),
        surface: None,
    })
}

/// The decoder keeps the modules that it read: its picture of the symbol at one pixel a module.
fn modules(found: &zxingcpp::Barcode) -> Option<Modules> {
    let symbol = found.to_image_with(&zxingcpp::write().scale(1).add_quiet_zones(false)).ok()?;
    Modules::new(
        u32::try_from(symbol.width()).ok()?,
        symbol.data().iter().map(|level| *level < 128).collect(),
    )
}

/// Corners in the symbol's order → clockwise from the top left as seen, where the symbol's first corner
/// went, and whether their order was reversed.
fn as_seen(symbol_corners: [Point; 4]) -> ([Point; 4], usize, bool) {
    let reversed = doubled_area(&symbol_corners) < 0.0;
    let clockwise = if reversed {
        let [a, b, c, d] = symbol_corners;
        [a, d, c, b]
    } else {
        symbol_corners
    };
    let first = (0..4)
        .min_by(|a, b| {
            let reach = |at: usize| clockwise[at].x + clockwise[at].y;
            reach(*a).total_cmp(&reach(*b))
        })
        .expect("four corners");
    let corners = std::array::from_fn(|at| clockwise[(first + at) % 4]);
    (corners, (4 - first) % 4, reversed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QR code of `text`, `scale` pixels a module, on white, its symbol starting at (`left`, `top`).
    fn qr(text: &str, scale: u32, left: u32, top: u32, width: u32, height: u32) -> (Picture, u32) {
        let code = qrcode::QrCode::new(text).unwrap();
        let modules = u32::try_from(code.width()).unwrap();
        let colors = code.to_colors();
        let mut rgb = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let inside = left <= x && top <= y && x < left + modules * scale && y < top + modules * scale;
                let dark = inside
                    && colors[((y - top) / scale * modules + (x - left) / scale) as usize]
                        == qrcode::Color::Dark;
                rgb.extend([if dark { 0 } else { 255 }; 3]);
            }
        }
        (Picture::from_rgb(width, height, rgb).unwrap(), modules * scale)
    }

    #[test]
    fn a_qr_code_is_read_with_its_corners() {
        let text = "https://id.gs1.org/01/09521234543213/10/LOT001/21/SN100001";
        let (picture, side) = qr(text, 4, 40, 60, 320, 300);
        let codes = read(&picture);
        assert_eq!(codes.len(), 1);
        let code = &codes[0];
        assert_eq!((code.format, code.text.as_str(), code.is_gs1), (Format::Qr, text, false));
        assert_eq!(code.symbology, "]Q1");
        let (left, top) = (40.0 - 0.5, 60.0 - 0.5);
        let (right, bottom) = (left + f64::from(side), top + f64::from(side));
        let expected = [(left, top), (right, top), (right, bottom), (left, bottom)];
        for (found, (x, y)) in code.corners.iter().zip(expected) {
            assert!(found.distance(Point::new(x, y)) < 2.5, "{:?} for {expected:?}", code.corners);
        }
        assert_eq!((code.symbol_origin, code.mirrored), (0, false));
    }

    #[test]
    fn corners_are_named_as_seen_however_the_symbol_is_turned() {
        let (upright, _) = qr("turned", 5, 30, 40, 200, 220);
        let mut turned = upright.clone();
        for quarter in 0..4 {
            let codes = read(&turned);
            assert_eq!(codes.len(), 1, "after {quarter} quarter turns");
            let [top_left, top_right, bottom_right, bottom_left] = codes[0].corners;
            assert!(top_left.x < top_right.x && top_left.y < bottom_left.y, "{quarter}");
            assert!(bottom_left.x < bottom_right.x && top_right.y < bottom_right.y, "{quarter}");
            assert_eq!(codes[0].symbol_origin, quarter, "clockwise turns move the origin clockwise");
            turned = quarter_turn(&turned);
        }
        let (w, h) = (upright.width(), upright.height());
        let mirrored = (0..h).flat_map(|y| (0..w).flat_map(move |x| [(w - 1 - x, y)]));
        let rgb = mirrored.flat_map(|(x, y)| upright.pixel(x, y)).collect();
        let codes = read(&Picture::from_rgb(w, h, rgb).unwrap());
        assert!(codes[0].mirrored && codes[0].symbol_origin == 1, "{codes:?}");
    }

    fn quarter_turn(picture: &Picture) -> Picture {
        let (w, h) = (picture.width(), picture.height());
        let mut rgb = Vec::new();
        for y in 0..w {
            for x in 0..h {
                rgb.extend(picture.pixel(y, h - 1 - x));
            }
        }
        Picture::from_rgb(h, w, rgb).unwrap()
    }

    #[test]
    fn both_passes_together_name_each_symbol_once() {
        let (one, _) = qr("one", 4, 20, 20, 160, 130);
        let rgb = [one.rgb(), one.rgb()].concat();
        let picture = Picture::from_rgb(160, 260, rgb).unwrap();
        let found = read_all(&Zxing, &picture.to_grey()).unwrap();
        assert_eq!(found.len(), 2, "two symbols that say the same: {found:?}");
        assert!(read_all(&Broken, &picture.to_grey()).is_err(), "a pass that broke down is told");
    }

    #[test]
    fn an_empty_wall_holds_no_code() {
        assert_eq!(read(&Picture::from_rgb(64, 48, vec![128; 64 * 48 * 3]).unwrap()), []);
        assert_eq!(read(&Picture::from_rgb(1, 1, vec![0; 3]).unwrap()), []);
    }

    struct Broken;

    impl CodeReader for Broken {
        fn read(&self, _: &Grey, effort: Effort) -> Result<Vec<Code>, ReadError> {
            match effort {
                Effort::Fast => panic!("a fault in the decoder"),
                _ => Ok(Vec::new()),
            }
        }
    }

    #[test]
    fn a_decoder_that_panics_is_an_error_and_not_the_end() {
        let grey = Picture::from_rgb(8, 8, vec![0; 192]).unwrap().to_grey();
        let error = read_with(&Broken, &grey, &[Effort::Fast, Effort::Full]).unwrap_err();
        assert_eq!(error.to_string(), "the code reader broke down: a fault in the decoder");
        assert!(read_with(&Broken, &grey, &[Effort::Full]).unwrap().is_empty());
    }
}
