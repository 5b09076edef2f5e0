//! The lives of a journal: which epoch is the present one, and why it began.
//!
//! Owns: what the segments' headers say about that. Pure. Memory: one number per epoch, of which a store has few.

use std::collections::BTreeSet;

use super::frame::{FORMAT_VERSION, Header};

/// Which epochs there are. The greatest one is the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    epoch: u64,
    /// First number of the present epoch that is still there.
    first_seq: u64,
    /// Epoch and last seen number before the present one; `(0, 0)` when this is the first.
    previous: (u64, u64),
    known: BTreeSet<u64>,
}

/// A new epoch that has begun because others had seen what this journal does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Renewal {
    /// The present epoch.
    pub epoch: u64,
    /// Its first record, as far as the journal has it still.
    pub first_seq: u64,
    /// The epoch before.
    pub previous_epoch: u64,
    /// Others have seen that epoch's records through this one.
    pub previous_seq: u64,
}

impl Epochs {
    /// A journal's first one.
    pub(super) fn first(epoch: u64, first_seq: u64) -> Self {
        Self { epoch, first_seq, previous: (0, 0), known: BTreeSet::from([epoch]) }
    }

    /// As the segments say it, the oldest first.
    pub(super) fn of(headers: impl Iterator<Item = Header>) -> Option<Self> {
        let mut epochs: Option<Self> = None;
        for header in headers {
            let present = epochs.get_or_insert_with(|| Self::first(header.epoch, header.first_seq));
            if present.epoch < header.epoch {
                (present.epoch, present.first_seq) = (header.epoch, header.first_seq);
            }
            present
                .known
                .extend([header.epoch, header.previous_epoch].into_iter().filter(|&epoch| epoch != 0));
            if header.epoch == present.epoch {
                present.previous = (header.previous_epoch, header.previous_seq);
            }
        }
        epochs
    }

    /// With a new epoch that begins with `first_seq`.
    pub(super) fn renewed(&self, seen_seq: u64, first_seq: u64, now_ms: i64) -> Self {
        // A clock that was put back must not give an epoch again.
        let epoch = u64::try_from(now_ms).unwrap_or(0).max(self.epoch + 1);
        let mut known = self.known.clone();
        known.insert(epoch);
        Self { epoch, first_seq, previous: (self.epoch, seen_seq), known }
    }

    pub(super) fn header(
        &self,
        salt: u64,
        first_seq: u64,
        after_first_seq: u64,
        created_at_ms: i64,
    ) -> Header {
        let (epoch, (previous_epoch, previous_seq)) = (self.epoch, self.previous);
        let version = FORMAT_VERSION;
        Header {
            version,
            epoch,
            salt,
            first_seq,
            created_at_ms,
            previous_epoch,
            previous_seq,
            after_first_seq,
        }
    }

    /// The present one: milliseconds since 1970 at its beginning.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it is one of this journal's, the present or an earlier one.
    #[must_use]
    pub fn knows(&self, epoch: u64) -> bool {
        self.known.contains(&epoch)
    }

    /// Why the present one began, when it is not the journal's first.
    #[must_use]
    pub fn renewal(&self) -> Option<Renewal> {
        let (previous_epoch, previous_seq) = self.previous;
        let (epoch, first_seq) = (self.epoch, self.first_seq);
        (previous_epoch != 0).then_some(Renewal { epoch, first_seq, previous_epoch, previous_seq })
    }

    /// How many epochs have begun after the first one that is still known.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.known.len() as u64 - 1
    }

    /// Records through this one may have been sent to others under an earlier epoch; 0 when there was none.
    #[must_use]
    pub fn sent_before_through(&self) -> u64 {
        self.renewal().map_or(0, |renewal| renewal.first_seq - 1)
    }
}
