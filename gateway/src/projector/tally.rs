//! How many rows wait for headquarters, without reading them again.
//!
//! Owns: per stream, which of every [`BUCKET_SEQS`] journal numbers are rows, one bit each; so a count is exact.
//! Memory: 24 bytes per bucket that holds rows which wait; what is acknowledged or dropped from the journal is
//! forgotten, so the journal's budget bounds it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use contract::{Timestamp, upstream::Stream};

/// Journal numbers per bucket.
const BUCKET_SEQS: u64 = 64;

struct Bucket {
    number: u64,
    /// Bit `n` stands for the journal number `number * BUCKET_SEQS + n`.
    rows: u64,
    first_at: Timestamp,
}

impl Bucket {
    /// Its rows after `seq`, as bits.
    fn after(&self, seq: u64) -> u64 {
        let start = self.number * BUCKET_SEQS;
        match seq.checked_sub(start) {
            None => self.rows,
            Some(within) if within < BUCKET_SEQS - 1 => self.rows & (u64::MAX << (within + 1)),
            Some(_) => 0,
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<Stream, VecDeque<Bucket>>>);

/// What waits of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many rows.
    pub rows: u64,
    /// When the oldest of them happened, or one at most [`BUCKET_SEQS`] before it; `None` when none waits.
    pub oldest_at: Option<Timestamp>,
    /// The oldest of them; `None` when none waits.
    pub oldest_seq: Option<u64>,
}

impl Tally {
    /// A row of the stream is durable; numbers rise.
    pub fn note(&self, stream: Stream, seq: u64, at: Timestamp) {
        let (number, bit) = (seq / BUCKET_SEQS, 1 << (seq % BUCKET_SEQS));
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = streams.entry(stream).or_default();
        match buckets.back_mut() {
            Some(bucket) if bucket.number == number => bucket.rows |= bit,
            _ => buckets.push_back(Bucket { number, rows: bit, first_at: at }),
        }
    }

    /// What was noted is no row after all.
    pub fn withdraw(&self, stream: Stream, seq: u64) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(buckets) = streams.get_mut(&stream) else { return };
        let number = seq / BUCKET_SEQS;
        if let Ok(at) = buckets.binary_search_by_key(&number, |bucket| bucket.number) {
            buckets[at].rows &= !(1 << (seq % BUCKET_SEQS));
            if buckets[at].rows == 0 {
                buckets.remove(at);
            }
        }
    }

    /// What waits after `acked_seq`; earlier buckets are forgotten.
    pub fn waiting(&self, stream: Stream, acked_seq: u64) -> Waiting {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = streams.entry(stream).or_default();
        while buckets.pop_front_if(|bucket| bucket.after(acked_seq) == 0).is_some() {}
        let rows = buckets.iter().map(|bucket| u64::from(bucket.after(acked_seq).count_ones())).sum();
        let oldest = buckets.front();
        let oldest_seq = |bucket: &Bucket| {
            bucket.number * BUCKET_SEQS + u64::from(bucket.after(acked_seq).trailing_zeros())
        };
        Waiting { rows, oldest_at: oldest.map(|bucket| bucket.first_at), oldest_seq: oldest.map(oldest_seq) }
    }

    /// The journal has dropped everything through this one: none of it waits any more.
    pub fn dropped(&self, through_seq: u64) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for buckets in streams.values_mut() {
            while buckets.pop_front_if(|bucket| bucket.after(through_seq) == 0).is_some() {}
            if let Some(bucket) = buckets.front_mut() {
                bucket.rows = bucket.after(through_seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_and_what_was_acknowledged_is_not() {
        let tally = Tally::default();
        assert_eq!(tally.waiting(Stream::Events, 0), Waiting { rows: 0, oldest_at: None, oldest_seq: None });
        for seq in 1..=200 {
            tally.note(Stream::Events, seq, Timestamp::saturating_from_millis(i64::try_from(seq).unwrap()));
        }
        assert_eq!(tally.waiting(Stream::Events, 0).rows, 200);
        assert_eq!(tally.waiting(Stream::Events, 127).rows, 73);
        assert_eq!(tally.waiting(Stream::Events, 199).oldest_at.unwrap().as_millis(), 192);
        let last = tally.waiting(Stream::Events, 199);
        assert_eq!((last.rows, last.oldest_seq), (1, Some(200)));
        assert_eq!(tally.waiting(Stream::Events, 200).rows, 0);
        assert_eq!(tally.waiting(Stream::Readings, 0).rows, 0);
    }

    #[test]
    fn what_is_withdrawn_waits_no_more() {
        let tally = Tally::default();
        for seq in [1, 2, 70, 200] {
            tally.note(Stream::Readings, seq, Timestamp::UNIX_EPOCH);
        }
        for seq in [1, 70, 71, 500] {
            tally.withdraw(Stream::Readings, seq);
        }
        let waiting = tally.waiting(Stream::Readings, 0);
        assert_eq!((waiting.rows, waiting.oldest_seq), (2, Some(2)));
    }

    #[test]
    fn what_the_journal_has_dropped_does_not_wait_for_ever() {
        let tally = Tally::default();
        for seq in (2..=200).step_by(2) {
            tally.note(Stream::Events, seq, Timestamp::UNIX_EPOCH);
        }
        tally.dropped(100);
        let waiting = tally.waiting(Stream::Events, 0);
        assert_eq!((waiting.rows, waiting.oldest_seq), (50, Some(102)));
        tally.dropped(u64::MAX);
        assert_eq!(tally.waiting(Stream::Events, 0).rows, 0);
    }
}
