//! The store: sled behind one file. A view of the journal that makes starting quick, never the truth.
//!
//! Owns: the sled database, the checksum around every value, quarantine, and snapshots ([`snapshot`]). Does not own:
//! what an entity means, when to write, where lost entities come from (the projector's memory, or a snapshot and
//! the journal).
//!
//! # Invariants
//!
//! - One thread uses a [`Store`]. Every write is one transaction over all trees, together with [`Place`].
//! - A value is `version u8 | crc32c u32 | bytes`; the checksum covers the key too, so that no value can stand in
//!   for another.
//! - [`Place::digest`] is the sum of all values' checksums: entries that vanish silently are noticed at open.
//! - On a full disk nothing is damage ([`StoreError::Full`]): sled fails there in many ways, and is not even asked when
//!   there is no room at the start.
//! - Opening and reading happen in a thread of their own whose panic is an error ([`StoreError::Panicked`]); the
//!   caller answers every [`StoreError::is_damage`] with [`quarantine`] and a rebuild.
//! - sled's own flush (every second) is enough: after a power cut the place is older and the journal is replayed.

mod ledger;
mod repeats;
mod snapshot;

#[cfg(test)]
mod tests;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use sled::{
    Transactional as _,
    transaction::{ConflictableTransactionError, TransactionError},
};

pub use self::ledger::{Acked, Ledger, Retained};
pub use self::snapshot::{SNAPSHOTS_KEPT, Snapshot, SnapshotError, load_newest, write_snapshot};
use crate::{
    domain::Tree as DomainTree,
    room::{self, ROOM_BYTES_MIN},
};

/// sled's page cache. The hub's live entities fit several times.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// How often sled writes what it has to the disk.
const FLUSH_MS: u64 = 1_000;
/// How long a database that was closed in this process may keep its lock.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(5);
const VALUE_VERSION: u8 = 1;
const VALUE_HEADER_BYTES: usize = 5;
const PLACE_TREE: &str = "place";
const PLACE_KEY: &[u8] = b"place";

/// Every tree of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreTree {
    /// The domain's entities.
    Domain(DomainTree),
    /// The broker's retained messages by topic.
    Retained,
    /// What headquarters has acknowledged, by stream.
    Uplink,
    /// Which journal records are repetitions of earlier ones.
    Repeats,
}

impl StoreTree {
    /// All trees; their order is the order in a transaction.
    pub fn all() -> impl Iterator<Item = Self> {
        DomainTree::ALL.into_iter().map(Self::Domain).chain([Self::Retained, Self::Uplink, Self::Repeats])
    }

    /// The tree's stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Domain(tree) => tree.as_str(),
            Self::Retained => "retained",
            Self::Uplink => "uplink",
            Self::Repeats => "repeats",
        }
    }

    /// The tree that a name names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|tree| tree.as_str() == name)
    }
}

/// The address of one entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// Which tree.
    pub tree: StoreTree,
    /// Its key there.
    pub key: Vec<u8>,
}

/// How far the store is, written with every transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Which life of the journal.
    pub epoch: u64,
    /// Every journal record through this one has had its effect.
    pub applied_through: u64,
    /// Sum of the checksums of all entries.
    pub digest: u64,
}

