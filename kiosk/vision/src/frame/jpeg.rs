//! One JPEG of an MJPG stream: what it must look like before a decoder sees it, and decoding it.
//!
//! A camera's JPEG may leave out the Huffman tables; it then means those of ITU-T T.81, annex K.3, and they are put in.
//! A frame that was cut off on its way has no end marker and is refused. One that lost data in its middle and kept its
//! end may decode to a picture that is wrong from there on: only the driver can tell, and marks its buffer.

use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{FRAME_SIDE_MAX, FrameError};
use crate::picture::guarded;

const START: [u8; 2] = [0xFF, 0xD8];
const END: [u8; 2] = [0xFF, 0xD9];
/// Drivers fill a buffer's rest with zeros; more than this after the end marker is not looked through.
const PADDING_BYTES_MAX: usize = 1024 * 1024;

/// Decodes `bytes` into `rgb`, whose size is that of the agreed picture.
pub(super) fn decode(bytes: &[u8], width: u32, height: u32, rgb: &mut [u8]) -> Result<(), FrameError> {
    let bytes = trimmed(bytes)?;
    let head = Head::of(bytes)?;
    if (head.width, head.height) != (width, height) {
        let (found_width, found_height) = (head.width, head.height);
        return Err(FrameError::JpegSize { width, height, found_width, found_height });
    }
    let mut with_tables = Vec::new();
    let bytes = if head.has_tables {
        bytes
    } else {
        with_tables.extend_from_slice(&bytes[..head.scan_at]);
        with_tables.extend_from_slice(&standard_tables());
        with_tables.extend_from_slice(&bytes[head.scan_at..]);
        &with_tables
    };
    let decoded = guarded(|| {
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(FRAME_SIDE_MAX as usize)
            .set_max_height(FRAME_SIDE_MAX as usize)
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers()?;
        if decoder.output_buffer_size() != Some(rgb.len()) {
            return Ok(false);
        }
        decoder.decode_into(rgb).map(|()| true)
    });
    crate::picture::wipe(&mut with_tables);
    match decoded {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(FrameError::Jpeg("it is neither grey nor YCbCr")),
        Ok(Err(error)) => Err(FrameError::Decode(format!("{error:?}"))),
        Err(panic) => Err(FrameError::Decode(format!("the decoder broke down ({panic})"))),
    }
}

/// The JPEG without what follows its end marker.
fn trimmed(bytes: &[u8]) -> Result<&[u8], FrameError> {
    if !bytes.starts_with(&START) {
        return Err(FrameError::Jpeg("it does not begin with a start marker"));
    }
    let padding = bytes.iter().rev().take(PADDING_BYTES_MAX).take_while(|byte| **byte == 0).count();
    let bytes = &bytes[..bytes.len() - padding];
    if bytes.ends_with(&END) { Ok(bytes) } else { Err(FrameError::Jpeg("its end is missing")) }
}

/// What stands before the picture's data.
struct Head {
    width: u32,
    height: u32,
    has_tables: bool,
    /// Where the start-of-scan marker is.
    scan_at: usize,
}

impl Head {
    /// Walks over the segments; each says its length.
    fn of(bytes: &[u8]) -> Result<Self, FrameError> {
        let cut = FrameError::Jpeg("its headers are cut off");
        let mut size = None;
        let mut has_tables = false;
        let mut at = START.len();
        loop {
            let Some([0xFF, marker]) = bytes.get(at..at + 2) else {
                return Err(if bytes.len() < at + 2 { cut } else { FrameError::Jpeg("a marker is missing") });
            };
            match marker {
                // Fill bytes may stand before a marker.
                0xFF => {
                    at += 1;
                    continue;
                }
                0xDA => {
                    let Some((width, height)) = size else {
                        return Err(FrameError::Jpeg("its size is missing"));
                    };
                    return Ok(Self { width, height, has_tables, scan_at: at });
                }
                0xD8 | 0xD9 => return Err(FrameError::Jpeg("it ends before its data begins")),
                _ => {}
            }
            let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return Err(cut) };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some(segment) = bytes.get(at + 4..at + 2 + length.max(2)) else { return Err(cut) };
            match marker {
                0xC4 => has_tables = true,
                // Every start of frame but DHT, JPG and DAC.
                0xC0..=0xCF if ![0xC8, 0xCC].contains(marker) => {
                    let &[_, height_1, height_0, width_1, width_0, ..] = segment else { return Err(cut) };
                    size = Some((
                        u32::from(u16::from_be_bytes([width_1, width_0])),
                        u32::from(u16::from_be_bytes([height_1, height_0])),
                    ));
                }
                _ => {}
            }
            at += 2 + length.max(2);
        }
    }
}

/// A table of ITU-T T.81, annex K.3: its class and number, how many codes there are of each length, the values.
struct Table {
    id: u8,
    counts: [u8; 16],
    values: &'static [u8],
}

const TABLES: [Table; 4] = [
    Table {
        id: 0x00,
        counts: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        values: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    },
    Table {
        id: 0x01,
        counts: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        values: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    },
    Table {
        id: 0x10,
        counts: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D],
        values: &[
            0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
            0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0,
            0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28,
            0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
            0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
            0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
            0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7,
            0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5,
            0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
            0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
            0xF9, 0xFA,
        ],
    },
    Table {
        id: 0x11,
        counts: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
        values: &[
            0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
            0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0,
            0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26,
            0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
            0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
            0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
            0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5,
            0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
            0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
            0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
            0xF9, 0xFA,
        ],
    },
];

/// One segment with all four tables.
fn standard_tables() -> Vec<u8> {
    let body: Vec<u8> = TABLES
        .iter()
        .flat_map(|table| [table.id].into_iter().chain(table.counts).chain(table.values.iter().copied()))
        .collect();
    let length = u16::try_from(body.len() + 2).expect("the tables have 418 bytes");
    [0xFF, 0xC4].into_iter().chain(length.to_be_bytes()).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_hold_as_many_values_as_they_have_codes() {
        for table in TABLES {
            let codes: usize = table.counts.iter().map(|count| usize::from(*count)).sum();
            assert_eq!(codes, table.values.len(), "table {:#04x}", table.id);
        }
        assert_eq!(standard_tables().len(), 420);
    }
}
