//! The journal: every acknowledged reading, in order, on disk. It is the truth; the store is a view of it.
//!
//! Owns: segment files of checksummed records, their numbering, group commit, and reading them back. Does not own:
//! what a record means, who may drop what, the store.
//!
//! # How it works
//!
//! [`Journal::append`] encodes a record into a pending buffer and returns. One thread (`journal-writer`) takes the
//! whole buffer, numbers the frames, writes them with one `write` and one `fdatasync`, then resolves every waiter.
//! An idle journal commits at once; under load commits are at least `commit_interval` apart unless
//! `commit_records_max` records wait. Segments rotate by size; a segment's name is its first sequence number.
//!
//! # Invariants
//!
//! - A waiter hears `Ok(seq)` only after `fdatasync` of its record has returned without error.
//! - Readers see durable records only, in order, each `seq` once; `seq` rises by 1, holes are losses and counted.
//! - A refused record is never read back by this process. (After a crash it may be: it was never acknowledged, and
//!   its sender repeats it.)
//! - Damage costs the damaged records and nothing else: reading goes on at the next good frame.
//! - After a failed `fdatasync` the file is not trusted further: the next commit starts a new segment.
//! - Publishes are refused before the disk is full to its end, other records are not: rows, snapshots and the database
//!   find room, without which no segment can be dropped.
//! - Memory is bounded by `pending_bytes_max` twice, plus one chunk per reader.
//! - A segment is dropped only after the mark (`mark.rs`) says so durably: what is missing without that is a loss and is
//!   reported, wherever it was.
//! - A number is given once in an epoch. Where others have seen numbers that this journal does not have (it was put
//!   back, or lost records), a new and greater epoch begins with a segment of its own ([`Journal::begin_epoch`]);
//!   numbers rise on through it.
//!
//! Units: bytes, milliseconds; `seq` starts at 1.

mod disk;
mod epochs;
mod frame;
mod mark;
mod open;
mod reader;
mod record;
mod scan;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{oneshot, watch};

pub use self::{
    disk::{Disk, DiskFile, OsDisk},
    epochs::{Epochs, Renewal},
    reader::{Entry, ReadError, Reader},
    record::{Derived, FieldTooLong, Publish, Record},
};
use self::{
    mark::{Mark, MarkFile},
    scan::Damage,
    writer::Writer,
};
use crate::room::{INTAKE_ROOM_BYTES_MIN, is_full};

/// How the journal behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// A segment is closed when it would grow beyond this.
    pub segment_bytes: u64,
    /// Least time between two commits under load; 0 commits as fast as the disk does.
    pub commit_interval: Duration,
    /// This many waiting records are committed without waiting for the interval.
    pub commit_records_max: usize,
    /// Records beyond this many waiting bytes are refused.
    pub pending_bytes_max: usize,
    /// `(epoch, seq)`: in that epoch, numbers through `seq` have been seen by others. When the records themselves are
    /// gone from the disk, a new epoch begins above them.
    pub floor: Option<(u64, u64)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            commit_interval: Duration::from_millis(2),
            commit_records_max: 256,
            pending_bytes_max: 4 * 1024 * 1024,
            floor: None,
        }
    }
}

/// Longest note that [`Journal::drop_oldest`] takes.
pub const NOTE_BYTES_MAX: usize = mark::NOTE_BYTES_MAX;

/// There is room for publishes.
const ENOUGH_ROOM: u64 = u64::MAX;

