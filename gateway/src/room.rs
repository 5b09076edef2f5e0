//! How much room a disk has.
//!
//! Owns: the order in which the hub's parts stop writing to a disk that fills: intake first, so that the database and
//! snapshots, without which nothing can be dropped, still find room; then these.

use std::{io, path::Path};

/// With less room the database and snapshots are not written: sled writes half of it at a time, and one that finds no
/// room in the middle of that fails in many ways.
pub const ROOM_BYTES_MIN: u64 = 1024 * 1024;
/// With less room readings are refused.
pub const INTAKE_ROOM_BYTES_MIN: u64 = 2 * ROOM_BYTES_MIN;

/// What a user like ours may still write on the disk of `path`.
///
/// # Errors
/// When the path is not there.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stats = rustix::fs::statvfs(path)?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
}

/// The free bytes of a disk that has fewer than these.
#[must_use]
pub fn fewer_bytes(path: &Path, needed_bytes: u64) -> Option<u64> {
    // A folder that is not there yet is on its parent's disk; one that cannot be asked says nothing.
    let there = path.ancestors().find(|path| path.exists())?;
    free_bytes(there).ok().filter(|free| *free < needed_bytes)
}

/// Whether an error says that the disk, or this user's part of it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
