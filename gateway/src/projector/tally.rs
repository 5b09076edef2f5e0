//! How many rows wait for headquarters, without reading them again.
//!
//! Owns: counts per stream in buckets of [`BUCKET_SEQS`] journal numbers. A count is exact to the bucket, and exactly
//! 0 when nothing waits. Memory: 32 bytes per bucket that holds rows.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use contract::{Timestamp, upstream::Stream};

/// Journal numbers per bucket.
const BUCKET_SEQS: u64 = 64;

struct Bucket {
    number: u64,
    rows: u64,
    first_seq: u64,
    last_seq: u64,
    first_at: Timestamp,
}

/// See the module.
#[derive(Default)]
pub struct Tally(Mutex<BTreeMap<Stream, VecDeque<Bucket>>>);

/// What waits of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Rows, exact to a bucket.
    pub rows: u64,
    /// When the oldest of them happened; `None` when none waits.
    pub oldest_at: Option<Timestamp>,
    /// No row before this one waits; `None` when none waits.
    pub oldest_seq: Option<u64>,
}

impl Tally {
    /// A row of the stream is durable; numbers rise.
    pub fn note(&self, stream: Stream, seq: u64, at: Timestamp) {
        let number = seq / BUCKET_SEQS;
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = streams.entry(stream).or_default();
        match buckets.back_mut() {
            Some(bucket) if bucket.number == number => {
                bucket.rows += 1;
                bucket.last_seq = seq;
            }
            _ => buckets.push_back(Bucket { number, rows: 1, first_seq: seq, last_seq: seq, first_at: at }),
        }
    }

    /// What waits after `acked_seq`; earlier buckets are forgotten.
    pub fn waiting(&self, stream: Stream, acked_seq: u64) -> Waiting {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = streams.entry(stream).or_default();
        while buckets.front().is_some_and(|bucket| bucket.last_seq <= acked_seq) {
            buckets.pop_front();
        }
        let rows = buckets.iter().map(|bucket| bucket.rows).sum();
        let oldest = buckets.front();
        Waiting {
            rows,
            oldest_at: oldest.map(|bucket| bucket.first_at),
            oldest_seq: oldest.map(|bucket| bucket.first_seq),
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
        assert_eq!(tally.waiting(Stream::Events, 199).oldest_seq, Some(192));
        assert_eq!(tally.waiting(Stream::Events, 200).rows, 0);
        assert_eq!(tally.waiting(Stream::Readings, 0).rows, 0);
    }
}
