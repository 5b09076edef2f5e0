//! Which journal segment may go: a decision without doing.
//!
//! Owns: the order of sacrifice, which is the journal's own order, because streams share segments: the oldest records
//! go first, and only when the budget is used up.

use crate::journal::SegmentInfo;

/// Segments dropped in one round, so that the projector's other duties get their turn.
pub(super) const SEGMENTS_PER_UPKEEP_MAX: usize = 16;

/// What is known.
pub(super) struct Sight<'a> {
    pub(super) segments: &'a [SegmentInfo],
    pub(super) kept_bytes_max: u64,
    /// The journal's disk refuses readings because it is full: history that nobody waits for makes room.
    pub(super) is_disk_full: bool,
    pub(super) applied_through: u64,
    /// Headquarters has every row through this one, or there is none between.
    pub(super) acked_through: u64,
    pub(super) snapshot_through: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    /// The oldest segment may go once a snapshot covers it.
    SnapshotFirst,
    Drop,
    /// The oldest segment must go although headquarters lacks this many of its records at most.
    Sacrifice {
        records: u64,
    },
}

pub(super) fn decide(sight: &Sight<'_>) -> Decision {
    let [_, second, ..] = sight.segments else { return Decision::Keep };
    let bytes: u64 = sight.segments.iter().map(|segment| segment.durable_bytes).sum();
    let last_seq = second.first_seq - 1;
    let is_over_budget = sight.kept_bytes_max < bytes;
    if !(is_over_budget || sight.is_disk_full) || sight.applied_through < last_seq {
        return Decision::Keep;
    }
    if sight.snapshot_through < last_seq {
        return Decision::SnapshotFirst;
    }
    match last_seq.saturating_sub(sight.acked_through.max(sight.segments[0].first_seq - 1)) {
        0 => Decision::Drop,
        // A full disk may get room again; what is sacrificed never comes back.
        _ if !is_over_budget => Decision::Keep,
        records => Decision::Sacrifice { records },
    }
}
