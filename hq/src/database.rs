//! The SQLite file: its schema, how it is opened, and what is read from it.
//!
//! [`writer`] is the only one that writes, on its own thread. Readers have their own connection and never wait for it
//! (WAL). Owns the file and nothing in memory.
//!
//! # Invariants
//!
//! - A row is inserted once: its key is `(store, stream, epoch, seq)`, repeats are ignored. A repeat with other content
//!   does not replace it: it is kept in `conflicts`, within the bounds of [`writer`].
//! - A row that its store may have sent under an earlier epoch, and that is there with the same content, is not inserted
//!   again under the new one.
//! - What a store says that its journal has lost is kept in `lost`.
//! - How far a stream is, and what is kept beyond its gaps, changes in the same transaction as its rows.
//! - One process at a time: a lock on `<file>.lock` says so before anything is opened.
//! - Its files can be read by their owner alone: codes stand in them for a while, and what happens in stores for ever.
//!
//! Units: `at`, `received_at`, `committed_at` and `last_seen` are milliseconds since 1970.

pub mod writer;

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use contract::{StoreId, Timestamp, upstream::Epoch, upstream::Stream};
use rusqlite::{Connection, OpenFlags, params};
use serde::Serialize;
use serde_json::value::RawValue;

/// The schema's version, in SQLite's `user_version`.
const SCHEMA_VERSION: i64 = 3;

