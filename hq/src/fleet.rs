//! What is known about each store: its birth, its status, and how far each of its streams is.
//!
//! Owns the picture that HTTP shows. Does not own the truth about rows: the database writes both in one transaction and
//! tells this picture afterwards.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contract::{
    StoreId, Timestamp,
    upstream::{Birth, Epoch, StoreStatus, Stream},
};

/// Most stores that are known at once: an anonymous broker must not be talked into any number of them.
pub const STORES_MAX: usize = 20_000;

/// One stream of one life of a journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Every row through this one is committed.
    pub through_seq: u64,
    /// Rows in the database.
    pub rows: u64,
    /// Gaps that a resend must close.
    pub gaps_open: u64,
    /// Rows that came again with other content.
    pub conflicts: u64,
    /// When the first thing that ever came of this stream followed rows that are not here: the first row that is here
    /// by now. What was before it, the store had no more when it was asked.
    pub begins_at: Option<u64>,
    /// Ranges of its journal that the store has lost, as it said: some of them may have been rows of this stream.
    pub lost_ranges: u64,
    /// When the newest row happened, by the store's clock.
    pub last_row_at: Option<Timestamp>,
    /// When the last batch was committed, by our clock.
    pub committed_at: Option<Timestamp>,
}

/// One store.
#[derive(Debug, Clone, Default)]
pub struct StoreState {
    /// Whether its hub is connected, as far as its status and last will say.
    pub online: bool,
    /// When anything came from it.
    pub last_seen: Option<Timestamp>,
    /// Its birth document.
    pub birth: Option<Birth>,
    /// Its last status.
    pub status: Option<StoreStatus>,
    /// Its streams.
    pub streams: BTreeMap<(Stream, Epoch), StreamState>,
}

impl StoreState {
    /// The newest life of its journal that is known.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        let streams = self.streams.keys().map(|&(_, epoch)| epoch);
        streams.chain(self.birth.as_ref().map(|birth| birth.epoch)).max()
    }

    /// Takes a status; false when it is the last will of an older start of the hub.
    pub fn take_status(&mut self, status: StoreStatus) -> bool {
        let known = self.status.as_ref().map_or(0, |status| status.boot);
        if !status.online && status.boot < known {
            return false;
        }
        self.online = status.online;
        self.status = Some(match (&self.status, status.online) {
            // A last will knows nothing of waiting rows; what was said last stays said.
            (Some(last), false) => StoreStatus { online: false, boot: status.boot, ..last.clone() },
            _ => status,
        });
        true
    }
}

/// All stores. Cheap to clone; the lock is never held across IO.
#[derive(Debug, Clone, Default)]
pub struct Fleet(Arc<Mutex<BTreeMap<StoreId, StoreState>>>);

impl Fleet {
    /// The stores, locked.
    pub fn lock(&self) -> MutexGuard<'_, BTreeMap<StoreId, StoreState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something came from a store; false when it is unknown and there are [`STORES_MAX`] already.
    pub fn seen(&self, store: &StoreId, at: Timestamp) -> bool {
        let mut stores = self.lock();
        if !stores.contains_key(store) && STORES_MAX <= stores.len() {
            return false;
        }
        stores.entry(store.clone()).or_default().last_seen = Some(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(online: bool, boot: u64) -> StoreStatus {
        StoreStatus { online, boot, at: None, degraded: Vec::new(), waiting_rows: 3 }
    }

    #[test]
    fn the_last_will_of_an_older_start_is_ignored() {
        let mut store = StoreState::default();
        assert!(store.take_status(status(true, 4)));
        assert!(!store.take_status(status(false, 3)));
        assert!(store.online);
        assert!(store.take_status(StoreStatus { waiting_rows: 0, ..status(false, 4) }));
        assert!(!store.online);
        assert_eq!(store.status.unwrap().waiting_rows, 3);
    }
}
