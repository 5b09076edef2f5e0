//! One picture as a camera hands it over, and the way from there to RGB.
//!
//! Owns the layouts MJPG, YUYV and NV12, the arithmetic of their colours, and what makes a buffer unusable. Does not
//! own cameras, clocks or what happens to a frame that is refused: the caller drops and counts it. A buffer that is too
//! short, cut off or damaged is an error, never a panic and never a half-grey picture.
//!
//! # Colours
//!
//! `R' = Y + 2(1-Kr)·Cr`, `B' = Y + 2(1-Kb)·Cb`, `G' = (Y - Kr·R' - Kb·B') / (1-Kr-Kb)`, with Kr and Kb of
//! [`Matrix`] and the offsets and scales of [`Range`]: ITU-R BT.601-7 and BT.709-6, sections 2.5 and 3 of each.
//! What comes out is R'G'B' as encoded, full range, and is taken to be sRGB. A pair (YUYV) or a square (NV12) of pixels
//! shares its chroma sample; it is repeated, not interpolated.
//! V4L2 takes Y'CbCr of a webcam, whose colour space is sRGB, for BT.601 in limited range unless the driver says
//! otherwise (Linux userspace API, "Default Colorspace Encodings and Quantizations"); JPEG is BT.601 in full range (JFIF 1.02).

mod jpeg;

use std::{fmt, time::Instant};

use crate::picture::{Picture, PictureError};

/// Frames with more bytes are refused: 4K in YUYV has 16.6 million.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest side of a frame; also the longest of a baseline JPEG that any camera sends.
pub const FRAME_SIDE_MAX: u32 = 8192;

/// How a frame's bytes are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// One JPEG a frame, with or without Huffman tables.
    Mjpg,
    /// `Y Cb Y Cr` for each two pixels of a row.
    Yuyv,
    /// A plane of `Y`, then a plane of `Cb Cr` for each two by two pixels.
    Nv12,
}

impl Layout {
    /// All layouts, in the order in which a camera is asked for them: on USB 2 only MJPG is quick above 640 × 480.
    pub const ALL: [Self; 3] = [Self::Mjpg, Self::Yuyv, Self::Nv12];

    /// The four characters by which drivers name it.
    #[must_use]
    pub fn fourcc(self) -> [u8; 4] {
        match self {
            Self::Mjpg => *b"MJPG",
            Self::Yuyv => *b"YUYV",
            Self::Nv12 => *b"NV12",
        }
    }

    /// The name that operators write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mjpg => "MJPG",
            Self::Yuyv => "YUYV",
            Self::Nv12 => "NV12",
        }
    }

    /// The layout with a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layout| layout.name() == name)
    }
}

/// The weights of red and blue in luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    /// ITU-R BT.601: 0.299 and 0.114.
    Bt601,
    /// ITU-R BT.709: 0.2126 and 0.0722.
    Bt709,
}

/// What the bytes of luma and chroma span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Luma 16 to 235, chroma 16 to 240.
    Limited,
    /// Both 0 to 255.
    Full,
}

/// How Y'CbCr becomes R'G'B'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// The weights.
    pub matrix: Matrix,
    /// The span.
    pub range: Range,
}

impl Default for Encoding {
    /// What V4L2 takes a webcam's Y'CbCr for.
    fn default() -> Self {
        Self { matrix: Matrix::Bt601, range: Range::Limited }
    }
}

impl Encoding {
    /// All encodings.
    pub const ALL: [Self; 4] = [
        Self { matrix: Matrix::Bt601, range: Range::Limited },
        Self { matrix: Matrix::Bt601, range: Range::Full },
        Self { matrix: Matrix::Bt709, range: Range::Limited },
        Self { matrix: Matrix::Bt709, range: Range::Full },
    ];

    /// The name that operators write.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.matrix, self.range) {
            (Matrix::Bt601, Range::Limited) => "bt601-limited",
            (Matrix::Bt601, Range::Full) => "bt601-full",
            (Matrix::Bt709, Range::Limited) => "bt709-limited",
            (Matrix::Bt709, Range::Full) => "bt709-full",
        }
    }

    /// The encoding with a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }
}