/// Most damaged places that are remembered one by one; beyond, reading still goes on but they are only skipped.
const DAMAGE_PLACES_MAX: usize = 4096;

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder cannot be made or listed.
    #[error("failed to open the journal's folder `{}`", path.display())]
    Dir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A segment cannot be read, cut or created.
    #[error("failed to {operation} the journal segment `{}`", path.display())]
    Segment {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Written by a newer release.
    #[error(
        "journal segment `{}` has format {found}, this release reads {known}; run the release that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The writer thread cannot be started.
    #[error("failed to start the journal's writer thread")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// Why a record was not stored. Nothing of it will be read back by this process.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// More is waiting for the disk than may.
    #[error("journal has {waiting_bytes} bytes waiting for the disk, at most {max_bytes} are allowed")]
    Busy {
        /// What waits.
        waiting_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// Larger than a record may be.
    #[error("record has {len} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its size.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A name in it is too long.
    #[error("record has a field that is too long")]
    Field {
        /// Which.
        source: FieldTooLong,
    },
    /// The disk refused.
    #[error("failed to {operation} the journal `{}`", path.display())]
    Disk {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The journal has been closed, or its writer has died.
    #[error("journal is closed")]
    Closed,
}

impl AppendError {
    /// One word for counters.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::TooLarge { .. } | Self::Field { .. } => "too_large",
            Self::Disk { source, .. } if is_full(source) => "disk_full",
            Self::Disk { .. } => "disk_error",
            Self::Closed => "closed",
        }
    }
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether there was no journal before.
    pub created: bool,
    /// Segments kept.
    pub segments: usize,
    /// Bytes of the last segment that were a half-written record and were cut.
    pub torn_bytes: u64,
    /// Numbers that others have seen and whose records are gone.
    pub vanished_records: u64,
    /// Records whose segments are missing before or between others: first and last.
    pub holes: Vec<(u64, u64)>,
    /// Whether the mark is missing or damaged, so that missing first segments would not be noticed.
    pub mark_is_lost: bool,
    /// Files that were no segments and were set aside.
    pub set_aside: Vec<PathBuf>,
}

/// One segment as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Number of its first record.
    pub first_seq: u64,
    /// When it was begun, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Its durable length.
    pub durable_bytes: u64,
    path: PathBuf,
}

/// How the journal is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Last durable record.
    pub head_seq: u64,
    /// First record that is still there.
    pub first_seq: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// `fdatasync` calls since start.
    pub commits: u64,
    /// Records committed since start.
    pub records: u64,
    /// Records refused since start.
    pub refused_records: u64,
    /// Bytes that were damaged and skipped, as far as they have been read.
    pub damaged_bytes: u64,
    /// Places at which that was.
    pub damaged_places: u64,
    /// Whether readings are refused because the disk is full, or the last commit was.
    pub is_disk_full: bool,
    /// What the disk says now; absent when the last commit went well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

type Done = Box<dyn FnOnce(Result<u64, AppendError>) + Send>;

/// What waits for the writer. Frames lie behind one another, unnumbered.
#[derive(Default)]
struct Pending {
    frames: Vec<u8>,
    dones: Vec<Option<Done>>,
    renewal: Option<RenewalAsked>,
    closed: bool,
}

/// Somebody waits for a new epoch.
struct RenewalAsked {
    seen_seq: u64,
    now_ms: i64,
    done: oneshot::Sender<Result<Epochs, AppendError>>,
}

/// What is durable. Segments are sorted by `first_seq`; the last one is being written.
struct Durable {
    segments: VecDeque<SegmentInfo>,
    head_seq: u64,
    writer_gone: bool,
    commits: u64,
    records: u64,
    refused: u64,
    fault: Option<String>,
    is_disk_full: bool,
    damage: BTreeMap<(u64, u64), u64>,
    epochs: Epochs,
}

struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    salt: u64,
    pending: Mutex<Pending>,
    wake_writer: Condvar,
    durable: Mutex<Durable>,
    /// Free bytes of a disk that is too full for publishes; [`ENOUGH_ROOM`] otherwise. Asked before every commit.
    scarce_bytes: AtomicU64,
    /// Held over a write of the mark; never taken while `durable` is held.
    mark: Mutex<MarkFile>,
    wake_readers: Condvar,
}