const SCHEMA: &str = "
    CREATE TABLE rows (
        store TEXT NOT NULL,
        stream TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        device TEXT,
        data TEXT NOT NULL,
        received_at INTEGER NOT NULL,
        PRIMARY KEY (store, stream, epoch, seq)
    ) WITHOUT ROWID;
    CREATE TABLE progress (
        store TEXT NOT NULL,
        stream TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        through_seq INTEGER NOT NULL,
        kept TEXT NOT NULL,
        rows INTEGER NOT NULL,
        last_row_at INTEGER,
        committed_at INTEGER NOT NULL,
        PRIMARY KEY (store, stream, epoch)
    ) WITHOUT ROWID;
    CREATE TABLE stores (
        store TEXT NOT NULL PRIMARY KEY,
        birth TEXT,
        status TEXT,
        last_seen INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// What version 2 has more than version 1, whose files are brought up to date when they are opened.
const SCHEMA_2: &str = "
    CREATE TABLE conflicts (
        store TEXT NOT NULL,
        stream TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        row TEXT NOT NULL
    );
    CREATE INDEX conflicts_place ON conflicts (store, stream, epoch, seq);
    ALTER TABLE progress ADD COLUMN conflicts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE progress ADD COLUMN begins_at INTEGER NOT NULL DEFAULT 0;
";

/// What version 3 has more than version 2.
const SCHEMA_3: &str = "
    CREATE TABLE lost (
        store TEXT NOT NULL,
        stream TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        received_at INTEGER NOT NULL,
        PRIMARY KEY (store, stream, epoch, first_seq, last_seq)
    ) WITHOUT ROWID;
    ALTER TABLE progress ADD COLUMN lost_ranges INTEGER NOT NULL DEFAULT 0;
";

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another process has it.
    #[error("database `{path}` is in use by another storehub-hq")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The lock file cannot be made.
    #[error("failed to lock `{path}`")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be made or written.
    #[error("failed to create or write `{path}`")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be opened, or is no database.
    #[error("failed to open the database `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Written by another release.
    #[error("database `{path}` has schema version {found}, this release knows {SCHEMA_VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// Its thread cannot be started.
    #[error("failed to start the database's thread")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// Rows cannot be read.
    #[error("failed to read rows of `{store}`")]
    Read {
        /// Whose.
        store: StoreId,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// The lock on the file; released when dropped, also by `kill -9`.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read: closing it releases the lock")] File);

pub(crate) fn lock(path: &Path) -> Result<Lock, DatabaseError> {
    let lock_path = beside(path, LOCK);
    let failed = |source| DatabaseError::Lock { path: lock_path.clone(), source };
    let file = open_or_create(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(DatabaseError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What the file of the lock has after the database's name.
pub(crate) const LOCK: &str = ".lock";
/// What the database's own files have after its name. SQLite makes the later ones with the mode of the first.
pub(crate) const FILES: [&str; 3] = ["", "-wal", "-shm"];
/// Its owner alone.
const MODE: u32 = 0o600;
/// What nobody else may.
const MODE_OF_OTHERS: u32 = 0o077;

/// A file whose name is the database's and something more.
pub(crate) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

fn open_or_create(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(MODE).open(path)
}

/// Makes the file when it is missing, and shuts its files to others. The lock is held.
pub(crate) fn keep_private(path: &Path) -> Result<(), DatabaseError> {
    open_or_create(path).map_err(|source| DatabaseError::Create { path: path.to_owned(), source })?;
    for file in FILES.iter().chain([&LOCK]).map(|more| beside(path, more)) {
        let Ok(found) = std::fs::metadata(&file) else { continue };
        let mode = found.permissions().mode();
        if mode & MODE_OF_OTHERS == 0 {
            continue;
        }
        let shut = std::fs::set_permissions(&file, PermissionsExt::from_mode(MODE));
        let (file, was) = (file.display(), format!("{:o}", mode & 0o777));
        match shut {
            Ok(()) => tracing::warn!(%file, was, "others could read it: now its owner alone can"),
            Err(error) => {
                tracing::warn!(%file, was, %error, "others can read it, and that cannot be changed")
            }
        }
    }
    Ok(())
}

/// How long SQLite waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection that writes, with the schema in place.
pub(crate) fn open_for_writing(path: &Path) -> Result<Connection, DatabaseError> {
    let failed = |source| DatabaseError::Open { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(failed)?;
    let found = prepare(&mut connection).map_err(failed)?;
    if found != SCHEMA_VERSION {
        return Err(DatabaseError::Version { path: path.to_owned(), found });
    }
    Ok(connection)
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on the platter before its acknowledgement leaves.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(16);
    let transaction = connection.transaction()?;
    let mut version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(SCHEMA)?;
        version = 1;
    }
    if version == 1 {
        transaction.execute_batch(SCHEMA_2)?;
        version = 2;
    }
    if version == 2 {
        transaction.execute_batch(SCHEMA_3)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        version = SCHEMA_VERSION;
    }
    transaction.commit()?;
    Ok(version)
}

/// One row as the API shows it.
#[derive(Debug, Serialize)]
pub struct StoredRow {
    /// Which life of the journal.
    pub epoch: Epoch,
    /// Its place.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What it is.
    pub kind: String,
    /// Which device it is about.
    pub device: Option<String>,
    /// Its content.
    pub data: Box<RawValue>,
}

/// A place between rows: after this epoch's `seq`; without an epoch, after this `seq` of every epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// Which life of the journal.
    pub epoch: Option<Epoch>,
    /// The last row that is not wanted.
    pub seq: u64,
}

/// Reads rows. Blocking: call it where that is allowed.
#[derive(Debug)]
pub struct Reader(Mutex<Connection>);

impl Reader {
    /// A connection that cannot write.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "query_only", true)?;
            Ok(connection)
        };
        let failed = |source| DatabaseError::Open { path: path.to_owned(), source };
        open().map(|connection| Self(Mutex::new(connection))).map_err(failed)
    }

    /// At most `limit` rows of a stream after a place, by epoch and seq.
    ///
    /// # Errors
    /// When SQLite cannot read them.
    pub fn rows(
        &self,
        store: &StoreId,
        stream: Stream,
        after: After,
        limit: usize,
    ) -> Result<Vec<StoredRow>, DatabaseError> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read_rows(&connection, store, stream, after, limit)
            .map_err(|source| DatabaseError::Read { store: store.clone(), source })
    }
}

fn read_rows(
    connection: &Connection,
    store: &StoreId,
    stream: Stream,
    after: After,
    limit: usize,
) -> rusqlite::Result<Vec<StoredRow>> {
    // Epoch by epoch, so that every step is one walk along the primary key.
    let mut epochs = connection.prepare_cached(
        "SELECT epoch FROM progress WHERE store = ?1 AND stream = ?2 AND epoch >= ?3 ORDER BY epoch",
    )?;
    let first = signed(after.epoch.unwrap_or(0));
    let epochs: Vec<i64> = epochs
        .query_map(params![store.as_str(), stream.as_str(), first], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, kind, device, data FROM rows
         WHERE store = ?1 AND stream = ?2 AND epoch = ?3 AND seq > ?4 ORDER BY seq LIMIT ?5",
    )?;
    let mut rows = Vec::new();
    for epoch in epochs {
        let inside = after.epoch.is_none_or(|of| signed(of) == epoch);
        let after_seq = if inside { signed(after.seq) } else { -1 };
        let wanted = signed((limit - rows.len()) as u64);
        let found = statement.query_map(
            params![store.as_str(), stream.as_str(), epoch, after_seq, wanted],
            |row| {
                Ok(StoredRow {
                    epoch: unsigned(epoch),
                    seq: unsigned(row.get(0)?),
                    at: Timestamp::saturating_from_millis(row.get(1)?),
                    kind: row.get(2)?,
                    device: row.get(3)?,
                    data: raw(row.get(4)?),
                })
            },
        )?;
        for row in found {
            rows.push(row?);
        }
        if limit <= rows.len() {
            break;
        }
    }
    Ok(rows)
}

/// What was stored is JSON; anything else (somebody edited the file) is shown as `null`.
fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text)
        .unwrap_or_else(|_| RawValue::from_string("null".to_owned()).expect("`null` is JSON"))
}

/// For SQLite's integers; ingest refuses what does not fit.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
