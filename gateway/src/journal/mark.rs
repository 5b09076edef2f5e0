//! The journal's mark: from which number on it must have every segment, and which one is its newest.
//!
//! ```text
//! file: two slots, at 0 and 4096, the one written after the other; the good one with the greater turn counts
//! slot: magic 8 | version u32 | turn u64 | salt u64 | epoch u64 | first_seq u64 | newest_first_seq u64
//!       | head_seq u64 | note_len u32 | crc32c u32 (of all before it and the note) | note
//! ```
//!
//! Owns: this layout and its file. Does not own: what follows from a mark (opening and dropping do), the note's meaning.
//!
//! # Invariants
//!
//! - A slot is written in place, so that a disk without any room can still be told that a segment goes.
//! - A write that is torn or refused leaves the other slot, which is the mark from before: the slot that is written
//!   first is never the only good one.
//! - Otherwise both slots are the same, so that damage to one of them does not bring an older mark back.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::disk::{Disk, DiskFile};

/// Longest note.
pub(super) const NOTE_BYTES_MAX: usize = 1024;
/// The mark's file in the journal's folder.
const FILE: &str = "mark";
/// Slots lie in blocks of their own, so that one bad block does not take both.
const SLOT_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"SHUBMARK";
const VERSION: u32 = 1;
/// Bytes of a slot before its checksum.
const FIXED_BYTES: usize = 64;
const NOTE_START: usize = FIXED_BYTES + 4;

/// What the mark says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which journal: the salt of its segments.
    pub(super) salt: u64,
    /// Its epoch.
    pub(super) epoch: u64,
    /// Segments from this one on are there; what was before was dropped.
    pub(super) first_seq: u64,
    /// The newest segment's first number.
    pub(super) newest_first_seq: u64,
    /// Records through this one were durable.
    pub(super) head_seq: u64,
    /// What whoever dropped segments wants to know again.
    pub(super) note: Vec<u8>,
}

/// The mark and where it is written to.
pub(super) struct MarkFile {
    path: PathBuf,
    /// `None` while there is no file: the disk had no room for it.
    file: Option<Box<dyn DiskFile>>,
    turn: u64,
    mark: Mark,
}

/// What lies where the mark should be.
pub(super) enum MarkRead {
    Good(MarkFile),
    /// A file without a good slot.
    Damaged,
    Absent,
}

impl MarkFile {
    pub(super) fn path_in(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<MarkRead> {
        let path = Self::path_in(dir);
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(MarkRead::Absent),
            Err(error) => return Err(error),
        };
        let mut newest: Option<(u64, Mark)> = None;
        for turn in 0..2 {
            let slot = decode(&read_slot(file.as_ref(), slot_start(turn))?);
            if slot.as_ref().map(|(turn, _)| *turn) > newest.as_ref().map(|(turn, _)| *turn) {
                newest = slot;
            }
        }
        let Some((turn, mark)) = newest else { return Ok(MarkRead::Damaged) };
        Ok(MarkRead::Good(Self { path, file: Some(file), turn, mark }))
    }

    /// No file yet; the first [`MarkFile::write`] makes it.
    pub(super) fn none(dir: &Path) -> Self {
        Self { path: Self::path_in(dir), file: None, turn: 0, mark: Mark::default() }
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file, so that an older mark would be read after a write that was refused.
    pub(super) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// Writes the mark durably. After an error the former one counts, on the disk too.
    pub(super) fn write(&mut self, disk: &dyn Disk, mark: Mark) -> io::Result<()> {
        if self.is_there() && self.mark == mark {
            return Ok(());
        }
        let turn = self.turn + 1;
        let slot = encode(turn, &mark);
        match &mut self.file {
            Some(file) => {
                file.write_at(&slot, slot_start(turn))?;
                file.sync_data()?;
                // One that is refused is the next turn's first.
                file.write_at(&slot, slot_start(turn + 1)).and_then(|()| file.sync_data()).ok();
            }
            None => self.file = Some(create(disk, &self.path, &slot)?),
        }
        (self.turn, self.mark) = (turn, mark);
        Ok(())
    }
}

/// Makes the file with room for both slots: later writes need none.
fn create(disk: &dyn Disk, path: &Path, slot: &[u8]) -> io::Result<Box<dyn DiskFile>> {
    let temporary = path.with_extension("new");
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut whole = vec![0; 2 * SLOT_BYTES];
    whole[..slot.len()].copy_from_slice(slot);
    whole[SLOT_BYTES..][..slot.len()].copy_from_slice(slot);
    let mut file = disk.create(&temporary)?;
    let written = file.write_at(&whole, 0).and_then(|()| file.sync_data());
    if let Err(error) = written {
        disk.remove(&temporary).ok();
        return Err(error);
    }
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("")))?;
    Ok(file)
}

fn slot_start(turn: u64) -> u64 {
    turn % 2 * SLOT_BYTES as u64
}

fn read_slot(file: &dyn DiskFile, start: u64) -> io::Result<Vec<u8>> {
    let mut slot = vec![0; NOTE_START + NOTE_BYTES_MAX];
    let mut have = 0;
    while have < slot.len() {
        match file.read_at(&mut slot[have..], start + have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    slot.truncate(have);
    Ok(slot)
}

fn encode(turn: u64, mark: &Mark) -> Vec<u8> {
    assert!(mark.note.len() <= NOTE_BYTES_MAX, "a note is shorter than {NOTE_BYTES_MAX} bytes");
    let Mark { salt, epoch, first_seq, newest_first_seq, head_seq, note } = mark;
    let note_len = u32::try_from(note.len()).expect("checked above");
    let mut slot = MAGIC.to_vec();
    slot.extend_from_slice(&VERSION.to_le_bytes());
    for number in [turn, *salt, *epoch, *first_seq, *newest_first_seq, *head_seq] {
        slot.extend_from_slice(&number.to_le_bytes());
    }
    slot.extend_from_slice(&note_len.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&slot), note);
    slot.extend_from_slice(&crc.to_le_bytes());
    slot.extend_from_slice(note);
    slot
}

fn decode(slot: &[u8]) -> Option<(u64, Mark)> {
    let (fixed, rest) = slot.split_first_chunk::<FIXED_BYTES>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let u32_at = |at: usize| u32::from_le_bytes(fixed[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(fixed[at..at + 8].try_into().expect("eight bytes"));
    let note = rest.get(..u32_at(60) as usize)?;
    let is_whole = u32::from_le_bytes(*crc) == crc32c::crc32c_append(crc32c::crc32c(fixed), note);
    (fixed[..8] == MAGIC && u32_at(8) == VERSION && is_whole).then(|| {
        let (salt, epoch, first_seq) = (u64_at(20), u64_at(28), u64_at(36));
        let (newest_first_seq, head_seq) = (u64_at(44), u64_at(52));
        (u64_at(12), Mark { salt, epoch, first_seq, newest_first_seq, head_seq, note: note.to_vec() })
    })
}