/// A lock that a panic elsewhere does not take away: every critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn look_for_room(&self) {
        // A disk that does not say what it has says so when it is full.
        let free_bytes = self.disk.free_bytes(&self.dir).unwrap_or(ENOUGH_ROOM);
        let scarce_bytes = if free_bytes < INTAKE_ROOM_BYTES_MIN { free_bytes } else { ENOUGH_ROOM };
        let before = self.scarce_bytes.swap(scarce_bytes, Ordering::Relaxed);
        match (before == ENOUGH_ROOM, self.scarceness()) {
            (true, Some(error)) => {
                let path = self.dir.display();
                tracing::error!(%error, %path, "readings are refused until there is room");
            }
            (false, None) => tracing::info!("the journal's disk has room again"),
            _ => {}
        }
    }

    /// Why publishes are refused for want of room.
    fn scarceness(&self) -> Option<io::Error> {
        let free_bytes = self.scarce_bytes.load(Ordering::Relaxed);
        (free_bytes != ENOUGH_ROOM).then(|| {
            let words = format!("{free_bytes} bytes are free, {INTAKE_ROOM_BYTES_MIN} are needed");
            io::Error::new(io::ErrorKind::StorageFull, words)
        })
    }

    /// Writes the mark with what `change` makes of it.
    fn change_mark(&self, change: impl FnOnce(&mut Mark)) -> io::Result<()> {
        let (epoch, head_seq, first_seq) = {
            let durable = lock(&self.durable);
            let first_seq = durable.segments.front().map_or(0, |segment| segment.first_seq);
            (durable.epochs.epoch(), durable.head_seq, first_seq)
        };
        let mut file = lock(&self.mark);
        let mut mark = file.mark().clone();
        (mark.salt, mark.epoch, mark.head_seq) = (self.salt, epoch, mark.head_seq.max(head_seq));
        if !file.is_there() {
            mark.first_seq = first_seq;
        }
        change(&mut mark);
        file.write(self.disk.as_ref(), mark)
    }

    fn note_damage(&self, first_seq: u64, damage: Option<Damage>) {
        let Some(damage) = damage else { return };
        let mut durable = lock(&self.durable);
        let known = durable.damage.len();
        if known < DAMAGE_PLACES_MAX
            && durable.damage.insert((first_seq, damage.offset), damage.bytes).is_none()
        {
            tracing::warn!(
                segment = first_seq,
                offset = damage.offset,
                bytes = damage.bytes,
                "skipped damage in the journal"
            );
        }
    }
}