/// Entries to put (`Some`) or remove (`None`).
pub type Changes = BTreeMap<EntryKey, Option<Vec<u8>>>;

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled refused.
    #[error("failed to {operation} the database in `{}`", path.display())]
    Sled {
        /// What was attempted.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: sled::Error,
    },
    /// There is no room; the database may be good or bad.
    #[error(
        "the disk of the database in `{}` is full ({free_bytes} bytes free, {ROOM_BYTES_MIN} are needed)",
        path.display()
    )]
    Full {
        /// Where.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What failed; absent when nothing was tried.
        source: Option<Box<Self>>,
    },
    /// sled panicked.
    #[error("the database in `{}` made sled panic: {message}", path.display())]
    Panicked {
        /// Where.
        path: PathBuf,
        /// What sled said.
        message: String,
    },
    /// A value whose checksum or version is wrong.
    #[error("entry {key} of the tree `{tree}` in the database is damaged")]
    Damaged {
        /// Which tree.
        tree: &'static str,
        /// Which key, shown as text.
        key: String,
    },
    /// Entries are missing or too many.
    #[error("the database in `{}` does not have the entries that it should have", path.display())]
    Incomplete {
        /// Where.
        path: PathBuf,
    },
    /// A folder or thread could not be made.
    #[error("failed to {operation} `{}`", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether the database itself is bad, so that only a new one helps; otherwise the disk refuses for now.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Sled { source, .. } => !matches!(source, sled::Error::Io(_)),
            Self::Panicked { .. } | Self::Damaged { .. } | Self::Incomplete { .. } => true,
            Self::Full { .. } | Self::Io { .. } => false,
        }
    }

    /// The same, or that the disk is full when that is why.
    #[must_use]
    pub fn unless_full(self, path: &Path) -> Self {
        let says_full = match &self {
            Self::Full { .. } => return self,
            Self::Sled { source: sled::Error::Io(source), .. } | Self::Io { source, .. } => {
                room::is_full(source)
            }
            // sled panics with its error's text.
            Self::Panicked { message, .. } => ["StorageFull", "QuotaExceeded", "No space left", "Disk quota"]
                .iter()
                .any(|words| message.contains(words)),
            Self::Sled { .. } | Self::Damaged { .. } | Self::Incomplete { .. } => false,
        };
        let free_bytes = room::fewer_bytes(path, ROOM_BYTES_MIN);
        if !says_full && free_bytes.is_none() {
            return self;
        }
        let free_bytes = free_bytes.or_else(|| room::free_bytes(path).ok()).unwrap_or(0);
        Self::Full { path: path.to_owned(), free_bytes, source: Some(Box::new(self)) }
    }
}

/// Why nothing should be written to the database in `path` now.
#[must_use]
pub fn no_room(path: &Path) -> Option<StoreError> {
    let free_bytes = room::fewer_bytes(path, ROOM_BYTES_MIN)?;
    Some(StoreError::Full { path: path.to_owned(), free_bytes, source: None })
}

/// The open database.
pub struct Store {
    path: PathBuf,
    db: sled::Db,
    trees: Vec<sled::Tree>,
    place: Place,
    /// Checksum of every entry, to keep the digest without reading.
    checksums: HashMap<EntryKey, u32>,
}

/// What opening gives: the store and all of its entries.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// How far it is.
    pub place: Place,
    /// Its entries.
    pub entries: Vec<(EntryKey, Vec<u8>)>,
}

