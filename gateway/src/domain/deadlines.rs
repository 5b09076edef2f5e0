//! Waiting without a clock: what is due when the hub's wall clock *or* its steady clock has passed.
//!
//! The wall clock may step. When it jumps ahead, everything is due at once, which is early but harmless; when it
//! jumps back, the steady clock still brings everything due in the time that was meant. The steady clock starts anew
//! with each boot, therefore [`Due::rebased`].

use std::collections::BTreeSet;

use contract::Timestamp;
use serde::{Deserialize, Serialize};

/// The hub's clocks at one input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// The wall clock.
    pub(super) at: Timestamp,
    /// The steady clock of this boot in milliseconds.
    pub(super) mono_ms: u64,
}

/// When something is due, on both clocks in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Due(i64, u64);

impl Due {
    /// Due in `wait_ms` (negative counts as 0).
    pub(super) fn after(now: Moment, wait_ms: i64) -> Self {
        let wait_ms = wait_ms.max(0);
        let mono_ms = now.mono_ms.saturating_add(wait_ms.unsigned_abs());
        Self(now.at.as_millis().saturating_add(wait_ms), mono_ms)
    }

    /// The same moment in another boot, at most `wait_ms_max` away.
    pub(super) fn rebased(self, now: Moment, wait_ms_max: i64) -> Self {
        let wait_ms = self.0.saturating_sub(now.at.as_millis()).clamp(0, wait_ms_max);
        Self(self.0, now.mono_ms.saturating_add(wait_ms.unsigned_abs()))
    }
}

/// Keys by when they are due.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    by_wall: BTreeSet<(i64, K)>,
    by_mono: BTreeSet<(u64, K)>,
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self { by_wall: BTreeSet::new(), by_mono: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    pub(super) fn insert(&mut self, due: Due, key: K) {
        self.by_wall.insert((due.0, key.clone()));
        self.by_mono.insert((due.1, key));
    }

    pub(super) fn remove(&mut self, due: Due, key: K) {
        let by_wall = (due.0, key);
        self.by_wall.remove(&by_wall);
        self.by_mono.remove(&(due.1, by_wall.1));
    }

    /// One key that is due; it stays until [`Self::remove`].
    pub(super) fn first_due(&self, now: Moment) -> Option<&K> {
        let wall = self.by_wall.first().filter(|(due, _)| *due <= now.at.as_millis());
        let mono = self.by_mono.first().filter(|(due, _)| *due <= now.mono_ms);
        wall.map(|(_, key)| key).or(mono.map(|(_, key)| key))
    }

    /// The key that is due next, whenever that is.
    pub(super) fn first(&self) -> Option<&K> {
        self.by_wall.first().map(|(_, key)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.by_wall.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at_ms: i64, mono_ms: u64) -> Moment {
        Moment { at: Timestamp::saturating_from_millis(at_ms), mono_ms }
    }

    #[test]
    fn either_clock_brings_a_key_due() {
        let mut deadlines = Deadlines::default();
        let due = Due::after(moment(1_000_000, 500), 30_000);
        deadlines.insert(due, "window");
        assert_eq!(deadlines.first_due(moment(1_029_999, 30_499)), None);
        assert_eq!(
            deadlines.first_due(moment(1_030_000, 501)),
            Some(&"window"),
            "the wall clock stepped ahead"
        );
        assert_eq!(deadlines.first_due(moment(0, 30_500)), Some(&"window"), "the wall clock stepped back");
        deadlines.remove(due, "window");
        assert_eq!(deadlines.len(), 0);
    }

    #[test]
    fn a_new_boot_waits_for_what_is_left_but_never_longer_than_meant() {
        let due = Due::after(moment(1_000_000, 500_000), 30_000);
        assert_eq!(due.rebased(moment(1_010_000, 7), 60_000), Due(1_030_000, 20_007));
        assert_eq!(due.rebased(moment(0, 7), 60_000), Due(1_030_000, 60_007));
        assert_eq!(due.rebased(moment(2_000_000, 7), 60_000), Due(1_030_000, 7));
    }
}