/// The journal; cheap to clone, closed by [`Journal::close`].
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    head: watch::Receiver<u64>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Journal {
    /// Opens or creates the journal in `dir` on the operating system's disk. `now_ms` becomes the epoch of a new one.
    ///
    /// # Errors
    /// When the folder or its last segment cannot be used. Damage is no error.
    pub fn open(dir: &Path, options: Options, now_ms: i64) -> Result<(Self, OpenReport), JournalError> {
        Self::open_on(Arc::new(OsDisk), dir, options, now_ms)
    }

    /// [`Journal::open`] on any disk.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        now_ms: i64,
    ) -> Result<(Self, OpenReport), JournalError> {
        let opened = open::open(disk.as_ref(), dir, now_ms, options.floor)?;
        let report = opened.report;
        let durable = Durable {
            segments: opened.segments,
            head_seq: opened.head_seq,
            writer_gone: false,
            commits: 0,
            records: 0,
            refused: 0,
            fault: None,
            is_disk_full: false,
            damage: opened.damage,
            epochs: opened.epochs,
        };
        let shared = Arc::new(Shared {
            disk,
            dir: dir.to_owned(),
            options,
            salt: opened.salt,
            pending: Mutex::default(),
            wake_writer: Condvar::new(),
            durable: Mutex::new(durable),
            scarce_bytes: AtomicU64::new(ENOUGH_ROOM),
            mark: Mutex::new(opened.mark),
            wake_readers: Condvar::new(),
        });
        shared.look_for_room();
        let (head_tx, head) = watch::channel(opened.head_seq);
        let writer = Writer::new(Arc::clone(&shared), opened.active, opened.active_len, head_tx);
        let thread = std::thread::Builder::new()
            .name("journal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| JournalError::Thread { source })?;
        Ok((Self { shared, head, thread: Arc::new(Mutex::new(Some(thread))) }, report))
    }

    /// Which life of the journal this is: milliseconds since 1970 at its beginning.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        lock(&self.shared.durable).epochs.epoch()
    }

    /// The lives of the journal.
    #[must_use]
    pub fn epochs(&self) -> Epochs {
        lock(&self.shared.durable).epochs.clone()
    }

    /// Begins a new epoch with the next record: others have seen numbers of the present one, through `seen_seq`, that
    /// name other records than this journal's. Blocks until that is durable.
    ///
    /// # Errors
    /// When the disk refuses, or the journal is closed; the present epoch goes on then.
    pub fn begin_epoch(&self, seen_seq: u64, now_ms: i64) -> Result<Epochs, AppendError> {
        let (done, answer) = oneshot::channel();
        {
            let mut pending = lock(&self.shared.pending);
            if pending.closed || pending.renewal.is_some() {
                return Err(AppendError::Closed);
            }
            pending.renewal = Some(RenewalAsked { seen_seq, now_ms, done });
        }
        self.shared.wake_writer.notify_one();
        answer.blocking_recv().unwrap_or(Err(AppendError::Closed))
    }

    /// The last durable record; 0 when there is none.
    #[must_use]
    pub fn head_seq(&self) -> u64 {
        lock(&self.shared.durable).head_seq
    }

    /// Follows the last durable record. The channel closes when the writer is gone.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }

    /// Hands a record to the writer; the receiver resolves after `fdatasync` with its number, or with the refusal.
    pub fn append(&self, record: &Record<'_>) -> oneshot::Receiver<Result<u64, AppendError>> {
        let (tx, rx) = oneshot::channel();
        self.append_then(record, move |result| {
            // A waiter that has gone does not need its answer.
            tx.send(result).ok();
        });
        rx
    }

    /// Hands a record to the writer; `done` runs on the writer's thread after `fdatasync`, or at once on refusal.
    /// It must be short and must not block.
    pub fn append_then(
        &self,
        record: &Record<'_>,
        done: impl FnOnce(Result<u64, AppendError>) + Send + 'static,
    ) {
        if let Err((error, Some(done))) = self.enqueue(record, Some(Box::new(done))) {
            done(Err(error));
        }
    }

    /// Hands a record to the writer and waits for nothing.
    ///
    /// # Errors
    /// When the record is refused before it reaches the writer. A later refusal shows in [`Stats`] only.
    pub fn append_and_forget(&self, record: &Record<'_>) -> Result<(), AppendError> {
        self.enqueue(record, None).map_err(|(error, _)| error)
    }

    fn enqueue(&self, record: &Record<'_>, done: Option<Done>) -> Result<(), (AppendError, Option<Done>)> {
        let max_bytes = self.shared.options.pending_bytes_max;
        let scarceness = self.shared.scarceness().filter(|_| matches!(record, Record::Publish(_)));
        let refusal = if let Some(source) = scarceness {
            let (path, source) = (self.shared.dir.clone(), Arc::new(source));
            AppendError::Disk { operation: "write to", path, source }
        } else {
            let mut pending = lock(&self.shared.pending);
            let waiting_bytes = pending.frames.len();
            if pending.closed {
                AppendError::Closed
            } else if max_bytes <= waiting_bytes {
                AppendError::Busy { waiting_bytes, max_bytes }
            } else {
                let start = frame::open_frame(&mut pending.frames);
                let encoded = record.encode(&mut pending.frames);
                let len = pending.frames.len() - start - frame::FRAME_HEADER_BYTES;
                match encoded {
                    Ok(()) if len <= frame::BODY_BYTES_MAX => {
                        frame::close_frame(&mut pending.frames, start);
                        pending.dones.push(done);
                        let waiting = pending.dones.len();
                        drop(pending);
                        // The writer sleeps only on an empty buffer or between two commits.
                        if waiting == 1 || waiting == self.shared.options.commit_records_max {
                            self.shared.wake_writer.notify_one();
                        }
                        return Ok(());
                    }
                    outcome => {
                        pending.frames.truncate(start);
                        match outcome {
                            Ok(()) => AppendError::TooLarge { len, max: frame::BODY_BYTES_MAX },
                            Err(source) => AppendError::Field { source },
                        }
                    }
                }
            }
        };
        lock(&self.shared.durable).refused += 1;
        Err((refusal, done))
    }

    /// Reads durable records from `from_seq` on, beside the writer.
    #[must_use]
    pub fn reader(&self, from_seq: u64) -> Reader {
        Reader::new(Arc::clone(&self.shared), from_seq)
    }

    /// Waits until a record beyond `seq` is durable, the writer is gone, or `patience` is over. Returns the head.
    #[must_use]
    pub fn wait_beyond(&self, seq: u64, patience: Duration) -> u64 {
        let until = Instant::now() + patience;
        let mut durable = lock(&self.shared.durable);
        while durable.head_seq <= seq && !durable.writer_gone {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            durable = self
                .shared
                .wake_readers
                .wait_timeout(durable, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        durable.head_seq
    }

    /// Whether records are still taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !lock(&self.shared.pending).closed
    }

    /// Every segment, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        lock(&self.shared.durable).segments.iter().cloned().collect()
    }

    /// How the journal is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let scarceness = self.shared.scarceness();
        let durable = lock(&self.shared.durable);
        Stats {
            head_seq: durable.head_seq,
            first_seq: durable.segments.front().map_or(1, |segment| segment.first_seq),
            bytes: durable.segments.iter().map(|segment| segment.durable_bytes).sum(),
            segments: durable.segments.len() as u64,
            commits: durable.commits,
            records: durable.records,
            refused_records: durable.refused,
            damaged_bytes: durable.damage.values().sum(),
            damaged_places: durable.damage.len() as u64,
            is_disk_full: durable.is_disk_full || scarceness.is_some(),
            fault: durable.fault.clone().or_else(|| scarceness.map(|error| error.to_string())),
        }
    }

    /// Removes the oldest segment and returns its first and last record, or `None` when only the active one is left.
    /// Who may be dropped is the caller's to decide. The mark says so durably before, with a `note` of at most
    /// [`NOTE_BYTES_MAX`] bytes for [`Journal::note`].
    ///
    /// # Errors
    /// When the mark cannot be written or the file cannot be removed.
    pub fn drop_oldest(&self, note: &[u8]) -> Result<Option<(u64, u64)>, JournalError> {
        let (path, range) = {
            let durable = lock(&self.shared.durable);
            let (Some(oldest), Some(next)) = (durable.segments.front(), durable.segments.get(1)) else {
                return Ok(None);
            };
            (oldest.path.clone(), (oldest.first_seq, next.first_seq - 1))
        };
        let marked = self.shared.change_mark(|mark| {
            mark.first_seq = mark.first_seq.max(range.1 + 1);
            mark.note = note.to_vec();
        });
        match marked {
            // No older mark says that the segment must be there, and what goes makes room for one.
            Err(error) if is_full(&error) && !lock(&self.shared.mark).is_there() => {}
            Err(source) => {
                let path = lock(&self.shared.mark).path().to_owned();
                return Err(JournalError::Segment { operation: "write the mark of", path, source });
            }
            Ok(()) => {}
        }
        match self.shared.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(JournalError::Segment { operation: "remove", path, source: error });
            }
            _ => {}
        }
        lock(&self.shared.durable).segments.retain(|segment| segment.path != path);
        // A segment that a power cut brings back lies below the mark and is dropped again.
        self.shared.disk.sync_dir(&self.shared.dir).ok();
        Ok(Some(range))
    }

    /// The journal must have every record from this one on; what was before was dropped.
    #[must_use]
    pub fn kept_from(&self) -> u64 {
        match lock(&self.shared.mark).mark().first_seq {
            // The disk had no room for a mark.
            0 => self.stats().first_seq,
            first_seq => first_seq,
        }
    }

    /// What was noted with the last segment that was dropped, by whomever; empty when none was.
    #[must_use]
    pub fn note(&self) -> Vec<u8> {
        lock(&self.shared.mark).mark().note.clone()
    }

    /// Commits what waits, refuses what comes after, and ends the writer. Blocks until that is done.
    pub fn close(&self) {
        lock(&self.shared.pending).closed = true;
        self.shared.wake_writer.notify_all();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}