impl Store {
    /// Opens or creates the database in `path` and reads all of it.
    ///
    /// # Errors
    /// When the disk refuses, sled refuses or panics, or anything read is damaged.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        if let Some(full) = no_room(path) {
            return Err(full);
        }
        let owned = path.to_owned();
        guarded("store-open", path, move || open_unguarded(&owned)).map_err(|error| error.unless_full(path))
    }

    /// How far the store is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Writes all changes and the new place in one transaction.
    ///
    /// # Errors
    /// When sled refuses; nothing has changed then, and the store should be opened anew.
    pub fn write(&mut self, changes: &Changes, epoch: u64, applied_through: u64) -> Result<(), StoreError> {
        let mut digest = self.place.digest;
        let mut checksums = Vec::with_capacity(changes.len());
        let mut batches: Vec<Vec<(&[u8], Option<Vec<u8>>)>> = vec![Vec::new(); self.trees.len()];
        for (entry, value) in changes {
            if let Some(old) = self.checksums.get(entry) {
                digest = digest.wrapping_sub(u64::from(*old));
            }
            let sealed = value.as_deref().map(|value| seal(entry, value));
            let checksum = sealed.as_ref().map(|(_, checksum)| *checksum);
            digest = digest.wrapping_add(checksum.map_or(0, u64::from));
            checksums.push((entry, checksum));
            batches[tree_index(entry.tree)].push((&entry.key, sealed.map(|(bytes, _)| bytes)));
        }
        let place = Place { epoch, applied_through, digest };
        let result = self.trees.as_slice().transaction(|trees| {
            for (tree, batch) in trees.iter().zip(&batches) {
                for (key, value) in batch {
                    match value {
                        Some(value) => tree.insert(*key, value.as_slice())?,
                        None => tree.remove(*key)?,
                    };
                }
            }
            let places = trees.last().expect("the place's tree is the last one");
            places.insert(PLACE_KEY, encode_place(place))?;
            Ok::<(), ConflictableTransactionError<()>>(())
        });
        match result {
            Ok(()) => {}
            Err(TransactionError::Storage(source)) => {
                return Err(StoreError::Sled { operation: "write to", path: self.path.clone(), source });
            }
            Err(TransactionError::Abort(())) => unreachable!("the transaction never aborts"),
        }
        for (entry, checksum) in checksums {
            match checksum {
                Some(checksum) => self.checksums.insert(entry.clone(), checksum),
                None => self.checksums.remove(entry),
            };
        }
        self.place = place;
        Ok(())
    }

    /// Asks sled to write everything to the disk now.
    ///
    /// # Errors
    /// When sled refuses.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(drop).map_err(|source| StoreError::Sled {
            operation: "flush",
            path: self.path.clone(),
            source,
        })
    }

    /// Bytes on disk, as sled counts them.
    #[must_use]
    pub fn disk_bytes(&self) -> Option<u64> {
        self.db.size_on_disk().ok()
    }

    /// Entries in all trees.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.checksums.len()
    }
}

/// Moves a bad database out of the way, into `quarantine_dir/<name>`; the newest [`QUARANTINE_KEPT`] stay.
///
/// # Errors
/// When it cannot be moved.
pub fn quarantine(path: &Path, quarantine_dir: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let to = quarantine_dir.join(name);
    let attempt = || {
        fs::create_dir_all(quarantine_dir)?;
        if path.exists() {
            fs::rename(path, &to)?;
        }
        sync_dir(quarantine_dir)?;
        path.parent().map_or(Ok(()), sync_dir)
    };
    attempt().map_err(|source| StoreError::Io { operation: "quarantine", path: path.to_owned(), source })?;
    let mut kept: Vec<_> = fs::read_dir(quarantine_dir)
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    kept.sort();
    for old in kept.iter().rev().skip(QUARANTINE_KEPT) {
        // An old quarantine that stays costs space only.
        fs::remove_dir_all(old).ok();
    }
    Ok(to)
}

/// Bad databases that are kept for whoever wants to know why.
pub const QUARANTINE_KEPT: usize = 2;

/// Makes the entries of a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Runs `work` in a named thread and turns its panic into an error.
fn guarded<T: Send + 'static>(
    name: &str,
    path: &Path,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|source| {
        StoreError::Io { operation: "start a thread to open", path: path.to_owned(), source }
    })?;
    thread.join().unwrap_or_else(|panic| Err(panicked(path, panic.as_ref())))
}

/// A panic of sled as an error.
pub(crate) fn panicked(path: &Path, panic: &(dyn Any + Send)) -> StoreError {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no message".to_owned());
    StoreError::Panicked { path: path.to_owned(), message }
}

