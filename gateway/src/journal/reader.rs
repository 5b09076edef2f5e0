//! Reads durable records in order, beside the writer.
//!
//! Owns: one open file and one chunk. Does not own: positions beyond its own; it keeps nothing alive on disk, so a
//! reader that falls behind the oldest segment is moved forward and told how many records it missed.

use std::{io, path::PathBuf, sync::Arc};

use super::{
    SegmentInfo, Shared,
    disk::DiskFile,
    lock,
    record::Record,
    scan::{Scan, Scanner},
};

/// Why reading stopped. Calling again tries again.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the journal segment `{}`", path.display())]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// One record and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number.
    pub seq: u64,
    /// What it says.
    pub record: Record<'a>,
}

struct OpenSegment {
    info: SegmentInfo,
    file: Box<dyn DiskFile>,
    scanner: Scanner,
}

/// A place in the journal. See the module.
pub struct Reader {
    shared: Arc<Shared>,
    next_seq: u64,
    open: Option<OpenSegment>,
    missed: u64,
    /// What was passed over since somebody asked: first and last number.
    gap: Option<(u64, u64)>,
}

/// What a reader may see of the segment that it is in.
struct Bounds {
    end: u64,
    /// First record of the following segment; `None` in the active one.
    following: Option<u64>,
    head_seq: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from_seq: u64) -> Self {
        Self { shared, next_seq: from_seq.max(1), open: None, missed: 0, gap: None }
    }

    /// The number that [`Reader::next`] looks for.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Records that were passed over because they are damaged or already dropped.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The first and the last of the records that were passed over since this was asked last.
    pub fn take_gap(&mut self) -> Option<(u64, u64)> {
        self.gap.take()
    }

    fn miss(&mut self, first_seq: u64, last_seq: u64) {
        self.missed += last_seq + 1 - first_seq;
        let from = self.gap.map_or(first_seq, |(from, _)| from);
        self.gap = Some((from, last_seq));
    }

    /// The next durable record; `None` when there is none yet.
    ///
    /// # Errors
    /// When the disk does not give what it should have.
    #[expect(clippy::should_implement_trait, reason = "the entry borrows the reader's buffer")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        loop {
            let Some((seq, body)) = self.advance()? else { return Ok(None) };
            let (body_start, body_len) = body;
            let open = self.open.as_ref().expect("advance leaves the segment open that it found a frame in");
            // Checked in two steps, because the borrow checker cannot see that the loop drops the first one.
            if Record::decode(open.scanner.body(body_start, body_len)).is_none() {
                tracing::warn!(seq, "a journal record is of no known kind and was skipped");
                self.miss(seq, seq);
                continue;
            }
            let open = self.open.as_ref().expect("it was there above");
            let record = Record::decode(open.scanner.body(body_start, body_len)).expect("it decoded above");
            return Ok(Some(Entry { seq, record }));
        }
    }

    fn advance(&mut self) -> Result<Option<(u64, (usize, usize))>, ReadError> {
        loop {
            if !self.ensure_open()? {
                return Ok(None);
            }
            let open = self.open.as_mut().expect("ensure_open has just said so");
            let bounds = bounds(&self.shared, &open.info);
            let Some(bounds) = bounds else {
                // Dropped meanwhile; what was not read is missed, unless the file gives it still.
                self.open = None;
                continue;
            };
            let scan = open.scanner.next(open.file.as_ref(), bounds.end);
            let scan = scan.map_err(|source| ReadError { path: open.info.path.clone(), source })?;
            match scan {
                Scan::Frame { seq, body_start, body_len, damage } => {
                    self.shared.note_damage(open.info.first_seq, damage);
                    let beyond = bounds.following.map_or(bounds.head_seq < seq, |first| first <= seq);
                    if seq < self.next_seq || beyond {
                        continue;
                    }
                    if self.next_seq < seq {
                        self.miss(self.next_seq, seq - 1);
                    }
                    self.next_seq = seq + 1;
                    return Ok(Some((seq, (body_start, body_len))));
                }
                Scan::End { damage } => {
                    let first_seq = open.info.first_seq;
                    let through = bounds.following.unwrap_or(bounds.head_seq + 1);
                    // A refused record may lie behind a closed segment's last good one: no loss, no damage.
                    if self.next_seq < through {
                        self.shared.note_damage(first_seq, damage);
                        self.miss(self.next_seq, through - 1);
                        self.next_seq = through;
                    }
                    if bounds.following.is_none() {
                        return Ok(None);
                    }
                    self.open = None;
                }
            }
        }
    }

    /// Opens the segment that holds `next_seq`; `false` when that is not durable yet.
    fn ensure_open(&mut self) -> Result<bool, ReadError> {
        loop {
            if self.open.is_some() {
                return Ok(true);
            }
            let info = {
                let durable = lock(&self.shared.durable);
                if durable.head_seq < self.next_seq {
                    return Ok(false);
                }
                let after = durable.segments.partition_point(|segment| segment.first_seq <= self.next_seq);
                durable.segments.get(after.saturating_sub(1)).cloned()
            };
            let Some(info) = info else { return Ok(false) };
            if self.next_seq < info.first_seq {
                self.miss(self.next_seq, info.first_seq - 1);
                self.next_seq = info.first_seq;
            }
            match self.shared.disk.open(&info.path) {
                Ok(file) => {
                    let scanner = Scanner::new(self.shared.salt);
                    self.open = Some(OpenSegment { info, file, scanner });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.dropped(&info) => {}
                Err(source) => return Err(ReadError { path: info.path, source }),
            }
        }
    }

    fn dropped(&self, info: &SegmentInfo) -> bool {
        bounds(&self.shared, info).is_none()
    }
}

fn bounds(shared: &Shared, info: &SegmentInfo) -> Option<Bounds> {
    let durable = lock(&shared.durable);
    let at = durable.segments.binary_search_by_key(&info.first_seq, |segment| segment.first_seq).ok()?;
    Some(Bounds {
        end: durable.segments[at].durable_bytes,
        following: durable.segments.get(at + 1).map(|next| next.first_seq),
        head_seq: durable.head_seq,
    })
}
