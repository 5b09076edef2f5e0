//! Frames and segment headers: the bytes around a record.
//!
//! ```text
//! segment: header at 0, its copy at 512, frames from 1024
//! header:  magic 8 | version u32 | epoch u64 | salt u64 | first_seq u64 | created_at i64 | crc32c u32
//!          since version 2 also: previous_epoch u64 | previous_seq u64 | after_first_seq u64 | crc32c u32 (of all)
//!          since version 3 the journal has a mark beside its segments; the layout is that of version 2
//! frame:   magic 4 | body_len u32 | seq u64 | crc32c u32 | body
//! ```
//!
//! Everything is little-endian. A frame's checksum covers salt, length, sequence number and body. The salt is
//! random per journal, so that bytes inside a payload cannot pass for a frame when a reader looks for the next
//! one after damage. Owns: this layout. Does not own: files, sequence rules.

/// Where frames begin in a segment.
pub(crate) const FRAMES_START: u64 = HEADER_BLOCK_BYTES as u64;
/// The header and its copy.
pub(crate) const HEADER_BLOCK_BYTES: usize = 1024;
/// Where the header's copy lies: another sector, so that one bad sector does not take both.
pub(crate) const HEADER_COPY_START: usize = 512;
/// Bytes of one header.
pub(crate) const HEADER_BYTES: usize = HEADER_1_BYTES + 28;
/// Bytes of a header of version 1, and of that part of the later ones: every release finds the version there.
const HEADER_1_BYTES: usize = 48;
/// Bytes before a frame's body.
pub(crate) const FRAME_HEADER_BYTES: usize = 20;
/// Largest body; a greater length is damage.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The format this code writes; it reads all earlier ones.
pub(crate) const FORMAT_VERSION: u32 = 3;
/// Since this version a journal has a mark (`mark.rs`). A release that knows none would drop segments without it.
pub(crate) const MARK_VERSION: u32 = 3;

/// Starts with a byte that no UTF-8 text has, so that payloads rarely look like frames.
pub(crate) const FRAME_MAGIC: [u8; 4] = [0xF5, b'S', b'H', b'J'];
const SEGMENT_MAGIC: [u8; 8] = *b"STOREHUB";

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The format that it was written in.
    pub(crate) version: u32,
    pub(crate) epoch: u64,
    pub(crate) salt: u64,
    pub(crate) first_seq: u64,
    pub(crate) created_at_ms: i64,
    /// The epoch before this one, 0 when this is the journal's first or the segment is of version 1.
    pub(crate) previous_epoch: u64,
    /// The last number that others have seen of that epoch.
    pub(crate) previous_seq: u64,
    /// `first_seq` of the segment before this one, 0 when there was none or that is not known.
    pub(crate) after_first_seq: u64,
}

/// What the bytes of a header are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    Good(Header),
    /// A whole header of another format.
    OtherVersion(u32),
    Bad,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.salt.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.created_at_ms.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..44]);
        bytes[44..HEADER_1_BYTES].copy_from_slice(&crc.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous_epoch.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.previous_seq.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.after_first_seq.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..72]);
        bytes[72..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> HeaderRead {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return HeaderRead::Bad };
        if bytes[..8] != SEGMENT_MAGIC || crc32c::crc32c(&bytes[..44]) != read_u32(bytes, 44) {
            return HeaderRead::Bad;
        }
        let version = read_u32(bytes, 8);
        let (previous_epoch, previous_seq, after_first_seq) = match version {
            1 => (0, 0, 0),
            2 | FORMAT_VERSION if crc32c::crc32c(&bytes[..72]) == read_u32(bytes, 72) => {
                (read_u64(bytes, 48), read_u64(bytes, 56), read_u64(bytes, 64))
            }
            2 | FORMAT_VERSION => return HeaderRead::Bad,
            version => return HeaderRead::OtherVersion(version),
        };
        HeaderRead::Good(Self {
            version,
            epoch: read_u64(bytes, 12),
            salt: read_u64(bytes, 20),
            first_seq: read_u64(bytes, 28),
            created_at_ms: read_u64(bytes, 36).cast_signed(),
            previous_epoch,
            previous_seq,
            after_first_seq,
        })
    }
}

/// What lies at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A whole frame with a good checksum; its body follows the frame header.
    Frame { seq: u64, body_len: usize },
    /// Possibly a frame, told only when this many bytes are there.
    Incomplete { bytes_needed: usize },
    /// No frame.
    Bad,
}

/// Reads the frame at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8], salt: u64) -> Parsed {
    let known = bytes.len().min(FRAME_MAGIC.len());
    if bytes[..known] != FRAME_MAGIC[..known] {
        return Parsed::Bad;
    }
    if bytes.len() < FRAME_HEADER_BYTES {
        return Parsed::Incomplete { bytes_needed: FRAME_HEADER_BYTES };
    }
    let body_len = read_u32(bytes, 4) as usize;
    if BODY_BYTES_MAX < body_len {
        return Parsed::Bad;
    }
    let bytes_needed = FRAME_HEADER_BYTES + body_len;
    if bytes.len() < bytes_needed {
        return Parsed::Incomplete { bytes_needed };
    }
    if checksum(&bytes[..bytes_needed], salt) != read_u32(bytes, 16) {
        return Parsed::Bad;
    }
    Parsed::Frame { seq: read_u64(bytes, 8), body_len }
}

/// Makes room for a frame's header at the end of `out`; [`seal`] fills it.
pub(crate) fn open_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    out.resize(start + FRAME_HEADER_BYTES, 0);
    start
}

/// Writes the body's length into the frame that begins at `start` and ends with `out`.
pub(crate) fn close_frame(out: &mut [u8], start: usize) {
    let body_len = out.len() - start - FRAME_HEADER_BYTES;
    let body_len = u32::try_from(body_len).expect("the caller bounds a body by BODY_BYTES_MAX");
    out[start + 4..start + 8].copy_from_slice(&body_len.to_le_bytes());
}

/// Numbers the frames in `frames` from `first_seq`, writes their checksums, and returns how many they are.
pub(crate) fn seal(frames: &mut [u8], first_seq: u64, salt: u64) -> u64 {
    let (mut start, mut seq) = (0, first_seq);
    while start < frames.len() {
        let end = start + FRAME_HEADER_BYTES + read_u32(frames, start + 4) as usize;
        frames[start + 8..start + 16].copy_from_slice(&seq.to_le_bytes());
        let crc = checksum(&frames[start..end], salt);
        frames[start + 16..start + 20].copy_from_slice(&crc.to_le_bytes());
        (start, seq) = (end, seq + 1);
    }
    seq - first_seq
}

fn checksum(frame: &[u8], salt: u64) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &frame[4..16]);
    crc32c::crc32c_append(crc, &frame[FRAME_HEADER_BYTES..])
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has four bytes"))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has eight bytes"))
}