fn open_unguarded(path: &Path) -> Result<Opened, StoreError> {
    let sled_error = |operation| move |source| StoreError::Sled { operation, path: path.to_owned(), source };
    let io_error = |operation| move |source| StoreError::Io { operation, path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(io_error("create"))?;
    let is_new = fs::read_dir(path).map_err(io_error("read"))?.next().is_none();
    let db = open_sled(path).map_err(sled_error("open"))?;
    // sled does not sync the folders of the files that it creates.
    sync_dir(path).map_err(io_error("sync"))?;
    path.parent().map_or(Ok(()), sync_dir).map_err(io_error("sync the folder of"))?;

    let mut trees = Vec::new();
    let mut entries = Vec::new();
    let mut checksums = HashMap::new();
    let mut digest = 0_u64;
    for tree in StoreTree::all() {
        let sled_tree = db.open_tree(tree.as_str()).map_err(sled_error("open a tree of"))?;
        for item in &sled_tree {
            let (key, sealed) = item.map_err(sled_error("read"))?;
            let entry = EntryKey { tree, key: key.to_vec() };
            let (value, checksum) = unseal(&entry, &sealed).ok_or_else(|| StoreError::Damaged {
                tree: tree.as_str(),
                key: String::from_utf8_lossy(&entry.key).into_owned(),
            })?;
            digest = digest.wrapping_add(u64::from(checksum));
            checksums.insert(entry.clone(), checksum);
            entries.push((entry, value));
        }
        trees.push(sled_tree);
    }
    let places = db.open_tree(PLACE_TREE).map_err(sled_error("open a tree of"))?;
    let place = match places.get(PLACE_KEY).map_err(sled_error("read"))? {
        Some(bytes) => decode_place(&bytes)
            .ok_or_else(|| StoreError::Damaged { tree: PLACE_TREE, key: PLACE_TREE.to_owned() })?,
        None if is_new => {
            // Where files are and no place is, sled has made nothing of what it found.
            places.insert(PLACE_KEY, encode_place(Place::default())).map_err(sled_error("write to"))?;
            db.flush().map_err(sled_error("flush"))?;
            Place::default()
        }
        None => return Err(StoreError::Incomplete { path: path.to_owned() }),
    };
    trees.push(places);
    if place.digest != digest {
        return Err(StoreError::Incomplete { path: path.to_owned() });
    }
    Ok(Opened { store: Store { path: path.to_owned(), db, trees, place, checksums }, place, entries })
}

/// Opens the database's files, waiting for a thread of sled's own that may outlive a closed database for a moment and
/// keeps its lock until then. Another process never has it: the journal's lock comes first.
fn open_sled(path: &Path) -> sled::Result<sled::Db> {
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_MS));
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if is_locked(&error) && Instant::now() < deadline => {
                thread::park_timeout(LOCK_POLL);
            }
            outcome => return outcome,
        }
    }
}

/// Whether sled could not have its lock; it says so in words alone.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

fn tree_index(tree: StoreTree) -> usize {
    StoreTree::all().position(|known| known == tree).expect("every tree is among all trees")
}

fn checksum(entry: &EntryKey, value: &[u8]) -> u32 {
    let crc = crc32c::crc32c(entry.tree.as_str().as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &entry.key), value)
}

fn seal(entry: &EntryKey, value: &[u8]) -> (Vec<u8>, u32) {
    let checksum = checksum(entry, value);
    let mut sealed = Vec::with_capacity(VALUE_HEADER_BYTES + value.len());
    sealed.push(VALUE_VERSION);
    sealed.extend_from_slice(&checksum.to_le_bytes());
    sealed.extend_from_slice(value);
    (sealed, checksum)
}

fn unseal(entry: &EntryKey, sealed: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (header, value) = sealed.split_first_chunk::<VALUE_HEADER_BYTES>()?;
    let [version, crc @ ..] = *header;
    let stored = u32::from_le_bytes(crc);
    (version == VALUE_VERSION && stored == checksum(entry, value)).then(|| (value.to_vec(), stored))
}

fn encode_place(place: Place) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    bytes.extend_from_slice(&place.epoch.to_le_bytes());
    bytes.extend_from_slice(&place.applied_through.to_le_bytes());
    bytes.extend_from_slice(&place.digest.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode_place(bytes: &[u8]) -> Option<Place> {
    let bytes: &[u8; 28] = bytes.try_into().ok()?;
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let crc = u32::from_le_bytes(bytes[24..].try_into().expect("four bytes"));
    (crc == crc32c::crc32c(&bytes[..24])).then(|| Place {
        epoch: word(0),
        applied_through: word(8),
        digest: word(16),
    })
}
