//! Which journal records are repetitions: a set of journal numbers, one bit each.
//!
//! Owns: the set's form in memory and in the store. Memory: 128 bytes and its key per [`BUCKET_SEQS`] journal numbers
//! that hold a repetition; what the journal has dropped is forgotten, so the journal's budget bounds it.

use std::collections::BTreeMap;

/// Journal numbers per bucket, each bucket an entry of the store.
pub(super) const BUCKET_SEQS: u64 = 1_024;
const WORD_BITS: u64 = 64;
const WORDS: usize = 16;
const WORD_BYTES: usize = size_of::<u64>();

/// See the module.
#[derive(Default)]
pub(super) struct Repeats(BTreeMap<u64, [u64; WORDS]>);

impl Repeats {
    /// Adds a number; its bucket when it was not there.
    pub(super) fn insert(&mut self, seq: u64) -> Option<u64> {
        let (bucket, word, bit) = place(seq);
        let words = self.0.entry(bucket).or_default();
        let is_new = words[word] & bit == 0;
        words[word] |= bit;
        is_new.then_some(bucket)
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        let (bucket, word, bit) = place(seq);
        self.0.get(&bucket).is_some_and(|words| words[word] & bit != 0)
    }

    /// Forgets all buckets that lie before `seq` as a whole; gives them.
    pub(super) fn prune(&mut self, seq: u64) -> impl Iterator<Item = u64> + use<> {
        let kept = self.0.split_off(&(seq / BUCKET_SEQS));
        std::mem::replace(&mut self.0, kept).into_keys()
    }

    pub(super) fn clear(&mut self) -> impl Iterator<Item = u64> + use<> {
        std::mem::take(&mut self.0).into_keys()
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    pub(super) fn value(&self, bucket: u64) -> Option<Vec<u8>> {
        self.0.get(&bucket).map(|words| words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    /// Adds what [`Self::value`] gave; `false` when it has another form.
    pub(super) fn restore(&mut self, bucket: u64, value: &[u8]) -> bool {
        let (words, rest) = value.as_chunks::<WORD_BYTES>();
        if words.len() != WORDS || !rest.is_empty() {
            return false;
        }
        let known = self.0.entry(bucket).or_default();
        for (known, word) in known.iter_mut().zip(words) {
            *known |= u64::from_le_bytes(*word);
        }
        true
    }
}

fn place(seq: u64) -> (u64, usize, u64) {
    let within = seq % BUCKET_SEQS;
    let word = usize::try_from(within / WORD_BITS).expect("a bucket has few words");
    (seq / BUCKET_SEQS, word, 1 << (within % WORD_BITS))
}
