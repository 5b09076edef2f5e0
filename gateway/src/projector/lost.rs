//! Which records are gone although headquarters may lack them: no stream is called empty across them, or nobody would say
//! that they are lost. Pure. Memory: at most [`RANGES_MAX`] ranges; more are taken together with what lies between.

/// Ranges that are told apart.
const RANGES_MAX: usize = 1_024;

/// Ranges of lost records, in order.
#[derive(Debug, Default)]
pub(super) struct Lost(Vec<(u64, u64)>);

impl Lost {
    pub(super) fn add(&mut self, first_seq: u64, last_seq: u64) {
        if first_seq <= last_seq {
            self.0.push((first_seq, last_seq));
            self.0.sort_unstable();
        }
        if RANGES_MAX < self.0.len() {
            let (first_seq, last_seq) = self.0.pop().expect("there are many");
            let before = self.0.last_mut().expect("there are many");
            *before = (before.0.min(first_seq), before.1.max(last_seq));
        }
    }

    /// The first one after `seq`.
    pub(super) fn first_after(&self, seq: u64) -> Option<u64> {
        let after = self.0.iter().filter(|(_, last_seq)| seq < *last_seq);
        after.map(|(first_seq, _)| (*first_seq).max(seq + 1)).min()
    }

    /// Forgets what everybody has passed.
    pub(super) fn forget_through(&mut self, seq: u64) {
        self.0.retain(|(_, last_seq)| seq < *last_seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lost_record_after_a_place_is_known_also_beyond_the_limit() {
        let mut lost = Lost::default();
        assert_eq!(lost.first_after(0), None);
        lost.add(20, 29);
        lost.add(5, 4);
        lost.add(10, 12);
        for (seq, first) in
            [(0, Some(10)), (9, Some(10)), (10, Some(11)), (12, Some(20)), (25, Some(26)), (29, None)]
        {
            assert_eq!(lost.first_after(seq), first, "after {seq}");
        }
        lost.forget_through(15);
        assert_eq!(lost.first_after(0), Some(20));
        for n in 10..2 * RANGES_MAX as u64 {
            lost.add(n * 10, n * 10 + 1);
            assert!(lost.0.len() <= RANGES_MAX);
            assert_eq!(lost.first_after(n * 10 - 1), Some(n * 10));
        }
    }
}
