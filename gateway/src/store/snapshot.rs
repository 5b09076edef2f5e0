//! Snapshots: every entry in one checksummed file, from which a lost database is rebuilt.
//!
//! ```text
//! magic 8 | version u32 | epoch u64 | applied_through u64
//! { tree u8 + bytes | key u32 + bytes | value u32 + bytes } …
//! crc32c u32 over everything before
//! ```
//!
//! Owns: this layout and the folder. A snapshot is written to a temporary file, synced, renamed, and the folder
//! synced: a name that ends in `.snapshot` is whole or damaged, never half-written.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use super::{EntryKey, StoreTree, sync_dir};

/// Snapshots that are kept; the older one is for the case that the newer one is damaged.
pub const SNAPSHOTS_KEPT: usize = 2;
const MAGIC: [u8; 8] = *b"SHUBSNAP";
const VERSION: u32 = 1;
const SUFFIX: &str = "snapshot";

/// Everything that a snapshot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which life of the journal.
    pub epoch: u64,
    /// Every journal record through this one has had its effect.
    pub applied_through: u64,
    /// The entries.
    pub entries: Vec<(EntryKey, Vec<u8>)>,
}

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write the snapshot `{}`", path.display())]
pub struct SnapshotError {
    path: PathBuf,
    source: io::Error,
}

/// Writes a snapshot into `dir` and removes all but the newest [`SNAPSHOTS_KEPT`].
///
/// # Errors
/// When the disk refuses; earlier snapshots stay.
pub fn write_snapshot<'a>(
    dir: &Path,
    epoch: u64,
    applied_through: u64,
    entries: impl Iterator<Item = (&'a EntryKey, &'a [u8])>,
) -> Result<PathBuf, SnapshotError> {
    let path = dir.join(format!("{epoch:020}-{applied_through:020}.{SUFFIX}"));
    let temporary = path.with_extension("new");
    let attempt = || {
        fs::create_dir_all(dir)?;
        let mut out = Summed { out: BufWriter::new(File::create(&temporary)?), crc: 0 };
        out.put(&MAGIC)?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(&epoch.to_le_bytes())?;
        out.put(&applied_through.to_le_bytes())?;
        for (entry, value) in entries {
            let tree = entry.tree.as_str().as_bytes();
            out.put(&[u8::try_from(tree.len()).map_err(io::Error::other)?])?;
            out.put(tree)?;
            for part in [entry.key.as_slice(), value] {
                out.put(&u32::try_from(part.len()).map_err(io::Error::other)?.to_le_bytes())?;
                out.put(part)?;
            }
        }
        let crc = out.crc;
        out.put(&crc.to_le_bytes())?;
        let file = out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_dir(dir)
    };
    if let Err(source) = attempt() {
        fs::remove_file(&temporary).ok();
        return Err(SnapshotError { path, source });
    }
    for old in list(dir).into_iter().skip(SNAPSHOTS_KEPT) {
        // One that stays costs space only, and the next snapshot tries again.
        fs::remove_file(old).ok();
    }
    Ok(path)
}

/// The newest snapshot of this epoch (or, when `epoch` is `None`, of any) that is whole; names of damaged ones are
/// pushed to `damaged`.
#[must_use]
pub fn load_newest(dir: &Path, epoch: Option<u64>, damaged: &mut Vec<PathBuf>) -> Option<Snapshot> {
    for path in list(dir) {
        match fs::read(&path).ok().and_then(|bytes| parse(&bytes)) {
            Some(snapshot) if epoch.is_none_or(|epoch| epoch == snapshot.epoch) => return Some(snapshot),
            Some(_) => {}
            None => damaged.push(path),
        }
    }
    None
}

/// Newest first: names sort by epoch, then place.
fn list(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == SUFFIX));
    paths.sort();
    paths.reverse();
    paths
}

fn parse(bytes: &[u8]) -> Option<Snapshot> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let rest = &mut &*content;
    if take(rest, 8)? != MAGIC || take_u32(rest)? != VERSION {
        return None;
    }
    let epoch = u64::from_le_bytes(take(rest, 8)?.try_into().ok()?);
    let applied_through = u64::from_le_bytes(take(rest, 8)?.try_into().ok()?);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let tree_bytes = usize::from(take(rest, 1)?[0]);
        let tree = std::str::from_utf8(take(rest, tree_bytes)?).ok()?;
        let key_bytes = take_u32(rest)? as usize;
        let key = take(rest, key_bytes)?.to_vec();
        let value_bytes = take_u32(rest)? as usize;
        let value = take(rest, value_bytes)?.to_vec();
        // A tree that a newer release has added is none of ours.
        if let Some(tree) = StoreTree::parse(tree) {
            entries.push((EntryKey { tree, key }, value));
        }
    }
    Some(Snapshot { epoch, applied_through, entries })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(head)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?))
}

struct Summed<W> {
    out: W,
    crc: u32,
}

impl<W: io::Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.out.write_all(bytes)
    }
}
