//! What headquarters has of one stream of one life of one store's journal: the committed prefix, and what was kept
//! beyond a gap.
//!
//! Pure. The database stores it in the same transaction as the rows that it speaks of.
//!
//! # Invariants
//!
//! - Every row through `through_seq` is committed; it never goes back.
//! - Kept ranges are disjoint, sorted, and all begin after `through_seq`.
//! - At most [`KEPT_RANGES_MAX`] ranges are remembered. Forgetting one is harmless: its rows stay in the database, and
//!   the resend that closes the gap brings them again.

/// Most ranges beyond gaps that are remembered for one stream.
pub const KEPT_RANGES_MAX: usize = 256;

/// Rows after `prev_seq` through `last_seq`, none missing in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The last row before it.
    pub prev_seq: u64,
    /// Its last row.
    pub last_seq: u64,
}

/// See the head of this file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    through_seq: u64,
    kept: Vec<Range>,
}

/// What a batch meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It continues the committed prefix, or repeats it.
    Joined,
    /// Rows between the committed prefix and this batch are missing.
    Gap,
}

impl Progress {
    /// As it was stored. Ranges that break the invariants are put right, as if their batches came again.
    #[must_use]
    pub fn restored(through_seq: u64, kept: &[Range]) -> Self {
        let mut progress = Self { through_seq, kept: Vec::new() };
        for range in kept.iter().filter(|range| range.prev_seq < range.last_seq) {
            progress.take(range.prev_seq, range.last_seq);
        }
        progress
    }

    /// Every row through this one is committed.
    #[must_use]
    pub fn through_seq(&self) -> u64 {
        self.through_seq
    }

    /// What was kept beyond gaps: as many gaps are open as there are ranges.
    #[must_use]
    pub fn kept(&self) -> &[Range] {
        &self.kept
    }

    /// Forgets what was kept beyond gaps. A store that has connected anew sends everything after the prefix again, and its
    /// data may be an older copy: then what was kept is of another life, and must not close a gap of this one.
    pub fn forget_kept(&mut self) {
        self.kept.clear();
    }

    /// Notes a batch that follows `prev_seq` and ends at `last_seq`.
    pub fn take(&mut self, prev_seq: u64, last_seq: u64) -> Step {
        debug_assert!(prev_seq < last_seq, "a batch has rows after its predecessor");
        let step = if prev_seq <= self.through_seq { Step::Joined } else { Step::Gap };
        let mut taken = Range { prev_seq, last_seq };
        // Ranges that touch or overlap become one: both are without holes.
        self.kept.retain(|range| {
            let apart = range.last_seq < taken.prev_seq || taken.last_seq < range.prev_seq;
            if !apart {
                taken.prev_seq = taken.prev_seq.min(range.prev_seq);
                taken.last_seq = taken.last_seq.max(range.last_seq);
            }
            apart
        });
        let place = self.kept.partition_point(|range| range.prev_seq < taken.prev_seq);
        self.kept.insert(place, taken);
        while let Some(first) = self.kept.first().copied().filter(|first| first.prev_seq <= self.through_seq)
        {
            self.through_seq = self.through_seq.max(first.last_seq);
            self.kept.remove(0);
        }
        // The farthest one goes: the nearest ones join first.
        self.kept.truncate(KEPT_RANGES_MAX);
        step
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_that_fills_the_gap_joins_what_was_kept() {
        let mut progress = Progress::default();
        assert_eq!(progress.take(0, 5), Step::Joined);
        assert_eq!(progress.take(9, 12), Step::Gap);
        assert_eq!(progress.take(12, 20), Step::Gap);
        assert_eq!((progress.through_seq(), progress.kept().len()), (5, 1));
        assert_eq!(progress.take(5, 9), Step::Joined);
        assert_eq!((progress.through_seq(), progress.kept().len()), (20, 0));
        assert_eq!(progress.take(0, 5), Step::Joined);
        assert_eq!(progress.through_seq(), 20);
    }

    #[test]
    fn no_more_ranges_are_kept_than_the_limit_and_a_resend_still_closes_every_gap() {
        let mut progress = Progress::default();
        let ranges = KEPT_RANGES_MAX as u64 + 10;
        for n in 1..=ranges {
            progress.take(n * 10, n * 10 + 5);
        }
        assert_eq!(progress.kept().len(), KEPT_RANGES_MAX);
        progress.take(0, ranges * 10 + 5);
        assert_eq!((progress.through_seq(), progress.kept().len()), (ranges * 10 + 5, 0));
    }

    proptest! {
        /// The rows are those of a journal with holes; batches come in any order, repeated and cut anywhere.
        #[test]
        fn the_prefix_is_what_was_taken_and_all_of_it(
            rows in prop::collection::btree_set(1..200_u64, 1..60),
            cuts in prop::collection::vec((0..60_usize, 1..10_usize), 0..80),
        ) {
            let rows: Vec<u64> = rows.into_iter().collect();
            let mut progress = Progress::default();
            let mut had = BTreeSet::new();
            for (first, len) in cuts {
                let first = first % rows.len();
                let batch = &rows[first..rows.len().min(first + len)];
                let prev_seq = if first == 0 { 0 } else { rows[first - 1] };
                progress.take(prev_seq, *batch.last().unwrap());
                had.extend(batch.iter().copied());
                let complete = rows.iter().take_while(|seq| had.contains(seq)).last().copied().unwrap_or_default();
                prop_assert_eq!(progress.through_seq(), complete);
                let restored = Progress::restored(progress.through_seq(), progress.kept());
                prop_assert_eq!(&restored, &progress);
            }
        }
    }
}
