//! The data folder: who may use it, and which start of the hub this is.
//!
//! Owns: the lock (one hub per folder), the count of starts, and the names of what lies inside.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{projector::Paths, room};

/// Names inside the data folder.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// No such place, or not writable.
    #[error(
        "failed to {operation} `{}`; `store.data_dir` must be a folder that this user may write to",
        path.display()
    )]
    Unusable {
        /// What was attempted.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another hub is there.
    #[error("another hub uses `{}`; stop it first, or give this one a `store.data_dir` of its own", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

/// Held while the hub runs; the operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDir {
    /// Names inside `path`; touches nothing.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the journal is.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Where the projector's things are.
    #[must_use]
    pub fn projector(&self) -> Paths {
        Paths {
            sled: self.0.join("sled"),
            quarantine: self.0.join("quarantine"),
            snapshots: self.0.join("snapshots"),
        }
    }

    /// Creates the folder and takes it for this process.
    ///
    /// # Errors
    /// When it cannot be made or written to, or another hub has it.
    pub fn lock(&self) -> Result<DataDirLock, DataDirError> {
        let unusable = |operation| {
            let path = self.0.clone();
            move |source| DataDirError::Unusable { operation, path, source }
        };
        fs::create_dir_all(&self.0).map_err(unusable("create"))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.0.join("lock"))
            .map_err(unusable("write to"))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DataDirLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::Locked { path: self.0.clone() }),
            Err(error) => Err(unusable("lock")(error.into())),
        }
    }

    /// The number of this start; the first one is 1. A count that cannot be read starts anew.
    #[must_use]
    pub fn next_boot(&self) -> u64 {
        let boot = fs::read_to_string(self.0.join("boot")).ok();
        boot.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0).saturating_add(1)
    }

    /// Saves the number of this start.
    ///
    /// # Errors
    /// When it cannot be written; see [`DataDirError::is_disk_full`].
    pub fn save_boot(&self, boot: u64) -> Result<(), DataDirError> {
        let path = self.0.join("boot");
        let temporary = path.with_extension("new");
        let attempt = || {
            let mut file = File::create(&temporary)?;
            writeln!(file, "{boot}")?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.0)?.sync_all()
        };
        attempt().map_err(|source| DataDirError::Unusable { operation: "write to", path, source })
    }
}

impl DataDirError {
    /// Whether there is only no room, so that a hub which is full of readings can still serve and forward them.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Unusable { source, .. } if room::is_full(source))
    }
}