/// One frame, still in the buffer of whoever took it.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// How the bytes are laid out.
    pub layout: Layout,
    /// How their colours are encoded; MJPG says so itself.
    pub encoding: Encoding,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from one row of the first plane to the next; 0 for rows without a gap, and for MJPG.
    pub stride: u32,
    /// When it was taken over from the camera, on the monotonic clock.
    pub at: Instant,
    /// Counts the frames of one stream, those that were lost on the way included.
    pub sequence: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// The size alone: what a camera sees never reaches a log.
impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} {} x {}, #{})", self.layout.name(), self.width, self.height, self.sequence)
    }
}

/// Why a frame gives no picture.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Zero or more than [`FRAME_SIDE_MAX`] pixels in a direction, or more than [`FRAME_BYTES_MAX`] bytes.
    #[error("a frame of {width} x {height} pixels in {bytes} bytes is out of bounds")]
    Bounds {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Number of bytes.
        bytes: usize,
    },
    /// Chroma is shared by pairs of pixels, so a side must be even.
    #[error("{layout} frames have even sides, not {width} x {height}")]
    Odd {
        /// The layout.
        layout: &'static str,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Rows would overlap.
    #[error("rows {stride} bytes apart cannot hold {needed} bytes each")]
    Stride {
        /// Bytes from row to row.
        stride: u32,
        /// Bytes of a row.
        needed: u32,
    },
    /// The buffer ends too early.
    #[error("the frame has {found} bytes of the {expected} that {layout} needs")]
    Short {
        /// The layout.
        layout: &'static str,
        /// Bytes that are needed.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The JPEG is cut off or not put together as a JPEG is.
    #[error("the JPEG is damaged: {0}")]
    Jpeg(&'static str),
    /// The JPEG is of another size than the camera was asked for.
    #[error("the JPEG has {found_width} x {found_height} pixels, {width} x {height} were agreed")]
    JpegSize {
        /// Agreed width.
        width: u32,
        /// Agreed height.
        height: u32,
        /// The JPEG's width.
        found_width: u32,
        /// The JPEG's height.
        found_height: u32,
    },
    /// The JPEG's content cannot be decoded.
    #[error("the JPEG cannot be decoded: {0}")]
    Decode(String),
    /// The picture that came out is none; a limit of pictures was hit.
    #[error("the frame is no picture")]
    Picture(#[from] PictureError),
}

impl Frame<'_> {
    /// The frame as RGB.
    ///
    /// # Errors
    /// When the buffer does not hold what it should.
    pub fn to_picture(&self) -> Result<Picture, FrameError> {
        self.to_picture_in(Vec::new())
    }

    /// The same into the memory of an earlier picture, so that a stream of frames allocates nothing.
    ///
    /// # Errors
    /// As [`Self::to_picture`].
    pub fn to_picture_in(&self, mut spare: Vec<u8>) -> Result<Picture, FrameError> {
        self.check()?;
        spare.resize(self.width as usize * self.height as usize * 3, 0);
        let converted = match self.layout {
            Layout::Mjpg => jpeg::decode(self.bytes, self.width, self.height, &mut spare),
            Layout::Yuyv => self.yuyv(&mut spare),
            Layout::Nv12 => self.nv12(&mut spare),
        };
        // What a damaged frame left behind is a part of a picture, and is wiped like one.
        let picture = Picture::from_rgb(self.width, self.height, spare)?;
        converted.map(|()| picture)
    }

    fn check(&self) -> Result<(), FrameError> {
        let Self { width, height, .. } = *self;
        let sides = 1..=FRAME_SIDE_MAX;
        if !sides.contains(&width) || !sides.contains(&height) || FRAME_BYTES_MAX < self.bytes.len() {
            return Err(FrameError::Bounds { width, height, bytes: self.bytes.len() });
        }
        let layout = self.layout.name();
        let (row, is_even) = match self.layout {
            Layout::Mjpg => return Ok(()),
            Layout::Yuyv => (width * 2, width % 2 == 0),
            Layout::Nv12 => (width, width % 2 == 0 && height % 2 == 0),
        };
        if !is_even {
            return Err(FrameError::Odd { layout, width, height });
        }
        if self.stride != 0 && self.stride < row {
            return Err(FrameError::Stride { stride: self.stride, needed: row });
        }
        let rows = if self.layout == Layout::Nv12 { height + height / 2 } else { height };
        // The gap after the last row need not be there.
        let expected = self.row_step() * (rows as usize - 1) + row as usize;
        if self.bytes.len() < expected {
            return Err(FrameError::Short { layout, expected, found: self.bytes.len() });
        }
        Ok(())
    }

    /// Bytes from row to row of the first plane.
    fn row_step(&self) -> usize {
        match (self.stride, self.layout) {
            (0, Layout::Yuyv) => self.width as usize * 2,
            (0, Layout::Mjpg | Layout::Nv12) => self.width as usize,
            (stride, _) => stride as usize,
        }
    }

    fn yuyv(&self, rgb: &mut [u8]) -> Result<(), FrameError> {
        let weights = Weights::of(self.encoding);
        let width = self.width as usize;
        for (row, out) in self.bytes.chunks(self.row_step()).zip(rgb.chunks_exact_mut(width * 3)) {
            for (pair, out) in row[..width * 2].chunks_exact(4).zip(out.chunks_exact_mut(6)) {
                let chroma = weights.chroma(pair[1], pair[3]);
                out[..3].copy_from_slice(&weights.rgb(pair[0], chroma));
                out[3..].copy_from_slice(&weights.rgb(pair[2], chroma));
            }
        }
        Ok(())
    }

    fn nv12(&self, rgb: &mut [u8]) -> Result<(), FrameError> {
        let weights = Weights::of(self.encoding);
        let (width, height, step) = (self.width as usize, self.height as usize, self.row_step());
        let (luma, chroma) = self.bytes.split_at(step * height);
        for (y, out) in rgb.chunks_exact_mut(width * 3).enumerate() {
            let luma = &luma[y * step..][..width];
            let chroma = &chroma[y / 2 * step..][..width];
            for ((luma, chroma), out) in
                luma.chunks_exact(2).zip(chroma.chunks_exact(2)).zip(out.chunks_exact_mut(6))
            {
                let chroma = weights.chroma(chroma[0], chroma[1]);
                out[..3].copy_from_slice(&weights.rgb(luma[0], chroma));
                out[3..].copy_from_slice(&weights.rgb(luma[1], chroma));
            }
        }
        Ok(())
    }
}

/// An encoding in integers of 1 / 65536.
#[derive(Debug, Clone, Copy)]
struct Weights {
    luma_offset: i32,
    luma: i32,
    red_cr: i32,
    green_cb: i32,
    green_cr: i32,
    blue_cb: i32,
}

const UNIT_BITS: u32 = 16;

impl Weights {
    #[expect(clippy::cast_possible_truncation, reason = "the weights lie between 0 and 3 units of 2^16")]
    fn of(encoding: Encoding) -> Self {
        let [luma, red_cr, green_cb, green_cr, blue_cb] =
            factors(encoding).map(|factor| (factor * f64::from(1_u32 << UNIT_BITS)).round() as i32);
        let luma_offset = if encoding.range == Range::Limited { 16 } else { 0 };
        Self { luma_offset, luma, red_cr, green_cb, green_cr, blue_cb }
    }

    /// What a chroma sample adds to red, green and blue; half a unit is added here, so that the shift rounds.
    fn chroma(self, cb: u8, cr: u8) -> [i32; 3] {
        let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
        let half = 1 << (UNIT_BITS - 1);
        [half + self.red_cr * cr, half - self.green_cb * cb - self.green_cr * cr, half + self.blue_cb * cb]
    }

    #[expect(clippy::cast_sign_loss, reason = "clamped to 0..=255")]
    fn rgb(self, luma: u8, chroma: [i32; 3]) -> [u8; 3] {
        let luma = (i32::from(luma) - self.luma_offset) * self.luma;
        chroma.map(|chroma| ((luma + chroma) >> UNIT_BITS).clamp(0, 255) as u8)
    }
}

/// What luma is scaled with, what Cr gives to red, what Cb and Cr take from green, what Cb gives to blue.
fn factors(encoding: Encoding) -> [f64; 5] {
    let (red, blue) = match encoding.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    };
    let (luma, chroma) = match encoding.range {
        Range::Limited => (255.0 / 219.0, 255.0 / 224.0),
        Range::Full => (1.0, 1.0),
    };
    let green = 1.0 - red - blue;
    let (red_cr, blue_cb) = (2.0 * (1.0 - red) * chroma, 2.0 * (1.0 - blue) * chroma);
    [luma, red_cr, blue * blue_cb / green, red * red_cr / green, blue_cb]
}

#[cfg(test)]
mod tests;
