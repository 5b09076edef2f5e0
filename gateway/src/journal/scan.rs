//! Walks the frames of one segment and finds the next good one after damage.
//!
//! Owns: the read buffer and the place in the file. Does not own: sequence rules, which file comes next.
//!
//! Invariant: never reads at or beyond the `end` it was given, so that it sees durable bytes only.
//! Memory: one chunk plus one frame.

use std::io;

use super::{
    disk::DiskFile,
    frame::{self, FRAME_HEADER_BYTES, FRAME_MAGIC, FRAMES_START, Parsed},
};

/// Bytes read from the disk at a time.
const CHUNK_BYTES: usize = 128 * 1024;

pub(crate) struct Scanner {
    salt: u64,
    /// File offset of `buf[0]`.
    buf_start: u64,
    buf: Vec<u8>,
    /// Place in `buf` of what comes next.
    cursor: usize,
    /// End of the last good frame in the file.
    pub(crate) good_end: u64,
    /// Where the damage began that is being skipped.
    damage_start: Option<u64>,
}

pub(crate) enum Scan {
    /// A good frame; its body is [`Scanner::body`].
    Frame { seq: u64, body_start: usize, body_len: usize, damage: Option<Damage> },
    /// Nothing more before `end`.
    End { damage: Option<Damage> },
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Scanner {
    pub(crate) fn new(salt: u64) -> Self {
        Self {
            salt,
            buf_start: FRAMES_START,
            buf: Vec::new(),
            cursor: 0,
            good_end: FRAMES_START,
            damage_start: None,
        }
    }

    /// The body of the frame that `next` has just returned.
    pub(crate) fn body(&self, body_start: usize, body_len: usize) -> &[u8] {
        &self.buf[body_start..body_start + body_len]
    }

    /// The next good frame before `end`.
    pub(crate) fn next(&mut self, file: &dyn DiskFile, end: u64) -> io::Result<Scan> {
        loop {
            let left = end.saturating_sub(self.position());
            if left == 0 {
                return Ok(Scan::End { damage: self.damage_until_here() });
            }
            match frame::parse(&self.buf[self.cursor..], self.salt) {
                Parsed::Frame { seq, body_len } => {
                    let damage = self.damage_until_here();
                    let body_start = self.cursor + FRAME_HEADER_BYTES;
                    self.cursor = body_start + body_len;
                    self.good_end = self.position();
                    return Ok(Scan::Frame { seq, body_start, body_len, damage });
                }
                Parsed::Incomplete { bytes_needed }
                    if bytes_needed as u64 <= left && self.fill(file, end, bytes_needed)? => {}
                Parsed::Incomplete { .. } | Parsed::Bad if self.cursor < self.buf.len() => {
                    self.skip_to_magic();
                }
                Parsed::Incomplete { .. } | Parsed::Bad => {
                    if !self.fill(file, end, 1)? {
                        // The file is shorter than it should be: what is missing is damage.
                        self.damage_start.get_or_insert(self.buf_start);
                        self.jump_to(end);
                    }
                }
            }
        }
    }

    fn position(&self) -> u64 {
        self.buf_start + self.cursor as u64
    }

    fn jump_to(&mut self, offset: u64) {
        self.buf.clear();
        self.cursor = 0;
        self.buf_start = offset;
    }

    fn damage_until_here(&mut self) -> Option<Damage> {
        let offset = self.damage_start.take()?;
        Some(Damage { offset, bytes: self.position() - offset })
    }

    fn skip_to_magic(&mut self) {
        self.damage_start.get_or_insert(self.buf_start + self.cursor as u64);
        let from = self.cursor + 1;
        let rest = self.buf.get(from..).unwrap_or_default();
        let next = rest.iter().position(|&byte| byte == FRAME_MAGIC[0]);
        self.cursor = next.map_or(self.buf.len(), |at| from + at);
    }

    /// Makes `bytes_needed` bytes available from the cursor on; `false` when the file ends before.
    fn fill(&mut self, file: &dyn DiskFile, end: u64, bytes_needed: usize) -> io::Result<bool> {
        self.buf.drain(..self.cursor);
        self.buf_start += self.cursor as u64;
        self.cursor = 0;
        while self.buf.len() < bytes_needed {
            let have = self.buf.len();
            let offset = self.buf_start + have as u64;
            let want = CHUNK_BYTES.max(bytes_needed - have) as u64;
            let want = usize::try_from(want.min(end - offset)).expect("a chunk fits in memory");
            if want == 0 {
                return Ok(false);
            }
            self.buf.resize(have + want, 0);
            let read = read_retrying(file, &mut self.buf[have..], offset);
            self.buf.truncate(have + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn read_retrying(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buf, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
